//! FSSTAT: how full the share's file system is.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reactor::{clock, thread};
use vocab::{Attr, Error};

use crate::{Caller, StatFs, Vfs, handle::Handle, share::Share};

/// Bytes free where nobody knows (S3): 1 PiB, more than anybody waits for and less than makes
/// tools overflow.
const BYTES_FREE_UNKNOWN: u64 = 1 << 50;
/// Inodes are bounded only by the disk of the metadata store. A thousand million fits the 32 bits
/// that some tools have for it.
const INODES_FREE: u64 = 1_000_000_000;

/// How long an answer of the store's disk is good: many clients ask often, and it changes slowly.
const FREE_AGE_MAX: Duration = Duration::from_secs(1);

/// When a content store was asked last how much is free, and what it said.
#[derive(Debug, Default)]
pub(crate) struct Free(Mutex<Option<(Duration, Option<u64>)>>);

impl Free {
    fn lock(&self) -> MutexGuard<'_, Option<(Duration, Option<u64>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is free where the share's blocks rest; `None`: nobody knows. A disk that does not answer
/// has one thread waiting for it, or a few at the first time; who else asks gets the last answer.
async fn bytes_free(share: &Share) -> Result<Option<u64>, Error> {
    let now = clock::monotonic();
    if let Some((at, last)) = &mut *share.free.lock() {
        if now.saturating_sub(*at) < FREE_AGE_MAX {
            return Ok(*last);
        }
        *at = now;
    }
    let store = Arc::clone(&share.place.content.store);
    let asked = thread::offload("statfs", move || store.bytes_free()).map_err(|_| Error::Busy)?;
    let free = asked.await.map_err(|_| Error::Stopping)?;
    *share.free.lock() = Some((now, free));
    Ok(free)
}

impl Vfs {
    /// FSSTAT. Used is what the share's files cost before deduplication, as `du` adds it up; the
    /// total is that and what is free, which the share's capacity bounds.
    ///
    /// # Errors
    /// `Stale`.
    pub async fn statfs(&self, caller: &Caller, handle: &Handle) -> Result<(StatFs, Attr), Error> {
        let target = self.enter(caller, handle).await?;
        let totals = target.meta().totals(Some(target.share.id)).await?;
        let (used, share) = (totals.bytes_used, target.share);
        let in_store = bytes_free(share).await?.unwrap_or(BYTES_FREE_UNKNOWN);
        let capacity = share.config.capacity.unwrap_or(u64::MAX);
        let bytes_free = in_store.min(capacity.saturating_sub(used));
        let stat = StatFs {
            bytes_total: used.saturating_add(bytes_free),
            bytes_free,
            inodes_total: totals.inodes.saturating_add(INODES_FREE),
            inodes_free: INODES_FREE,
        };
        Ok((stat, target.attr))
    }
}
