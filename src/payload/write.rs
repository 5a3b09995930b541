//! WRITE and SETATTR of the length: into the log, the dirty ranges and the live attributes, in one
//! step.
//!
//! Invariant: between `append` and `note` nothing is awaited, so the log, the dirty ranges and the
//! attributes have the same order, and a reader sees all of a write or nothing.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use cache::dirty::{DirtyRange, split};
use meta::SizeChange;
use reactor::clock;
use vocab::{
    Attr, BlockIndex, Error, FileId, InodeId, Sequence, Time,
    durable::Grade,
    limits::{BLOCK_BYTES, FILE_BYTES_MAX, TRANSFER_BYTES_MAX},
};
use wal::{Change, Ticket, check::Unchecked};

use crate::{
    Evidence, Payload, Place, Stability, WriteDone,
    slice::{Slice, State},
};

/// How long a write waits for room in the log before the client is told to come back.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);
/// How often a write that waits for room asks for uploads.
const ROOM_POLL: Duration = Duration::from_millis(20);

/// What a dirty range is told by its record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) sequence: Sequence,
    pub(crate) time: Time,
    /// Of a record found at the start.
    pub(crate) unchecked: Option<Rc<Unchecked>>,
}

/// A record that was just appended, and the attributes before and after it if they were at hand.
struct Entered {
    ticket: Ticket,
    attrs: Option<(Attr, Attr)>,
}

impl Slice {
    pub(crate) async fn write(
        self: &Rc<Self>,
        place: &Place,
        inode: InodeId,
        offset: u64,
        bytes: Bytes,
        (stability, grade): (Stability, Grade),
    ) -> Result<WriteDone, Error> {
        assert!(!bytes.is_empty() && bytes.len() <= TRANSFER_BYTES_MAX as usize);
        let end = offset.checked_add(bytes.len() as u64).filter(|&end| end <= FILE_BYTES_MAX);
        let end = end.ok_or(Error::TooBig)?;
        let id = Payload::file(place, inode);
        let change = Change::Write { offset, bytes: bytes.clone() };
        let entered = self
            .enter(place, inode, &change, SizeChange::AtLeast(end), |slice, sequence, time| {
                let record = Record { sequence, time, unchecked: None };
                slice.insert(id, &record, offset, &bytes);
            })
            .await?;
        drop((change, bytes));
        let sequence = entered.ticket.sequence;
        let (pre, attr) = self.attrs(place, id, entered.attrs).await?;
        let (logged, view) = entered.ticket.logged().await?;
        self.exchange(id, sequence, offset, view);
        let evidence = match stability {
            Stability::Unstable => Evidence::Logged(logged),
            Stability::Stable => Evidence::Durable(self.durable(place, inode, grade).await?),
        };
        Ok(WriteDone { evidence, pre, attr })
    }

    pub(crate) async fn truncate(
        self: &Rc<Self>,
        place: &Place,
        inode: InodeId,
        size: u64,
        grade: Grade,
    ) -> Result<(Attr, Attr), Error> {
        if size > FILE_BYTES_MAX {
            return Err(Error::TooBig);
        }
        let id = Payload::file(place, inode);
        let change = Change::Truncate { size };
        let entered = self
            .enter(place, inode, &change, SizeChange::Exactly(size), |slice, sequence, _| {
                slice.cut(id, sequence, size);
            })
            .await?;
        let sequence = entered.ticket.sequence;
        let attrs = self.attrs(place, id, entered.attrs).await?;
        let (_logged, pin) = entered.ticket.logged().await?;
        if let Some(file) = self.state.borrow_mut().files.get_mut(&id) {
            file.pin(sequence, pin);
        }
        // The promise is the attributes; nobody needs the evidence itself.
        let _durable = self.durable(place, inode, grade).await?;
        Ok(attrs)
    }

    /// Appends a record once there is room, and does what it says to the state in the same step.
    async fn enter(
        self: &Rc<Self>,
        place: &Place,
        inode: InodeId,
        change: &Change,
        size: SizeChange,
        apply: impl FnOnce(&Self, Sequence, Time),
    ) -> Result<Entered, Error> {
        let id = Payload::file(place, inode);
        let patience = clock::monotonic() + ROOM_PATIENCE;
        let (ticket, time, share) = loop {
            if self.is_ending() {
                return Err(Error::Stopping);
            }
            let attr = match place.meta.peek_attr(inode) {
                Some(attr) => attr,
                None => place.meta.attr(inode).await?,
            };
            let time = clock::wall();
            match self.wal.append(id, time, change.clone()) {
                Ok(ticket) => break (ticket, time, attr.share),
                Err(Error::Busy) if clock::monotonic() < patience => self.wait_for_room().await?,
                Err(error) => return Err(error),
            }
        };
        let sequence = ticket.sequence;
        self.state.borrow_mut().file_of(id, place, share);
        apply(self, sequence, time);
        let attrs = self.note(place, id, sequence, size, time, change);
        Ok(Entered { ticket, attrs })
    }

    fn note(
        &self,
        place: &Place,
        id: FileId,
        sequence: Sequence,
        size: SizeChange,
        time: Time,
        change: &Change,
    ) -> Option<(Attr, Attr)> {
        let mut state = self.state.borrow_mut();
        let bytes = match change {
            Change::Write { bytes, .. } => bytes.len() as u64,
            Change::Truncate { .. } => 0,
        };
        state.appended = sequence;
        state.queue.appended(sequence, bytes, self.wal.bytes_max());
        let file = state.file(id, place);
        let (risk, noted) = (file.risk, file.note(sequence, size, time));
        if let Some(risk) = risk {
            state.risks.appended(risk, sequence, bytes, time);
        }
        noted
    }

