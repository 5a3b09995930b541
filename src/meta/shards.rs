//! Maps that many threads use at once: split into shards, each behind its own short lock.
//!
//! Invariant: a value that was read from the engine before a change is never inserted after it. The
//! writer stamps a key when it changes it, and whoever loads takes the stamp before it reads.

use std::{
    borrow::Borrow,
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crossbeam::utils::CachePadded;

/// How many shards there are.
const SHARDS: usize = 64;
/// Stamps of a shard; keys share them, so that a stamp may seem to have moved when it need not.
const STAMPS: usize = 64;
/// Entries that are looked at for one that makes room, before the shard grows instead.
const EVICT_STEPS_MAX: usize = 8;

/// A hasher whose seed comes from the reactor, so that strangers cannot choose names that collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(pub(crate) u64);

/// What [`Seed`] builds.
#[derive(Debug)]
pub(crate) struct SeededHasher(u64);

/// What a shard must know of its values.
pub(crate) trait Evict {
    /// Whether it may go. Asking makes it a candidate for the next time.
    fn may_go(&mut self) -> bool;
}

/// The moment of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

/// A sharded map with room for so many entries; more only while none of them may go.
#[derive(Debug)]
pub(crate) struct Shards<K, V> {
    seed: Seed,
    shard_entries_max: usize,
    shards: Box<[Lock<Shard<K, V>>]>,
}

type Lock<T> = CachePadded<Mutex<T>>;

/// One of them.
#[derive(Debug)]
pub(crate) struct Shard<K, V> {
    pub(crate) map: HashMap<K, V, Seed>,
    /// Keys in the order of their insertion; some are gone from the map.
    queue: VecDeque<K>,
    stamps: [u64; STAMPS],
}

impl BuildHasher for Seed {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        SeededHasher(self.0)
    }
}

impl Hasher for SeededHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }
}

impl<K: Hash + Eq + Clone, V: Evict> Shards<K, V> {
    pub(crate) fn new(seed: Seed, entries_max: usize) -> Self {
        let shard = || Shard {
            map: HashMap::with_hasher(seed),
            queue: VecDeque::new(),
            stamps: [0; STAMPS],
        };
        let shards = (0..SHARDS).map(|_| CachePadded::new(Mutex::new(shard()))).collect();
        Self { seed, shard_entries_max: entries_max.div_ceil(SHARDS), shards }
    }

    /// The shard of a key, locked: hold it for a few instructions only.
    pub(crate) fn lock<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, Shard<K, V>>
    where
        K: Borrow<Q>,
    {
        let hash = self.seed.hash_one(key);
        let shard = usize::try_from(hash >> 32).expect("64-bit") % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be taken before the engine is read for this key.
    pub(crate) fn stamp<Q: Hash + ?Sized>(&self, key: &Q) -> Stamp
    where
        K: Borrow<Q>,
    {
        Stamp(self.lock(key).stamps[self.slot(key)])
    }

    /// Whether the engine's value has not changed since the stamp was taken.
    pub(crate) fn is_current<Q: Hash + ?Sized>(
        &self,
        shard: &Shard<K, V>,
        key: &Q,
        stamp: Stamp,
    ) -> bool
    where
        K: Borrow<Q>,
    {
        shard.stamps[self.slot(key)] == stamp.0
    }

    /// The engine's value changed: loads under way must not be inserted.
    pub(crate) fn bump<Q: Hash + ?Sized>(&self, shard: &mut Shard<K, V>, key: &Q)
    where
        K: Borrow<Q>,
    {
        shard.stamps[self.slot(key)] += 1;
    }

    /// Inserts a value for a key that has none, and makes room for it.
    pub(crate) fn insert(&self, shard: &mut Shard<K, V>, key: K, value: V) {
        shard.queue.push_back(key.clone());
        let old = shard.map.insert(key, value);
        assert!(old.is_none(), "the key had a value");
        for _ in 0..EVICT_STEPS_MAX {
            if shard.queue.len() <= self.shard_entries_max {
                break;
            }
            let Some(oldest) = shard.queue.pop_front() else { break };
            match shard.map.get_mut(&oldest).map(Evict::may_go) {
                None => {}
                Some(true) => drop(shard.map.remove(&oldest)),
                Some(false) => shard.queue.push_back(oldest),
            }
        }
    }

    fn slot<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        usize::try_from(self.seed.hash_one(key) >> 48).expect("64-bit") % STAMPS
    }
}
