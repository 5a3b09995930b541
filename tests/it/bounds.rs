//! What is configured is kept to: bytes of cache in memory, bytes of log on the disk, memory of the
//! process; and what is dirty is never evicted.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::Client,
    rng::Rng,
    server::{Server, Share},
};

const FILES: u64 = 8;
const FILE_BYTES: usize = 128 << 20;
const CACHE_BYTES: u64 = 256 << 20;
const LOG_BYTES: u64 = 512 << 20;
/// Four times the cache and twice the log, written and read twice by four clients.
#[test]
fn bounds_of_cache_log_and_memory() {
    let dir = tempfile::tempdir().expect("folder");
    let server = Server::with_limits(dir.path(), vec![Share::export()], "256Mi", "512Mi");
    let (before, is_over) = (server.memory_bytes(), AtomicBool::new(false));
    let peaks = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut memory, mut cache, mut log) = (0, 0.0_f64, 0);
            while !is_over.load(Relaxed) {
                memory = memory.max(server.memory_bytes());
                cache = cache.max(server.metric("dittofs_cache_bytes"));
                log = log.max(bytes_below(&dir.path().join("cache")));
                std::thread::sleep(Duration::from_millis(20));
            }
            (memory, cache, log)
        });
        let server = &server;
        let work = move |first: u64| {
            let mut client = Client::mount(server, "/export").expect("mount");
            let root = client.root.clone();
            let mine = (first..FILES).step_by(4);
            for n in mine.clone() {
                let file = client.create_new(&root, name(n).as_bytes()).expect("create");
                for (part, bytes) in bytes(n).chunks(1 << 20).enumerate() {
                    let offset = (part << 20) as u64;
                    client.write(&file, offset, bytes, stable_how::UNSTABLE).expect("write");
                }
                client.commit(&file).expect("commit");
            }
            for n in mine.clone().chain(mine) {
                let file = client.lookup(&root, name(n).as_bytes()).expect("lookup");
                assert!(client.read_all(&file).expect("read") == bytes(n), "file {n} differs");
            }
        };
        let workers: Vec<_> = (0..4).map(|first| scope.spawn(move || work(first))).collect();
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        is_over.store(true, Relaxed);
        assert!(ended.iter().all(Result::is_ok), "see above");
        watcher.join().expect("watches")
    });
    let (memory, cache, log) = peaks;
    let grown = memory.saturating_sub(before);
    println!(
        "at most {} MiB of memory grown, {} MiB of cache, {} MiB of log",
        grown >> 20,
        cache / 1_048_576.0,
        log >> 20
    );
    assert!(cache <= CACHE_BYTES as f64, "{cache} bytes of cache");
    // Manifests and locks are beside the segments.
    assert!(log <= LOG_BYTES + (1 << 20), "{log} bytes of log");
    assert!(grown <= CACHE_BYTES / 10 * 11, "{grown} bytes of memory");
}

fn name(n: u64) -> String {
    format!("file {n}")
}

fn bytes(n: u64) -> Vec<u8> {
    Rng::new(n).bytes(FILE_BYTES)
}

fn bytes_below(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
