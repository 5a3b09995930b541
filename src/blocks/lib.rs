//! Where finished blocks rest: memory, filesystem, S3; the block object format.
//!
//! Absent: files and reference counts. A block is a hash and the bytes it names.
//!
//! Every function here runs on a tokio thread, never on a reactor.

mod content;
mod filesystem;
mod key;
mod memory;
mod names;
mod object;
mod pack;
mod plain;
mod s3;
mod seal;
mod spare;
#[cfg(test)]
mod tests;

use std::{future::Future, pin::Pin};

use bytes::Bytes;
pub use content::Content;
pub use filesystem::Filesystem;
pub use memory::Memory;
pub use object::Codec;
pub use pack::{PACK_BLOCKS_MAX, PACK_BYTES, PACK_HEAD_BYTES_MIN, PackEntry, Part};
pub use plain::{Builder, Plain};
pub use s3::{S3, S3Config, S3Credentials};
pub use seal::{Keyring, NamedKey};
pub use spare::Spare;
use vocab::{BlockHash, PackId, StoreId, Time};

/// A future of this room.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One block.
    Block,
    /// Many small ones.
    Pack,
}

/// Names an object in a content store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey {
    /// The deduplication domain: the metadata store that counts references.
    pub domain: StoreId,
    /// What it holds.
    pub kind: Kind,
    /// The block's identity, or the pack's.
    pub hash: BlockHash,
}

impl BlockKey {
    /// Of a block with an object of its own.
    #[must_use]
    pub fn block(domain: StoreId, hash: BlockHash) -> Self {
        Self { domain, kind: Kind::Block, hash }
    }

    /// Of a pack.
    #[must_use]
    pub fn pack(domain: StoreId, PackId(hash): PackId) -> Self {
        Self { domain, kind: Kind::Pack, hash }
    }
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

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound => write!(f, "no such object"),
            Self::Unavailable(why) => write!(f, "content store unavailable: {why}"),
            Self::Corrupt(why) => write!(f, "corrupt object: {why}"),
            Self::Refused(why) => write!(f, "content store refused: {why}"),
            Self::Full(why) => write!(f, "content store full: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// What [`Store::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object is new.
    Created,
    /// It was there already.
    Present,
}

/// An object in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which block or pack.
    pub hash: BlockHash,
    /// Bytes of the object.
    pub bytes: u64,
    /// When it was put, by the store's clock.
    pub modified: Time,
}

/// A content store of bytes by key: one implementation for each kind.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Puts an object, whole or not at all, durable before it answers. `Present` says that an
    /// object of that key is there, not that its bytes are these: whoever finds one corrupt
    /// deletes it before putting it again.
    fn put<'a>(&'a self, key: &'a BlockKey, object: Bytes) -> Boxed<'a, Result<Put, StoreError>>;
    /// Puts an object over the one that is there, if any: readers see the one or the other.
    fn replace<'a>(&'a self, key: &'a BlockKey, object: Bytes)
    -> Boxed<'a, Result<(), StoreError>>;
    /// Bytes `from..from + len` of an object; fewer at its end, none beyond it.
    fn get<'a>(
        &'a self,
        key: &'a BlockKey,
        from: u64,
        len: u64,
    ) -> Boxed<'a, Result<Bytes, StoreError>>;
    /// Removes an object; one that is not there is no error.
    fn delete<'a>(&'a self, key: &'a BlockKey) -> Boxed<'a, Result<(), StoreError>>;
    /// Up to `max` objects of a kind and a domain above `after`, in order of the hash, and whether
    /// more follow.
    fn list<'a>(
        &'a self,
        domain: StoreId,
        kind: Kind,
        after: Option<BlockHash>,
        max: usize,
    ) -> Boxed<'a, Result<(Vec<Listed>, bool), StoreError>>;
    /// Puts an object that is no block, over the one that is there, durable before it answers.
    /// `name`: relative, of lower-case hex digits, letters and single slashes; a domain first.
    fn put_named<'a>(&'a self, name: &'a str, object: Bytes) -> Boxed<'a, Result<(), StoreError>>;
    /// All of such an object.
    fn get_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Bytes, StoreError>>;
    /// Removes one; one that is not there is no error.
    fn delete_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), StoreError>>;
    /// The names below a folder (`<domain>/checkpoints`), in order, up to two
    /// folders deep.
    fn list_named<'a>(&'a self, dir: &'a str) -> Boxed<'a, Result<Vec<String>, StoreError>>;
    /// The domains that have objects here.
    fn domains(&self) -> Boxed<'_, Result<Vec<StoreId>, StoreError>>;
    /// Writes, reads and removes a small object: `Ok` with remarks for the operator (for example:
    /// conditional PUT is not kept), or why the store is unusable.
    fn probe(&self) -> Boxed<'_, Result<Vec<String>, StoreError>>;
    /// Bytes free, where that means anything.
    fn bytes_free(&self) -> Option<u64>;
    /// Whether it outlives its process.
    fn is_lasting(&self) -> bool {
        true
    }
}