    /// The attributes that `note` gave, or the present ones after the table was filled.
    async fn attrs(
        &self,
        place: &Place,
        id: FileId,
        noted: Option<(Attr, Attr)>,
    ) -> Result<(Attr, Attr), Error> {
        if let Some(attrs) = noted {
            return Ok(attrs);
        }
        self.note_late(id).await?;
        let attr = place.meta.attr(id.inode).await?;
        Ok((attr, attr))
    }

    /// Waits for room in the log, and has uploads make it when it does not come by itself.
    async fn wait_for_room(self: &Rc<Self>) -> Result<(), Error> {
        // A burst may be ahead of the next segment only; that is no reason to upload anything.
        if reactor::timeout(ROOM_POLL, self.wal.wait_room()).await.is_some() {
            return Ok(());
        }
        let _waiting = Waiting::new(self);
        self.pump();
        // Views may wait for a sync only; then it makes room at once.
        let _durable = self.sync().await?;
        let _room = reactor::timeout(ROOM_POLL, self.wal.wait_room()).await;
        Ok(())
    }

    /// Enters the bytes of a record.
    pub(crate) fn insert(&self, id: FileId, record: &Record, offset: u64, bytes: &Bytes) {
        let Record { sequence, time, .. } = *record;
        let now = clock::monotonic();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let file = state.files.get_mut(&id).expect("the caller made it");
        let (risk, before) = (file.risk, file.dirty.bytes());
        let mut shadowed = Vec::new();
        for part in parts(offset, bytes.len()) {
            let bytes = bytes.slice(part.bytes);
            let range = DirtyRange { sequence, bytes, unchecked: record.unchecked.clone() };
            let done = file.dirty.insert(part.index, part.from, range, now, &mut shadowed);
            if done.born {
                state.queue.born(sequence, id, part.index, now);
                if let Some(risk) = risk {
                    state.risks.waits(risk, sequence, part.index, time);
                }
            }
            if done.filled {
                state.queue.filled(id, part.index, now);
            }
        }
        let after = file.dirty.bytes();
        state.dirty_changed(risk, before, after);
        state.bury(&mut shadowed, sequence);
    }

    /// Exchanges the received bytes for the log's, so that the receive buffer is free again.
    fn exchange(self: &Rc<Self>, id: FileId, sequence: Sequence, offset: u64, view: Bytes) {
        let is_burying_much = {
            let mut state = self.state.borrow_mut();
            let mut left = false;
            if let Some(file) = state.files.get_mut(&id) {
                for part in parts(offset, view.len()) {
                    let bytes = view.slice(part.bytes);
                    left |= file.dirty.exchange(part.index, part.from, sequence, &bytes);
                }
            }
            if !left {
                let by = state.appended;
                state.bury(&mut vec![DirtyRange { sequence, bytes: view, unchecked: None }], by);
            }
            state.is_burying_much()
        };
        if is_burying_much {
            self.release_buried(1);
        }
    }

    /// Cuts what is dirty, and remembers the cut until the engine has it.
    pub(crate) fn cut(&self, id: FileId, sequence: Sequence, size: u64) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut shadowed = state.cut_dirty(id, size);
        state.bury(&mut shadowed, sequence);
        let file = state.files.get_mut(&id).expect("the caller made it");
        file.mark(sequence, size);
        state.queue.mark(sequence, id, clock::monotonic());
    }
}

impl State {
    /// Drops dirty ranges beyond a length. Those that vanished whole.
    pub(crate) fn cut_dirty(&mut self, id: FileId, size: u64) -> Vec<DirtyRange> {
        let mut shadowed = Vec::new();
        let Some(file) = self.files.get_mut(&id) else { return shadowed };
        let (risk, before) = (file.risk, file.dirty.bytes());
        let vanished = file.dirty.cut(size, &mut shadowed);
        let after = file.dirty.bytes();
        self.dirty_changed(risk, before, after);
        for (index, born) in vanished {
            self.rests(risk, born, index);
        }
        shadowed
    }
}

/// A writer that waits for room, until it is dropped.
struct Waiting<'a>(&'a Slice);

impl<'a> Waiting<'a> {
    fn new(slice: &'a Slice) -> Self {
        slice.state.borrow_mut().queue.writers_waiting += 1;
        Self(slice)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state.borrow_mut().queue.writers_waiting -= 1;
    }
}

/// The part of a transfer in one block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) index: BlockIndex,
    /// Where in the block.
    pub(crate) from: u32,
    /// Which bytes of the transfer.
    pub(crate) bytes: std::ops::Range<usize>,
}

/// The parts of a transfer by block.
pub(crate) fn parts(offset: u64, len: usize) -> impl Iterator<Item = Part> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (index, from) = split(offset + at as u64);
        let part = (len - at).min((BLOCK_BYTES - from) as usize);
        let bytes = at..at + part;
        at += part;
        (part > 0).then_some(Part { index, from, bytes })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_over_an_edge_has_two_parts() {
        let edge = u64::from(BLOCK_BYTES);
        let got: Vec<Part> = parts(edge - 3, 10).collect();
        let first = Part { index: BlockIndex(0), from: BLOCK_BYTES - 3, bytes: 0..3 };
        let second = Part { index: BlockIndex(1), from: 0, bytes: 3..10 };
        assert_eq!(got, [first, second]);
        assert_eq!(parts(edge - 3, 3).count(), 1);
        assert_eq!(parts(0, 0).count(), 0);
        assert_eq!(parts(FILE_BYTES_MAX - 1, 1).count(), 1);
    }
}
