//! Block maps, counts, truncates, orphans, and the way of a block out of the store.

use vocab::{BlockHash, BlockIndex, Error, InodeId, Sequence, limits::BLOCK_BYTES};

use super::{Fixture, at, hash, wait};
use crate::{
    SizeChange,
    command::{Command, DataState, Outcome},
};

const FULL: u32 = BLOCK_BYTES;

/// `(index, first byte of the hash, valid_len, watermark)`.
fn map(f: &Fixture, inode: InodeId) -> Vec<(u32, u8, u32, u64)> {
    let blocks = wait(f.store.blocks(inode, BlockIndex(0), u32::MAX)).expect("blocks");
    let row = |b: &crate::BlockEntry| (b.index.0, b.hash.0[0], b.valid_len, b.watermark.0);
    blocks.iter().map(row).collect()
}

fn put(f: &Fixture, inode: InodeId, index: u32, block: (u8, u32), watermark: u64) {
    let done = f.set_block(inode, index, block, watermark, true);
    assert!(matches!(done, Ok(Outcome::Done)), "{done:?}");
}

fn condemned(f: &Fixture) -> Vec<BlockHash> {
    wait(f.store.condemned("content", at(i64::MAX), 99)).expect("condemned")
}

fn is_stored(f: &Fixture, byte: u8) -> bool {
    wait(f.store.is_stored("content", hash(byte))).expect("is_stored")
}

fn stored(f: &Fixture) -> u64 {
    wait(f.store.totals(None)).expect("totals").bytes_stored
}

fn delete_begin(f: &Fixture, bytes: &[u8]) -> Vec<BlockHash> {
    let hashes = bytes.iter().map(|&byte| hash(byte)).collect();
    match f.submit(Command::DeleteBegin { content: "content".into(), hashes }) {
        Ok(Outcome::Deleting(hashes)) => hashes.into_iter().map(|(hash, _)| hash).collect(),
        other => panic!("{other:?}"),
    }
}

fn delete_end(f: &Fixture, bytes: &[u8]) {
    let hashes = bytes.iter().map(|&byte| hash(byte)).collect();
    let done = f.submit(Command::DeleteEnd { content: "content".into(), hashes });
    assert!(matches!(done, Ok(Outcome::Done)), "{done:?}");
}

pub(super) fn a_block_is_counted_once_per_reference(f: &Fixture) {
    let (a, b) = (f.file(f.root, "a"), f.file(f.root, "b"));
    put(f, a, 0, (1, FULL), 1);
    put(f, a, 3, (1, FULL), 2);
    assert!(matches!(f.set_block(b, 0, (1, FULL), 1, false), Ok(Outcome::Done)));
    assert_eq!(map(f, a), [(0, 1, FULL, 1), (3, 1, FULL, 2)]);
    assert_eq!(wait(f.store.blocks(a, BlockIndex(1), 2)), Ok(vec![]));
    assert_eq!(wait(f.store.blocks(a, BlockIndex(1), 3)).expect("blocks").len(), 1);
    assert_eq!((stored(f), is_stored(f, 1)), (u64::from(FULL), true));
    put(f, a, 0, (2, FULL), 3);
    put(f, a, 3, (2, FULL), 3);
    assert_eq!(condemned(f), []);
    put(f, b, 0, (2, FULL), 3);
    assert_eq!(condemned(f), [hash(1)]);
    // The same bytes again: only the watermark moves.
    put(f, b, 0, (2, FULL), 4);
    assert_eq!(map(f, b), [(0, 2, FULL, 4)]);
    f.check();
}

