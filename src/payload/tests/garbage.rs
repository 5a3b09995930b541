//! Objects leave the content store once nobody refers to them, and not before.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use blocks::{BlockKey, Content};
use meta::command::{Command, Outcome};
use reactor::rng::Rng;
use upload::{
    collect::What,
    garbage::{Report, Round, Word},
    scrub,
};
use vocab::{BlockHash, limits::BLOCK_BYTES};

use super::{
    Config, Server,
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

/// The collector and sweeps with no grace against uploads of the same few contents: a dedup
/// hit must never refer to an object that is being deleted.
#[test]
fn a_hit_never_refers_to_a_deleted_object() {
    let seed = seed();
    let mut rng = Rng::from_seed(seed);
    let server = Server::start(2, |config| {
        config.gc_interval = Duration::from_millis(1);
        config.sweep_interval = Duration::from_millis(10);
        config.settle = Duration::from_millis(1);
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
    assert!(server.store.lists.load(SeqCst) > 1, "seed {seed}: sweeps ran");
}

/// Nothing is uploaded or deleted unless asked for.
pub(super) fn at_rest(config: &mut Config) {
    config.gc_interval = Duration::from_secs(3600);
    config.settle = Duration::from_secs(3600);
}

pub(super) fn gc(server: &Server, round: Round) -> (Report, Vec<BlockHash>) {
    let mut events = server.payload().gc(round);
    let (mut end, mut missing) = (None, Vec::new());
    while let Some(event) = events.blocking_recv() {
        match event.what {
            What::Word(Word::Progress(_)) => {}
            What::Word(Word::Missing(hash)) => missing.push(hash),
            What::End(report) => end = Some(report),
            What::Failed(why) => panic!("{why}"),
            What::Checkpoint(_) | What::Scrub(_) | What::Scrubbed(_) => panic!("of a round"),
        }
    }
    (end.expect("a round ends"), missing)
}

pub(super) fn scrub(server: &Server) -> (scrub::Report, Vec<BlockHash>) {
    let mut events = server.payload().scrub(0);
    let (mut end, mut damaged) = (None, Vec::new());
    while let Some(event) = events.blocking_recv() {
        match event.what {
            What::Scrub(scrub::Word::Damaged(hash, _)) => damaged.push(hash),
            What::Scrub(scrub::Word::Progress(_) | scrub::Word::Healed(_)) => {}
            What::Scrubbed(report) => end = Some(report),
            What::Failed(why) => panic!("{why}"),
            What::Checkpoint(_) | What::Word(_) | What::End(_) => panic!("of a scrub"),
        }
    }
    (end.expect("a scrub ends"), damaged)
}

/// Flips a bit of a block's object, or takes the object away.
fn spoil(server: &Server, hash: BlockHash, bit: Option<u64>) {
    let key = BlockKey::block(server.place().meta.id(), hash);
    let store = &server.place().content.store;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let Some(bit) = bit else { return store.delete(&key).await.unwrap() };
        let mut object = store.get(&key, 0, u64::MAX).await.unwrap().to_vec();
        let bit = bit % (object.len() as u64 * 8);
        object[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
        store.replace(&key, object.into()).await.unwrap();
    });
}

#[test]
fn a_scrub_heals_from_the_cache_and_marks_what_it_cannot() {
    let seed = seed();
    let mut rng = Rng::from_seed(seed);
    let server = Server::start(2, |config| {
        at_rest(config);
        config.cache_bytes_max = 16 << 20;
    });
    // Too large for a pack.
    let text = |n: u8| vec![n; 300_000];
    let files: Vec<_> = (1..4).map(|n| server.create(&format!("f{n}"))).collect();
    for (file, n) in files.iter().zip(1..) {
        write_all(&server, *file, 0, &text(n));
    }
    server.drain();
    assert_eq!(scrub(&server).0.damaged, 0);
    // The cache has them all.
    let hashes = [1, 2, 3].map(|n| Content::hash(&text(n)[..].into()));
    for round in 0..20 {
        for hash in hashes {
            spoil(&server, hash, (!rng.one_in(4)).then(|| rng.next_u64()));
        }
        let (report, damaged) = scrub(&server);
        assert_eq!((report.damaged, report.healed), (3, 3), "seed {seed} round {round}");
        assert_eq!(damaged, [], "seed {seed} round {round}");
    }
    let gauges = server.payload().gauges();
    assert_eq!((gauges.remote_corruption, gauges.self_heal), (60, 60));
    server.payload().drop_clean();
    for (file, n) in files.iter().zip(1..) {
        assert_eq!(server.read(*file, 0, 300_000), text(n));
    }
    // Nobody has it any more.
    server.payload().drop_clean();
    spoil(&server, hashes[0], Some(200 * 8));
    spoil(&server, hashes[1], None);
    let (report, mut damaged) = scrub(&server);
    damaged.sort();
    let mut wanted = hashes[..2].to_vec();
    wanted.sort();
    assert_eq!((report.blocks, report.damaged, report.healed, damaged), (3, 2, 0, wanted));
    server.payload().drop_clean();
    assert!(server.try_read(files[0], 0, 100).is_err() && server.try_read(files[1], 0, 9).is_err());
    assert_eq!(scrub(&server).1.len(), 2, "it is still so");
    // The same bytes, written by somebody else, make both good.
    for n in 1..3 {
        let again = server.create(&format!("again {n}"));
        write_all(&server, again, 0, &text(n));
    }
    server.drain();
    server.payload().drop_clean();
    for (file, n) in files.iter().zip(1..) {
        assert_eq!(server.read(*file, 0, 300_000), text(n));
    }
    assert_eq!(scrub(&server).0.damaged, 0);
}

fn plant(server: &Server, plain: &[u8]) -> BlockHash {
    let place = server.place();
    let hash = Content::hash(&plain.into());
    let key = BlockKey::block(place.meta.id(), hash);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(place.content.put(&key, &plain.into())).unwrap();
    hash
}

/// An object that was put and never entered, as a process leaves it that is killed in between.
#[test]
fn a_leaked_object_is_found_and_removed_and_a_missing_one_is_reported() {
    let server = Server::start(1, at_rest);
    let domain = server.place().meta.id();
    let file = server.create("a");
    // One after the other, so that each has an object of its own.
    for (offset, byte) in [(0, 1), (BLOCK, 2)] {
        server.write(file, offset, vec![byte; 1000]);
        server.drain();
    }
    plant(&server, &[7; 1000]);
    let dry = |grace| Round { is_dry: true, grace, is_offline: false };
    let wet = |grace| Round { is_dry: false, ..dry(grace) };
    let hour = Duration::from_secs(3600);
    let (young, _) = gc(&server, wet(hour));
    assert_eq!((young.seen.objects, young.live.objects, young.young.objects), (3, 2, 1));
    assert_eq!((young.leaked.objects, young.deleted), (0, 0), "it may be an upload under way");
    for _ in 0..2 {
        let (looked, _) = gc(&server, dry(Duration::ZERO));
        assert_eq!((looked.leaked.objects, looked.deleted), (1, 0));
        assert_eq!(server.store.objects(domain), 3, "a dry round changes nothing");
    }
    let (done, missing) = gc(&server, wet(Duration::ZERO));
    assert_eq!((done.leaked.objects, done.deleted, done.missing), (1, 1, 0));
    assert_eq!((server.store.objects(domain), missing), (2, vec![]));

    let lost = Content::hash(&[2; 1000][..].into());
    let key = BlockKey::block(domain, lost);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(server.place().content.store.delete(&key)).unwrap();
    let (done, missing) = gc(&server, wet(Duration::ZERO));
    assert_eq!((done.missing, missing, done.deleted), (1, vec![lost], 0));
    server.payload().drop_clean();
    assert_eq!(server.read(file, 0, 100), vec![1; 100], "the other one is untouched");
}

/// A file whose bytes lie in the content store already, although nobody counts them.
#[test]
fn a_leaked_object_is_used_when_its_bytes_are_written() {
    let server = Server::start(1, at_rest);
    let domain = server.place().meta.id();
    let hash = plant(&server, &[1; 1000]);
    let found = vec![(hash, vocab::Time::default())];
    let condemn = Command::Condemn { content: "content".to_owned(), found, packs: false };
    assert!(matches!(server.submit(condemn), Ok(Outcome::Condemned(hashes)) if hashes == [hash]));
    let file = server.create("a");
    server.write(file, 0, vec![1; 1000]);
    server.drain();
    let round = Round { is_dry: false, grace: Duration::ZERO, is_offline: false };
    assert_eq!(gc(&server, round).0.deleted, 0);
    assert_eq!(server.store.objects(domain), 1);
    server.payload().drop_clean();
    assert_eq!(server.read(file, 0, BLOCK_BYTES), vec![1; 1000]);
}
