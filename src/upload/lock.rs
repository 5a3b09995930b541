//! One holder of a block's identity at a time: an upload, or the collector.
//!
//! Why: `put` answers that an object is there already, the collector then deletes it, and the block
//! map refers to nothing. Also, two equal blocks at the same time are put once.
//!
//! The counts of a deduplication domain have a single writer, in this process, so a lock in memory
//! of the one thread that puts and deletes is enough.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use tokio::sync::{Mutex, OwnedMutexGuard};
use vocab::BlockHash;

/// The locks of one thread. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Locks(Rc<RefCell<BTreeMap<BlockHash, Arc<Mutex<()>>>>>);

/// A held lock.
#[derive(Debug)]
pub struct Held {
    locks: Locks,
    hash: BlockHash,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Locks {
    /// Waits for a block's lock. Waiters get it in order.
    pub async fn lock(&self, hash: BlockHash) -> Held {
        let lock = self.of(hash);
        let guard = lock.lock_owned().await;
        Held { locks: self.clone(), hash, guard: Some(guard) }
    }

    /// A block's lock, if nobody has it.
    #[must_use]
    pub fn try_lock(&self, hash: BlockHash) -> Option<Held> {
        let guard = self.of(hash).try_lock_owned().ok()?;
        Some(Held { locks: self.clone(), hash, guard: Some(guard) })
    }

    fn of(&self, hash: BlockHash) -> Arc<Mutex<()>> {
        Arc::clone(self.0.borrow_mut().entry(hash).or_default())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self.locks.0.borrow_mut();
        // One count is the table's; any other is a waiter's.
        if locks.get(&self.hash).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_nothing_left_behind() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (locks, hash) = (Locks::default(), BlockHash([1; 32]));
        runtime.block_on(async {
            let first = locks.lock(hash).await;
            assert!(locks.try_lock(hash).is_none());
            assert!(locks.try_lock(BlockHash([2; 32])).is_some());
            let waiting = locks.lock(hash);
            let (second, ()) = tokio::join!(waiting, async { drop(first) });
            assert!(locks.try_lock(hash).is_none());
            drop(second);
        });
        assert!(locks.0.borrow().is_empty());
    }
}
