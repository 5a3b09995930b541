//! The bytes of files: routing to slices, read-through, write, flush, truncate, sparse.
//!
//! Absent: names, permissions. A file is its id; who may touch it was decided in `vfs`.
//!
//! Reading order: `slice` and `file` (the state), `write`, `read` with `fetch`, then `flush` with
//! `upload_queue` (how dirty blocks leave), `remove`, and `start` with `recover`.

mod counters;
mod event;
mod fetch;
mod file;
mod flush;
mod layout;
mod memory;
mod read;
mod recover;
mod remote;
mod remove;
mod risk;
mod slice;
mod start;
#[cfg(test)]
mod tests;
mod upload_queue;
mod vouch;
mod warm;
mod write;

use std::{
    collections::BTreeMap, future::Future, path::PathBuf, rc::Rc, sync::Arc, time::Duration,
};

use bytes::Bytes;
use cache::clean::FrameKey;
use reactor::{mailbox::Remote, thread};
pub use risk::ShareRisk;
pub use upload::Place;
use upload::Uploader;
use vocab::{
    Attr, BlockHash, Error, FileId, InodeId, SliceId,
    durable::{Durable, Grade, Logged},
    limits::SEGMENT_BYTES,
};
pub use warm::{Warmed, Warmer};

use counters::Counters;
use slice::Slice;

/// How the data path is laid out.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of logs.
    pub dir: PathBuf,
    /// Most bytes of memory: clean blocks have what those on their way and requests leave them.
    pub cache_bytes_max: u64,
    /// Most bytes of log, all slices together.
    pub log_bytes_max: u64,
    /// Start although a log lost records that nothing names: the operator knows.
    pub accepts_log_damage: bool,
    /// A dirty block that rests this long is uploaded.
    pub settle: Duration,
    /// The core of the uploader.
    pub upload_core: Option<usize>,
    /// A block that nobody refers to is deleted this long after its last reference went.
    pub gc_grace: Duration,
    /// How often such blocks are looked for.
    pub gc_interval: Duration,
    /// How often all objects of the content stores are compared with the counts.
    pub sweep_interval: Duration,
    /// How often all stored blocks are read and checked; 0: never.
    pub scrub_interval: Duration,
    /// How often the metadata stores are put into the content stores; 0: never.
    pub checkpoint_interval: Duration,
    /// Plain bytes that a scrub reads in a second.
    pub scrub_rate: u64,
}

impl Config {
    /// Defaults for a small machine; the folder of logs is the caller's.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            cache_bytes_max: 1 << 30,
            log_bytes_max: 2 << 30,
            accepts_log_damage: false,
            settle: Duration::from_secs(10),
            upload_core: None,
            gc_grace: Duration::from_secs(600),
            gc_interval: Duration::from_secs(60),
            sweep_interval: Duration::from_secs(24 * 3600),
            scrub_interval: Duration::from_secs(30 * 24 * 3600),
            checkpoint_interval: Duration::ZERO,
            scrub_rate: 32 << 20,
        }
    }
}

/// Bounds of the buckets of upload times, in seconds.
pub const UPLOAD_SECONDS: [f64; 10] =
    [0.004, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 4.096, 16.384];

/// How safe a write must be before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Logged.
    Unstable,
    /// Durable.
    Stable,
}

/// Evidence of what a write got; at least what was asked.
#[derive(Debug)]
pub enum Evidence {
    /// For an unstable write.
    Logged(Logged),
    /// For a stable one.
    Durable(Durable),
}

/// What a read found.
#[derive(Debug)]
pub struct ReadDone {
    /// The bytes, as views of the log and the cache, in order.
    pub parts: Vec<Bytes>,
    /// Their sum.
    pub len: u32,
    /// The end of the file was reached.
    pub eof: bool,
    /// The file's attributes.
    pub attr: Attr,
}

/// What a write did.
#[derive(Debug)]
pub struct WriteDone {
    /// How safe.
    pub evidence: Evidence,
    /// The file's attributes before.
    pub pre: Attr,
    /// And after.
    pub attr: Attr,
}

