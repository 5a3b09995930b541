//! What of a file is written and not uploaded yet: ranges by block, each a view of the log.
//!
//! Invariants: the ranges of a block are in order, not empty and do not overlap; `bytes` is their
//! sum; a block without ranges is not kept; no range is older than its block's `born`. Nothing here
//! is ever evicted: a range goes when a later one shadows it, a truncate cuts it, or the content
//! store has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use vocab::{BlockIndex, Sequence, limits::BLOCK_BYTES};
use wal::check::Unchecked;

/// The life of a block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockState {
    /// It has dirty ranges and rests until it is worth an upload.
    Pending,
    /// A snapshot of it is on its way to the content store, the only one. Writes go on meanwhile.
    Uploading,
    /// The block map has all of it.
    Uploaded,
}

/// Bytes of one record, or what later records left of them.
#[derive(Clone, Debug)]
pub struct DirtyRange {
    /// The record.
    pub sequence: Sequence,
    /// A view of the log, or the received bytes until the log has them.
    pub bytes: Bytes,
    /// Found at the start, and perhaps not compared with its checksum yet.
    pub unchecked: Option<Rc<Unchecked>>,
}

/// The dirty ranges of one block.
#[derive(Debug)]
pub struct DirtyBlock {
    ranges: BTreeMap<u32, DirtyRange>,
    bytes: u32,
    /// No range is older.
    pub born: Sequence,
    /// When the last range came (monotonic).
    pub written: Duration,
}

/// The dirty ranges of one file.
#[derive(Debug, Default)]
pub struct Dirty {
    blocks: BTreeMap<BlockIndex, DirtyBlock>,
    /// Blocks with a snapshot on its way. Kept apart from `blocks`: a cut may take all ranges while
    /// the snapshot travels, and a second one must not overtake it.
    uploading: BTreeSet<BlockIndex>,
    bytes: u64,
}

/// What an insert did to its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// The block was clean before.
    pub born: bool,
    /// All `BLOCK_BYTES` became dirty by this.
    pub filled: bool,
}

/// A part of a read.
#[derive(Debug)]
pub enum Piece {
    /// Dirty bytes.
    Bytes(Bytes),
    /// Nothing dirty in these bytes of the block.
    Gap {
        /// From here.
        from: u32,
        /// To here, not included.
        to: u32,
    },
}

/// A block as it was at one moment, for the uploader.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Ranges by offset in the block.
    pub ranges: Vec<(u32, Bytes)>,
    /// Sum of their lengths.
    pub bytes: u32,
    /// Where the last one ends in the block.
    pub end: u32,
}

impl Dirty {
    /// Enters bytes of a record at an offset in a block, above all that is there; both ends lie in
    /// the block. Ranges that vanish whole go to `shadowed`.
    pub fn insert(
        &mut self,
        index: BlockIndex,
        from: u32,
        range: DirtyRange,
        now: Duration,
        shadowed: &mut Vec<DirtyRange>,
    ) -> Inserted {
        let len = len_of(&range);
        assert!(len > 0 && from <= BLOCK_BYTES && len <= BLOCK_BYTES - from);
        let born = !self.blocks.contains_key(&index);
        let block = self.blocks.entry(index).or_insert_with(|| DirtyBlock {
            ranges: BTreeMap::new(),
            bytes: 0,
            born: range.sequence,
            written: now,
        });
        let before = block.bytes;
        block.clear(from, from + len, shadowed);
        block.ranges.insert(from, range);
        block.bytes += len;
        block.written = now;
        self.bytes = self.bytes + u64::from(block.bytes) - u64::from(before);
        Inserted { born, filled: block.is_full() && before < BLOCK_BYTES }
    }

    /// Exchanges what is left of a record in a block for views of `bytes`, which hold the same: the
    /// whole of what was inserted at `from`. Whether anything is left of it.
    pub fn exchange(
        &mut self,
        index: BlockIndex,
        from: u32,
        sequence: Sequence,
        bytes: &Bytes,
    ) -> bool {
        let Some(block) = self.blocks.get_mut(&index) else { return false };
        let mut left = false;
        let to = from + u32::try_from(bytes.len()).expect("a record is shorter than a block");
        for (&at, range) in block.ranges.range_mut(from..to) {
            if range.sequence == sequence {
                let start = (at - from) as usize;
                range.bytes = bytes.slice(start..start + range.bytes.len());
                left = true;
            }
        }
        left
    }

