//! File handles: which inode of which share, checked, the same after rename and restart.
//!
//! Layout, little endian, 32 bytes: version u8, 3 zero bytes, share u32, store u64, inode u64,
//! generation u32, checksum u32 (the low half of xxh3 of all before it, seeded with the version).

use vocab::{Error, InodeId, ShareId, StoreId};

/// Bytes of a handle on the wire.
pub const HANDLE_BYTES: usize = 32;

/// A handle whose checksum was right. Whether the inode still lives is for the operation to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The share it was given out by.
    pub share: ShareId,
    /// The metadata store.
    pub store: StoreId,
    /// The inode.
    pub inode: InodeId,
    /// The inode's generation.
    pub generation: u32,
}

impl Handle {
    /// For the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HANDLE_BYTES] {
        todo!()
    }

    /// From the wire.
    ///
    /// # Errors
    /// `BadHandle`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let _ = bytes;
        todo!()
    }
}
