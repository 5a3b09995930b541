//! Garbage: blocks that nobody refers to leave the content store, after a grace; and when.
//!
//! The order is begin, delete, end: between begin and end the counts know that the object may be
//! gone, so a crash in the middle repeats the deletion and never refers to a missing object.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use blocks::BlockKey;
use futures_util::stream::{FuturesUnordered, StreamExt};
use meta::{
    Rest,
    command::{Command, Outcome},
};
use vocab::{BlockHash, Error, PackId, Time};

use crate::{
    Place,
    checkpoint::{self, Checkpoint},
    garbage::{self, Report, Round, Word},
    lock::Locks,
    remote::Lines,
    scrub::{self, Scrub},
    tasks,
};

/// Blocks in one batch.
const BATCH_MAX: usize = 64;
/// The first sweep comes after this part of the interval.
const FIRST_SWEEP_PART: u32 = 10;

/// The collector. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    grace: Duration,
    locks: Locks,
    lines: Lines,
    places: Rc<RefCell<Vec<Place>>>,
    /// One round at a time.
    round: Rc<tokio::sync::Mutex<()>>,
    tally: Arc<Tally>,
}

/// What scrubs have found since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) damaged: AtomicU64,
    pub(crate) healed: AtomicU64,
}

/// What [`batch`] did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// Objects.
    pub(crate) deleted: u64,
    /// There may be more that can be deleted now.
    pub(crate) more: bool,
}

