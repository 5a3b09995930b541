//! The key-value engines below the state machine: what both of them promise, and no more.
//!
//! Invariants: a [`Batch`] is seen whole or not at all; a view does not change while it is held;
//! only the writer commits. What was committed before a `sync` that returned survives a power cut.

pub(crate) mod journal;
pub(crate) mod lsm;
pub(crate) mod memory;
mod witness;

use std::{collections::BTreeMap, future::Future, pin::Pin};

/// A family of keys. `FORMAT.md` draws what is in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Space {
    /// Format, counters, shares, totals, orphans, condemned blocks, paths of symlinks.
    Misc,
    /// Inodes by id.
    Inodes,
    /// Entries of directories by name.
    Names,
    /// Entries of directories by cookie.
    Cookies,
    /// Block maps.
    Map,
    /// Counts of blocks.
    Counts,
}

/// All spaces, in the order of their discriminants.
pub(crate) const SPACES: [Space; 6] =
    [Space::Misc, Space::Inodes, Space::Names, Space::Cookies, Space::Map, Space::Counts];

/// Changes of a space: `None` removes.
pub(crate) type Changes = BTreeMap<Box<[u8]>, Option<Box<[u8]>>>;

/// Changes that happen together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    spaces: [Changes; SPACES.len()],
}

/// Why an engine failed, in words for the log.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) String);

/// Takes a key and its value; `false` ends a scan.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// A sync under way.
pub(crate) type Synced<'a> = Pin<Box<dyn Future<Output = Result<(), Fault>> + 'a>>;

/// The committed state at one moment. Short-lived: an LSM cannot drop old data below it.
pub(crate) trait View {
    /// Shows the value of a key, if there is one, and says whether there was.
    fn get(&self, space: Space, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Result<bool, Fault>;

    /// Shows pairs in order of their keys, from `from` on and below `to`.
    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault>;
}

/// An ordered store of bytes.
pub(crate) trait Engine: Send + Sync {
    /// The state as it is now.
    fn view(&self) -> Box<dyn View + '_>;

    /// Applies a batch. No view of this thread may be open.
    fn commit(&self, batch: &Batch) -> Result<(), Fault>;

    /// Makes durable what was committed. Blocking.
    fn sync(&self) -> Result<(), Fault>;

    /// The same, for the writer: only an engine of a simulated world makes it wait.
    fn synced(&self) -> Synced<'_> {
        Box::pin(async { self.sync() })
    }

    /// Whether it outlives its process.
    fn is_lasting(&self) -> bool;
}

impl Batch {
    pub(crate) fn changes(&self, space: Space) -> &Changes {
        &self.spaces[space as usize]
    }

    pub(crate) fn changes_mut(&mut self, space: Space) -> &mut Changes {
        &mut self.spaces[space as usize]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spaces.iter().all(Changes::is_empty)
    }

    pub(crate) fn all_changes(&self) -> impl Iterator<Item = (Space, &Changes)> {
        SPACES.into_iter().zip(&self.spaces)
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Engine, SPACES, Space, journal::Journal, lsm::Lsm, memory::Memory};

    fn put(batch: &mut Batch, space: Space, key: &[u8], value: &[u8]) {
        batch.changes_mut(space).insert(key.into(), Some(value.into()));
    }

    fn keys(engine: &dyn Engine, space: Space, from: &[u8], to: &[u8], max: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        engine
            .view()
            .scan(space, from, to, &mut |key, _| {
                keys.push(key.to_vec());
                keys.len() < max
            })
            .expect("scan");
        keys
    }

    fn engine_keeps_its_promises(engine: &dyn Engine) {
        let mut batch = Batch::default();
        for space in SPACES {
            for key in [b"a", b"b", b"c", b"d"] {
                put(&mut batch, space, key, &[space as u8]);
            }
        }
        engine.commit(&batch).expect("commit");
        engine.sync().expect("sync");
        for space in SPACES {
            assert_eq!(keys(engine, space, b"b", b"d", 9), [b"b", b"c"]);
            assert_eq!(keys(engine, space, b"", b"z", 2), [b"a", b"b"]);
            assert_eq!(keys(engine, space, b"d", b"b", 9), [b""; 0]);
            let mut seen = Vec::new();
            let found = engine.view().get(space, b"c", &mut |value| seen.extend_from_slice(value));
            assert!(found.expect("get"));
            assert_eq!(seen, [space as u8]);
        }
        let mut batch = Batch::default();
        batch.changes_mut(Space::Names).insert(b"c".as_slice().into(), None);
        put(&mut batch, Space::Names, b"e", b"");
        engine.commit(&batch).expect("commit");
        assert_eq!(keys(engine, Space::Names, b"", b"z", 9), [b"a", b"b", b"d", b"e"]);
        assert_eq!(keys(engine, Space::Map, b"", b"z", 9), [b"a", b"b", b"c", b"d"]);
        assert!(!engine.view().get(Space::Names, b"c", &mut |_| ()).expect("get"));
    }

    #[test]
    fn memory_keeps_its_promises() {
        engine_keeps_its_promises(&Memory::default());
    }

    #[test]
    fn journal_keeps_its_promises() {
        let dir = tempfile::tempdir().expect("tempdir");
        let open = || Journal::open(&dir.path().join("journal")).expect("open");
        engine_keeps_its_promises(&open());
        assert_eq!(keys(&open(), Space::Names, b"", b"z", 9), [b"a", b"b", b"c", b"d"]);
    }

    #[test]
    fn lsm_keeps_its_promises_and_what_it_was_told() {
        let dir = tempfile::tempdir().expect("tempdir");
        let lsm = Lsm::open(dir.path()).expect("open");
        engine_keeps_its_promises(&lsm);
        let view_before = lsm.view();
        let mut batch = Batch::default();
        put(&mut batch, Space::Counts, b"x", b"1");
        lsm.commit(&batch).expect("commit");
        assert!(!view_before.get(Space::Counts, b"x", &mut |_| ()).expect("get"));
        drop(view_before);
        let error = Lsm::open(dir.path()).err().expect("a second server is refused");
        assert!(error.contains("another"), "{error}");
        drop(lsm);
        let lsm = Lsm::open(dir.path()).expect("open again");
        assert!(lsm.view().get(Space::Counts, b"x", &mut |_| ()).expect("get"));
        assert_eq!(keys(&lsm, Space::Names, b"", b"z", 9), [b"a", b"b", b"d", b"e"]);
    }
}
