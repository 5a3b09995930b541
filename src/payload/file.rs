//! What a slice knows of one file: dirty ranges, the block map as far as it was needed, truncates.
//!
//! Invariants: a block below the dirty ranges is what the engine has, less what truncates cut that
//! the engine has not heard of (`limit`). `map` is coherent without asking, because only uploads
//! and truncates of this slice change a block map, and each of them updates it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use cache::dirty::Dirty;
use meta::{BlockEntry, SizeChange};
use vocab::{Attr, BlockIndex, InodeId, Sequence, Time, limits::BLOCK_BYTES};

use crate::{Place, fetch::Stream, risk::RiskIndex};

/// Entries of the block map kept for one file; a scan of a huge sparse file starts over.
const MAP_MAX: usize = 16 * 1024;

/// A file of this slice.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) place: Place,
    pub(crate) inode: InodeId,
    pub(crate) dirty: Dirty,
    /// Its share's place; `None` until something was written.
    pub(crate) risk: Option<RiskIndex>,
    map: BTreeMap<BlockIndex, Option<BlockEntry>>,
    /// Rises whenever the engine's block map may have changed, so that an answer to an earlier
    /// question is not believed.
    map_version: u64,
    /// Oldest first.
    marks: Vec<Mark>,
    /// The last record of the file.
    pub(crate) last: Sequence,
    /// The last truncate.
    pub(crate) last_cut: Sequence,
    /// The engine has the data state up to here.
    flushed: Sequence,
    /// A seal is under way.
    pub(crate) is_sealing: bool,
    /// Effects on the attributes that wait for the table to have the inode, in order.
    late: VecDeque<(Sequence, SizeChange, Time)>,
    pub(crate) stream: Stream,
}

/// A truncate: a record whose effect is in no block's watermark. It must stay in the log until the
/// file is sealed beyond it, else a restart may find an older record that it undid.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) sequence: Sequence,
    size: u64,
    /// Holds the record in the log.
    pin: Option<Bytes>,
}

impl File {
    pub(crate) fn new(place: Place, inode: InodeId) -> Self {
        Self {
            place,
            inode,
            dirty: Dirty::default(),
            risk: None,
            map: BTreeMap::new(),
            map_version: 0,
            marks: Vec::new(),
            last: Sequence(0),
            last_cut: Sequence(0),
            flushed: Sequence(0),
            is_sealing: false,
            late: VecDeque::new(),
            stream: Stream::default(),
        }
    }

    /// Whether nothing would be lost with it.
    pub(crate) fn is_idle(&self) -> bool {
        self.dirty.is_empty() && self.marks.is_empty() && self.late.is_empty() && !self.is_sealing
    }

    // The block map.

    /// The stored block, with `valid_len` as the file stands; outer `None` when not loaded.
    pub(crate) fn stored(&self, index: BlockIndex) -> Option<Option<BlockEntry>> {
        let entry = *self.map.get(&index)?;
        let start = u64::from(index.0) * u64::from(BLOCK_BYTES);
        Some(entry.and_then(|entry| {
            let room = self.limit().saturating_sub(start).min(u64::from(entry.valid_len));
            let valid_len = u32::try_from(room).expect("it is at most valid_len");
            (valid_len > 0).then_some(BlockEntry { valid_len, ..entry })
        }))
    }

    /// Records up to here are in a stored block, 0 when it is not stored; `None` when not loaded.
    pub(crate) fn watermark(&self, index: BlockIndex) -> Option<Sequence> {
        self.map.get(&index).map(|entry| entry.map_or(Sequence(0), |entry| entry.watermark))
    }

    /// The version to give back to [`File::map_loaded`].
    pub(crate) fn map_version(&self) -> u64 {
        self.map_version
    }

