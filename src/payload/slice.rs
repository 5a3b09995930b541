//! A slice: the files, log and caches of one owner, on one reactor.
//!
//! Invariants: its state is touched on its reactor only, and never held over an await: between two
//! awaits a task sees and leaves it consistent. The order of changes is the order of `append`.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cache::{
    clean::{ByContent, Clean, FrameKey},
    dirty::DirtyRange,
};
use reactor::clock;
use upload::Uploader;
use vocab::{
    BlockIndex, Error, FileId, InodeId, Sequence, ShareId, SliceId, StoreId,
    durable::{Durable, Grade},
};
use wal::Wal;

use crate::{
    Payload, Place,
    counters::Counters,
    fetch::Flight,
    file::File,
    remote::Settling,
    risk::{RiskIndex, Risks},
    upload_queue::Queue,
};

/// Files a slice remembers; idle ones beyond that are forgotten.
const FILES_MAX: usize = 64 * 1024;
/// Views of the log that may wait for a sync before one is asked for.
const BURIED_MAX: usize = 1024;
/// Bytes that were written and not synced stay at risk this long at most.
const UNSYNCED_SECONDS_MAX: i64 = 5;
/// Entries of the block map that are loaded at once: 256 MiB of a file.
const MAP_STEP: u32 = 64;

/// A slice. Always behind an `Rc`; its tasks share it.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) wal: Wal,
    pub(crate) uploader: Uploader,
    pub(crate) counters: Arc<Counters>,
    is_ending: Cell<bool>,
    /// Some dirty ranges may be unchecked.
    pub(crate) has_unchecked: Cell<bool>,
    /// A pump is under way.
    pub(crate) will_pump: Cell<bool>,
    pub(crate) state: RefCell<State>,
}

/// What a slice knows. Borrow it between awaits only.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) files: HashMap<FileId, File, BuildHasherDefault<FileHasher>>,
    /// In order of their making, for forgetting idle ones.
    files_order: VecDeque<FileId>,
    pub(crate) clean: Clean,
    /// Shares whose frames are pinned when they are read.
    pub(crate) pinned: BTreeSet<(StoreId, ShareId)>,
    has_said_unpinned: bool,
    pub(crate) flights: HashMap<FrameKey, Rc<Flight>, ByContent>,
    pub(crate) queue: Queue,
    /// The last record.
    pub(crate) appended: Sequence,
    /// Records up to here survive a power cut.
    pub(crate) synced: Sequence,
    buried: VecDeque<(Sequence, Bytes)>,
    /// Records of stores that this server does not know now: kept for a start that does.
    pub(crate) foreign: Vec<Bytes>,
    pub(crate) dirty_bytes: u64,
    pub(crate) risks: Risks,
    pub(crate) settling: Settling,
    /// Files to be reaped, and tasks that do it.
    pub(crate) reaping: VecDeque<(Place, InodeId)>,
    pub(crate) reapers: u32,
}

impl Slice {
    pub(crate) fn new(
        wal: Wal,
        uploader: Uploader,
        counters: Arc<Counters>,
        settle: Duration,
        clean: Clean,
    ) -> Self {
        let state = State {
            files: HashMap::default(),
            files_order: VecDeque::new(),
            clean,
            pinned: BTreeSet::new(),
            has_said_unpinned: false,
            flights: HashMap::default(),
            queue: Queue::new(settle),
            appended: Sequence(0),
            synced: Sequence(0),
            buried: VecDeque::new(),
            foreign: Vec::new(),
            dirty_bytes: 0,
            risks: Risks::default(),
            settling: Settling::default(),
            reaping: VecDeque::new(),
            reapers: 0,
        };
        let [is_ending, has_unchecked, will_pump] = [false; 3].map(Cell::new);
        let state = RefCell::new(state);
        Self { wal, uploader, counters, is_ending, has_unchecked, will_pump, state }
    }

    /// Makes everything appended so far survive a power cut, and lets go of what waited for that.
    pub(crate) async fn sync(&self) -> Result<Durable, Error> {
        let upto = {
            let mut state = self.state.borrow_mut();
            let upto = state.appended;
            state.risks.sync_begins(upto);
            upto
        };
        let durable = self.wal.sync().await?;
        let mut state = self.state.borrow_mut();
        state.synced = state.synced.max(upto);
        state.risks.synced(upto);
        while state.buried.front().is_some_and(|(at, _)| *at <= upto) {
            state.buried.pop_front();
        }
        Ok(durable)
    }

    /// Makes everything appended so far, at least of that file, as durable as asked for.
    pub(crate) async fn durable(
        self: &Rc<Self>,
        place: &Place,
        inode: InodeId,
        grade: Grade,
    ) -> Result<Durable, Error> {
        match grade {
            Grade::Writeback => self.wal.written().await,
            Grade::Local => self.sync().await,
            Grade::Quorum => Err(Error::NotSupported),
            Grade::Remote => self.remote(place, Payload::file(place, inode)).await,
        }
    }

