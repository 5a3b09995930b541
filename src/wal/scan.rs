//! What segments hold, by their headers: records, and gaps where headers are damaged.
//!
//! Decides nothing: what a gap means is `walk`'s. A header is sound when its checksum, which knows
//! key and offset, its generation and its slice are, so neither an earlier life of the segment nor
//! a client's bytes pass for one. Behind damage the next sound header counts, at any multiple of
//! 32: sequences rise, so it says how many records are missing, and it names the one before it.

use std::{ops::Range, path::Path, rc::Rc};

use vocab::{FileId, InodeId, Sequence, SliceId, StoreId, Time};

use crate::{
    Change, Found,
    check::Unchecked,
    format::{
        Bad, KIND_LOST, KIND_TRUNCATE, KIND_WRITE, RECORD_ALIGN, RECORD_HEADER_BYTES, RecordHeader,
        SEGMENT_HEADER_BYTES, SegmentHeader, What, record_bytes,
    },
    log::{Segment, segment_name},
    recover::newer,
};

/// The way through the segments, by generation.
pub(crate) struct Scan<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) slice: SliceId,
    pub(crate) key: u64,
    pub(crate) parts: Vec<Part>,
    /// Where a record was expected, and what came there is not known yet.
    pub(crate) end: Option<End>,
    /// The largest that a sound header says of what was durable.
    pub(crate) synced_through: u64,
    /// Why it is not known where the log ends.
    pub(crate) unreadable: Option<String>,
}

/// Bytes of a segment.
struct Window {
    from: u64,
    bytes: Vec<u8>,
}

/// Read at once: a header, and more where records are small or looked for.
const WINDOW_BYTES: u64 = 4096;

/// What one segment holds, in order.
pub(crate) struct Part {
    pub(crate) segment: Rc<Segment>,
    /// Listed as closed: all of it had been synced.
    pub(crate) is_closed: bool,
    pub(crate) items: Vec<Item>,
}

pub(crate) enum Item {
    Record(Link),
    Gap(Gap),
}

/// A record that is named.
pub(crate) struct Link {
    pub(crate) found: Found,
    pub(crate) what: What,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Its own header is damaged: it is known from the one behind it.
    pub(crate) is_healed: bool,
}

/// Records that nothing names.
pub(crate) struct Gap {
    /// Where they lay in the segment.
    pub(crate) range: Range<u64>,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The operator has accepted that they are lost.
    pub(crate) is_accepted: bool,
}

/// Behind the last sound record of a segment.
pub(crate) struct End {
    /// Of `parts`.
    pub(crate) part: usize,
    pub(crate) offset: u64,
    /// The next sequence, and what ends those that lie here, when that is known.
    pub(crate) sequence: u64,
    pub(crate) until: Option<u64>,
}

