//! Frames that can be fetched again, by content: bounded in bytes, resisting scans.
//!
//! Invariants: a key names its bytes (the hash is cryptographic), so entries never go stale and
//! equal blocks of any files share them; `bytes` is what all entries weigh, and stays within the
//! budget after every insert.
//!
//! Eviction is S3-FIFO (Yang et al., SOSP 2023): a small queue takes newcomers, only what is read
//! again there reaches the main queue, and a list of ghosts lets in at once what came back soon.
//! A backup that reads everything once then passes through a tenth of the memory and leaves the
//! rest alone; LRU would lose it all. And a hit only raises a counter: no list is relinked.
//!
//! A third queue has frames that are pinned: at most half of the budget, evicted by nobody. Beyond
//! that the oldest ones become like others.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use bytes::Bytes;
use vocab::BlockHash;

/// What an entry costs besides its bytes: key, table, queue.
const ENTRY_BYTES: u64 = 160;
/// Hits beyond this many count no more.
const HITS_MAX: u8 = 3;

/// A frame of a block, by content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameKey {
    /// The block.
    pub hash: BlockHash,
    /// Its frame.
    pub frame: u32,
}

/// A table of frames. Every method is constant time but for the evictions that an insert pays for.
#[derive(Debug)]
pub struct Clean {
    bytes_max: u64,
    bytes: u64,
    small_bytes: u64,
    entries: HashMap<FrameKey, Entry, ByContent>,
    pinned_bytes: u64,
    small: VecDeque<Place>,
    main: VecDeque<Place>,
    pinned: VecDeque<Place>,
    /// Of the last place that was given.
    ticket: u64,
    unpinned: u64,
    ghosts: VecDeque<FrameKey>,
    ghost_keys: HashSet<FrameKey, ByContent>,
}

/// In a queue. Left behind when the entry went to another one: then the entry has another ticket.
#[derive(Clone, Copy, Debug)]
struct Place {
    key: FrameKey,
    ticket: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Small,
    Main,
    Pinned,
}

#[derive(Debug)]
struct Entry {
    /// Empty: released.
    bytes: Bytes,
    hits: u8,
    queue: Queue,
    ticket: u64,
}

impl Entry {
    fn is_hollow(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Clean {
    /// An empty table with a budget.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            small_bytes: 0,
            pinned_bytes: 0,
            entries: HashMap::default(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            pinned: VecDeque::new(),
            ticket: 0,
            unpinned: 0,
            ghosts: VecDeque::new(),
            ghost_keys: HashSet::default(),
        }
    }

    /// A frame, and a hit for it.
    pub fn get(&mut self, key: &FrameKey) -> Option<&Bytes> {
        let entry = self.entries.get_mut(key).filter(|entry| !entry.is_hollow())?;
        entry.hits = HITS_MAX.min(entry.hits + 1);
        Some(&entry.bytes)
    }

    /// Whether a frame is there. No hit.
    #[must_use]
    pub fn contains(&self, key: &FrameKey) -> bool {
        self.entries.get(key).is_some_and(|entry| !entry.is_hollow())
    }

    /// Keeps a frame that is there from being evicted, within half of the budget: beyond that the
    /// frames that were pinned first are pinned no longer.
    pub fn pin(&mut self, key: &FrameKey) {
        let entry = self.entries.get(key).filter(|entry| !entry.is_hollow());
        if entry.is_some_and(|entry| entry.queue != Queue::Pinned) {
            self.queue(*key, Queue::Pinned);
            while self.pinned_bytes > self.bytes_max / 2 {
                self.unpin_oldest();
            }
        }
    }

    /// Pins nothing any more.
    pub fn unpin_all(&mut self) {
        let unpinned = self.unpinned;
        while self.pinned_bytes > 0 {
            self.unpin_oldest();
        }
        self.unpinned = unpinned;
    }

    /// How many frames were pinned no longer since others were, and there was no room for all.
    #[must_use]
    pub fn unpinned(&self) -> u64 {
        self.unpinned
    }

    /// What pinned entries weigh.
    #[must_use]
    pub fn pinned_bytes(&self) -> u64 {
        self.pinned_bytes
    }

    /// Forgets the bytes of a frame that is hardly wanted again: its memory is free for others now,
    /// and not when its turn comes. Its place in the queues stays.
    pub fn release(&mut self, key: &FrameKey) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.queue == Queue::Pinned {
            self.queue(*key, Queue::Main);
        }
        let entry = self.entries.get_mut(key).expect("it was just there");
        let freed = std::mem::take(&mut entry.bytes).len() as u64;
        entry.hits = 0;
        self.bytes -= freed;
        if entry.queue == Queue::Small {
            self.small_bytes -= freed;
        }
    }

