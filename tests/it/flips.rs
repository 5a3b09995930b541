//! Flipped bits on the disk: every read is right or an error, never wrong bytes.
//!
//! A world is made once and killed, so that some of it rests in objects and some only in the log.
//! Each round puts it back, flips a few bits in the log, the files of the metadata store or the
//! objects, starts the server on it and reads everything. A server that refuses to start has found
//! the damage too. `SEED=n` repeats one series of rounds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::{Client, Fail},
    rng::{Rng, seeds},
    server::{Server, Share},
};

use crate::garbage::objects;

/// Flips in a round. In the metadata store a few, since many would always be noticed at the start.
fn flips(place: Where, rng: &mut Rng) -> usize {
    match place {
        Where::Objects | Where::Log => 10,
        Where::Metadata => 1 + rng.below(3),
    }
}

const FILES: usize = 24;
/// What is looked at when a place for a flip is chosen: pages of zeroes hold nothing.
const PAGE: usize = 4096;

/// A thousand flips.
#[test]
fn flips_thousand_are_never_wrong_bytes() {
    series(seeds(1)[0], 1000);
}

#[test]
fn flips_quick() {
    series(7, 40);
}

/// Every second header of the log, then three in a row.
#[test]
fn flips_of_log_headers() {
    let seed = seeds(1)[0];
    println!("SEED={seed}");
    let mut rng = Rng::new(seed);
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::with_shares(dir.path(), vec![Share::export()]);
    let files: BTreeMap<String, Vec<u8>> = more(&server, &mut rng).into_iter().collect();
    server.kill9();
    let headers = log_headers(dir.path());
    assert!(headers.values().any(|headers| headers.len() > 5), "{headers:?}");
    // The last one has none behind it.
    for (path, headers) in &headers {
        for at in headers.iter().rev().skip(1).step_by(2) {
            flip_at(path, at + 8 + rng.below(100) as u64, &mut rng);
        }
    }
    server.start();
    let right = read_all(&server, &files, |what| panic!("seed {seed}: {what}"));
    assert_eq!(right, (u32::try_from(files.len()).expect("few"), 0), "seed {seed}");
    let damaged = "dittofs_datapath_local_corruption_total";
    assert!(server.metric(damaged) > 0.0, "seed {seed}");
    server.kill9();

    let (path, headers) = headers.iter().max_by_key(|(_, headers)| headers.len()).expect("some");
    for at in &headers[1..4] {
        flip_at(path, at + 125, &mut rng);
    }
    assert!(!server.try_start(), "seed {seed}: nobody knows which files lost bytes");
    let said = server.log_text();
    assert!(said.contains("--accept-log-damage") && said.contains("had been synced"), "{said}");
    assert!(server.try_start_with(&["--accept-log-damage"]), "seed {seed}");
    assert!(below(&dir.path().join("cache")).iter().any(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("damaged-"))
    }));
    server.kill9();
    server.start();
}

