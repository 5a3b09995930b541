//! How dirty blocks leave: what is due goes up, and the log lets go of what has arrived.
//!
//! Invariants: the engine never gets ahead of the durable log (a snapshot is synced before it is
//! uploaded, else a power cut could give its sequences out again); one snapshot of a block travels
//! at a time; dirty ranges go only after the block map has them; a snapshot is taken only when the
//! engine has heard of every truncate so far.
//!
//! Why the last one: a data state names the shortest of its truncates and the last. Were there one
//! before and one after a snapshot in the same state, the engine would cut the block at the shorter
//! length, which the block has behind it.

use std::{rc::Rc, sync::Arc, time::Duration};

use cache::{
    clean::FrameKey,
    dirty::{BlockState, Snapshot},
};
use meta::{
    BlockEntry,
    command::{Command, DataState},
};
use reactor::{clock, oneshot, rng};
use upload::job::{Job, Stored, Uploaded};
use vocab::{
    BlockIndex, Error, FileId, Sequence, Time,
    limits::{BLOCK_BYTES, FRAME_BYTES, PACKED_BLOCK_BYTES_MAX},
};

use crate::{
    Place,
    file::File,
    slice::{Slice, State},
    upload_queue::{Block, LOAD_SMALL, LOAD_WHOLE, Pressure, Seat},
};

/// Blocks looked at in one go under pressure.
const OLDEST_MAX: usize = 2048;

/// A block as it goes up.
struct Taken {
    place: Place,
    snapshot: Snapshot,
    base: Option<BlockEntry>,
    len: u32,
    watermark: Sequence,
    data: Option<DataState>,
}

/// What one step of taking a snapshot needs.
enum Step {
    Taken(Box<Taken>),
    Nothing,
    LoadMap,
    NoteLate,
    /// Tell the engine of truncates first.
    Flush,
}

/// What became of an upload.
enum Done {
    Stored {
        stored: Stored,
        watermark: Sequence,
        flushed: Sequence,
        /// When the snapshot was taken.
        since: Time,
    },
    /// Take another snapshot.
    Stale,
    /// The inode is gone.
    Gone,
    Away(String),
    Stuck(String),
    /// Bytes of it are lost, and that was said: it waits until they are written again.
    Damaged,
    /// Nothing was dirty, or the server stops.
    Nothing,
}

/// What to do now.
#[derive(Default)]
struct Starts {
    blocks: Vec<(Block, Seat)>,
    marks: Vec<FileId>,
    /// Somebody waits.
    is_urgent: bool,
}

impl Slice {
    /// Starts what is due and what pressure asks for, as far as the lanes have room.
    pub(crate) fn pump(self: &Rc<Self>) {
        self.count();
        if self.is_ending() {
            return;
        }
        let starts = {
            let mut state = self.state.borrow_mut();
            state.wake_settling();
            let pressure = state.queue.pressure(self.wal.bytes_live(), self.wal.bytes_max());
            state.starts(clock::monotonic(), pressure)
        };
        for (block, seat) in starts.blocks {
            reactor::spawn(Rc::clone(self).upload(block, seat, starts.is_urgent));
        }
        for id in starts.marks {
            reactor::spawn(Rc::clone(self).seal(id));
        }
    }

    /// Pumps once when all tasks that can run now have run: a pack is answered block by block.
    fn pump_soon(self: &Rc<Self>) {
        if !self.will_pump.replace(true) {
            let this = Rc::clone(self);
            reactor::spawn(async move {
                this.will_pump.set(false);
                this.pump();
            });
        }
    }

    async fn upload(self: Rc<Self>, (id, index): Block, seat: Seat, is_urgent: bool) {
        let done = self.upload_once(id, index, is_urgent).await;
        let is_stored = matches!(done, Done::Stored { .. });
        self.finish(id, index, &seat, done);
        if is_stored {
            self.anchor(id);
        }
        self.pump_soon();
    }

