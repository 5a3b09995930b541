//! Damage that is planted in a stopped or running server is found, named, and repaired if possible.

use std::{fs, path::Path};

use fjall::{Database, KeyspaceCreateOptions, Readable};
use nfs3_types::nfs3::stable_how;
use tests::{
    client::{Client, Handle},
    rng::Rng,
    server::{Server, Share},
};

use crate::garbage::objects;

/// Where an inode's number of links stands: see `src/meta/FORMAT.md`.
const NLINK_AT: usize = 24;

fn world(dir: &Path) -> (Server, Handle) {
    let server = Server::with_shares(dir, vec![Share::export()]);
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let dir = client.mkdir(&root, b"dir").expect("mkdir");
    let file = client.create_new(&dir, b"file").expect("create");
    client.write(&file, 0, &Rng::new(1).bytes(100_000), stable_how::FILE_SYNC).expect("write");
    server.drop_cache();
    (server, file)
}

#[test]
fn fsck_finds_nothing_where_nothing_is_wrong() {
    let dir = tempfile::tempdir().expect("folder");
    let (mut server, _) = world(dir.path());
    for _ in 0..2 {
        let said = server.run(&["fsck"]);
        assert!(said.contains("3 inodes, 2 names, 1 blocks in files, 1 counted: 0"), "{said}");
        assert!(said.contains("1 objects: 1 in use, 0 unreferenced, 0 counted by"), "{said}");
        assert!(said.ends_with("Everything agrees\n"), "{said}");
        if server.is_running() {
            server.kill9();
        }
    }
    let said = server.run(&["fsck", "--repair"]);
    assert!(said.contains("Nothing is there to be repaired"), "{said}");
}

#[test]
fn fsck_names_the_files_of_lost_objects() {
    let dir = tempfile::tempdir().expect("folder");
    let (mut server, _) = world(dir.path());
    let object = objects(dir.path()).pop().expect("one");
    let kept = fs::read(&object).expect("readable");
    fs::remove_file(&object).expect("removed");
    for _ in 0..2 {
        let (status, out, err) = server.try_run(&["fsck"]);
        assert_eq!(status.code(), Some(1), "{out}{err}");
        assert!(out.contains("/export/dir/file: 4.0 MiB from byte 0 on cannot be read"), "{out}");
        assert!(err.contains("1 blocks without an object"), "{err}");
        if server.is_running() {
            server.kill9();
        }
    }
    fs::write(&object, kept).expect("written");
    server.run(&["fsck"]);
}

#[test]
fn fsck_repairs_what_it_says() {
    let dir = tempfile::tempdir().expect("folder");
    let (mut server, file) = world(dir.path());
    assert!(server.stop(std::time::Duration::from_secs(30)).success());
    {
        let database = Database::builder(dir.path().join("meta-0")).open().expect("fjall");
        let inodes = database.keyspace("inodes", KeyspaceCreateOptions::default).expect("there");
        let counts = database.keyspace("counts", KeyspaceCreateOptions::default).expect("there");
        let (key, value) = last(&database, &inodes);
        let mut value = value.to_vec();
        value[NLINK_AT] = 7;
        inodes.insert(key, value).expect("written");
        let (key, _) = last(&database, &counts);
        counts.remove(key).expect("removed");
        database.persist(fjall::PersistMode::SyncAll).expect("synced");
    }
    for args in [&["fsck"][..], &["fsck", "--repair"]] {
        let (status, out, err) = server.try_run(args);
        assert_eq!(status.code(), Some(1), "{out}{err}");
        assert!(
            out.contains("says that it has 7 links, not 1\n    repair: set the number"),
            "{out}"
        );
        assert!(out.contains("is in use and not counted\n    repair: count it"), "{out}");
    }
    let (_, _, err) = server.try_run(&["fsck", "--repair"]);
    assert!(err.contains("--yes does it"), "nobody was asked, and nothing done: {err}");
    let said = server.run(&["fsck", "--repair", "--yes"]);
    assert!(said.contains("repaired; checking again"), "{said}");
    let said = server.run(&["fsck"]);
    assert!(said.ends_with("Everything agrees\n"), "{said}");
    server.start();
    let (_, _, err) = server.try_run(&["fsck", "--repair", "--yes"]);
    assert!(err.contains("`dittofs stop`"), "never below a running server: {err}");
    let mut client = Client::mount(&server, "/export").expect("mount");
    assert_eq!(client.getattr(&file).expect("getattr").nlink, 1);
    assert!(client.read_all(&file).expect("read") == Rng::new(1).bytes(100_000));
}

fn last(database: &Database, keyspace: &fjall::Keyspace) -> (fjall::UserKey, fjall::UserValue) {
    let pair = database.snapshot().iter(keyspace).next_back().expect("not empty");
    pair.into_inner().expect("readable")
}
