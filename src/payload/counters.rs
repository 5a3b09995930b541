//! Plain counters of a slice: written by its reactor alone, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Gauges;

/// A number that only one thread changes: no locked instruction is needed for it.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One slice's part of [`Gauges`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) cache_bytes: Counter,
    pub(crate) dirty_bytes: Counter,
    pub(crate) log_bytes: Counter,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) uploads: Counter,
    pub(crate) upload_dedup_hits: Counter,
    pub(crate) upload_bytes: Counter,
    pub(crate) upload_retries: Counter,
}

impl Counters {
    pub(crate) fn add_to(&self, sum: Gauges) -> Gauges {
        Gauges {
            cache_bytes: sum.cache_bytes + self.cache_bytes.get(),
            dirty_bytes: sum.dirty_bytes + self.dirty_bytes.get(),
            log_bytes: sum.log_bytes + self.log_bytes.get(),
            cache_hits: sum.cache_hits + self.cache_hits.get(),
            cache_misses: sum.cache_misses + self.cache_misses.get(),
            uploads: sum.uploads + self.uploads.get(),
            upload_dedup_hits: sum.upload_dedup_hits + self.upload_dedup_hits.get(),
            upload_bytes: sum.upload_bytes + self.upload_bytes.get(),
            upload_retries: sum.upload_retries + self.upload_retries.get(),
        }
    }
}
