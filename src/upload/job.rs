//! One settled block: assemble, hash, put if the store does not have it, enter it in the block map.
//!
//! Invariants: a job ends with one answer and holds nothing afterwards; assembled bytes of one
//! content store stay below a bound, so that an outage costs no memory; a slow store does not hold
//! up another one.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use blocks::{BlockKey, Builder, Plain, StoreError};
use bytes::Bytes;
use cache::dirty::Snapshot;
use meta::{
    BlockEntry,
    command::{Command, DataState, Outcome},
};
use reactor::oneshot;
use tokio::sync::Semaphore;
use vocab::{
    BlockHash, BlockIndex, Error, InodeId, Packed, Sequence,
    limits::{BLOCK_BYTES, FRAME_BYTES, PACKED_BLOCK_BYTES_MAX},
};

use crate::{
    Place, fetch,
    lock::{Held, Locks},
    packer::{self, Inside, Packer},
};

/// A snapshot of a block, and how the block map is to know it.
#[derive(Debug)]
pub struct Job {
    /// Where it goes.
    pub place: Place,
    /// Whose it is.
    pub inode: InodeId,
    /// Which block.
    pub index: BlockIndex,
    /// Its dirty ranges.
    pub snapshot: Snapshot,
    /// What lies below them: the stored block, with `valid_len` as the file stands.
    pub base: Option<BlockEntry>,
    /// Plain bytes, 1 to `BLOCK_BYTES`.
    pub len: u32,
    /// Records up to here are in it.
    pub watermark: Sequence,
    /// The file's data state at the watermark.
    pub data: Option<DataState>,
    /// Somebody waits for it: it does not wait for company.
    pub is_urgent: bool,
    /// What became of it.
    pub reply: oneshot::Sender<Uploaded>,
}

/// What became of a job.
#[derive(Debug)]
pub enum Uploaded {
    /// The block map has it.
    Stored(Stored),
    /// The engine knows of a later truncate, or the file is gone.
    Stale,
    /// A store is away or full or refuses; the same for every block. Try later.
    Away(String),
    /// This block cannot go now: what lies below its ranges cannot be read, or its object is being
    /// deleted. Other blocks may fare better.
    Stuck(String),
}

/// A block in the block map.
#[derive(Debug)]
pub struct Stored {
    /// Its entry; `None` when all its bytes are zero.
    pub entry: Option<BlockEntry>,
    /// Its frames, each with memory of its own.
    pub frames: Vec<Bytes>,
    /// It was put; otherwise the store had it, or needs none.
    pub was_put: bool,
}

/// What all jobs share. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    bytes_max: u32,
    jobs_max: u32,
    lanes: Rc<RefCell<BTreeMap<Arc<str>, Lane>>>,
    locks: Locks,
    packer: Packer,
}

/// The bounds of one content store.
#[derive(Clone, Debug)]
struct Lane {
    bytes: Arc<Semaphore>,
    jobs: Arc<Semaphore>,
}

enum Fault {
    Stale,
    Away(String),
    Stuck(String),
}

impl Shared {
    pub(crate) fn new(bytes_max: u32, jobs_max: u32) -> Self {
        assert!(bytes_max >= BLOCK_BYTES && jobs_max > 0, "room for one block at least");
        let (lanes, locks, packer) = (Rc::default(), Locks::default(), Packer::default());
        Self { bytes_max, jobs_max, lanes, locks, packer }
    }

    /// Somebody waits for all that was handed over.
    pub(crate) fn hurry(&self) {
        self.packer.hurry();
    }

    pub(crate) fn locks(&self) -> Locks {
        self.locks.clone()
    }

    /// Who asks for hurry from now on means this job too, also before it runs.
    pub(crate) fn run(self, job: Job) -> impl Future<Output = ()> {
        let hurries = self.packer.hurries();
        self.run_since(job, hurries)
    }

    async fn run_since(self, job: Job, hurries: u64) {
        let lane = self.lane(&job.place.content_name);
        let done = if is_small(&job) {
            let _bytes = lane.bytes.acquire_many(job.len).await.expect("it is never closed");
            self.store(&job, &lane, hurries).await
        } else {
            let _jobs = lane.jobs.acquire().await.expect("it is never closed");
            let _bytes = lane.bytes.acquire_many(job.len).await.expect("it is never closed");
            self.store(&job, &lane, hurries).await
        };
        job.reply.send(match done {
            Ok(stored) => Uploaded::Stored(stored),
            Err(Fault::Stale) => Uploaded::Stale,
            Err(Fault::Away(why)) => Uploaded::Away(why),
            Err(Fault::Stuck(why)) => Uploaded::Stuck(why),
        });
    }

