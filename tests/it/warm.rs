//! `dittofs warm`: the first read hits, as far as the memory goes. Of a pinned share, later ones
//! do, too.

use std::time::{Duration, Instant};

use nfs3_types::nfs3::stable_how;
use tests::{
    client::Client,
    rng::Rng,
    server::{Server, Share},
};

#[test]
fn warm_makes_the_first_read_hit_and_says_what_does_not_fit() {
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::with_limits(dir.path(), vec![Share::export()], "256Mi", "512Mi");
    let mut client = Client::mount(&server, "/export").expect("mount");
    let root = client.root.clone();
    let below = client.mkdir(&root, b"dir").expect("mkdir");
    let mut rng = Rng::new(3);
    let texts: Vec<Vec<u8>> = [100, 70_000, 5 << 20, 9 << 20].map(|len| rng.bytes(len)).into();
    let mut files = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let dir = if n % 2 == 0 { &root } else { &below };
        let file = client.create_new(dir, format!("file {n}").as_bytes()).expect("create");
        for (part, bytes) in text.chunks(1 << 20).enumerate() {
            let offset = (part << 20) as u64;
            client.write(&file, offset, bytes, stable_how::UNSTABLE).expect("write");
        }
        files.push(file);
    }
    server.drop_cache();
    let said = server.run(&["warm", "/export"]);
    assert_eq!(said, "4 files, 14.0 MiB in memory\n");
    let misses = || server.metric("dittofs_cache_misses_total");
    let before = misses();
    for (file, text) in files.iter().zip(&texts) {
        assert!(client.read_all(file).expect("read") == *text);
    }
    assert_eq!(misses(), before, "all of it was in memory");
    let (status, _, err) = server.try_run(&["warm", "/nowhere"]);
    assert!(!status.success() && err.contains("no share /nowhere is served"), "{err}");
    server.kill9();
    let (status, _, err) = server.try_run(&["warm", "/export"]);
    assert!(!status.success() && err.contains("no server runs"), "{err}");
    // With less memory than it has bytes.
    let mut server = Server::with_limits(dir.path(), vec![Share::export()], "16Mi", "512Mi");
    server.drop_cache();
    let said = server.run(&["warm", "/export"]);
    assert!(said.contains(" did not fit; see cache.size"), "{said}");
    server.assert_alive();
}

#[test]
fn warm_of_a_pinned_share_outlives_a_scan_of_another() {
    let dir = tempfile::tempdir().expect("folder");
    let share = |name: &str, options: &str| Share {
        name: name.into(),
        options: options.into(),
        ..Share::export()
    };
    let shares = vec![share("/hot", "squash: none, cache: pinned"), share("/cold", "squash: none")];
    let server = Server::with_limits(dir.path(), shares, "192Mi", "512Mi");
    let mut rng = Rng::new(4);
    let mut fill = |share: &str, files: usize, bytes: usize| {
        let mut client = Client::mount(&server, share).expect("mount");
        let root = client.root.clone();
        let make = |n| {
            let file = client.create_new(&root, format!("{n}").as_bytes()).expect("create");
            let text = rng.bytes(bytes);
            for (part, bytes) in text.chunks(1 << 20).enumerate() {
                let offset = (part << 20) as u64;
                client.write(&file, offset, bytes, stable_how::UNSTABLE).expect("write");
            }
            (file, text)
        };
        let made: Vec<_> = (0..files).map(make).collect();
        (client, made)
    };
    let (mut hot, hot_files) = fill("/hot", 20, 300_000);
    let (mut cold, cold_files) = fill("/cold", 24, 16 << 20);
    server.drop_cache();
    let misses = || server.metric("dittofs_cache_misses_total");
    // Pinned by the first read of some, by `warm` of the rest.
    for (file, text) in &hot_files[..10] {
        assert!(hot.read_all(file).expect("read") == *text);
    }
    assert_eq!(server.run(&["warm", "/hot"]), "20 files, 5.7 MiB in memory\n");
    let before = misses();
    for _ in 0..2 {
        for (file, text) in &cold_files {
            assert!(cold.read_all(file).expect("read") == *text);
        }
    }
    assert!(misses() > before, "the scan does not fit");
    let before = misses();
    for (file, text) in &hot_files {
        assert!(hot.read_all(file).expect("read") == *text);
    }
    assert_eq!(misses(), before, "what is pinned stayed");
    assert_eq!(server.metric("dittofs_cache_unpinned_total"), 0.0);
    assert!(server.metric("dittofs_cache_pinned_bytes") > 6_000_000.0);
    server.set_cache("/hot", "normal");
    hot.read_all(&hot_files[0].0).expect("read");
    cold.read_all(&cold_files[0].0).expect("read");
    // Gauges are told at each tick.
    let began = Instant::now();
    while server.metric("dittofs_cache_pinned_bytes") > 0.0 {
        assert!(began.elapsed() < Duration::from_secs(60), "it stays pinned");
        std::thread::sleep(Duration::from_millis(20));
    }
}