    async fn upload_once(&self, id: FileId, index: BlockIndex, is_urgent: bool) -> Done {
        let start = u64::from(index.0) * u64::from(BLOCK_BYTES);
        match self.vouch(id, start, BLOCK_BYTES.into()).await {
            Ok(()) => {}
            Err(Error::Corrupt) => return Done::Damaged,
            Err(error) => return Done::Away(format!("the log answered {error}")),
        }
        let taken = loop {
            let ready = match self.take(id, index) {
                Step::Taken(taken) => break taken,
                Step::Nothing => return Done::Nothing,
                Step::LoadMap => self.load_map(id, index).await,
                Step::NoteLate => self.note_late(id).await,
                Step::Flush => self.flush(id).await,
            };
            match ready {
                Ok(()) => {}
                Err(Error::Stale) => return Done::Gone,
                Err(error) => return Done::Away(format!("the metadata store answered {error}")),
            }
        };
        if self.state.borrow().synced < taken.watermark && self.sync().await.is_err() {
            return Done::Away("the log cannot be synced".to_owned());
        }
        let Taken { place, snapshot, base, len, watermark, data } = *taken;
        let flushed = data.map_or(watermark, |data| data.sequence);
        let (since, begun) = (clock::wall(), clock::monotonic());
        let (reply, answer) = oneshot::channel();
        let meta = place.meta.clone();
        let to =
            Place { content_name: place.content_name, content: place.content, meta: place.meta };
        self.uploader.upload(Job {
            place: to,
            inode: id.inode,
            index,
            snapshot,
            base,
            len,
            watermark,
            data,
            is_urgent,
            reply,
        });
        match answer.await {
            Ok(Uploaded::Stored(stored)) => {
                self.counters.upload_took(clock::monotonic().saturating_sub(begun));
                Done::Stored { stored, watermark, flushed, since }
            }
            Ok(Uploaded::Stale) => match meta.attr(id.inode).await {
                Err(Error::Stale) => Done::Gone,
                Ok(_) | Err(_) => Done::Stale,
            },
            Ok(Uploaded::Away(why)) => Done::Away(why),
            Ok(Uploaded::Stuck(why)) => Done::Stuck(why),
            Err(_) => Done::Nothing,
        }
    }

    /// A snapshot of a block and all that belongs to it, in one step.
    fn take(&self, id: FileId, index: BlockIndex) -> Step {
        let state = self.state.borrow();
        let Some(file) = state.files.get(&id) else { return Step::Nothing };
        let Some(block) = file.dirty.block(index) else { return Step::Nothing };
        if file.is_late() {
            return Step::NoteLate;
        }
        if file.is_cut_unheard() {
            return Step::Flush;
        }
        let base = match (block.is_full(), file.stored(index)) {
            (true, _) => None,
            (false, Some(base)) => base,
            (false, None) => return Step::LoadMap,
        };
        let snapshot = file.dirty.snapshot(index).expect("it was just seen");
        let len = snapshot.end.max(base.map_or(0, |base| base.valid_len));
        Step::Taken(Box::new(Taken {
            place: file.place.clone(),
            snapshot,
            base,
            len,
            // All that the file's records say of this block is in it, truncates included.
            watermark: file.last,
            data: file.place.meta.unflushed(id.inode),
        }))
    }

    fn finish(&self, id: FileId, index: BlockIndex, seat: &Seat, done: Done) {
        let lane = &seat.lane;
        let now = clock::monotonic();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if let Done::Stored { stored, watermark, flushed, since } = done {
            state.queue.succeeded(seat);
            self.count_upload(&stored);
            state.stored(id, index, stored, (watermark, flushed), now, since);
            return;
        }
        if let Some(file) = state.files.get_mut(&id) {
            file.dirty.upload_failed(index);
        }
        match done {
            Done::Stored { .. } => unreachable!("it was just handled"),
            Done::Nothing => state.queue.left(seat),
            Done::Gone => {
                state.queue.left(seat);
                state.drop_file(id);
            }
            Done::Damaged => {
                state.queue.left(seat);
                state.queue.sleep((id, index), now);
                state.damaged((id, index));
            }
            Done::Stale => {
                state.queue.succeeded(seat);
                if let Some(file) = state.files.get_mut(&id) {
                    file.map_forget();
                    state.queue.ready(lane, (id, index));
                }
            }
            Done::Away(why) => {
                self.counters.upload_retries.add(1);
                if state.queue.failed(seat, (id, index), now, rng::random_u64()) {
                    let content = &**lane;
                    trace::warn!(content, why, "uploads wait, and will be tried again");
                }
            }
            Done::Stuck(why) => {
                state.queue.left(seat);
                self.counters.upload_retries.add(1);
                let (inode, block, content) = (id.inode.0, index.0, &**lane);
                trace::warn!(inode, block, content, why, "a block waits, and will be tried again");
                if let Some(file) = state.files.get_mut(&id) {
                    file.map_forget();
                }
                state.queue.sleep((id, index), now);
            }
        }
    }

