//! One settled block: assemble, hash, put if the store does not have it, enter it in the block map.
//!
//! Invariants: a job ends with one answer and holds nothing afterwards; assembled bytes of one
//! content store stay below a bound, so that an outage costs no memory; a slow store does not hold
//! up another one.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use blocks::{BlockKey, Content, Put, Spare, StoreError};
use bytes::Bytes;
use cache::dirty::Snapshot;
use meta::{
    BlockEntry,
    command::{Command, DataState, Outcome},
};
use reactor::oneshot;
use tokio::sync::Semaphore;
use vocab::{
    BlockHash, BlockIndex, Error, InodeId, Sequence,
    limits::{BLOCK_BYTES, FRAME_BYTES},
};

use crate::{
    Place,
    lock::{Held, Locks},
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
        Self { bytes_max, jobs_max, lanes: Rc::default(), locks: Locks::default() }
    }

    pub(crate) fn locks(&self) -> Locks {
        self.locks.clone()
    }

    pub(crate) async fn run(self, job: Job) {
        let lane = self.lane(&job.place.content_name);
        let done = {
            let _jobs = lane.jobs.acquire().await.expect("it is never closed");
            let _bytes = lane.bytes.acquire_many(job.len).await.expect("it is never closed");
            self.store(&job).await
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

    async fn store(&self, job: &Job) -> Result<Stored, Fault> {
        let block = assemble(job).await?;
        if is_zero(&block) {
            return match set(job, None, false).await? {
                Set::Done => Ok(Stored { entry: None, frames: Vec::new(), was_put: false }),
                Set::NeedPut => unreachable!("a hole needs no object"),
            };
        }
        let hash = Content::hash(&block);
        let held = self.locks.lock(hash).await;
        let was_put = deduplicate(job, hash, &block, &held).await?;
        drop(held);
        let entry = BlockEntry {
            index: job.index,
            hash,
            stored_len: job.len,
            valid_len: job.len,
            watermark: job.watermark,
        };
        let frames = block.chunks(FRAME_BYTES as usize).map(Bytes::copy_from_slice).collect();
        Ok(Stored { entry: Some(entry), frames, was_put })
    }
}

/// Enters the block in the block map, and puts it first unless the store has it. Whether it was
/// put.
async fn deduplicate(
    job: &Job,
    hash: BlockHash,
    block: &[u8],
    _held: &Held,
) -> Result<bool, Fault> {
    let Place { meta, content_name, content } = &job.place;
    let entry = Some((hash, job.len));
    if meta.is_stored(content_name, hash).await.map_err(fault)?
        && matches!(set(job, entry, false).await?, Set::Done)
    {
        return Ok(false);
    }
    let key = BlockKey { domain: meta.id(), hash };
    let put = content.put(&key, block).await.map_err(|error| Fault::Away(words(&error)))?;
    match set(job, entry, true).await {
        Ok(Set::Done) => Ok(true),
        Ok(Set::NeedPut) => unreachable!("it was put"),
        Err(Fault::Stale) => {
            // Nobody will ever refer to what was just created, unless somebody counts it.
            if put == Put::Created && meta.is_stored(content_name, hash).await == Ok(false) {
                drop(content.store.delete(&key).await);
            }
            Err(Fault::Stale)
        }
        Err(fault) => Err(fault),
    }
}

enum Set {
    Done,
    NeedPut,
}

async fn set(job: &Job, block: Option<(BlockHash, u32)>, was_put: bool) -> Result<Set, Fault> {
    let command = Command::SetBlock {
        inode: job.inode,
        index: job.index,
        block,
        watermark: job.watermark,
        data: job.data,
        was_put,
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
async fn assemble(job: &Job) -> Result<Spare, Fault> {
    let mut block = Spare::take(job.len as usize);
    block.resize(job.len as usize, 0);
    if let Some(base) = job.base.filter(|base| base.valid_len > 0) {
        let valid = base.valid_len.min(job.len);
        if let Some((first, count)) = uncovered(&job.snapshot, valid) {
            let key = BlockKey { domain: job.place.meta.id(), hash: base.hash };
            let frames = job.place.content.frames(&key, base.stored_len, first, count).await;
            let frames = frames.map_err(base_fault)?;
            for (frame, bytes) in (first..).zip(frames) {
                let from = (frame * FRAME_BYTES) as usize;
                let to = (from + bytes.len()).min(valid as usize);
                block[from..to].copy_from_slice(&bytes[..to - from]);
            }
        }
    }
    for (from, bytes) in &job.snapshot.ranges {
        let from = *from as usize;
        // A range may end behind the length: never, by the slice's arithmetic.
        block[from..from + bytes.len()].copy_from_slice(bytes);
    }
    Ok(block)
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

fn is_zero(block: &[u8]) -> bool {
    const ZEROES: [u8; 4096] = [0; 4096];
    block.chunks(ZEROES.len()).all(|part| part == &ZEROES[..part.len()])
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

    #[test]
    fn a_single_byte_is_not_zero() {
        let mut block = vec![0; 10_000];
        assert!(is_zero(&block));
        block[9_999] = 1;
        assert!(!is_zero(&block));
    }
}