    /// Takes what the engine answered for `count` indexes, unless the map changed since the
    /// question. Whether it was taken.
    pub(crate) fn map_loaded(
        &mut self,
        version: u64,
        first: BlockIndex,
        count: u32,
        entries: &[BlockEntry],
    ) -> bool {
        if version != self.map_version {
            return false;
        }
        if self.map.len() > MAP_MAX {
            self.map.clear();
        }
        let indexes = first.0..first.0.saturating_add(count);
        self.map.extend(indexes.map(|index| (BlockIndex(index), None)));
        self.map.extend(entries.iter().map(|entry| (entry.index, Some(*entry))));
        true
    }

    /// The engine has a new entry. One from before a truncate may be cut already: ask again.
    pub(crate) fn map_set(&mut self, index: BlockIndex, entry: Option<BlockEntry>, at: Sequence) {
        self.map_version += 1;
        if self.last_cut <= at {
            self.map.insert(index, entry);
        } else {
            self.map.remove(&index);
        }
    }

    /// Believes nothing of the map any more.
    pub(crate) fn map_forget(&mut self) {
        self.map.clear();
        self.map_version += 1;
    }

    // Truncates.

    /// Bytes of stored blocks from here on read as zeroes, by truncates that the engine has not
    /// heard of.
    fn limit(&self) -> u64 {
        let unheard = self.marks.iter().rev().take_while(|mark| mark.sequence > self.flushed);
        unheard.map(|mark| mark.size).min().unwrap_or(u64::MAX)
    }

    /// Whether there is a truncate that the engine has not heard of.
    pub(crate) fn is_cut_unheard(&self) -> bool {
        self.marks.last().is_some_and(|mark| mark.sequence > self.flushed)
    }

    /// Enters a truncate, the last record of the file.
    pub(crate) fn mark(&mut self, sequence: Sequence, size: u64) {
        assert!(self.last_cut < sequence, "records come in order");
        self.last_cut = sequence;
        self.marks.push(Mark { sequence, size, pin: None });
    }

    /// Gives a truncate's record its hold in the log.
    pub(crate) fn pin(&mut self, sequence: Sequence, pin: Bytes) {
        if let Some(mark) = self.marks.iter_mut().find(|mark| mark.sequence == sequence) {
            mark.pin = Some(pin);
        }
    }

    /// The engine has taken the data state up to here, and cut what truncates until then cut.
    pub(crate) fn flushed(&mut self, upto: Sequence) {
        let was_unheard = self.is_cut_unheard();
        self.flushed = self.flushed.max(upto);
        if was_unheard {
            self.map_forget();
        }
    }

    /// The oldest mark.
    pub(crate) fn first_mark(&self) -> Option<Sequence> {
        self.marks.first().map(|mark| mark.sequence)
    }

    /// Up to here every record is dead once the engine has the file's data state: nothing dirty is
    /// older.
    pub(crate) fn sealable(&self) -> Sequence {
        self.dirty.born().map_or(self.last, |born| Sequence(born.0 - 1).min(self.last))
    }

    /// The engine knows that records up to here are dead: lets go of marks. Those that went.
    pub(crate) fn sealed(&mut self, upto: Sequence) -> Vec<Mark> {
        let keep = self.marks.partition_point(|mark| mark.sequence <= upto);
        self.marks.drain(..keep).collect()
    }

    // Attributes.

    /// Tells the table what a record did, after all earlier ones. `None` when the table does not
    /// have the inode: load it and call [`File::note_late`].
    pub(crate) fn note(
        &mut self,
        sequence: Sequence,
        size: SizeChange,
        time: Time,
    ) -> Option<(Attr, Attr)> {
        assert!(self.last < sequence, "records come in order");
        self.last = sequence;
        self.late.push_back((sequence, size, time));
        self.note_late()
    }

    /// Tells the table what it has not heard. The attributes before and after the last of it.
    pub(crate) fn note_late(&mut self) -> Option<(Attr, Attr)> {
        let mut attrs = None;
        while let Some(&(sequence, size, time)) = self.late.front() {
            attrs = Some(self.place.meta.note_data(self.inode, sequence, size, time)?);
            self.late.pop_front();
        }
        attrs
    }

    /// Whether the table has not heard of all records.
    pub(crate) fn is_late(&self) -> bool {
        !self.late.is_empty()
    }
}
