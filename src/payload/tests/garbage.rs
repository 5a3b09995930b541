//! Objects leave the content store once nobody refers to them, and not before.

use std::sync::atomic::Ordering::SeqCst;

use reactor::rng::Rng;
use vocab::limits::BLOCK_BYTES;

use super::{
    Server,
    plain::{block, write_all},
    seed,
};

const BLOCK: u64 = BLOCK_BYTES as u64;

#[test]
fn removed_and_overwritten_blocks_vanish() {
    let server = Server::start(2, |_| {});
    let domain = server.place().meta.id();
    let (kept, gone) = (server.create("kept"), server.create("gone"));
    write_all(&server, kept, 0, &block(1));
    write_all(&server, gone, 0, &block(1));
    write_all(&server, gone, BLOCK, &block(2));
    server.drain();
    server.until("two objects", |server| server.store.objects(domain) == 2);
    server.remove("gone", gone);
    server.until("one object left", |server| server.store.objects(domain) == 1);
    server.payload().drop_clean();
    assert_eq!(server.read(kept, 0, 100), block(1)[..100]);
    write_all(&server, kept, 0, &block(3));
    server.drain();
    server.until("the old block gone", |server| server.store.objects(domain) == 1);
    server.payload().drop_clean();
    assert_eq!(server.read(kept, 0, 100), block(3)[..100]);
    server.truncate(kept, 0);
    server.drain();
    server.until("nothing left", |server| server.store.objects(domain) == 0);
}

#[test]
fn a_file_removed_while_dirty_leaves_nothing() {
    let mut server = Server::start(1, |_| {});
    let domain = server.place().meta.id();
    for n in 0..10u8 {
        let name = format!("f{n}");
        let file = server.create(&name);
        write_all(&server, file, 0, &block(n));
        server.remove(&name, file);
        assert!(server.try_read(file, 0, 10).is_err());
    }
    server.drain();
    server.until("all objects gone", |server| server.store.objects(domain) == 0);
    assert_eq!(server.payload().gauges().dirty_bytes, 0);
    server.restart();
    assert_eq!(server.payload().gauges().dirty_bytes, 0, "the log's records of them are dead");
}

#[test]
fn an_orphan_of_an_earlier_life_is_reaped() {
    let mut server = Server::start(1, |_| {});
    let domain = server.place().meta.id();
    let file = server.create("a");
    write_all(&server, file, 0, &block(1));
    server.drain();
    server.until("one object", |server| server.store.objects(domain) == 1);
    // The name goes, and nobody is there to reap.
    server.payload().stop();
    server.remove("a", file);
    assert_eq!(server.store.objects(domain), 1);
    server.restart();
    server.until("the object gone", |server| server.store.objects(domain) == 0);
}

/// The collector with no grace against uploads of the same few contents: a dedup hit must never
/// refer to an object that is being deleted.
#[test]
fn a_hit_never_refers_to_a_deleted_object() {
    let seed = seed();
    let mut rng = Rng::from_seed(seed);
    let server = Server::start(2, |config| {
        config.gc_interval = std::time::Duration::from_millis(1);
        config.settle = std::time::Duration::from_millis(1);
    });
    server.store.is_lazy.store(true, SeqCst);
    let files: Vec<_> = (0..4).map(|n| server.create(&format!("f{n}"))).collect();
    let mut stamps = [0u8; 4];
    for step in 0..300 {
        let n = usize::try_from(rng.below(4)).unwrap();
        if rng.one_in(3) {
            if rng.one_in(2) {
                server.drain();
            }
            server.payload().drop_clean();
            let got = server.read(files[n], 0, 2000);
            let want = vec![stamps[n]; if stamps[n] == 0 { 0 } else { 1000 }];
            assert_eq!(got, want, "seed {seed} step {step}");
        } else {
            stamps[n] = 1 + u8::try_from(rng.below(3)).unwrap();
            server.write(files[n], 0, vec![stamps[n]; 1000]);
        }
    }
    assert!(server.store.deletes.load(SeqCst) > 0, "seed {seed}: the collector ran");
}