    /// Syncs when views wait for it: on every tick, and at once when there are many.
    pub(crate) fn release_buried(self: &Rc<Self>, waiting_min: usize) {
        if self.state.borrow().buried.len() >= waiting_min {
            let this = Rc::clone(self);
            reactor::spawn(async move {
                // A sync that fails tells every writer; there is nobody to tell here.
                drop(this.sync().await);
            });
        }
    }

    /// Syncs what was at risk long enough, though nobody asks for it.
    pub(crate) fn sync_old(self: &Rc<Self>) {
        let since = self.state.borrow().risks.unsynced_since();
        let is_old = since.is_some_and(|since| {
            let due = since.seconds.saturating_add(UNSYNCED_SECONDS_MAX);
            (due, since.nanos) <= (clock::wall().seconds, clock::wall().nanos)
        });
        if is_old && !self.wal.is_read_only() {
            let this = Rc::clone(self);
            reactor::spawn(async move {
                // A sync that fails tells every writer; there is nobody to tell here.
                drop(this.sync().await);
            });
        }
    }

    /// Loads the part of a file's block map around a block.
    pub(crate) async fn load_map(&self, id: FileId, index: BlockIndex) -> Result<(), Error> {
        let first = BlockIndex(index.0 - index.0 % MAP_STEP);
        loop {
            let question = {
                let state = self.state.borrow();
                let Some(file) = state.files.get(&id) else { return Ok(()) };
                (file.place.meta.clone(), file.map_version())
            };
            let entries = question.0.blocks(id.inode, first, MAP_STEP).await?;
            let mut state = self.state.borrow_mut();
            let Some(file) = state.files.get_mut(&id) else { return Ok(()) };
            if file.map_loaded(question.1, first, MAP_STEP, &entries) {
                return Ok(());
            }
        }
    }

    /// Tells the table what it could not hear, loading the inode as often as it takes.
    pub(crate) async fn note_late(&self, id: FileId) -> Result<(), Error> {
        loop {
            let meta = {
                let mut state = self.state.borrow_mut();
                let Some(file) = state.files.get_mut(&id) else { return Ok(()) };
                if !file.is_late() || file.note_late().is_some() {
                    return Ok(());
                }
                file.place.meta.clone()
            };
            if let Err(error) = meta.attr(id.inode).await {
                if error == Error::Stale {
                    self.state.borrow_mut().drop_file(id);
                }
                return Err(error);
            }
        }
    }

    pub(crate) fn drop_clean(&self) {
        let mut state = self.state.borrow_mut();
        state.clean.clear();
        state.files.values_mut().for_each(File::map_forget);
        drop(state);
        self.count();
    }

    /// No task starts any more.
    pub(crate) fn end(&self) {
        self.is_ending.set(true);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    /// Whether what is read of a share is to stay in memory.
    pub(crate) fn pins(&self, place: &Place, share: ShareId) -> bool {
        let state = self.state.borrow();
        !state.pinned.is_empty() && state.pinned.contains(&(place.meta.id(), share))
    }

    /// A share's frames are pinned from now on, or not.
    pub(crate) fn set_pinned(&self, store: StoreId, share: ShareId, is_pinned: bool) {
        let mut state = self.state.borrow_mut();
        if is_pinned {
            state.pinned.insert((store, share));
        } else if state.pinned.remove(&(store, share)) {
            // Whose a frame is nobody knows: those of others are pinned again as they are read.
            state.clean.unpin_all();
        }
    }

    pub(crate) fn count(&self) {
        let state = self.state.borrow();
        self.counters.cache_bytes.set(state.clean.bytes());
        self.counters.cache_pinned_bytes.set(state.clean.pinned_bytes());
        self.counters.cache_unpinned.set(state.clean.unpinned());
        self.counters.dirty_bytes.set(state.dirty_bytes);
        self.counters.log_bytes.set(self.wal.bytes_live());
        self.counters.log_bytes_max.set(self.wal.bytes_max());
    }

    /// What takes longer to count.
    pub(crate) fn show(&self) {
        let mut state = self.state.borrow_mut();
        if state.clean.unpinned() > 0 && !std::mem::replace(&mut state.has_said_unpinned, true) {
            trace::warn!(
                "pinned shares have more than half of the cache's memory has room for: what was \
                 pinned first is pinned no longer. Raise cache.size, or pin less"
            );
        }
        self.counters.logs_read_only.set(self.wal.is_read_only().into());
        self.counters.upload_queue_depth.set(state.queue.len());
        self.counters.uploads_inflight.set(state.queue.jobs());
        self.counters.show(state.risks.shown(), state.queue.stores());
    }
}

impl State {
    /// A file, made when it is not known.
    pub(crate) fn file(&mut self, id: FileId, place: &Place) -> &mut File {
        if !self.files.contains_key(&id) {
            self.forget_idle();
            self.files.insert(id, File::new(place.clone(), id.inode));
            self.files_order.push_back(id);
        }
        self.files.get_mut(&id).expect("it was just seen or made")
    }

    /// The same, when it is known to be of that share.
    pub(crate) fn file_of(&mut self, id: FileId, place: &Place, share: ShareId) -> &mut File {
        if self.file(id, place).risk.is_none() {
            let risk = self.risks.index(id.store, share);
            self.file(id, place).risk = Some(risk);
        }
        self.file(id, place)
    }

