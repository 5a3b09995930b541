//! Shares and stores: each share's blocks rest in the store that it names, and only once.

use nfs3_types::nfs3::stable_how;
use tests::{
    client::{Client, Fail, Handle, Status},
    rng::Rng,
    server::{Content, Server, Share},
};

const PART_BYTES: usize = 1 << 20;

/// Two shares on two pairs of stores.
fn two(dir: &std::path::Path) -> Server {
    let second = Share { name: "/second".into(), ..Share::export() };
    Server::with_shares(dir, vec![Share::export(), second])
}

#[test]
fn stores_are_the_ones_that_a_share_names() {
    let dir = tempfile::tempdir().expect("folder");
    let server = two(dir.path());
    let mut first = Client::mount(&server, "/export").expect("mount");
    let mut second = Client::mount(&server, "/second").expect("mount");
    let bytes = Rng::new(1).bytes(9 << 20);
    let (before, other) = (server.stored_bytes(0), server.stored_bytes(1));

    let (root, name) = (first.root.clone(), b"a");
    write(&mut first, &root, name, &bytes);
    server.drop_cache();
    let one = server.stored_bytes(0) - before;
    assert!(one >= bytes.len() as u64, "{one} bytes in the first share's store");
    assert_eq!(server.stored_bytes(1), other, "nothing in the other share's store");

    let root = second.root.clone();
    let file = write(&mut second, &root, name, &bytes);
    server.drop_cache();
    assert!(server.stored_bytes(1) - other >= bytes.len() as u64, "no store counts on the other");
    let root = first.root.clone();
    first.remove(&root, name).expect("remove");
    assert_eq!(second.read_all(&file).expect("read"), bytes);
}

#[test]
fn stores_hold_equal_blocks_once() {
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::with_shares(dir.path(), vec![Share::export()]);
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let bytes = Rng::new(2).bytes(8 << 20);
    write(&mut client, &root, b"a", &bytes);
    server.drop_cache();
    let once = server.stored_bytes(0);
    let files: Vec<Handle> =
        [b"b", b"c"].iter().map(|name| write(&mut client, &root, *name, &bytes)).collect();
    server.drop_cache();
    assert_eq!(server.stored_bytes(0), once, "equal blocks are stored once");

    // The copies do not need the original, nor the process that wrote them.
    client.remove(&root, b"a").expect("remove");
    server.restart();
    server.drop_cache();
    let mut client = Client::mount(&server, "/export").expect("mount");
    for file in files {
        assert_eq!(client.read_all(&file).expect("read"), bytes);
    }
}

/// What can be compressed rests smaller, what cannot is not made larger, and a store reads what it
/// wrote when it was set otherwise.
#[test]
fn stores_compress_new_blocks_and_read_old_ones() {
    let dir = tempfile::tempdir().expect("folder");
    let share = |by| vec![Share { content: Content::Compressed(by), ..Share::export() }];
    let mut server = Server::with_shares(dir.path(), share("none"));
    let mut rng = Rng::new(3);
    let mut files = Vec::new();
    for codec in ["none", "lz4", "zstd", "none"] {
        server.reconfigure(share(codec));
        server.restart();
        let mut client = Client::mount(&server, "/export").expect("mount");
        let root = client.root.clone();
        for kind in ["words", "noise"] {
            // Blocks of all sizes: small ones share packs, and the last of a file is not whole.
            for len in [5_000, 300_000, (9 << 20) + 77] {
                let bytes = match kind {
                    "words" => rng.bytes(100).iter().copied().cycle().take(len).collect(),
                    _ => rng.bytes(len),
                };
                let before = server.stored_bytes(0);
                let name = format!("{}-{kind}", files.len());
                let file = write(&mut client, &root, name.as_bytes(), &bytes);
                server.drop_cache();
                let stored = server.stored_bytes(0) - before;
                let is_small = stored < len as u64 / 4;
                assert_eq!(is_small, kind == "words" && codec != "none", "{name}: {stored}");
                assert!(stored < len as u64 + len as u64 / 50 + 4096, "{name}: {stored} bytes");
                files.push((file, bytes));
            }
        }
        for (file, bytes) in &files {
            assert!(client.read_all(file).expect("read") == *bytes, "{codec}");
        }
    }
    server.restart();
    server.drop_cache();
    let mut client = Client::mount(&server, "/export").expect("mount");
    for (file, bytes) in &files {
        assert!(client.read_all(file).expect("read") == *bytes, "after a restart");
    }
}

