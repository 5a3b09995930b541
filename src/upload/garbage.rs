//! A round of garbage collection at one place: what nobody refers to is found and deleted.
//!
//! Invariants: a round deletes nothing by itself. What nobody counts is condemned by the metadata
//! store's writer, which knows of every upload, and leaves by the collector like everything else.
//! A dry round changes nothing.

use std::time::Duration;

use meta::command::{Command, Outcome};
use vocab::{BlockHash, Error, Time};

use crate::{
    Place, checkpoint, collect,
    lock::Locks,
    sweep::{Sweep, is_missing},
};

/// Objects condemned with one command.
const CONDEMN_MAX: usize = 256;
/// Orphans asked for at once, and blocks that are released in one step.
const ORPHANS_MAX: usize = 256;
const REAP_BLOCKS_MAX: u32 = 256;
/// Blocks between two words of progress.
const TELL_EVERY: u64 = 1000;

/// What a round is to do.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Only look.
    pub is_dry: bool,
    /// What was unreferenced for less than this stays; so does an object that nobody counts and
    /// that is younger.
    pub grace: Duration,
    /// Nobody serves the store, so that inodes without a name are nobody's: they go too.
    pub is_offline: bool,
}

/// Objects and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub objects: u64,
    /// Bytes as stored.
    pub bytes: u64,
}

/// What a round has found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the content store.
    pub seen: Tally,
    /// Referred to by files.
    pub live: Tally,
    /// Unreferenced, within the grace.
    pub waiting: Tally,
    /// Unreferenced for longer.
    pub due: Tally,
    /// Counted by nobody: put by a process that was killed before it could say so.
    pub leaked: Tally,
    /// Counted by nobody, and younger than the grace.
    pub young: Tally,
    /// Blocks that files refer to and that have no object.
    pub missing: u64,
    /// Inodes without a name, removed now; in a dry round, those that would be.
    pub orphans: u64,
    /// Objects deleted.
    pub deleted: u64,
}

/// What a round says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It goes on.
    Progress(Report),
    /// Files refer to a block that has no object.
    Missing(BlockHash),
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// Runs a round. `locks`: those of the uploads to this place, if there are any.
///
/// # Errors
/// In words for the operator; what was done stays done.
pub async fn run(
    place: &Place,
    round: Round,
    locks: &Locks,
    tell: &mut dyn FnMut(Word),
) -> Result<Report, String> {
    let mut report = Report::default();
    let before = collect::before(round.grace, checkpoint::pin(place).await?);
    if round.is_offline {
        report.orphans = orphans(place, round.is_dry).await.map_err(words(place))?;
    }
    sweep(place, round, before, &mut report, tell).await?;
    if !round.is_dry {
        loop {
            let batch = collect::batch(place, before, locks).await.map_err(words(place))?;
            report.deleted += batch.deleted;
            tell(Word::Progress(report));
            if !batch.more {
                break;
            }
        }
    }
    Ok(report)
}

/// Releases inodes that have no name.
async fn orphans(place: &Place, is_dry: bool) -> Result<u64, Error> {
    if is_dry {
        return Ok(place.meta.orphans(usize::MAX).await?.len() as u64);
    }
    let mut count = 0;
    loop {
        let orphans = place.meta.orphans(ORPHANS_MAX).await?;
        if orphans.is_empty() {
            return Ok(count);
        }
        for inode in orphans {
            let now = reactor::clock::wall();
            let step = || Command::Reap { inode, blocks_max: REAP_BLOCKS_MAX, now };
            while let Outcome::Reaped { done: false } = place.meta.submit(step()).await? {}
            count += 1;
        }
    }
}

/// Compares what is stored with what is counted, and condemns what nobody counts.
async fn sweep(
    place: &Place,
    round: Round,
    before: Time,
    report: &mut Report,
    tell: &mut dyn FnMut(Word),
) -> Result<(), String> {
    let mut sweep = Sweep::new(place);
    let mut leaked: Vec<(BlockHash, Time)> = Vec::new();
    let mut looked: u64 = 0;
    while let Some(pair) = sweep.next().await? {
        let bytes = pair.object.map_or(0, |object| object.bytes);
        if pair.object.is_some() {
            report.seen.add(bytes);
        }
        match (pair.object, pair.counted) {
            (Some(object), None) if object.modified < before => {
                report.leaked.add(bytes);
                leaked.push((pair.hash, object.modified));
            }
            (Some(_), None) => report.young.add(bytes),
            (Some(_), Some(counted)) => match counted.since {
                None => report.live.add(bytes),
                Some(since) if since < before => report.due.add(bytes),
                Some(_) => report.waiting.add(bytes),
            },
            (None, Some(counted)) if counted.since.is_none() => {
                if is_missing(place, pair.hash).await? {
                    report.missing += 1;
                    tell(Word::Missing(pair.hash));
                }
            }
            (None, _) => {}
        }
        if leaked.len() == CONDEMN_MAX {
            condemn(place, round, std::mem::take(&mut leaked)).await?;
        }
        looked += 1;
        if looked.is_multiple_of(TELL_EVERY) {
            tell(Word::Progress(*report));
        }
    }
    condemn(place, round, leaked).await
}

/// Condemned since they were made, so that the collector finds them due.
async fn condemn(place: &Place, round: Round, found: Vec<(BlockHash, Time)>) -> Result<(), String> {
    if round.is_dry || found.is_empty() {
        return Ok(());
    }
    let content = place.content_name.to_string();
    let done = place.meta.submit(Command::Condemn { content, found }).await;
    done.map(drop).map_err(words(place))
}

fn words(place: &Place) -> impl Fn(Error) -> String {
    let name = place.meta.name().to_owned();
    move |error| format!("the metadata store {name} answered {error}")
}
