//! Every stored block is read back and checked, slowly, and healed where a good copy is left.
//!
//! Invariants: a block that is replaced is whole and has its hash; one that is damaged and cannot
//! be healed is marked, so that equal bytes written later put it anew instead of relying on it.
//! Its object stays: the frames of it that are good can still be read.

use std::{pin::Pin, sync::Arc, time::Duration};

use blocks::{BlockKey, Content, Plain, StoreError};
use bytes::Bytes;
use meta::{Counted, command::Command};
use vocab::{BlockHash, Error, limits::FRAME_BYTES};

use crate::{Place, lock::Locks, sweep::is_live, tasks};

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
            block(place, scrub, locks, counted, &mut report, tell).await.map_err(words)?;
            let micros = u64::from(counted.stored_len) * 1_000_000;
            if let Some(pause) = micros.checked_div(scrub.rate) {
                tasks::sleep(Duration::from_micros(pause)).await;
            }
        }
        tell(Word::Progress(report));
    }
}

async fn block(
    place: &Place,
    scrub: &Scrub,
    locks: &Locks,
    counted: &Counted,
    report: &mut Report,
    tell: &mut dyn FnMut(Word),
) -> Result<(), Error> {
    let Counted { hash, stored_len, .. } = *counted;
    let key = BlockKey { domain: place.meta.id(), hash };
    report.blocks += 1;
    report.bytes += u64::from(stored_len);
    if place.content.whole(&key, stored_len).await.is_ok() && !counted.is_damaged {
        return Ok(());
    }
    // Nobody puts or deletes it from here on.
    let _held = locks.lock(hash).await;
    let why = match place.content.whole(&key, stored_len).await {
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
    // It may have been let go of meanwhile, and deleted.
    if !is_live(place, hash).await? {
        return Ok(());
    }
    report.damaged += 1;
    if let Some(plain) = gather(place, scrub, &key, stored_len).await
        && place.content.replace(&key, &plain).await.is_ok()
        && place.content.whole(&key, stored_len).await.is_ok()
    {
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
async fn gather(place: &Place, scrub: &Scrub, key: &BlockKey, len: u32) -> Option<Plain> {
    let good = place.content.salvage(key, len).await;
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
    (Content::hash(&block) == key.hash).then_some(block)
}