#[test]
fn stores_refuse_what_would_cross_them() {
    let dir = tempfile::tempdir().expect("folder");
    let server = two(dir.path());
    let mut client = Client::mount(&server, "/export").expect("mount");
    let other = Client::mount(&server, "/second").expect("mount").root;
    let root = client.root.clone();
    let file = client.create_new(&root, b"a").expect("create");
    let moved = client.rename((&root, b"a"), (&other, b"b"));
    assert!(matches!(moved, Err(Fail::Status(Status::NFS3ERR_XDEV))), "RENAME: {moved:?}");
    let linked = client.link(&file, &other, b"b");
    assert!(matches!(linked, Err(Fail::Status(Status::NFS3ERR_XDEV))), "LINK: {linked:?}");
    assert!(client.readdir(&other, 4096).expect("list").is_empty());
    assert_eq!(client.lookup(&root, b"a").expect("still there"), file);
}

/// More bytes than cache and log hold together: the server makes room, and says no to nobody.
#[test]
fn stores_take_more_than_the_log_holds() {
    const FILES: u64 = 4;
    const FILE_BYTES: usize = 160 << 20;
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::with_limits(dir.path(), vec![Share::export()], "64Mi", "256Mi");
    let memory = server.memory_bytes();
    let (name, bytes) = (|n| format!("file {n}"), |n| Rng::new(n).bytes(FILE_BYTES));
    std::thread::scope(|scope| {
        for n in 0..FILES {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::mount(server, "/export").expect("mount");
                let root = client.root.clone();
                write(&mut client, &root, name(n).as_bytes(), &bytes(n));
            });
        }
    });
    let growth = server.memory_bytes().saturating_sub(memory) >> 20;
    assert!(growth < 400, "{growth} MiB of memory");
    server.restart();
    let mut client = Client::mount(&server, "/export").expect("mount");
    for n in 0..FILES {
        let root = client.root.clone();
        let file = client.lookup(&root, name(n).as_bytes()).expect("written");
        assert!(client.read_all(&file).expect("read") == bytes(n), "file {n} differs");
    }
    server.assert_alive();
}

/// A small file costs what it weighs, in memory and in the store.
#[test]
fn stores_keep_small_files_small() {
    const FILES: usize = 10_000;
    let dir = tempfile::tempdir().expect("folder");
    let server = Server::with_shares(dir.path(), vec![Share::export()]);
    let memory = server.memory_bytes();
    std::thread::scope(|scope| {
        for part in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::mount(server, "/export").expect("mount");
                let root = client.root.clone();
                for n in (part..FILES).step_by(8) {
                    let text = format!("file {n}");
                    let file = client.create_new(&root, text.as_bytes()).expect("create");
                    let bytes = text.as_bytes();
                    client.write(&file, 0, bytes, stable_how::UNSTABLE).expect("write");
                }
            });
        }
    });
    let each = server.memory_bytes().saturating_sub(memory) / FILES as u64;
    assert!(each < 16 << 10, "{each} bytes of memory for each");
    server.drop_cache();
    let each = server.stored_bytes(0) / FILES as u64;
    assert!(each < 1 << 10, "{each} bytes in the store for each");
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    for n in (0..FILES).step_by(97) {
        let name = format!("file {n}");
        let file = client.lookup(&root, name.as_bytes()).expect("created");
        assert_eq!(client.read_all(&file).expect("read"), name.as_bytes());
    }
}

fn write(client: &mut Client, dir: &Handle, name: &[u8], bytes: &[u8]) -> Handle {
    let file = client.create_new(dir, name).expect("create");
    for (n, part) in bytes.chunks(PART_BYTES).enumerate() {
        let offset = (n * PART_BYTES) as u64;
        client.write(&file, offset, part, stable_how::UNSTABLE).expect("write");
    }
    client.commit(&file).expect("commit");
    file
}
