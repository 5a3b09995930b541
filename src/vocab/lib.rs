//! Nouns, units, limits, ids, credentials, errors, and evidence of durability.
//!
//! Absent: I/O, a clock, dependencies.

pub mod attr;
pub mod credentials;
pub mod durable;
pub mod error;
pub mod limits;
pub mod name;
pub mod time;

pub use attr::{Attr, Device, FileKind, PreAttr};
pub use credentials::Credentials;
pub use error::Error;
pub use time::Time;

/// A file or directory within its metadata store, for as long as it exists and for nothing else
/// afterwards: ids are never reused. Never 0 (a file id of 0 panics some NFS clients).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(pub u64);

/// A share. Given out once by the metadata store that holds its root, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareId(pub u32);

/// A metadata store, random at its creation. It is the deduplication domain of its blocks and
/// tells the log of one store's files from another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u64);

/// A file among all stores of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The metadata store that knows the inode.
    pub store: StoreId,
    /// The inode.
    pub inode: InodeId,
}

/// A slice of all files: one owner, one log, one set of dirty ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceId(pub u16);

/// The order of the records of one slice's log. Rises with every record and never repeats, not
/// even after the log is lost: a fresh log starts at the wall clock's microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// Which block of a file: byte offset divided by [`limits::BLOCK_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockIndex(pub u32);

/// BLAKE3-256 of a block's plain bytes: its identity in the content store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHash(pub [u8; 32]);

impl std::fmt::Display for BlockHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// An object that holds many small blocks: random, and as long as a hash, so that both are listed
/// and counted alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(pub BlockHash);

/// Where a block rests that shares its object with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The object.
    pub pack: PackId,
    /// Bytes of it before the block.
    pub at: u32,
    /// Bytes of the block as stored.
    pub bytes: u32,
}

/// A position in a directory that stays valid under change. 0 is the start; 1 and 2 stand for `.`
/// and `..`; entries begin at 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

/// One life of the log. Changes whenever bytes that were only logged may have been lost, so that a
/// client that sees another one sends them again (`writeverf3`, RFC 1813 section 3.3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verifier(pub u64);
