//! Values of the store, as the state machine and the readers handle them.

mod layout;

use vocab::{
    Attr, BlockHash, BlockIndex, Cookie, FileKind, InodeId, Packed, Sequence, ShareId, Time,
};

use crate::{BlockEntry, ShareRoot, command::DataState, key::ContentId};

/// Version of the store as a whole: which keys there are and what they mean.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// First cookie of a directory: 1 and 2 stand for `.` and `..`.
pub(crate) const COOKIE_FIRST: Cookie = Cookie(3);

/// A value that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Garbage;

/// A value of the store.
pub(crate) trait Record: Sized {
    fn encode(&self) -> Box<[u8]>;
    fn decode(bytes: &[u8]) -> Result<Self, Garbage>;
}

/// An inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    /// `change` counts the commands only, `used` the stored blocks only: see [`Inode::attr`].
    pub(crate) stored: Attr,
    pub(crate) body: Body,
}

/// What only some kinds have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Regular(RegularBody),
    Directory(DirectoryBody),
    Other,
}

/// What the engine knows of a file's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegularBody {
    /// Records up to here are in the size and the times.
    pub(crate) data_seq: Sequence,
    /// The last truncate among them.
    pub(crate) trunc_seq: Sequence,
    /// How many records there were.
    pub(crate) data_change: u64,
    /// Records up to here are dead.
    pub(crate) sealed: Sequence,
    /// `createverf3` of the exclusive create that made it.
    pub(crate) exclusive: Option<[u8; 8]>,
}

/// What only directories have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryBody {
    pub(crate) parent: InodeId,
    pub(crate) cookie_next: Cookie,
    pub(crate) entries: u64,
}

/// Where a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameEntry {
    pub(crate) inode: InodeId,
    pub(crate) cookie: Cookie,
    pub(crate) kind: FileKind,
}

/// What stands at a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CookieEntry {
    pub(crate) inode: InodeId,
    pub(crate) kind: FileKind,
    pub(crate) name: Box<[u8]>,
}

/// A block of a file; the key has its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapEntry {
    pub(crate) hash: BlockHash,
    pub(crate) stored_len: u32,
    pub(crate) valid_len: u32,
    pub(crate) watermark: Sequence,
}

/// A stored block and how many map entries name it; or a pack and how many blocks rest in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) count: u64,
    /// 0 for a pack.
    pub(crate) stored_len: u32,
    pub(crate) state: CountState,
    pub(crate) role: Role,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A block with an object of its own.
    Own,
    /// A block in a pack.
    Packed(Packed),
    /// A pack.
    Pack {
        /// Bytes of the blocks that rest in it, as stored.
        bytes: u64,
        /// When a block last left it.
        left: Time,
    },
}

/// Whether the block's object stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CountState {
    /// The count is above 0.
    Live,
    /// The count is above 0, and the object is damaged or gone.
    Damaged,
    /// The count is 0 since then.
    Condemned(Time),
    /// The count is 0 since then, and the object is being deleted.
    Deleting(Time),
}

/// The store itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) version: u32,
    pub(crate) store: u64,
}

/// What is given out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) inode: InodeId,
    pub(crate) share: ShareId,
    pub(crate) content: ContentId,
}

/// A share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) root: ShareRoot,
    pub(crate) content: ContentId,
}

/// Totals of a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShareTotals {
    pub(crate) inodes: u64,
    pub(crate) bytes_used: u64,
}

/// A number by itself: a content store's id or its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u64);

impl Inode {
    /// The attributes as a client may see them.
    pub(crate) fn attr(&self) -> Attr {
        let mut attr = self.stored;
        if let Body::Regular(body) = self.body {
            attr.change += body.data_change;
            // Archivers take a file that costs nothing for one big hole, and skip its bytes, which
            // may still be on their way to the store.
            attr.used = attr.used.max(attr.size.min(512));
        }
        attr
    }

    pub(crate) fn id(&self) -> InodeId {
        self.stored.inode
    }

    pub(crate) fn directory(&self) -> Option<&DirectoryBody> {
        match &self.body {
            Body::Directory(body) => Some(body),
            Body::Regular(_) | Body::Other => None,
        }
    }

    pub(crate) fn regular(&self) -> Option<&RegularBody> {
        match &self.body {
            Body::Regular(body) => Some(body),
            Body::Directory(_) | Body::Other => None,
        }
    }

    /// What the log has told the engine.
    pub(crate) fn data_state(&self) -> DataState {
        let body = self.regular().copied().unwrap_or_default();
        DataState {
            sequence: body.data_seq,
            size: self.stored.size,
            mtime: self.stored.mtime,
            ctime: self.stored.ctime,
            change: body.data_change,
            floor: u64::MAX,
            truncate: body.trunc_seq,
        }
    }
}

impl MapEntry {
    /// A block of zeroes: no object, and a watermark all the same.
    pub(crate) fn zeroes(watermark: Sequence) -> Self {
        Self { hash: BlockHash([0; 32]), stored_len: 0, valid_len: 0, watermark }
    }

    /// Whether there is an object behind it.
    pub(crate) fn names_object(&self) -> bool {
        self.stored_len > 0
    }

    pub(crate) fn at(&self, index: BlockIndex) -> BlockEntry {
        BlockEntry {
            index,
            hash: self.hash,
            stored_len: self.stored_len,
            valid_len: self.valid_len,
            watermark: self.watermark,
        }
    }
}
