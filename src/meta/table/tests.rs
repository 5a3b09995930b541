//! Every row of the table of what a published inode meets, and random histories against the truth.

use reactor::rng::Rng;
use vocab::{Attr, Device, FileKind, InodeId, Sequence, ShareId, Time};

use super::{FLOORS_MAX, Table};
use crate::{
    SizeChange,
    command::DataState,
    record::{Body, Inode, RegularBody},
    shards::Seed,
};

const ID: InodeId = InodeId(9);

fn at(seconds: i64) -> Time {
    Time { seconds, nanos: 0 }
}

fn inode(data_seq: u64) -> Inode {
    let stored = Attr {
        inode: ID,
        share: ShareId(1),
        generation: 1,
        kind: FileKind::Regular,
        mode: 0o644,
        nlink: 1,
        uid: 0,
        gid: 0,
        size: 0,
        used: 0,
        device: Device::default(),
        atime: at(1),
        mtime: at(1),
        ctime: at(1),
        change: 1,
    };
    let body = RegularBody { data_seq: Sequence(data_seq), ..RegularBody::default() };
    Inode { stored, body: Body::Regular(body) }
}

fn with(mut inode: Inode, change: impl FnOnce(&mut Attr, &mut RegularBody)) -> Inode {
    let Body::Regular(body) = &mut inode.body else { panic!("regular") };
    change(&mut inode.stored, body);
    inode
}

fn table(inode: &Inode) -> Table {
    let table = Table::new(Seed(1));
    table.publish(inode);
    table
}

fn note(table: &Table, sequence: u64, size: SizeChange, seconds: i64) {
    table.note_data(ID, Sequence(sequence), size, at(seconds)).expect("known");
}

fn peek(table: &Table) -> Attr {
    table.peek(ID).expect("known")
}

#[test]
fn nothing_here_takes_the_engines() {
    let table = Table::new(Seed(1));
    assert_eq!(table.peek(ID), None);
    assert_eq!(table.note_data(ID, Sequence(1), SizeChange::AtLeast(1), at(1)), None);
    table.publish(&inode(5));
    assert_eq!((peek(&table), table.unflushed(ID)), (inode(5).attr(), None));
}

#[test]
fn gone_is_gone_even_when_dirty() {
    let table = table(&inode(5));
    note(&table, 6, SizeChange::AtLeast(10), 2);
    table.publish_gone(ID);
    assert_eq!((table.peek(ID), table.unflushed(ID)), (None, None));
}

#[test]
fn a_clean_entry_takes_the_engines() {
    let table = table(&inode(5));
    let next = with(inode(7), |attr, body| {
        *attr = Attr { size: 70, mtime: at(7), ctime: at(8), mode: 0o600, change: 2, ..*attr };
        body.data_change = 3;
    });
    table.publish(&next);
    assert_eq!((peek(&table), table.unflushed(ID)), (next.attr(), None));
    assert_eq!(peek(&table).change, 5);
}

#[test]
fn a_state_that_was_taken_along_becomes_clean() {
    let table = table(&inode(5));
    note(&table, 6, SizeChange::AtLeast(10), 2);
    let taken = table.unflushed(ID).expect("dirty");
    let next = with(inode(taken.sequence.0), |attr, body| {
        *attr = Attr { size: taken.size, mtime: at(-5), ctime: at(9), change: 2, ..*attr };
        body.data_change = taken.change;
    });
    table.publish(&next);
    let attr = peek(&table);
    assert_eq!((attr.mtime, attr.ctime, attr.size, attr.change), (at(-5), at(9), 10, 3));
    assert_eq!(table.unflushed(ID), None);
}

