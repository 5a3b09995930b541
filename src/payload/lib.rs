//! The bytes of files: routing to slices, read-through, write, flush, truncate, sparse.
//!
//! Absent: names, permissions. A file is its id; who may touch it was decided in `vfs`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use blocks::Content;
use bytes::Bytes;
use meta::Store;
use reactor::mailbox::Remote;
use vocab::{
    Attr, Error, FileId, InodeId,
    durable::{Durable, Logged},
};

/// How the data path is laid out.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of logs.
    pub dir: PathBuf,
    /// Most bytes of clean blocks in memory, all slices together.
    pub cache_bytes_max: u64,
    /// Most bytes of log, all slices together.
    pub log_bytes_max: u64,
    /// A dirty block that rests this long is uploaded.
    pub settle: Duration,
    /// The core of the uploader.
    pub upload_core: Option<usize>,
    /// A block that nobody refers to is deleted this long after its last reference went.
    pub gc_grace: Duration,
    /// How often such blocks are looked for.
    pub gc_interval: Duration,
}

impl Config {
    /// Defaults for a small machine; the folder of logs is the caller's.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            cache_bytes_max: 1 << 30,
            log_bytes_max: 2 << 30,
            settle: Duration::from_secs(10),
            upload_core: None,
            gc_grace: Duration::from_secs(600),
            gc_interval: Duration::from_secs(60),
        }
    }
}

/// How safe a write must be before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Logged.
    Unstable,
    /// Durable.
    Stable,
}

/// Evidence of what a write got; at least what was asked.
#[derive(Debug)]
pub enum Evidence {
    /// For an unstable write.
    Logged(Logged),
    /// For a stable one.
    Durable(Durable),
}

/// What a read found.
#[derive(Debug)]
pub struct ReadDone {
    /// The bytes, as views of the log and the cache, in order.
    pub parts: Vec<Bytes>,
    /// Their sum.
    pub len: u32,
    /// The end of the file was reached.
    pub eof: bool,
    /// The file's attributes.
    pub attr: Attr,
}

/// What a write did.
#[derive(Debug)]
pub struct WriteDone {
    /// How safe.
    pub evidence: Evidence,
    /// The file's attributes before.
    pub pre: Attr,
    /// And after.
    pub attr: Attr,
}

/// A metadata store and the content store of one of its shares: where a file's parts are.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its metadata store.
    pub meta: Store,
    /// Its content store's name, for the counts.
    pub content_name: Arc<str>,
    /// Its content store.
    pub content: Content,
}

/// Counters for metrics and status, all slices together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Bytes of clean blocks in memory.
    pub cache_bytes: u64,
    /// Bytes of dirty ranges.
    pub dirty_bytes: u64,
    /// Bytes of log segments in use.
    pub log_bytes: u64,
    /// Reads answered from memory or log.
    pub cache_hits: u64,
    /// Reads that needed the content store.
    pub cache_misses: u64,
    /// Blocks put.
    pub uploads: u64,
    /// Blocks that were there already.
    pub upload_dedup_hits: u64,
    /// Bytes put, before compression.
    pub upload_bytes: u64,
    /// Uploads that failed and were tried again.
    pub upload_retries: u64,
}

/// The data path of this server. Cloning shares it; usable from any reactor.
#[derive(Clone, Debug)]
pub struct Payload {
    _inner: Arc<()>,
}

impl Payload {
    /// Opens the logs, replays what the stores do not have yet, starts the uploader.
    ///
    /// `places`: of every share, so that found records find their stores. Call it on a plain
    /// thread, once the reactors run; it returns when all is ready to serve.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn start(config: &Config, reactors: &[Remote], places: Vec<Place>) -> Result<Self, String> {
        let _ = (config, reactors, places);
        todo!()
    }

    /// Reads up to `len` bytes.
    ///
    /// # Errors
    /// `Stale`, `Busy`, `Corrupt`, `Io`.
    pub async fn read(
        &self,
        place: &Place,
        inode: InodeId,
        offset: u64,
        len: u32,
    ) -> Result<ReadDone, Error> {
        let _ = (place, inode, offset, len);
        todo!()
    }

    /// Writes bytes (not empty, at most `TRANSFER_BYTES_MAX`).
    ///
    /// # Errors
    /// `Stale`, `Busy` when the log stays full, `LogReadOnly`, `SyncFailed`, `TooBig`.
    pub async fn write(
        &self,
        place: &Place,
        inode: InodeId,
        offset: u64,
        bytes: Bytes,
        stability: Stability,
    ) -> Result<WriteDone, Error> {
        let _ = (place, inode, offset, bytes, stability);
        todo!()
    }

    /// Makes all that was written to the file durable.
    ///
    /// # Errors
    /// `SyncFailed`.
    pub async fn commit(&self, place: &Place, inode: InodeId) -> Result<Durable, Error> {
        let _ = (place, inode);
        todo!()
    }

    /// Sets the length; durable when it answers. The attributes before and after.
    ///
    /// # Errors
    /// As [`Payload::write`].
    pub async fn truncate(
        &self,
        place: &Place,
        inode: InodeId,
        size: u64,
    ) -> Result<(Attr, Attr), Error> {
        let _ = (place, inode, size);
        todo!()
    }

    /// The file lost its last name: drops what is dirty of it and has it reaped.
    pub fn forget(&self, place: &Place, inode: InodeId) {
        let _ = (place, inode);
        todo!()
    }

    /// Uploads everything dirty and waits until it rests in the content stores.
    ///
    /// # Errors
    /// `Busy` when a store is away.
    pub fn drain(&self, patience: Duration) -> Result<(), Error> {
        let _ = patience;
        todo!()
    }

    /// Forgets all clean blocks, so that reads come from the content store.
    pub fn drop_clean(&self) {
        todo!()
    }

    /// Counters.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        todo!()
    }

    /// Syncs the logs and ends the uploader. Dirty blocks stay in the log for the next start.
    pub fn stop(&self) {
        todo!()
    }

    /// The file of a place.
    #[must_use]
    pub fn file(place: &Place, inode: InodeId) -> FileId {
        FileId { store: place.meta.id(), inode }
    }
}