pub(super) fn a_put_is_asked_for(f: &Fixture) {
    let file = f.file(f.root, "file");
    assert!(!is_stored(f, 1));
    assert!(matches!(f.set_block(file, 0, (1, 100), 1, false), Ok(Outcome::NeedPut)));
    assert_eq!((map(f, file), stored(f)), (vec![], 0));
    assert!(matches!(f.set_block(file, 0, (1, 100), 1, true), Ok(Outcome::Done)));
    assert_eq!(map(f, file), [(0, 1, 100, 1)]);
    // Counts belong to a content store.
    let other = f.share_create("/other", "elsewhere").expect("share");
    let there = f.file(other.root, "file");
    assert!(matches!(f.set_block(there, 0, (1, 100), 1, false), Ok(Outcome::NeedPut)));
    assert_eq!(wait(f.store.is_stored("elsewhere", hash(1))), Ok(false));
    assert_eq!(wait(f.store.is_stored("unheard of", hash(1))), Ok(false));
    for (index, len, error) in [(0, 0, Error::Invalid), (0, FULL + 1, Error::Invalid)] {
        assert_eq!(f.set_block(file, index, (9, len), 9, true).err(), Some(error));
    }
    assert_eq!(f.set_block(file, u32::MAX, (9, 1), 9, true).err(), Some(Error::TooBig));
    assert_eq!(f.set_block(f.root, 0, (9, 1), 9, true).err(), Some(Error::Invalid));
    f.check();
}

pub(super) fn condemned_blocks_come_back(f: &Fixture) {
    let file = f.file(f.root, "file");
    put(f, file, 0, (1, 100), 1);
    put(f, file, 0, (2, 100), 2);
    assert_eq!((condemned(f), is_stored(f, 1)), (vec![hash(1)], true));
    // A hit on a condemned block needs no PUT.
    assert!(matches!(f.set_block(file, 1, (1, 100), 3, false), Ok(Outcome::Done)));
    assert_eq!((condemned(f), delete_begin(f, &[1])), (vec![], vec![]));
    f.check();
}

pub(super) fn deletion_runs_to_its_end(f: &Fixture) {
    let file = f.file(f.root, "file");
    for byte in 1..=4 {
        put(f, file, 0, (byte, 100), byte.into());
    }
    let mut in_order = condemned(f);
    assert_eq!(in_order, [hash(1), hash(2), hash(3)]);
    let before = wait(f.store.condemned("content", at(1_000), 99));
    assert_eq!(before, Ok(vec![]), "condemned later than that");
    in_order.truncate(2);
    assert_eq!(wait(f.store.condemned("content", at(i64::MAX), 2)), Ok(in_order));
    assert_eq!(wait(f.store.condemned("unheard of", at(i64::MAX), 2)), Ok(vec![]));
    assert_eq!(delete_begin(f, &[1, 4, 9]), [hash(1)]);
    assert!(!is_stored(f, 1));
    for was_put in [false, true] {
        let refused = f.set_block(file, 1, (1, 100), 9, was_put).err();
        assert_eq!(refused, Some(Error::Busy));
    }
    // A collector that died in between finds it again.
    assert_eq!((condemned(f).len(), delete_begin(f, &[1])), (3, vec![hash(1)]));
    delete_end(f, &[1, 2, 4]);
    assert_eq!((condemned(f), stored(f)), (vec![hash(2), hash(3)], 300));
    assert!(matches!(f.set_block(file, 1, (1, 100), 9, false), Ok(Outcome::NeedPut)));
    put(f, file, 1, (1, 100), 9);
    f.check();
}

pub(super) fn older_blocks_never_win(f: &Fixture) {
    let file = f.file(f.root, "file");
    put(f, file, 0, (1, 100), 10);
    put(f, file, 0, (2, 100), 9);
    put(f, file, 0, (3, 100), 10);
    assert_eq!(map(f, file), [(0, 1, 100, 10)]);
    // Their objects are there, so the collector must hear of them.
    assert_eq!(condemned(f), [hash(2), hash(3)]);
    f.check();
}