    /// Drops all bytes at `size` and beyond. Gives the blocks that have nothing dirty left, and
    /// their age.
    pub fn cut(
        &mut self,
        size: u64,
        shadowed: &mut Vec<DirtyRange>,
    ) -> Vec<(BlockIndex, Sequence)> {
        let (first, keep) = split(size);
        let indexes: Vec<BlockIndex> =
            self.blocks.range(first..).map(|(&index, _)| index).collect();
        let mut vanished = Vec::new();
        for index in indexes {
            let from = if index == first { keep } else { 0 };
            let block = self.blocks.get_mut(&index).expect("it was just seen");
            let before = block.bytes;
            block.clear(from, BLOCK_BYTES, shadowed);
            self.bytes = self.bytes + u64::from(block.bytes) - u64::from(before);
            if block.ranges.is_empty() {
                vanished.push((index, block.born));
                self.blocks.remove(&index);
            }
        }
        vanished
    }

    /// Begins the journey of a block to the content store; [`Dirty::snapshot`] follows. Refused
    /// when nothing is dirty there or an earlier snapshot is still travelling.
    pub fn upload_begin(&mut self, index: BlockIndex) -> bool {
        self.blocks.contains_key(&index) && self.uploading.insert(index)
    }

    /// All ranges of a block as they are now; `None` when a cut has taken them all.
    #[must_use]
    pub fn snapshot(&self, index: BlockIndex) -> Option<Snapshot> {
        let block = self.blocks.get(&index)?;
        let ranges: Vec<(u32, Bytes)> =
            block.ranges.iter().map(|(&from, range)| (from, range.bytes.clone())).collect();
        let end = block.ranges.iter().next_back().map_or(0, |(from, last)| from + len_of(last));
        Some(Snapshot { ranges, bytes: block.bytes, end })
    }

    /// The snapshot did not arrive: the block is pending again.
    pub fn upload_failed(&mut self, index: BlockIndex) {
        self.uploading.remove(&index);
    }

    /// The snapshot arrived: drops ranges up to its watermark. When younger ones stay, the block is
    /// pending again, and its new age is given.
    pub fn uploaded(&mut self, index: BlockIndex, watermark: Sequence) -> Option<Sequence> {
        self.uploading.remove(&index);
        let block = self.blocks.get_mut(&index)?;
        let before = block.bytes;
        block.ranges.retain(|_, range| range.sequence > watermark);
        block.bytes = block.ranges.values().map(len_of).sum();
        self.bytes = self.bytes + u64::from(block.bytes) - u64::from(before);
        let oldest = block.ranges.values().map(|range| range.sequence).min();
        match oldest {
            Some(oldest) => block.born = oldest,
            None => drop(self.blocks.remove(&index)),
        }
        oldest
    }

    /// The bytes `from..to` of a block, in order.
    pub fn read(&self, index: BlockIndex, from: u32, to: u32, mut piece: impl FnMut(Piece)) {
        let mut at = from;
        if let Some(block) = self.blocks.get(&index) {
            for (start, range) in block.overlapping(from, to) {
                if start > at {
                    piece(Piece::Gap { from: at, to: start });
                    at = start;
                }
                let end = to.min(start + len_of(range));
                let skip = (at - start) as usize;
                piece(Piece::Bytes(range.bytes.slice(skip..(end - start) as usize)));
                at = end;
            }
        }
        if at < to {
            piece(Piece::Gap { from: at, to });
        }
    }

    /// What the bytes `from..to` of a block rest on that was found at the start.
    pub fn unchecked(
        &self,
        index: BlockIndex,
        from: u32,
        to: u32,
    ) -> impl Iterator<Item = &Rc<Unchecked>> {
        let block = self.blocks.get(&index);
        let ranges = block.into_iter().flat_map(move |block| block.overlapping(from, to));
        ranges.filter_map(|(_, range)| range.unchecked.as_ref())
    }

    /// The bytes of the file that rest on it.
    #[must_use]
    pub fn bytes_of(&self, record: &Rc<Unchecked>) -> Vec<Range<u64>> {
        let is_its = |range: &DirtyRange| {
            range.unchecked.as_ref().is_some_and(|unchecked| Rc::ptr_eq(unchecked, record))
        };
        let mut found = Vec::new();
        for (index, block) in &self.blocks {
            let start = u64::from(index.0) * u64::from(BLOCK_BYTES);
            for (&from, range) in block.ranges.iter().filter(|(_, range)| is_its(range)) {
                let from = start + u64::from(from);
                found.push(from..from + range.bytes.len() as u64);
            }
        }
        found
    }

    /// A block's ranges, if it has any.
    #[must_use]
    pub fn block(&self, index: BlockIndex) -> Option<&DirtyBlock> {
        self.blocks.get(&index)
    }

