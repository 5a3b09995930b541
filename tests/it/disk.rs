//! A disk that is full, fails, or turns read-only, with real file systems on loop devices: the
//! right status, one clear line and a metric for the operator, nothing lost that was acknowledged.

use std::{
    fs,
    time::{Duration, Instant},
};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::{Client, Fail, Handle, Status},
    disk::Disk,
    rng::Rng,
    server::{Server, Share},
};

const FILE_BYTES: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

fn bytes(n: u64) -> Vec<u8> {
    Rng::new(n).bytes(FILE_BYTES)
}

fn name(n: u64) -> String {
    format!("file {n}")
}

fn write(client: &mut Client, n: u64) -> Handle {
    let root = client.root.clone();
    let file = client.create_new(&root, name(n).as_bytes()).expect("create");
    for (part, bytes) in bytes(n).chunks(1 << 20).enumerate() {
        let offset = (part << 20) as u64;
        client.write(&file, offset, bytes, stable_how::UNSTABLE).expect("write");
    }
    client.commit(&file).expect("commit");
    file
}

fn check(client: &mut Client, n: u64) {
    let root = client.root.clone();
    let file = client.lookup(&root, name(n).as_bytes()).expect("lookup");
    assert!(client.read_all(&file).expect("read") == bytes(n), "file {n} differs");
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A log whose disk is smaller than it may become: writes wait for uploads, and none fails.
#[test]
fn disk_full_of_log() {
    let dir = tempfile::tempdir().expect("folder");
    let _disk = Disk::new(dir.path(), "cache", 300);
    let server = Server::with_limits(dir.path(), vec![Share::export()], "64Mi", "2Gi");
    let files = 40;
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::mount(server, "/export").expect("mount");
                (thread..files).step_by(2).for_each(|n| drop(write(&mut client, n)));
            });
        }
    });
    assert_eq!(server.log_text().matches("cannot grow beyond").count(), 1, "it is said, once");
    assert_eq!(server.metric("dittofs_log_read_only"), 0.0);
    server.drop_cache();
    let mut client = Client::mount(&server, "/export").expect("mount");
    (0..files).for_each(|n| check(&mut client, n));
}

/// A content store that is full: the log takes what it can, then writers wait, and with room again
/// everything goes on.
#[test]
fn disk_full_of_blocks() {
    let dir = tempfile::tempdir().expect("folder");
    let disk = Disk::new(dir.path(), "content-0", 700);
    let ballast = disk.mounted.join("ballast");
    fs::write(&ballast, vec![1; 620 << 20]).expect("ballast");
    let server = Server::with_limits(dir.path(), vec![Share::export()], "64Mi", "256Mi");
    let mut client = Client::mount(&server, "/export").expect("mount");
    (0..9).for_each(|n| drop(write(&mut client, n)));
    until("the store is seen full", || server.metric("dittofs_remote_up") == 0.0);
    let of = |class: &str| {
        server.metric_of("dittofs_nfs_requests_total", &format!("status=\"{class}\""))
    };
    assert_eq!((of("busy"), of("failed")), (0.0, 0.0), "there was room in the log");
    (0..9).for_each(|n| check(&mut client, n));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = Client::mount(&server, "/export").expect("mount");
            (9..20).for_each(|n| drop(write(&mut client, n)));
        });
        until("the log is full", || of("busy") > 0.0);
        fs::remove_file(&ballast).expect("ballast");
        writer.join().expect("it goes on");
    });
    assert_eq!(of("failed"), 0.0, "nobody was told of an error");
    assert!(server.log_text().contains("uploads wait"), "the operator was");
    server.drop_cache();
    (0..20).for_each(|n| check(&mut client, n));
}

/// The log's disk breaks: nothing is acknowledged any more, what was can be read, and a restart on
/// the mended disk has it.
fn breaks(breaks: impl FnOnce(&Disk)) {
    let dir = tempfile::tempdir().expect("folder");
    let disk = Disk::new(dir.path(), "cache", 300);
    let mut server = Server::with_limits(dir.path(), vec![Share::export()], "64Mi", "256Mi");
    let mut client = Client::mount(&server, "/export").expect("mount");
    let file = write(&mut client, 0);
    breaks(&disk);
    for stable in [stable_how::FILE_SYNC, stable_how::DATA_SYNC, stable_how::UNSTABLE] {
        for offset in 0..5 {
            let wrote = client.write(&file, FILE_BYTES as u64 + offset, b"lost", stable);
            let is_refused =
                matches!(wrote, Err(Fail::Status(Status::NFS3ERR_IO | Status::NFS3ERR_ROFS)));
            assert!(is_refused, "{stable:?}: {wrote:?}");
        }
        let committed = client.commit(&file);
        assert!(matches!(committed, Err(Fail::Status(Status::NFS3ERR_IO))), "{committed:?}");
    }
    until("the metric says so", || server.metric("dittofs_log_read_only") == 1.0);
    let log = server.log_text();
    assert_eq!(log.matches("takes no more writes").count(), 1, "{log}");
    let read = client.read(&file, 0, 1 << 20).expect("what was acknowledged can be read").0;
    assert!(read == bytes(0)[..1 << 20]);
    server.assert_alive();
    server.kill9();
    disk.unmount();
    disk.mount();
    server.start();
    let mut client = Client::mount(&server, "/export").expect("mount");
    check_start(&mut client);
    write(&mut client, 1);
    check(&mut client, 1);
}

/// What was refused may be there or not; what was acknowledged is.
fn check_start(client: &mut Client) {
    let root = client.root.clone();
    let file = client.lookup(&root, name(0).as_bytes()).expect("lookup");
    let found = client.read_all(&file).expect("read");
    assert!(found[..FILE_BYTES] == bytes(0), "the acknowledged bytes differ");
}

#[test]
fn disk_that_fails() {
    breaks(Disk::fail);
}

#[test]
fn disk_that_turns_read_only() {
    breaks(Disk::turn_read_only);
}
