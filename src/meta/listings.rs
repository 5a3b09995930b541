//! Directories as the engine listed them, kept near in pages.
//!
//! Invariants: a page is what its directory held at one value of its `change`, and is used only
//! while the live attributes say that value; all pages of a directory are of one value, in order,
//! and do not overlap.

use std::{
    collections::{HashMap, VecDeque},
    mem::size_of,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use crossbeam::utils::CachePadded;
use vocab::{Cookie, InodeId};

/// Bytes of all pages of a store.
const BYTES_MAX: usize = 16 << 20;
/// Entries of a page: what one question to the engine brings.
pub(crate) const PAGE_ENTRIES_MAX: usize = 512;
const SHARDS: usize = 16;

/// The pages of a store.
#[derive(Debug)]
pub(crate) struct Listings {
    shards: [CachePadded<Mutex<Shard>>; SHARDS],
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Whose turn it is to make room.
    victim: AtomicUsize,
}

/// Some entries of a directory that follow each other.
#[derive(Debug)]
pub(crate) struct Page {
    /// It has all entries above this cookie up to its last.
    after: Cookie,
    entries: Vec<Entry>,
    /// All their names, one after another.
    names: Bytes,
    /// It has all entries above `after`.
    pub(crate) end: bool,
}

/// Collects the entries of a page.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    entries: Vec<Entry>,
    names: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    cookie: Cookie,
    inode: InodeId,
    name_end: u32,
}

#[derive(Debug, Default)]
struct Shard {
    dirs: HashMap<InodeId, Dir>,
    /// Directories in the order of their arrival.
    queue: VecDeque<InodeId>,
}

#[derive(Debug)]
struct Dir {
    change: u64,
    pages: Vec<Arc<Page>>,
    is_used: bool,
}

impl Default for Listings {
    fn default() -> Self {
        Self::new(BYTES_MAX)
    }
}

impl Listings {
    fn new(bytes_max: usize) -> Self {
        Self {
            shards: Default::default(),
            bytes: AtomicUsize::new(0),
            bytes_max,
            victim: AtomicUsize::new(0),
        }
    }

    /// The page with what follows a cookie, when the directory still is as it was then.
    pub(crate) fn find(&self, dir: InodeId, change: u64, after: Cookie) -> Option<Arc<Page>> {
        let mut shard = self.lock(dir);
        let found = shard.dirs.get_mut(&dir).filter(|dir| dir.change == change)?;
        let index = found.pages.partition_point(|page| page.after <= after).checked_sub(1)?;
        let page = found.pages[index].clone();
        let has_it = page.reaches(after);
        found.is_used |= has_it;
        has_it.then_some(page)
    }

    /// Keeps a page of a directory that had this `change`.
    pub(crate) fn keep(&self, id: InodeId, change: u64, page: &Arc<Page>) {
        self.insert(id, change, page);
        self.make_room();
    }

    fn insert(&self, id: InodeId, change: u64, page: &Arc<Page>) {
        let mut shard = self.lock(id);
        let Shard { dirs, queue } = &mut *shard;
        let dir = dirs.entry(id).or_insert_with(|| {
            queue.push_back(id);
            Dir { change, pages: Vec::new(), is_used: false }
        });
        if change < dir.change {
            return;
        }
        if change > dir.change {
            self.release(dir);
            *dir = Dir { change, pages: Vec::new(), is_used: true };
        }
        let index = dir.pages.partition_point(|old| old.after < page.after);
        let (before, from_here) = dir.pages.split_at(index);
        let is_free = before.last().is_none_or(|before| !before.reaches(page.after))
            && from_here.first().is_none_or(|next| !page.reaches(next.after));
        if is_free {
            self.bytes.fetch_add(page.bytes(), Ordering::Relaxed);
            dir.pages.insert(index, Arc::clone(page));
        }
    }

    /// Forgets directories that were not listed again since they came, or since they were last
    /// looked at here.
    fn make_room(&self) {
        // Each directory is looked at twice at most: the second time it goes.
        let mut empty = 0;
        while self.bytes.load(Ordering::Relaxed) > self.bytes_max && empty < SHARDS {
            let victim = self.victim.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let mut shard = lock(&self.shards[victim]);
            let Some(oldest) = shard.queue.pop_front() else {
                empty += 1;
                continue;
            };
            empty = 0;
            let dir = shard.dirs.get_mut(&oldest).expect("what is queued is there");
            if std::mem::take(&mut dir.is_used) {
                shard.queue.push_back(oldest);
            } else {
                let gone = shard.dirs.remove(&oldest).expect("it was there");
                self.release(&gone);
            }
        }
    }

