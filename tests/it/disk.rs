//! A disk that is full, fails, or turns read-only, with real file systems on loop devices: the
//! right status, one clear line and a metric for the operator, nothing lost that was acknowledged.

use std::{
    fs,
    time::{Duration, Instant},
};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::{Client, Fail, Handle, Status},
    device::Device,
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

/// A log whose disk does not give some bytes: reads of those are errors, and of nothing else; the
/// server lives, says so and goes on; once the disk gives them, all is right again.
#[test]
fn disk_that_cannot_be_read() {
    const PIECE: usize = 64 << 10;
    let dir = tempfile::tempdir().expect("folder");
    let device = Device::new(&dir.path().join("device"), 512 << 20);
    let disk = Disk::make(device.live(), dir.path().join("cache"));
    // Nothing leaves the log: the content store is full.
    let content = Disk::new(dir.path(), "content-0", 40);
    let ballast = content.mounted.join("ballast");
    let mut server = Server::with_limits(dir.path(), vec![Share::export()], "64Mi", "256Mi");
    drop(fs::write(&ballast, vec![1; 64 << 20]));
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let (large, small) = (Rng::new(1).bytes(32 * PIECE), Rng::new(2).bytes(300));
    let file = client.create_new(&root, b"large").expect("create");
    for (n, piece) in large.chunks(PIECE).enumerate() {
        let offset = (n * PIECE) as u64;
        client.write(&file, offset, piece, stable_how::UNSTABLE).expect("write");
    }
    let little = client.create_new(&root, b"small").expect("create");
    client.write(&little, 0, &small, stable_how::FILE_SYNC).expect("write");
    client.commit(&file).expect("commit");
    // Right bytes or an error, however often the connection is lost on the way there.
    let read = |file: &Handle, offset: usize, len: usize| -> Option<Vec<u8>> {
        for _ in 0..20 {
            let mut client = Client::mount(&server, "/export").expect("mount");
            match client.read(file, offset as u64, u32::try_from(len).expect("small")) {
                Ok((bytes, _)) => return Some(bytes),
                Err(Fail::Status(status)) => {
                    assert!(status == Status::NFS3ERR_IO, "{status:?}");
                    return None;
                }
                Err(Fail::Lost(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        panic!("no answer, ever");
    };
    // In the middle of a page of the file, so in one page of the disk, or two.
    let bad = 5 * PIECE + 1500;
    // A page that a process has mapped stays in memory, so what is to fail was not read before.
    device.spoil(Some(&small[100..132]));
    evict();
    assert_eq!(read(&little, 0, 300), None);
    device.spoil(Some(&large[bad..bad + 32]));
    assert!(read(&little, 0, 300).expect("given again") == small);
    evict();
    let read_large = || {
        let pieces = large.chunks(PIECE).enumerate();
        let failed = pieces.filter(|(n, piece)| match read(&file, n * PIECE, PIECE) {
            Some(bytes) => {
                assert!(bytes == *piece, "piece {n}");
                false
            }
            None => true,
        });
        failed.map(|(n, _)| n).collect::<Vec<_>>()
    };
    // The kernel reads some pages together, and then they fail together.
    let failed = read_large();
    assert!(failed.contains(&5) && failed.iter().all(|n| (4..7).contains(n)), "{failed:?}");
    assert!(server.metric("dittofs_log_read_errors_total") > 1.0);
    assert!(server.log_text().contains("the disk does not give the bytes"));
    // Uploads of what the disk does not give wait for it, too.
    fs::remove_file(&ballast).expect("ballast");
    until("others are uploaded", || server.metric("dittofs_datapath_uploads_total") > 0.0);
    assert!(read_large().contains(&5));
    device.spoil(None);
    assert_eq!(read_large(), [], "given again");
    server.drop_cache();
    assert!(client.read_all(&file).expect("read") == large);
    assert!(client.read_all(&little).expect("read") == small);
    server.assert_alive();
    drop(server);
    disk.unmount();
}

/// What no process has mapped goes from memory.
fn evict() {
    std::process::Command::new("sync").status().expect("sync");
    fs::write("/proc/sys/vm/drop_caches", "3").expect("root");
}
