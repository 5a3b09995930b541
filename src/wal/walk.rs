//! What the segments hold, and what that proves: rules 4, 5 and 7 of `FORMAT.md`.
//!
//! Reads only. Nothing here trusts a byte that no checksum covers; payloads that had been synced
//! are compared later ([`crate::check`]).

use std::{path::Path, rc::Rc};

use bytes::Bytes;
use vocab::{FileId, InodeId, Sequence, SliceId, StoreId, Time};

use crate::{
    Change, Found,
    check::Unchecked,
    format::{
        Bad, Entry, KIND_TRUNCATE, KIND_WRITE, RECORD_ALIGN, RecordHeader, SEGMENT_HEADER_BYTES,
        STATE_OPEN, SegmentHeader, payload_xxh3, record_bytes,
    },
    log::{Segment, segment_name},
    manifest::{Listed, Manifest},
    recover::{entries, newer},
};

/// The way through the segments, by generation.
pub(crate) struct Walk<'a> {
    dir: &'a Path,
    slice: SliceId,
    key: u64,
    pub(crate) records: Vec<Found>,
    open: Vec<Open>,
    /// The next sequence of the open segments, and where it should be.
    tail: Option<Tail>,
    /// Something is missing: what follows serves as evidence only.
    broken: bool,
    /// The largest sequence seen, counted or not.
    pub(crate) seen: u64,
    /// The largest sequence that anything says was durable.
    synced_through: u64,
    pub(crate) torn_bytes: u64,
}

/// Where the log ends.
struct Tail {
    number: u32,
    offset: u64,
    sequence: u64,
}

/// An open segment, and the records whose headers follow one another.
struct Open {
    segment: Rc<Segment>,
    chain: Vec<Link>,
}

/// A record with a sound header.
struct Link {
    found: Found,
    offset: u64,
    bytes: u64,
    payload_xxh3: u64,
    synced_through: u64,
}

/// The open segments, and what counts of each.
pub(crate) type Extents = Vec<(Rc<Segment>, Option<Extent>)>;

