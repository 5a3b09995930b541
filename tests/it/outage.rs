//! A content store that is away or half broken: no error to a client, no byte lost, and work goes
//! on as soon as the store does.
//!
//! `OUTAGE_SECONDS=120` makes the black hole that long; a quick run has a short one.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::{Client, Handle},
    proxy::{Fault, Faults, Proxy},
    rng::Rng,
    s3::S3,
    server::{Content, Server, Share},
};

const FILE_BYTES: usize = 3 << 20;
/// Longest wait for the store to be used again. What is promised is five seconds; the rest is for a
/// machine that is busy.
const RESUME_MAX: Duration = Duration::from_secs(30);

fn share(proxy: &Proxy, s3: &S3) -> Share {
    let content = Content::S3(proxy.place(&s3.place()));
    Share { content, ..Share::export() }
}

fn bytes(n: u64) -> Vec<u8> {
    Rng::new(n).bytes(FILE_BYTES)
}

fn write(client: &mut Client, n: u64) -> Handle {
    let root = client.root.clone();
    let file = client.create_new(&root, format!("file {n}").as_bytes()).expect("create");
    for (part, bytes) in bytes(n).chunks(1 << 20).enumerate() {
        let offset = (part << 20) as u64;
        client.write(&file, offset, bytes, stable_how::UNSTABLE).expect("write");
    }
    client.commit(&file).expect("commit");
    file
}

fn check_all(client: &mut Client, files: u64) {
    let root = client.root.clone();
    for n in 0..files {
        let file = client.lookup(&root, format!("file {n}").as_bytes()).expect("lookup");
        assert!(client.read_all(&file).expect("read") == bytes(n), "file {n} differs");
    }
}

/// Waits until blocks arrive in the store again; how long it took.
fn resumes(server: &Server, since: Instant) -> Duration {
    let before = server.metric("dittofs_datapath_uploads_total");
    while server.metric("dittofs_datapath_uploads_total") <= before {
        assert!(since.elapsed() < RESUME_MAX, "nothing is uploaded");
        std::thread::sleep(Duration::from_millis(20));
    }
    since.elapsed()
}

/// Writes files while the line is bad, as many as the log has room for; none may fail or wait.
fn write_slowly(client: &mut Client, first: u64, files: u64, within: Duration) {
    let began = Instant::now();
    for n in 0..files {
        write(client, first + n);
        let due = within.mul_f64((n + 1) as f64 / files as f64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
}

#[test]
fn outage_black_hole() {
    let seconds = std::env::var("OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    let outage = Duration::from_secs(seconds.unwrap_or(15));
    let s3 = S3::start();
    let proxy = Proxy::start(&s3.place(), 1);
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::with_limits(dir.path(), vec![share(&proxy, &s3)], "64Mi", "512Mi");
    let mut client = Client::mount(&server, "/export").expect("mount");
    let mut files = 10;
    (0..files).for_each(|n| drop(write(&mut client, n)));
    let busy = |server: &Server| requests(server, "busy");
    for faults in
        [Faults { hole: true, ..Faults::default() }, Faults { refuse: true, ..Faults::default() }]
    {
        println!("{faults:?}");
        let before = busy(&server);
        proxy.set(faults);
        // The log has room for all of it, and what was just written can be read.
        write_slowly(&mut client, files, 60, outage);
        files += 60;
        assert_eq!(busy(&server), before, "nobody waits while there is room");
        server.assert_alive();
        let began = Instant::now();
        while server.metric("dittofs_remote_up") > 0.0 {
            assert!(began.elapsed() < Duration::from_secs(60), "the operator does not see it");
            std::thread::sleep(Duration::from_millis(50));
        }
        let root = client.root.clone();
        let last = client.lookup(&root, format!("file {}", files - 1).as_bytes()).expect("lookup");
        assert!(client.read_all(&last).expect("read") == bytes(files - 1));
        // What is only in the log survives the process, and a start needs no store.
        server.kill9();
        server.start();
        client = Client::mount(&server, "/export").expect("mount");
        // More than the log holds: writers wait, and are not told of an error.
        let (overfull, written) = (AtomicBool::new(false), AtomicU64::new(files));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = Client::mount(&server, "/export").expect("mount");
                while !overfull.load(Relaxed) {
                    write(&mut client, written.load(Relaxed));
                    written.fetch_add(1, Relaxed);
                }
            });
            let full = Instant::now();
            while busy(&server) == 0.0 {
                assert!(full.elapsed() < Duration::from_secs(60), "the log is never full");
                std::thread::sleep(Duration::from_millis(50));
            }
            overfull.store(true, Relaxed);
            proxy.set(Faults::default());
            println!("uploads go on after {:?}", resumes(&server, Instant::now()));
        });
        files = written.load(Relaxed);
        server.drop_cache();
        assert_eq!(server.metric("dittofs_remote_up"), 1.0);
    }
    check_all(&mut client, files);
    assert_eq!(requests(&server, "failed"), 0.0, "nobody was told of an error");
    server.assert_alive();
}

#[test]
fn outage_of_some_requests() {
    let s3 = S3::start();
    let proxy = Proxy::start(&s3.place(), 2);
    let dir = tempfile::tempdir().expect("folder");
    let server = Server::with_limits(dir.path(), vec![share(&proxy, &s3)], "64Mi", "256Mi");
    proxy.set(Faults {
        some: vec![
            (5, Fault::Answer(500, "InternalError")),
            (30, Fault::Answer(429, "TooManyRequests")),
            (5, Fault::Answer(503, "SlowDown")),
            (3, Fault::Cut),
            (3, Fault::Flip),
            (3, Fault::Slow(Duration::from_millis(300))),
        ],
        ..Faults::default()
    });
    let (threads, each) = (3, 30);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::mount(server, "/export").expect("mount");
                (thread * each..(thread + 1) * each).for_each(|n| drop(write(&mut client, n)));
            });
        }
    });
    server.drop_cache();
    let mut client = Client::mount(&server, "/export").expect("mount");
    check_all(&mut client, threads * each);
    let (requests, faulty) = proxy.counts();
    println!("{faulty} of {requests} requests went wrong");
    assert!(faulty * 4 > requests, "the line is too good: {faulty} of {requests}");
}

/// Requests that ended in a class.
fn requests(server: &Server, class: &str) -> f64 {
    server.metric_of("dittofs_nfs_requests_total", &format!("status=\"{class}\""))
}