    /// Forgets a few idle files when there are too many.
    fn forget_idle(&mut self) {
        let tries = if self.files.len() < FILES_MAX { 0 } else { 8 };
        for _ in 0..tries {
            let Some(id) = self.files_order.pop_front() else { return };
            match self.files.get(&id) {
                Some(file) if file.is_idle() => drop(self.files.remove(&id)),
                Some(_) => self.files_order.push_back(id),
                None => {}
            }
        }
    }

    /// Forgets a file whose inode is gone, with all that is dirty of it.
    pub(crate) fn drop_file(&mut self, id: FileId) {
        let Some(mut file) = self.files.remove(&id) else { return };
        self.dirty_changed(file.risk, file.dirty.bytes(), 0);
        for (index, block) in file.dirty.blocks() {
            self.rests(file.risk, block.born, index);
        }
        for mark in file.sealed(Sequence(u64::MAX)) {
            self.queue.remove_mark(mark.sequence);
        }
    }

    /// The dirty bytes of a file were so many, and are so many now.
    pub(crate) fn dirty_changed(&mut self, risk: Option<RiskIndex>, before: u64, after: u64) {
        self.dirty_bytes = self.dirty_bytes + after - before;
        if let Some(risk) = risk {
            self.risks.dirty(risk, before, after);
        }
    }

    /// A block is dirty no more, or its age changed.
    pub(crate) fn rests(&mut self, risk: Option<RiskIndex>, born: Sequence, index: BlockIndex) {
        self.queue.remove(born, index);
        if let Some(risk) = risk {
            self.risks.waits_no_more(risk, born, index);
        }
    }

    /// Keeps views of records that a later record undid, until that one survives a power cut:
    /// otherwise both could be gone, and the older one may have been promised.
    pub(crate) fn bury(&mut self, views: &mut Vec<DirtyRange>, by: Sequence) {
        self.buried.extend(views.drain(..).map(|range| (by, range.bytes)));
    }

    pub(crate) fn is_burying_much(&self) -> bool {
        self.buried.len() > BURIED_MAX
    }
}

/// By number of the data path and of the slice.
type Slices = BTreeMap<(u64, SliceId), Rc<Slice>>;

thread_local! {
    static LOCAL: RefCell<Slices> = const { RefCell::new(BTreeMap::new()) };
}

/// A slice of this reactor.
pub(crate) fn local(payload: u64, slice: SliceId) -> Option<Rc<Slice>> {
    LOCAL.with_borrow(|local| local.get(&(payload, slice)).map(Rc::clone))
}

/// Opens a slice for requests of this reactor and others.
pub(crate) fn enter(payload: u64, number: SliceId, slice: Rc<Slice>) {
    LOCAL.with_borrow_mut(|local| drop(local.insert((payload, number), slice)));
}

/// Closes a slice, and waits a while for its last tasks, so that its log is closed too.
pub(crate) async fn leave(payload: u64, number: SliceId) {
    let slice = LOCAL.with_borrow_mut(|local| local.remove(&(payload, number)));
    let Some(slice) = slice else { return };
    slice.end();
    let patience = clock::monotonic() + Duration::from_secs(5);
    while Rc::strong_count(&slice) > 1 && clock::monotonic() < patience {
        reactor::sleep(Duration::from_millis(1)).await;
    }
    match Rc::try_unwrap(slice) {
        // A sync that fails was said by the log itself.
        Ok(slice) => drop(slice.wal.close().await),
        Err(_) => trace::warn!(slice = number.0, "tasks still run, its log stays open"),
    }
}

/// A file's hash: decides its slice, so it may never change.
pub(crate) fn hash(file: FileId) -> u64 {
    let mut hasher = FileHasher::default();
    hasher.write_u64(file.store.0);
    hasher.write_u64(file.inode.0);
    hasher.finish()
}

/// For tables by [`FileId`], whose parts are given out by us and need no secret.
#[derive(Debug, Default)]
pub(crate) struct FileHasher(u64);

impl Hasher for FileHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, part: u64) {
        self.0 = (self.0.rotate_left(29) ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        (self.0 ^ (self.0 >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93).rotate_left(23)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slice_of_a_file_never_changes() {
        let file = |store, inode| FileId { store: StoreId(store), inode: InodeId(inode) };
        assert_eq!(hash(file(1, 2)), 0x2D0D_24FC_66D6_62F4);
        assert_eq!(hash(file(0xDEAD_BEEF, 1 << 40)), 0x9F23_465A_BC9D_DF5F);
    }

    #[test]
    fn neighbours_spread_over_slices() {
        for slices in [2, 3, 4, 7, 8] {
            let mut counts = vec![0u32; slices];
            for inode in 1..=8000 {
                let file = FileId { store: StoreId(77), inode: InodeId(inode) };
                counts[usize::try_from(hash(file) % slices as u64).unwrap()] += 1;
            }
            let mean = 8000 / u32::try_from(slices).unwrap();
            assert!(counts.iter().all(|&n| n > mean * 8 / 10 && n < mean * 12 / 10), "{counts:?}");
        }
    }
}