    /// Where a block is in its life.
    #[must_use]
    pub fn state(&self, index: BlockIndex) -> BlockState {
        match self.blocks.contains_key(&index) {
            _ if self.uploading.contains(&index) => BlockState::Uploading,
            true => BlockState::Pending,
            false => BlockState::Uploaded,
        }
    }

    /// The blocks with dirty ranges.
    pub fn blocks(&self) -> impl Iterator<Item = (BlockIndex, &DirtyBlock)> {
        self.blocks.iter().map(|(&index, block)| (index, block))
    }

    /// No range is older; `None` when nothing is dirty.
    #[must_use]
    pub fn born(&self) -> Option<Sequence> {
        self.blocks.values().map(|block| block.born).min()
    }

    /// Sum of all ranges.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing is dirty and nothing travels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.uploading.is_empty()
    }
}

impl DirtyBlock {
    /// Whether all of it is dirty.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes == BLOCK_BYTES
    }

    /// Where the last range ends.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.ranges.last_key_value().map_or(0, |(start, range)| start + len_of(range))
    }

    fn overlapping(&self, from: u32, to: u32) -> impl Iterator<Item = (u32, &DirtyRange)> {
        let first = self
            .ranges
            .range(..=from)
            .next_back()
            .filter(|(start, range)| *start + len_of(range) > from)
            .map_or(from, |(&start, _)| start);
        self.ranges.range(first..to).map(|(&start, range)| (start, range))
    }

    /// Makes room: no range touches `from..to` afterwards.
    fn clear(&mut self, from: u32, to: u32, shadowed: &mut Vec<DirtyRange>) {
        let starts: Vec<u32> = self.overlapping(from, to).map(|(start, _)| start).collect();
        for start in starts {
            let range = self.ranges.remove(&start).expect("it was just seen");
            let end = start + len_of(&range);
            self.bytes -= end - start;
            let mut whole = true;
            if start < from {
                self.keep(start, &range, 0..(from - start) as usize);
                whole = false;
            }
            if end > to {
                self.keep(to, &range, (to - start) as usize..range.bytes.len());
                whole = false;
            }
            if whole {
                shadowed.push(range);
            }
        }
    }

    fn keep(&mut self, at: u32, range: &DirtyRange, part: Range<usize>) {
        let bytes = range.bytes.slice(part);
        let kept =
            DirtyRange { sequence: range.sequence, bytes, unchecked: range.unchecked.clone() };
        self.bytes += len_of(&kept);
        self.ranges.insert(at, kept);
    }
}

/// The block of an offset, and the offset in it.
#[must_use]
pub fn split(offset: u64) -> (BlockIndex, u32) {
    let block = u64::from(BLOCK_BYTES);
    let index = u32::try_from(offset / block).expect("offsets stay below the largest file");
    let rest = u32::try_from(offset % block).expect("it is below BLOCK_BYTES");
    (BlockIndex(index), rest)
}

fn len_of(range: &DirtyRange) -> u32 {
    u32::try_from(range.bytes.len()).expect("a range is shorter than a block")
}

#[cfg(test)]
mod tests {
    use reactor::rng::Rng;

    use super::*;

    const B0: BlockIndex = BlockIndex(0);

    fn range(sequence: u64, len: usize) -> DirtyRange {
        let bytes = Bytes::from(vec![u8::try_from(sequence % 251).unwrap(); len]);
        DirtyRange { sequence: Sequence(sequence), bytes, unchecked: None }
    }

    fn content(dirty: &Dirty, index: BlockIndex, from: u32, to: u32) -> Vec<u8> {
        let mut out = Vec::new();
        dirty.read(index, from, to, |piece| match piece {
            Piece::Bytes(bytes) => out.extend_from_slice(&bytes),
            Piece::Gap { from, to } => out.extend(std::iter::repeat_n(0, (to - from) as usize)),
        });
        out
    }

    #[test]
    fn a_range_in_the_middle_splits_and_is_not_reported_shadowed() {
        let (mut dirty, mut gone) = (Dirty::default(), Vec::new());
        assert!(dirty.insert(B0, 0, range(1, 10), Duration::ZERO, &mut gone).born);
        assert!(!dirty.insert(B0, 3, range(2, 4), Duration::ZERO, &mut gone).born);
        assert_eq!(content(&dirty, B0, 0, 12), [1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 0, 0]);
        assert!(gone.is_empty());
        assert_eq!(dirty.bytes(), 10);
        dirty.insert(B0, 0, range(3, 10), Duration::ZERO, &mut gone);
        assert_eq!(gone.len(), 3);
    }