    /// Enters a frame, and evicts until the budget holds. One that is there stays as it is.
    pub fn insert(&mut self, key: FrameKey, bytes: Bytes) {
        let weight = weigh(&bytes);
        if weight > self.bytes_max || self.contains(&key) {
            return;
        }
        while self.bytes + weight > self.bytes_max {
            self.evict();
        }
        if let Some(hollow) = self.entries.get_mut(&key) {
            let len = bytes.len() as u64;
            self.bytes += len;
            if hollow.queue == Queue::Small {
                self.small_bytes += len;
            }
            hollow.bytes = bytes;
        } else {
            self.enter(key, bytes);
        }
        // As many ghosts as entries: what returns within one turnover of the table is let in.
        while self.ghosts.len() > self.entries.len() {
            let oldest = self.ghosts.pop_front().expect("it is longer than that");
            self.ghost_keys.remove(&oldest);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self { unpinned: self.unpinned, ..Self::new(self.bytes_max) };
    }

    /// What all entries weigh.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The budget.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    fn enter(&mut self, key: FrameKey, bytes: Bytes) {
        let weight = weigh(&bytes);
        let queue = if self.ghost_keys.remove(&key) { Queue::Main } else { Queue::Small };
        self.bytes += weight;
        // As if it had been in the small one.
        self.small_bytes += weight;
        let new = Entry { bytes, hits: 0, queue: Queue::Small, ticket: 0 };
        self.entries.insert(key, new);
        self.queue(key, queue);
    }

    /// Gives an entry a place at the end of a queue; the one that it had is left behind.
    fn queue(&mut self, key: FrameKey, queue: Queue) {
        self.ticket += 1;
        let place = Place { key, ticket: self.ticket };
        let entry = self.entries.get_mut(&key).expect("the caller looked");
        let weight = weigh(&entry.bytes);
        for (of, bytes) in
            [(Queue::Small, &mut self.small_bytes), (Queue::Pinned, &mut self.pinned_bytes)]
        {
            *bytes -= if entry.queue == of { weight } else { 0 };
            *bytes += if queue == of { weight } else { 0 };
        }
        (entry.queue, entry.ticket) = (queue, self.ticket);
        match queue {
            Queue::Small => self.small.push_back(place),
            Queue::Main => self.main.push_back(place),
            Queue::Pinned => self.pinned.push_back(place),
        }
    }

    /// The first of a queue, with its entry.
    fn first(&mut self, queue: Queue) -> Option<(FrameKey, &mut Entry)> {
        let places = match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
            Queue::Pinned => &mut self.pinned,
        };
        let entries = &self.entries;
        let is_left =
            |place: &Place| entries.get(&place.key).is_none_or(|one| one.ticket != place.ticket);
        while places.pop_front_if(|place| is_left(place)).is_some() {}
        let key = places.front()?.key;
        Some((key, self.entries.get_mut(&key).expect("its place was not left")))
    }

    /// Takes one entry out, or moves one on.
    fn evict(&mut self) {
        let is_main_empty = self.first(Queue::Main).is_none();
        let is_small_empty = self.first(Queue::Small).is_none();
        if is_main_empty && is_small_empty {
            self.unpin_oldest();
        } else if is_main_empty || (self.small_bytes > self.bytes_max / 10 && !is_small_empty) {
            self.evict_small();
        } else {
            self.evict_main();
        }
    }

    fn evict_small(&mut self) {
        let (key, entry) = self.first(Queue::Small).expect("the caller looked");
        if std::mem::take(&mut entry.hits) > 0 {
            return self.queue(key, Queue::Main);
        }
        self.remove(&key);
        self.ghosts.push_back(key);
        self.ghost_keys.insert(key);
    }

    fn evict_main(&mut self) {
        let (key, entry) = self.first(Queue::Main).expect("the caller looked");
        if entry.hits > 0 {
            entry.hits -= 1;
            self.queue(key, Queue::Main);
        } else {
            self.remove(&key);
        }
    }

    fn unpin_oldest(&mut self) {
        let (key, _) = self.first(Queue::Pinned).expect("bytes without entries");
        self.queue(key, Queue::Main);
        self.unpinned += 1;
    }

    fn remove(&mut self, key: &FrameKey) {
        let entry = self.entries.remove(key).expect("queues and table agree");
        let weight = weigh(&entry.bytes);
        self.bytes -= weight;
        if entry.queue == Queue::Small {
            self.small_bytes -= weight;
        }
    }
}

fn weigh(bytes: &Bytes) -> u64 {
    bytes.len() as u64 + ENTRY_BYTES
}

/// Builds hashers for tables by [`FrameKey`].
pub type ByContent = BuildHasherDefault<ContentHasher>;

/// The hash is uniform already, whoever wrote the block: eight bytes of it and the frame's number
/// are a good hash.
#[derive(Debug, Default)]
pub struct ContentHasher(u64);

impl Hasher for ContentHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    fn write_u32(&mut self, frame: u32) {
        self.0 = self.0.wrapping_add(u64::from(frame).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use reactor::rng::Rng;

    use super::*;

    fn key(n: u64) -> FrameKey {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&Rng::from_seed(n / 64).next_u64().to_le_bytes());
        FrameKey { hash: BlockHash(hash), frame: u32::try_from(n % 64).unwrap() }
    }

