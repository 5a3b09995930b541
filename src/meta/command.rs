//! Mutations as values: what the single writer applies, with all non-determinism stamped in.
//!
//! Invariant: applying the same commands in the same order gives the same store, on every engine
//! and on every replica. Ids and cookies come from counters inside the store.

use vocab::{
    Attr, BlockHash, BlockIndex, Device, FileKind, InodeId, Packed, PreAttr, Sequence, Time,
};

use crate::{Rest, ShareRoot};

/// The part of a file that its log changes and the engine learns of lazily.
///
/// Everything the log says up to `sequence` is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataState {
    /// The last record that is in it.
    pub sequence: Sequence,
    /// Length in bytes.
    pub size: u64,
    /// Last change of the bytes.
    pub mtime: Time,
    /// Last change of bytes or attributes.
    pub ctime: Time,
    /// How many records changed the file: the log's part of [`Attr::change`].
    pub change: u64,
    /// The smallest length since the engine's last state: stored blocks count only below it.
    /// `u64::MAX` when there was no truncate.
    pub floor: u64,
    /// The last truncate behind `floor`: blocks whose watermark is at or above it have it in them.
    /// Means nothing when there was none.
    pub truncate: Sequence,
}

/// Attributes of a new inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewAttr {
    /// `mode & 0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Given `atime`, else `now`.
    pub atime: Option<Time>,
    /// Given `mtime`, else `now`.
    pub mtime: Option<Time>,
}

/// What to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewKind {
    /// An empty file. With an exclusive create, the client's verifier: a second create with the
    /// same one finds the file that the first one made (RFC 1813 section 3.3.8).
    Regular {
        /// `createverf3`.
        exclusive: Option<[u8; 8]>,
    },
    /// An empty directory.
    Directory,
    /// A path.
    Symlink(Box<[u8]>),
    /// A device, pipe or socket.
    Special(FileKind, Device),
}

/// Attributes to change; `None` leaves one alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttrChange {
    /// `mode & 0o7777`.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last read.
    pub atime: Option<Time>,
    /// Last change of the bytes.
    pub mtime: Option<Time>,
}

