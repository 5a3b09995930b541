//! Records out of any cut of the bytes, without moving large payloads.

use bytes::{BufMut, Bytes, BytesMut};
use reactor::rng::Rng;

use super::{fragment, fuzz, record};
use crate::inbox::{Buffers, Inbox, TooLong};

const RECORD_BYTES_MAX: usize = 1 << 20;

/// Feeds a stream as a socket would, at most `chunk` bytes at a time, and gives the records.
fn feed(
    inbox: &mut Inbox,
    buffers: &Buffers,
    mut stream: &[u8],
    mut chunk: impl FnMut() -> usize,
) -> Result<Vec<Bytes>, TooLong> {
    let mut records = Vec::new();
    while !stream.is_empty() {
        let mut buffer = inbox.lend(buffers);
        let room = buffer.capacity() - buffer.len();
        assert_ne!(room, 0, "a receive needs room");
        let (head, rest) = stream.split_at(chunk().min(room).min(stream.len()));
        buffer.put_slice(head);
        inbox.put(buffer);
        stream = rest;
        while let Some(record) = inbox.next()? {
            records.push(record);
        }
    }
    Ok(records)
}

fn inbox() -> (Inbox, Buffers) {
    (Inbox::new(RECORD_BYTES_MAX), Buffers::new(RECORD_BYTES_MAX))
}

#[test]
fn any_cut_gives_the_same_records() {
    let seed = fuzz::Seed::new();
    let mut rng = Rng::from_seed(seed.0);
    for round in 0..60 {
        let mut stream = Vec::new();
        let mut want = Vec::new();
        for index in 0..fuzz::below(&mut rng, 40) {
            let sizes = [0, 1, 120, 5000, 33_000, 70_000, 200_000, RECORD_BYTES_MAX];
            let size = sizes[fuzz::below(&mut rng, if round % 6 == 0 { 8 } else { 5 })];
            let bytes = vec![u8::try_from(index).unwrap(); size];
            if rng.one_in(3) {
                let cut = fuzz::below(&mut rng, size + 1);
                stream.extend(fragment(&bytes[..cut], false));
                stream.extend(fragment(&bytes[cut..], true));
            } else {
                stream.extend(record(&bytes));
            }
            want.push(Bytes::from(bytes));
        }
        let (mut inbox, buffers) = inbox();
        let largest = [1 << 20, 70_000, 1460][fuzz::below(&mut rng, 3)];
        let records = feed(&mut inbox, &buffers, &stream, || 1 + fuzz::below(&mut rng, largest));
        let records = records.unwrap();
        assert!(records == want, "round {round}");
        records.into_iter().for_each(|record| buffers.give_back(record));
    }
}

#[test]
fn one_byte_at_a_time() {
    let (mut inbox, buffers) = inbox();
    let stream = [record(b"first"), fragment(b"sec", false), fragment(b"ond", true)].concat();
    let records = feed(&mut inbox, &buffers, &stream, || 1).unwrap();
    assert_eq!(records, ["first", "second"]);
}

#[test]
fn a_record_too_long_is_refused_before_it_is_received() {
    let (mut inbox, buffers) = inbox();
    let mark = (u32::try_from(RECORD_BYTES_MAX).unwrap() + 1) | 0x8000_0000;
    let refused = feed(&mut inbox, &buffers, &mark.to_be_bytes(), || 4);
    assert_eq!(refused, Err(TooLong { bytes: RECORD_BYTES_MAX + 1 }));
}

#[test]
fn fragments_too_long_together_are_refused() {
    let (mut inbox, buffers) = inbox();
    let part = fragment(&[0; RECORD_BYTES_MAX / 2 + 1], false);
    assert!(feed(&mut inbox, &buffers, &part, || 1 << 20).unwrap().is_empty());
    let refused = feed(&mut inbox, &buffers, &part, || 1 << 20);
    assert_eq!(refused, Err(TooLong { bytes: RECORD_BYTES_MAX + 2 }));
}

#[test]
fn large_records_in_a_row_are_hardly_copied_and_share_buffers() {
    let (mut inbox, buffers) = inbox();
    let stream = record(&vec![7; RECORD_BYTES_MAX]).repeat(8);
    let mut rest = &stream[..];
    let mut places = Vec::new();
    let mut copied = 0;
    while !rest.is_empty() {
        let before = inbox.held();
        let mut buffer = inbox.lend(&buffers);
        // What lay elsewhere before was moved.
        copied += if before.0 == buffer.as_ptr() { 0 } else { before.1 };
        let room = (buffer.capacity() - buffer.len()).min(rest.len());
        buffer.put_slice(&rest[..room]);
        rest = &rest[room..];
        inbox.put(buffer);
        while let Some(record) = inbox.next().unwrap() {
            places.push(record.as_ptr());
            buffers.give_back(record);
        }
    }
    assert_eq!(places.len(), 8);
    places.dedup();
    assert_eq!(places.len(), 1, "one buffer for all, as each was given back");
    // The first record is not expected, so all that the small buffer holds of it is moved.
    assert!(copied <= 128 * 1024 + 7 * 4096, "{copied} bytes of 8 MiB were moved");
}

#[test]
fn an_idle_inbox_keeps_a_small_buffer_only() {
    let (mut inbox, buffers) = inbox();
    let stream = record(&vec![7; RECORD_BYTES_MAX]);
    let records = feed(&mut inbox, &buffers, &stream, || 1 << 20).unwrap();
    let lent: BytesMut = inbox.lend(&buffers);
    assert!(lent.capacity() <= 128 * 1024);
    // Nothing else holds the large one.
    assert!(records.into_iter().next().unwrap().is_unique());
}
