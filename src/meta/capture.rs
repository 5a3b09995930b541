//! What the writer commits, kept for whoever ships it elsewhere: exact beside a view of the store.
//!
//! Invariants: a batch is in every capture that was there when it was synced, before its commands
//! are answered; a view that a capture is cut at, and what is captured after it put on it, is the
//! store. A capture that holds too much lets go of all of it and says so: it is never unbounded. A
//! block that a view refers to is let go of at the view's moment or later, whatever the command
//! says: commands are stamped before they wait for the writer, and lengths come from the log with
//! the time of their record.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vocab::{Error, Time};

use crate::{
    engine::{Batch, SPACES},
    export,
    threads::Threads,
};

/// What a change costs in memory besides its key and value.
const CHANGE_BYTES: usize = 96;

/// Keeps what a store commits while it lives.
#[derive(Debug)]
pub struct Capture {
    threads: Arc<Threads>,
    id: u64,
}

/// Changes in the order of their keys, the last of each key; as [`crate::import`] takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The changes, encoded.
    pub bytes: Vec<u8>,
    /// How many.
    pub changes: u64,
}

/// The captures of a store.
#[derive(Debug, Default)]
pub(crate) struct Captures(Mutex<Kept>);

/// Held by the writer while it applies and commits a batch, and again once that is synced, to
/// record it. A view in between has the batch, and so has the next delta: it says the same again.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    last_id: u64,
    /// The moment of the last view.
    viewed: Time,
    journals: BTreeMap<u64, Journal>,
}

/// What was committed since the last cut; `None`: too much.
#[derive(Debug)]
struct Journal {
    batches: Option<Vec<Arc<Batch>>>,
    bytes: usize,
    bytes_max: usize,
}

impl Captures {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// A batch was committed and synced.
    pub(crate) fn record(&mut self, batch: Batch) {
        if self.journals.is_empty() {
            return;
        }
        let changes = SPACES.iter().flat_map(|&space| batch.changes(space));
        let weights = changes.map(|(key, value)| {
            key.len() + value.as_ref().map_or(0, |value| value.len()) + CHANGE_BYTES
        });
        let bytes: usize = weights.sum();
        let batch = Arc::new(batch);
        for journal in self.journals.values_mut() {
            journal.bytes += bytes;
            if journal.bytes > journal.bytes_max {
                journal.batches = None;
            }
            if let Some(batches) = &mut journal.batches {
                batches.push(Arc::clone(&batch));
            }
        }
    }

    pub(crate) fn let_go_from(&self) -> Time {
        self.viewed
    }

    /// No block is let go of before now.
    pub(crate) fn mark(&mut self) -> Time {
        self.viewed = self.viewed.max(reactor::clock::wall());
        self.viewed
    }

    fn cut(&mut self, id: u64) -> Option<Vec<Arc<Batch>>> {
        let journal = self.journals.get_mut(&id).expect("it lives as long as its capture");
        journal.bytes = 0;
        journal.batches.replace(Vec::new())
    }
}

impl Capture {
    pub(crate) fn new(threads: &Arc<Threads>, bytes_max: usize) -> Self {
        let mut kept = threads.core.captures.lock();
        kept.last_id += 1;
        let id = kept.last_id;
        let batches = Some(Vec::new());
        kept.journals.insert(id, Journal { batches, bytes: 0, bytes_max });
        drop(kept);
        Self { threads: Arc::clone(threads), id }
    }

    /// What was committed since the last time, everything that was answered before the call
    /// included; `None` when that was more than it may hold: begin anew, with
    /// [`Capture::export`].
    ///
    /// # Errors
    /// `Stopping`.
    pub async fn take(&self) -> Result<Option<Delta>, Error> {
        let id = self.id;
        // The writer may hold the lock while an engine is slow: asked where threads may block.
        let cut = self.threads.ask(move |core| Ok(core.captures.lock().cut(id)));
        Ok(cut.await?.map(|batches| merged(&batches)))
    }

    /// As [`crate::Store::export`], of a view that begins where the capture is cut: `begun` is told
    /// the view's moment, and what was committed since the last time and is in the view, as
    /// [`Capture::take`] does. Blocking.
    ///
    /// # Errors
    /// As there.
    pub fn export(
        &self,
        begun: impl FnOnce(Time, Option<Delta>),
        take: &mut dyn FnMut(Vec<u8>) -> bool,
    ) -> Result<u64, Error> {
        let core = &self.threads.core;
        let (batches, time, view) = {
            let mut kept = core.captures.lock();
            (kept.cut(self.id), kept.mark(), core.engine.view())
        };
        begun(time, batches.map(|batches| merged(&batches)));
        export::export(&*view, take)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.threads.core.captures.lock().journals.remove(&self.id);
    }
}

