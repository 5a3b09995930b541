//! The log: what a reply rests on. The only room of the local path that makes bytes durable.
//!
//! Absent: names, permissions, blocks, the content store.
//!
//! Reading order: `FORMAT.md`, [`append`], [`sync`], [`recover`] with `scan`, `walk` and
//! `quarantine`, [`check`], [`segments`].
//!
//! Invariants: sequences rise by one within a life of the log and never repeat. Records reach the
//! file in that order, one batch at a time. A failed write or sync is final. A segment is
//! overwritten only when nobody holds a view of it and the manifest on disk no longer lists it.

pub mod append;
pub mod check;
mod format;
mod log;
mod manifest;
mod quarantine;
pub mod recover;
mod scan;
pub mod segments;
pub mod sync;
mod walk;

use std::{path::PathBuf, rc::Rc};

use bytes::Bytes;
use vocab::{
    Error, FileId, Sequence, SliceId, Time, Verifier,
    durable::{Durable, Logged},
    limits,
};

use check::Unchecked;
use log::Log;

/// Where a log lives and how large it may grow.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of all logs of this server; this one takes `slice-NN` below it.
    pub dir: PathBuf,
    /// Whose log it is.
    pub slice: SliceId,
    /// Most bytes of all its segments together; at least two segments are used.
    pub log_bytes_max: u64,
    /// Open a log that lost records that nothing names: the operator knows, and keeps a copy.
    pub accepts_damage: bool,
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
pub struct Wal {
    log: Rc<Log>,
}

/// A record that has its place in the order, and may not be in the file yet.
#[derive(Debug)]
#[must_use = "await `logged`, else nobody knows whether the record was written"]
pub struct Ticket {
    /// Its place.
    pub sequence: Sequence,
    log: Rc<Log>,
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
    /// The bytes have not been compared with their checksum: see to it before they are used.
    pub unchecked: Option<Rc<Unchecked>>,
}

/// What [`Wal::open`] found, oldest first.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The records, in order of sequence. Records that nobody needs any more may be among them, and
    /// where older segments were recycled sequences are missing.
    pub records: Vec<Found>,
    /// Bytes of records beyond the torn tail that were seen and cut off.
    pub torn_bytes: u64,
    /// Records with a damaged header that had been synced. Those that the records behind them name
    /// are among `records`; the others are lost, accepted by the operator, and were told.
    pub damaged: u64,
}

impl Wal {
    /// Opens or creates the log of a slice on this reactor.
    ///
    /// Headers are read, and the payloads of the tail that had not been synced. A torn tail is cut.
    /// A header that is damaged although it had been synced is made up for by the one behind it.
    /// Where that one is damaged, too, nobody knows which file lost bytes: an error that names
    /// segment and offset, unless the configuration accepts it.
    ///
    /// # Errors
    /// The kernel's, or what is damaged, in words for the operator.
    pub async fn open(config: Config) -> Result<(Self, Recovered), String> {
        Self::open_sized(config, limits::SEGMENT_BYTES).await
    }

    /// As [`Wal::open`], with segments of another size, for tests: a multiple of 4096. An existing
    /// log keeps its size. A write may have at most a quarter of a segment.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub async fn open_sized(
        config: Config,
        segment_bytes: u32,
    ) -> Result<(Self, Recovered), String> {
        let (log, recovered) = recover::open(&config, segment_bytes).await?;
        Ok((Self { log }, recovered))
    }

    /// Gives a change its place in the order. Runs to its end without waiting, so calls are ordered
    /// as they are made. The bytes of the change stay readable by the caller's own clone until
    /// [`Ticket::logged`] gives a view of the log in exchange.
    ///
    /// # Errors
    /// `Busy` when the log is full, `LogReadOnly` after a failed write or sync, `Stopping` after
    /// [`Wal::close`].
    pub fn append(&self, file: FileId, time: Time, change: Change) -> Result<Ticket, Error> {
        append::append(&self.log, file, time, change)
    }

    /// Resolves when an append has room again, or can only fail: after `Busy`, wait and try again.
    /// Others may be faster.
    pub async fn wait_room(&self) {
        segments::wait_room(&self.log).await;
    }

    /// Makes every change appended before this call survive a power cut. Calls that overlap share
    /// one `fdatasync` (group commit).
    ///
    /// # Errors
    /// `SyncFailed`, for this call and for ever after.
    pub async fn sync(&self) -> Result<Durable, Error> {
        sync::sync(&self.log).await
    }

    /// Waits until every change appended before this call survives a killed process. No more: for
    /// shares whose operator wants it so.
    ///
    /// # Errors
    /// `SyncFailed` after a failed write or sync.
    pub async fn written(&self) -> Result<Durable, Error> {
        sync::written(&self.log).await
    }

    /// Syncs and waits until nothing of this log runs in the background, so that its folder is free
    /// once the last clone is dropped.
    ///
    /// # Errors
    /// `SyncFailed`.
    pub async fn close(self) -> Result<(), Error> {
        let result = self.sync().await;
        self.log.close().await;
        drop(result?);
        // Something may have been appended while the first one ran.
        drop(self.sync().await?);
        self.log.close().await;
        segments::note_durable(&self.log).await
    }

    /// This life of the log.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.log.verifier
    }

    /// Bytes of segments that hold records somebody still needs.
    #[must_use]
    pub fn bytes_live(&self) -> u64 {
        segments::bytes_live(&self.log)
    }

    /// Most bytes it may take.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.log.state.borrow().segments_max as u64 * self.log.segment_bytes
    }

    /// Whether a write or sync failed: nothing is taken any more, until a restart.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.log.state.borrow().failed
    }

    /// Bytes that a power cut would lose now: appended and not synced.
    #[must_use]
    pub fn bytes_at_risk(&self) -> u64 {
        self.log.state.borrow().bytes_at_risk()
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
        append::logged(self).await
    }
}

#[cfg(test)]
mod tests;
