//! Files without a name: what is dirty of them is dropped, their blocks are released in steps.

use std::{rc::Rc, time::Duration};

use meta::{
    Store,
    command::{Command, Outcome},
};
use reactor::clock;
use vocab::{Error, InodeId};

use crate::{Payload, Place, slice::Slice};

/// Files that one slice reaps at a time.
const REAPERS_MAX: u32 = 16;
/// Blocks released in one step, so that a huge file does not hold up the metadata writer.
const STEP_BLOCKS_MAX: u32 = 256;
/// A step that fails is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);
/// Orphans asked for at once.
const ORPHANS_MAX: usize = 256;

impl Slice {
    /// Drops a file and has it reaped.
    pub(crate) fn forget(self: &Rc<Self>, place: &Place, inode: InodeId) {
        let is_new = {
            let mut state = self.state.borrow_mut();
            state.drop_file(Payload::file(place, inode));
            state.reaping.push_back((place.clone(), inode));
            let is_new = state.reapers < REAPERS_MAX;
            state.reapers += u32::from(is_new);
            is_new
        };
        if is_new {
            reactor::spawn(Rc::clone(self).reaper());
        }
    }

    async fn reaper(self: Rc<Self>) {
        loop {
            let next = {
                let mut state = self.state.borrow_mut();
                let next = state.reaping.pop_front().filter(|_| !self.is_ending());
                state.reapers -= u32::from(next.is_none());
                next
            };
            let Some((place, inode)) = next else { return };
            self.reap(&place.meta, inode).await;
        }
    }

    async fn reap(&self, meta: &Store, inode: InodeId) {
        while !self.is_ending() {
            let now = clock::wall();
            let step = Command::Reap { inode, blocks_max: STEP_BLOCKS_MAX, now };
            match meta.submit(step).await {
                Ok(Outcome::Reaped { done: false }) => {}
                // An inode that is not there any more was reaped by somebody else.
                Ok(_) | Err(Error::Stale | Error::NotFound) => return,
                Err(error) => {
                    trace::warn!(inode = inode.0, %error, "not reaped, will be tried again");
                    reactor::sleep(RETRY).await;
                }
            }
        }
    }

    /// Reaps what an earlier life left.
    pub(crate) async fn reap_orphans(self: Rc<Self>, meta: Store) {
        while !self.is_ending() {
            match meta.orphans(ORPHANS_MAX).await {
                Ok(orphans) if orphans.is_empty() => return,
                Ok(orphans) => {
                    for inode in orphans {
                        self.reap(&meta, inode).await;
                    }
                }
                Err(error) => {
                    trace::warn!(store = meta.name(), %error, "orphans cannot be listed");
                    reactor::sleep(RETRY).await;
                }
            }
        }
    }
}
