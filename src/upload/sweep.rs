//! What a content store holds beside what the metadata store counts there.
//!
//! Both are read in order of the hash, a page at a time, so that a sweep of any size needs little
//! memory. They are not read at one moment: whoever acts on a difference has it judged once more,
//! by the metadata store's writer or by the content store.

use std::collections::VecDeque;

use blocks::{BlockKey, Kind, Listed, StoreError};
use meta::Counted;
use vocab::{BlockHash, Error};

use crate::Place;

/// Objects and counts in a page.
const PAGE_MAX: usize = 1000;

/// A block or pack that is in the content store, or counted, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its identity.
    pub hash: BlockHash,
    /// What it is.
    pub kind: Kind,
    /// Its object; that of a block which rests in a pack should not be.
    pub object: Option<Listed>,
    /// Its count.
    pub counted: Option<Counted>,
}

/// A sweep under way.
#[derive(Debug)]
pub struct Sweep<'a> {
    place: &'a Place,
    blocks: Pages<Listed>,
    packs: Pages<Listed>,
    counts: Pages<Counted>,
}

#[derive(Debug)]
struct Pages<T> {
    waiting: VecDeque<T>,
    after: Option<BlockHash>,
    is_last: bool,
}

impl<'a> Sweep<'a> {
    /// From the smallest hash on.
    #[must_use]
    pub fn new(place: &'a Place) -> Self {
        Self { place, blocks: Pages::new(), packs: Pages::new(), counts: Pages::new() }
    }

    /// The next block, or `None` after the last.
    ///
    /// # Errors
    /// In words for the operator.
    pub async fn next(&mut self) -> Result<Option<Pair>, String> {
        self.refill().await?;
        let block = self.blocks.waiting.front().map(|object| object.hash);
        let pack = self.packs.waiting.front().map(|object| object.hash);
        let counted = self.counts.waiting.front().map(|counted| counted.hash);
        let Some(hash) = [block, pack, counted].into_iter().flatten().min() else {
            return Ok(None);
        };
        let block = self.blocks.waiting.pop_front_if(|object| object.hash == hash);
        let pack = self.packs.waiting.pop_front_if(|object| object.hash == hash);
        let counted = self.counts.waiting.pop_front_if(|counted| counted.hash == hash);
        let is_pack = pack.is_some() || counted.is_some_and(|counted| counted.rests.is_pack());
        let kind = if is_pack { Kind::Pack } else { Kind::Block };
        Ok(Some(Pair { hash, kind, object: pack.or(block), counted }))
    }

    async fn refill(&mut self) -> Result<(), String> {
        let Place { meta, content_name, content } = self.place;
        for (kind, objects) in [(Kind::Block, &mut self.blocks), (Kind::Pack, &mut self.packs)] {
            if objects.is_wanted() {
                let after = objects.after;
                let (page, more) = content
                    .store
                    .list(meta.id(), kind, after, PAGE_MAX)
                    .await
                    .map_err(|error| format!("listing {content_name}: {error}"))?;
                objects.take(page, |object| object.hash, more);
            }
        }
        if self.counts.is_wanted() {
            let page = meta
                .counted(content_name, self.counts.after, PAGE_MAX)
                .await
                .map_err(|error| format!("listing the counts of {}: {error}", meta.name()))?;
            let more = page.len() == PAGE_MAX;
            self.counts.take(page, |counted| counted.hash, more);
        }
        Ok(())
    }
}

impl<T> Pages<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), after: None, is_last: false }
    }

    fn is_wanted(&self) -> bool {
        self.waiting.is_empty() && !self.is_last
    }

    fn take(&mut self, page: Vec<T>, hash: impl Fn(&T) -> BlockHash, more: bool) {
        // A store that promises more and gives nothing would be asked for ever.
        self.is_last = !more || page.is_empty();
        self.after = page.last().map(hash).or(self.after);
        self.waiting = page.into();
    }
}

/// Whether a block with an object of its own, or a pack, that is referred to is not there, whatever
/// a listing said a while ago.
///
/// # Errors
/// In words for the operator.
pub async fn is_missing(place: &Place, kind: Kind, hash: BlockHash) -> Result<bool, String> {
    let Place { meta, content_name, content } = place;
    let key = BlockKey { domain: meta.id(), kind, hash };
    // The collector deletes an object only after the count says so. So: if it is counted although
    // it was missing before, and is missing afterwards, nobody took it away in between.
    for _ in 0..2 {
        match content.store.get(&key, 0, 1).await {
            Err(StoreError::NotFound) => {}
            Ok(_) | Err(StoreError::Corrupt(_)) => return Ok(false),
            Err(error) => return Err(format!("looking for {key} in {content_name}: {error}")),
        }
        let words = |error: Error| format!("asking {}: {error}", meta.name());
        if !is_live(place, hash).await.map_err(words)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a block or a pack is referred to.
pub(crate) async fn is_live(place: &Place, hash: BlockHash) -> Result<bool, Error> {
    let counted = place.meta.count_of(&place.content_name, hash).await?;
    Ok(counted.is_some_and(|counted| counted.references > 0))
}
