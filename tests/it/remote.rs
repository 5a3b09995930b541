//! A share of durability `remote` outlives its site: log and metadata are destroyed, and what was
//! answered as stable is in the content store.
//!
//! `SEED=n` replays the operations of one world; the moment of a kill does not repeat.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::{Client, Fail, Status},
    drive::{After, Driver},
    proxy::{Faults, Proxy},
    rng::{Rng, seeds},
    s3::S3,
    server::{Content, Metadata, Server, Share},
};

use crate::garbage::{number, objects};

const THREADS: usize = 3;
const LOSSES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

fn remote(content: Content) -> Share {
    Share { content, durability: "remote", ..Share::export() }
}

/// The site burns down, and comes back from its content store alone.
fn lose(server: &mut Server, dir: &Path) {
    server.kill9();
    destroy(dir);
    server.run(&["rebuild"]);
    server.start();
}

fn destroy(dir: &Path) {
    fs::remove_dir_all(dir.join("meta-0")).expect("removed");
    fs::remove_dir_all(dir.join("cache")).expect("removed");
}

#[test]
fn remote_survives_the_loss_of_the_site() {
    let s3 = S3::start();
    for seed in seeds(3) {
        println!("SEED={seed}");
        let dir = tempfile::tempdir().expect("folder");
        // Worlds share the bucket: each store is a domain of its own.
        world(dir.path(), seed, Content::S3(s3.place()));
    }
}

/// One world on a folder, for the quick run.
#[test]
fn remote_survives_the_loss_of_the_site_quick() {
    let dir = tempfile::tempdir().expect("folder");
    world(dir.path(), 1000, Content::Filesystem);
}

fn world(dir: &Path, seed: u64, content: Content) {
    let mut server = Server::with_shares(dir, vec![remote(content)]);
    let mut rng = Rng::new(seed);
    let mut drivers: Vec<Driver> =
        (0..THREADS).map(|n| Driver::new(&server, n, Rng::new(rng.number()))).collect();
    for loss in 0..LOSSES {
        let moment = Duration::from_millis(50 + rng.number() % 1500);
        let what = rng.below(4);
        std::thread::scope(|scope| {
            let threads: Vec<_> = drivers
                .iter_mut()
                .map(|driver| scope.spawn(|| while driver.step().is_ok() {}))
                .collect();
            server.while_at_work(|server| {
                std::thread::sleep(moment / 2);
                // A whole checkpoint takes over, beside the deltas; and what it does not name goes.
                if what > 0 {
                    server.run(&["checkpoint"]);
                }
                if what > 1 {
                    server.run(&["gc", "--grace", "0s"]);
                }
                std::thread::sleep(moment / 2);
                server.kill9();
            });
            let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            assert!(ended.iter().all(Result::is_ok), "seed {seed}, loss {loss}: see above");
        });
        destroy(dir);
        let said = server.run(&["rebuild"]);
        println!("loss {loss}: {said}");
        server.start();
        for driver in &mut drivers {
            driver.reconnect(&server, After::Crash);
            driver.compare_all(After::Crash);
        }
    }
}

#[test]
fn remote_waits_for_a_store_that_is_away() {
    let s3 = S3::start();
    let proxy = Proxy::start(&s3.place(), 1);
    let dir = tempfile::tempdir().expect("folder");
    let share = remote(Content::S3(proxy.place(&s3.place())));
    let mut server = Server::with_shares(dir.path(), vec![share]);
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let file = client.create_new(&root, b"a").expect("create");
    let bytes = Rng::new(1).bytes(9 << 20);
    let (most, last) = bytes.split_at(8 << 20);
    for (n, part) in most.chunks(1 << 20).enumerate() {
        client.write(&file, (n << 20) as u64, part, stable_how::UNSTABLE).expect("write");
    }
    proxy.set(Faults { hole: true, ..Faults::default() });
    let busy = |procedure: &str| {
        let text = server.metrics_text();
        let mut lines = text.lines().filter(|line| {
            line.starts_with("dittofs_nfs_requests_total") && line.contains("status=\"busy\"")
        });
        lines.any(|line| line.contains(procedure))
    };
    let wait = |what: &str, is_so: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "never: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let mount = || Client::mount(&server, "/export").expect("mount");
    std::thread::scope(|scope| {
        let tasks = [
            scope.spawn(|| {
                mount().commit(&file).expect("commit");
            }),
            scope.spawn(|| {
                let at = most.len() as u64;
                mount().write(&file, at, last, stable_how::FILE_SYNC).expect("write");
            }),
            scope.spawn(|| drop(mount().create_new(&root, b"b").expect("create"))),
        ];
        // They were told to come back, and nothing else; meanwhile the file is there to be read.
        wait("COMMIT is answered JUKEBOX", &|| busy("COMMIT"));
        wait("WRITE is answered JUKEBOX", &|| busy("\"WRITE\""));
        assert!(server.metric("dittofs_bytes_at_risk") >= most.len() as f64);
        assert!(mount().read_all(&file).expect("read").starts_with(most));
        assert!(tasks.iter().all(|task| !task.is_finished()), "answered without the store");
        proxy.set(Faults::default());
        tasks.into_iter().for_each(|task| task.join().expect("see above"));
    });
    let failed = server.metric_of("dittofs_nfs_requests_total", "status=\"failed\"");
    assert_eq!(failed, 0.0, "nobody was told of an error");
    wait("nothing is at risk", &|| server.metric("dittofs_bytes_at_risk") == 0.0);
    lose(&mut server, dir.path());
    let mut client = Client::mount(&server, "/export").expect("mount");
    assert!(client.read_all(&file).expect("read") == bytes, "committed bytes are lost");
    client.lookup(&root, b"b").expect("there");
}