fn merged(batches: &[Arc<Batch>]) -> Delta {
    let mut delta = Delta::default();
    for space in SPACES {
        let mut last: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        for batch in batches {
            let changes = batch.changes(space).iter();
            last.extend(changes.map(|(key, value)| (&**key, value.as_deref())));
        }
        delta.changes += last.len() as u64;
        last.into_iter().for_each(|(key, value)| export::pair(&mut delta.bytes, space, key, value));
    }
    delta
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use reactor::rng::Rng;
    use vocab::Sequence;

    use super::*;
    use crate::{
        Engine, SizeChange, Store,
        conformance::{Fixture, hash, wait},
        import,
        tests::random_command,
    };

    fn pairs(store: &Store) -> Vec<u8> {
        let mut all = Vec::new();
        let mut take = |part: Vec<u8>| {
            all.extend(part);
            true
        };
        store.export(|_| (), &mut take).expect("export");
        all
    }

    /// A store from an export and the deltas after it.
    fn made(dir: &Path, parts: Vec<Vec<u8>>) -> Store {
        let mut parts = parts.into_iter();
        let engine = Engine::Lsm { path: dir.to_owned() };
        import(&engine, &mut || Ok(parts.next())).expect("import");
        Store::open("copy", &engine).expect("open")
    }

    #[test]
    fn an_export_and_the_deltas_after_it_are_the_store() {
        let (f, mut rng) = (Fixture::lsm(), Rng::from_seed(1));
        let dir = tempfile::tempdir().expect("tempdir");
        let mut step = 0;
        let mut work = |count: u64| {
            for _ in 0..count {
                step += 1;
                // Most are refused.
                drop(f.submit(random_command(&mut rng, step)));
            }
        };
        work(100);
        let capture = f.store.capture(1 << 20);
        work(100);
        let (mut parts, mut before) = (Vec::new(), None);
        let mut take = |part| {
            parts.push(part);
            true
        };
        capture.export(|_, delta| before = delta, &mut take).expect("export");
        assert!(before.is_some_and(|delta| delta.changes > 0), "what the view has is cut off");
        for round in 0..5 {
            work(60);
            let delta = wait(capture.take()).expect("open").expect("little");
            assert!(delta.changes > 0);
            parts.push(delta.bytes);
            let copy = made(&dir.path().join(format!("{round}")), parts.clone());
            assert!(pairs(&copy) == pairs(&f.store), "round {round}");
            assert_eq!(copy.id(), f.store.id());
            copy.close();
        }
        let nothing = wait(capture.take()).expect("open");
        assert_eq!(nothing, Some(Delta::default()));
    }

    #[test]
    fn what_a_view_refers_to_is_let_go_of_after_it() {
        let f = Fixture::memory();
        let file = f.file(f.root, "file");
        let note = |sequence, size| {
            let time = f.now();
            f.store.note_data(file, Sequence(sequence), size, time).expect("known");
        };
        note(4, SizeChange::AtLeast(100));
        f.set_block(file, 0, (1, 100), 4, true).expect("set");
        // A truncate that only the log has, long before the view.
        note(5, SizeChange::Exactly(0));
        let mut moment = None;
        f.store.export(|time| moment = Some(time), &mut |_| true).expect("export");
        f.flush(file, f.store.unflushed(file).expect("dirty")).expect("flush");
        let before = |moment| wait(f.store.condemned("content", moment, 9)).expect("open");
        let moment = moment.expect("a moment");
        assert_eq!(before(moment), [], "the view refers to it");
        assert_eq!(before(Time { seconds: moment.seconds + 1, ..moment }), [hash(1)]);
    }

    #[test]
    fn a_capture_that_holds_too_much_says_so_once() {
        let (f, mut rng) = (Fixture::memory(), Rng::from_seed(2));
        let (small, large) = (f.store.capture(1000), f.store.capture(1 << 20));
        for step in 0..100 {
            drop(f.submit(random_command(&mut rng, step)));
        }
        assert_eq!(wait(small.take()), Ok(None));
        assert_eq!(wait(small.take()), Ok(Some(Delta::default())), "it begins anew");
        assert!(wait(large.take()).expect("open").is_some_and(|delta| delta.changes > 0));
        drop(large);
        assert_eq!(f.store.core().captures.lock().journals.len(), 1);
    }
}
