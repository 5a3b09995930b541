//! An encrypted content store: nothing readable in it, everything back, keys that change, and a
//! server that does not start without them.

use std::{fs, path::Path};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::{Client, Handle},
    rng::Rng,
    server::{Content, Server, Share},
};

use crate::garbage::objects;

const TEXT: &[u8] = b"the words that nobody else may read; ";
const NAME: &[u8] = b"a name that nobody else may read";

fn share(keys: &[&str]) -> Vec<Share> {
    let key =
        |name: &&str| (format!("key-{name}"), format!("{:02x}", name.as_bytes()[0]).repeat(32));
    vec![Share { content: Content::Encrypted(keys.iter().map(key).collect()), ..Share::export() }]
}

/// Small and large ones.
fn texts() -> Vec<Vec<u8>> {
    [10, 1000, 70_000, 300_000, 5_000_000].map(|len| TEXT.repeat(len / TEXT.len() + 1)).into()
}

fn write(client: &mut Client, dir: &Handle) {
    for (n, text) in texts().iter().enumerate() {
        let name = [NAME, n.to_string().as_bytes()].concat();
        let file = client.create_new(dir, &name).expect("create");
        for (part, bytes) in text.chunks(1 << 20).enumerate() {
            let offset = (part as u64) << 20;
            client.write(&file, offset, bytes, stable_how::UNSTABLE).expect("write");
        }
        client.commit(&file).expect("commit");
    }
}

fn assert_right(server: &Server) {
    server.drop_cache();
    let mut client = Client::mount(server, "/export").expect("mount");
    let root = client.root.clone();
    for (n, text) in texts().iter().enumerate() {
        let name = [NAME, n.to_string().as_bytes()].concat();
        let file = client.lookup(&root, &name).expect("there");
        assert!(client.read_all(&file).expect("read") == *text, "file {n}");
    }
}

fn assert_unreadable(dir: &Path) {
    let stored = objects(dir);
    assert!(!stored.is_empty());
    for path in stored {
        let bytes = fs::read(&path).expect("readable");
        for words in [&TEXT[..20], NAME, b"/export"] {
            let found = bytes.windows(words.len()).any(|part| part == words);
            assert!(!found, "{}", path.display());
        }
    }
}

#[test]
fn encryption_hides_bytes_and_names_and_survives_a_rebuild() {
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::with_shares(dir.path(), share(&["a"]));
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    write(&mut client, &root);
    server.drop_cache();
    server.run(&["checkpoint"]);
    assert_unreadable(dir.path());
    assert_right(&server);
    server.restart();
    assert_right(&server);
    let said = server.run(&["scrub", "--rate", "0"]);
    assert!(said.contains("0 damaged"), "{said}");
    server.run(&["fsck"]);
    server.kill9();
    fs::remove_dir_all(dir.path().join("meta-0")).expect("removed");
    fs::remove_dir_all(dir.path().join("cache")).expect("removed");
    let said = server.run(&["rebuild"]);
    assert!(said.contains(" 0 missing\nReady: dittofs start"), "{said}");
    server.start();
    assert_right(&server);
    assert_unreadable(dir.path());
}

#[test]
fn encryption_keys_change_and_a_wrong_one_is_refused() {
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::with_shares(dir.path(), share(&["a"]));
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    write(&mut client, &root);
    server.drop_cache();
    let before = objects(dir.path());
    let refused = |server: &mut Server, shares: Vec<Share>, words: &str| {
        if server.is_running() {
            server.kill9();
        }
        server.reconfigure(shares);
        assert!(!server.try_start(), "it must not start");
        let log = server.log_text();
        assert!(log.contains(words), "{log}");
    };
    refused(&mut server, share(&["b"]), "under key `key-a`; declare it below keys");
    refused(&mut server, vec![Share::export()], "under key `key-a`; name it as encryption.key");

    server.reconfigure(share(&["b", "a"]));
    server.start();
    assert_right(&server);
    let said = server.run(&["key", "rotate"]);
    assert!(said.contains("1 data keys are wrapped by key key-b now"), "{said}");
    refused(&mut server, share(&["a"]), "under key `key-b`");
    server.reconfigure(share(&["b"]));
    server.start();
    assert_right(&server);
    assert_eq!(objects(dir.path()), before, "no object was made or removed");
}

#[test]
fn encryption_turned_on_leaves_what_was_there_readable() {
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::with_shares(dir.path(), vec![Share::export()]);
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    write(&mut client, &root);
    server.drop_cache();
    let before = objects(dir.path());
    server.kill9();
    server.reconfigure(share(&["a"]));
    server.start();
    assert_right(&server);
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let new = client.mkdir(&root, b"new").expect("mkdir");
    write(&mut client, &new);
    server.drop_cache();
    let mut found = 0;
    for path in objects(dir.path()).into_iter().filter(|path| !before.contains(path)) {
        let bytes = fs::read(&path).expect("readable");
        assert!(!bytes.windows(20).any(|part| part == &TEXT[..20]), "{}", path.display());
        found += 1;
    }
    assert!(found >= 3, "{found} new objects: equal bytes are put again, encrypted");
    assert_right(&server);
}

#[test]
fn encryption_finds_flipped_bits() {
    let dir = tempfile::tempdir().expect("folder");
    let server = Server::with_shares(dir.path(), share(&["a"]));
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    write(&mut client, &root);
    server.drop_cache();
    let mut rng = Rng::new(3);
    let stored = objects(dir.path());
    let blocks = stored.iter().filter(|path| path.to_string_lossy().contains("/blocks/"));
    for path in blocks {
        let good = fs::read(path).expect("readable");
        let mut bad = good.clone();
        let at = rng.below(bad.len());
        bad[at] ^= 1;
        fs::write(path, bad).expect("written");
        server.try_drop_cache();
        let (_, out, err) = server.try_run(&["scrub", "--rate", "0"]);
        let found = out.lines().filter(|line| line.starts_with("block ")).count();
        assert_eq!(found, 1, "byte {at} of {}: {out}{err}", path.display());
        fs::write(path, good).expect("written");
        server.run(&["scrub", "--rate", "0"]);
    }
}