pub(super) fn truncates_cut_the_map(f: &Fixture) {
    let file = f.file(f.root, "file");
    let full = u64::from(FULL);
    f.store.note_data(file, Sequence(4), SizeChange::AtLeast(4 * full), f.now()).expect("known");
    for index in 0..4 {
        put(f, file, index, (u8::try_from(index).expect("small") + 1, FULL), 4);
    }
    // Shorter, shorter, longer: the shortest counts.
    for (sequence, len) in [(5, 3 * full), (6, full + 100), (7, 4 * full)] {
        let change = SizeChange::Exactly(len);
        f.store.note_data(file, Sequence(sequence), change, f.now()).expect("known");
    }
    let data = f.store.unflushed(file).expect("dirty");
    assert_eq!((data.floor, data.truncate, data.size), (full + 100, Sequence(6), 4 * full));
    f.flush(file, data).expect("flush");
    assert_eq!(map(f, file), [(0, 1, FULL, 4), (1, 2, 100, 4)]);
    assert_eq!(condemned(f), [hash(3), hash(4)]);
    assert_eq!(f.attr(file).expect("attr").size, 4 * full);
    // Exactly at a block's edge, and then to nothing.
    f.store.note_data(file, Sequence(8), SizeChange::Exactly(full), f.now()).expect("known");
    f.flush(file, f.store.unflushed(file).expect("dirty")).expect("flush");
    assert_eq!(map(f, file), [(0, 1, FULL, 4)]);
    f.store.note_data(file, Sequence(9), SizeChange::Exactly(0), f.now()).expect("known");
    f.flush(file, f.store.unflushed(file).expect("dirty")).expect("flush");
    assert_eq!((map(f, file), condemned(f).len()), (vec![], 4));
    assert_eq!(wait(f.store.totals(Some(f.share))).expect("totals").bytes_used, 0);
    // The same bytes at full length undo a cut.
    f.store.note_data(file, Sequence(10), SizeChange::AtLeast(500), f.now()).expect("known");
    put(f, file, 0, (9, 500), 10);
    f.store.note_data(file, Sequence(11), SizeChange::Exactly(200), f.now()).expect("known");
    f.flush(file, f.store.unflushed(file).expect("dirty")).expect("flush");
    assert_eq!(map(f, file), [(0, 9, 200, 10)]);
    put(f, file, 0, (9, 500), 12);
    assert_eq!(map(f, file), [(0, 9, 500, 12)]);
    // One hash, one length: anything else is a wrong hash.
    assert_eq!(f.set_block(file, 1, (9, 501), 13, true).err(), Some(Error::Corrupt));
    f.check();
}

pub(super) fn blocks_older_than_a_truncate_are_refused(f: &Fixture) {
    let file = f.file(f.root, "file");
    f.store.note_data(file, Sequence(5), SizeChange::AtLeast(500), f.now()).expect("known");
    f.store.note_data(file, Sequence(6), SizeChange::Exactly(100), f.now()).expect("known");
    f.store.note_data(file, Sequence(9), SizeChange::AtLeast(300), f.now()).expect("known");
    // Assembled before the truncate; the engine hears of it with the same command.
    assert_eq!(f.set_block(file, 0, (1, 500), 5, true).err(), Some(Error::Stale));
    assert_eq!((map(f, file), condemned(f)), (vec![], vec![hash(1)]));
    assert!(f.store.unflushed(file).is_some(), "a refused command contributes nothing");
    // Assembled after it, before the last write: it counts, and the truncate is in it.
    put(f, file, 0, (2, 300), 7);
    assert_eq!((map(f, file), f.store.unflushed(file)), (vec![(0, 2, 300, 7)], None));
    assert_eq!(f.set_block(file, 0, (1, 500), 5, true).err(), Some(Error::Stale));
    // A truncate that the engine has does not cut again with the next state.
    f.store.note_data(file, Sequence(12), SizeChange::AtLeast(301), f.now()).expect("known");
    let data = f.store.unflushed(file).expect("dirty");
    assert_eq!(data.floor, u64::MAX);
    // A state that does not say where its truncate is may end with it.
    let data = DataState { floor: 50, truncate: Sequence(0), ..data };
    f.flush(file, data).expect("flush");
    assert_eq!(map(f, file), [(0, 2, 50, 7)]);
    assert_eq!(f.set_block(file, 0, (3, 300), 11, true).err(), Some(Error::Stale));
    f.check();
}

