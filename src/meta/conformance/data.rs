//! Lengths and times: what the log says, what the engine has, what clients see.

use vocab::{Error, Sequence, Time};

use super::{Fixture, at, wait};
use crate::{
    SizeChange,
    command::{AttrChange, Command, DataState, Outcome},
};

const MTIME: fn(Time) -> AttrChange =
    |mtime| AttrChange { mtime: Some(mtime), ..AttrChange::default() };

pub(super) fn the_log_leads_and_the_engine_follows(f: &Fixture) {
    let file = f.file(f.root, "file");
    let made = f.attr(file).expect("attr");
    assert_eq!(f.store.unflushed(file), None);
    let (t1, t2) = (f.now(), f.now());
    let noted = f.store.note_data(file, Sequence(10), SizeChange::AtLeast(5000), t1);
    let (before, after) = noted.expect("known");
    assert_eq!(before, made);
    assert_eq!((after.size, after.used), (5000, 5000));
    assert_eq!((after.mtime, after.ctime, after.change), (t1, t1, made.change + 1));
    f.store.note_data(file, Sequence(11), SizeChange::AtLeast(100), t2).expect("known");
    let live = f.attr(file).expect("attr");
    assert_eq!((live.size, live.mtime, live.change), (5000, t2, made.change + 2));
    assert_eq!(wait(f.store.data_state(file)).expect("state").sequence, Sequence(0));
    let data = f.store.unflushed(file).expect("unflushed");
    assert_eq!((data.sequence, data.size, data.floor), (Sequence(11), 5000, u64::MAX));
    f.flush(file, data).expect("flush");
    assert_eq!(f.store.unflushed(file), None);
    assert_eq!(f.attr(file), Ok(live));
    let flushed = wait(f.store.data_state(file)).expect("state");
    assert_eq!((flushed.sequence, flushed.size, flushed.mtime), (Sequence(11), 5000, t2));
    // Recovery replays what the engine has already.
    f.store.note_data(file, Sequence(11), SizeChange::Exactly(0), t2).expect("known");
    assert_eq!((f.attr(file), f.store.unflushed(file)), (Ok(live), None));
    // A hole costs nothing, and a shorter file no more than its length.
    let far = 1 << 40;
    f.store.note_data(file, Sequence(12), SizeChange::AtLeast(far), t2).expect("known");
    let sparse = f.attr(file).expect("attr");
    assert!(sparse.size == far && sparse.used <= 2 << 20);
    f.store.note_data(file, Sequence(13), SizeChange::Exactly(10), t2).expect("known");
    let data = f.store.unflushed(file).expect("unflushed");
    assert_eq!((data.size, data.floor, data.truncate), (10, 10, Sequence(13)));
    assert_eq!(f.attr(file).expect("attr").used, 10);
}

pub(super) fn set_attr_takes_the_data_along(f: &Fixture) {
    let file = f.file(f.root, "file");
    f.store.note_data(file, Sequence(5), SizeChange::AtLeast(9), f.now()).expect("known");
    let before = f.attr(file).expect("attr");
    let set = f.set_attr(file, MTIME(at(1))).expect("set");
    assert_eq!((set.size, set.mtime, set.change), (9, at(1), before.change + 1));
    assert!(set.ctime > before.ctime);
    assert_eq!((f.attr(file), f.store.unflushed(file)), (Ok(set), None));
    // What recovery compares with: the record is in, and must not be noted again.
    let state = wait(f.store.data_state(file)).expect("state");
    assert_eq!((state.sequence, state.mtime), (Sequence(5), at(1)));
    // A flush that was composed before loses.
    let late = DataState { sequence: Sequence(5), mtime: at(77), ..state };
    f.flush(file, late).expect("flush");
    assert_eq!(f.attr(file), Ok(set));
}

pub(super) fn a_later_write_beats_an_explicit_mtime(f: &Fixture) {
    let file = f.file(f.root, "file");
    f.store.note_data(file, Sequence(5), SizeChange::AtLeast(9), f.now()).expect("known");
    let data = f.store.unflushed(file);
    let written = f.now();
    f.store.note_data(file, Sequence(6), SizeChange::AtLeast(10), written).expect("known");
    let change = AttrChange { mode: Some(0o400), ..MTIME(at(1)) };
    let before = f.attr(file).expect("attr");
    let now = f.now();
    let done = f.submit(Command::SetAttr { inode: file, change, guard: None, now, data });
    let Ok(Outcome::Changed { attr, .. }) = done else { panic!("{done:?}") };
    assert_eq!((attr.size, attr.mtime, attr.mode), (10, written, 0o400));
    assert_eq!((attr.ctime, attr.change), (now, before.change + 1));
    assert_eq!(f.attr(file), Ok(attr));
    let engine = wait(f.store.data_state(file)).expect("state");
    assert_eq!((engine.sequence, engine.mtime), (Sequence(5), at(1)));
    let data = f.store.unflushed(file).expect("still dirty");
    f.flush(file, data).expect("flush");
    assert_eq!(f.attr(file), Ok(attr));
    assert_eq!(wait(f.store.data_state(file)).expect("state").mtime, written);
}