/// The records of an open segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Where the last one ends.
    pub(crate) end: u64,
    /// Up to here the bytes are known to be durable.
    pub(crate) durable: u64,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(dir: &'a Path, slice: SliceId, manifest: &Manifest, listed: &Listed) -> Self {
        let first_open = entries(listed, STATE_OPEN).first().copied();
        Self {
            dir,
            slice,
            key: manifest.key,
            records: Vec::new(),
            open: Vec::new(),
            tail: first_open.map(|entry| Tail {
                number: entry.number.get(),
                offset: SEGMENT_HEADER_BYTES,
                sequence: entry.first.get(),
            }),
            broken: false,
            seen: 0,
            synced_through: listed.synced_through,
            torn_bytes: 0,
        }
    }

    /// A closed segment: everything between first and last must be there. Only headers are read.
    pub(crate) fn closed(&mut self, segment: &Segment, entry: &Entry) -> Result<(), String> {
        let bytes = whole(segment);
        if !self.has_header(segment, &bytes, entry.first.get()) {
            return Err(self.lost(segment.number, 0, entry.first.get()));
        }
        let mut offset = SEGMENT_HEADER_BYTES;
        for sequence in entry.first.get()..=entry.last.get() {
            let link = self.link(segment, &bytes, offset, sequence).map_err(|bad| {
                self.refused(segment.number, bad)
                    .unwrap_or_else(|| self.lost(segment.number, offset, sequence))
            })?;
            offset += link.bytes;
            self.records.push(link.found);
        }
        self.seen = self.seen.max(entry.last.get());
        Ok(())
    }

    /// An open segment: headers while they follow one another, evidence behind them.
    pub(crate) fn open(&mut self, segment: Rc<Segment>) -> Result<(), String> {
        let bytes = whole(&segment);
        let mut sequence = self.tail.as_ref().expect("an open segment has a tail").sequence;
        let mut evidence_from = 0;
        let mut chain = Vec::new();
        if !self.broken && self.has_header(&segment, &bytes, sequence) {
            let mut offset = SEGMENT_HEADER_BYTES;
            loop {
                match self.link(&segment, &bytes, offset, sequence) {
                    Ok(link) => {
                        offset += link.bytes;
                        sequence += 1;
                        self.synced_through = self.synced_through.max(link.synced_through);
                        chain.push(link);
                    }
                    Err(bad) => match self.refused(segment.number, bad) {
                        Some(refused) => return Err(refused),
                        None => break,
                    },
                }
            }
            self.seen = self.seen.max(sequence - 1);
            self.tail = Some(Tail { number: segment.number, offset, sequence });
            evidence_from = offset;
        } else {
            self.broken = true;
        }
        self.evidence(&segment, &bytes, evidence_from);
        self.open.push(Open { segment, chain });
        Ok(())
    }

    /// The last word on the tail: torn, or lost. What was durable needs no look at its payload now;
    /// of the rest, records count up to the first whose payload is torn.
    pub(crate) fn judge(&mut self) -> Result<Extents, String> {
        let mut cut = false;
        let mut extents = Vec::new();
        for Open { segment, chain } in std::mem::take(&mut self.open) {
            let mut extent: Option<Extent> = None;
            for Link { mut found, offset, bytes, payload_xxh3, .. } in chain {
                let sequence = found.sequence.0;
                let is_durable = sequence <= self.synced_through;
                if !cut && !is_durable && !is_sound(&found, payload_xxh3) {
                    cut = true;
                    self.tail = Some(Tail { number: segment.number, offset, sequence });
                }
                if cut {
                    self.torn_bytes += bytes;
                    continue;
                }
                if !is_durable {
                    found.unchecked = None;
                }
                let end = offset + bytes;
                let (first, durable) = extent.map_or((sequence, 0), |one| (one.first, one.durable));
                let durable = if is_durable { end } else { durable };
                extent = Some(Extent { first, last: sequence, end, durable });
                self.records.push(found);
            }
            extents.push((segment, extent));
        }
        match &self.tail {
            Some(tail) if self.synced_through >= tail.sequence => {
                Err(self.lost(tail.number, tail.offset, tail.sequence))
            }
            Some(_) | None => Ok(extents),
        }
    }

    /// Files that are not listed: none may be younger than the manifest, else a later manifest was
    /// durable and is gone.
    pub(crate) fn unlisted(
        &self,
        files: &[Rc<Segment>],
        generation_next: u64,
    ) -> Result<(), String> {
        let is_younger = |segment: &&Rc<Segment>| {
            SegmentHeader::read(&segment.map.slice(0..size_of::<SegmentHeader>()), self.key)
                .is_ok_and(|header| header.generation.get() >= generation_next)
        };
        match files.iter().find(is_younger) {
            Some(segment) => Err(format!(
                "{}: the newest slot is damaged, {} is younger than what is left. Restore the \
                 file, or move the folder away to start with an empty log",
                self.dir.join("manifest").display(),
                segment_name(segment.number)
            )),
            None => Ok(()),
        }
    }

    fn has_header(&self, segment: &Segment, bytes: &[u8], first: u64) -> bool {
        SegmentHeader::read(bytes, self.key).is_ok_and(|header| {
            header.slice.get() == self.slice.0
                && header.number.get() == segment.number
                && header.generation.get() == segment.generation.get()
                && header.first.get() == first
        })
    }

    /// The record that should be at an offset, by its header.
    fn link(
        &self,
        segment: &Segment,
        bytes: &Bytes,
        offset: u64,
        sequence: u64,
    ) -> Result<Link, Bad> {
        let at = usize::try_from(offset).expect("within a segment");
        let header = RecordHeader::read(bytes.get(at..).unwrap_or_default(), self.key)?;
        let payload_bytes = header.payload_bytes.get() as usize;
        let start = at + size_of::<RecordHeader>();
        let is_ours = header.sequence.get() == sequence
            && header.generation.get() == segment.generation.get()
            && header.slice.get() == self.slice.0;
        if !is_ours || payload_bytes > bytes.len() - start {
            return Err(Bad::Damaged);
        }
        let payload_xxh3 = header.payload_xxh3.get();
        let (change, pin, unchecked) = match header.kind.get() {
            KIND_WRITE => {
                let view = bytes.slice(start..start + payload_bytes);
                let place = (offset, start as u64, payload_bytes);
                let want = (sequence, payload_xxh3);
                let unchecked = Rc::new(Unchecked::new(self.dir, segment, place, want));
                let change = Change::Write { offset: header.offset.get(), bytes: view.clone() };
                (change, view, Some(unchecked))
            }
            KIND_TRUNCATE => {
                (Change::Truncate { size: header.offset.get() }, bytes.slice(at..start), None)
            }
            other => return Err(Bad::Kind(other)),
        };
        let found = Found {
            sequence: Sequence(sequence),
            file: FileId { store: StoreId(header.store.get()), inode: InodeId(header.inode.get()) },
            time: Time { seconds: header.seconds.get(), nanos: header.nanos.get() },
            change,
            pin,
            unchecked,
        };
        let bytes = record_bytes(payload_bytes as u64);
        let synced_through = header.synced_through.get();
        Ok(Link { found, offset, bytes, payload_xxh3, synced_through })
    }

    /// What the bytes behind the tail say of what was durable.
    fn evidence(&mut self, segment: &Segment, bytes: &Bytes, from: u64) {
        let generation = segment.generation.get();
        if let Ok(header) = SegmentHeader::read(bytes, self.key)
            && header.generation.get() == generation
        {
            self.synced_through = self.synced_through.max(header.synced_through.get());
        }
        let align = usize::try_from(RECORD_ALIGN).expect("small");
        let from = usize::try_from(from).expect("within a segment");
        for offset in (from..bytes.len()).step_by(align) {
            if let Ok(header) = RecordHeader::read(&bytes[offset..], self.key)
                && header.generation.get() == generation
            {
                self.synced_through = self.synced_through.max(header.synced_through.get());
                self.seen = self.seen.max(header.sequence.get());
                self.torn_bytes += record_bytes(u64::from(header.payload_bytes.get()));
            }
        }
    }

    fn lost(&self, number: u32, offset: u64, sequence: u64) -> String {
        format!(
            "{}: damaged at offset {offset}: record {sequence} had been synced and is lost. \
             Restore the file, or move the folder away to go on without its records",
            self.dir.join(segment_name(number)).display()
        )
    }

    /// Why sound bytes are not read, if that is so.
    fn refused(&self, number: u32, bad: Bad) -> Option<String> {
        let path = self.dir.join(segment_name(number));
        match bad {
            Bad::Damaged => None,
            Bad::Version(version) => Some(newer(&path, version)),
            Bad::Kind(kind) => Some(format!(
                "{}: a record of unknown kind {kind}, by a newer server. Start that one",
                path.display()
            )),
        }
    }
}

/// Whether a payload is what was written. Reads it.
fn is_sound(found: &Found, xxh3: u64) -> bool {
    match &found.change {
        Change::Write { bytes, .. } => payload_xxh3(bytes, found.sequence.0) == xxh3,
        Change::Truncate { .. } => true,
    }
}

/// All bytes of a segment. Records found in it are slices of this view.
fn whole(segment: &Segment) -> Bytes {
    segment.map.slice(0..segment.map.len())
}
