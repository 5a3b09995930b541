//! What a start makes of the records it finds in a slice's log.
//!
//! Invariants: [`judge`] decides, from what the engine knows, and nothing else does; records come
//! in the order of their sequence, so a later one undoes an earlier one as it did when it was
//! written; payloads are not read, dirty ranges are views of the log.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use meta::SizeChange;
use vocab::{BlockIndex, Error, FileId, Sequence, ShareId, StoreId};
use wal::{Change, Found};

use crate::{
    Place,
    slice::Slice,
    write::{Record, parts},
};

/// The places of files, by metadata store and share.
pub(crate) type Places = BTreeMap<(StoreId, ShareId), Place>;

/// What is known of a record.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// The store and the share's content store are configured.
    is_place_known: bool,
    /// The inode exists and has a name.
    is_inode_known: bool,
    /// The record.
    sequence: Sequence,
    /// Records of the inode up to here are dead.
    sealed: Sequence,
    /// Of the block that a write went to, when it is stored; 0 for a truncate.
    watermark: Sequence,
    /// The engine has length and times up to here.
    flushed: Sequence,
}

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Keep it in the log for a start that knows its store.
    Keep,
    /// Nothing.
    Drop,
    /// Its bytes are dirty, or its cut counts.
    Replay {
        /// And length and times follow from it.
        effect: bool,
    },
}

/// The decision table.
///
/// | place | inode | sealed | watermark | flushed | verdict |
/// |---|---|---|---|---|---|
/// | unknown | | | | | keep: the operator may bring the store back |
/// | known | gone | | | | drop: nobody can read it |
/// | known | there | at or above | | | drop: the engine has it, or a later record undid it |
/// | known | there | below | at or above | | drop: the block has it |
/// | known | there | below | below | at or above | replay the bytes; the length is known |
/// | known | there | below | below | below | replay it all |
///
/// The watermark never runs ahead of `flushed`: a block is entered together with the data state.
fn judge(case: &Case) -> Verdict {
    if !case.is_place_known {
        return Verdict::Keep;
    }
    if !case.is_inode_known || case.sequence <= case.sealed.max(case.watermark) {
        return Verdict::Drop;
    }
    Verdict::Replay { effect: case.sequence > case.flushed }
}

/// What the engine knows of a file that the log speaks of.
#[derive(Clone, Debug)]
struct Known {
    place: Option<Place>,
    share: ShareId,
    is_there: bool,
    sealed: Sequence,
    flushed: Sequence,
}

impl Slice {
    /// Replays what was found. When it returns, reads see it.
    pub(crate) async fn recover(
        &self,
        records: Vec<Found>,
        places: &Arc<Places>,
    ) -> Result<(), String> {
        let mut known = BTreeMap::new();
        for found in records {
            let file = found.file;
            if let Entry::Vacant(unknown) = known.entry(file) {
                let knows = self.know(file, places).await;
                unknown.insert(knows.map_err(|error| words(file, error))?);
            }
            let sequence = found.sequence;
            self.replay(found, &known[&file]).await.map_err(|error| words(file, error))?;
            self.state.borrow_mut().appended = sequence;
        }
        for (&file, known) in known.iter().filter(|(_, known)| known.is_there) {
            self.trim(file, known).await.map_err(|error| words(file, error))?;
        }
        self.say(&known);
        Ok(())
    }

    async fn know(&self, file: FileId, places: &Places) -> Result<Known, Error> {
        let nothing = Known {
            place: None,
            share: ShareId(0),
            is_there: false,
            sealed: Sequence(0),
            flushed: Sequence(0),
        };
        let mut of_store = places.range((file.store, ShareId(0))..=(file.store, ShareId(u32::MAX)));
        let Some((_, any)) = of_store.next() else { return Ok(nothing) };
        let attr = match any.meta.attr(file.inode).await {
            Ok(attr) if attr.nlink > 0 => attr,
            Ok(_) | Err(Error::Stale) => return Ok(Known { place: Some(any.clone()), ..nothing }),
            Err(error) => return Err(error),
        };
        Ok(Known {
            place: places.get(&(file.store, attr.share)).cloned(),
            share: attr.share,
            is_there: true,
            sealed: any.meta.sealed(file.inode).await?,
            flushed: any.meta.data_state(file.inode).await?.sequence,
        })
    }

