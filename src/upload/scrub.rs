//! Every stored block is read back and checked, slowly, and healed where a good copy is left.
//!
//! Invariants: a block that is replaced is whole and has its hash; one that is damaged and cannot
//! be healed is marked, so that equal bytes written later put it anew instead of relying on it.
//! Its object stays: the frames of it that are good can still be read. A block of a pack is healed
//! by an object of its own; a pack whose directory is damaged is left by all its blocks.

use std::{pin::Pin, sync::Arc, time::Duration};

use blocks::{BlockKey, Plain, StoreError};
use bytes::Bytes;
use meta::{Counted, Rest, command::Command};
use vocab::{BlockHash, Error, PackId, limits::FRAME_BYTES};

use crate::{Place, compact, lock::Locks, sweep::is_live, tasks};

/// Counts asked for at once.
const PAGE_MAX: usize = 256;

/// Finds the frames of a block that are in memory: as many as asked for, `None` for each that is
/// not.
pub type Copies = Arc<dyn Fn(BlockHash, u32) -> CopiesFound + Send + Sync>;
/// See [`Copies`].
pub type CopiesFound = Pin<Box<dyn Future<Output = Vec<Option<Bytes>>> + Send>>;

/// What a scrub has found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Blocks read.
    pub blocks: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// Blocks whose objects are gone or damaged.
    pub damaged: u64,
    /// Those of them that were put again from a good copy.
    pub healed: u64,
    /// Blocks that could not be read now.
    pub unread: u64,
}

/// What a scrub says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It goes on.
    Progress(Report),
    /// A block was damaged, and is good again.
    Healed(BlockHash),
    /// A block is damaged, and why.
    Damaged(BlockHash, String),
}

/// How to scrub.
#[derive(Clone)]
pub struct Scrub {
    /// Plain bytes a second; 0: as fast as they come.
    pub rate: u64,
    /// Where good copies may be.
    pub copies: Option<Copies>,
}

impl std::fmt::Debug for Scrub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scrub at {} bytes a second", self.rate)
    }
}

/// Reads all blocks of a place that files refer to.
///
/// # Errors
/// In words for the operator.
pub async fn run(
    place: &Place,
    scrub: &Scrub,
    locks: &Locks,
    tell: &mut dyn FnMut(Word),
) -> Result<Report, String> {
    let mut report = Report::default();
    let mut after = None;
    let words = |error: Error| format!("the metadata store {}: {error}", place.meta.name());
    loop {
        let page = place.meta.counted(&place.content_name, after, PAGE_MAX).await.map_err(words)?;
        let Some(last) = page.last() else { return Ok(report) };
        after = Some(last.hash);
        for counted in page.iter().filter(|counted| counted.references > 0) {
            let before = report.bytes;
            match counted.rests {
                // Read with its pack; what is damaged is looked at by itself.
                Rest::Packed(_) if !counted.is_damaged => continue,
                Rest::Pack { .. } => {
                    pack(place, scrub, locks, PackId(counted.hash), &mut report, tell).await
                }
                Rest::Own | Rest::Packed(_) => {
                    block(place, scrub, locks, counted, &mut report, tell).await.map_err(words)
                }
            }?;
            let micros = (report.bytes - before) * 1_000_000;
            if let Some(pause) = micros.checked_div(scrub.rate) {
                tasks::sleep(Duration::from_micros(pause)).await;
            }
        }
        tell(Word::Progress(report));
    }
}

