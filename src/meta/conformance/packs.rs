//! Packs: counted by the blocks that rest in them, and condemned with the last.

use vocab::{BlockHash, Error, InodeId, PackId, Packed, Time};

use super::{Fixture, at, hash, wait};
use crate::{
    Counted, Rest,
    command::{Command, Outcome},
};

fn packed(pack: u8, at: u32) -> Packed {
    Packed { pack: PackId(hash(pack)), at, bytes: 10 }
}

fn put(f: &Fixture, file: InodeId, index: u32, byte: u8, packed: Packed) {
    let done = f.set_packed(file, index, (byte, 100), u64::from(index) + 1, packed);
    assert!(matches!(done, Ok(Outcome::Done)), "{done:?}");
}

fn count(f: &Fixture, byte: u8) -> Option<Counted> {
    wait(f.store.count_of("content", hash(byte))).expect("count_of")
}

fn condemned(f: &Fixture) -> Vec<(BlockHash, Time)> {
    let hashes = wait(f.store.condemned("content", at(i64::MAX), 99)).expect("condemned");
    let since = |hash| wait(f.store.count_of("content", hash)).expect("count_of").expect("counted");
    hashes.into_iter().map(|hash| (hash, since(hash).since.expect("condemned"))).collect()
}

fn begin(f: &Fixture, bytes: &[u8]) -> Vec<(BlockHash, Rest)> {
    let hashes = bytes.iter().map(|&byte| hash(byte)).collect();
    match f.submit(Command::DeleteBegin { content: "content".into(), hashes }) {
        Ok(Outcome::Deleting(deleting)) => deleting,
        other => panic!("{other:?}"),
    }
}

fn end(f: &Fixture, bytes: &[u8]) {
    let hashes = bytes.iter().map(|&byte| hash(byte)).collect();
    f.submit(Command::DeleteEnd { content: "content".into(), hashes }).expect("ended");
}

pub(super) fn a_pack_lives_as_long_as_its_blocks(f: &Fixture) {
    let file = f.file(f.root, "file");
    put(f, file, 0, 1, packed(9, 0));
    put(f, file, 1, 2, packed(9, 10));
    let pack = count(f, 9).expect("counted");
    assert_eq!((pack.references, pack.rests), (2, Rest::Pack { bytes: 20 }));
    assert_eq!(count(f, 1).expect("counted").rests, Rest::Packed(packed(9, 0)));
    assert_eq!(wait(f.store.totals(None)).expect("totals").bytes_stored, 200);
    // A second reference needs no PUT, and does not move it.
    assert!(matches!(f.set_block(file, 2, (1, 100), 3, false), Ok(Outcome::Done)));
    put(f, file, 3, 1, packed(8, 0));
    assert_eq!((count(f, 1).expect("counted").references, count(f, 8)), (3, None));
    let there = wait(f.store.packed_in("content", PackId(hash(9)))).expect("packed_in");
    assert_eq!(there.iter().map(|c| c.hash).collect::<Vec<_>>(), [hash(1), hash(2)]);

    for (index, byte) in [(0, 5), (1, 5), (2, 5), (3, 5)] {
        f.set_block(file, index, (byte, 100), 99, true).expect("set");
    }
    let dead = condemned(f);
    assert_eq!(dead.len(), 2, "the blocks, and not yet their pack");
    assert_eq!(begin(f, &[2]), [(hash(2), Rest::Packed(packed(9, 10)))]);
    end(f, &[2]);
    assert_eq!(count(f, 9).expect("counted").rests, Rest::Pack { bytes: 10 });
    begin(f, &[1]);
    end(f, &[1]);
    let last = dead.iter().map(|(_, since)| *since).max();
    assert_eq!(condemned(f), [(hash(9), last.expect("two"))], "as old as its last block");
    assert_eq!(begin(f, &[9]), [(hash(9), Rest::Pack { bytes: 0 })]);
    end(f, &[9]);
    assert_eq!(count(f, 9), None);
    f.check();
}

pub(super) fn a_block_moves_to_another_pack(f: &Fixture) {
    let file = f.file(f.root, "file");
    put(f, file, 0, 1, packed(9, 0));
    put(f, file, 1, 2, packed(9, 10));
    put(f, file, 2, 3, packed(9, 20));
    f.set_block(file, 2, (4, 100), 9, true).expect("set");
    begin(f, &[3]);
    let now = f.now();
    let moves = vec![
        (hash(1), packed(9, 0), Some(packed(8, 0))),
        (hash(2), packed(9, 99), Some(packed(8, 10))),
        (hash(3), packed(9, 20), Some(packed(8, 20))),
        (hash(7), packed(9, 30), Some(packed(8, 30))),
    ];
    let content = || "content".to_owned();
    f.submit(Command::Move { content: content(), moves, now }).expect("moved");
    assert_eq!(count(f, 1).expect("counted").rests, Rest::Packed(packed(8, 0)));
    assert_eq!(count(f, 2).expect("counted").rests, Rest::Packed(packed(9, 10)), "not from there");
    assert_eq!(count(f, 3).expect("counted").rests, Rest::Packed(packed(9, 20)), "being deleted");
    assert_eq!(count(f, 8).expect("counted").rests, Rest::Pack { bytes: 10 });
    let moves = vec![(hash(2), packed(9, 10), None)];
    let later = f.now();
    f.submit(Command::Move { content: content(), moves, now: later }).expect("moved");
    end(f, &[3]);
    assert_eq!(count(f, 2).expect("counted").rests, Rest::Own);
    assert_eq!(condemned(f), [(hash(9), later)], "readers may still look there");
    f.check();
}

pub(super) fn a_damaged_packed_block_is_put_elsewhere(f: &Fixture) {
    let file = f.file(f.root, "file");
    put(f, file, 0, 1, packed(9, 0));
    let (content, hash) = ("content".to_owned(), hash(1));
    f.submit(Command::MarkDamaged { content, hash, is_damaged: true }).expect("marked");
    assert!(matches!(f.set_block(file, 1, (1, 100), 2, false), Ok(Outcome::NeedPut)));
    assert!(matches!(f.set_block(file, 1, (1, 100), 2, true), Ok(Outcome::Done)));
    let counted = count(f, 1).expect("counted");
    assert_eq!((counted.rests, counted.references, counted.is_damaged), (Rest::Own, 2, false));
    assert_eq!(condemned(f).len(), 1, "the pack");
    f.check();
}

pub(super) fn a_pack_being_deleted_takes_no_block(f: &Fixture) {
    let file = f.file(f.root, "file");
    let condemn = || Command::Condemn {
        content: "content".into(),
        found: vec![(hash(9), at(5))],
        packs: true,
    };
    assert!(matches!(f.submit(condemn()), Ok(Outcome::Condemned(ids)) if ids == [hash(9)]));
    put(f, file, 0, 1, packed(9, 0));
    assert_eq!((condemned(f), begin(f, &[9])), (vec![], vec![]), "it is in use");
    f.set_block(file, 0, (2, 100), 9, true).expect("set");
    begin(f, &[1]);
    end(f, &[1]);
    begin(f, &[9]);
    let refused = f.set_packed(file, 1, (3, 100), 9, packed(9, 10));
    assert_eq!(refused.err(), Some(Error::Busy));
    assert_eq!(count(f, 3), None, "nothing is left of it");
    f.check();
}
