//! Files of our own, through the ring: the reactor never blocks on them.
//!
//! Also the blocking calls that threads outside the reactors use.

use std::{io, path::Path};

use bytes::Bytes;

/// An open file.
#[derive(Debug)]
pub struct File {}

impl File {
    /// Opens for reading and writing; creates it when `create` is set. Blocking: at start only.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &Path, create: bool) -> io::Result<Self> {
        let _ = (path, create);
        todo!()
    }

    /// Writes all the buffers one after another from `offset`, without copying them; resumes short
    /// writes.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn write_all_at(&self, buffers: &[Bytes], offset: u64) -> io::Result<()> {
        let _ = (buffers, offset);
        todo!()
    }

    /// Makes what was written survive a power cut (`fdatasync`). After an error what was written
    /// since the last success may be gone for good, even when a later call succeeds.
    ///
    /// # Errors
    /// The kernel's; final.
    pub async fn sync_data(&self) -> io::Result<()> {
        todo!()
    }

    /// The first `len` bytes, mapped and shared with the page cache: what is written later is seen.
    /// All slices of it share one count, so `Bytes::is_unique` tells when nobody reads any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn map(&self, len: usize) -> io::Result<Bytes> {
        let _ = len;
        todo!()
    }
}
