//! Live attributes: what the engine has, and over it what the log has said since.
//!
//! Invariants: only the writer changes the engine's part, in the order of its batches; the log's
//! part is changed by [`Table::note_data`] in the order of the log. An entry whose log part the
//! engine lacks is never evicted.
//!
//! What the writer publishes meets what is here like this. `S` is the last record that the entry
//! has, `E` the last that the engine's inode has:
//!
//! | here | the engine's inode | afterwards |
//! |---|---|---|
//! | nothing | any | the engine's, clean |
//! | any | gone, or an orphan | nothing |
//! | clean, or `S` <= `E` | any | the engine's, clean |
//! | `S` > `E` | any | size, `mtime`: ours; everything else the engine's; dirty |
//!
//! In the last row the log said something after the command was composed, so an `mtime` that the
//! command set is older than ours. When the command was composed later, it took our state along
//! (`S` <= `E`), and its `mtime` wins. In all rows `ctime` never goes back; `change` is the sum of
//! the commands, which the engine counts, and of the records, which the entry counts; `atime` is
//! ours unless the engine's changed; `used` counts bytes that wait for their upload too.

use vocab::{Attr, FileKind, InodeId, Sequence, Time, limits::TRANSFER_BYTES_MAX};

use crate::{
    SizeChange,
    command::DataState,
    record::Inode,
    shards::{Evict, Seed, Shards, Stamp},
};

/// Most clean entries that are kept.
const ENTRIES_MAX: usize = 200_000;
/// Truncates that an entry tells apart.
const FLOORS_MAX: usize = 16;
/// After so long, a read updates `atime` whatever it was (`relatime`).
const ATIME_AGE_SECONDS: i64 = 24 * 60 * 60;

/// The table.
#[derive(Debug)]
pub(crate) struct Table(Shards<InodeId, Entry>);

#[derive(Debug)]
struct Entry {
    /// As clients see them.
    attr: Attr,
    /// How much of `attr.change` are records.
    data_change: u64,
    /// The last record that is in `attr`.
    sequence: Sequence,
    /// The last record that is in the engine.
    flushed: Sequence,
    /// The engine's.
    atime: Time,
    /// Truncates that the engine lacks, by record; lengths rise with them, since a shorter one
    /// hides all before it.
    floors: Vec<(Sequence, u64)>,
    is_used: bool,
}

impl Evict for Entry {
    fn may_go(&mut self) -> bool {
        !std::mem::take(&mut self.is_used) && !self.is_dirty()
    }
}

impl Table {
    pub(crate) fn new(seed: Seed) -> Self {
        Self(Shards::new(seed, ENTRIES_MAX))
    }

    /// Live attributes, when they are here.
    pub(crate) fn peek(&self, inode: InodeId) -> Option<Attr> {
        let mut shard = self.0.lock(&inode);
        let entry = shard.map.get_mut(&inode)?;
        entry.is_used = true;
        Some(entry.attr)
    }

    /// To be taken before the engine is asked.
    pub(crate) fn stamp(&self, inode: InodeId) -> Stamp {
        self.0.stamp(&inode)
    }

    /// Keeps what the engine said and gives the live attributes; `None` when the writer changed the
    /// inode meanwhile: ask again.
    pub(crate) fn loaded(&self, inode: &Inode, stamp: Stamp) -> Option<Attr> {
        let id = inode.id();
        let mut shard = self.0.lock(&id);
        if let Some(entry) = shard.map.get_mut(&id) {
            entry.is_used = true;
            return Some(entry.attr);
        }
        if !self.0.is_current(&shard, &id, stamp) {
            return None;
        }
        self.0.insert(&mut shard, id, Entry::clean(inode));
        Some(inode.attr())
    }

    /// The writer changed an inode: see the table above.
    pub(crate) fn publish(&self, inode: &Inode) {
        let id = inode.id();
        let mut shard = self.0.lock(&id);
        self.0.bump(&mut shard, &id);
        match shard.map.get_mut(&id) {
            Some(entry) => entry.merge(inode),
            None => self.0.insert(&mut shard, id, Entry::clean(inode)),
        }
    }

    /// The writer removed an inode, or its last name.
    pub(crate) fn publish_gone(&self, inode: InodeId) {
        let mut shard = self.0.lock(&inode);
        self.0.bump(&mut shard, &inode);
        shard.map.remove(&inode);
    }

