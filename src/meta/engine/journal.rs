//! An engine for simulated worlds: maps in memory, and a journal in one file that is never cut, so
//! that a power cut takes of names what it takes of the log. `FORMAT.md` draws the file.
//!
//! Invariants: what was committed before a sync that returned is found again; any other batch is
//! found whole or not at all, and none behind one that is missing.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use reactor::file::{self, File};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Batch, Engine, Fault, SPACES, Synced, View, memory::Memory};

/// Length `u32` and checksum `u64`.
const HEAD_BYTES: usize = 12;
/// Stands for the length of the value of a key that goes.
const GONE: u32 = u32::MAX;

/// The engine.
#[derive(Debug)]
pub(crate) struct Journal {
    memory: Memory,
    file: File,
    tail: Mutex<Tail>,
}

/// Where the journal goes on.
#[derive(Debug, Default)]
struct Tail {
    /// Bytes in the file that count.
    at: u64,
    /// Batches, those in `waiting` too. Seeds the checksums, so that what an older life left
    /// behind the end is never taken for what follows.
    batches: u64,
    /// Committed and not yet in the file.
    waiting: Vec<Bytes>,
}

impl Journal {
    /// Opens or makes it. What is torn at its end is written over.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        Self::read(path).map_err(|error| format!("cannot open {}: {error}", path.display()))
    }

    fn read(path: &Path) -> std::io::Result<Self> {
        let dir = path.parent().unwrap_or(Path::new("."));
        file::create_dir(dir)?;
        let file = File::open(path, true)?;
        file::sync_dir(dir)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).expect("small")];
        file.read_exact_at(&mut bytes, 0)?;
        let (memory, mut tail) = (Memory::default(), Tail::default());
        let mut rest = &bytes[..];
        while let Some((batch, behind)) = take(rest, tail.batches) {
            memory.commit(&batch).expect("memory does not fail");
            tail.batches += 1;
            tail.at += (rest.len() - behind.len()) as u64;
            rest = behind;
        }
        Ok(Self { memory, file, tail: Mutex::new(tail) })
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Journal {
    fn view(&self) -> Box<dyn View + '_> {
        self.memory.view()
    }

    fn commit(&self, batch: &Batch) -> Result<(), Fault> {
        let mut tail = self.tail();
        let written = put(batch, tail.batches);
        tail.waiting.push(written);
        tail.batches += 1;
        self.memory.commit(batch)
    }

    fn sync(&self) -> Result<(), Fault> {
        reactor::thread::wait(self.synced())
    }

    fn is_lasting(&self) -> bool {
        true
    }

    fn synced(&self) -> Synced<'_> {
        Box::pin(async {
            let (waiting, at) = {
                let mut tail = self.tail();
                let at = tail.at;
                tail.at += tail.waiting.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
                (std::mem::take(&mut tail.waiting), at)
            };
            let fault = |error: std::io::Error| Fault(error.to_string());
            self.file.write_all_at(&waiting, at).await.map_err(fault)?;
            self.file.sync_data().await.map_err(fault)
        })
    }
}

fn put(batch: &Batch, number: u64) -> Bytes {
    let mut body = Vec::new();
    for (space, changes) in batch.all_changes() {
        for (key, value) in changes {
            body.push(space as u8);
            body.extend_from_slice(&len(key).to_le_bytes());
            body.extend_from_slice(&value.as_deref().map_or(GONE, len).to_le_bytes());
            body.extend_from_slice(key);
            body.extend_from_slice(value.as_deref().unwrap_or_default());
        }
    }
    let check = xxh3_64_with_seed(&body, number);
    [&len(&body).to_le_bytes()[..], &check.to_le_bytes(), &body].concat().into()
}

/// The next batch and what follows it; `None` when it is not whole.
fn take(bytes: &[u8], number: u64) -> Option<(Batch, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let (len, check) = head.split_at(4);
    let (mut body, behind) = rest.split_at_checked(number_in(len)? as usize)?;
    // No batch is empty; what was never written is.
    if body.is_empty() || xxh3_64_with_seed(body, number).to_le_bytes() != *check {
        return None;
    }
    let mut batch = Batch::default();
    while let Some((&space, rest)) = body.split_first() {
        let (lens, rest) = rest.split_at_checked(8)?;
        let (key, rest) = rest.split_at_checked(number_in(&lens[..4])? as usize)?;
        let value = number_in(&lens[4..]).filter(|&len| len != GONE);
        let (bytes, rest) = rest.split_at_checked(value.unwrap_or(0) as usize)?;
        let space = *SPACES.get(usize::from(space))?;
        batch.changes_mut(space).insert(key.into(), value.map(|_| bytes.into()));
        body = rest;
    }
    Some((batch, behind))
}

fn number_in(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("keys and values are short")
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, time::Duration};

    use reactor::sim::{self, Image, World};

    use super::*;
    use crate::engine::Space;

    const PATH: &str = "/meta/journal";

    /// A batch that says one thing in two places.
    fn batch(number: u64) -> Batch {
        let mut batch = Batch::default();
        for space in [Space::Names, Space::Map] {
            let value = number.to_le_bytes().repeat(200).into();
            batch.changes_mut(space).insert(number.to_le_bytes().into(), Some(value));
        }
        batch
    }

    fn has(journal: &Journal, space: Space, number: u64) -> bool {
        journal.view().get(space, &number.to_le_bytes(), &mut |_| ()).expect("memory")
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
        let (mut lost, mut kept) = (0, 0);
        for seed in 0..200 {
            let mut image = Image::default();
            let durable = Rc::new(Cell::new(0));
            for life in 0..3 {
                let world = World::open(seed * 3 + life, image);
                let known = durable.clone();
                world.run(async move {
                    let journal = Journal::open(Path::new(PATH)).expect("opens");
                    let found = journal.tail().batches;
                    assert!(found >= known.get(), "seed {seed}: {found} of {}", known.get());
                    for number in 0..found + 2 {
                        assert_eq!(has(&journal, Space::Names, number), number < found);
                        assert_eq!(has(&journal, Space::Map, number), number < found);
                    }
                    let end = reactor::rng::random_u64() % 20_000;
                    reactor::spawn(async move {
                        reactor::sleep(Duration::from_micros(end)).await;
                        sim::cut_power();
                    });
                    for number in found.. {
                        journal.commit(&batch(number)).expect("memory");
                        journal.synced().await.expect("syncs");
                        known.set(number + 1);
                    }
                });
                image = if life == 1 { world.kill() } else { world.power_cut() };
                let journal = World::open(seed, image.clone());
                let found = journal
                    .run(async { Journal::open(Path::new(PATH)).expect("opens").tail().batches });
                if found == Some(durable.get()) { lost += 1 } else { kept += 1 }
            }
        }
        assert!(lost > 50 && kept > 50, "{lost} {kept}");
    }
}