/// A mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes a share's root directory, or finds it. `Invalid` when the share exists with another
    /// content store.
    ShareCreate {
        /// The share's name.
        name: String,
        /// Its content store's name.
        content: String,
        /// Of the root directory.
        attr: NewAttr,
        /// When.
        now: Time,
        /// Random.
        generation: u32,
    },
    /// Makes an inode with a name. `Exists` when the name is taken (an exclusive create with the
    /// same verifier finds it instead).
    Create {
        /// Where.
        dir: InodeId,
        /// Its name.
        name: Box<[u8]>,
        /// What.
        kind: NewKind,
        /// Its attributes.
        attr: NewAttr,
        /// When.
        now: Time,
        /// Random.
        generation: u32,
    },
    /// One more name for an inode that is no directory.
    Link {
        /// The inode.
        inode: InodeId,
        /// Where.
        dir: InodeId,
        /// The name.
        name: Box<[u8]>,
        /// When.
        now: Time,
    },
    /// Removes a name. The inode goes with its last one; a regular file becomes an orphan until it
    /// is reaped.
    Remove {
        /// Where.
        dir: InodeId,
        /// The name.
        name: Box<[u8]>,
        /// `true`: RMDIR, only an empty directory; `false`: anything but a directory.
        directory: bool,
        /// When.
        now: Time,
    },
    /// Moves a name, replacing what the other name led to when kinds allow (POSIX `rename`).
    Rename {
        /// From where.
        from_dir: InodeId,
        /// The old name.
        from_name: Box<[u8]>,
        /// To where. Not below the inode itself (`Invalid`).
        to_dir: InodeId,
        /// The new name.
        to_name: Box<[u8]>,
        /// When.
        now: Time,
    },
    /// Changes attributes, and takes the unflushed data state along so that order is kept.
    SetAttr {
        /// The inode.
        inode: InodeId,
        /// What to change.
        change: AttrChange,
        /// Only when `ctime` is this, else `GuardMismatch`.
        guard: Option<Time>,
        /// When.
        now: Time,
        /// What [`crate::Store::unflushed`] gave.
        data: Option<DataState>,
    },
    /// Tells the engine what the log did to a file's length and times. Ignored when the engine has
    /// a later sequence.
    FlushData {
        /// The inode.
        inode: InodeId,
        /// Up to where.
        data: DataState,
    },
    /// Records of the inode up to here are dead: what they said is in the engine, or was undone by
    /// later records that are. Rises only; see [`crate::Store::sealed`].
    ///
    /// The slice sends it before it lets go of a truncate's record: an older write may still be
    /// found in a segment that other files keep, and nothing else would tell that it was cut.
    Seal {
        /// The inode.
        inode: InodeId,
        /// Up to where.
        sequence: Sequence,
    },
    /// Enters a stored block into the block map, counts the new one, uncounts the old one.
    SetBlock {
        /// The inode.
        inode: InodeId,
        /// Which block.
        index: BlockIndex,
        /// Its identity and length, or `None` for a block of zeroes.
        block: Option<(BlockHash, u32)>,
        /// Records up to here are in it. `Stale` when the engine knows of a later truncate.
        watermark: Sequence,
        /// The file's data state at the moment of the command.
        data: Option<DataState>,
        /// `false`: the object is believed to be there; the outcome is [`Outcome::NeedPut`] when
        /// the writer does not count it. `true`: it was put after that answer, and less than the
        /// collector's grace period ago. `Busy` while the object is being deleted, and what was
        /// put may go with it: begin again later, with `false`. An object that was put for a block
        /// that is refused or ignored is left to the collector.
        was_put: bool,
        /// Where it was put, when that is a pack.
        packed: Option<Packed>,
        /// When.
        now: Time,
    },
    /// Releases up to `blocks_max` blocks of an orphan, and the orphan itself after the last.
    Reap {
        /// The orphan.
        inode: InodeId,
        /// How many at once.
        blocks_max: u32,
        /// When.
        now: Time,
    },
    /// Objects of the store's domain were found in a content store. Those that no content store
    /// counts are condemned since then, so that the collector takes them: their PUT was never
    /// followed by a `SetBlock`, or their deletion was undone by a power cut. An upload that is
    /// under way counts the object as a condemned one.
    Condemn {
        /// The content store.
        content: String,
        /// Which, and when each was made.
        found: Vec<(BlockHash, Time)>,
        /// They are packs.
        packs: bool,
    },
    /// Blocks were put again elsewhere. Those that do not rest where they were taken from any more,
    /// or are being deleted, are left alone.
    Move {
        /// The content store.
        content: String,
        /// Which, from where, and to which pack (`None`: an object of its own).
        moves: Vec<(BlockHash, Packed, Option<Packed>)>,
        /// When.
        now: Time,
    },
    /// The object of a block in use was found damaged or gone, or good again. What is damaged is
    /// not relied on: the next reference needs a PUT, which makes it good.
    MarkDamaged {
        /// The content store.
        content: String,
        /// Which.
        hash: BlockHash,
        /// Or good.
        is_damaged: bool,
    },
    /// Marks condemned blocks and packs as being deleted: from here on a reference needs a new PUT.
    /// Those that were referenced again meanwhile are left out of the outcome.
    DeleteBegin {
        /// The content store.
        content: String,
        /// Which.
        hashes: Vec<BlockHash>,
    },
    /// The objects are gone: forget the blocks. A pack that loses its last one is condemned.
    DeleteEnd {
        /// The content store.
        content: String,
        /// Which.
        hashes: Vec<BlockHash>,
    },
}

/// What a command did.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// `ShareCreate`.
    Share(ShareRoot),
    /// `Create`.
    Created {
        /// The inode.
        attr: Attr,
        /// The directory before.
        dir_pre: PreAttr,
        /// The directory after.
        dir: Attr,
        /// An exclusive create found what its first try had made.
        replayed: bool,
    },
    /// `Link`.
    Linked {
        /// The inode after.
        attr: Attr,
        /// The directory before.
        dir_pre: PreAttr,
        /// The directory after.
        dir: Attr,
    },
    /// `Remove`.
    Removed {
        /// The inode after; `nlink` 0 when that was its last name.
        attr: Attr,
        /// The directory before.
        dir_pre: PreAttr,
        /// The directory after.
        dir: Attr,
    },
    /// `Rename`.
    Renamed {
        /// The inode that the new name led to before, after it lost that name.
        replaced: Option<Attr>,
        /// The old directory before.
        from_pre: PreAttr,
        /// The old directory after.
        from: Attr,
        /// The new directory before.
        to_pre: PreAttr,
        /// The new directory after.
        to: Attr,
    },
    /// `SetAttr`.
    Changed {
        /// Before.
        pre: PreAttr,
        /// After.
        attr: Attr,
    },
    /// `FlushData`, `Seal`, `SetBlock`, `MarkDamaged`, `Move`, `DeleteEnd`.
    Done,
    /// `SetBlock`: put the object and submit again with `was_put`.
    NeedPut,
    /// `Reap`: whether the orphan is gone.
    Reaped {
        /// Gone.
        done: bool,
    },
    /// `Condemn`: which are condemned now and were not counted before.
    Condemned(Vec<BlockHash>),
    /// `DeleteBegin`: which may be deleted now, and where they rest.
    Deleting(Vec<(BlockHash, Rest)>),
}
