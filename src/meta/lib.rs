//! Names, attributes, directories, links, block maps, reference counts.
//!
//! Absent: the bytes of files, and paths; an inode is its id. Permission is decided in `vfs`.

pub mod command;

mod capture;
mod check;
#[cfg(test)]
mod conformance;
mod core;
mod engine;
mod export;
mod key;
mod listings;
mod machine;
mod names;
mod read;
mod record;
mod shards;
mod table;
#[cfg(test)]
mod tests;
mod threads;
mod tx;
mod writer;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use bytes::Bytes;
use vocab::{
    Attr, BlockHash, BlockIndex, Cookie, Error, InodeId, PackId, Packed, Sequence, ShareId,
    StoreId, Time,
};

pub use capture::{Capture, Delta};
pub use check::{Checked, Finding, User};
use command::{Command, DataState, Outcome};
use core::Core;
pub use export::{import, import_here};
use threads::Threads;

/// Where a metadata store keeps its keys and values.
#[derive(Clone, Debug)]
pub enum Engine {
    /// In this process, gone with it.
    Memory,
    /// An LSM on disk (`badger` in the configuration).
    Lsm {
        /// Its folder, made when missing.
        path: PathBuf,
    },
    /// For simulated worlds: in memory, with a journal on the world's disk.
    Journal {
        /// The journal.
        path: PathBuf,
    },
}

/// An open metadata store: a table of live attributes and a cache of names in front of one
/// single-writer state machine over a key-value engine. Cloning shares it; usable from any thread.
#[derive(Clone, Debug)]
pub struct Store {
    threads: Arc<Threads>,
}

/// A block of a file as the block map has it. A block of zeroes has no object: its lengths are 0,
/// and its hash means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// Which block of the file.
    pub index: BlockIndex,
    /// Its identity.
    pub hash: BlockHash,
    /// Plain bytes of the stored block.
    pub stored_len: u32,
    /// Bytes of it that still count: a truncate may have cut it. What follows reads as zeroes.
    pub valid_len: u32,
    /// Records of the log up to here are in it.
    pub watermark: Sequence,
}

/// What the store counts, and where it rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// A block with an object of its own.
    Own,
    /// A block in a pack.
    Packed(Packed),
    /// A pack.
    Pack {
        /// Bytes of the blocks that rest in it, as stored.
        bytes: u64,
    },
}

impl Rest {
    /// The pack that a block rests in.
    #[must_use]
    pub fn packed(self) -> Option<Packed> {
        match self {
            Self::Packed(packed) => Some(packed),
            Self::Own | Self::Pack { .. } => None,
        }
    }

    /// Whether it is a pack.
    #[must_use]
    pub fn is_pack(self) -> bool {
        matches!(self, Self::Pack { .. })
    }
}

impl From<record::Role> for Rest {
    fn from(role: record::Role) -> Self {
        match role {
            record::Role::Own => Self::Own,
            record::Role::Packed(packed) => Self::Packed(packed),
            record::Role::Pack { bytes, .. } => Self::Pack { bytes },
        }
    }
}

/// A block or a pack that the store counts in a content store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its identity.
    pub hash: BlockHash,
    /// What it is.
    pub rests: Rest,
    /// Plain bytes; 0 for a pack, and for an object that a sweep found and nobody has read.
    pub stored_len: u32,
    /// Map entries that name it; blocks that rest in it.
    pub references: u64,
    /// Since when none does.
    pub since: Option<Time>,
    /// Its object may be gone already.
    pub is_deleting: bool,
    /// Its object was found damaged or gone.
    pub is_damaged: bool,
}

impl Counted {
    /// Whether a reference can rely on it without a PUT, as things stand.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.stored_len > 0 && !self.is_deleting && !self.is_damaged
    }
}

/// A share's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareRoot {
    /// Its id, given out once.
    pub share: ShareId,
    /// Its name, for example `/export`.
    pub name: String,
    /// Its root directory.
    pub root: InodeId,
    /// The content store that its blocks rest in, by name.
    pub content: String,
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// Its name.
    pub name: Bytes,
    /// Its inode.
    pub inode: InodeId,
    /// Where a listing resumes after it.
    pub cookie: Cookie,
    /// Its attributes, when asked for.
    pub attr: Option<Attr>,
}