pub(super) fn a_truncate_does_not_cut_what_came_after_it(f: &Fixture) {
    let file = f.file(f.root, "file");
    f.store.note_data(file, Sequence(5), SizeChange::AtLeast(500), f.now()).expect("known");
    f.store.note_data(file, Sequence(6), SizeChange::Exactly(100), f.now()).expect("known");
    f.store.note_data(file, Sequence(7), SizeChange::AtLeast(300), f.now()).expect("known");
    // The block comes without the state, and has the truncate in it.
    let done = f.submit(Command::SetBlock {
        inode: file,
        index: BlockIndex(0),
        block: Some((hash(1), 300)),
        watermark: Sequence(7),
        data: None,
        was_put: true,
        packed: None,
        now: f.now(),
    });
    assert!(matches!(done, Ok(Outcome::Done)), "{done:?}");
    f.flush(file, f.store.unflushed(file).expect("dirty")).expect("flush");
    assert_eq!(map(f, file), [(0, 1, 300, 7)]);
    f.check();
}

pub(super) fn a_block_of_zeroes_keeps_its_watermark(f: &Fixture) {
    let file = f.file(f.root, "file");
    put(f, file, 0, (1, 100), 5);
    put(f, file, 0, (0, 0), 8);
    assert_eq!(map(f, file), [(0, 0, 0, 8)]);
    assert_eq!(condemned(f), [hash(1)]);
    put(f, file, 0, (1, 100), 7);
    assert_eq!(map(f, file), [(0, 0, 0, 8)]);
    put(f, file, 0, (1, 100), 9);
    assert_eq!((map(f, file), condemned(f)), (vec![(0, 1, 100, 9)], vec![]));
    f.check();
}

