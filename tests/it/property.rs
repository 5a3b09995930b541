//! Random operations of several threads give what a model file system gives.
//!
//! `SEED=n cargo nextest run -p tests property` replays the operations of one run; how the threads
//! interleave does not repeat.

use std::sync::atomic::{AtomicBool, Ordering};

use tests::{
    drive::{After, Driver},
    rng::{Rng, seeds},
    server::{Content, Metadata, Server, Share},
};

const THREADS: usize = 4;
const STEPS: usize = 400;

#[test]
fn property_memory() {
    for seed in seeds(6) {
        run(seed, Metadata::Memory, Content::Memory);
    }
}

#[test]
fn property_badger() {
    for seed in seeds(6) {
        run(seed, Metadata::Badger, Content::Filesystem);
    }
}

fn run(seed: u64, metadata: Metadata, content: Content) {
    println!("SEED={seed}");
    let dir = tempfile::tempdir().expect("folder");
    let share = Share { metadata, content, ..Share::export() };
    let mut server = Server::with_shares(dir.path(), vec![share]);
    let mut rng = Rng::new(seed);
    let mut drivers: Vec<Driver> =
        (0..THREADS).map(|n| Driver::new(&server, n, Rng::new(rng.number()))).collect();
    for life in 0..2 {
        work(&server, &mut drivers);
        server.assert_alive();
        drivers.iter_mut().for_each(|driver| driver.compare_all(After::Peace));
        server.drop_cache();
        drivers.iter_mut().for_each(|driver| driver.compare_all(After::Peace));
        if metadata == Metadata::Badger && life == 0 {
            server.restart();
            for driver in &mut drivers {
                driver.reconnect(&server, After::Peace);
                driver.compare_all(After::Peace);
            }
        }
    }
}

/// All drivers at once, while the cache is dropped under them again and again.
fn work(server: &Server, drivers: &mut [Driver]) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = drivers
            .iter_mut()
            .map(|driver| {
                scope.spawn(|| {
                    for step in 0..STEPS {
                        driver.step().unwrap_or_else(|why| panic!("step {step}: lost: {why}"));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(std::time::Duration::from_millis(200));
                server.try_drop_cache();
            }
        });
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "see above");
    });
}
