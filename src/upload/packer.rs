//! Small blocks wait for company: many of them are put as one object.
//!
//! A pack goes when it is full, when its first block has waited long enough, or, when somebody
//! waits for one of its blocks, as soon as no other small block is on its way into it. Until then
//! nothing is lost by waiting: the bytes are in the log.
//!
//! Invariants: every block that joins gets one answer. No task of its own: the first block's job
//! watches the time, and the job that fills the pack puts it. A pack's id is locked from before its
//! PUT until the last of its blocks is entered, so that no collector takes it in between.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use blocks::{BlockKey, PACK_BLOCKS_MAX, PACK_BYTES, Part, Put, StoreError};
use reactor::{clock, rng};
use tokio::sync::{Semaphore, oneshot};
use vocab::{BlockHash, PackId, Packed, StoreId};

use crate::{
    Place,
    lock::{Held, Locks},
    tasks,
};

/// The first block of a pack waits this long at most.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// How often the first block looks whether it is time; and how long nobody may have come when
/// somebody waits.
const LOOK: Duration = Duration::from_millis(5);
/// Plain bytes of a pack: those of a content store in memory are bounded.
const PLAIN_BYTES_MAX: usize = 4 * PACK_BYTES;

/// The packs in the making, of all places. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packer {
    places: Rc<RefCell<Places>>,
    /// How often somebody came to wait for all that was handed over.
    hurries: Rc<Cell<u64>>,
}

/// By metadata store and content store.
type Places = BTreeMap<(StoreId, Arc<str>), Rc<Forming>>;

/// The small blocks of one place.
#[derive(Debug, Default)]
struct Forming {
    /// Small blocks that will be put or entered soon, those that wait included.
    inside: Cell<usize>,
    pack: RefCell<Waiting>,
}

/// A pack in the making.
#[derive(Debug, Default)]
struct Waiting {
    /// Tells this pack from earlier ones.
    number: u64,
    parts: Vec<Part>,
    replies: Vec<oneshot::Sender<Result<Rested, StoreError>>>,
    stored_bytes: usize,
    plain_bytes: usize,
    /// Somebody waits for one of them.
    is_urgent: bool,
}

/// A small block will be put or entered soon, until this is dropped.
#[derive(Debug)]
pub(crate) struct Inside(Rc<Forming>);

/// A block that was put.
#[derive(Clone, Debug)]
pub(crate) struct Rested {
    /// In which pack; `None`: as an object of its own.
    pub(crate) packed: Option<Packed>,
    /// That object is new.
    pub(crate) is_created: bool,
    /// Keeps the collector away until the block is entered.
    _held: Option<Rc<Held>>,
}

/// An id that no pack has.
pub(crate) fn pack_id() -> PackId {
    let mut id = [0; 32];
    for part in id.chunks_mut(8) {
        part.copy_from_slice(&rng::random_u64().to_le_bytes());
    }
    PackId(BlockHash(id))
}

/// Puts a block as an object of its own.
pub(crate) async fn put_own(place: &Place, part: &Part) -> Result<Rested, StoreError> {
    let key = BlockKey::block(place.meta.id(), part.hash);
    let put = place.content.store.put(&key, part.object.clone()).await?;
    if put == Put::Present {
        // An object that nobody relies on: left by a crash, or known to be damaged.
        place.content.replace(&key, part).await?;
    }
    Ok(Rested { packed: None, is_created: put == Put::Created, _held: None })
}

impl Packer {
    /// A small block of a place goes on from now on, with its identity's lock held.
    pub(crate) fn enter(&self, place: &Place) -> Inside {
        let key = (place.meta.id(), Arc::clone(&place.content_name));
        let forming = Rc::clone(self.places.borrow_mut().entry(key).or_default());
        forming.inside.update(|inside| inside + 1);
        Inside(forming)
    }