    fn release(&self, dir: &Dir) {
        let bytes = dir.pages.iter().map(|page| page.bytes()).sum();
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn lock(&self, dir: InodeId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::try_from(dir.0 % SHARDS as u64).expect("small")])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Page {
    /// The cookie, inode and name of each entry above a cookie.
    pub(crate) fn entries(
        &self,
        after: Cookie,
    ) -> impl Iterator<Item = (Cookie, InodeId, Bytes)> + '_ {
        let first = self.entries.partition_point(|entry| entry.cookie <= after);
        let start = first.checked_sub(1).map_or(0, |before| self.entries[before].name_end);
        self.entries[first..].iter().scan(start, |start, entry| {
            let name = *start as usize..entry.name_end as usize;
            *start = entry.name_end;
            Some((entry.cookie, entry.inode, self.names.slice(name)))
        })
    }

    /// Whether it says what comes right after the cookie.
    fn reaches(&self, after: Cookie) -> bool {
        self.end || self.last() > after
    }

    fn last(&self) -> Cookie {
        self.entries.last().map_or(self.after, |entry| entry.cookie)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.entries.len() * size_of::<Entry>() + self.names.len()
    }
}

impl Draft {
    /// Whether there was room for one more entry.
    pub(crate) fn push(&mut self, cookie: Cookie, inode: InodeId, name: &[u8]) -> bool {
        let has_room = self.entries.len() < PAGE_ENTRIES_MAX;
        if has_room {
            self.names.extend_from_slice(name);
            let name_end = u32::try_from(self.names.len()).expect("a page of short names");
            self.entries.push(Entry { cookie, inode, name_end });
        }
        has_room
    }

    /// What follows `after`: everything there is (`end`), or the first of it.
    pub(crate) fn finish(self, after: Cookie, end: bool) -> Page {
        let Self { mut entries, names } = self;
        entries.shrink_to_fit();
        Page { after, entries, names: names.into_boxed_slice().into(), end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: InodeId = InodeId(7);

    fn page(cookies: std::ops::RangeInclusive<u64>, end: bool) -> Arc<Page> {
        let mut draft = Draft::default();
        for cookie in cookies.clone() {
            assert!(draft.push(Cookie(cookie), InodeId(cookie), cookie.to_string().as_bytes()));
        }
        Arc::new(draft.finish(Cookie(cookies.start() - 1), end))
    }

    fn seen(listings: &Listings, change: u64, after: u64) -> Option<Vec<u64>> {
        let page = listings.find(DIR, change, Cookie(after))?;
        let check = |(cookie, inode, name): (Cookie, InodeId, Bytes)| {
            assert_eq!((inode.0, &*name), (cookie.0, cookie.0.to_string().as_bytes()));
            cookie.0
        };
        Some(page.entries(Cookie(after)).map(check).collect())
    }

    #[test]
    fn a_page_is_found_from_any_cookie_in_it() {
        let listings = Listings::default();
        listings.keep(DIR, 1, &page(5..=7, false));
        listings.keep(DIR, 1, &page(8..=9, true));
        assert_eq!(seen(&listings, 1, 3), None, "before what is kept");
        assert_eq!(seen(&listings, 1, 4), Some(vec![5, 6, 7]));
        assert_eq!(seen(&listings, 1, 6), Some(vec![7]));
        assert_eq!(seen(&listings, 1, 7), Some(vec![8, 9]));
        assert_eq!(seen(&listings, 1, 9), Some(vec![]), "nothing follows, and that is known");
        assert_eq!(seen(&listings, 1, 1000), Some(vec![]));
    }

    #[test]
    fn a_page_of_another_change_is_not_used() {
        let listings = Listings::default();
        listings.keep(DIR, 1, &page(1..=3, true));
        assert_eq!(seen(&listings, 2, 0), None);
        listings.keep(DIR, 2, &page(1..=2, true));
        assert_eq!(seen(&listings, 1, 0), None);
        assert_eq!(seen(&listings, 2, 0), Some(vec![1, 2]));
        // A load that took long must not bring back what was.
        listings.keep(DIR, 1, &page(1..=3, true));
        assert_eq!(seen(&listings, 2, 0), Some(vec![1, 2]));
    }

    #[test]
    fn overlapping_pages_are_not_kept() {
        let listings = Listings::default();
        listings.keep(DIR, 1, &page(5..=9, false));
        for overlapping in [page(3..=5, false), page(7..=8, false), page(9..=12, true)] {
            listings.keep(DIR, 1, &overlapping);
            assert_eq!(seen(&listings, 1, 4), Some(vec![5, 6, 7, 8, 9]));
        }
        assert_eq!(seen(&listings, 1, 2), None);
        assert_eq!(seen(&listings, 1, 9), None);
    }

    #[test]
    fn what_is_kept_has_a_bound_and_what_is_used_stays() {
        let listings = Listings::new(64 * page(1..=100, true).bytes());
        for dir in 0..1000 {
            listings.keep(InodeId(dir), 1, &page(1..=100, true));
            assert!(listings.bytes.load(Ordering::Relaxed) <= listings.bytes_max);
            if dir >= DIR.0 {
                assert!(seen(&listings, 1, 0).is_some(), "{dir}");
            }
        }
    }
}
