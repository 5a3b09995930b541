//! The state that appending, syncing and recycling share.
//!
//! Invariants: `durable <= written < sequence_next`. Borrows of the state end before an await.
//! `closed`, `current` and `spare` are in order of generation.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    ops::Range,
    path::PathBuf,
    rc::Rc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use reactor::file::{File, Lock, Map};
use vocab::{Error, FileId, SliceId, Time, Verifier};

use crate::{Change, format::What, manifest::Manifest};

/// Syncs at a time. A disk with a queue is done with two of them almost as soon as with one, and a
/// record that just missed a sync does not wait until that is over.
pub(crate) const SYNCS_MAX: usize = 2;

/// A log while it is open.
pub(crate) struct Log {
    /// Its own folder.
    pub(crate) dir: PathBuf,
    pub(crate) slice: SliceId,
    pub(crate) segment_bytes: u64,
    pub(crate) verifier: Verifier,
    pub(crate) state: RefCell<State>,
    pub(crate) manifest: Manifest,
    /// Woken when more is written or durable, when a spare is there, when a task ends, on failure.
    pub(crate) changed: Waiters,
    /// As many syncs at a time as a segment has been opened for.
    pub(crate) syncs: Turns<SYNCS_MAX>,
    /// One write of the manifest at a time, so that a later one is newer.
    pub(crate) noters: Turns<1>,
    /// Dropped last, when no task uses the files any more.
    pub(crate) _lock: Lock,
}

/// What changes.
pub(crate) struct State {
    /// The next record's place in the order.
    pub(crate) sequence_next: u64,
    /// The last record in the file.
    pub(crate) written: u64,
    /// The last record that survives a power cut.
    pub(crate) durable: u64,
    /// The last record of which the manifest says so.
    pub(crate) noted: u64,
    /// The last record that somebody wants to be durable.
    pub(crate) sync_wanted: u64,
    /// Bytes of records appended, written and durable, since the start.
    pub(crate) bytes_appended: u64,
    pub(crate) bytes_written: u64,
    pub(crate) bytes_durable: u64,

    /// Records that are not on their way to the file yet.
    pub(crate) queue: VecDeque<Queued>,
    /// What became of each record whose ticket may still ask; the first is of `slots_first`.
    pub(crate) slots: VecDeque<Slot>,
    pub(crate) slots_first: u64,
    /// Bytes left in the last segment that records have been given.
    pub(crate) room: u64,
    /// Segments given to records beyond the current one.
    pub(crate) promised: usize,

    /// Where records go now, the first of them, and where the next one goes.
    pub(crate) current: Rc<Segment>,
    pub(crate) current_first: u64,
    pub(crate) current_at: u64,
    /// What the last record written there changes.
    pub(crate) before: What,
    /// Listed in the manifest, and ready to be the next.
    pub(crate) spare: Option<Rc<Segment>>,
    /// Full, and pinned by views.
    pub(crate) closed: Vec<Closed>,
    /// Pinned by nobody.
    pub(crate) free: Vec<Rc<Segment>>,
    /// Written since the last sync that covered them.
    pub(crate) dirty: Vec<Rc<Segment>>,
    /// Files of segments, used or not.
    pub(crate) segments: usize,
    /// Most of them.
    pub(crate) segments_max: usize,
    /// Most of them once the disk has room.
    pub(crate) segments_limit: usize,

    pub(crate) flushing: bool,
    /// Tasks that sync, and what is under way, in the order of its begin.
    pub(crate) syncing: usize,
    pub(crate) under_way: VecDeque<Sync>,
    pub(crate) preparing: bool,
    pub(crate) growing: bool,
    /// The manifest is being written to note what is durable; or will be looked at for that.
    pub(crate) noting: bool,
    pub(crate) note_planned: bool,
    pub(crate) closing: bool,
    /// A write or sync failed: nothing is taken any more.
    pub(crate) failed: bool,
}

/// A sync of all that was written when it began.
pub(crate) struct Sync {
    /// The last record that it covers.
    pub(crate) through: u64,
    /// Bytes written up to there.
    pub(crate) bytes: u64,
    pub(crate) is_done: bool,
}

/// A file of the log.
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) generation: Cell<u64>,
    pub(crate) file: File,
    /// The file, opened anew for each sync that may run: the kernel tells a failure to each
    /// opening once, and so to only one of two syncs that share one.
    pub(crate) syncs: [File; SYNCS_MAX],
    pub(crate) map: Map,
}

/// Bytes read at once where some of them cannot be read.
const PIECE_BYTES: usize = 4096;

impl Segment {
    /// Reads from the file: a disk that fails is an error, where a mapping would end the process.
    /// Blocking.
    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let len = usize::try_from(range.end - range.start).expect("within a segment");
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    /// The same, with zeroes for what cannot be read, and why. Blocking.
    pub(crate) fn read_some(&self, range: Range<u64>) -> (Vec<u8>, Option<io::Error>) {
        match self.read(range.clone()) {
            Ok(bytes) => (bytes, None),
            Err(error) => {
                let len = usize::try_from(range.end - range.start).expect("within a segment");
                let mut bytes = vec![0; len];
                for (at, piece) in
                    (range.start..).step_by(PIECE_BYTES).zip(bytes.chunks_mut(PIECE_BYTES))
                {
                    if self.file.read_exact_at(piece, at).is_err() {
                        piece.fill(0);
                    }
                }
                (bytes, Some(error))
            }
        }
    }
}

