//! Appending: a place at once, the file soon, the evidence then.
//!
//! What is appended while a batch is being written makes the next batch. A batch is one gathered
//! write into one segment: headers are built here, payloads are not copied.

use std::{rc::Rc, task::Poll};

use bytes::{Bytes, BytesMut};
use vocab::{Error, FileId, Sequence, Time, durable::Logged, limits::TRANSFER_BYTES_MAX};
use zerocopy::{FromZeros, IntoBytes};

use crate::{
    Change, Ticket,
    format::{
        KIND_TRUNCATE, KIND_WRITE, RECORD_ALIGN, RECORD_HEADER_BYTES, RecordHeader,
        SEGMENT_HEADER_BYTES, SegmentHeader, payload_xxh3, record_bytes,
    },
    log::{Closed, Log, Queued, Segment, Slot, State, segment_name},
    segments,
};

/// A batch takes no more records once it has so many bytes, so that the first ones need not wait.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// Room made for headers and padding of a batch, so that they need one allocation.
const GLUE_BYTES: usize = 128;
const GLUES_MAX: usize = 4096;

/// See [`crate::Wal::append`].
pub(crate) fn append(
    log: &Rc<Log>,
    file: FileId,
    time: Time,
    change: Change,
) -> Result<Ticket, Error> {
    let payload_bytes = match &change {
        Change::Write { bytes, .. } => {
            assert!(!bytes.is_empty(), "a write has bytes");
            assert!(bytes.len() as u64 <= payload_bytes_max(log), "a write fits a transfer");
            bytes.len() as u64
        }
        Change::Truncate { .. } => 0,
    };
    let cost = record_bytes(payload_bytes);
    {
        let state = log.state.borrow();
        if state.failed {
            return Err(Error::LogReadOnly);
        }
        if state.closing {
            return Err(Error::Stopping);
        }
    }
    let starts_segment = segments::reserve(log, cost)?;
    let mut state = log.state.borrow_mut();
    let sequence = state.sequence_next;
    state.sequence_next += 1;
    state.bytes_appended += cost;
    let payload_xxh3 = match &change {
        Change::Write { bytes, .. } => payload_xxh3(bytes, sequence),
        Change::Truncate { .. } => payload_xxh3(&[], sequence),
    };
    state.queue.push_back(Queued { sequence, file, time, change, payload_xxh3, starts_segment });
    state.slots.push_back(Slot::Waiting(None));
    if !std::mem::replace(&mut state.flushing, true) {
        reactor::spawn(flush(log.clone()));
    }
    Ok(Ticket { sequence: Sequence(sequence), log: log.clone() })
}

/// See [`Ticket::logged`].
pub(crate) async fn logged(ticket: Ticket) -> Result<(Logged, Bytes), Error> {
    let sequence = ticket.sequence.0;
    std::future::poll_fn(|context| {
        let mut state = ticket.log.state.borrow_mut();
        match std::mem::replace(state.slot(sequence), Slot::Over) {
            Slot::Waiting(_) => {
                *state.slot(sequence) = Slot::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
            // The write has completed, so the record survives this process.
            Slot::Written(view) => Poll::Ready(Ok((Logged::attest(ticket.log.verifier), view))),
            Slot::Failed => Poll::Ready(Err(Error::LogReadOnly)),
            Slot::Over => unreachable!("a ticket is good for one answer"),
        }
    })
    .await
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let view = {
            let mut state = self.log.state.borrow_mut();
            let slot = state.slot(self.sequence.0);
            let last = std::mem::replace(slot, Slot::Over);
            state.trim_slots();
            last
        };
        drop(view);
    }
}

/// Most bytes of one write.
pub(crate) fn payload_bytes_max(log: &Log) -> u64 {
    u64::from(TRANSFER_BYTES_MAX).min(log.segment_bytes / 4)
}

/// Records for one segment, as buffers.
struct Batch {
    segment: Rc<Segment>,
    offset: u64,
    buffers: Vec<Bytes>,
    /// Bytes of its records.
    bytes: u64,
    /// Of each record: its place in the order and where its view lies in the segment.
    views: Vec<(u64, std::ops::Range<usize>)>,
}

/// Writes batches until nothing is queued.
async fn flush(log: Rc<Log>) {
    while let Some(starts_segment) = first_queued(&log) {
        if starts_segment && !rotate(&log).await {
            break;
        }
        let Some(batch) = batch(&log) else { break };
        if let Err(cause) = batch.segment.file.write_all_at(&batch.buffers, batch.offset).await {
            log.fail(&format!("a write to {}", segment_name(batch.segment.number)), &cause);
            break;
        }
        complete(&log, batch);
    }
    log.state.borrow_mut().flushing = false;
    log.changed.wake();
}

fn first_queued(log: &Log) -> Option<bool> {
    let state = log.state.borrow();
    state.queue.front().filter(|_| !state.failed).map(|record| record.starts_segment)
}