/// Counters for metrics and status, all slices together.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Bytes of clean blocks in memory.
    pub cache_bytes: u64,
    /// Those that are pinned.
    pub cache_pinned_bytes: u64,
    /// Frames that were pinned and had to make room for others that are.
    pub cache_unpinned: u64,
    /// Memory of all block buffers.
    pub buffer_bytes: u64,
    /// Bytes of dirty ranges.
    pub dirty_bytes: u64,
    /// Bytes of log segments in use.
    pub log_bytes: u64,
    /// Most of them.
    pub log_bytes_max: u64,
    /// Logs that take no more writes, since the disk failed.
    pub logs_read_only: u64,
    /// How often the log's disk did not give bytes that were needed.
    pub log_read_errors: u64,
    /// Reads answered from memory or log.
    pub cache_hits: u64,
    /// Reads that needed the content store.
    pub cache_misses: u64,
    /// Blocks put.
    pub uploads: u64,
    /// Blocks that were there already.
    pub upload_dedup_hits: u64,
    /// Bytes put, before compression.
    pub upload_bytes: u64,
    /// Uploads that failed and were tried again.
    pub upload_retries: u64,
    /// Records of the log that were damaged after they had been synced.
    pub local_corruption: u64,
    /// Damaged or missing blocks that reads and scrubs have met.
    pub remote_corruption: u64,
    /// Those that scrubs have healed from another copy.
    pub self_heal: u64,
    /// Dirty blocks, and truncates that the metadata store has not heard of.
    pub upload_queue_depth: u64,
    /// Uploads under way.
    pub uploads_inflight: u64,
    /// How many uploads took at most as long as [`UPLOAD_SECONDS`] says and longer than the one
    /// before; the last: longer than all.
    pub upload_buckets: [u64; UPLOAD_SECONDS.len() + 1],
    /// The sum of all their times.
    pub upload_time: Duration,
    /// What can still be lost, by share; shares without a write since the start are not among them.
    pub shares: Vec<ShareRisk>,
    /// The content stores that were written to, and whether each of them answered last time.
    pub stores: BTreeMap<Arc<str>, bool>,
}

/// The data path of this server. Cloning shares it; usable from any reactor.
///
/// A file belongs to the slice that its id hashes to, and a slice to one reactor: what happens to a
/// file happens there, one step after another, without locks.
#[derive(Clone, Debug)]
pub struct Payload {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Tells the slices of this one from those of another one in the same process.
    id: u64,
    homes: Vec<Home>,
    uploader: Uploader,
}

/// Where a slice lives.
#[derive(Debug)]
pub(crate) struct Home {
    remote: Remote,
    counters: Arc<Counters>,
}

