//! What a content store holds beside what the metadata store counts there.
//!
//! Both are read in order of the hash, a page at a time, so that a sweep of any size needs little
//! memory. They are not read at one moment: whoever acts on a difference has it judged once more,
//! by the metadata store's writer or by the content store.

use std::collections::VecDeque;

use blocks::{BlockKey, Listed, StoreError};
use meta::Counted;
use vocab::{BlockHash, Error};

use crate::Place;

/// Objects and counts in a page.
const PAGE_MAX: usize = 1000;

/// A block that is in the content store, or counted, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its identity.
    pub hash: BlockHash,
    /// Its object.
    pub object: Option<Listed>,
    /// Its count.
    pub counted: Option<Counted>,
}

/// A sweep under way.
#[derive(Debug)]
pub struct Sweep<'a> {
    place: &'a Place,
    objects: Pages<Listed>,
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
        Self { place, objects: Pages::new(), counts: Pages::new() }
    }

    /// The next block, or `None` after the last.
    ///
    /// # Errors
    /// In words for the operator.
    pub async fn next(&mut self) -> Result<Option<Pair>, String> {
        self.refill().await?;
        let object = self.objects.waiting.front().map(|object| object.hash);
        let counted = self.counts.waiting.front().map(|counted| counted.hash);
        let Some(hash) = object.into_iter().chain(counted).min() else { return Ok(None) };
        let object = self.objects.waiting.pop_front_if(|object| object.hash == hash);
        let counted = self.counts.waiting.pop_front_if(|counted| counted.hash == hash);
        Ok(Some(Pair { hash, object, counted }))
    }

    async fn refill(&mut self) -> Result<(), String> {
        let Place { meta, content_name, content } = self.place;
        if self.objects.is_wanted() {
            let after = self.objects.after;
            let (page, more) = content
                .store
                .list(meta.id(), after, PAGE_MAX)
                .await
                .map_err(|error| format!("listing {content_name}: {error}"))?;
            self.objects.take(page, |object| object.hash, more);
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

/// Whether a block that files refer to has no object, whatever a listing said a while ago.
///
/// # Errors
/// In words for the operator.
pub async fn is_missing(place: &Place, hash: BlockHash) -> Result<bool, String> {
    let Place { meta, content_name, content } = place;
    let key = BlockKey { domain: meta.id(), hash };
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

/// Whether files refer to a block.
pub(crate) async fn is_live(place: &Place, hash: BlockHash) -> Result<bool, Error> {
    let mut before = hash.0;
    // The largest hash below it, so that the first one above that is it.
    for byte in before.iter_mut().rev() {
        let (less, borrows) = byte.overflowing_sub(1);
        *byte = less;
        if !borrows {
            break;
        }
    }
    let after = (hash.0 != [0; 32]).then_some(BlockHash(before));
    let found = place.meta.counted(&place.content_name, after, 1).await?;
    Ok(found.first().is_some_and(|counted| counted.hash == hash && counted.references > 0))
}
