//! What every metadata store must do, whatever engine is below it.
//!
//! Each case gets a fresh store with one share, and runs once for every engine.

mod blocks;
mod check;
mod data;
mod model;
mod names;
mod packs;
mod readdir;
mod rename;

use std::{
    cell::Cell,
    future::Future,
    task::{Context, Poll, Waker},
};

use vocab::{Attr, BlockHash, BlockIndex, Cookie, Error, InodeId, Packed, Sequence, ShareId, Time};

pub(crate) use check::check;
pub(crate) use reactor::thread::wait;

use crate::{
    DirEntry, Engine, Store,
    command::{AttrChange, Command, DataState, NewAttr, NewKind, Outcome},
};

/// A store with one share, and a clock that goes on by a second with each look.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) root: InodeId,
    pub(crate) share: ShareId,
    clock: Cell<i64>,
    _folder: Option<tempfile::TempDir>,
}

macro_rules! conformance {
    ($($module:ident: $($case:ident),+ $(,)?;)+) => {
        mod on_memory {
            $($(#[test] fn $case() { super::$module::$case(&super::Fixture::memory()); })+)+
        }
        mod on_journal {
            $($(#[test] fn $case() { super::$module::$case(&super::Fixture::journal()); })+)+
        }
        mod on_lsm {
            $($(#[test] fn $case() { super::$module::$case(&super::Fixture::lsm()); })+)+
        }
    };
}

conformance! {
    names: every_kind_is_made_and_found, create_refuses_what_it_must, exclusive_create_is_made_once,
        links_are_counted, too_many_links, the_last_name_takes_the_inode_along,
        remove_refuses_what_it_must, a_removed_directory_is_stale, shares_are_made_once,
        shares_do_not_mix, names_that_lead_nowhere_are_remembered_until_they_do;
    rename: a_name_moves, a_target_is_replaced, kinds_must_match,
        a_directory_takes_its_parent_along, never_below_itself, the_same_inode_is_left_alone;
    readdir: pages_join_up, large_directories, attributes_are_live, listings_are_of_now,
        listings_survive_change;
    data: the_log_leads_and_the_engine_follows, set_attr_takes_the_data_along,
        a_later_write_beats_an_explicit_mtime, a_guard_is_kept, commands_see_live_lengths,
        attributes_change_one_by_one, reads_touch_atime_by_relatime, a_late_flush_is_ignored,
        seals_only_rise;
    blocks: a_block_is_counted_once_per_reference, a_put_is_asked_for, condemned_blocks_come_back,
        deletion_runs_to_its_end, older_blocks_never_win, truncates_cut_the_map,
        blocks_older_than_a_truncate_are_refused,
        a_truncate_does_not_cut_what_came_after_it, a_block_of_zeroes_keeps_its_watermark,
        objects_that_nobody_counts_are_condemned, orphans_are_reaped_in_steps,
        gone_inodes_take_nothing, used_and_totals_add_up;
    packs: a_pack_lives_as_long_as_its_blocks, a_block_moves_to_another_pack,
        a_damaged_packed_block_is_put_elsewhere, a_pack_being_deleted_takes_no_block;
    model: random_commands_match_the_model;
}

impl Fixture {
    pub(crate) fn memory() -> Self {
        Self::over(&Engine::Memory, None)
    }

    pub(crate) fn journal() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let engine = Engine::Journal { path: folder.path().join("journal") };
        Self::over(&engine, Some(folder))
    }

    pub(crate) fn lsm() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let engine = Engine::Lsm { path: folder.path().join("meta") };
        Self::over(&engine, Some(folder))
    }

    fn over(engine: &Engine, folder: Option<tempfile::TempDir>) -> Self {
        let store = Store::open("test", engine).expect("open");
        let clock = Cell::new(1_000);
        let fixture = Self { store, root: InodeId(0), share: ShareId(0), clock, _folder: folder };
        let root = fixture.share_create("/export", "content").expect("share");
        Self { root: root.root, share: root.share, ..fixture }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.set(self.clock.get() + 1);
        at(self.clock.get())
    }

    pub(crate) fn submit(&self, command: Command) -> Result<Outcome, Error> {
        wait(self.store.submit(command))
    }

    pub(crate) fn share_create(
        &self,
        name: &str,
        content: &str,
    ) -> Result<crate::ShareRoot, Error> {
        let (name, content) = (name.to_owned(), content.to_owned());
        let attr = new_attr(0o755);
        let now = self.now();
        let outcome =
            self.submit(Command::ShareCreate { name, content, attr, now, generation: 1 })?;
        let Outcome::Share(root) = outcome else { panic!("{outcome:?}") };
        Ok(root)
    }

    pub(crate) fn make(&self, dir: InodeId, name: &str, kind: NewKind) -> Result<Attr, Error> {
        let command = Command::Create {
            dir,
            name: name.as_bytes().into(),
            kind,
            attr: new_attr(0o644),
            now: self.now(),
            generation: 7,
        };
        let outcome = self.submit(command)?;
        let Outcome::Created { attr, .. } = outcome else { panic!("{outcome:?}") };
        Ok(attr)
    }

    pub(crate) fn file(&self, dir: InodeId, name: &str) -> InodeId {
        self.make(dir, name, NewKind::Regular { exclusive: None }).expect("create").inode
    }

    pub(crate) fn mkdir(&self, dir: InodeId, name: &str) -> InodeId {
        self.make(dir, name, NewKind::Directory).expect("mkdir").inode
    }

    pub(crate) fn link(&self, inode: InodeId, dir: InodeId, name: &str) -> Result<Attr, Error> {
        let name = name.as_bytes().into();
        let outcome = self.submit(Command::Link { inode, dir, name, now: self.now() })?;
        let Outcome::Linked { attr, .. } = outcome else { panic!("{outcome:?}") };
        Ok(attr)
    }

    pub(crate) fn remove(&self, dir: InodeId, name: &str) -> Result<Attr, Error> {
        self.unname(dir, name, false)
    }

    pub(crate) fn rmdir(&self, dir: InodeId, name: &str) -> Result<Attr, Error> {
        self.unname(dir, name, true)
    }

    fn unname(&self, dir: InodeId, name: &str, directory: bool) -> Result<Attr, Error> {
        let name = name.as_bytes().into();
        let outcome = self.submit(Command::Remove { dir, name, directory, now: self.now() })?;
        let Outcome::Removed { attr, .. } = outcome else { panic!("{outcome:?}") };
        Ok(attr)
    }

    /// Renames; gives the replaced inode's attributes.
    pub(crate) fn rename(
        &self,
        (from_dir, from_name): (InodeId, &str),
        (to_dir, to_name): (InodeId, &str),
    ) -> Result<Option<Attr>, Error> {
        let (from_name, to_name) = (from_name.as_bytes().into(), to_name.as_bytes().into());
        let now = self.now();
        let outcome = self.submit(Command::Rename { from_dir, from_name, to_dir, to_name, now })?;
        let Outcome::Renamed { replaced, .. } = outcome else { panic!("{outcome:?}") };
        Ok(replaced)
    }

    pub(crate) fn set_attr(&self, inode: InodeId, change: AttrChange) -> Result<Attr, Error> {
        let data = self.store.unflushed(inode);
        let now = self.now();
        let outcome = self.submit(Command::SetAttr { inode, change, guard: None, now, data })?;
        let Outcome::Changed { attr, .. } = outcome else { panic!("{outcome:?}") };
        Ok(attr)
    }

    pub(crate) fn flush(&self, inode: InodeId, data: DataState) -> Result<(), Error> {
        let outcome = self.submit(Command::FlushData { inode, data })?;
        assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
        Ok(())
    }

    /// Sets a block of `len` bytes, of zeroes when `hash` is 0.
    pub(crate) fn set_block(
        &self,
        inode: InodeId,
        index: u32,
        (hash, len): (u8, u32),
        watermark: u64,
        was_put: bool,
    ) -> Result<Outcome, Error> {
        self.submit(Command::SetBlock {
            inode,
            index: BlockIndex(index),
            block: (hash != 0).then_some((self::hash(hash), len)),
            watermark: Sequence(watermark),
            data: self.store.unflushed(inode),
            was_put,
            packed: None,
            now: self.now(),
        })
    }

    /// Sets a block that was put in a pack.
    pub(crate) fn set_packed(
        &self,
        inode: InodeId,
        index: u32,
        (hash, len): (u8, u32),
        watermark: u64,
        packed: Packed,
    ) -> Result<Outcome, Error> {
        self.submit(Command::SetBlock {
            inode,
            index: BlockIndex(index),
            block: Some((self::hash(hash), len)),
            watermark: Sequence(watermark),
            data: self.store.unflushed(inode),
            was_put: true,
            packed: Some(packed),
            now: self.now(),
        })
    }

    pub(crate) fn attr(&self, inode: InodeId) -> Result<Attr, Error> {
        wait(self.store.attr(inode))
    }

    pub(crate) fn lookup(&self, dir: InodeId, name: &str) -> Result<InodeId, Error> {
        wait(self.store.lookup(dir, name.as_bytes())).map(|attr| attr.inode)
    }

    /// All entries, a few at a time.
    pub(crate) fn list(&self, dir: InodeId) -> Result<Vec<DirEntry>, Error> {
        let mut entries: Vec<DirEntry> = Vec::new();
        loop {
            let after = entries.last().map_or(Cookie(0), |entry| entry.cookie);
            let page = wait(self.store.readdir(dir, after, 3, false))?;
            assert!(page.entries.len() <= 3);
            entries.extend(page.entries);
            if page.end {
                return Ok(entries);
            }
        }
    }

    pub(crate) fn names(&self, dir: InodeId) -> Vec<String> {
        let entries = self.list(dir).expect("list");
        entries.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect()
    }

    /// Contradictions in the store, which must be none.
    pub(crate) fn check(&self) {
        check(&*self.store.core().engine);
    }
}

/// Submits commands at once, so that the writer finds many waiting.
pub(crate) fn submit_all(store: &Store, commands: Vec<Command>) -> Vec<Result<Outcome, Error>> {
    let mut context = Context::from_waker(Waker::noop());
    let started: Vec<_> = commands
        .into_iter()
        .map(|command| {
            let mut future = Box::pin(store.submit(command));
            let done = match future.as_mut().poll(&mut context) {
                Poll::Ready(done) => Some(done),
                Poll::Pending => None,
            };
            (future, done)
        })
        .collect();
    started.into_iter().map(|(future, done)| done.unwrap_or_else(|| wait(future))).collect()
}

pub(crate) fn at(seconds: i64) -> Time {
    Time { seconds, nanos: 5 }
}

pub(crate) fn hash(byte: u8) -> BlockHash {
    BlockHash([byte; 32])
}

pub(crate) fn new_attr(mode: u32) -> NewAttr {
    NewAttr { mode, uid: 10, gid: 20, atime: None, mtime: None }
}