    fn frame(len: usize) -> Bytes {
        Bytes::from(vec![7; len])
    }

    #[test]
    fn the_budget_holds_whatever_comes() {
        let seed = reactor::rng::random_u64();
        let mut rng = Rng::from_seed(seed);
        let mut clean = Clean::new(100_000);
        for _ in 0..20_000 {
            let key = key(rng.below(500));
            if rng.one_in(3) {
                clean.get(&key);
            } else if rng.one_in(3) {
                clean.pin(&key);
            } else if rng.one_in(2000) {
                clean.unpin_all();
            } else if rng.one_in(4) {
                clean.release(&key);
                assert!(clean.get(&key).is_none() && !clean.contains(&key), "seed {seed}");
            } else {
                clean.insert(key, frame(usize::try_from(1 + rng.below(4096)).unwrap()));
            }
            let weight: u64 = clean.entries.values().map(|entry| weigh(&entry.bytes)).sum();
            assert_eq!(weight, clean.bytes(), "seed {seed}");
            let of = |queue| {
                let entries = clean.entries.values().filter(move |entry| entry.queue == queue);
                entries.map(|entry| weigh(&entry.bytes)).sum::<u64>()
            };
            let (small, pinned) = (of(Queue::Small), of(Queue::Pinned));
            assert_eq!((small, pinned), (clean.small_bytes, clean.pinned_bytes), "seed {seed}");
            assert!(pinned <= 50_000, "seed {seed}");
            assert!(clean.bytes() <= 100_000, "seed {seed}");
            assert!(clean.ghosts.len() <= clean.entries.len(), "seed {seed}");
            let places = [&clean.small, &clean.main, &clean.pinned].map(VecDeque::len);
            let left = places.iter().sum::<usize>() - clean.entries.len();
            assert!(left < 2000, "seed {seed}: places that were left go as queues turn");
        }
        clean.clear();
        assert_eq!(clean.bytes(), 0);
    }

    #[test]
    fn a_scan_does_not_evict_what_is_read_again_and_again() {
        let mut clean = Clean::new(100 * (1000 + ENTRY_BYTES));
        let touch = |clean: &mut Clean| {
            for hot in 0..50 {
                if clean.get(&key(hot)).is_none() {
                    clean.insert(key(hot), frame(1000));
                }
            }
        };
        touch(&mut clean);
        for round in 0..5 {
            touch(&mut clean);
            for cold in 0..400 {
                clean.insert(key(10_000 + round * 400 + cold), frame(1000));
            }
        }
        let kept = (0..50).filter(|&hot| clean.contains(&key(hot))).count();
        assert!(kept >= 45, "{kept} of 50 survived");
    }

    #[test]
    fn what_is_pinned_outlives_any_scan_and_leaves_room_for_others() {
        let mut clean = Clean::new(100 * (1000 + ENTRY_BYTES));
        let (mut has_said, frames) = (Vec::new(), 60);
        for n in 0..frames {
            clean.insert(key(n), frame(1000));
            clean.pin(&key(n));
            has_said.push(clean.unpinned());
        }
        assert_eq!((has_said[49], has_said[59]), (0, 10), "half of the budget, the oldest go");
        for n in 0..1000 {
            clean.insert(key(10_000 + n), frame(1000));
        }
        // The ten that were pinned first are like any others that are worth keeping.
        let kept = |clean: &Clean| (10..frames).filter(|&n| clean.contains(&key(n))).count();
        assert_eq!(kept(&clean), 50);
        clean.release(&key(30));
        assert_eq!(kept(&clean), 49);
        clean.unpin_all();
        for n in 0..1000 {
            clean.insert(key(20_000 + n), frame(1000));
            clean.get(&key(20_000 + n));
        }
        assert_eq!((kept(&clean), clean.pinned_bytes()), (0, 0));
    }

    #[test]
    fn released_memory_is_free_at_once_and_the_frame_may_come_back() {
        let mut clean = Clean::new(10_000);
        let (old, weak) = (frame(4000), frame(4000));
        clean.insert(key(1), old.clone());
        clean.insert(key(2), weak);
        clean.release(&key(1));
        assert!(old.is_unique(), "nobody else holds it");
        clean.insert(key(3), frame(4000));
        assert!(clean.contains(&key(2)) && clean.contains(&key(3)), "nothing had to go");
        clean.insert(key(1), frame(100));
        assert_eq!(clean.get(&key(1)).map(Bytes::len), Some(100));
    }

    #[test]
    fn a_frame_above_the_budget_is_not_kept() {
        let mut clean = Clean::new(1000);
        clean.insert(key(1), frame(2000));
        assert_eq!(clean.bytes(), 0);
        assert!(clean.get(&key(1)).is_none());
    }
}
