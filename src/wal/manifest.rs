//! The list of segments that count, written in two slots in turn.

use std::{cell::Cell, io, path::Path};

use bytes::Bytes;
use reactor::file::File;
use vocab::SliceId;
use zerocopy::FromZeros;

use crate::format::{Bad, Entry, ManifestHeader, SLOT_BYTES, read_slot, write_slot};

/// The manifest of an open log.
pub(crate) struct Manifest {
    file: File,
    slice: SliceId,
    segment_bytes: u32,
    /// Seeds the checksums of headers.
    pub(crate) key: u64,
    epoch: Cell<u64>,
    generation_next: Cell<u64>,
}

/// What the valid slot said.
pub(crate) struct Listed {
    pub(crate) entries: Vec<Entry>,
    pub(crate) sequence_next: u64,
    pub(crate) synced_through: u64,
}

/// Why there is no manifest to go by.
pub(crate) enum Unreadable {
    /// Never written to the end.
    Blank,
    /// Of another version.
    Version(u16),
    /// Of another slice.
    Slice(u16),
    /// The kernel's.
    Io(io::Error),
}

impl Manifest {
    /// A new one, on disk, that lists nothing.
    pub(crate) async fn create(
        path: &Path,
        slice: SliceId,
        segment_bytes: u32,
        sequence_next: u64,
    ) -> io::Result<Self> {
        let file = File::create_zeroed(path, 2 * SLOT_BYTES).await?;
        let manifest = Self {
            file,
            slice,
            segment_bytes,
            key: reactor::rng::random_u64(),
            epoch: Cell::new(0),
            generation_next: Cell::new(1),
        };
        manifest.write(&[], sequence_next, 0).await?;
        Ok(manifest)
    }

    /// The newest slot that is whole.
    pub(crate) fn open(path: &Path, slice: SliceId) -> Result<(Self, Listed), Unreadable> {
        let file = File::open(path, false).map_err(Unreadable::Io)?;
        if file.len().map_err(Unreadable::Io)? < 2 * SLOT_BYTES {
            return Err(Unreadable::Blank);
        }
        let slot_bytes = usize::try_from(SLOT_BYTES).expect("small");
        let map = file.map(2 * slot_bytes).map_err(Unreadable::Io)?;
        let slots = [0, slot_bytes].map(|at| read_slot(&map.slice(at..at + slot_bytes)));
        if let Some(version) = slots.iter().find_map(|slot| match slot {
            Err(Bad::Version(version)) => Some(*version),
            Ok(_) | Err(Bad::Damaged | Bad::Kind(_)) => None,
        }) {
            return Err(Unreadable::Version(version));
        }
        let newest = slots.into_iter().flatten().max_by_key(|(header, _)| header.epoch.get());
        let (header, entries) = newest.ok_or(Unreadable::Blank)?;
        if header.slice.get() != slice.0 {
            return Err(Unreadable::Slice(header.slice.get()));
        }
        let manifest = Self {
            file,
            slice,
            segment_bytes: header.segment_bytes.get(),
            key: header.key.get(),
            epoch: Cell::new(header.epoch.get()),
            generation_next: Cell::new(header.generation_next.get()),
        };
        let listed = Listed {
            entries,
            sequence_next: header.sequence_next.get(),
            synced_through: header.synced_through.get(),
        };
        Ok((manifest, listed))
    }

    pub(crate) fn segment_bytes(&self) -> u32 {
        self.segment_bytes
    }

    /// No segment has used it or a larger one.
    pub(crate) fn generation_next(&self) -> u64 {
        self.generation_next.get()
    }

    /// A generation that no segment has used. Good only once it is written.
    pub(crate) fn take_generation(&self) -> u64 {
        let generation = self.generation_next.get();
        self.generation_next.set(generation + 1);
        generation
    }

    /// Makes these the segments that count, durably. The slot before stays whole meanwhile.
    pub(crate) async fn write(
        &self,
        entries: &[Entry],
        sequence_next: u64,
        synced_through: u64,
    ) -> io::Result<()> {
        let epoch = self.epoch.get() + 1;
        self.epoch.set(epoch);
        let header = ManifestHeader {
            slice: self.slice.0.into(),
            segment_bytes: self.segment_bytes.into(),
            epoch: epoch.into(),
            generation_next: self.generation_next.get().into(),
            sequence_next: sequence_next.into(),
            synced_through: synced_through.into(),
            key: self.key.into(),
            ..ManifestHeader::new_zeroed()
        };
        let slot = Bytes::from(write_slot(header, entries));
        let done = self.put(slot, epoch).await;
        if done.is_err() {
            // The next one goes to the same place: the other slot is the only whole one.
            self.epoch.set(epoch - 1);
        }
        done
    }

    /// Makes durable what it shows.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        self.file.sync_data().await
    }

    async fn put(&self, slot: Bytes, epoch: u64) -> io::Result<()> {
        self.file.write_all_at(&[slot], epoch % 2 * SLOT_BYTES).await?;
        self.file.sync_data().await
    }
}

#[cfg(test)]
mod tests {
    use reactor::sim::{World, fail_next_write};

    use super::*;

    #[test]
    fn writes_that_fail_leave_the_last_good_slot() {
        const PATH: &str = "/log/manifest";
        for seed in 0..50 {
            let world = World::new(seed);
            world.run(async {
                let path = Path::new(PATH);
                let manifest = Manifest::create(path, SliceId(0), 4096, 1).await.expect("made");
                manifest.write(&[], 2, 0).await.expect("written");
                for _ in 0..2 {
                    fail_next_write();
                    manifest.write(&[], 3, 0).await.expect_err("the disk fails");
                }
            });
            let world = World::open(seed, world.power_cut());
            let found = world.run(async {
                Manifest::open(Path::new(PATH), SliceId(0)).map(|(_, listed)| listed.sequence_next)
            });
            // A write that fails may have been whole.
            assert!(matches!(found, Some(Ok(2 | 3))), "seed {seed}: {:?}", found.map(Result::ok));
        }
    }
}