/// All of a pack in one reading.
async fn pack(
    place: &Place,
    scrub: &Scrub,
    locks: &Locks,
    pack: PackId,
    report: &mut Report,
    tell: &mut dyn FnMut(Word),
) -> Result<(), String> {
    let words = |error: Error| format!("the metadata store {}: {error}", place.meta.name());
    let (domain, name) = (place.meta.id(), &place.content_name);
    let contents = match place.content.unpack(domain, pack).await {
        Ok(contents) => contents,
        Err(error @ (StoreError::NotFound | StoreError::Corrupt(_))) => {
            // It may have been let go of meanwhile, and deleted.
            if !is_live(place, pack.0).await.map_err(words)? {
                return Ok(());
            }
            for counted in place.meta.packed_in(name, pack).await.map_err(words)? {
                if counted.references > 0 && !counted.is_damaged {
                    block(place, scrub, locks, &counted, report, tell).await.map_err(words)?;
                }
            }
            if let StoreError::Corrupt(why) = error {
                // Its blocks are good or were named, but nobody could take them out any more.
                report.damaged += 1;
                compact::run(place, locks, &[pack]).await?;
                let is_left = !is_live(place, pack.0).await.map_err(words)?;
                report.healed += u64::from(is_left);
                tell(if is_left { Word::Healed(pack.0) } else { Word::Damaged(pack.0, why) });
            }
            return Ok(());
        }
        Err(error) => {
            trace::warn!(pack = %pack.0, ?error, "not scrubbed");
            report.unread += 1;
            return Ok(());
        }
    };
    for (entry, object) in contents {
        let counted = place.meta.count_of(name, entry.hash).await.map_err(words)?;
        let rests = |counted: &Counted| {
            let is_here = counted.rests == Rest::Packed(entry.packed);
            is_here && counted.references > 0 && !counted.is_damaged
        };
        let Some(counted) = counted.filter(rests) else { continue };
        let key = BlockKey::block(domain, entry.hash);
        if place.content.open(&key, counted.stored_len, &object).await.is_ok() {
            report.blocks += 1;
            report.bytes += u64::from(counted.stored_len);
        } else {
            block(place, scrub, locks, &counted, report, tell).await.map_err(words)?;
        }
    }
    Ok(())
}

async fn block(
    place: &Place,
    scrub: &Scrub,
    locks: &Locks,
    counted: &Counted,
    report: &mut Report,
    tell: &mut dyn FnMut(Word),
) -> Result<(), Error> {
    let Counted { hash, stored_len, rests, .. } = *counted;
    let (key, packed) = (BlockKey::block(place.meta.id(), hash), rests.packed());
    report.blocks += 1;
    report.bytes += u64::from(stored_len);
    if place.content.whole(&key, packed, stored_len).await.is_ok() && !counted.is_damaged {
        return Ok(());
    }
    // Nobody puts or deletes it from here on.
    let _held = locks.lock(hash).await;
    let why = match place.content.whole(&key, packed, stored_len).await {
        Ok(_) => {
            if counted.is_damaged {
                mark(place, hash, false).await?;
            }
            return Ok(());
        }
        Err(StoreError::NotFound) => "no such object".to_owned(),
        Err(StoreError::Corrupt(why)) => why,
        Err(error) => {
            trace::warn!(%hash, ?error, "not scrubbed");
            report.unread += 1;
            return Ok(());
        }
    };
    // It may have been let go of meanwhile, and deleted, or moved.
    let now = place.meta.count_of(&place.content_name, hash).await?;
    if now.is_none_or(|now| now.references == 0 || now.rests != rests) {
        return Ok(());
    }
    report.damaged += 1;
    if let Some(plain) = gather(place, scrub, &key, counted).await
        && let Ok(part) = place.content.part(&key, &plain).await
        && place.content.replace(&key, &part).await.is_ok()
        && place.content.whole(&key, None, stored_len).await.is_ok()
    {
        if let Some(from) = packed {
            let (content, now) = (place.content_name.to_string(), reactor::clock::wall());
            let moves = vec![(hash, from, None)];
            place.meta.submit(Command::Move { content, moves, now }).await?;
        }
        mark(place, hash, false).await?;
        report.healed += 1;
        tell(Word::Healed(hash));
        return Ok(());
    }
    mark(place, hash, true).await?;
    tell(Word::Damaged(hash, why));
    Ok(())
}

async fn mark(place: &Place, hash: BlockHash, is_damaged: bool) -> Result<(), Error> {
    let content = place.content_name.to_string();
    place.meta.submit(Command::MarkDamaged { content, hash, is_damaged }).await.map(drop)
}

/// The block, from the frames of its object that are good and from copies of the others.
async fn gather(place: &Place, scrub: &Scrub, key: &BlockKey, counted: &Counted) -> Option<Plain> {
    let len = counted.stored_len;
    let good = place.content.salvage(key, counted.rests.packed(), len).await;
    let copies = match &scrub.copies {
        Some(copies) => copies(key.hash, len.div_ceil(FRAME_BYTES)).await,
        None => Vec::new(),
    };
    let mut block = Plain::builder(len);
    for (number, frame) in good.into_iter().enumerate() {
        let copy = || copies.get(number).cloned().flatten();
        let frame = frame.or_else(copy)?;
        if frame.len() as u64 > u64::from(len - block.at()) {
            return None;
        }
        block.push(&frame);
    }
    if block.at() != len {
        return None;
    }
    let block = block.finish();
    (place.content.is_block(key, &block).await == Ok(true)).then_some(block)
}