#[test]
fn remote_is_set_live_and_says_what_is_broken() {
    let dir = tempfile::tempdir().expect("folder");
    let memory = Share { name: "/memory".into(), content: Content::Memory, ..Share::export() };
    let forgets = Share { name: "/forgets".into(), metadata: Metadata::Memory, ..Share::export() };
    let shares = vec![Share::export(), memory, forgets];
    let mut server = Server::with_shares(dir.path(), shares);
    for (share, why) in [
        ("/memory", "a content store that outlives the server"),
        ("/forgets", "a metadata store that `dittofs rebuild` can make anew"),
    ] {
        let (status, answer) = server.try_set_durability(share, "remote");
        assert!(status != 200 && answer.contains(why), "{status}: {answer}");
    }
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let before = client.create_new(&root, b"before").expect("create");
    client.write(&before, 0, b"before", stable_how::FILE_SYNC).expect("write");
    server.set_durability("/export", "remote");
    assert!(server.run(&["status"]).contains("bytes in c0, remote"));
    client.commit(&before).expect("what was written before rests there too");
    let texts: Vec<Vec<u8>> = (0..6).map(|n| Rng::new(n).bytes(30_000)).collect();
    let name = |n: usize| format!("file {n}");
    for (n, text) in texts.iter().enumerate() {
        let file = client.create_new(&root, name(n).as_bytes()).expect("create");
        client.write(&file, 0, text, stable_how::UNSTABLE).expect("write");
        client.commit(&file).expect("commit");
        // What a checkpoint or delta names stays, whatever is let go of.
        client.write(&file, 0, &[7; 30_000], stable_how::FILE_SYNC).expect("write");
        client.write(&file, 0, text, stable_how::FILE_SYNC).expect("write");
    }
    assert_eq!(number(&server.run(&["gc", "--grace", "0s"]), "deleted objects"), 0);
    server.kill9();
    let deltas = deltas(dir.path());
    assert!(deltas.len() >= 12, "{deltas:?}");
    let whole: Vec<(PathBuf, Vec<u8>)> =
        deltas.iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect();

    let check = |server: &mut Server, files: std::ops::Range<usize>| {
        server.start();
        let mut client = Client::mount(server, "/export").expect("mount");
        assert!(client.read_all(&before).expect("read") == b"before");
        let mut found = 0;
        for (n, text) in texts.iter().enumerate() {
            match client.lookup(&root, name(n).as_bytes()) {
                Ok(file) => {
                    let read = client.read_all(&file).expect("read");
                    let is_older = n + 1 == found + 1 && (read.is_empty() || read == [7; 30_000]);
                    assert!(read == *text || is_older, "{} differs", name(n));
                    found = n + 1;
                }
                Err(Fail::Status(Status::NFS3ERR_NOENT)) => {}
                Err(fail) => panic!("{fail:?}"),
            }
        }
        assert!(files.contains(&found), "{found} files, not {files:?}");
        server.kill9();
        destroy(dir.path());
    };
    destroy(dir.path());
    let middle = deltas.len() / 2;
    let said = |server: &Server, what: &str| {
        let (status, out, err) = server.try_run(&["rebuild"]);
        let shown = deltas[middle].file_name().expect("a name").to_string_lossy();
        assert!(out.contains(&format!("{shown} is {what}; what it had is lost")), "{out}{err}");
        assert!(out.contains("0 missing") && !status.success(), "{out}{err}");
    };
    fs::remove_file(&deltas[middle]).expect("removed");
    said(&server, "missing");
    // A server on what is left begins a line of its own, and takes the broken one away.
    let keep = tempfile::tempdir().expect("folder");
    copy(&dir.path().join("content-0"), keep.path());
    check(&mut server, 2..5);
    let restore = |middle_bytes: Option<&[u8]>| {
        fs::remove_dir_all(dir.path().join("content-0")).expect("removed");
        copy(keep.path(), &dir.path().join("content-0"));
        let (path, bytes) = &whole[middle];
        fs::write(path, middle_bytes.unwrap_or(bytes)).expect("written");
    };
    let mut flipped = whole[middle].1.clone();
    let at = flipped.len() / 2;
    flipped[at] ^= 0x40;
    restore(Some(&flipped));
    said(&server, "damaged");
    check(&mut server, 2..5);
    restore(None);
    let out = server.run(&["rebuild"]);
    assert!(out.contains(&format!("{} deltas after them", deltas.len())), "{out}");
    check(&mut server, 6..7);
}

/// The deltas in the first share's content store, in order.
fn deltas(dir: &Path) -> Vec<PathBuf> {
    let is_delta = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("delta-"))
    };
    let mut found: Vec<PathBuf> = objects(dir).into_iter().filter(is_delta).collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("copied")),
        }
    }
}
