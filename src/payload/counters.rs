//! What a slice counts: written by its reactor alone, read by anyone.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{Gauges, UPLOAD_SECONDS, risk::ShareRisk};

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
    pub(crate) cache_pinned_bytes: Counter,
    pub(crate) cache_unpinned: Counter,
    pub(crate) dirty_bytes: Counter,
    pub(crate) log_bytes: Counter,
    pub(crate) log_bytes_max: Counter,
    pub(crate) logs_read_only: Counter,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) uploads: Counter,
    pub(crate) upload_dedup_hits: Counter,
    pub(crate) upload_bytes: Counter,
    pub(crate) upload_retries: Counter,
    pub(crate) local_corruption: Counter,
    pub(crate) remote_corruption: Counter,
    pub(crate) upload_queue_depth: Counter,
    pub(crate) uploads_inflight: Counter,
    upload_buckets: [Counter; UPLOAD_SECONDS.len() + 1],
    upload_micros: Counter,
    /// Taken by each tick and each scrape, never by a request.
    shown: Mutex<Shown>,
}

/// What has names.
#[derive(Clone, Debug, Default)]
struct Shown {
    risks: Vec<ShareRisk>,
    stores: Vec<(Arc<str>, bool)>,
}

impl Counters {
    /// A block took so long from its snapshot to its entry in the block map.
    pub(crate) fn upload_took(&self, took: Duration) {
        let bucket = UPLOAD_SECONDS.partition_point(|&bound| bound < took.as_secs_f64());
        self.upload_buckets[bucket].add(1);
        self.upload_micros.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn show(&self, risks: Vec<ShareRisk>, stores: Vec<(Arc<str>, bool)>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Shown { risks, stores };
    }

    pub(crate) fn add_to(&self, mut sum: Gauges) -> Gauges {
        sum.cache_bytes += self.cache_bytes.get();
        sum.cache_pinned_bytes += self.cache_pinned_bytes.get();
        sum.cache_unpinned += self.cache_unpinned.get();
        sum.dirty_bytes += self.dirty_bytes.get();
        sum.log_bytes += self.log_bytes.get();
        sum.log_bytes_max += self.log_bytes_max.get();
        sum.logs_read_only += self.logs_read_only.get();
        sum.cache_hits += self.cache_hits.get();
        sum.cache_misses += self.cache_misses.get();
        sum.uploads += self.uploads.get();
        sum.upload_dedup_hits += self.upload_dedup_hits.get();
        sum.upload_bytes += self.upload_bytes.get();
        sum.upload_retries += self.upload_retries.get();
        sum.local_corruption += self.local_corruption.get();
        sum.remote_corruption += self.remote_corruption.get();
        sum.upload_queue_depth += self.upload_queue_depth.get();
        sum.uploads_inflight += self.uploads_inflight.get();
        for (sum, bucket) in sum.upload_buckets.iter_mut().zip(&self.upload_buckets) {
            *sum += bucket.get();
        }
        sum.upload_time += Duration::from_micros(self.upload_micros.get());
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for risk in shown.risks {
            let is_same = |one: &&mut ShareRisk| (one.store, one.share) == (risk.store, risk.share);
            match sum.shares.iter_mut().find(is_same) {
                Some(known) => known.add(&risk),
                None => sum.shares.push(risk),
            }
        }
        for (store, is_up) in shown.stores {
            *sum.stores.entry(store).or_insert(true) &= is_up;
        }
        sum
    }
}
