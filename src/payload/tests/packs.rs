//! Small blocks share objects: few PUTs, every byte back, space returns, damage is found.

use std::{collections::BTreeMap, sync::atomic::Ordering::SeqCst, time::Duration};

use blocks::{BlockKey, Content, Kind};
use reactor::rng::Rng;
use upload::garbage::Round;
use vocab::{BlockHash, InodeId, PackId};

use super::{
    Config, Server,
    garbage::{at_rest, gc, scrub},
    seed,
};

const WET: Round = Round { is_dry: false, grace: Duration::ZERO, is_offline: false };

fn small(config: &mut Config) {
    at_rest(config);
    config.cache_bytes_max = 16 << 20;
}

fn text(n: u32) -> Vec<u8> {
    Rng::from_seed(n.into()).bytes(2000 + usize::try_from(n % 7).unwrap() * 500)
}

/// Files with bytes of their own, on their way to the content store together.
fn files(server: &Server, count: u32) -> BTreeMap<u32, InodeId> {
    let make = |n| (n, server.create(&format!("f{n}")));
    let files: BTreeMap<u32, InodeId> = (0..count).map(make).collect();
    for (n, file) in &files {
        server.write(*file, 0, text(*n));
    }
    server.drain();
    files
}

fn assert_right(server: &Server, files: &BTreeMap<u32, InodeId>) {
    server.payload().drop_clean();
    for (n, file) in files {
        assert!(server.read(*file, 0, 10_000) == text(*n), "file {n}");
    }
}

fn packs(server: &Server) -> Vec<BlockKey> {
    let place = server.place();
    let list = place.content.store.list(place.meta.id(), Kind::Pack, None, 1000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (listed, _) = runtime.block_on(list).unwrap();
    let key = |hash: BlockHash| BlockKey::pack(place.meta.id(), PackId(hash));
    listed.into_iter().map(|object| key(object.hash)).collect()
}

/// Changes an object.
fn spoil(server: &Server, key: BlockKey, change: impl FnOnce(&mut Vec<u8>)) {
    let store = &server.place().content.store;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut object = store.get(&key, 0, u64::MAX).await.unwrap().to_vec();
        change(&mut object);
        store.replace(&key, object.into()).await.unwrap();
    });
}

fn lose(server: &Server, key: BlockKey) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(server.place().content.store.delete(&key)).unwrap();
}

#[test]
fn small_files_share_objects_and_come_back_after_a_restart() {
    let mut server = Server::start(2, small);
    let files = files(&server, 2500);
    let puts = server.store.puts.load(SeqCst);
    assert!(puts <= 10, "{puts} PUTs");
    assert_right(&server, &files);
    server.restart();
    assert_right(&server, &files);
    // The same bytes again need no object.
    let again = server.create("again");
    server.write(again, 0, text(7));
    server.drain();
    assert_eq!(server.store.puts.load(SeqCst), puts);
    // A cold block is one GET.
    server.payload().drop_clean();
    let gets = server.store.gets.load(SeqCst);
    assert_eq!(server.read(again, 0, 10_000), text(7));
    assert_eq!(server.store.gets.load(SeqCst) - gets, 1);
}

#[test]
fn space_returns_by_compaction_and_the_rest_stays_right() {
    let server = Server::start(2, small);
    let domain = server.place().meta.id();
    let mut files = files(&server, 1000);
    let before = packs(&server);
    let bytes = gc(&server, WET).0.seen.bytes;
    for n in (0..1000).filter(|n| n % 10 != 0) {
        server.remove(&format!("f{n}"), files.remove(&n).unwrap());
    }
    // The removals are answered before their blocks are released.
    let references = |server: &Server| {
        let gone = Content::hash(&text(999)[..].into());
        let count = server.on(async move |_, place| place.meta.count_of("content", gone).await);
        count.unwrap().map_or(0, |counted| counted.references)
    };
    server.until("the last one released", |server| references(server) == 0);
    server.until("all dead blocks forgotten, and what is left rewritten", |server| {
        gc(server, WET);
        let now = packs(server);
        now.len() == 1 && !before.contains(&now[0])
    });
    let (report, missing) = gc(&server, WET);
    assert_eq!((report.missing, missing, report.sparse.objects), (0, vec![], 0));
    assert!(report.seen.bytes < bytes / 5, "{} of {bytes} bytes", report.seen.bytes);
    assert_right(&server, &files);
    for (n, file) in files {
        server.remove(&format!("f{n}"), file);
    }
    server.until("nothing left", |server| {
        gc(server, WET);
        server.store.objects(domain) == 0
    });
}

