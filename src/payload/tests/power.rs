//! Power cuts in a simulated machine: overwriting what was promised must not undo the promise.

use std::{cell::RefCell, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use cache::clean::Clean;
use reactor::{
    rng::Rng,
    sim::{self, Image, World},
};
use upload::Uploader;
use vocab::{InodeId, SliceId, durable::Grade};
use wal::{Change, Wal};

use super::{Server, seed};
use crate::{Place, Stability, slice::Slice};

/// The file's length in words of four bytes: small, so that records shadow each other and segments
/// are used again.
const SIZE: usize = 4 * 1024;
const SEGMENT: u32 = 16 * 1024;

/// The write that each word is from, by number; 0 for none.
type Stamps = Rc<RefCell<Vec<u32>>>;

fn config() -> wal::Config {
    let log_bytes_max = 32 * u64::from(SEGMENT);
    wal::Config {
        dir: PathBuf::from("/log"),
        slice: SliceId(0),
        log_bytes_max,
        accepts_damage: false,
    }
}

/// Writes until the power goes; `durable` has what was promised.
async fn write(place: Place, inode: InodeId, uploader: Uploader, seed: u64, durable: Stamps) {
    let mut rng = Rng::from_seed(seed);
    let (wal, _) = Wal::open_sized(config(), SEGMENT).await.unwrap();
    let clean = Clean::new(0);
    let slice = Slice::new(wal, uploader, Arc::default(), Duration::from_secs(3600), clean);
    let slice = Rc::new(slice);
    let mut latest = vec![0; SIZE];
    for stamp in 1..400u32 {
        let from = usize::try_from(rng.below(SIZE as u64 - 1)).unwrap();
        let len = usize::try_from(1 + rng.below(900)).unwrap().min(SIZE - from);
        let bytes: Bytes = stamp.to_le_bytes().iter().copied().cycle().take(len * 4).collect();
        latest[from..from + len].fill(stamp);
        let stability = if rng.one_in(6) { Stability::Stable } else { Stability::Unstable };
        let safe = (stability, Grade::Local);
        slice.write(&place, inode, from as u64 * 4, bytes, safe).await.unwrap();
        if stability == Stability::Stable {
            durable.borrow_mut().copy_from_slice(&latest);
        }
        if rng.one_in(200) {
            sim::cut_power();
            reactor::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// What the records of the log say.
async fn replay() -> Vec<u32> {
    let (_wal, recovered) = Wal::open_sized(config(), SEGMENT).await.unwrap();
    let mut found = vec![0u8; SIZE * 4];
    for record in recovered.records {
        if let Change::Write { offset, bytes } = record.change {
            let from = usize::try_from(offset).unwrap();
            found[from..from + bytes.len()].copy_from_slice(&bytes);
        }
    }
    found.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect()
}

#[test]
fn a_shadowed_promise_survives_the_power_cut() {
    let seed = seed();
    let server = Server::start(1, |_| {});
    for n in 0..100 {
        let inode = server.create(&format!("f{n}"));
        let durable: Stamps = Rc::new(RefCell::new(vec![0; SIZE]));
        let uploader = server.payload().inner.uploader.clone();
        let world = World::open(seed ^ n, Image::default());
        world.run(write(server.place().clone(), inode, uploader, seed ^ n, Rc::clone(&durable)));
        let image = world.power_cut();
        let found = World::open(seed ^ n, image).run(replay()).unwrap();
        for (at, (found, promised)) in found.iter().zip(&*durable.borrow()).enumerate() {
            assert!(found >= promised, "seed {seed} file {n}: {at} is {found}, was {promised}");
        }
    }
}