    fn count_upload(&self, stored: &Stored) {
        let Some(entry) = stored.entry else { return };
        if stored.was_put {
            self.counters.uploads.add(1);
            self.counters.upload_bytes.add(entry.stored_len.into());
        } else {
            self.counters.upload_dedup_hits.add(1);
        }
    }

    /// Tells the engine that a file's oldest records are dead, and lets go of its marks.
    async fn seal(self: Rc<Self>, id: FileId) {
        let done = self.seal_once(id).await;
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(file) = state.files.get_mut(&id) else { return };
        file.is_sealing = false;
        if done == Err(Error::Stale) {
            state.drop_file(id);
        } else if file.first_mark().is_some() {
            state.queue.mark_again(id, clock::monotonic());
        }
    }

    async fn seal_once(&self, id: FileId) -> Result<(), Error> {
        let (meta, upto) = {
            let state = self.state.borrow();
            let Some(file) = state.files.get(&id) else { return Ok(()) };
            let upto = file.sealable();
            if file.first_mark().is_none_or(|mark| mark > upto) {
                return Ok(());
            }
            (file.place.meta.clone(), upto)
        };
        // Also what made older records dead must not be lost itself: it was appended before.
        self.flush(id).await?;
        meta.submit(Command::Seal { inode: id.inode, sequence: upto }).await?;
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(file) = state.files.get_mut(&id) else { return Ok(()) };
        for mark in file.sealed(upto) {
            state.queue.remove_mark(mark.sequence);
        }
        Ok(())
    }

    /// Brings the engine up to the file's data state, the log first.
    pub(crate) async fn flush(&self, id: FileId) -> Result<(), Error> {
        self.note_late(id).await?;
        let (meta, last, data) = {
            let state = self.state.borrow();
            let Some(file) = state.files.get(&id) else { return Ok(()) };
            (file.place.meta.clone(), file.last, file.place.meta.unflushed(id.inode))
        };
        if self.state.borrow().synced < last {
            let _durable = self.sync().await?;
        }
        if let Some(data) = data {
            meta.submit(Command::FlushData { inode: id.inode, data }).await?;
        }
        let flushed = data.map_or(last, |data| data.sequence);
        if let Some(file) = self.state.borrow_mut().files.get_mut(&id) {
            file.flushed(flushed);
        }
        Ok(())
    }

    /// Uploads everything, and waits for it.
    pub(crate) async fn drain(self: Rc<Self>, patience: Duration) -> Result<(), Error> {
        let end = clock::monotonic() + patience;
        {
            let queue = &mut self.state.borrow_mut().queue;
            queue.drains += 1;
            queue.retry_now();
        }
        self.uploader.hurry();
        let done = loop {
            self.pump();
            if self.state.borrow().queue.is_empty() {
                break Ok(());
            }
            if clock::monotonic() >= end || self.is_ending() {
                break Err(Error::Busy);
            }
            reactor::sleep(Duration::from_millis(2)).await;
        };
        self.state.borrow_mut().queue.drains -= 1;
        done
    }
}

/// What a block's upload weighs, as far as is known: what lies below its ranges may make it longer.
fn load(file: &File, index: BlockIndex) -> u32 {
    let is_small =
        file.dirty.block(index).is_some_and(|block| block.end() <= PACKED_BLOCK_BYTES_MAX);
    if is_small { LOAD_SMALL } else { LOAD_WHOLE }
}

