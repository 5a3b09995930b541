//! A round of garbage collection at one place: what nobody refers to is found and deleted.
//!
//! Invariants: a round deletes nothing by itself. What nobody counts is condemned by the metadata
//! store's writer, which knows of every upload, and leaves by the collector like everything else.
//! A dry round changes nothing.

use std::time::Duration;

use blocks::{BlockKey, Kind};
use meta::{
    Counted, Rest,
    command::{Command, Outcome},
};
use vocab::{BlockHash, Error, PackId, Time};

use crate::{
    Place, checkpoint, collect, compact,
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
    /// Packs that are mostly dead; their bytes that nobody needs.
    pub sparse: Tally,
    /// Blocks that files refer to and that have no object.
    pub missing: u64,
    /// Inodes without a name, removed now; in a dry round, those that would be.
    pub orphans: u64,
    /// Blocks moved out of packs that were mostly dead.
    pub moved: u64,
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
    let found = sweep(place, round, before, &mut report, tell).await?;
    if !round.is_dry {
        for hash in found.strays {
            remove_stray(place, hash, locks).await?;
        }
        report.moved = compact::run(place, locks, &found.sparse).await?;
        // Later than that, so that a round without grace takes the old packs too.
        let before = collect::before(round.grace, checkpoint::pin(place).await?);
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

/// What a sweep found to be done.
#[derive(Default)]
struct Found {
    /// Blocks that rest in packs and have an object too.
    strays: Vec<BlockHash>,
    /// Packs that are mostly dead.
    sparse: Vec<PackId>,
}

/// Compares what is stored with what is counted, and condemns what nobody counts.
async fn sweep(
    place: &Place,
    round: Round,
    before: Time,
    report: &mut Report,
    tell: &mut dyn FnMut(Word),
) -> Result<Found, String> {
    let mut sweep = Sweep::new(place);
    let mut leaked = Leaked::default();
    let mut found = Found::default();
    let mut looked: u64 = 0;
    while let Some(pair) = sweep.next().await? {
        let bytes = pair.object.map_or(0, |object| object.bytes);
        if pair.object.is_some() {
            report.seen.add(bytes);
        }
        match (pair.object, pair.counted) {
            (Some(object), None) if object.modified < before => {
                report.leaked.add(bytes);
                leaked.of(pair.kind).push((pair.hash, object.modified));
            }
            (Some(_), None) => report.young.add(bytes),
            // Left by a crash between a PUT and the word that it rests there now.
            (Some(object), Some(Counted { rests: Rest::Packed(_), .. })) => {
                if object.modified < before {
                    report.leaked.add(bytes);
                    found.strays.push(pair.hash);
                } else {
                    report.young.add(bytes);
                }
            }
            (Some(_), Some(counted)) => match (counted.since, counted.rests) {
                (None, Rest::Pack { bytes: used }) => {
                    report.live.add(bytes);
                    if compact::is_sparse(used, bytes) {
                        report.sparse.objects += 1;
                        report.sparse.bytes += bytes - used;
                        found.sparse.push(PackId(pair.hash));
                    }
                }
                (None, _) => report.live.add(bytes),
                (Some(since), _) if since < before => report.due.add(bytes),
                (Some(_), _) => report.waiting.add(bytes),
            },
            // Its pack is looked at for it.
            (None, Some(Counted { rests: Rest::Packed(_), .. })) => {}
            (None, Some(counted)) if counted.since.is_none() => {
                for hash in missing(place, pair.kind, pair.hash).await? {
                    report.missing += 1;
                    tell(Word::Missing(hash));
                }
            }
            (None, _) => {}
        }
        for kind in [Kind::Block, Kind::Pack] {
            if leaked.of(kind).len() == CONDEMN_MAX {
                condemn(place, round, kind, std::mem::take(leaked.of(kind))).await?;
            }
        }
        looked += 1;
        if looked.is_multiple_of(TELL_EVERY) {
            tell(Word::Progress(*report));
        }
    }
    for kind in [Kind::Block, Kind::Pack] {
        condemn(place, round, kind, std::mem::take(leaked.of(kind))).await?;
    }
    Ok(found)
}

/// Objects that nobody counts.
#[derive(Default)]
struct Leaked {
    blocks: Vec<(BlockHash, Time)>,
    packs: Vec<(BlockHash, Time)>,
}

impl Leaked {
    fn of(&mut self, kind: Kind) -> &mut Vec<(BlockHash, Time)> {
        match kind {
            Kind::Block => &mut self.blocks,
            Kind::Pack => &mut self.packs,
        }
    }
}

/// The blocks that files refer to and that are lost, when this object is.
async fn missing(place: &Place, kind: Kind, hash: BlockHash) -> Result<Vec<BlockHash>, String> {
    if !is_missing(place, kind, hash).await? {
        return Ok(Vec::new());
    }
    if kind == Kind::Block {
        return Ok(vec![hash]);
    }
    let inside = place.meta.packed_in(&place.content_name, PackId(hash)).await;
    let inside = inside.map_err(words(place))?;
    Ok(inside.iter().filter(|block| block.references > 0).map(|block| block.hash).collect())
}

/// Removes the object of a block that rests in a pack.
async fn remove_stray(place: &Place, hash: BlockHash, locks: &Locks) -> Result<(), String> {
    // Nobody puts it from here on.
    let _held = locks.lock(hash).await;
    let counted = place.meta.count_of(&place.content_name, hash).await.map_err(words(place))?;
    if counted.is_none_or(|counted| counted.rests.packed().is_none()) {
        return Ok(());
    }
    let removed = place.content.store.delete(&BlockKey::block(place.meta.id(), hash)).await;
    removed.map_err(|error| format!("deleting from {}: {error}", place.content_name))
}

/// Condemned since they were made, so that the collector finds them due.
async fn condemn(
    place: &Place,
    round: Round,
    kind: Kind,
    found: Vec<(BlockHash, Time)>,
) -> Result<(), String> {
    if round.is_dry || found.is_empty() {
        return Ok(());
    }
    let (content, packs) = (place.content_name.to_string(), kind == Kind::Pack);
    let done = place.meta.submit(Command::Condemn { content, found, packs }).await;
    done.map(drop).map_err(words(place))
}

fn words(place: &Place) -> impl Fn(Error) -> String {
    let name = place.meta.name().to_owned();
    move |error| format!("the metadata store {name} answered {error}")
}
