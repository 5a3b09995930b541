//! Small files share objects: few PUTs, every byte back, space returns, a kill loses nothing.
//!
//! `PACK_FILES=100000` takes that many files.

use std::{fs, path::Path};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::Client,
    proxy::Proxy,
    rng::Rng,
    s3::S3,
    server::{Content, Server, Share},
};

use crate::garbage::{number, objects};

const FILE_BYTES: usize = 4096;
const DIRS: usize = 10;

fn bytes(n: usize) -> Vec<u8> {
    Rng::new(n as u64).bytes(FILE_BYTES)
}

/// Writes files in several directories by as many clients.
fn fill(server: &Server, files: usize) {
    std::thread::scope(|scope| {
        for part in 0..DIRS {
            scope.spawn(move || {
                let mut client = Client::mount(server, "/export").expect("mount");
                let root = client.root.clone();
                let dir = client.mkdir(&root, format!("dir {part}").as_bytes()).expect("mkdir");
                for n in (part..files).step_by(DIRS) {
                    let file = client.create_new(&dir, format!("{n}").as_bytes()).expect("create");
                    client.write(&file, 0, &bytes(n), stable_how::UNSTABLE).expect("write");
                    if n + DIRS >= files {
                        client.commit(&file).expect("commit");
                    }
                }
            });
        }
    });
}

/// Every file of some, read by several clients.
fn assert_right(server: &Server, files: usize, is_there: impl Fn(usize) -> bool + Sync) {
    std::thread::scope(|scope| {
        for part in 0..DIRS {
            let is_there = &is_there;
            scope.spawn(move || {
                let mut client = Client::mount(server, "/export").expect("mount");
                let root = client.root.clone();
                let dir = client.lookup(&root, format!("dir {part}").as_bytes()).expect("dir");
                for n in (part..files).step_by(DIRS).filter(|n| is_there(*n)) {
                    let file = client.lookup(&dir, format!("{n}").as_bytes()).expect("there");
                    assert!(client.read_all(&file).expect("read") == bytes(n), "file {n}");
                }
            });
        }
    });
}

#[test]
fn packs_of_small_files_cost_few_puts() {
    let files = std::env::var("PACK_FILES").ok();
    let files: usize = files.and_then(|files| files.parse().ok()).unwrap_or(10_000);
    let dir = tempfile::tempdir().expect("folder");
    let s3 = S3::start();
    let proxy = Proxy::start(&s3.place(), 1);
    let content = Content::S3(proxy.place(&s3.place()));
    let share = Share { content, ..Share::export() };
    let mut server = Server::with_shares(dir.path(), vec![share]);
    let before = proxy.puts();
    fill(&server, files);
    server.drop_cache();
    let puts = proxy.puts() - before;
    println!("{files} files of {FILE_BYTES} bytes: {puts} PUTs");
    assert!(puts <= files as u64 * 150 / 100_000 + 5, "{puts} PUTs for {files} files");
    assert_right(&server, files, |_| true);
    server.restart();
    server.drop_cache();
    assert_right(&server, files, |_| true);
}

#[test]
fn packs_that_are_mostly_dead_return_their_space() {
    const FILES: usize = 3000;
    let dir = tempfile::tempdir().expect("folder");
    let server = Server::with_shares(dir.path(), vec![Share::export()]);
    fill(&server, FILES);
    server.drop_cache();
    let stored = server.stored_bytes(0);
    let kept = |n: usize| n.is_multiple_of(7 * DIRS);
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    for part in 0..DIRS {
        let dir = client.lookup(&root, format!("dir {part}").as_bytes()).expect("dir");
        for n in (part..FILES).step_by(DIRS).filter(|n| !kept(*n)) {
            client.remove(&dir, format!("{n}").as_bytes()).expect("remove");
        }
    }
    // The removals are answered before their blocks are released.
    let mut moved = 0;
    while server.stored_bytes(0) > stored / 5 {
        moved += number(&server.run(&["gc", "--grace", "0s"]), "blocks moved to new packs");
    }
    assert!(moved > 0, "by compaction");
    server.drop_cache();
    assert_right(&server, FILES, kept);
    server.run(&["fsck"]);
    let said = server.run(&["scrub", "--rate", "0"]);
    assert!(said.contains("0 damaged"), "{said}");
}

/// Kills when packs have their names, before all of their blocks are entered.
#[test]
fn packs_survive_a_kill_in_the_middle() {
    const FILES: usize = 3000;
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::with_shares(dir.path(), vec![Share::export()]);
    fill(&server, FILES);
    for packs in 1..3 {
        server.while_at_work(|server| {
            let asked = server.begin_drop_cache();
            while objects(dir.path()).len() < packs {}
            server.kill9();
            drop(asked);
        });
        server.start();
    }
    assert_right(&server, FILES, |_| true);
    server.drop_cache();
    assert_right(&server, FILES, |_| true);
    // What the kills left behind goes.
    server.run(&["gc", "--grace", "0s"]);
    let left = server.run(&["gc", "--grace", "0s"]);
    assert_eq!(number(&left, "counted by nobody, due"), 0, "{left}");
    assert!(objects(dir.path()).len() <= 6, "{left}");
    server.drop_cache();
    assert_right(&server, FILES, |_| true);
    server.run(&["fsck"]);
}

#[test]
fn packs_alone_make_a_server() {
    const FILES: usize = 500;
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::with_shares(dir.path(), vec![Share::export()]);
    fill(&server, FILES);
    server.drop_cache();
    assert_eq!(packs(dir.path()), 1);
    server.run(&["checkpoint"]);
    // What the checkpoint names is kept where it says, whatever moves afterwards.
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    for part in 0..DIRS - 1 {
        let dir = client.lookup(&root, format!("dir {part}").as_bytes()).expect("dir");
        for n in (part..FILES).step_by(DIRS) {
            client.remove(&dir, format!("{n}").as_bytes()).expect("remove");
        }
    }
    for _ in 0..3 {
        server.run(&["gc", "--grace", "0s"]);
    }
    server.kill9();
    fs::remove_dir_all(dir.path().join("meta-0")).expect("removed");
    fs::remove_dir_all(dir.path().join("cache")).expect("removed");
    let said = server.run(&["rebuild"]);
    assert!(said.contains(" 0 missing\nReady: dittofs start"), "{said}");
    server.start();
    assert_right(&server, FILES, |_| true);
}

fn packs(dir: &Path) -> usize {
    objects(dir).iter().filter(|path| path.to_string_lossy().contains("/packs/")).count()
}