impl Scan<'_> {
    /// A closed segment: which records it holds is known. Only headers are read.
    pub(crate) fn closed(
        &mut self,
        segment: &Rc<Segment>,
        records: (u64, u64),
    ) -> Result<(), String> {
        self.segment(segment, Some(records.0), Some(records.1))
    }

    /// An open segment. `first`: its first record, if that is known.
    pub(crate) fn open(&mut self, segment: &Rc<Segment>, first: Option<u64>) -> Result<(), String> {
        let (bytes, _) = segment.read_some(0..SEGMENT_HEADER_BYTES);
        let header = SegmentHeader::read(&bytes, self.key).ok().filter(|header| {
            header.slice.get() == self.slice.0
                && header.number.get() == segment.number
                && header.generation.get() == segment.generation.get()
        });
        let follows = self.end.as_ref().filter(|end| end.until.is_none());
        let said = header.map(|header| header.first.get());
        let said = said.filter(|&said| follows.is_some_and(|end| said >= end.sequence));
        if let Some(header) = header {
            self.synced_through = self.synced_through.max(header.synced_through.get());
        }
        self.segment(segment, first.or(said), None)
    }

    /// What stands before the next record is known now: nothing names it.
    fn settle(&mut self) {
        if let Some(End { part, offset, sequence, until: Some(until) }) = self.end.take() {
            let range = offset..self.parts[part].segment.map.len() as u64;
            self.bridge(part, range, sequence..until, None);
        }
    }

    fn segment(
        &mut self,
        segment: &Rc<Segment>,
        first: Option<u64>,
        last: Option<u64>,
    ) -> Result<(), String> {
        let mut window = Window { from: 0, bytes: Vec::new() };
        let part = self.parts.len();
        let is_closed = last.is_some();
        self.parts.push(Part { segment: Rc::clone(segment), is_closed, items: Vec::new() });
        let follows = self.end.as_ref().map_or(0, |end| end.sequence);
        let (mut at, mut want) = (SEGMENT_HEADER_BYTES, first.unwrap_or(follows));
        while last.is_none_or(|last| want <= last) {
            let sequences = want..last.map_or(u64::MAX, |last| last + 1);
            let found = self.next(segment, &mut window, at, &sequences)?;
            let Some((next, header)) = found else { break };
            let sequence = header.sequence.get();
            let is_head = next == SEGMENT_HEADER_BYTES;
            if let Some(end) = self.end.take() {
                // Those that the segment before should hold.
                let until = end.until.or(first).unwrap_or(if is_head { sequence } else { want });
                let names = (is_head && sequence == until).then_some(&header);
                let range = end.offset..self.parts[end.part].segment.map.len() as u64;
                self.bridge(end.part, range, end.sequence..until, names);
                want = want.max(until);
            }
            self.bridge(part, at..next, want..sequence, Some(&header));
            self.synced_through = self.synced_through.max(header.synced_through.get());
            let bytes = record_bytes(header.payload_bytes.get().into());
            let last = if header.kind.get() == KIND_LOST { header.offset.get() } else { sequence };
            let item = if header.kind.get() == KIND_LOST {
                let range = next..next + bytes;
                Item::Gap(Gap { range, first: sequence, last, is_accepted: true })
            } else {
                Item::Record(self.link(segment, next, sequence, header.what(), time(&header)))
            };
            self.parts[part].items.push(item);
            (at, want) = (next + bytes, last + 1);
        }
        let until = last.map(|last| last + 1);
        if until.is_none_or(|until| want < until) {
            let is_empty = self.parts[part].items.is_empty();
            if is_empty && self.end.as_ref().is_some_and(|end| end.until.is_none()) {
                // The log ends in the segment before, as far as anybody can see.
                return Ok(());
            }
            self.settle();
            self.end = Some(End { part, offset: at, sequence: want, until });
        }
        Ok(())
    }

    /// Records that are missing: from `range` of a part, up to a record that may name the last one.
    fn bridge(
        &mut self,
        part: usize,
        range: Range<u64>,
        sequences: Range<u64>,
        behind: Option<&RecordHeader>,
    ) {
        let missing = sequences.end.saturating_sub(sequences.start);
        if missing == 0 {
            return;
        }
        let segment = Rc::clone(&self.parts[part].segment);
        let is_in_segment = range.end < segment.map.len() as u64;
        let healed = behind.and_then(|header| {
            let what = header.before();
            let bytes = record_bytes(what.payload_bytes.into());
            let others = (missing - 1) * RECORD_HEADER_BYTES;
            // In its own segment it ends where the next one begins; else one alone has a place.
            let offset = if is_in_segment { range.end.checked_sub(bytes)? } else { range.start };
            let has_place = match missing {
                1 => offset == range.start && offset + bytes <= range.end,
                _ => is_in_segment && offset >= range.start + others,
            };
            let is_known = matches!(what.kind, KIND_WRITE | KIND_TRUNCATE);
            let sequence = sequences.end - 1;
            (is_known && has_place)
                .then(|| self.link(&segment, offset, sequence, what, time(header)))
        });
        let items = &mut self.parts[part].items;
        let unnamed = missing - u64::from(healed.is_some());
        if unnamed > 0 {
            let end = healed.as_ref().map_or(range.end, |link| link.offset);
            let last = sequences.start + unnamed - 1;
            let range = range.start..end;
            items.push(Item::Gap(Gap { range, first: sequences.start, last, is_accepted: false }));
        }
        items.extend(healed.map(|link| Item::Record(Link { is_healed: true, ..link })));
    }

    /// The next sound header from an offset on, of one of the sequences.
    fn next(
        &mut self,
        segment: &Segment,
        window: &mut Window,
        from: u64,
        sequences: &Range<u64>,
    ) -> Result<Option<(u64, RecordHeader)>, String> {
        let align = usize::try_from(RECORD_ALIGN).expect("small");
        let len = segment.map.len() as u64;
        let mut unreadable = None;
        for at in (from..(len + 1).saturating_sub(RECORD_HEADER_BYTES)).step_by(align) {
            if at < window.from || at + RECORD_HEADER_BYTES > window.end() {
                let (bytes, error) = segment.read_some(at..len.min(at + WINDOW_BYTES));
                unreadable = unreadable.or(error);
                *window = Window { from: at, bytes };
            }
            let skip = usize::try_from(at - window.from).expect("within a window");
            let header = match RecordHeader::read(&window.bytes[skip..], at, self.key) {
                Ok(header) => header,
                Err(bad) => match self.refused(segment.number, bad) {
                    Some(refused) => return Err(refused),
                    None => continue,
                },
            };
            let payload_bytes = u64::from(header.payload_bytes.get());
            let is_ours = header.generation.get() == segment.generation.get()
                && header.slice.get() == self.slice.0
                && sequences.contains(&header.sequence.get())
                && at + RECORD_HEADER_BYTES + payload_bytes <= len;
            match header.kind.get() {
                _ if !is_ours => {}
                KIND_WRITE | KIND_TRUNCATE => return Ok(Some((at, header))),
                // It stands for at least itself.
                KIND_LOST if header.offset.get() >= header.sequence.get() => {
                    return Ok(Some((at, header)));
                }
                other => match self.refused(segment.number, Bad::Kind(other)) {
                    Some(refused) => return Err(refused),
                    None => unreachable!("an unknown kind is refused"),
                },
            }
        }
        if let Some(error) = unreadable {
            let path = self.dir.join(segment_name(segment.number));
            self.unreadable.get_or_insert(format!("{}: {error}", path.display()));
        }
        Ok(None)
    }

    /// The record at an offset.
    fn link(
        &self,
        segment: &Rc<Segment>,
        offset: u64,
        sequence: u64,
        what: What,
        time: Time,
    ) -> Link {
        let within = |at: u64| usize::try_from(at).expect("within a segment");
        let payload_bytes = what.payload_bytes as usize;
        let (at, start) = (within(offset), within(offset + RECORD_HEADER_BYTES));
        let (change, pin, unchecked) = if what.kind == KIND_WRITE {
            let view = segment.map.slice(start..start + payload_bytes);
            let place = (offset, start as u64, payload_bytes);
            let want = (sequence, what.payload_xxh3);
            let unchecked = Rc::new(Unchecked::new(self.dir, segment, place, want));
            let change = Change::Write { offset: what.offset, bytes: view.clone() };
            (change, view, Some(unchecked))
        } else {
            (Change::Truncate { size: what.offset }, segment.map.slice(at..start), None)
        };
        let file = FileId { store: StoreId(what.store), inode: InodeId(what.inode) };
        Link {
            found: Found { sequence: Sequence(sequence), file, time, change, pin, unchecked },
            what,
            offset,
            bytes: record_bytes(payload_bytes as u64),
            is_healed: false,
        }
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

fn time(header: &RecordHeader) -> Time {
    Time { seconds: header.seconds.get(), nanos: header.nanos.get() }
}

impl Window {
    fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }
}