/// Part of a listing.
#[derive(Clone, Debug, Default)]
pub struct DirPage {
    /// Entries in order of their cookies, without `.` and `..`.
    pub entries: Vec<DirEntry>,
    /// Nothing follows.
    pub end: bool,
}

/// Counters of a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Inodes in use.
    pub inodes: u64,
    /// Sum of `used` of all inodes of a share or of all shares.
    pub bytes_used: u64,
    /// Bytes of distinct blocks.
    pub bytes_stored: u64,
}

/// How a logged write or truncate changes the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeChange {
    /// A write that ends here: the length is at least this.
    AtLeast(u64),
    /// A truncate: the length is exactly this.
    Exactly(u64),
}

impl Store {
    /// Opens or creates a store and starts its writer and reader threads. Blocking.
    ///
    /// # Errors
    /// In words for the operator: what is wrong and what to do.
    pub fn open(name: &str, engine: &Engine) -> Result<Self, String> {
        reactor::thread::wait(Self::open_here(name, engine))
    }

    /// As [`Store::open`], also in a simulated world: writer and readers are its tasks then.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_here(name: &str, engine: &Engine) -> Result<Self, String> {
        let engine = match engine {
            Engine::Memory => core::memory(),
            Engine::Lsm { path } => core::lsm(path)?,
            Engine::Journal { path } => core::journal(path)?,
        };
        let threads = Threads::start(Core::open(name, engine).await?)
            .map_err(|error| format!("cannot start the threads of `{name}`: {error}"))?;
        Ok(Self { threads: Arc::new(threads) })
    }

    /// Its identity, made at creation.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.core().id
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core().name
    }

    /// The roots of its shares.
    ///
    /// # Errors
    /// `Io`.
    pub fn shares(&self) -> Result<Vec<ShareRoot>, Error> {
        self.core().read(read::shares)
    }

    /// Live attributes, when the table has them. Never blocks.
    #[must_use]
    pub fn peek_attr(&self, inode: InodeId) -> Option<Attr> {
        self.core().table.peek(inode)
    }

    /// Live attributes: the table's, else the engine's.
    ///
    /// # Errors
    /// `Stale` when there is no such inode.
    pub async fn attr(&self, inode: InodeId) -> Result<Attr, Error> {
        match self.peek_attr(inode) {
            Some(attr) => Ok(attr),
            None => self.threads.ask(move |core| core.attr(inode)).await,
        }
    }

    /// What a name leads to, when the cache knows (`Some(None)`: it knows that there is nothing).
    #[must_use]
    pub fn peek_lookup(&self, dir: InodeId, name: &[u8]) -> Option<Option<InodeId>> {
        self.core().names.peek(dir, name)
    }

    /// What a name in a directory leads to, `.` and `..` included (`..` of a share's root is the
    /// root).
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `Stale`.
    pub async fn lookup(&self, dir: InodeId, name: &[u8]) -> Result<Attr, Error> {
        vocab::name::check(name)?;
        let known = self.peek_lookup(dir, name).and_then(|found| match found {
            Some(inode) => self.peek_attr(inode).map(Ok),
            // The names of a directory that is gone lead nowhere, and it must be said why.
            None => self.peek_attr(dir).map(|_| Err(Error::NotFound)),
        });
        if let Some(known) = known {
            return known;
        }
        let name: Box<[u8]> = name.into();
        self.threads.ask(move |core| core.lookup(dir, &name)).await
    }

    /// Entries after a cookie, at most `entries_max`. Neither repeats nor skips an entry that was
    /// there all along, whatever changes meanwhile.
    ///
    /// # Errors
    /// `NotDirectory`, `Stale`.
    pub async fn readdir(
        &self,
        dir: InodeId,
        after: Cookie,
        entries_max: usize,
        with_attr: bool,
    ) -> Result<DirPage, Error> {
        if let Some(page) = self.core().readdir_near(dir, after, entries_max, with_attr) {
            return Ok(page);
        }
        let ask = move |core: &Core| core.readdir(dir, after, entries_max, with_attr);
        self.threads.ask(ask).await
    }

    /// The parent of a directory; of a share's root, itself.
    ///
    /// # Errors
    /// `NotDirectory`, `Stale`.
    pub async fn parent(&self, dir: InodeId) -> Result<InodeId, Error> {
        self.threads.ask(move |core| core.read(|view| read::parent(view, dir))).await
    }

    /// The path of a symlink.
    ///
    /// # Errors
    /// `Invalid` when it is none, `Stale`.
    pub async fn readlink(&self, inode: InodeId) -> Result<Box<[u8]>, Error> {
        self.threads.ask(move |core| core.read(|view| read::readlink(view, inode))).await
    }

    /// The block map from `first`, at most `count` indexes wide; blocks that were never written are
    /// not in it.
    ///
    /// # Errors
    /// `Stale`.
    pub async fn blocks(
        &self,
        inode: InodeId,
        first: BlockIndex,
        count: u32,
    ) -> Result<Vec<BlockEntry>, Error> {
        self.threads
            .ask(move |core| core.read(|view| read::blocks(view, inode, first, count)))
            .await
    }

    /// The data state that the engine holds: what recovery compares the log with.
    ///
    /// # Errors
    /// `Stale` when there is no such inode.
    pub async fn data_state(&self, inode: InodeId) -> Result<DataState, Error> {
        self.threads.ask(move |core| core.read(|view| read::data_state(view, inode))).await
    }

    /// Up to which sequence the log's records of an inode are dead ([`Command::Seal`]); 0 at first.
    ///
    /// # Errors
    /// `Stale` when there is no such inode.
    pub async fn sealed(&self, inode: InodeId) -> Result<Sequence, Error> {
        self.threads.ask(move |core| core.read(|view| read::sealed(view, inode))).await
    }

    /// Whether blocks with this hash are stored already in that content store (a hint: the writer
    /// decides when the block is set).
    ///
    /// # Errors
    /// `Io`.
    pub async fn is_stored(&self, content: &str, hash: BlockHash) -> Result<bool, Error> {
        Ok(self.count_of(content, hash).await?.is_some_and(|counted| counted.is_usable()))
    }

    /// What is counted under an id in a content store.
    ///
    /// # Errors
    /// `Io`.
    pub async fn count_of(&self, content: &str, id: BlockHash) -> Result<Option<Counted>, Error> {
        let content = content.to_owned();
        let ask = move |core: &Core| core.read(|view| read::count_of(view, &content, id));
        self.threads.ask(ask).await
    }

    /// All blocks that rest in a pack. Reads all counts: for when the pack itself cannot say.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub async fn packed_in(&self, content: &str, pack: PackId) -> Result<Vec<Counted>, Error> {
        let content = content.to_owned();
        let ask = move |core: &Core| core.read(|view| read::packed_in(view, &content, pack));
        self.threads.ask(ask).await
    }

    /// Counters, of one share or of all.
    ///
    /// # Errors
    /// `Io`.
    pub async fn totals(&self, share: Option<ShareId>) -> Result<Totals, Error> {
        self.threads.ask(move |core| core.read(|view| read::totals(view, share))).await
    }

    /// Applies a command. Answers once it is durable (group commit) and visible to every read.
    ///
    /// # Errors
    /// The command's.
    pub async fn submit(&self, command: Command) -> Result<Outcome, Error> {
        self.threads.submit(command).await
    }

    /// The effect of a record of the log on the live attributes: length, `used`, `mtime`, `ctime`,
    /// `change`. The engine learns of it later, by [`Command::FlushData`] or [`Command::SetBlock`];
    /// until then the entry stays in the table.
    ///
    /// Returns the attributes before and after, or `None` when the table does not have the inode:
    /// call [`Store::attr`] and try again.
    pub fn note_data(
        &self,
        inode: InodeId,
        sequence: Sequence,
        size: SizeChange,
        time: Time,
    ) -> Option<(Attr, Attr)> {
        self.core().table.note_data(inode, sequence, size, time)
    }

    /// The data state of the live attributes, to be flushed; `None` when the engine has it already
    /// or the table does not know the inode.
    #[must_use]
    pub fn unflushed(&self, inode: InodeId) -> Option<DataState> {
        self.core().table.unflushed(inode)
    }

    /// A file was read: `atime`, kept in memory by the rules of `relatime`.
    pub fn note_read(&self, inode: InodeId, time: Time) {
        self.core().table.note_read(inode, time);
    }

    /// Inodes without a name that still hold blocks or log records, for the reaper.
    ///
    /// # Errors
    /// `Io`.
    pub async fn orphans(&self, max: usize) -> Result<Vec<InodeId>, Error> {
        self.threads.ask(move |core| core.read(|view| read::orphans(view, max))).await
    }

    /// Blocks whose count has been 0 since before `before`, for the collector; also those whose
    /// deletion began and did not end.
    ///
    /// # Errors
    /// `Io`.
    pub async fn condemned(
        &self,
        content: &str,
        before: Time,
        max: usize,
    ) -> Result<Vec<BlockHash>, Error> {
        let content = content.to_owned();
        let ask = move |core: &Core| core.read(|view| read::condemned(view, &content, before, max));
        self.threads.ask(ask).await
    }

    /// Blocks that the store counts in a content store, in order of their hashes, above `after`.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub async fn counted(
        &self,
        content: &str,
        after: Option<BlockHash>,
        max: usize,
    ) -> Result<Vec<Counted>, Error> {
        let content = content.to_owned();
        let ask = move |core: &Core| core.read(|view| read::counted(view, &content, after, max));
        self.threads.ask(ask).await
    }

    /// Checks whether all records agree with each other, in one view of the store. Reads
    /// everything.
    ///
    /// # Errors
    /// `Stopping`.
    pub async fn check(&self) -> Result<Checked, Error> {
        self.threads.ask(|core: &Core| core.read(|view| Ok(check::check(view)))).await
    }

    /// Does what a check of this store proposed. Nothing may have changed in between, and nobody
    /// may have read: what they remember would be wrong.
    ///
    /// # Errors
    /// `Io`.
    pub async fn repair(&self, checked: Checked) -> Result<(), Error> {
        self.threads.repair(checked.repairs).await
    }

    /// Which files refer to some blocks. Reads all block maps and all names.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub async fn users(&self, hashes: BTreeSet<BlockHash>) -> Result<Vec<User>, Error> {
        self.threads.ask(move |core: &Core| core.read(|view| check::users(view, &hashes))).await
    }

    /// Shows all keys and values of one view of the store in parts ([`import`] takes them), until
    /// `take` says `false`; how many pairs there were. `begun` is told the view's moment: blocks
    /// that it refers to are let go of then or later. Blocking: on a plain thread.
    ///
    /// # Errors
    /// `Io`; `Stopping` when it was ended early.
    pub fn export(
        &self,
        begun: impl FnOnce(Time),
        take: &mut dyn FnMut(Vec<u8>) -> bool,
    ) -> Result<u64, Error> {
        let (time, view) = {
            let mut captures = self.core().captures.lock();
            (captures.mark(), self.core().engine.view())
        };
        begun(time);
        export::export(&*view, take)
    }

    /// Blocks are let go of now or later: before anything that an earlier life left undone is done,
    /// for a checkpoint of that life may name them.
    pub fn mark(&self) {
        self.core().captures.lock().mark();
    }

    /// Keeps what is committed from now on, at most about so many bytes.
    #[must_use]
    pub fn capture(&self, bytes_max: usize) -> Capture {
        Capture::new(&self.threads, bytes_max)
    }

    /// Whether it outlives its process.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.core().engine.is_lasting()
    }

    /// Ends the threads once what was submitted is durable.
    pub fn close(&self) {
        self.threads.stop();
    }

    fn core(&self) -> &Core {
        &self.threads.core
    }
}
