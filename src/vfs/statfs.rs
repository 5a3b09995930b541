//! FSSTAT: how full the share's file system is.

use std::sync::Arc;

use reactor::thread;
use vocab::{Attr, Error};

use crate::{Caller, StatFs, Vfs, handle::Handle};

/// Bytes free where nobody knows (S3): 1 PiB, more than anybody waits for and less than makes
/// tools overflow.
const BYTES_FREE_UNKNOWN: u64 = 1 << 50;
/// Inodes are bounded only by the disk of the metadata store. A thousand million fits the 32 bits
/// that some tools have for it.
const INODES_FREE: u64 = 1_000_000_000;

impl Vfs {
    /// FSSTAT. Used is what the share's files cost before deduplication, as `du` adds it up; the
    /// total is that and what is free.
    ///
    /// # Errors
    /// `Stale`.
    pub async fn statfs(&self, caller: &Caller, handle: &Handle) -> Result<(StatFs, Attr), Error> {
        let target = self.enter(caller, handle).await?;
        let totals = target.meta().totals(Some(target.share.id)).await?;
        let store = Arc::clone(&target.share.place.content.store);
        // It may ask a disk, which may be slow.
        let bytes_free = thread::offload("statfs", move || store.bytes_free());
        let bytes_free = bytes_free.map_err(|_| Error::Busy)?.await.map_err(|_| Error::Stopping)?;
        let bytes_free = bytes_free.unwrap_or(BYTES_FREE_UNKNOWN);
        let stat = StatFs {
            bytes_total: totals.bytes_used.saturating_add(bytes_free),
            bytes_free,
            inodes_total: totals.inodes.saturating_add(INODES_FREE),
            inodes_free: INODES_FREE,
        };
        Ok((stat, target.attr))
    }
}
