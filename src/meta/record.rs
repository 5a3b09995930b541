//! Values as bytes: fixed little-endian layouts behind a version byte, checked when they are read.
//!
//! Invariant: a layout never changes once it is released; a new one gets the next version, and the
//! old one stays readable. `FORMAT.md` draws them, and golden files hold their bytes.

use vocab::{
    Attr, BlockHash, BlockIndex, Cookie, Device, FileKind, InodeId, Sequence, ShareId, Time,
    limits::BLOCK_BYTES,
};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    byteorder::little_endian::{I64, U32, U64},
};

use crate::{BlockEntry, ShareRoot, command::DataState, key::ContentId};

/// Version of every layout below.
const VERSION: u8 = 1;
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

/// A stored block and how many map entries name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) count: u64,
    pub(crate) stored_len: u32,
    pub(crate) state: CountState,
}

/// Whether the block's object stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CountState {
    /// The count is above 0.
    Live,
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

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct TimeV1 {
    seconds: I64,
    nanos: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct InodeV1 {
    version: u8,
    kind: u8,
    flags: u8,
    zero: u8,
    share: U32,
    inode: U64,
    generation: U32,
    mode: U32,
    nlink: U32,
    uid: U32,
    gid: U32,
    major: U32,
    minor: U32,
    size: U64,
    used: U64,
    atime: TimeV1,
    mtime: TimeV1,
    ctime: TimeV1,
    change: U64,
    body: [U64; 5],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct NameV1 {
    version: u8,
    kind: u8,
    inode: U64,
    cookie: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct CookieV1 {
    version: u8,
    kind: u8,
    inode: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MapV1 {
    version: u8,
    hash: [u8; 32],
    stored_len: U32,
    valid_len: U32,
    watermark: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct CountV1 {
    version: u8,
    state: u8,
    stored_len: U32,
    count: U64,
    since: TimeV1,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ShareV1 {
    version: u8,
    share: U32,
    content: U32,
    root: U64,
    name_len: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct TripleV1 {
    version: u8,
    values: [U64; 3],
}

/// `flags` of an inode: `body[4]` is a verifier.
const HAS_VERIFIER: u8 = 1;

impl Record for Inode {
    fn encode(&self) -> Box<[u8]> {
        let attr = &self.stored;
        let (flags, body) = match self.body {
            Body::Regular(body) => (
                if body.exclusive.is_some() { HAS_VERIFIER } else { 0 },
                [
                    body.data_seq.0,
                    body.trunc_seq.0,
                    body.data_change,
                    body.sealed.0,
                    u64::from_le_bytes(body.exclusive.unwrap_or_default()),
                ],
            ),
            Body::Directory(body) => (0, [body.parent.0, body.cookie_next.0, body.entries, 0, 0]),
            Body::Other => (0, [0; 5]),
        };
        InodeV1 {
            version: VERSION,
            kind: kind_code(attr.kind),
            flags,
            zero: 0,
            share: attr.share.0.into(),
            inode: attr.inode.0.into(),
            generation: attr.generation.into(),
            mode: attr.mode.into(),
            nlink: attr.nlink.into(),
            uid: attr.uid.into(),
            gid: attr.gid.into(),
            major: attr.device.major.into(),
            minor: attr.device.minor.into(),
            size: attr.size.into(),
            used: attr.used.into(),
            atime: attr.atime.into(),
            mtime: attr.mtime.into(),
            ctime: attr.ctime.into(),
            change: attr.change.into(),
            body: body.map(U64::new),
        }
        .as_bytes()
        .into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        let raw = versioned(InodeV1::ref_from_bytes(bytes).ok(), |raw| raw.version)?;
        let kind = kind_of(raw.kind)?;
        let body = raw.body.map(U64::get);
        let body = match kind {
            FileKind::Regular => Body::Regular(RegularBody {
                data_seq: Sequence(body[0]),
                trunc_seq: Sequence(body[1]),
                data_change: body[2],
                sealed: Sequence(body[3]),
                exclusive: (raw.flags & HAS_VERIFIER != 0).then(|| body[4].to_le_bytes()),
            }),
            FileKind::Directory => Body::Directory(DirectoryBody {
                parent: InodeId(body[0]),
                cookie_next: Cookie(body[1]),
                entries: body[2],
            }),
            FileKind::Symlink
            | FileKind::Block
            | FileKind::Character
            | FileKind::Fifo
            | FileKind::Socket => Body::Other,
        };
        let stored = Attr {
            inode: InodeId(raw.inode.get()),
            share: ShareId(raw.share.get()),
            generation: raw.generation.get(),
            kind,
            mode: raw.mode.get(),
            nlink: raw.nlink.get(),
            uid: raw.uid.get(),
            gid: raw.gid.get(),
            size: raw.size.get(),
            used: raw.used.get(),
            device: Device { major: raw.major.get(), minor: raw.minor.get() },
            atime: raw.atime.check()?,
            mtime: raw.mtime.check()?,
            ctime: raw.ctime.check()?,
            change: raw.change.get(),
        };
        Ok(Self { stored, body })
    }
}

impl Record for NameEntry {
    fn encode(&self) -> Box<[u8]> {
        NameV1 {
            version: VERSION,
            kind: kind_code(self.kind),
            inode: self.inode.0.into(),
            cookie: self.cookie.0.into(),
        }
        .as_bytes()
        .into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        let raw = versioned(NameV1::ref_from_bytes(bytes).ok(), |raw| raw.version)?;
        Ok(Self {
            inode: InodeId(raw.inode.get()),
            cookie: Cookie(raw.cookie.get()),
            kind: kind_of(raw.kind)?,
        })
    }
}

impl Record for CookieEntry {
    fn encode(&self) -> Box<[u8]> {
        let head =
            CookieV1 { version: VERSION, kind: kind_code(self.kind), inode: self.inode.0.into() };
        [head.as_bytes(), &self.name].concat().into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        let (raw, name) = CookieV1::ref_from_prefix(bytes).map_err(|_| Garbage)?;
        let raw = versioned(Some(raw), |raw| raw.version)?;
        Ok(Self { inode: InodeId(raw.inode.get()), kind: kind_of(raw.kind)?, name: name.into() })
    }
}

impl Record for MapEntry {
    fn encode(&self) -> Box<[u8]> {
        MapV1 {
            version: VERSION,
            hash: self.hash.0,
            stored_len: self.stored_len.into(),
            valid_len: self.valid_len.into(),
            watermark: self.watermark.0.into(),
        }
        .as_bytes()
        .into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        let raw = versioned(MapV1::ref_from_bytes(bytes).ok(), |raw| raw.version)?;
        let entry = Self {
            hash: BlockHash(raw.hash),
            stored_len: raw.stored_len.get(),
            valid_len: raw.valid_len.get(),
            watermark: Sequence(raw.watermark.get()),
        };
        let sane = entry.valid_len <= entry.stored_len && entry.stored_len <= BLOCK_BYTES;
        sane.then_some(entry).ok_or(Garbage)
    }
}

impl Record for Count {
    fn encode(&self) -> Box<[u8]> {
        let (state, since) = match self.state {
            CountState::Live => (0, Time::default()),
            CountState::Condemned(since) => (1, since),
            CountState::Deleting(since) => (2, since),
        };
        CountV1 {
            version: VERSION,
            state,
            stored_len: self.stored_len.into(),
            count: self.count.into(),
            since: since.into(),
        }
        .as_bytes()
        .into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        let raw = versioned(CountV1::ref_from_bytes(bytes).ok(), |raw| raw.version)?;
        let since = raw.since.check()?;
        let count = raw.count.get();
        let state = match (raw.state, count) {
            (0, 1..) => CountState::Live,
            (1, 0) => CountState::Condemned(since),
            (2, 0) => CountState::Deleting(since),
            _ => return Err(Garbage),
        };
        Ok(Self { count, stored_len: raw.stored_len.get(), state })
    }
}

impl Record for Share {
    fn encode(&self) -> Box<[u8]> {
        let name = self.root.name.as_bytes();
        let head = ShareV1 {
            version: VERSION,
            share: self.root.share.0.into(),
            content: self.content.0.into(),
            root: self.root.root.0.into(),
            name_len: u32::try_from(name.len()).expect("a share's name is short").into(),
        };
        [head.as_bytes(), name, self.root.content.as_bytes()].concat().into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        let (raw, names) = ShareV1::ref_from_prefix(bytes).map_err(|_| Garbage)?;
        let raw = versioned(Some(raw), |raw| raw.version)?;
        let (name, content) = names.split_at_checked(raw.name_len.get() as usize).ok_or(Garbage)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| Garbage);
        Ok(Self {
            root: ShareRoot {
                share: ShareId(raw.share.get()),
                name: text(name)?,
                root: InodeId(raw.root.get()),
                content: text(content)?,
            },
            content: ContentId(raw.content.get()),
        })
    }
}

impl Record for Format {
    fn encode(&self) -> Box<[u8]> {
        triple([u64::from(self.version), self.store, 0])
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        let [version, store, _] = triple_of(bytes)?;
        Ok(Self { version: version.try_into().map_err(|_| Garbage)?, store })
    }
}

impl Record for Counters {
    fn encode(&self) -> Box<[u8]> {
        triple([self.inode.0, self.share.0.into(), self.content.0.into()])
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        let [inode, share, content] = triple_of(bytes)?;
        Ok(Self {
            inode: InodeId(inode),
            share: ShareId(share.try_into().map_err(|_| Garbage)?),
            content: ContentId(content.try_into().map_err(|_| Garbage)?),
        })
    }
}

impl Record for ShareTotals {
    fn encode(&self) -> Box<[u8]> {
        triple([self.inodes, self.bytes_used, 0])
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        let [inodes, bytes_used, _] = triple_of(bytes)?;
        Ok(Self { inodes, bytes_used })
    }
}

impl Record for Number {
    fn encode(&self) -> Box<[u8]> {
        triple([self.0, 0, 0])
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        triple_of(bytes).map(|[number, ..]| Self(number))
    }
}

/// A path or nothing: bytes behind the version.
impl Record for Box<[u8]> {
    fn encode(&self) -> Box<[u8]> {
        [&[VERSION], &**self].concat().into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        match bytes {
            [VERSION, rest @ ..] => Ok(rest.into()),
            _ => Err(Garbage),
        }
    }
}

impl From<Time> for TimeV1 {
    fn from(time: Time) -> Self {
        Self { seconds: time.seconds.into(), nanos: time.nanos.into() }
    }
}

impl TimeV1 {
    fn check(self) -> Result<Time, Garbage> {
        let time = Time { seconds: self.seconds.get(), nanos: self.nanos.get() };
        (time.nanos < 1_000_000_000).then_some(time).ok_or(Garbage)
    }
}

fn versioned<T>(raw: Option<&T>, version: impl Fn(&T) -> u8) -> Result<&T, Garbage> {
    raw.filter(|raw| version(raw) == VERSION).ok_or(Garbage)
}

fn triple(values: [u64; 3]) -> Box<[u8]> {
    TripleV1 { version: VERSION, values: values.map(U64::new) }.as_bytes().into()
}

fn triple_of(bytes: &[u8]) -> Result<[u64; 3], Garbage> {
    let raw = versioned(TripleV1::ref_from_bytes(bytes).ok(), |raw| raw.version)?;
    Ok(raw.values.map(U64::get))
}

fn kind_code(kind: FileKind) -> u8 {
    match kind {
        FileKind::Regular => 1,
        FileKind::Directory => 2,
        FileKind::Symlink => 3,
        FileKind::Block => 4,
        FileKind::Character => 5,
        FileKind::Fifo => 6,
        FileKind::Socket => 7,
    }
}

fn kind_of(code: u8) -> Result<FileKind, Garbage> {
    Ok(match code {
        1 => FileKind::Regular,
        2 => FileKind::Directory,
        3 => FileKind::Symlink,
        4 => FileKind::Block,
        5 => FileKind::Character,
        6 => FileKind::Fifo,
        7 => FileKind::Socket,
        _ => return Err(Garbage),
    })
}
