//! Garbage: blocks that nobody refers to leave the content store, after a grace.
//!
//! The order is begin, delete, end: between begin and end the counts know that the object may be
//! gone, so a crash in the middle repeats the deletion and never refers to a missing object.

use std::{cell::RefCell, rc::Rc, time::Duration};

use blocks::{BlockKey, StoreError};
use futures_util::stream::{FuturesUnordered, StreamExt};
use meta::command::{Command, Outcome};
use vocab::{BlockHash, Error, Time};

use crate::{Place, lock::Locks};

/// Blocks in one batch.
const BATCH_MAX: usize = 64;

/// The collector. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    grace: Duration,
    locks: Locks,
    places: Rc<RefCell<Vec<Place>>>,
}

impl Collector {
    pub(crate) fn new(grace: Duration, locks: Locks) -> Self {
        Self { grace, locks, places: Rc::default() }
    }

    /// Adds a place, unless it is known.
    pub(crate) fn add(&self, place: Place) {
        let mut places = self.places.borrow_mut();
        let same = |known: &Place| {
            known.meta.id() == place.meta.id() && known.content_name == place.content_name
        };
        if !places.iter().any(same) {
            places.push(place);
        }
    }

    pub(crate) async fn run(self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let places = self.places.borrow().clone();
            for place in places {
                while self.batch(&place).await.unwrap_or_else(|error| complain(&place, error)) {}
            }
        }
    }

    /// Deletes one batch. Whether there may be more that can be deleted now.
    async fn batch(&self, place: &Place) -> Result<bool, Error> {
        let before = earlier(reactor::clock::wall(), self.grace);
        let content = || place.content_name.to_string();
        let found = place.meta.condemned(&place.content_name, before, BATCH_MAX).await?;
        // What an upload holds is about to be referred to again.
        let held: Vec<_> =
            found.iter().filter_map(|&hash| Some((hash, self.locks.try_lock(hash)?))).collect();
        let hashes: Vec<BlockHash> = held.iter().map(|(hash, _)| *hash).collect();
        if hashes.is_empty() {
            return Ok(false);
        }
        let begin = Command::DeleteBegin { content: content(), hashes };
        let Outcome::Deleting(hashes) = place.meta.submit(begin).await? else {
            unreachable!("the outcome of DeleteBegin");
        };
        let mut deletes: FuturesUnordered<_> =
            hashes.iter().map(|&hash| async move { (hash, delete(place, hash).await) }).collect();
        let mut deleted = Vec::new();
        while let Some((hash, done)) = deletes.next().await {
            match done {
                Ok(()) => deleted.push(hash),
                Err(error) => trace::warn!(%hash, ?error, "block not deleted, will be tried again"),
            }
        }
        let more = !deleted.is_empty() && found.len() == BATCH_MAX;
        if !deleted.is_empty() {
            let end = Command::DeleteEnd { content: content(), hashes: deleted };
            place.meta.submit(end).await?;
        }
        Ok(more)
    }
}

async fn delete(place: &Place, hash: BlockHash) -> Result<(), StoreError> {
    place.content.store.delete(&BlockKey { domain: place.meta.id(), hash }).await
}

fn complain(place: &Place, error: Error) -> bool {
    trace::warn!(store = place.meta.name(), %error, "garbage not collected, will be tried again");
    false
}

/// The time a while before.
fn earlier(now: Time, while_before: Duration) -> Time {
    let seconds = i64::try_from(while_before.as_secs()).unwrap_or(i64::MAX);
    let nanos = while_before.subsec_nanos();
    let borrow = i64::from(now.nanos < nanos);
    Time {
        seconds: now.seconds.saturating_sub(seconds).saturating_sub(borrow),
        nanos: if borrow == 1 { now.nanos + 1_000_000_000 - nanos } else { now.nanos - nanos },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_borrows_a_second() {
        let now = Time { seconds: 10, nanos: 100 };
        let want = Time { seconds: 7, nanos: 500_000_100 };
        assert_eq!(earlier(now, Duration::from_millis(2500)), want);
        assert_eq!(earlier(now, Duration::ZERO), now);
    }
}