/// Makes the spare the current segment; false when the log failed meanwhile.
async fn rotate(log: &Rc<Log>) -> bool {
    segments::prepare_soon(log);
    log.until(|state| (state.spare.is_some() || state.failed).then_some(())).await;
    let mut state = log.state.borrow_mut();
    if state.failed {
        return false;
    }
    let spare = state.spare.take().expect("just seen");
    let last = state.written;
    let first = std::mem::replace(&mut state.current_first, last + 1);
    let segment = std::mem::replace(&mut state.current, spare);
    assert!(first <= last, "a segment without a record is not full");
    state.closed.push(Closed { segment, first, last, durable: false });
    state.current_at = 0;
    state.promised -= 1;
    state.queue.front_mut().expect("it waits for us").starts_segment = false;
    drop(state);
    segments::prepare_soon(log);
    true
}

/// Takes what is queued for the current segment.
fn batch(log: &Log) -> Option<Batch> {
    let mut state = log.state.borrow_mut();
    if state.failed {
        return None;
    }
    let key = log.manifest.key;
    let segment = state.current.clone();
    let offset = state.current_at;
    let mut at = offset;
    // What stands between payloads: padding of the one before and the header of the next.
    let mut glue = BytesMut::with_capacity(GLUE_BYTES * state.queue.len().min(GLUES_MAX));
    let mut buffers = Vec::new();
    let mut views = Vec::new();
    if at == 0 {
        glue.extend_from_slice(segment_header(log, &state, key).as_bytes());
        glue.resize(to_usize(SEGMENT_HEADER_BYTES), 0);
        at = SEGMENT_HEADER_BYTES;
    }
    let records = at;
    while at - offset < BATCH_BYTES
        && let Some(record) = state.queue.pop_front_if(|record| !record.starts_segment)
    {
        let header = record_header(log, &state, &record).seal(key, at);
        state.before = header.what();
        glue.extend_from_slice(header.as_bytes());
        let start = at + RECORD_HEADER_BYTES;
        let payload_bytes = u64::from(header.payload_bytes.get());
        let end = start + payload_bytes;
        if let Change::Write { bytes, .. } = record.change {
            buffers.push(glue.split().freeze());
            buffers.push(bytes);
            views.push((record.sequence, to_usize(start)..to_usize(end)));
        } else {
            views.push((record.sequence, to_usize(at)..to_usize(start)));
        }
        at += record_bytes(payload_bytes);
        glue.resize(glue.len() + to_usize(at - end), 0);
    }
    assert!(at <= log.segment_bytes, "records were given more room than the segment has");
    assert!(at.is_multiple_of(RECORD_ALIGN), "records are padded");
    buffers.push(glue.freeze());
    state.current_at = at;
    Some(Batch { segment, offset, buffers, bytes: at - records, views })
}

fn segment_header(log: &Log, state: &State, key: u64) -> SegmentHeader {
    SegmentHeader {
        slice: log.slice.0.into(),
        number: state.current.number.into(),
        generation: state.current.generation.get().into(),
        first: state.current_first.into(),
        synced_through: state.durable.into(),
        ..SegmentHeader::new_zeroed()
    }
    .seal(key)
}

fn record_header(log: &Log, state: &State, record: &Queued) -> RecordHeader {
    let (kind, offset, payload_bytes) = match &record.change {
        Change::Write { offset, bytes } => (KIND_WRITE, *offset, bytes.len()),
        Change::Truncate { size } => (KIND_TRUNCATE, *size, 0),
    };
    RecordHeader {
        kind: kind.into(),
        slice: log.slice.0.into(),
        payload_bytes: u32::try_from(payload_bytes).expect("at most a transfer").into(),
        sequence: record.sequence.into(),
        store: record.file.store.0.into(),
        inode: record.file.inode.0.into(),
        offset: offset.into(),
        seconds: record.time.seconds.into(),
        nanos: record.time.nanos.into(),
        synced_through: state.durable.into(),
        generation: state.current.generation.get().into(),
        payload_xxh3: record.payload_xxh3.into(),
        ..RecordHeader::new_zeroed()
    }
    .after(state.before)
}

/// Hands out the views of what is in the file now.
fn complete(log: &Log, batch: Batch) {
    let mut wakers = Vec::new();
    let mut state = log.state.borrow_mut();
    for (sequence, range) in batch.views {
        assert!(sequence == state.written + 1, "records are written in order");
        state.written = sequence;
        if sequence < state.slots_first {
            continue;
        }
        let slot = state.slot(sequence);
        if let Slot::Waiting(waker) = slot {
            wakers.extend(waker.take());
            *slot = Slot::Written(batch.segment.map.slice(range));
        }
    }
    state.bytes_written += batch.bytes;
    if !state.dirty.iter().any(|dirty| Rc::ptr_eq(dirty, &batch.segment)) {
        state.dirty.push(batch.segment);
    }
    drop(state);
    wakers.into_iter().for_each(std::task::Waker::wake);
    log.changed.wake();
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("within a segment")
}
