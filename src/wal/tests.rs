//! Suites: lives of a log in simulated machines, damage, room, and the real driver.

mod damage;
mod gaps;
mod lives;
mod real;
mod room;

use std::{future::Future, path::PathBuf};

use bytes::Bytes;
use reactor::sim::{Image, World};
use vocab::{FileId, InodeId, SliceId, StoreId, Time};

use crate::{Change, Config, Found, Recovered, Wal};

/// Small segments, so that a test needs few records to fill some.
const SEGMENT_BYTES: u32 = 16 * 1024;

fn config(segments: u64) -> Config {
    Config {
        dir: PathBuf::from("/log"),
        slice: SliceId(3),
        log_bytes_max: segments * u64::from(SEGMENT_BYTES),
        accepts_damage: false,
    }
}

async fn open(segments: u64) -> Result<(Wal, Recovered), String> {
    Wal::open_sized(config(segments), SEGMENT_BYTES).await
}

fn file(inode: u64) -> FileId {
    FileId { store: StoreId(77), inode: InodeId(inode) }
}

fn time() -> Time {
    Time { seconds: -5, nanos: 999_999_999 }
}

fn write(offset: u64, bytes: impl Into<Bytes>) -> Change {
    Change::Write { offset, bytes: bytes.into() }
}

/// Runs a machine with a disk, and gives the disk that a power cut leaves.
fn life<T: 'static>(
    seed: u64,
    image: Image,
    future: impl Future<Output = T> + 'static,
) -> (Option<T>, Image) {
    let world = World::open(seed, image);
    let value = world.run(future);
    (value, world.power_cut())
}

/// The bytes of a found write.
fn payload(found: &Found) -> &Bytes {
    match &found.change {
        Change::Write { bytes, .. } => bytes,
        Change::Truncate { .. } => panic!("a write was expected"),
    }
}