    /// See [`crate::Store::note_data`].
    pub(crate) fn note_data(
        &self,
        inode: InodeId,
        sequence: Sequence,
        size: SizeChange,
        time: Time,
    ) -> Option<(Attr, Attr)> {
        let mut shard = self.0.lock(&inode);
        let entry = shard.map.get_mut(&inode)?;
        entry.is_used = true;
        let before = entry.attr;
        entry.note(sequence, size, time);
        Some((before, entry.attr))
    }

    /// See [`crate::Store::unflushed`].
    pub(crate) fn unflushed(&self, inode: InodeId) -> Option<DataState> {
        let shard = self.0.lock(&inode);
        shard.map.get(&inode).filter(|entry| entry.is_dirty()).map(Entry::data_state)
    }

    /// See [`crate::Store::note_read`].
    pub(crate) fn note_read(&self, inode: InodeId, time: Time) {
        let mut shard = self.0.lock(&inode);
        let Some(entry) = shard.map.get_mut(&inode) else { return };
        entry.is_used = true;
        let attr = &mut entry.attr;
        let is_old = time.seconds.saturating_sub(attr.atime.seconds) >= ATIME_AGE_SECONDS;
        if attr.atime <= attr.mtime || attr.atime <= attr.ctime || is_old {
            attr.atime = attr.atime.max(time);
        }
    }
}

impl Entry {
    fn clean(inode: &Inode) -> Self {
        let body = inode.regular().copied().unwrap_or_default();
        Self {
            attr: inode.attr(),
            data_change: body.data_change,
            sequence: body.data_seq,
            flushed: body.data_seq,
            atime: inode.stored.atime,
            floors: Vec::new(),
            is_used: false,
        }
    }

    fn is_dirty(&self) -> bool {
        self.sequence > self.flushed
    }

    fn merge(&mut self, inode: &Inode) {
        let old = std::mem::replace(self, Self::clean(inode));
        self.is_used = old.is_used;
        self.attr.ctime = self.attr.ctime.max(old.attr.ctime);
        if self.atime == old.atime {
            self.attr.atime = old.attr.atime;
        }
        if old.sequence > self.flushed {
            self.sequence = old.sequence;
            self.data_change = old.data_change;
            self.attr.change = inode.stored.change + old.data_change;
            self.attr.size = old.attr.size;
            self.attr.mtime = old.attr.mtime;
            self.floors = old.floors;
            self.floors.retain(|&(truncate, _)| truncate > self.flushed);
        }
        if self.attr.kind == FileKind::Regular {
            self.attr.used = self.attr.used.max(old.attr.used).min(self.attr.size);
        }
    }

    fn note(&mut self, sequence: Sequence, size: SizeChange, time: Time) {
        if sequence <= self.flushed {
            // Recovery replays the log; the engine has this record already.
            return;
        }
        let attr = &mut self.attr;
        match size {
            SizeChange::AtLeast(end) => {
                let grown = end.saturating_sub(attr.size);
                // A write past the end leaves a hole, and a record is no longer than that.
                attr.used += grown.min(TRANSFER_BYTES_MAX.into());
                attr.size = attr.size.max(end);
            }
            SizeChange::Exactly(len) => {
                if len < attr.size {
                    floor_add(&mut self.floors, sequence, len);
                }
                attr.used = attr.used.min(len);
                attr.size = len;
            }
        }
        attr.mtime = time;
        attr.ctime = attr.ctime.max(time);
        attr.change += 1;
        self.data_change += 1;
        self.sequence = self.sequence.max(sequence);
    }

    fn data_state(&self) -> DataState {
        DataState {
            sequence: self.sequence,
            size: self.attr.size,
            mtime: self.attr.mtime,
            ctime: self.attr.ctime,
            change: self.data_change,
            floor: self.floors.first().map_or(u64::MAX, |&(_, len)| len),
            truncate: self.floors.last().map_or(Sequence(0), |&(truncate, _)| truncate),
        }
    }
}

/// Enters a truncate. One that is at least as long as this one is hidden by it from now on.
fn floor_add(floors: &mut Vec<(Sequence, u64)>, truncate: Sequence, len: u64) {
    while floors.pop_if(|&mut (_, old)| old >= len).is_some() {}
    floors.push((truncate, len));
    if floors.len() > FLOORS_MAX {
        // The two oldest as one: as short as the shorter, as late as the later.
        let (_, shortest) = floors.remove(0);
        floors[0].1 = shortest;
    }
}

#[cfg(test)]
mod tests;
