//! Durability `remote`: a file's dirty blocks go up at once, then its length, then the metadata.
//!
//! Invariant: whoever is answered had all its records up to that moment in stored blocks, and the
//! engine had the file's data state, before the metadata was cut. What cannot get there in time is
//! answered `Busy`; the log holds it, and the work goes on. What is damaged in the log never gets
//! there: that is answered at once, for its file alone.

use std::{
    cell::Cell,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use cache::dirty::BlockState;
use vocab::{
    Error, FileId, Sequence, ShareId, SliceId, StoreId,
    durable::{Durable, Grade},
};

use crate::{
    Payload, Place,
    slice::{Slice, State},
    upload_queue::Block,
};

/// How long a commit waits for the content store before the client is told to come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// The files whose blocks somebody waits for, and who it is.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// One for each who waits.
    files: Vec<Rc<Settled>>,
    wakers: Vec<Waker>,
}

/// What somebody waits for.
#[derive(Debug)]
struct Settled {
    id: FileId,
    /// Records up to here.
    upto: Sequence,
    /// Some of them are lost.
    is_damaged: Cell<bool>,
}

impl Slice {
    /// Makes what the file's records say so far survive the loss of this site.
    pub(crate) async fn remote(
        self: &Rc<Self>,
        place: &Place,
        id: FileId,
    ) -> Result<Durable, Error> {
        let done = reactor::timeout(PATIENCE, self.remote_now(place, id)).await;
        done.unwrap_or(Err(Error::Busy))
    }

    async fn remote_now(self: &Rc<Self>, place: &Place, id: FileId) -> Result<Durable, Error> {
        let upto = self.state.borrow().appended;
        let local = self.sync().await?;
        self.rests(id, upto).await?;
        // Truncates, and lengths that ride on no block.
        self.flush(id).await?;
        self.uploader.durable(place, local).await
    }

    /// Has the file's blocks uploaded now, and waits until records up to here are in stored ones.
    async fn rests(self: &Rc<Self>, id: FileId, upto: Sequence) -> Result<(), Error> {
        if self.state.borrow().is_at_rest(id, upto) {
            return Ok(());
        }
        let waiting = Waiting::new(self, id, upto);
        // Small blocks that are on their way wait for company no longer.
        self.uploader.hurry();
        self.pump();
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if state.is_at_rest(id, upto) {
                return Poll::Ready(Ok(()));
            }
            if waiting.settled.is_damaged.get() {
                return Poll::Ready(Err(Error::Corrupt));
            }
            state.settling.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// What of a share has arrived is at risk until the metadata store's part has, too: sees to it,
    /// one task at a time for a share.
    pub(crate) fn anchor(self: &Rc<Self>, id: FileId) {
        let (at, place) = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let Some(file) = state.files.get(&id) else { return };
            let Some(at) = file.risk.filter(|&at| state.risks.begin_anchoring(at)) else { return };
            (at, file.place.clone())
        };
        let this = Rc::clone(self);
        reactor::spawn(async move {
            loop {
                let upto = this.state.borrow().risks.afloat(at);
                let Some(upto) = upto.filter(|_| !this.is_ending()) else { break };
                if this.uploader.settle_names(&place).await.is_err() {
                    break;
                }
                this.state.borrow_mut().risks.anchored(at, upto);
            }
            this.state.borrow_mut().risks.end_anchoring(at);
        });
    }
}

impl State {
    fn is_at_rest(&self, id: FileId, upto: Sequence) -> bool {
        let born = self.files.get(&id).and_then(|file| file.dirty.born());
        born.is_none_or(|born| born > upto)
    }

    /// Somebody may have what it waits for.
    pub(crate) fn wake_settling(&mut self) {
        self.settling.wakers.drain(..).for_each(Waker::wake);
    }

    /// A block cannot settle: whoever waits for it need not.
    pub(crate) fn damaged(&mut self, (id, index): Block) {
        let block = self.files.get(&id).and_then(|file| file.dirty.block(index));
        let Some(born) = block.map(|block| block.born) else { return };
        let waits = self.settling.files.iter().filter(|one| one.id == id && born <= one.upto);
        waits.for_each(|one| one.is_damaged.set(true));
    }

    /// Blocks that somebody waits for and that may start.
    pub(crate) fn wanted(&self) -> Vec<Block> {
        let mut wanted = Vec::new();
        for &Settled { id, upto, .. } in self.settling.files.iter().map(Rc::as_ref) {
            let Some(file) = self.files.get(&id) else { continue };
            let waits = file.dirty.blocks().filter(|(_, block)| block.born <= upto);
            let starts = waits.filter(|(index, _)| file.dirty.state(*index) == BlockState::Pending);
            wanted.extend(starts.map(|(index, _)| (id, index)));
        }
        wanted
    }
}

/// Somebody who waits for a file's blocks, until it is dropped.
struct Waiting<'a> {
    slice: &'a Slice,
    settled: Rc<Settled>,
}

impl<'a> Waiting<'a> {
    fn new(slice: &'a Slice, id: FileId, upto: Sequence) -> Self {
        let settled = Rc::new(Settled { id, upto, is_damaged: Cell::new(false) });
        slice.state.borrow_mut().settling.files.push(Rc::clone(&settled));
        Self { slice, settled }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let files = &mut self.slice.state.borrow_mut().settling.files;
        let at = files.iter().position(|one| Rc::ptr_eq(one, &self.settled));
        files.swap_remove(at.expect("it is there until now"));
    }
}

impl Payload {
    /// A share asks for this from now on. One that asks for `remote` has its first checkpoint taken
    /// at once.
    pub fn set_grade(&self, place: &Place, share: ShareId, grade: Grade) {
        let store: StoreId = place.meta.id();
        for (number, home) in (0..).zip(&self.inner.homes) {
            let this = self.clone();
            home.remote.post(move || {
                if let Ok(slice) = this.slice(SliceId(number)) {
                    slice.state.borrow_mut().risks.set_grade(store, share, grade);
                }
            });
        }
        if grade == Grade::Remote {
            self.inner.uploader.begin_remote(place);
        }
    }

    /// What is read of a share stays in memory from now on, within half of the cache; or not.
    pub fn set_pinned(&self, place: &Place, share: ShareId, is_pinned: bool) {
        let store: StoreId = place.meta.id();
        for (number, home) in (0..).zip(&self.inner.homes) {
            let this = self.clone();
            home.remote.post(move || {
                if let Ok(slice) = this.slice(SliceId(number)) {
                    slice.set_pinned(store, share, is_pinned);
                }
            });
        }
    }

    /// Before a name or attribute changes that is to survive the loss of this site: waits while the
    /// content store is away, so that what is answered `Busy` has not happened.
    ///
    /// # Errors
    /// `Busy`, `Stopping`.
    pub async fn names_may_settle(&self, place: &Place) -> Result<(), Error> {
        if !self.inner.uploader.is_remote_away(place) {
            return Ok(());
        }
        let settled = reactor::timeout(PATIENCE, self.inner.uploader.settle_names(place)).await;
        settled.unwrap_or(Err(Error::Busy))
    }

    /// Afterwards: waits until it does, however long that takes, since it has happened.
    ///
    /// # Errors
    /// `Stopping`.
    pub async fn names_settle(&self, place: &Place) -> Result<(), Error> {
        self.inner.uploader.settle_names(place).await
    }
}
