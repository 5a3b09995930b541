//! SIGTERM under load: the server ends in time, with status 0, and loses nothing that it answered.

use std::time::Duration;

use tests::{
    drive::{After, Driver},
    rng::{Rng, seeds},
    server::Server,
};

#[test]
fn stop_under_load() {
    for seed in seeds(3) {
        println!("SEED={seed}");
        let dir = tempfile::tempdir().expect("folder");
        let mut server = Server::quickstart(dir.path());
        let mut rng = Rng::new(seed);
        let mut drivers: Vec<Driver> =
            (0..4).map(|n| Driver::new(&server, n, Rng::new(rng.number()))).collect();
        std::thread::scope(|scope| {
            let threads: Vec<_> = drivers
                .iter_mut()
                .map(|driver| scope.spawn(|| while driver.step().is_ok() {}))
                .collect();
            server.while_at_work(|server| {
                std::thread::sleep(Duration::from_millis(100 + rng.number() % 400));
                let status = server.stop(Duration::from_secs(30));
                assert!(status.success(), "seed {seed}: {status}");
            });
            let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            assert!(ended.iter().all(Result::is_ok), "seed {seed}: see above");
        });
        server.start();
        for driver in &mut drivers {
            driver.reconnect(&server, After::Peace);
            driver.compare_all(After::Peace);
        }
    }
}
