//! Bytes that a start found in the log are compared with their checksums before they are used, and
//! those that its disk did not give are read again.
//!
//! Invariant: after [`Slice::vouch`] said yes, and until the next await, every dirty byte of that
//! part of the file is what was written. Damaged bytes stay where they are: reads of them fail,
//! blocks with them are not uploaded, and writing them again heals the file.

use std::rc::Rc;

use bytes::Bytes;
use cache::dirty::Piece;
use reactor::{thread, views};
use vocab::{Error, FileId};
use wal::check::{State, Unchecked, check};

use crate::{slice::Slice, write::parts};

impl Slice {
    /// Sees to it that the dirty bytes of a part of a file may be used.
    ///
    /// # Errors
    /// `Corrupt` when some of them are damaged; said once. `Busy`.
    pub(crate) async fn vouch(&self, id: FileId, offset: u64, len: u64) -> Result<(), Error> {
        // A start that found nothing, as most do, costs nothing.
        while self.has_unchecked.get() {
            let found = self.unchecked(id, offset, len);
            if found.iter().any(|one| one.state() == State::Damaged) {
                return Err(Error::Corrupt);
            }
            if found.is_empty() {
                break;
            }
            for (record, words) in check(&found).await? {
                self.counters.local_corruption.add(1);
                self.say_damaged(id, &record, &words);
            }
        }
        // The disk did not give some of them before: perhaps now.
        while !views::are_all_readable() {
            let found = self.unreadable(id, offset, len);
            if found.is_empty() {
                break;
            }
            let read = move || found.iter().all(|view| views::is_readable(view));
            let read = thread::offload("log-read", read).map_err(|_| Error::Busy)?;
            if !read.await.map_err(|_| Error::Stopping)? {
                return Err(Error::Corrupt);
            }
        }
        Ok(())
    }

    /// What could not be read when it was last needed.
    fn unreadable(&self, id: FileId, offset: u64, len: u64) -> Vec<Bytes> {
        let state = self.state.borrow();
        let Some(file) = state.files.get(&id) else { return Vec::new() };
        let mut found = Vec::new();
        let len = usize::try_from(len).expect("a block at most");
        for part in parts(offset, len) {
            let to = part.from + u32::try_from(part.bytes.len()).expect("a block at most");
            file.dirty.read(part.index, part.from, to, |piece| match piece {
                Piece::Bytes(bytes) if views::is_unreadable(&bytes) => found.push(bytes),
                Piece::Bytes(_) | Piece::Gap { .. } => {}
            });
        }
        found
    }

    /// What is not known to be sound, each record once.
    fn unchecked(&self, id: FileId, offset: u64, len: u64) -> Vec<Rc<Unchecked>> {
        let state = self.state.borrow();
        let Some(file) = state.files.get(&id) else { return Vec::new() };
        let mut found: Vec<Rc<Unchecked>> = Vec::new();
        let len = usize::try_from(len).expect("a block at most");
        for part in parts(offset, len) {
            let to = part.from + u32::try_from(part.bytes.len()).expect("a block at most");
            let ranges = file.dirty.unchecked(part.index, part.from, to);
            found.extend(ranges.filter(|one| one.state() != State::Sound).cloned());
        }
        found.sort_by_key(|one| Rc::as_ptr(one).addr());
        found.dedup_by(|a, b| Rc::ptr_eq(a, b));
        found
    }

    /// Which bytes of the file are lost.
    fn say_damaged(&self, id: FileId, record: &Rc<Unchecked>, words: &str) {
        let state = self.state.borrow();
        let mut lost = Vec::new();
        if let Some(file) = state.files.get(&id) {
            lost = file.dirty.bytes_of(record);
        }
        let (store, inode) = (id.store.0, id.inode.0);
        trace::error!(
            "{words}. Lost are the bytes {lost:?} of inode {inode} of store {store:016x}: they read \
             as errors until they are written again"
        );
    }
}
