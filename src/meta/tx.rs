//! A batch in the making: commands read through it and see what earlier ones of the batch did.
//!
//! Invariant: a command that failed leaves no trace.

use vocab::{Error, Time};

use crate::{
    engine::{Batch, Fault, Space, View, Visit},
    record::Record,
};

/// A value before a command changed it: `None` when the batch had not touched it.
type Before = Option<Option<Box<[u8]>>>;

/// A view of the engine with the batch over it.
pub(crate) struct Tx<'a> {
    view: &'a dyn View,
    batch: Batch,
    /// No block is let go of before this moment.
    let_go_from: Time,
    undo: Vec<(Space, Box<[u8]>, Before)>,
}

/// Reads a record.
///
/// # Errors
/// `Io` when the engine failed, `Corrupt` when the value is not one; both are logged.
pub(crate) fn get<R: Record>(
    view: &dyn View,
    space: Space,
    key: &[u8],
) -> Result<Option<R>, Error> {
    let mut record = None;
    view.get(space, key, &mut |value| record = Some(R::decode(value))).map_err(io)?;
    record.transpose().map_err(|_| corrupt(space, key))
}

/// Reads records in order of their keys until the visitor says `false`.
///
/// # Errors
/// As [`get`], and the visitor's.
pub(crate) fn scan<R: Record>(
    view: &dyn View,
    space: Space,
    (from, to): (&[u8], &[u8]),
    mut visit: impl FnMut(&[u8], R) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut failed = None;
    let mut step = |key: &[u8], value: &[u8]| {
        let record = R::decode(value).map_err(|_| corrupt(space, key));
        match record.and_then(|record| visit(key, record)) {
            Ok(more) => more,
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    };
    view.scan(space, from, to, &mut step).map_err(io)?;
    failed.map_or(Ok(()), Err)
}

/// Logs that the engine failed.
pub(crate) fn io(fault: Fault) -> Error {
    trace::error!("the metadata engine failed: {}", fault.0);
    Error::Io
}

/// Logs that records contradict each other.
pub(crate) fn broken(what: &str, whose: &dyn std::fmt::Debug) -> Error {
    trace::error!("the metadata store is damaged: {what} of {whose:?}");
    Error::Corrupt
}

fn corrupt(space: Space, key: &[u8]) -> Error {
    trace::error!("the metadata store is damaged: unreadable value in {space:?} at {key:02x?}");
    Error::Corrupt
}

impl<'a> Tx<'a> {
    pub(crate) fn new(view: &'a dyn View) -> Self {
        let let_go_from = Time::default();
        Self { view, batch: Batch::default(), let_go_from, undo: Vec::new() }
    }

    /// Has blocks that are let go of say so with this moment at least.
    pub(crate) fn let_go_from(self, moment: Time) -> Self {
        Self { let_go_from: moment, ..self }
    }

    /// When a block is let go of for which a command says this.
    pub(crate) fn let_go(&self, at: Time) -> Time {
        at.max(self.let_go_from)
    }

    /// Runs one command; takes back what it changed when it fails.
    pub(crate) fn attempt<T>(
        &mut self,
        command: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.undo.clear();
        let done = command(self);
        if done.is_err() {
            while let Some((space, key, before)) = self.undo.pop() {
                let changes = self.batch.changes_mut(space);
                match before {
                    Some(value) => changes.insert(key, value),
                    None => changes.remove(&key),
                };
            }
        }
        done
    }

    pub(crate) fn get<R: Record>(&self, space: Space, key: &[u8]) -> Result<Option<R>, Error> {
        get(self, space, key)
    }

    pub(crate) fn put<R: Record>(&mut self, space: Space, key: &[u8], record: &R) {
        self.change(space, key, Some(record.encode()));
    }

    pub(crate) fn remove(&mut self, space: Space, key: &[u8]) {
        self.change(space, key, None);
    }

    pub(crate) fn into_batch(self) -> Batch {
        self.batch
    }

    fn change(&mut self, space: Space, key: &[u8], value: Option<Box<[u8]>>) {
        let key: Box<[u8]> = key.into();
        let before = self.batch.changes_mut(space).insert(key.clone(), value);
        self.undo.push((space, key, before));
    }
}

impl View for Tx<'_> {
    fn get(&self, space: Space, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        match self.batch.changes(space).get(key) {
            Some(Some(value)) => visit(value),
            Some(None) => return Ok(false),
            None => return self.view.get(space, key, visit),
        }
        Ok(true)
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        if from >= to {
            return Ok(());
        }
        let range = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
        let mut changes = self.batch.changes(space).range::<[u8], _>(range).peekable();
        let mut more = true;
        self.view.scan(space, from, to, &mut |key, value| {
            while let Some((changed, new)) = changes.next_if(|(changed, _)| ***changed < *key) {
                more = more && new.as_ref().is_none_or(|new| visit(changed, new));
                if !more {
                    return false;
                }
            }
            more = match changes.next_if(|(changed, _)| ***changed == *key) {
                Some((_, new)) => new.as_ref().is_none_or(|new| visit(key, new)),
                None => visit(key, value),
            };
            more
        })?;
        for (changed, new) in changes {
            more = more && new.as_ref().is_none_or(|new| visit(changed, new));
            if !more {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reactor::rng::Rng;

    use super::Tx;
    use crate::{
        engine::{Engine, Space, memory::Memory},
        record::Number,
    };

    /// Random batches, some commands of which fail, against a plain map.
    #[test]
    fn reads_see_the_batch_and_failures_leave_no_trace() {
        for seed in 0..50 {
            let mut rng = Rng::from_seed(seed);
            let engine = Memory::default();
            let mut model = BTreeMap::<Vec<u8>, u64>::new();
            for _ in 0..20 {
                let view = engine.view();
                let mut tx = Tx::new(&*view);
                for _ in 0..5 {
                    let mut trial = model.clone();
                    let fails = rng.one_in(3);
                    let done = tx.attempt(|tx| {
                        for _ in 0..rng.below(4) {
                            let key = vec![b'k', u8::try_from(rng.below(12)).expect("small")];
                            if rng.one_in(3) {
                                tx.remove(Space::Map, &key);
                                trial.remove(&key);
                            } else {
                                let value = rng.next_u64();
                                tx.put(Space::Map, &key, &Number(value));
                                trial.insert(key, value);
                            }
                        }
                        if fails { Err(vocab::Error::Invalid) } else { Ok(()) }
                    });
                    if done.is_ok() {
                        model = trial;
                    }
                    let max = usize::try_from(rng.below(14)).expect("small");
                    let mut seen = Vec::new();
                    super::scan(&tx, Space::Map, (b"k", b"l"), |key, Number(value)| {
                        seen.push((key.to_vec(), value));
                        Ok(seen.len() <= max)
                    })
                    .expect("scan");
                    let want: Vec<_> =
                        model.iter().take(max + 1).map(|(k, v)| (k.clone(), *v)).collect();
                    assert_eq!(seen, want, "seed {seed}");
                    for key in 0..12 {
                        let key = [b'k', key];
                        let got: Option<Number> = tx.get(Space::Map, &key).expect("get");
                        assert_eq!(got.map(|n| n.0), model.get(&key[..]).copied(), "seed {seed}");
                    }
                }
                let batch = tx.into_batch();
                drop(view);
                engine.commit(&batch).expect("commit");
            }
            assert!(!engine.view().get(Space::Map, b"none", &mut |_| ()).expect("get"));
        }
    }
}