    /// How often [`Packer::hurry`] was called: a block that was handed over before is urgent too.
    pub(crate) fn hurries(&self) -> u64 {
        self.hurries.get()
    }

    /// Somebody waits for all blocks that were handed over.
    pub(crate) fn hurry(&self) {
        self.hurries.update(|hurries| hurries + 1);
        for forming in self.places.borrow().values() {
            let mut pack = forming.pack.borrow_mut();
            pack.is_urgent = !pack.parts.is_empty();
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.update(|inside| inside - 1);
    }
}

impl Inside {
    /// Puts the block together with others. `puts`: how many PUTs may run at a time.
    pub(crate) async fn put(
        &self,
        place: &Place,
        part: Part,
        is_urgent: bool,
        locks: &Locks,
        puts: &Semaphore,
    ) -> Result<Rested, StoreError> {
        let Self(forming) = self;
        let (reply, mut answer) = oneshot::channel();
        let (number, is_first) = forming.join(part, reply, is_urgent);
        let is_full = forming.pack.borrow().is_full();
        if is_full || is_first && forming.is_time(number).await {
            forming.put(place, locks, puts).await;
        }
        let gone = || Err(StoreError::Unavailable("the server is stopping".to_owned()));
        (&mut answer).await.unwrap_or_else(|_| gone())
    }
}

impl Forming {
    /// The pack's number, and whether the block is its first.
    fn join(
        &self,
        part: Part,
        reply: oneshot::Sender<Result<Rested, StoreError>>,
        is_urgent: bool,
    ) -> (u64, bool) {
        let mut pack = self.pack.borrow_mut();
        pack.stored_bytes += part.object.len();
        pack.plain_bytes += part.plain_bytes as usize;
        pack.parts.push(part);
        pack.replies.push(reply);
        pack.is_urgent |= is_urgent;
        (pack.number, pack.parts.len() == 1)
    }

    /// Waits until it is time for a pack; `false` when somebody else has taken it.
    async fn is_time(&self, number: u64) -> bool {
        let since = clock::monotonic();
        let mut seen = 0;
        loop {
            tasks::sleep(LOOK).await;
            let pack = self.pack.borrow();
            if pack.number != number {
                return false;
            }
            let now = pack.parts.len();
            let is_quiet = now == seen && now == self.inside.get();
            seen = now;
            let has_waited = clock::monotonic() - since >= WAIT_MAX;
            if has_waited || (pack.is_urgent && is_quiet) {
                return true;
            }
        }
    }

    /// Puts what has come together, and answers all of it.
    async fn put(&self, place: &Place, locks: &Locks, puts: &Semaphore) {
        let Waiting { number, parts, replies, .. } = self.pack.take();
        self.pack.borrow_mut().number = number + 1;
        let _permit = puts.acquire().await.expect("it is never closed");
        let done = match &parts[..] {
            [part] => put_own(place, part).await.map(|rested| vec![rested]),
            parts => put_pack(place, parts, locks).await,
        };
        match done {
            // Who is gone needs no answer.
            Ok(rested) => replies.into_iter().zip(rested).for_each(|(to, r)| drop(to.send(Ok(r)))),
            Err(error) => replies.into_iter().for_each(|to| drop(to.send(Err(error.clone())))),
        }
    }
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.stored_bytes >= PACK_BYTES
            || self.plain_bytes >= PLAIN_BYTES_MAX
            || self.parts.len() == PACK_BLOCKS_MAX
    }
}

async fn put_pack(place: &Place, parts: &[Part], locks: &Locks) -> Result<Vec<Rested>, StoreError> {
    let pack = pack_id();
    let held = Rc::new(locks.lock(pack.0).await);
    let places = place.content.put_pack(place.meta.id(), pack, parts).await?;
    let rested =
        |packed| Rested { packed: Some(packed), is_created: true, _held: Some(Rc::clone(&held)) };
    Ok(places.into_iter().map(rested).collect())
}
