//! What the records and gaps of the segments prove: rules 4, 5 and 7 of `FORMAT.md`.
//!
//! Reads only. Nothing here trusts a byte that no checksum covers; payloads that had been synced
//! are compared later ([`crate::check`]).

use std::{io, path::Path, rc::Rc};

use vocab::{SliceId, Time};

use crate::{
    Found,
    format::{Entry, RecordHeader, SEGMENT_HEADER_BYTES, STATE_OPEN, SegmentHeader, What},
    log::{Segment, segment_name},
    manifest::{Listed, Manifest},
    recover::entries,
    scan::{End, Gap, Item, Link, Part, Scan},
};

/// The way through the segments, by generation.
pub(crate) struct Walk<'a> {
    scan: Scan<'a>,
    /// The first record of the first open segment.
    first_open: Option<u64>,
    pub(crate) records: Vec<Found>,
    /// Records that had been synced and that nothing names.
    pub(crate) lost: Vec<Lost>,
    /// Records whose headers are damaged, and that others name.
    pub(crate) healed: Vec<Healed>,
    /// What the last record changed.
    before: What,
    /// The largest sequence seen, counted or not.
    pub(crate) seen: u64,
    pub(crate) torn_bytes: u64,
    /// Why it is not known where the log ends: its disk fails.
    pub(crate) unreadable: Option<String>,
}

/// A record whose header is damaged.
pub(crate) struct Healed {
    pub(crate) segment: Rc<Segment>,
    pub(crate) offset: u64,
    /// A sound one, but for its checksum.
    pub(crate) header: RecordHeader,
}

/// Records that had been synced and are gone: which files they changed is not known.
pub(crate) struct Lost {
    pub(crate) segment: Rc<Segment>,
    pub(crate) gap: Gap,
    /// When the records around them were written.
    pub(crate) times: (Option<Time>, Option<Time>),
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
            scan: Scan {
                dir,
                slice,
                key: manifest.key,
                parts: Vec::new(),
                end: None,
                synced_through: listed.synced_through,
                unreadable: None,
            },
            unreadable: None,
            first_open: first_open.map(|entry| entry.first.get()),
            records: Vec::new(),
            lost: Vec::new(),
            healed: Vec::new(),
            before: What::default(),
            seen: 0,
            torn_bytes: 0,
        }
    }

    /// A closed segment: everything between first and last was durable.
    pub(crate) fn closed(&mut self, segment: &Rc<Segment>, entry: &Entry) -> Result<(), String> {
        self.seen = self.seen.max(entry.last.get());
        self.scan.closed(segment, (entry.first.get(), entry.last.get()))?;
        // What is missing here is known by its sequence.
        self.scan.unreadable = None;
        Ok(())
    }

    /// An open segment.
    pub(crate) fn open(&mut self, segment: &Rc<Segment>) -> Result<(), String> {
        // Only the first one is in the manifest; the other one goes on where that one ends.
        self.scan.open(segment, self.first_open.take())?;
        self.unreadable = self.unreadable.take().or(self.scan.unreadable.take());
        Ok(())
    }

    /// The last word on the tail: torn, or lost. What was durable needs no look at its payload now;
    /// of the rest, records count up to the first that is missing or whose payload is torn.
    pub(crate) fn judge(&mut self) -> Extents {
        let synced_through = self.scan.synced_through;
        let mut parts = std::mem::take(&mut self.scan.parts);
        if let Some(End { part, offset, sequence, until }) = self.scan.end.take()
            && let last = until.map_or(synced_through, |until| until - 1)
            && sequence <= last
        {
            let Part { segment, items, .. } = &mut parts[part];
            let range = offset..segment.map.len() as u64;
            items.push(Item::Gap(Gap { range, first: sequence, last, is_accepted: false }));
        }
        let mut cut = false;
        let mut extents = Vec::new();
        for Part { segment, is_closed, items } in parts {
            let durable_through = if is_closed { u64::MAX } else { synced_through };
            let mut extent: Option<Extent> = None;
            for item in items {
                let (first, last, range) = match &item {
                    Item::Record(link) => {
                        let sequence = link.found.sequence.0;
                        (sequence, sequence, link.offset..link.offset + link.bytes)
                    }
                    Item::Gap(gap) => (gap.first, gap.last, gap.range.clone()),
                };
                self.seen = self.seen.max(last);
                let is_durable = first <= durable_through;
                let is_whole = is_durable
                    || is_whole(&item).unwrap_or_else(|error| {
                        let path = self.scan.dir.join(segment_name(segment.number));
                        self.unreadable.get_or_insert(format!("{}: {error}", path.display()));
                        false
                    });
                cut |= !is_whole;
                if cut {
                    let is_record = matches!(item, Item::Record(_));
                    self.torn_bytes += if is_record { range.end - range.start } else { 0 };
                    continue;
                }
                let one = extent.get_or_insert(Extent { first, last, end: 0, durable: 0 });
                // Of a gap only what had been synced is lost; the rest is torn.
                (one.last, one.end) = (last.min(durable_through.max(first)), range.end);
                one.durable = if is_durable { range.end } else { one.durable };
                cut |= one.last < last;
                match item {
                    Item::Record(link) => self.take(&segment, link, is_durable),
                    Item::Gap(gap) => self.lose(&segment, Gap { last: one.last, ..gap }),
                }
            }
            if !is_closed {
                extents.push((segment, extent));
            }
        }
        extents
    }

    fn take(&mut self, segment: &Rc<Segment>, link: Link, is_durable: bool) {
        let before = std::mem::replace(&mut self.before, link.what);
        let mut found = link.found;
        if link.is_healed {
            let header = RecordHeader {
                slice: self.scan.slice.0.into(),
                sequence: found.sequence.0.into(),
                seconds: found.time.seconds.into(),
                nanos: found.time.nanos.into(),
                synced_through: self.scan.synced_through.into(),
                generation: segment.generation.get().into(),
                ..RecordHeader::of(link.what)
            };
            let (segment, header) = (Rc::clone(segment), header.after(before));
            self.healed.push(Healed { segment, offset: link.offset, header });
        }
        if !is_durable {
            found.unchecked = None;
        }
        for lost in self.lost.iter_mut().rev().take_while(|lost| lost.times.1.is_none()) {
            lost.times.1 = Some(found.time);
        }
        self.records.push(found);
    }

    fn lose(&mut self, segment: &Rc<Segment>, gap: Gap) {
        self.before = What::default();
        if !gap.is_accepted {
            let times = (self.records.last().map(|found| found.time), None);
            self.lost.push(Lost { segment: Rc::clone(segment), gap, times });
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
            let (bytes, _) = segment.read_some(0..SEGMENT_HEADER_BYTES);
            SegmentHeader::read(&bytes, self.scan.key)
                .is_ok_and(|header| header.generation.get() >= generation_next)
        };
        match files.iter().find(is_younger) {
            Some(segment) => Err(format!(
                "{}: the newest slot is damaged, {} is younger than what is left. Restore the \
                 file, or move the folder away to start with an empty log",
                self.scan.dir.join("manifest").display(),
                segment_name(segment.number)
            )),
            None => Ok(()),
        }
    }
}

/// Whether it is there as it was written. Reads the payload.
fn is_whole(item: &Item) -> io::Result<bool> {
    match item {
        Item::Record(link) => link.found.unchecked.as_ref().map_or(Ok(true), |one| one.is_sound()),
        Item::Gap(_) => Ok(false),
    }
}
