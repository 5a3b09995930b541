//! `dittofs warm`: the first read hits, as far as the memory goes.

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