/// Removals, equal bytes, compaction and uploads at the same time.
#[test]
fn a_moved_block_is_never_lost() {
    let seed = seed();
    let mut rng = Rng::from_seed(seed);
    let server = Server::start(2, |config| {
        small(config);
        config.settle = Duration::from_millis(1);
        config.gc_interval = Duration::from_millis(1);
        config.sweep_interval = Duration::from_millis(5);
    });
    server.store.is_lazy.store(true, SeqCst);
    let files: Vec<InodeId> = (0..40).map(|n| server.create(&format!("f{n}"))).collect();
    let mut stamps = vec![0; files.len()];
    for step in 0..30 {
        for _ in 0..20 {
            let n = rng.index(files.len());
            stamps[n] = 1 + u32::try_from(rng.below(60)).unwrap();
            server.truncate(files[n], 0);
            server.write(files[n], 0, text(stamps[n]));
        }
        if rng.one_in(2) {
            server.drain();
        }
        server.payload().drop_clean();
        for (file, stamp) in files.iter().zip(&stamps) {
            let want = if *stamp == 0 { Vec::new() } else { text(*stamp) };
            assert!(server.read(*file, 0, 10_000) == want, "seed {seed} step {step}");
        }
    }
    server.store.is_lazy.store(false, SeqCst);
    server.drain();
    let check = server.on(async |_, place| place.meta.check().await).unwrap();
    assert_eq!(check.findings.len(), 0, "seed {seed}");
    assert_eq!(gc(&server, WET).0.missing, 0, "seed {seed}");
}

#[test]
fn a_scrub_finds_what_is_damaged_in_a_pack_and_heals_it() {
    let server = Server::start(1, small);
    let files = files(&server, 50);
    let [pack] = packs(&server)[..] else { panic!("one pack") };
    assert_eq!((scrub(&server).0.blocks, scrub(&server).0.damaged), (50, 0));
    // The last byte is the last block's, and the cache has that.
    spoil(&server, pack, |object| *object.last_mut().unwrap() ^= 1);
    let (report, damaged) = scrub(&server);
    assert_eq!((report.damaged, report.healed, damaged), (1, 1, vec![]));
    assert_eq!(scrub(&server).0.damaged, 0);
    // The directory: its blocks are good, and leave it.
    spoil(&server, pack, |object| object[70] ^= 1);
    let (report, damaged) = scrub(&server);
    assert_eq!((report.damaged, report.healed, damaged), (1, 1, vec![]));
    assert_eq!((scrub(&server).0.blocks, scrub(&server).0.damaged), (50, 0));
    gc(&server, WET);
    assert!(!packs(&server).contains(&pack), "nothing rests there any more");
    assert_right(&server, &files);

    // Nobody has it any more.
    let [pack] = packs(&server)[..] else { panic!("one pack") };
    server.payload().drop_clean();
    spoil(&server, pack, |object| *object.last_mut().unwrap() ^= 1);
    let (report, damaged) = scrub(&server);
    assert_eq!((report.damaged, report.healed, damaged.len()), (1, 0, 1));
    let bad = files.iter().filter(|(_, file)| server.try_read(**file, 0, 9).is_err());
    let bad: Vec<u32> = bad.map(|(n, _)| *n).collect();
    assert_eq!(bad.len(), 1);
    assert_eq!(damaged[0], Content::hash(&text(bad[0])[..].into()));
    // The same bytes, written by somebody else, make it good.
    let again = server.create("again");
    server.write(again, 0, text(bad[0]));
    server.drain();
    assert_eq!(scrub(&server).0.damaged, 0);
    assert_right(&server, &files);
}

#[test]
fn a_missing_pack_is_told_by_its_blocks_and_healed_from_the_cache() {
    let server = Server::start(1, small);
    let files = files(&server, 20);
    let [pack] = packs(&server)[..] else { panic!("one pack") };
    lose(&server, pack);
    let (report, missing) = gc(&server, WET);
    assert_eq!((report.missing, missing.len()), (20, 20));
    let (report, _) = scrub(&server);
    assert_eq!((report.damaged, report.healed), (20, 20));
    gc(&server, WET);
    assert_eq!(gc(&server, WET).0.missing, 0);
    assert_right(&server, &files);
}

/// A process that was killed between the PUT of a pack and the first of its entries.
#[test]
fn a_pack_that_nobody_counts_is_swept() {
    let server = Server::start(1, small);
    let files = files(&server, 20);
    let place = server.place().clone();
    let plain = [1; 1000][..].into();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let key = BlockKey::block(place.meta.id(), Content::hash(&plain));
    let part = runtime.block_on(place.content.part(&key, &plain)).unwrap();
    let pack = PackId(BlockHash([9; 32]));
    runtime.block_on(place.content.put_pack(place.meta.id(), pack, &[part])).unwrap();
    let hour = Round { grace: Duration::from_secs(3600), ..WET };
    assert_eq!(gc(&server, hour).0.young.objects, 1);
    assert_eq!(packs(&server).len(), 2);
    let (report, _) = gc(&server, WET);
    assert_eq!((report.leaked.objects, report.deleted), (1, 1));
    assert_eq!(packs(&server).len(), 1);
    assert_right(&server, &files);
}