impl Collector {
    pub(crate) fn new(grace: Duration, locks: Locks, lines: Lines, tally: Arc<Tally>) -> Self {
        Self { grace, locks, lines, places: Rc::default(), round: Rc::default(), tally }
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

    /// Deletes what is condemned, for ever.
    pub(crate) async fn run(self, interval: Duration) {
        loop {
            tasks::sleep(interval).await;
            let places = self.places.borrow().clone();
            for place in places {
                match checkpoint::pin(&place).await {
                    Ok(pin) => while self.batch(&place, pin).await {},
                    Err(why) => trace::warn!(why, "garbage not collected, will be tried again"),
                }
            }
        }
    }

    async fn batch(&self, place: &Place, pin: Option<Time>) -> bool {
        match batch(place, before(self.grace, pin), &self.locks).await {
            Ok(batch) => batch.more,
            Err(error) => {
                let store = place.meta.name();
                trace::warn!(store, %error, "garbage not collected, will be tried again");
                false
            }
        }
    }

    /// Sweeps all places, for ever. The first time comes early, so that a server that is restarted
    /// every day sweeps too.
    pub(crate) async fn sweep(self, interval: Duration) {
        if interval.is_zero() {
            return;
        }
        tasks::sleep(interval / FIRST_SWEEP_PART).await;
        loop {
            let round = Round { is_dry: false, grace: self.grace, is_offline: false };
            self.round(round, |event| log(&event)).await;
            tasks::sleep(interval).await;
        }
    }

    /// Takes checkpoints of all places, for ever; never when the interval is 0.
    pub(crate) async fn checkpoint(self, interval: Duration) {
        while !interval.is_zero() {
            tasks::sleep(interval).await;
            self.checkpoint_once(|event| log(&event)).await;
        }
    }

    /// Takes a checkpoint of each place.
    pub(crate) async fn checkpoint_once(&self, mut tell: impl FnMut(Event)) {
        let _one = self.round.lock().await;
        let places = self.places.borrow().clone();
        for place in places {
            let (metadata, content) = (place.meta.name().into(), place.content_name.clone());
            let done = self.lines.checkpoint(place).await;
            let what = done.map_or_else(What::Failed, What::Checkpoint);
            tell(Event { metadata, content, what });
        }
    }

    /// Scrubs all places, for ever; never when the interval is 0.
    pub(crate) async fn scrub(self, interval: Duration, scrub: Scrub) {
        if interval.is_zero() {
            return;
        }
        tasks::sleep(interval / FIRST_SWEEP_PART).await;
        loop {
            self.scrub_once(&scrub, |event| log(&event)).await;
            tasks::sleep(interval).await;
        }
    }

    /// One scrub over all places.
    pub(crate) async fn scrub_once(&self, scrub: &Scrub, mut tell: impl FnMut(Event)) {
        let places = self.places.borrow().clone();
        for place in places {
            let mut say = |what| {
                let (metadata, content) = (place.meta.name().into(), place.content_name.clone());
                let event = Event { metadata, content, what };
                tell(event);
            };
            let mut word = |word| say(What::Scrub(word));
            let done = scrub::run(&place, scrub, &self.locks, &mut word).await;
            if let Ok(report) = &done {
                self.tally.damaged.fetch_add(report.damaged, Relaxed);
                self.tally.healed.fetch_add(report.healed, Relaxed);
            }
            say(done.map_or_else(What::Failed, What::Scrubbed));
        }
    }

    /// One round over all places.
    pub(crate) async fn round(&self, round: Round, mut tell: impl FnMut(Event)) {
        let _one = self.round.lock().await;
        let places = self.places.borrow().clone();
        for place in places {
            let mut say = |what| {
                let (metadata, content) = (place.meta.name().into(), place.content_name.clone());
                tell(Event { metadata, content, what });
            };
            let mut word = |word| say(What::Word(word));
            let done = garbage::run(&place, round, &self.locks, &mut word).await;
            say(match done {
                Ok(report) => What::End(report),
                Err(why) => What::Failed(why),
            });
        }
    }
}

/// A word of a round.
#[derive(Clone, Debug)]
pub struct Event {
    /// The metadata store's name.
    pub metadata: Arc<str>,
    /// The content store's name.
    pub content: Arc<str>,
    /// What is said.
    pub what: What,
}

/// See [`Event`].
#[derive(Clone, Debug)]
pub enum What {
    /// The round goes on.
    Word(Word),
    /// It has ended here.
    End(Report),
    /// A checkpoint was taken.
    Checkpoint(Checkpoint),
    /// A scrub goes on.
    Scrub(scrub::Word),
    /// A scrub has ended here.
    Scrubbed(scrub::Report),
    /// It has failed here.
    Failed(String),
}

fn log(event: &Event) {
    let Event { metadata, content, what } = event;
    match what {
        What::Word(Word::Progress(_)) => {}
        What::Word(Word::Missing(hash)) => {
            trace::error!(%metadata, %content, %hash, "a block that files refer to is missing");
        }
        What::End(report) => trace::info!(
            %metadata,
            %content,
            objects = report.seen.objects,
            bytes = report.seen.bytes,
            leaked = report.leaked.objects,
            missing = report.missing,
            deleted = report.deleted,
            "swept"
        ),
        What::Checkpoint(Checkpoint { pairs, parts, .. }) => {
            trace::info!(%metadata, %content, pairs, parts, "a checkpoint was taken");
        }
        What::Scrub(scrub::Word::Progress(_)) => {}
        What::Scrub(scrub::Word::Healed(hash)) => {
            trace::warn!(%metadata, %content, %hash, "a damaged block was put again from a copy");
        }
        What::Scrub(scrub::Word::Damaged(hash, why)) => {
            let cure = "`dittofs fsck` names its files; writing them again heals it";
            trace::error!(%metadata, %content, %hash, why, "a block is damaged; {cure}");
        }
        What::Scrubbed(report) => trace::info!(
            %metadata,
            %content,
            blocks = report.blocks,
            bytes = report.bytes,
            damaged = report.damaged,
            healed = report.healed,
            unread = report.unread,
            "scrubbed"
        ),
        What::Failed(why) => {
            trace::warn!(%metadata, %content, why, "upkeep failed, will be tried again");
        }
    }
}

/// What was let go of before this moment may be deleted.
pub(crate) fn before(grace: Duration, pin: Option<Time>) -> Time {
    let before = earlier(reactor::clock::wall(), grace);
    pin.map_or(before, |pin| before.min(pin))
}

/// Deletes one batch of what was condemned before a moment.
pub(crate) async fn batch(place: &Place, before: Time, locks: &Locks) -> Result<Batch, Error> {
    let content = || place.content_name.to_string();
    let found = place.meta.condemned(&place.content_name, before, BATCH_MAX).await?;
    // What an upload holds is about to be referred to again.
    let held: Vec<_> =
        found.iter().filter_map(|&hash| Some((hash, locks.try_lock(hash)?))).collect();
    let hashes: Vec<BlockHash> = held.iter().map(|(hash, _)| *hash).collect();
    if hashes.is_empty() {
        return Ok(Batch { deleted: 0, more: false });
    }
    let begin = Command::DeleteBegin { content: content(), hashes };
    let Outcome::Deleting(deleting) = place.meta.submit(begin).await? else {
        unreachable!("the outcome of DeleteBegin");
    };
    let (mut deleted, mut objects) = (Vec::new(), Vec::new());
    for (hash, rests) in deleting {
        match rests {
            Rest::Own => objects.push((hash, BlockKey::block(place.meta.id(), hash))),
            Rest::Pack { .. } => {
                objects.push((hash, BlockKey::pack(place.meta.id(), PackId(hash))));
            }
            // Its bytes go with the pack.
            Rest::Packed(_) => deleted.push(hash),
        }
    }
    let were_packed = deleted.len();
    let delete = |(hash, key): &(BlockHash, BlockKey)| {
        let (hash, key) = (*hash, *key);
        async move { (hash, place.content.store.delete(&key).await) }
    };
    let mut deletes: FuturesUnordered<_> = objects.iter().map(delete).collect();
    while let Some((hash, done)) = deletes.next().await {
        match done {
            Ok(()) => deleted.push(hash),
            Err(error) => trace::warn!(%hash, ?error, "object not deleted, will be tried again"),
        }
    }
    let objects = deleted.len() - were_packed;
    // The last block that leaves a pack condemns it.
    let more = !deleted.is_empty() && (found.len() == BATCH_MAX || were_packed > 0);
    if !deleted.is_empty() {
        let end = Command::DeleteEnd { content: content(), hashes: deleted };
        place.meta.submit(end).await?;
    }
    Ok(Batch { deleted: objects as u64, more })
}

/// The time a while before.
pub(crate) fn earlier(now: Time, while_before: Duration) -> Time {
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