/// Where the headers of records lie, by segment.
fn log_headers(live: &Path) -> BTreeMap<PathBuf, Vec<u64>> {
    let mut found: BTreeMap<PathBuf, Vec<u64>> = BTreeMap::new();
    let mut paths = below(&live.join("cache"));
    paths.retain(|path| path.to_string_lossy().contains("/segment-"));
    paths.sort();
    for path in paths {
        let bytes = fs::read(&path).expect("readable");
        for at in (512..bytes.len()).step_by(32) {
            if bytes[at..].starts_with(b"DLRC") {
                found.entry(path.clone()).or_default().push(at as u64);
            }
        }
    }
    found
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Where {
    Objects,
    Metadata,
    Log,
}

/// What became of the flips of one kind.
#[derive(Debug, Default)]
struct Seen {
    flips: usize,
    rounds: u32,
    refused: u32,
    rounds_with_errors: u32,
    good: u32,
    errors: u32,
}

fn series(seed: u64, flips_min: usize) {
    println!("SEED={seed}");
    let mut rng = Rng::new(seed);
    let dir = tempfile::tempdir().expect("folder");
    let live = dir.path().join("live");
    let whole = dir.path().join("whole");
    let mut server = Server::with_limits(&live, vec![Share::export()], "64Mi", "256Mi");
    let mut files = fill(&server, &mut rng);
    server.kill9();
    flush(&live);
    server.start();
    files.extend(more(&server, &mut rng));
    server.kill9();
    // So that each object is in use: a scrub reads no others.
    server.run(&["gc", "--grace", "0s"]);
    copy(&live, &whole);
    let kinds = [Where::Objects, Where::Metadata, Where::Log];
    let mut seen: BTreeMap<Where, Seen> = kinds.map(|place| (place, Seen::default())).into();
    let mut wrong = Vec::new();
    for round in 0.. {
        // The kind that had the fewest.
        let place = kinds.into_iter().min_by_key(|place| seen[place].flips).expect("three");
        if seen.values().map(|seen| seen.flips).sum::<usize>() >= flips_min {
            break;
        }
        fs::remove_dir_all(&live).expect("removed");
        copy(&whole, &live);
        let flipped = flip(&live, place, &mut rng);
        let seen = seen.get_mut(&place).expect("each kind");
        seen.rounds += 1;
        seen.flips += flipped.len();
        if !server.try_start() {
            seen.refused += 1;
            assert!(place != Where::Objects, "seed {seed}: objects are no reason not to start");
            continue;
        }
        let (good, errors) = read_all(&server, &files, |what| {
            wrong.push(format!("round {round}, {place:?}: {what}; flipped: {flipped:?}"));
        });
        seen.good += good;
        seen.errors += errors;
        seen.rounds_with_errors += u32::from(errors > 0);
        if place == Where::Objects {
            // Each is found, also where no read went.
            let spoilt: BTreeSet<&PathBuf> = flipped.iter().map(|(path, _)| path).collect();
            let (_, out, err) = server.try_run(&["scrub", "--rate", "0"]);
            let found = out.lines().filter(|line| line.starts_with("block ")).count();
            // Of a pack, each spoilt block in use is found, and no other.
            let packs = spoilt.iter().filter(|path| path.to_string_lossy().contains("/packs/"));
            let (packs, said) = (packs.count(), format!("seed {seed}, round {round}: {out}{err}"));
            assert!(found >= spoilt.len() - packs, "{said}");
            assert!(found == spoilt.len() || packs > 0, "{said}");
        }
        server.kill9();
    }
    println!("{seen:#?}");
    assert!(wrong.is_empty(), "seed {seed}: {} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    let heeded = seen.values().all(|seen| seen.refused + seen.rounds_with_errors > 0);
    assert!(heeded, "seed {seed}: flips of one kind hit nothing");
}

/// Half of the files rest in objects; of each second one of those a part was written again.
fn fill(server: &Server, rng: &mut Rng) -> BTreeMap<String, Vec<u8>> {
    let mut client = Client::mount(server, "/export").expect("mount");
    let root = client.root.clone();
    let mut files = BTreeMap::new();
    for n in 0..FILES {
        let name = format!("file {n}");
        let bytes = rng_bytes(rng);
        let file = client.create_new(&root, name.as_bytes()).expect("create");
        client.write(&file, 0, &bytes, stable_how::UNSTABLE).expect("write");
        client.commit(&file).expect("commit");
        files.insert(name, bytes);
        if n == FILES / 2 {
            server.drop_cache();
        }
    }
    for n in (0..FILES / 2).step_by(2) {
        let name = format!("file {n}");
        let file = client.lookup(&root, name.as_bytes()).expect("created");
        let part = rng.bytes(1000);
        client.write(&file, 100, &part, stable_how::FILE_SYNC).expect("write");
        let bytes = files.get_mut(&name).expect("created");
        bytes.resize(bytes.len().max(1100), 0);
        bytes[100..1100].copy_from_slice(&part);
    }
    files
}

/// Writes what the metadata store has in its journal to its tables.
fn flush(live: &Path) {
    let database = fjall::Database::builder(live.join("meta-0")).open().expect("fjall");
    for name in ["misc", "inodes", "names", "cookies", "map", "counts"] {
        let keyspace = database.keyspace(name, fjall::KeyspaceCreateOptions::default);
        keyspace.expect("there").rotate_memtable_and_wait().expect("flushed");
    }
}

/// A few more files, so that the journal has something too.
fn more(server: &Server, rng: &mut Rng) -> Vec<(String, Vec<u8>)> {
    let mut client = Client::mount(server, "/export").expect("mount");
    let root = client.root.clone();
    let make = |n| {
        let (name, bytes) = (format!("more {n}"), rng_bytes(rng));
        let file = client.create_new(&root, name.as_bytes()).expect("create");
        client.write(&file, 0, &bytes, stable_how::FILE_SYNC).expect("write");
        if n == 3 {
            server.drop_cache();
        }
        (name, bytes)
    };
    let made = (0..8).map(make).collect();
    // The very last record of a log: when it is damaged, nothing behind it says that it was whole
    // once, and it counts as torn by the crash. So nobody reads this one.
    let file = client.create_new(&root, b"the last record").expect("create");
    client.write(&file, 0, &[1; 100_000], stable_how::FILE_SYNC).expect("write");
    made
}

fn rng_bytes(rng: &mut Rng) -> Vec<u8> {
    let len = 1 + rng.below(400_000);
    rng.bytes(len)
}

/// Reads every file. How many were right, and how many answered with an error.
fn read_all(
    server: &Server,
    files: &BTreeMap<String, Vec<u8>>,
    mut wrong: impl FnMut(String),
) -> (u32, u32) {
    let (mut good, mut errors) = (0, 0);
    let mut client = match Client::mount(server, "/export") {
        Ok(client) => client,
        Err(_) => return (0, 1),
    };
    let root = client.root.clone();
    for (name, bytes) in files {
        let read = client.lookup(&root, name.as_bytes()).and_then(|file| client.read_all(&file));
        match read {
            Ok(read) if read == *bytes => good += 1,
            Ok(read) => wrong(format!(
                "{name}: {} bytes instead of {}, the first difference at {:?}",
                read.len(),
                bytes.len(),
                read.iter().zip(bytes).position(|(a, b)| a != b),
            )),
            // A file that was stable is not there: as wrong as other bytes.
            Err(Fail::Status(tests::client::Status::NFS3ERR_NOENT)) => {
                wrong(format!("{name}: not there"));
            }
            Err(Fail::Status(_)) => errors += 1,
            Err(other) => wrong(format!("{name}: {other:?}")),
        }
    }
    (good, errors)
}

/// Flips bits in files of one kind, where there are bytes.
fn flip(live: &Path, place: Where, rng: &mut Rng) -> Vec<(PathBuf, u64)> {
    let mut paths = match place {
        Where::Objects => objects(live),
        Where::Metadata => below(&live.join("meta-0")),
        Where::Log => below(&live.join("cache")),
    };
    paths.sort();
    let pages: Vec<(&PathBuf, u64, usize)> = paths
        .iter()
        .flat_map(|path| pages(path).into_iter().map(move |(at, len)| (path, at, len)))
        .collect();
    let mut flipped: Vec<(PathBuf, u64)> = Vec::new();
    let count = flips(place, rng);
    while flipped.len() < count {
        let (path, at, len) = *rng.pick(&pages);
        let at = at + rng.below(len) as u64;
        if flipped.iter().any(|(known, offset)| known == path && *offset == at) {
            continue;
        }
        flip_at(path, at, rng);
        flipped.push((path.clone(), at));
    }
    flipped
}

/// Flips one bit of a byte.
fn flip_at(path: &Path, at: u64, rng: &mut Rng) {
    let file = File::options().read(true).write(true).open(path).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    byte[0] ^= 1 << rng.below(8);
    file.write_all_at(&byte, at).expect("written");
}

/// Pages of a file that are not all zero: where each begins, and its bytes.
fn pages(path: &Path) -> Vec<(u64, usize)> {
    let bytes = fs::read(path).expect("readable");
    let pages = bytes.chunks(PAGE).enumerate();
    pages
        .filter(|(_, page)| page.iter().any(|byte| *byte != 0))
        .map(|(n, page)| ((n * PAGE) as u64, page.len()))
        .collect()
}

fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("readable").flatten() {
        match entry.file_type().expect("a kind").is_dir() {
            true => found.extend(below(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// Copies a folder; holes stay holes.
fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp")
        .args(["-a", "--sparse=always"])
        .args([from, to])
        .status()
        .expect("cp");
    assert!(done.success(), "cp: {done}");
}