impl Payload {
    /// Opens the logs, replays what the stores do not have yet, starts the uploader.
    ///
    /// `places`: of every share, so that found records find their stores. Call it on a plain
    /// thread, once the reactors run; it returns when all is ready to serve.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn start(config: &Config, reactors: &[Remote], places: Vec<Place>) -> Result<Self, String> {
        thread::wait(Self::open_here(config, reactors, places, SEGMENT_BYTES))
    }

    /// As [`Payload::start`], where a thread must not block: in a simulated world. What ends in
    /// `_here` is for that. `segment_bytes`: of the log, other than the product's in tests only.
    ///
    /// # Errors
    /// As [`Payload::start`].
    pub async fn open_here(
        config: &Config,
        reactors: &[Remote],
        places: Vec<Place>,
        segment_bytes: u32,
    ) -> Result<Self, String> {
        start::open(config, reactors, places, segment_bytes).await
    }

    /// Reads up to `len` bytes.
    ///
    /// # Errors
    /// `Stale`, `Busy`, `Corrupt`, `Io`, `NoSpace`, `Stopping`.
    pub async fn read(
        &self,
        place: &Place,
        inode: InodeId,
        offset: u64,
        len: u32,
    ) -> Result<ReadDone, Error> {
        let (slice, home) = self.home(place, inode);
        if home.remote.is_current() {
            return self.slice(slice)?.read(place, inode, offset, len).await;
        }
        let (this, place) = (self.clone(), place.clone());
        away(home, async move || this.slice(slice)?.read(&place, inode, offset, len).await).await
    }

    /// Writes bytes (not empty, at most `TRANSFER_BYTES_MAX`); a stable write is as durable as
    /// `grade` says.
    ///
    /// Run it to its end, also when the client is gone: half-way, readers see the bytes already,
    /// and nothing holds their record in the log.
    ///
    /// # Errors
    /// `Stale`, `Busy` when the log stays full, `LogReadOnly`, `SyncFailed`, `TooBig`, `Stopping`.
    pub async fn write(
        &self,
        place: &Place,
        inode: InodeId,
        offset: u64,
        bytes: Bytes,
        stability: Stability,
        grade: Grade,
    ) -> Result<WriteDone, Error> {
        let safe = (stability, grade);
        let (slice, home) = self.home(place, inode);
        if home.remote.is_current() {
            return self.slice(slice)?.write(place, inode, offset, bytes, safe).await;
        }
        let (this, place) = (self.clone(), place.clone());
        away(home, async move || this.slice(slice)?.write(&place, inode, offset, bytes, safe).await)
            .await
    }

    /// Makes all that was written to the file as durable as `grade` says.
    ///
    /// # Errors
    /// `SyncFailed`, `Stopping`; `NotSupported` for a grade that is not offered; for `remote` also
    /// `Busy` while the content store is away, and `Stale`.
    pub async fn commit(
        &self,
        place: &Place,
        inode: InodeId,
        grade: Grade,
    ) -> Result<Durable, Error> {
        let (slice, home) = self.home(place, inode);
        if home.remote.is_current() {
            return self.slice(slice)?.durable(place, inode, grade).await;
        }
        let (this, place) = (self.clone(), place.clone());
        away(home, async move || this.slice(slice)?.durable(&place, inode, grade).await).await
    }

    /// Sets the length; as durable as `grade` says when it answers. The attributes before and
    /// after. Run it to its end, as [`Payload::write`].
    ///
    /// # Errors
    /// As [`Payload::write`].
    pub async fn truncate(
        &self,
        place: &Place,
        inode: InodeId,
        size: u64,
        grade: Grade,
    ) -> Result<(Attr, Attr), Error> {
        let (slice, home) = self.home(place, inode);
        if home.remote.is_current() {
            return self.slice(slice)?.truncate(place, inode, size, grade).await;
        }
        let (this, place) = (self.clone(), place.clone());
        away(home, async move || this.slice(slice)?.truncate(&place, inode, size, grade).await)
            .await
    }

    /// The file lost its last name: drops what is dirty of it and has it reaped.
    pub fn forget(&self, place: &Place, inode: InodeId) {
        let (slice, home) = self.home(place, inode);
        let (this, place) = (self.clone(), place.clone());
        home.remote.post(move || {
            if let Ok(slice) = this.slice(slice) {
                slice.forget(&place, inode);
            }
        });
    }

    /// Uploads everything dirty and waits until it rests in the content stores. Blocking: on a
    /// plain thread.
    ///
    /// # Errors
    /// `Busy` when a store is away.
    pub fn drain(&self, patience: Duration) -> Result<(), Error> {
        thread::wait(self.drain_here(patience))
    }

    /// As [`Payload::drain`].
    ///
    /// # Errors
    /// As [`Payload::drain`].
    pub async fn drain_here(&self, patience: Duration) -> Result<(), Error> {
        let drained = self.everywhere(move |slice| async move { slice.drain(patience).await });
        drained.await.into_iter().collect()
    }

    /// Has a place's garbage collected from now on, also when no share was on it at the start.
    pub fn collect(&self, place: &Place) {
        self.inner.uploader.collect(place.clone());
    }

    /// Runs a round of garbage collection over all places.
    #[must_use]
    pub fn gc(&self, round: upload::garbage::Round) -> upload::Events {
        self.inner.uploader.gc(round)
    }

    /// Puts all metadata stores into the content stores.
    #[must_use]
    pub fn checkpoint(&self) -> upload::Events {
        self.inner.uploader.checkpoint()
    }

    /// Reads and checks all stored blocks, at a rate in bytes a second (0: as fast as they come).
    #[must_use]
    pub fn scrub(&self, rate: u64) -> upload::Events {
        self.inner.uploader.scrub(rate)
    }

    /// The frames of a block that are in memory.
    async fn copies(self, hash: BlockHash, frames: u32) -> Vec<Option<Bytes>> {
        let mut found = vec![None; frames as usize];
        for (number, home) in (0..).zip(&self.inner.homes) {
            let this = self.clone();
            let look = move || async move {
                let slice = this.slice(SliceId(number)).ok()?;
                let mut state = slice.state.borrow_mut();
                let mut frame = |frame| state.clean.get(&FrameKey { hash, frame }).cloned();
                Some((0..frames).map(&mut frame).collect::<Vec<_>>())
            };
            let here = home.remote.call(look).await.ok().flatten().unwrap_or_default();
            for (found, here) in found.iter_mut().zip(here) {
                *found = found.take().or(here);
            }
        }
        found
    }

    /// Forgets all clean blocks, so that reads come from the content store. Blocking: on a plain
    /// thread.
    pub fn drop_clean(&self) {
        thread::wait(self.drop_clean_here());
    }

    /// As [`Payload::drop_clean`].
    pub async fn drop_clean_here(&self) {
        let done = self.everywhere(|slice| async move {
            slice.drop_clean();
            Ok(())
        });
        drop(done.await);
    }

    /// Counters.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let (remote_corruption, self_heal) = self.inner.uploader.scrubbed();
        let buffer_bytes = blocks::Spare::bytes_total();
        let log_read_errors = reactor::views::errors();
        let found = Gauges { remote_corruption, self_heal, ..Gauges::default() };
        let sum = Gauges { buffer_bytes, log_read_errors, ..found };
        self.inner.homes.iter().fold(sum, |sum, home| home.counters.add_to(sum))
    }

    /// Syncs the logs and ends the uploader. Dirty blocks stay in the log for the next start.
    /// Blocking: on a plain thread. What comes later is answered `Stopping`.
    pub fn stop(&self) {
        thread::wait(self.stop_here());
    }

    /// As [`Payload::stop`].
    pub async fn stop_here(&self) {
        let synced = self.everywhere(|slice| async move {
            slice.end();
            slice.sync().await.map(drop)
        });
        let synced = synced.await;
        if synced.iter().any(|done| matches!(done, Err(error) if *error != Error::Stopping)) {
            trace::error!("a log could not be synced: what was only logged may be gone");
        }
        self.inner.uploader.stop();
        for (number, home) in (0..).zip(&self.inner.homes) {
            let id = self.inner.id;
            let left = home.remote.call(move || slice::leave(id, SliceId(number)));
            if left.await.is_err() {
                trace::warn!(slice = number, "its reactor ended first");
            }
        }
    }

    /// The file of a place.
    #[must_use]
    pub fn file(place: &Place, inode: InodeId) -> FileId {
        FileId { store: place.meta.id(), inode }
    }

    /// The slice of a file: for ever the same, since its records are in that slice's log.
    fn home(&self, place: &Place, inode: InodeId) -> (SliceId, &Home) {
        let hash = slice::hash(Self::file(place, inode));
        let number = hash % self.inner.homes.len() as u64;
        let number = usize::try_from(number).expect("it is below a usize");
        let slice = SliceId(u16::try_from(number).expect("slices are counted in u16"));
        (slice, &self.inner.homes[number])
    }

    /// A slice, on its own reactor.
    fn slice(&self, slice: SliceId) -> Result<Rc<Slice>, Error> {
        slice::local(self.inner.id, slice).ok_or(Error::Stopping)
    }

    /// Runs a task in every slice at once and waits for all.
    async fn everywhere<F, Fut>(&self, f: F) -> Vec<Result<(), Error>>
    where
        F: FnOnce(Rc<Slice>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + 'static,
    {
        let start = |(number, home): (u16, &Home)| {
            let (this, f) = (self.clone(), f.clone());
            home.remote.call(move || async move { f(this.slice(SliceId(number))?).await })
        };
        let running: Vec<_> = (0..).zip(&self.inner.homes).map(start).collect();
        let mut results = Vec::with_capacity(running.len());
        for done in running {
            results.push(done.await.unwrap_or(Err(Error::Stopping)));
        }
        results
    }
}

/// Runs a task on the reactor of another slice.
async fn away<T, F>(home: &Home, f: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: AsyncFnOnce() -> Result<T, Error> + Send + 'static,
{
    home.remote.call(move || async move { f().await }).await.unwrap_or(Err(Error::Stopping))
}