    fn lane(&self, content_name: &Arc<str>) -> Lane {
        let mut lanes = self.lanes.borrow_mut();
        let new = || Lane {
            bytes: Arc::new(Semaphore::new(self.bytes_max as usize)),
            jobs: Arc::new(Semaphore::new(self.jobs_max as usize)),
        };
        lanes.entry(Arc::clone(content_name)).or_insert_with(new).clone()
    }

    async fn store(&self, job: &Job, lane: &Lane, hurries: u64) -> Result<Stored, Fault> {
        let block = assemble(job).await?;
        if block.is_zero() {
            return match set(job, None, None).await? {
                Set::Done => Ok(Stored { entry: None, frames: Vec::new(), was_put: false }),
                Set::NeedPut => unreachable!("a hole needs no object"),
            };
        }
        let hash = job.place.content.identity(job.place.meta.id(), &block).await;
        let hash = hash.map_err(|error| Fault::Away(words(&error)))?;
        let held = self.locks.lock(hash).await;
        // From here on it waits for nobody but the stores, and others may wait for its company.
        let inside = is_small(job).then(|| self.packer.enter(&job.place));
        let small = (inside, hurries);
        let was_put = self.deduplicate(job, hash, &block, lane, small, &held).await?;
        drop(held);
        let entry = BlockEntry {
            index: job.index,
            hash,
            stored_len: job.len,
            valid_len: job.len,
            watermark: job.watermark,
        };
        Ok(Stored { entry: Some(entry), frames: block.into_frames(), was_put })
    }

    /// Enters the block in the block map, and puts it first unless the store has it. Whether it was
    /// put.
    async fn deduplicate(
        &self,
        job: &Job,
        hash: BlockHash,
        block: &Plain,
        lane: &Lane,
        (inside, hurries): (Option<Inside>, u64),
        _held: &Held,
    ) -> Result<bool, Fault> {
        let Place { meta, content_name, content } = &job.place;
        let entry = Some((hash, job.len));
        let known = meta.count_of(content_name, hash).await.map_err(fault)?;
        if known.is_some_and(|known| known.is_usable())
            && matches!(set(job, entry, None).await?, Set::Done)
        {
            return Ok(false);
        }
        let key = BlockKey::block(meta.id(), hash);
        let part = content.part(&key, block).await;
        let part = part.map_err(|error| Fault::Away(words(&error)))?;
        let rested = match &inside {
            // What is counted already and of no use is put where nothing else depends on it.
            Some(inside) if known.is_none() => {
                let is_urgent = job.is_urgent || self.packer.hurries() > hurries;
                inside.put(&job.place, part, is_urgent, &self.locks, &lane.jobs).await
            }
            _ => packer::put_own(&job.place, &part).await,
        };
        let rested = rested.map_err(|error| Fault::Away(words(&error)))?;
        match set(job, entry, Some(rested.packed)).await {
            Ok(Set::Done) => Ok(true),
            Ok(Set::NeedPut) => unreachable!("it was put"),
            Err(Fault::Stale) => {
                // Nobody will ever refer to what was just created, unless somebody counts it. In a
                // pack it lies until that is compacted.
                if rested.packed.is_none()
                    && rested.is_created
                    && meta.is_stored(content_name, hash).await == Ok(false)
                {
                    drop(content.store.delete(&key).await);
                }
                Err(Fault::Stale)
            }
            Err(fault) => Err(fault),
        }
    }
}

/// Whether it may be put together with others.
fn is_small(job: &Job) -> bool {
    job.len <= PACKED_BLOCK_BYTES_MAX
}

enum Set {
    Done,
    NeedPut,
}

/// `put`: it was put, in a pack or as an object of its own.
async fn set(
    job: &Job,
    block: Option<(BlockHash, u32)>,
    put: Option<Option<Packed>>,
) -> Result<Set, Fault> {
    let command = Command::SetBlock {
        inode: job.inode,
        index: job.index,
        block,
        watermark: job.watermark,
        data: job.data,
        was_put: put.is_some(),
        packed: put.flatten(),
        now: reactor::clock::wall(),
    };
    let outcome = job.place.meta.submit(command).await.map_err(|error| {
        if error == Error::Busy {
            return Fault::Stuck("its object is being deleted".to_owned());
        }
        fault(error)
    })?;
    Ok(if matches!(outcome, Outcome::NeedPut) { Set::NeedPut } else { Set::Done })
}