/// A segment that takes no more records.
pub(crate) struct Closed {
    pub(crate) segment: Rc<Segment>,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Synced as a whole.
    pub(crate) durable: bool,
}

/// A record that waits to be written.
pub(crate) struct Queued {
    pub(crate) sequence: u64,
    pub(crate) file: FileId,
    pub(crate) time: Time,
    pub(crate) change: Change,
    pub(crate) payload_xxh3: u64,
    /// It did not fit the segment before.
    pub(crate) starts_segment: bool,
}

/// What became of a record.
pub(crate) enum Slot {
    /// Not in the file yet, and perhaps somebody waits.
    Waiting(Option<Waker>),
    /// In the file; a view of it.
    Written(Bytes),
    /// Will never be.
    Failed,
    /// Nobody will ask.
    Over,
}

impl Log {
    /// Ends the log for writing, once and for ever.
    pub(crate) fn fail(&self, what: &str, cause: &dyn std::fmt::Display) {
        let wakers = {
            let mut state = self.state.borrow_mut();
            if std::mem::replace(&mut state.failed, true) {
                return;
            }
            state.queue.clear();
            let waiting = state.slots.iter_mut().filter(|slot| matches!(slot, Slot::Waiting(_)));
            waiting
                .filter_map(|slot| match std::mem::replace(slot, Slot::Failed) {
                    Slot::Waiting(waker) => waker,
                    Slot::Written(_) | Slot::Failed | Slot::Over => None,
                })
                .collect::<Vec<Waker>>()
        };
        trace::error!(
            "the log of slice {} takes no more writes: {what} failed: {cause}. Bytes that were \
             not synced may be lost. Check the disk of {}, then restart the server",
            self.slice.0,
            self.dir.display()
        );
        wakers.into_iter().for_each(Waker::wake);
        self.changed.wake();
    }

    /// Waits until no task of this log runs.
    pub(crate) async fn close(&self) {
        self.state.borrow_mut().closing = true;
        self.changed.wake();
        self.until(|state| {
            let writing = state.flushing || state.syncing > 0 || state.noting;
            (!writing && !state.preparing && !state.growing).then_some(())
        })
        .await;
    }

    /// Waits until the state answers.
    pub(crate) async fn until<T>(&self, mut answer: impl FnMut(&State) -> Option<T>) -> T {
        self.changed.until(|| answer(&self.state.borrow())).await
    }

    /// Syncs segments, one after another. A failure is final.
    pub(crate) async fn sync_segments(&self, segments: &[Rc<Segment>]) -> Result<(), Error> {
        let turn = self.syncs.wait().await;
        for segment in segments {
            if self.state.borrow().failed {
                return Err(Error::SyncFailed);
            }
            if let Err(cause) = segment.syncs[turn.place].sync_data().await {
                self.fail(&format!("a sync of {}", segment_name(segment.number)), &cause);
                return Err(Error::SyncFailed);
            }
        }
        if self.state.borrow().failed { Err(Error::SyncFailed) } else { Ok(()) }
    }
}

impl State {
    /// The last record that has a place.
    pub(crate) fn appended(&self) -> u64 {
        self.sequence_next - 1
    }

    pub(crate) fn bytes_at_risk(&self) -> u64 {
        self.bytes_appended - self.bytes_durable
    }

    pub(crate) fn slot(&mut self, sequence: u64) -> &mut Slot {
        let place = usize::try_from(sequence - self.slots_first).expect("as many as in memory");
        &mut self.slots[place]
    }

    /// Forgets the slots at the front that nobody asks for.
    pub(crate) fn trim_slots(&mut self) {
        while let Some(Slot::Over) = self.slots.front() {
            self.slots.pop_front();
            self.slots_first += 1;
        }
    }
}

/// The name of a segment's file.
pub(crate) fn segment_name(number: u32) -> String {
    format!("segment-{number:05}")
}

/// Tasks of this thread that wait for a change.
#[derive(Default)]
pub(crate) struct Waiters(RefCell<Vec<Waker>>);

impl Waiters {
    pub(crate) fn wake(&self) {
        let wakers = std::mem::take(&mut *self.0.borrow_mut());
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) async fn until<T>(&self, mut answer: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| {
            if let Some(value) = answer() {
                return Poll::Ready(value);
            }
            let mut wakers = self.0.borrow_mut();
            if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

/// Lets so many tasks through at a time.
pub(crate) struct Turns<const N: usize> {
    taken: [Cell<bool>; N],
    waiters: Waiters,
}

/// The turn of a task, until it is dropped.
pub(crate) struct Turn<'a, const N: usize> {
    turns: &'a Turns<N>,
    /// Which of them; nobody else has it.
    pub(crate) place: usize,
}

impl<const N: usize> Default for Turns<N> {
    fn default() -> Self {
        Self { taken: [const { Cell::new(false) }; N], waiters: Waiters::default() }
    }
}

impl<const N: usize> Turns<N> {
    pub(crate) async fn wait(&self) -> Turn<'_, N> {
        let free = || self.taken.iter().position(|taken| !taken.replace(true));
        Turn { turns: self, place: self.waiters.until(free).await }
    }
}

impl<const N: usize> Drop for Turn<'_, N> {
    fn drop(&mut self) {
        self.turns.taken[self.place].set(false);
        self.turns.waiters.wake();
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({})", self.dir.display())
    }
}
