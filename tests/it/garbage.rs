//! What nobody refers to leaves the content store, also when a process was killed in between.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::Client,
    rng::{Rng, seeds},
    server::{Server, Share},
};

/// Kills at the moment when an object has its name, before the metadata store may know of it. The
/// bytes are in the log, so nothing is lost; the object is nobody's until a round takes it away.
#[test]
fn garbage_of_a_kill_between_put_and_entry_is_found() {
    let seed = seeds(1)[0];
    println!("SEED={seed}");
    let mut rng = Rng::new(seed);
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::with_shares(dir.path(), vec![Share::export()]);
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut leaks = 0;
    for n in 0..40 {
        let mut client = Client::mount(&server, "/export").expect("mount");
        let (root, name) = (client.root.clone(), format!("file {n}"));
        let file = client.create_new(&root, name.as_bytes()).expect("create");
        // Too large for a pack.
        let bytes = rng.bytes(300_000);
        client.write(&file, 0, &bytes, stable_how::FILE_SYNC).expect("write");
        files.push((name, bytes));
        let before = objects(dir.path());
        server.while_at_work(|server| {
            let asked = server.begin_drop_cache();
            while objects(dir.path()).len() <= before.len() {}
            server.kill9();
            drop(asked);
        });
        let there = objects(dir.path());
        let looked = server.run(&["gc", "--dry-run", "--grace", "0s"]);
        let leaked = number(&looked, "counted by nobody, due");
        assert_eq!(objects(dir.path()), there, "a dry run changes nothing: {looked}");
        let swept = server.run(&["gc", "--grace", "0s"]);
        assert_eq!(number(&swept, "deleted objects"), leaked, "seed {seed}: {swept}");
        assert_eq!(objects(dir.path()).len() as u64, there.len() as u64 - leaked);
        server.start();
        leaks += leaked;
        if leaks >= 3 {
            break;
        }
    }
    assert!(leaks >= 3, "seed {seed}: {leaks} kills hit the moment");
    server.drop_cache();
    let mut client = Client::mount(&server, "/export").expect("mount");
    for (name, bytes) in &files {
        let root = client.root.clone();
        let file = client.lookup(&root, name.as_bytes()).expect("created");
        assert!(client.read_all(&file).expect("read") == *bytes, "seed {seed}: {name} differs");
    }
    let looked = server.run(&["gc", "--dry-run", "--grace", "0s"]);
    assert_eq!(number(&looked, "in use"), files.len() as u64, "{looked}");
    assert_eq!(number(&looked, "counted by nobody, due"), 0, "{looked}");
}

/// Space returns, asked for while the server runs.
#[test]
fn garbage_leaves_a_running_server_when_asked() {
    let dir = tempfile::tempdir().expect("folder");
    let server = Server::with_shares(dir.path(), vec![Share::export()]);
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let mut rng = Rng::new(3);
    for name in [b"a", b"b"] {
        let file = client.create_new(&root, name).expect("create");
        client.write(&file, 0, &rng.bytes(1 << 20), stable_how::FILE_SYNC).expect("write");
    }
    server.drop_cache();
    let stored = server.stored_bytes(0);
    client.remove(&root, b"a").expect("remove");
    // The removal is answered before its blocks are released.
    while number(&server.run(&["gc", "--dry-run"]), "unreferenced, within the grace") == 0 {}
    let kept = server.run(&["gc"]);
    assert_eq!(number(&kept, "deleted objects"), 0, "within the grace: {kept}");
    let swept = server.run(&["gc", "--grace", "0s"]);
    assert_eq!(number(&swept, "deleted objects"), 1, "{swept}");
    assert_eq!(server.stored_bytes(0), stored / 2);
}

/// The number in the row of that name.
#[track_caller]
pub(crate) fn number(said: &str, row: &str) -> u64 {
    let rest = said.lines().find_map(|line| line.trim().strip_prefix(row));
    let word = rest.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no `{row}` in {said}"))
}

/// All objects of the first share's content store.
pub(crate) fn objects(dir: &Path) -> Vec<PathBuf> {
    fn below(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => below(&entry.path(), found),
                _ => found.push(entry.path()),
            }
        }
    }
    let mut found = Vec::new();
    below(&dir.join("content-0"), &mut found);
    found.retain(|path| path.parent().is_some_and(|dir| !dir.ends_with("tmp")));
    found.sort();
    found
}
