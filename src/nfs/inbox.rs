//! Bytes from a connection, split into records.
//!
//! Small records are slices of one buffer. A large one is received into a buffer of its own, so
//! that its payload is never moved: to see it coming, the first bytes after a large record are
//! received a few at a time. Memory: one small buffer for each connection, and one large one for
//! each large record that is under way.

use std::cell::RefCell;

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::record::{MARK_BYTES, Mark};

/// Bytes of the buffer for small records.
const RECEIVE_BYTES: usize = 128 * 1024;
/// A record above this gets a buffer of its own unless it lies in the small one already.
const SMALL_BYTES_MAX: usize = 32 * 1024;
/// A small buffer that others still use is received into for as long as it has this much room.
const ROOM_BYTES_MIN: usize = 16 * 1024;
/// Bytes received at first after a large record.
const PROBE_BYTES: usize = 4 * 1024;
/// Large buffers kept for the next large record, for each reactor.
const SPARE_MAX: usize = 16;

/// A record larger than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// Bytes that it claims to have, at least.
    pub(crate) bytes: usize,
}

/// Large buffers of a reactor, used again.
#[derive(Debug)]
pub(crate) struct Buffers {
    spare: RefCell<Vec<BytesMut>>,
    /// Bytes of each.
    capacity: usize,
}

/// The receiving end of a connection.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// What has arrived and was not taken.
    buffer: BytesMut,
    /// The small buffer, while `buffer` is a large one.
    small: Option<BytesMut>,
    /// The fragments so far of a record that has several.
    fragments: BytesMut,
    record_bytes_max: usize,
    /// Bytes that `buffer` must hold for the next step.
    wanted: usize,
    after_large: bool,
}

impl Buffers {
    pub(crate) fn new(record_bytes_max: usize) -> Self {
        let capacity = record_bytes_max + MARK_BYTES;
        Self { spare: RefCell::new(Vec::new()), capacity }
    }

    fn take(&self) -> BytesMut {
        let spare = self.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| BytesMut::with_capacity(self.capacity))
    }

    /// Takes back the buffer of a record that nobody needs any more, if it was a large one.
    pub(crate) fn give_back(&self, record: Bytes) {
        if record.len() <= SMALL_BYTES_MAX {
            return;
        }
        let Ok(mut buffer) = record.try_into_mut() else { return };
        buffer.clear();
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX && buffer.try_reclaim(self.capacity) {
            spare.push(buffer);
        }
    }
}

impl Inbox {
    pub(crate) fn new(record_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            small: None,
            fragments: BytesMut::new(),
            record_bytes_max,
            wanted: MARK_BYTES,
            after_large: false,
        }
    }

    /// The next record that has arrived completely.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        loop {
            self.wanted = MARK_BYTES;
            let Some(mark) = Mark::decode(&self.buffer) else { return Ok(None) };
            let bytes = self.fragments.len() + mark.len as usize;
            if bytes > self.record_bytes_max {
                return Err(TooLong { bytes });
            }
            self.wanted = MARK_BYTES + mark.len as usize;
            if self.buffer.len() < self.wanted {
                return Ok(None);
            }
            let fragment = self.take_fragment();
            if mark.last && self.fragments.is_empty() {
                return Ok(Some(fragment));
            }
            self.fragments.extend_from_slice(&fragment);
            if mark.last {
                return Ok(Some(std::mem::take(&mut self.fragments).freeze()));
            }
        }
    }

    fn take_fragment(&mut self) -> Bytes {
        let mut fragment = self.buffer.split_to(self.wanted);
        fragment.advance(MARK_BYTES);
        self.after_large = self.wanted > SMALL_BYTES_MAX;
        if let Some(small) = self.small.take() {
            // It ends where its record ends; holding it on would keep it from `Buffers`.
            assert!(self.buffer.is_empty(), "bytes behind a large record");
            self.buffer = small;
        }
        fragment.freeze()
    }

    /// Hands out the buffer, with room, to receive into it. Call [`Inbox::put`] afterwards.
    pub(crate) fn lend(&mut self, buffers: &Buffers) -> BytesMut {
        let mut buffer = std::mem::take(&mut self.buffer);
        if self.small.is_some() {
            return buffer;
        }
        if buffer.is_empty() {
            if !buffer.try_reclaim(RECEIVE_BYTES) && buffer.capacity() < ROOM_BYTES_MIN {
                buffer = BytesMut::with_capacity(RECEIVE_BYTES);
            }
            if self.after_large {
                drop(buffer.split_off(PROBE_BYTES));
            }
        } else if self.wanted > buffer.capacity() && self.wanted > SMALL_BYTES_MAX {
            let mut large = buffers.take();
            large.extend_from_slice(&buffer);
            drop(large.split_off(self.wanted));
            buffer.clear();
            self.small = Some(buffer);
            buffer = large;
        } else if buffer.len() == buffer.capacity() || self.wanted > buffer.capacity() {
            let mut fresh = BytesMut::with_capacity(RECEIVE_BYTES);
            fresh.extend_from_slice(&buffer);
            buffer = fresh;
        }
        buffer
    }

    /// Where what has arrived lies, and its bytes.
    #[cfg(test)]
    pub(crate) fn held(&self) -> (*const u8, usize) {
        (self.buffer.as_ptr(), self.buffer.len())
    }

    /// Takes the buffer back, with what has arrived.
    pub(crate) fn put(&mut self, buffer: BytesMut) {
        self.buffer = buffer;
    }
}
