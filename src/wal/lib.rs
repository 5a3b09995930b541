//! The log: what a reply rests on. The only room of the local path that makes bytes durable.
//!
//! Absent: names, permissions, blocks, the content store.
//!
//! Reading order: [`append`], then [`sync`], then [`recover`].

use std::path::PathBuf;

use bytes::Bytes;
use vocab::{
    Error, FileId, Sequence, SliceId, Time, Verifier,
    durable::{Durable, Logged},
};

/// Where a log lives and how large it may grow.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of all logs of this server; this one takes `slice-NN` below it.
    pub dir: PathBuf,
    /// Whose log it is.
    pub slice: SliceId,
    /// Most bytes of all its segments together.
    pub log_bytes_max: u64,
}

/// What a record says.
#[derive(Clone, Debug)]
pub enum Change {
    /// Bytes at an offset.
    Write {
        /// Where in the file, in bytes.
        offset: u64,
        /// The bytes, where they were received. Not empty, at most `TRANSFER_BYTES_MAX`.
        bytes: Bytes,
    },
    /// The file's length is now this; what lay beyond reads as zeroes should it grow again.
    Truncate {
        /// Length in bytes.
        size: u64,
    },
}

/// One log, owned by one slice, on one reactor. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Wal {}

/// A record that has its place in the order, and may not be in the file yet.
#[derive(Debug)]
#[must_use = "await `logged`, else nobody knows whether the record was written"]
pub struct Ticket {
    /// Its place.
    pub sequence: Sequence,
}

/// A record found at the start.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its place.
    pub sequence: Sequence,
    /// Which file it changes.
    pub file: FileId,
    /// When the change was made.
    pub time: Time,
    /// What it says; the bytes are a view of the log.
    pub change: Change,
    /// Holds the record's segment in the log while it lives.
    pub pin: Bytes,
}

/// What [`Wal::open`] found, oldest first.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The records, in order of sequence.
    pub records: Vec<Found>,
    /// Bytes cut off at the torn tail.
    pub torn_bytes: u64,
}

impl Wal {
    /// Opens or creates the log of a slice on this reactor.
    ///
    /// Header and index are read, payloads only to check them. A torn tail is cut. A record that is
    /// damaged with good records after it is an error that names file and offset.
    ///
    /// # Errors
    /// The kernel's, or what is damaged, in words for the operator.
    pub async fn open(config: Config) -> Result<(Self, Recovered), String> {
        let _ = config;
        todo!()
    }

    /// Gives a change its place in the order. Runs to its end without waiting, so calls are ordered
    /// as they are made. The bytes of the change stay readable by the caller's own clone until
    /// [`Ticket::logged`] gives a view of the log in exchange.
    ///
    /// # Errors
    /// `Busy` when the log is full, `LogReadOnly` after a failed write or sync.
    pub fn append(&self, file: FileId, time: Time, change: Change) -> Result<Ticket, Error> {
        let _ = (file, time, change);
        todo!()
    }

    /// Makes every change appended before this call survive a power cut. Calls that overlap share
    /// one `fdatasync` (group commit).
    ///
    /// # Errors
    /// `SyncFailed`, for this call and for ever after.
    pub async fn sync(&self) -> Result<Durable, Error> {
        todo!()
    }

    /// This life of the log.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        todo!()
    }

    /// Bytes of segments that hold records somebody still needs.
    #[must_use]
    pub fn bytes_live(&self) -> u64 {
        todo!()
    }

    /// Most bytes it may take.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        todo!()
    }
}

impl Ticket {
    /// Waits until the record is in the log's file (page cache). Gives the evidence and a view of
    /// the log that holds the payload of a write, or the header of a truncate: while any clone or
    /// slice of the view lives, the segment is not recycled.
    ///
    /// # Errors
    /// `LogReadOnly` when the record could not be written; the log is then read-only for good.
    pub async fn logged(self) -> Result<(Logged, Bytes), Error> {
        todo!()
    }
}
