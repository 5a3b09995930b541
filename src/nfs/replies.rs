//! Replies on their way out: headers packed into one buffer, payloads as they lie in memory.

use std::{cell::RefCell, collections::VecDeque};

use bytes::{Bytes, BytesMut};
use reactor::views;

use crate::wire::{
    record::{MARK_BYTES, Mark},
    xdr::{Writer, padding},
};

/// Bytes of headers packed together.
const HEAD_BYTES: usize = 16 * 1024;
/// Packed headers are closed beyond this, so that the buffer stays small.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// A payload up to this is packed too: cheaper than an entry of its own in the gathered send. Views
/// of the log never are: packing would touch them.
const PACKED_BYTES_MAX: usize = 512;
/// One send takes about this much, so that room for more requests comes back in steps.
const SEND_BYTES: usize = 2 * 1024 * 1024;

/// The replies of a connection that wait to be sent, in order.
#[derive(Debug)]
pub(crate) struct Replies(RefCell<Queue>);

#[derive(Debug)]
struct Queue {
    head: BytesMut,
    parts: VecDeque<Bytes>,
    /// Bytes in `parts`.
    parts_bytes: usize,
    /// Bytes handed out and not yet sent.
    sending_bytes: usize,
    is_closed: bool,
}

impl Replies {
    pub(crate) fn new() -> Self {
        Self(RefCell::new(Queue {
            head: BytesMut::with_capacity(HEAD_BYTES),
            parts: VecDeque::new(),
            parts_bytes: 0,
            sending_bytes: 0,
            is_closed: false,
        }))
    }

    /// Appends one reply: what `encode` writes, then the tail and its padding.
    pub(crate) fn push(&self, fsid: u64, encode: impl FnOnce(&mut Writer<'_>), tail: Vec<Bytes>) {
        let mut queue = self.0.borrow_mut();
        if queue.is_closed {
            return;
        }
        let start = queue.head.len();
        queue.head.extend_from_slice(&[0; MARK_BYTES]);
        encode(&mut Writer::new(&mut queue.head, fsid));
        let tail_bytes: usize = tail.iter().map(Bytes::len).sum();
        let padding = padding(tail_bytes);
        let len = queue.head.len() - start - MARK_BYTES + tail_bytes + padding.len();
        let len = u32::try_from(len).expect("a reply is bounded by what one transfer may be");
        let mark = Mark { last: true, len }.encode();
        queue.head[start..start + MARK_BYTES].copy_from_slice(&mark);
        if tail_bytes <= PACKED_BYTES_MAX && !tail.iter().any(|part| views::is_view(part)) {
            tail.iter().for_each(|part| queue.head.extend_from_slice(part));
        } else {
            queue.close_head();
            tail.into_iter().for_each(|part| queue.push_part(part));
        }
        queue.head.extend_from_slice(padding);
        if queue.head.len() > HEAD_BYTES_MAX {
            queue.close_head();
        }
    }

    /// The next bytes to send; `None`: there are none.
    pub(crate) fn take(&self) -> Option<Vec<Bytes>> {
        let mut queue = self.0.borrow_mut();
        queue.close_head();
        let mut bytes = 0;
        let count = queue.parts.iter().take_while(|part| {
            let is_taken = bytes < SEND_BYTES;
            bytes += if is_taken { part.len() } else { 0 };
            is_taken
        });
        let count = count.count();
        let parts: Vec<Bytes> = queue.parts.drain(..count).collect();
        queue.parts_bytes -= bytes;
        queue.sending_bytes += bytes;
        (!parts.is_empty()).then_some(parts)
    }

    /// What was taken has been sent. Its bytes.
    pub(crate) fn sent(&self) -> usize {
        std::mem::take(&mut self.0.borrow_mut().sending_bytes)
    }

    /// Bytes not yet sent.
    pub(crate) fn bytes(&self) -> usize {
        let queue = self.0.borrow();
        queue.head.len() + queue.parts_bytes + queue.sending_bytes
    }

    /// Nobody will take any more: drops what waits and what is still to come.
    pub(crate) fn close(&self) {
        let mut queue = self.0.borrow_mut();
        queue.is_closed = true;
        queue.head = BytesMut::new();
        queue.parts.clear();
        queue.parts_bytes = 0;
    }
}

impl Queue {
    fn push_part(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.parts_bytes += part.len();
            self.parts.push_back(part);
        }
    }

    fn close_head(&mut self) {
        let head = self.head.split().freeze();
        self.push_part(head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(replies: &Replies, word: u32, tail: &[usize]) {
        let tail = tail.iter().map(|&len| Bytes::from(vec![7; len])).collect();
        replies.push(0, |writer| writer.u32(word), tail);
    }

    /// The records of what is taken, without their marks.
    fn records(parts: Vec<Bytes>) -> Vec<Vec<u8>> {
        let mut bytes = &parts.concat()[..];
        let mut records = Vec::new();
        while let Some(mark) = Mark::decode(bytes) {
            let (record, rest) = bytes[MARK_BYTES..].split_at(mark.len as usize);
            records.push(record.to_vec());
            bytes = rest;
        }
        assert!(bytes.is_empty());
        records
    }

    #[test]
    fn headers_are_packed_and_payloads_are_not_moved() {
        let replies = Replies::new();
        (0..100).for_each(|word| push(&replies, word, &[]));
        push(&replies, 100, &[10, 11]);
        let payload = Bytes::from(vec![7; 4097]);
        replies.push(0, |writer| writer.u32(101), vec![payload.clone()]);
        push(&replies, 102, &[]);
        let parts = replies.take().unwrap();
        assert_eq!(parts.len(), 3, "headers, the payload, its padding and a header");
        assert_eq!(parts[1].as_ptr(), payload.as_ptr());
        let records = records(parts);
        let words: Vec<u32> =
            records.iter().map(|one| u32::from_be_bytes(*one.first_chunk().unwrap())).collect();
        assert_eq!(words, (0..103).collect::<Vec<_>>());
        assert_eq!([&records[100], &records[101]].map(Vec::len), [4 + 24, 4 + 4100]);
        assert_eq!(replies.take(), None);
    }

    #[test]
    fn bytes_count_until_they_are_sent() {
        let replies = Replies::new();
        (0..5).for_each(|word| push(&replies, word, &[1 << 20]));
        let all = 5 * ((1 << 20) + 8);
        assert_eq!(replies.bytes(), all);
        let mut sent = 0;
        while let Some(parts) = replies.take() {
            let bytes = parts.iter().map(Bytes::len).sum::<usize>();
            assert!(bytes <= SEND_BYTES + (1 << 20), "sends come in steps");
            assert_eq!(replies.bytes(), all - sent);
            assert_eq!(replies.sent(), bytes);
            sent += bytes;
        }
        assert_eq!((sent, replies.bytes()), (all, 0));
    }

    #[test]
    fn nothing_is_kept_once_closed() {
        let replies = Replies::new();
        push(&replies, 1, &[5000]);
        replies.close();
        push(&replies, 2, &[5000]);
        assert_eq!((replies.take(), replies.bytes()), (None, 0));
    }
}