#[test]
fn a_later_record_stays_over_the_engines() {
    let table = table(&inode(5));
    note(&table, 6, SizeChange::AtLeast(10), 2);
    let taken = table.unflushed(ID).expect("dirty");
    note(&table, 7, SizeChange::AtLeast(20), 30);
    let next = with(inode(taken.sequence.0), |attr, body| {
        *attr =
            Attr { size: 10, mtime: at(-5), ctime: at(9), mode: 0, nlink: 2, change: 2, ..*attr };
        body.data_change = taken.change;
    });
    table.publish(&next);
    let attr = peek(&table);
    assert_eq!((attr.size, attr.mtime, attr.ctime), (20, at(30), at(30)));
    assert_eq!((attr.mode, attr.nlink, attr.change), (0, 2, 2 + 2));
    let left = table.unflushed(ID).expect("dirty");
    assert_eq!((left.sequence, left.size, left.mtime), (Sequence(7), 20, at(30)));
}

#[test]
fn ctime_never_goes_back() {
    let table = table(&inode(5));
    note(&table, 6, SizeChange::AtLeast(10), 100);
    note(&table, 7, SizeChange::AtLeast(10), 50);
    assert_eq!((peek(&table).mtime, peek(&table).ctime), (at(50), at(100)));
    table.publish(&with(inode(5), |attr, _| attr.ctime = at(60)));
    assert_eq!(peek(&table).ctime, at(100));
}

#[test]
fn truncates_that_the_engine_has_no_longer_cut() {
    let table = table(&inode(5));
    note(&table, 6, SizeChange::AtLeast(1000), 2);
    note(&table, 7, SizeChange::Exactly(100), 3);
    let taken = table.unflushed(ID).expect("dirty");
    assert_eq!((taken.floor, taken.truncate), (100, Sequence(7)));
    note(&table, 8, SizeChange::AtLeast(900), 4);
    note(&table, 9, SizeChange::Exactly(500), 5);
    assert_eq!(table.unflushed(ID).map(|d| (d.floor, d.truncate)), Some((100, Sequence(9))));
    table.publish(&with(inode(7), |attr, _| attr.size = 100));
    assert_eq!(table.unflushed(ID).map(|d| (d.floor, d.truncate)), Some((500, Sequence(9))));
    table.publish(&with(inode(9), |attr, _| attr.size = 500));
    assert_eq!(table.unflushed(ID), None);
    note(&table, 10, SizeChange::AtLeast(501), 5);
    assert_eq!(table.unflushed(ID).map(|d| d.floor), Some(u64::MAX));
}

/// What an entry tells of its truncates is never too little, however many there were, and exact
/// while they are few.
#[test]
fn floors_never_forget_a_truncate() {
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        let table = table(&inode(0));
        let mut truncates = Vec::new();
        let (mut flushed, mut size) = (0, 0);
        let flushes = if seed % 8 == 0 { 1_000_000 } else { 9 };
        for sequence in 1..80 {
            // In some histories truncates get longer, so that all of them count.
            let len = if seed % 4 == 0 { sequence << 10 } else { rng.below(1 << 20) };
            let len = if seed % 4 == 0 && sequence % 2 == 0 { len / 2 } else { len };
            if sequence % 2 == 1 || rng.one_in(4) {
                note(&table, sequence, SizeChange::AtLeast(len), 1);
                size = size.max(len);
            } else {
                note(&table, sequence, SizeChange::Exactly(len), 1);
                if len < size {
                    truncates.push((sequence, len));
                }
                size = len;
            }
            let DataState { floor, truncate, size: live, .. } = table.unflushed(ID).expect("dirty");
            let open: Vec<_> = truncates.iter().filter(|(at, _)| *at > flushed).collect();
            let wanted = open.iter().map(|(_, len)| *len).min().unwrap_or(u64::MAX);
            let last = open.last().map_or(0, |(at, _)| *at);
            assert_eq!(live, size, "seed {seed}");
            assert_eq!(truncate, Sequence(last), "seed {seed}");
            assert!(floor <= wanted, "seed {seed}");
            assert!(floor == wanted || open.len() > FLOORS_MAX, "seed {seed}");
            if rng.one_in(flushes) {
                flushed = flushed.max(sequence - rng.below(3).min(sequence));
                table.publish(&with(inode(flushed), |attr, _| attr.size = size));
                if flushed == sequence {
                    continue;
                }
                assert_eq!(peek(&table).size, size, "seed {seed}");
            }
        }
    }
}