pub(super) fn orphans_are_reaped_in_steps(f: &Fixture) {
    let (file, kept) = (f.file(f.root, "file"), f.file(f.root, "kept"));
    for index in 0..5 {
        put(f, file, index, (u8::try_from(index).expect("small") + 1, 10), 1);
    }
    put(f, kept, 0, (1, 10), 1);
    let reap = |inode, blocks_max| match f.submit(Command::Reap { inode, blocks_max, now: f.now() })
    {
        Ok(Outcome::Reaped { done }) => Ok(done),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    assert_eq!(reap(file, 9), Err(Error::Invalid));
    f.remove(f.root, "file").expect("remove");
    assert_eq!(wait(f.store.blocks(file, BlockIndex(0), 9)), Err(Error::Stale));
    assert_eq!(wait(f.store.totals(None)).expect("totals").inodes, 3);
    assert_eq!(reap(file, 2), Ok(false));
    assert_eq!((condemned(f), wait(f.store.orphans(9))), (vec![hash(2)], Ok(vec![file])));
    f.check();
    assert_eq!(reap(file, 2), Ok(false));
    assert_eq!(reap(file, 2), Ok(true));
    assert_eq!((condemned(f).len(), wait(f.store.orphans(9))), (4, Ok(vec![])));
    assert_eq!(wait(f.store.totals(None)).expect("totals").inodes, 2);
    assert_eq!(reap(file, 2), Ok(true), "gone is done");
    for name in ["a", "b", "c"] {
        f.file(f.root, name);
        f.remove(f.root, name).expect("remove");
    }
    assert_eq!(wait(f.store.orphans(2)).expect("orphans").len(), 2);
    f.check();
}

pub(super) fn gone_inodes_take_nothing(f: &Fixture) {
    let file = f.file(f.root, "file");
    f.store.note_data(file, Sequence(5), SizeChange::AtLeast(50), f.now()).expect("known");
    f.remove(f.root, "file").expect("remove");
    assert_eq!(f.store.note_data(file, Sequence(6), SizeChange::AtLeast(60), f.now()), None);
    assert_eq!(f.store.unflushed(file), None);
    assert_eq!(f.set_block(file, 0, (1, 50), 6, true).err(), Some(Error::Stale));
    assert_eq!(condemned(f), [hash(1)], "its object waits for the collector");
    assert_eq!(f.set_attr(file, crate::command::AttrChange::default()), Err(Error::Stale));
    assert_eq!(f.set_block(InodeId(999), 0, (1, 50), 6, true).err(), Some(Error::Stale));
    f.check();
}

pub(super) fn used_and_totals_add_up(f: &Fixture) {
    let file = f.file(f.root, "file");
    f.store.note_data(file, Sequence(1), SizeChange::AtLeast(1000), f.now()).expect("known");
    f.flush(file, f.store.unflushed(file).expect("dirty")).expect("flush");
    // Nothing is stored yet, but the file must not look like a hole.
    assert_eq!(f.attr(file).expect("attr").used, 1000);
    put(f, file, 0, (1, 1000), 1);
    assert_eq!(f.attr(file).expect("attr").used, 1000);
    let totals = || wait(f.store.totals(Some(f.share))).expect("totals");
    assert_eq!((totals().bytes_used, totals().bytes_stored), (1000, 1000));
    let twin = f.file(f.root, "twin");
    put(f, twin, 0, (1, 1000), 1);
    assert_eq!((totals().bytes_used, totals().bytes_stored), (2000, 1000));
    f.check();
}

pub(super) fn objects_that_nobody_counts_are_condemned(f: &Fixture) {
    let file = f.file(f.root, "file");
    put(f, file, 0, (1, FULL), 1);
    let other = f.share_create("/other", "elsewhere").expect("share");
    put(f, f.file(other.root, "file"), 0, (2, FULL), 1);
    let before = stored(f);
    let condemn = |bytes: &[u8]| {
        let found = bytes.iter().map(|&byte| (hash(byte), at(5))).collect();
        let packs = false;
        match f.submit(Command::Condemn { content: "content".into(), found, packs }) {
            Ok(Outcome::Condemned(hashes)) => hashes,
            other => panic!("{other:?}"),
        }
    };
    // What any content store of the domain counts stays.
    assert_eq!(condemn(&[1, 2, 3, 4, 5]), [hash(3), hash(4), hash(5)]);
    assert_eq!(condemn(&[3]), [], "once");
    assert_eq!(condemned(f), [hash(3), hash(4), hash(5)], "since they were made");
    assert_eq!((stored(f), is_stored(f, 3)), (before, false), "nobody knows what is in it");
    f.check();
    // An upload that was under way: it must have put the object itself.
    assert!(matches!(f.set_block(file, 1, (3, 100), 2, false), Ok(Outcome::NeedPut)));
    put(f, file, 1, (3, 100), 2);
    assert_eq!((stored(f), is_stored(f, 3)), (before + 100, true));
    assert_eq!(condemned(f), [hash(4), hash(5)]);
    f.check();
    assert_eq!(delete_begin(f, &[3, 4]), [hash(4)]);
    assert_eq!(f.set_block(file, 2, (4, 100), 3, true).err(), Some(Error::Busy));
    delete_end(f, &[4]);
    put(f, file, 2, (4, 100), 3);
    let all = wait(f.store.counted("content", None, 9)).expect("counted");
    let row = |c: &crate::Counted| (c.hash.0[0], c.stored_len, c.references, c.since.is_some());
    let rows: Vec<_> = all.iter().map(row).collect();
    assert_eq!(
        rows,
        [(1, FULL, 1, false), (3, 100, 1, false), (4, 100, 1, false), (5, 0, 0, true)]
    );
    assert_eq!(wait(f.store.counted("content", Some(hash(1)), 2)).expect("counted"), all[1..3]);
    assert_eq!(wait(f.store.counted("nowhere", None, 9)).expect("counted"), []);
    f.check();
}