    #[test]
    fn an_upload_takes_only_what_it_saw() {
        let (mut dirty, mut gone) = (Dirty::default(), Vec::new());
        dirty.insert(B0, 0, range(1, 10), Duration::ZERO, &mut gone);
        dirty.insert(B0, 4, range(5, 2), Duration::ZERO, &mut gone);
        assert!(dirty.upload_begin(B0));
        assert!(!dirty.upload_begin(B0), "one at a time");
        assert_eq!(dirty.snapshot(B0).unwrap().ranges.len(), 3);
        assert_eq!(dirty.state(B0), BlockState::Uploading);
        assert_eq!(dirty.uploaded(B0, Sequence(4)), Some(Sequence(5)));
        assert_eq!(content(&dirty, B0, 0, 8), [0, 0, 0, 0, 5, 5, 0, 0]);
        assert_eq!(dirty.state(B0), BlockState::Pending);
        assert_eq!(dirty.uploaded(B0, Sequence(5)), None);
        assert_eq!(dirty.state(B0), BlockState::Uploaded);
        assert!(dirty.is_empty() && dirty.bytes() == 0);
    }

    #[test]
    fn an_exchange_keeps_offsets_and_later_records() {
        let (mut dirty, mut gone) = (Dirty::default(), Vec::new());
        dirty.insert(B0, 10, range(1, 6), Duration::ZERO, &mut gone);
        dirty.insert(B0, 12, range(2, 2), Duration::ZERO, &mut gone);
        assert!(dirty.exchange(B0, 10, Sequence(1), &Bytes::from_static(b"abcdef")));
        assert!(!dirty.exchange(B0, 10, Sequence(9), &Bytes::from_static(b"zzzzzz")));
        assert_eq!(content(&dirty, B0, 10, 16), [b'a', b'b', 2, 2, b'e', b'f']);
    }

    #[test]
    fn a_cut_block_still_travels() {
        let (mut dirty, mut gone) = (Dirty::default(), Vec::new());
        dirty.insert(B0, 0, range(1, 10), Duration::ZERO, &mut gone);
        assert!(dirty.upload_begin(B0));
        assert_eq!(dirty.cut(0, &mut gone), [(B0, Sequence(1))]);
        dirty.insert(B0, 0, range(3, 5), Duration::ZERO, &mut gone);
        assert!(!dirty.upload_begin(B0), "it must not overtake the first");
        dirty.upload_failed(B0);
        assert!(dirty.upload_begin(B0));
        assert_eq!(dirty.snapshot(B0).unwrap().end, 5);
    }

    #[test]
    fn random_operations_match_a_plain_array() {
        let seed = reactor::rng::random_u64();
        let mut rng = Rng::from_seed(seed);
        let small = |rng: &mut Rng, n: u64| u32::try_from(rng.below(n)).unwrap();
        let (mut dirty, mut gone) = (Dirty::default(), Vec::new());
        // Two blocks, 128 bytes of each around their common edge; 0 is clean.
        let edge = BLOCK_BYTES - 128;
        let mut model = [[0u64; 128]; 2];
        for sequence in 1..3000u64 {
            let which = small(&mut rng, 2) as usize;
            let (index, base) = (BlockIndex(u32::try_from(which).unwrap()), [edge, 0][which]);
            let from = small(&mut rng, 128);
            match rng.below(12) {
                0 => {
                    dirty.cut(u64::from(base + from) + which as u64 * (1 << 22), &mut gone);
                    model[which][from as usize..].fill(0);
                    if which == 0 {
                        model[1].fill(0);
                    }
                }
                1 => {
                    let watermark = sequence.saturating_sub(rng.below(20));
                    dirty.uploaded(index, Sequence(watermark));
                    model[which].iter_mut().for_each(|s| *s *= u64::from(*s > watermark));
                }
                _ => {
                    let len = 1 + small(&mut rng, u64::from(128 - from));
                    let new = range(sequence, len as usize);
                    dirty.insert(index, base + from, new, Duration::ZERO, &mut gone);
                    model[which][from as usize..(from + len) as usize].fill(sequence);
                }
            }
            for (which, model) in model.iter().enumerate() {
                let (index, base) = (BlockIndex(u32::try_from(which).unwrap()), [edge, 0][which]);
                let want: Vec<u8> = model.iter().map(|s| u8::try_from(s % 251).unwrap()).collect();
                assert_eq!(content(&dirty, index, base, base + 128), want, "seed {seed}");
                let oldest = model.iter().filter(|s| **s > 0).min();
                let born = dirty.block(index).map(|block| block.born.0);
                assert!(born <= oldest.copied() && born.is_some() == oldest.is_some(), "{seed}");
            }
            let bytes = model.iter().flatten().filter(|s| **s > 0).count() as u64;
            assert_eq!(dirty.bytes(), bytes, "seed {seed}");
        }
    }
}