pub(super) fn a_guard_is_kept(f: &Fixture) {
    let file = f.file(f.root, "file");
    f.store.note_data(file, Sequence(5), SizeChange::AtLeast(9), f.now()).expect("known");
    let live = f.attr(file).expect("attr");
    let set = |guard, data| {
        let change = AttrChange { uid: Some(1), ..AttrChange::default() };
        f.submit(Command::SetAttr { inode: file, change, guard: Some(guard), now: f.now(), data })
    };
    let data = f.store.unflushed(file);
    assert_eq!(set(at(1), data).err(), Some(Error::GuardMismatch));
    assert_eq!((f.attr(file), f.store.unflushed(file)), (Ok(live), data));
    let Ok(Outcome::Changed { pre, attr }) = set(live.ctime, data) else { panic!("refused") };
    assert_eq!((pre, attr.uid), (live.pre(), 1));
}

pub(super) fn commands_see_live_lengths(f: &Fixture) {
    let file = f.file(f.root, "file");
    f.store.note_data(file, Sequence(5), SizeChange::AtLeast(1234), f.now()).expect("known");
    let before = f.attr(file).expect("attr");
    let linked = f.link(file, f.root, "two").expect("link");
    assert_eq!((linked.size, linked.used, linked.nlink), (1234, 1234, 2));
    assert_eq!((linked.change, linked.mtime), (before.change + 1, before.mtime));
    assert_eq!(f.remove(f.root, "file").expect("remove").size, 1234);
    f.file(f.root, "three");
    f.link(file, f.root, "four").expect("link");
    let replaced = f.rename((f.root, "three"), (f.root, "four")).expect("rename");
    assert_eq!(replaced.map(|attr| (attr.size, attr.nlink)), Some((1234, 1)));
    let live = f.attr(file).expect("attr");
    f.flush(file, f.store.unflushed(file).expect("dirty")).expect("flush");
    assert_eq!(f.attr(file), Ok(live));
}

pub(super) fn attributes_change_one_by_one(f: &Fixture) {
    let dir = f.mkdir(f.root, "dir");
    let before = f.attr(dir).expect("attr");
    let change = AttrChange {
        mode: Some(0o17_777),
        uid: Some(1),
        gid: Some(2),
        atime: Some(at(3)),
        mtime: Some(at(4)),
    };
    let after = f.set_attr(dir, change).expect("set");
    assert_eq!((after.mode, after.uid, after.gid), (0o7777, 1, 2));
    assert_eq!((after.atime, after.mtime), (at(3), at(4)));
    assert!(after.ctime > before.ctime);
    let one = AttrChange { gid: Some(9), ..AttrChange::default() };
    let last = f.set_attr(dir, one).expect("set");
    assert_eq!(last, vocab::Attr { gid: 9, ctime: last.ctime, change: after.change + 1, ..after });
    // Nothing to change: nothing changes.
    assert_eq!(f.set_attr(dir, AttrChange::default()), Ok(last));
    assert_eq!(f.attr(dir), Ok(last));
    f.check();
}

pub(super) fn reads_touch_atime_by_relatime(f: &Fixture) {
    let file = f.file(f.root, "file");
    let made = f.attr(file).expect("attr");
    let atime = || f.attr(file).expect("attr").atime;
    let first = f.now();
    f.store.note_read(file, first);
    assert_eq!(atime(), first);
    f.store.note_read(file, f.now());
    assert_eq!(atime(), first, "read since the last change, and not long ago");
    let next_day = Time { seconds: first.seconds + 24 * 60 * 60, ..first };
    f.store.note_read(file, next_day);
    assert_eq!(atime(), next_day);
    assert_eq!(f.attr(file).expect("attr").change, made.change);
    // A command that leaves it alone keeps it; one that sets it wins.
    f.link(file, f.root, "two").expect("link");
    assert_eq!(atime(), next_day);
    let set = AttrChange { atime: Some(at(2)), ..AttrChange::default() };
    f.set_attr(file, set).expect("set");
    assert_eq!(atime(), at(2));
}

pub(super) fn a_late_flush_is_ignored(f: &Fixture) {
    let file = f.file(f.root, "file");
    f.store.note_data(file, Sequence(5), SizeChange::AtLeast(50), f.now()).expect("known");
    let old = f.store.unflushed(file).expect("dirty");
    f.store.note_data(file, Sequence(6), SizeChange::AtLeast(60), f.now()).expect("known");
    let new = f.store.unflushed(file).expect("dirty");
    f.flush(file, new).expect("flush");
    f.flush(file, old).expect("flush");
    let state = wait(f.store.data_state(file)).expect("state");
    assert_eq!((state.sequence, state.size), (Sequence(6), 60));
    let dir = f.mkdir(f.root, "dir");
    assert_eq!(f.flush(dir, new), Err(Error::Invalid));
    f.remove(f.root, "file").expect("remove");
    assert_eq!(f.flush(file, new), Err(Error::Stale));
}

pub(super) fn seals_only_rise(f: &Fixture) {
    let file = f.file(f.root, "file");
    let seal = |sequence| {
        f.submit(Command::Seal { inode: file, sequence: Sequence(sequence) }).map(|_| ())
    };
    let sealed = || wait(f.store.sealed(file));
    assert_eq!(sealed(), Ok(Sequence(0)));
    seal(7).expect("seal");
    assert_eq!(sealed(), Ok(Sequence(7)));
    seal(3).expect("seal");
    assert_eq!(sealed(), Ok(Sequence(7)));
    f.link(file, f.root, "two").expect("link");
    assert_eq!(sealed(), Ok(Sequence(7)));
    f.remove(f.root, "file").expect("remove");
    f.remove(f.root, "two").expect("remove");
    assert_eq!((sealed(), seal(9)), (Err(Error::Stale), Err(Error::Stale)));
}
