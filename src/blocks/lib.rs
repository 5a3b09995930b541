//! Where finished blocks rest: memory, filesystem, S3; the block object format.
//!
//! Absent: files and reference counts. A block is a hash and the bytes it names.
//!
//! Every function here runs on a tokio thread, never on a reactor.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use vocab::{BlockHash, StoreId};

/// A future of this room.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Names an object in a content store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey {
    /// The deduplication domain: the metadata store that counts references.
    pub domain: StoreId,
    /// The block's identity.
    pub hash: BlockHash,
}

/// Why a content store did not do as asked, named by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// No such object.
    NotFound,
    /// Try again later: throttled, unreachable, timed out.
    Unavailable(String),
    /// The bytes are not what was written.
    Corrupt(String),
    /// Wrong credentials, no such bucket, no permission: the operator must act.
    Refused(String),
    /// No room left.
    Full(String),
}

/// What [`Store::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object is new.
    Created,
    /// It was there already.
    Present,
}

/// A content store of bytes by key: one implementation for each kind.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Puts an object, whole or not at all, durable before it answers.
    fn put<'a>(&'a self, key: &'a BlockKey, object: Bytes) -> Boxed<'a, Result<Put, StoreError>>;
    /// Bytes `from..from + len` of an object; fewer at its end.
    fn get<'a>(
        &'a self,
        key: &'a BlockKey,
        from: u64,
        len: u64,
    ) -> Boxed<'a, Result<Bytes, StoreError>>;
    /// Removes an object; one that is not there is no error.
    fn delete<'a>(&'a self, key: &'a BlockKey) -> Boxed<'a, Result<(), StoreError>>;
    /// Up to `max` keys of a domain above `after`, in order of the hash, and whether more follow.
    fn list<'a>(
        &'a self,
        domain: StoreId,
        after: Option<BlockHash>,
        max: usize,
    ) -> Boxed<'a, Result<(Vec<BlockHash>, bool), StoreError>>;
    /// Writes, reads and removes a small object: `Ok` with remarks for the operator (for example:
    /// conditional PUT is not kept), or why the store is unusable.
    fn probe(&self) -> Boxed<'_, Result<Vec<String>, StoreError>>;
    /// Bytes free, where that means anything.
    fn bytes_free(&self) -> Option<u64>;
}

/// A store and the object format over it.
#[derive(Clone, Debug)]
pub struct Content {
    /// The bytes.
    pub store: Arc<dyn Store>,
}

impl Content {
    /// The identity of a block.
    #[must_use]
    pub fn hash(plain: &[u8]) -> BlockHash {
        let _ = plain;
        todo!()
    }

    /// Puts a plain block (1 to `BLOCK_BYTES` bytes) as an object.
    ///
    /// # Errors
    /// The store's.
    pub async fn put(&self, key: &BlockKey, plain: &[u8]) -> Result<Put, StoreError> {
        let _ = (key, plain);
        todo!()
    }

    /// Plain bytes of frames `first..first + count` of a block of `plain_len` bytes, checked; each
    /// at most `FRAME_BYTES`, the last one of the block shorter. One ranged GET for the index (kept
    /// for later) and one for the frames, or a single one when that is cheaper.
    ///
    /// # Errors
    /// The store's, or `Corrupt`.
    pub async fn frames(
        &self,
        key: &BlockKey,
        plain_len: u32,
        first: u32,
        count: u32,
    ) -> Result<Vec<Bytes>, StoreError> {
        let _ = (key, plain_len, first, count);
        todo!()
    }
}