    async fn replay(&self, found: Found, known: &Known) -> Result<(), Error> {
        let (id, sequence) = (found.file, found.sequence);
        let Some(place) = &known.place else {
            let case = Case::new(sequence, known, Sequence(0));
            assert_eq!(judge(&case), Verdict::Keep);
            self.state.borrow_mut().foreign.push(found.pin);
            return Ok(());
        };
        if known.is_there {
            let mut state = self.state.borrow_mut();
            let file = state.file_of(id, place, known.share);
            file.flushed(known.flushed);
            // What the engine knows counts as ours, else a truncate that only it knows of would
            // make every upload of the file stale.
            file.last = file.last.max(known.flushed);
        }
        let record = Record { sequence, time: found.time, unchecked: found.unchecked };
        let size = match found.change {
            Change::Write { offset, bytes } => {
                let mut effect = false;
                for part in parts(offset, bytes.len()) {
                    let watermark = match known.is_there {
                        true => self.watermark(id, part.index).await?,
                        false => Sequence(0),
                    };
                    if let Verdict::Replay { effect: has } =
                        judge(&Case::new(sequence, known, watermark))
                    {
                        let from = offset + part.bytes.start as u64;
                        self.insert(id, &record, from, &bytes.slice(part.bytes));
                        self.has_unchecked.set(true);
                        effect |= has;
                    }
                }
                effect.then_some(SizeChange::AtLeast(offset + bytes.len() as u64))
            }
            Change::Truncate { size } => match judge(&Case::new(sequence, known, Sequence(0))) {
                Verdict::Replay { effect } => {
                    self.cut(id, sequence, size);
                    let mut state = self.state.borrow_mut();
                    state.file(id, place).pin(sequence, found.pin);
                    effect.then_some(SizeChange::Exactly(size))
                }
                Verdict::Keep | Verdict::Drop => None,
            },
        };
        if let Some(size) = size {
            let noted = self.state.borrow_mut().file(id, place).note(sequence, size, found.time);
            if noted.is_none() {
                self.note_late(id).await?;
            }
        } else if known.is_there {
            let mut state = self.state.borrow_mut();
            let file = state.file(id, place);
            file.last = file.last.max(sequence);
        }
        Ok(())
    }

    /// Drops dirty bytes beyond the length: a truncate that the engine heard of may not have
    /// reached the disk itself.
    async fn trim(&self, id: FileId, known: &Known) -> Result<(), Error> {
        let Some(place) = &known.place else { return Ok(()) };
        let size = place.meta.attr(id.inode).await?.size;
        self.state.borrow_mut().cut_dirty(id, size);
        Ok(())
    }

    /// Records up to here are in a stored block; 0 when it is not stored.
    async fn watermark(&self, id: FileId, index: BlockIndex) -> Result<Sequence, Error> {
        loop {
            let watermark = {
                let state = self.state.borrow();
                state.files.get(&id).and_then(|file| file.watermark(index))
            };
            match watermark {
                Some(watermark) => return Ok(watermark),
                None => self.load_map(id, index).await?,
            }
        }
    }

    fn say(&self, known: &BTreeMap<FileId, Known>) {
        let state = self.state.borrow();
        let (files, dirty_bytes) = (state.files.len(), state.dirty_bytes);
        if dirty_bytes > 0 {
            trace::info!(files, dirty_bytes, "replayed from the log");
        }
        if !state.foreign.is_empty() {
            let records = state.foreign.len();
            let stores: BTreeSet<StoreId> = known
                .iter()
                .filter(|(_, known)| known.place.is_none())
                .map(|(file, _)| file.store)
                .collect();
            trace::warn!(
                records,
                ?stores,
                "the log holds writes to stores that are not configured; they are kept in it"
            );
        }
    }
}

impl Case {
    fn new(sequence: Sequence, known: &Known, watermark: Sequence) -> Self {
        Self {
            is_place_known: known.place.is_some(),
            is_inode_known: known.is_there,
            sequence,
            sealed: known.sealed,
            watermark,
            flushed: known.flushed,
        }
    }
}

fn words(file: FileId, error: Error) -> String {
    let (store, inode) = (file.store.0, file.inode.0);
    format!("cannot replay the log for inode {inode} of store {store:016x}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record that the engine knows nothing of.
    const NEW: Case = Case {
        is_place_known: true,
        is_inode_known: true,
        sequence: Sequence(10),
        sealed: Sequence(0),
        watermark: Sequence(0),
        flushed: Sequence(0),
    };

    #[test]
    fn the_decision_table() {
        let rows = [
            ("no place", Case { is_place_known: false, ..NEW }, Verdict::Keep),
            (
                "no place wins over sealed",
                Case { is_place_known: false, sealed: Sequence(99), ..NEW },
                Verdict::Keep,
            ),
            ("no inode", Case { is_inode_known: false, ..NEW }, Verdict::Drop),
            ("sealed", Case { sealed: Sequence(10), flushed: Sequence(10), ..NEW }, Verdict::Drop),
            (
                "in the block",
                Case { watermark: Sequence(10), flushed: Sequence(10), ..NEW },
                Verdict::Drop,
            ),
            (
                "bytes only",
                Case { sealed: Sequence(9), watermark: Sequence(9), flushed: Sequence(10), ..NEW },
                Verdict::Replay { effect: false },
            ),
            (
                "all new",
                Case { sealed: Sequence(9), watermark: Sequence(9), flushed: Sequence(9), ..NEW },
                Verdict::Replay { effect: true },
            ),
        ];
        for (name, case, want) in rows {
            assert_eq!(judge(&case), want, "{name}");
        }
    }
}