impl State {
    /// Chooses what starts now, and takes places for it.
    fn starts(&mut self, now: Duration, pressure: Pressure) -> Starts {
        let files = &self.files;
        let written = |(id, index): &Block| Some(files.get(id)?.dirty.block(*index)?.written);
        for block in self.queue.take_rested(now, written) {
            if let Some(file) = self.files.get(&block.0) {
                self.queue.ready(&file.place.content_name, block);
            }
        }
        let wanted = self.wanted();
        let is_urgent = pressure != Pressure::None || !wanted.is_empty();
        let mut starts = Starts { is_urgent, ..Starts::default() };
        for block in wanted {
            self.start_block(block, now, &mut starts);
        }
        for oldest in self.queue.oldest(pressure, OLDEST_MAX) {
            match oldest {
                Ok(block) => self.start_block(block, now, &mut starts),
                Err(id) => self.start_mark(id, true, now, &mut starts),
            }
        }
        let files = &self.files;
        let load = |(id, index): &Block| files.get(id).map_or(LOAD_WHOLE, |f| load(f, *index));
        for (block, seat) in self.queue.start_ready(now, load) {
            if self.begin(&block) {
                starts.blocks.push((block, seat));
            } else {
                self.queue.left(&seat);
            }
        }
        for id in self.queue.take_marked(now) {
            self.start_mark(id, false, now, &mut starts);
        }
        starts
    }

    fn start_block(&mut self, block: Block, now: Duration, starts: &mut Starts) {
        let Some(file) = self.files.get(&block.0) else { return };
        let lane = Arc::clone(&file.place.content_name);
        let load = load(file, block.1);
        if file.dirty.state(block.1) == BlockState::Pending
            && let Some(seat) = self.queue.start(&lane, &block, load, now)
        {
            assert!(self.begin(&block), "it is pending");
            starts.blocks.push((block, seat));
        }
    }

    fn begin(&mut self, (id, index): &Block) -> bool {
        self.files.get_mut(id).is_some_and(|file| file.dirty.upload_begin(*index))
    }

    /// A mark can go once nothing dirty is older; until then it is looked at again, later
    /// (`is_queued`: that is arranged already).
    fn start_mark(&mut self, id: FileId, is_queued: bool, now: Duration, starts: &mut Starts) {
        let Some(file) = self.files.get_mut(&id) else { return };
        let Some(mark) = file.first_mark() else { return };
        if file.is_sealing {
            return;
        }
        if mark <= file.sealable() {
            file.is_sealing = true;
            starts.marks.push(id);
        } else if !is_queued {
            self.queue.mark_again(id, now);
        }
    }

    /// A block arrived.
    fn stored(
        &mut self,
        id: FileId,
        index: BlockIndex,
        stored: Stored,
        (watermark, flushed): (Sequence, Sequence),
        now: Duration,
        since: Time,
    ) {
        if let Some(entry) = stored.entry {
            for (frame, bytes) in (0..).zip(stored.frames) {
                self.clean.insert(FrameKey { hash: entry.hash, frame }, bytes);
            }
        }
        let Some(file) = self.files.get_mut(&id) else { return };
        if let Some(Some(old)) = file.stored(index)
            && stored.entry.is_none_or(|new| new.hash != old.hash)
        {
            // Another file may have the same block; then it is fetched again.
            for frame in 0..old.stored_len.div_ceil(FRAME_BYTES) {
                self.clean.release(&FrameKey { hash: old.hash, frame });
            }
        }
        let (risk, before) = (file.risk, file.dirty.bytes());
        let born = file.dirty.block(index).map(|block| block.born);
        let left = file.dirty.uploaded(index, watermark);
        let after = file.dirty.bytes();
        file.flushed(flushed);
        file.map_set(index, stored.entry, watermark);
        self.dirty_changed(risk, before, after);
        if let Some(risk) = risk {
            self.risks.arrived(risk, before - after, since);
        }
        if let Some(born) = born {
            self.rests(risk, born, index);
        }
        if let Some(left) = left {
            self.queue.born(left, id, index, now);
            if let Some(risk) = risk {
                // What is left came after the snapshot was taken.
                self.risks.waits(risk, left, index, since);
            }
        }
    }
}
