//! What a client was told is stable is there after `kill -9` in the middle of the work.
//!
//! Each world is one data folder that is killed several times, so that a recovery starts from what
//! an earlier one left. `SEED=n` replays the operations of one world; the moment of the kill does
//! not repeat. `ROUNDS=n` sets how many.

use std::time::{Duration, Instant};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::Client,
    drive::{After, Driver},
    rng::{Rng, seeds},
    server::Server,
};

const THREADS: usize = 3;
const KILLS: usize = 5;

/// Forty worlds, five kills each: two hundred rounds.
#[test]
fn crash_kill9() {
    for seed in seeds(40) {
        println!("SEED={seed}");
        world(seed);
    }
}

/// One world, for the quick run.
#[test]
fn crash_kill9_quick() {
    world(1000);
}

/// `writeback` keeps what it says: the process may be killed. And the gauge says what a power cut
/// would take.
#[test]
fn crash_writeback_survives_a_killed_process() {
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::quickstart(dir.path());
    server.set_durability("/export", "writeback");
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let file = client.create_new(&root, b"a").expect("create");
    let bytes = Rng::new(1).bytes(16 << 20);
    for (n, part) in bytes.chunks(1 << 18).enumerate() {
        let offset = (n << 18) as u64;
        client.write(&file, offset, part, stable_how::FILE_SYNC).expect("write");
    }
    // The figure is as old as the last tick.
    let began = Instant::now();
    while server.metric("dittofs_bytes_at_risk") == 0.0 {
        assert!(began.elapsed() < Duration::from_secs(30), "it was synced all the same");
        client.write(&file, 0, &bytes[..9], stable_how::FILE_SYNC).expect("write");
    }
    client.commit(&file).expect("commit");
    server.kill9();
    server.start();
    let mut client = Client::mount(&server, "/export").expect("mount");
    assert!(client.read_all(&file).expect("read") == bytes, "acknowledged bytes are lost");
}

fn world(seed: u64) {
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::quickstart(dir.path());
    let mut rng = Rng::new(seed);
    let mut drivers: Vec<Driver> =
        (0..THREADS).map(|n| Driver::new(&server, n, Rng::new(rng.number()))).collect();
    for kill in 0..KILLS {
        let moment = Duration::from_millis(20 + rng.number() % 400);
        let drop_cache = rng.one_in(2);
        std::thread::scope(|scope| {
            let threads: Vec<_> = drivers
                .iter_mut()
                .map(|driver| scope.spawn(|| while driver.step().is_ok() {}))
                .collect();
            server.while_at_work(|server| {
                std::thread::sleep(moment);
                // So that some of it rests in the content store, or is on its way there.
                let asked = drop_cache.then(|| server.begin_drop_cache());
                std::thread::sleep(moment / 2);
                server.kill9();
                drop(asked);
            });
            let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            assert!(ended.iter().all(Result::is_ok), "seed {seed}, kill {kill}: see above");
        });
        server.start();
        for driver in &mut drivers {
            driver.reconnect(&server, After::Crash);
            driver.compare_all(After::Crash);
        }
    }
    // What the last recovery found is what a clean restart finds.
    server.restart();
    for driver in &mut drivers {
        driver.reconnect(&server, After::Peace);
        driver.compare_all(After::Peace);
    }
}
