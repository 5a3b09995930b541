//! Frames from the content store, for readers and for prefetch.

use std::sync::Arc;

use blocks::{BlockKey, StoreError};
use bytes::Bytes;
use reactor::oneshot;
use tokio::sync::Semaphore;
use vocab::{BlockHash, Error, Packed, limits::PACKED_BLOCK_BYTES_MAX};

use crate::Place;

/// Fetches at a time that somebody waits for.
const FOREGROUND_MAX: usize = 64;
/// Fetches at a time that nobody waits for yet.
const BACKGROUND_MAX: usize = 16;

/// Frames `first..first + count` of a block.
#[derive(Debug)]
pub struct Fetch {
    /// Where it rests.
    pub place: Place,
    /// Which block.
    pub hash: BlockHash,
    /// Its plain bytes.
    pub plain_len: u32,
    /// The first frame.
    pub first: u32,
    /// How many, at least 1.
    pub count: u32,
    /// Nobody waits for it yet.
    pub background: bool,
    /// The frames, each with memory of its own.
    pub reply: oneshot::Sender<Result<Vec<Bytes>, StoreError>>,
}

/// How many fetches run at a time. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    foreground: Arc<Semaphore>,
    background: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            foreground: Arc::new(Semaphore::new(FOREGROUND_MAX)),
            background: Arc::new(Semaphore::new(BACKGROUND_MAX)),
        }
    }
}

impl Limits {
    pub(crate) async fn run(self, fetch: Fetch) {
        let limit = if fetch.background { &self.background } else { &self.foreground };
        let _permit = limit.acquire().await.expect("it is never closed");
        let Fetch { place, hash, plain_len, first, count, reply, .. } = fetch;
        reply.send(frames(&place, hash, plain_len, first, count).await);
    }
}

/// Frames of a block, wherever it rests.
pub(crate) async fn frames(
    place: &Place,
    hash: BlockHash,
    plain_len: u32,
    first: u32,
    count: u32,
) -> Result<Vec<Bytes>, StoreError> {
    let key = BlockKey::block(place.meta.id(), hash);
    let packed = locate(place, hash, plain_len).await?;
    place.content.frames(&key, packed, plain_len, first, count).await
}

/// In which pack a block rests, if it does. Asked for each fetch: compaction moves blocks.
async fn locate(
    place: &Place,
    hash: BlockHash,
    plain_len: u32,
) -> Result<Option<Packed>, StoreError> {
    if plain_len > PACKED_BLOCK_BYTES_MAX {
        return Ok(None);
    }
    let counted = place.meta.count_of(&place.content_name, hash).await.map_err(unlocated)?;
    Ok(counted.and_then(|counted| counted.rests.packed()))
}

/// What waiting does not help with is no reason to ask the client to come again.
fn unlocated(error: Error) -> StoreError {
    let why = format!("the metadata store answered {error}");
    if error == Error::Corrupt {
        StoreError::Corrupt(why)
    } else if error == Error::Io {
        StoreError::Refused(why)
    } else {
        StoreError::Unavailable(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_metadata_store_is_not_away() {
        assert!(matches!(unlocated(Error::Io), StoreError::Refused(_)));
        assert!(matches!(unlocated(Error::Corrupt), StoreError::Corrupt(_)));
        assert!(matches!(unlocated(Error::Busy), StoreError::Unavailable(_)));
    }
}