/// The block's bytes: the stored ones below, the dirty ranges above, zeroes elsewhere.
async fn assemble(job: &Job) -> Result<Plain, Fault> {
    let base = Base::fetch(job).await?;
    let mut block = Plain::builder(job.len);
    for (from, bytes) in &job.snapshot.ranges {
        base.fill(&mut block, *from);
        // A range may end behind the length: never, by the slice's arithmetic.
        let copied = block.push_by(bytes, reactor::views::copy);
        copied.map_err(|error| Fault::Stuck(format!("the log's disk: {error}")))?;
    }
    base.fill(&mut block, job.len);
    Ok(block.finish())
}

/// What lies below the dirty ranges, as far as they leave gaps.
#[derive(Default)]
struct Base {
    /// From the start of the block where they are known.
    from: u32,
    frames: Vec<Bytes>,
    /// Zeroes from here on.
    valid: u32,
}

impl Base {
    async fn fetch(job: &Job) -> Result<Self, Fault> {
        let Some(base) = job.base.filter(|base| base.valid_len > 0) else {
            return Ok(Self::default());
        };
        let valid = base.valid_len.min(job.len);
        let Some((first, count)) = uncovered(&job.snapshot, valid) else {
            return Ok(Self::default());
        };
        let frames = fetch::frames(&job.place, base.hash, base.stored_len, first, count).await;
        Ok(Self { from: first * FRAME_BYTES, frames: frames.map_err(base_fault)?, valid })
    }

    /// Fills the block up to here.
    fn fill(&self, block: &mut Builder, to: u32) {
        while block.at() < to.min(self.valid) {
            let at = block.at().checked_sub(self.from).expect("gaps were fetched");
            let frame = &self.frames[(at / FRAME_BYTES) as usize];
            let within = (at % FRAME_BYTES) as usize;
            let len = (frame.len() - within).min((to.min(self.valid) - block.at()) as usize);
            block.push(&frame[within..within + len]);
        }
        block.push_zeroes(to - block.at());
    }
}

/// The frames below `valid` that the ranges do not cover whole, as one run.
fn uncovered(snapshot: &Snapshot, valid: u32) -> Option<(u32, u32)> {
    let mut first = None;
    let mut last = 0;
    let mut gap = |from: u32, to: u32| {
        if from < to {
            first.get_or_insert(from / FRAME_BYTES);
            last = (to - 1) / FRAME_BYTES;
        }
    };
    let mut at = 0;
    for (from, bytes) in &snapshot.ranges {
        gap(at, (*from).min(valid));
        at = from + u32::try_from(bytes.len()).expect("ranges are shorter than a block");
    }
    gap(at, valid);
    first.map(|first| (first, last - first + 1))
}

fn fault(error: Error) -> Fault {
    if error == Error::Stale {
        return Fault::Stale;
    }
    Fault::Away(format!("the metadata store answered {error}"))
}

fn base_fault(error: StoreError) -> Fault {
    match &error {
        StoreError::NotFound | StoreError::Corrupt(_) => Fault::Stuck(words(&error)),
        StoreError::Unavailable(_) | StoreError::Refused(_) | StoreError::Full(_) => {
            Fault::Away(words(&error))
        }
    }
}

fn words(error: &StoreError) -> String {
    format!("{error:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(ranges: &[(u32, usize)]) -> Snapshot {
        let ranges = ranges.iter().map(|&(from, len)| (from, Bytes::from(vec![1; len]))).collect();
        Snapshot { ranges, bytes: 0, end: 0 }
    }

    #[test]
    fn only_frames_with_gaps_are_fetched() {
        let frame = FRAME_BYTES as usize;
        assert_eq!(uncovered(&snapshot(&[]), 10), Some((0, 1)));
        assert_eq!(uncovered(&snapshot(&[(0, frame)]), FRAME_BYTES), None);
        assert_eq!(uncovered(&snapshot(&[(0, frame)]), FRAME_BYTES + 1), Some((1, 1)));
        assert_eq!(uncovered(&snapshot(&[(0, 10), (20, frame)]), FRAME_BYTES), Some((0, 1)));
        assert_eq!(uncovered(&snapshot(&[(5 * FRAME_BYTES, frame)]), 3), Some((0, 1)));
        let ends = snapshot(&[(FRAME_BYTES, 2 * frame)]);
        assert_eq!(uncovered(&ends, 4 * FRAME_BYTES), Some((0, 4)), "one run, not two");
    }
}
