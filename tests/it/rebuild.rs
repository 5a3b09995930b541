//! A server from its content store alone, as of the last checkpoint.

use std::{fs, time::Duration};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::{Client, Fail, Status},
    rng::Rng,
    s3::S3,
    server::{Content, Metadata, Server, Share},
};

use crate::garbage::number;

#[test]
fn rebuild_from_a_folder() {
    let dir = tempfile::tempdir().expect("folder");
    round(dir.path(), Share::export());
}

#[test]
fn rebuild_from_s3() {
    let dir = tempfile::tempdir().expect("folder");
    let s3 = S3::start();
    let content = Content::S3(s3.place());
    let share = Share { content, metadata: Metadata::Badger, ..Share::export() };
    round(dir.path(), share);
}

fn round(dir: &std::path::Path, share: Share) {
    let mut server = Server::with_shares(dir, vec![share]);
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let mut rng = Rng::new(5);
    let below = client.mkdir(&root, b"dir").expect("mkdir");
    let names: Vec<String> = (0..20).map(|n| format!("file {n}")).collect();
    let texts: Vec<Vec<u8>> = names.iter().map(|_| rng.bytes(300_000)).collect();
    for (name, text) in names.iter().zip(&texts) {
        let file = client.create_new(&below, name.as_bytes()).expect("create");
        client.write(&file, 0, text, stable_how::FILE_SYNC).expect("write");
    }
    // The checkpoint knows of a block that nobody refers to, and it is deleted afterwards.
    let gone = client.create_new(&below, b"gone").expect("create");
    let gone_text = rng.bytes(50_000);
    client.write(&gone, 0, &gone_text, stable_how::FILE_SYNC).expect("write");
    server.drop_cache();
    client.remove(&below, b"gone").expect("remove");
    let unreferenced = "unreferenced, within the grace";
    while number(&server.run(&["gc", "--dry-run"]), unreferenced) < 1 {}
    let said = server.run(&["checkpoint"]);
    assert_eq!(number(&server.run(&["gc", "--grace", "0s"]), "deleted objects"), 1);
    assert!(said.contains("a checkpoint of "), "{said}");

    // What comes after the checkpoint is lost with the machine; what it names is kept.
    let late = client.create_new(&below, b"late").expect("create");
    client.write(&late, 0, b"late", stable_how::FILE_SYNC).expect("write");
    client.remove(&below, names[0].as_bytes()).expect("remove");
    let changed = client.lookup(&below, names[1].as_bytes()).expect("there");
    client.write(&changed, 0, &rng.bytes(300_000), stable_how::FILE_SYNC).expect("write");
    server.drop_cache();
    while number(&server.run(&["gc", "--dry-run"]), unreferenced) < 2 {}
    let swept = server.run(&["gc", "--grace", "0s"]);
    assert_eq!(number(&swept, "deleted objects"), 0, "the checkpoint names them: {swept}");
    server.kill9();
    let (_, _, err) = server.try_run(&["rebuild"]);
    assert!(err.contains("already; move it away first"), "nothing is overwritten: {err}");

    fs::remove_dir_all(dir.join("meta-0")).expect("removed");
    fs::remove_dir_all(dir.join("cache")).expect("removed");
    let said = server.run(&["rebuild"]);
    assert!(said.contains("20 in use, 0 missing\nReady: dittofs start"), "{said}");
    server.start();
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let below = client.lookup(&root, b"dir").expect("there");
    for (name, text) in names.iter().zip(&texts) {
        let file = client.lookup(&below, name.as_bytes()).expect("there");
        assert!(client.read_all(&file).expect("read") == *text, "{name} differs");
    }
    let late = client.lookup(&below, b"late");
    assert!(matches!(late, Err(Fail::Status(Status::NFS3ERR_NOENT))), "{late:?}");

    // The same bytes as those that were deleted are put again.
    let again = client.create_new(&below, b"again").expect("create");
    client.write(&again, 0, &gone_text, stable_how::FILE_SYNC).expect("write");
    server.drop_cache();
    assert!(client.read_all(&again).expect("read") == gone_text);

    // It is a server like any other: the next checkpoint lets go of what only the old one named.
    client.remove(&below, names[2].as_bytes()).expect("remove");
    while number(&server.run(&["gc", "--dry-run"]), unreferenced) < 1 {}
    std::thread::sleep(Duration::from_secs(1)); // a checkpoint's name is its second
    server.run(&["checkpoint"]);
    let swept = server.run(&["gc", "--grace", "0s"]);
    assert!(number(&swept, "deleted objects") >= 1, "{swept}");
    server.run(&["fsck"]);
}
