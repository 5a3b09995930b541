//! Values as bytes: fixed little-endian layouts behind a version byte, checked when they are read.
//!
//! Invariant: a layout never changes once it is released; a new one gets the next version, and the
//! old one stays readable. `FORMAT.md` draws them, and the golden file holds their bytes.

use vocab::{
    Attr, BlockHash, Cookie, Device, FileKind, InodeId, PackId, Packed, Sequence, ShareId, Time,
    limits::BLOCK_BYTES,
};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    byteorder::little_endian::{I64, U32, U64},
};

use super::{
    Body, CookieEntry, Count, CountState, Counters, DirectoryBody, Format, Garbage, Inode,
    MapEntry, NameEntry, Number, Record, RegularBody, Role, Share, ShareTotals,
};
use crate::{ShareRoot, key::ContentId};

/// Version of every layout below, unless its name says another.
const VERSION: u8 = 1;

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

/// A count that has to do with a pack; the others are written as before.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct CountV2 {
    version: u8,
    state: u8,
    role: u8,
    zero: u8,
    stored_len: U32,
    count: U64,
    since: TimeV1,
    pack: [u8; 32],
    at: U32,
    bytes: U64,
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
        let (role, packed, bytes, left) = match self.role {
            Role::Own => (0, None, 0, Time::default()),
            Role::Packed(packed) => (1, Some(packed), packed.bytes.into(), Time::default()),
            Role::Pack { bytes, left } => (2, None, bytes, left),
        };
        let (state, since) = match self.state {
            CountState::Live => (0, left),
            CountState::Condemned(since) => (1, since),
            CountState::Deleting(since) => (2, since),
            CountState::Damaged => (3, left),
        };
        let (stored_len, count) = (self.stored_len.into(), self.count.into());
        let since = since.into();
        if role == 0 {
            return CountV1 { version: VERSION, state, stored_len, count, since }.as_bytes().into();
        }
        CountV2 {
            version: 2,
            state,
            role,
            zero: 0,
            stored_len,
            count,
            since,
            pack: packed.map_or([0; 32], |packed| packed.pack.0.0),
            at: packed.map_or(0, |packed| packed.at).into(),
            bytes: bytes.into(),
        }
        .as_bytes()
        .into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        if bytes.first() == Some(&VERSION) {
            let raw = CountV1::ref_from_bytes(bytes).map_err(|_| Garbage)?;
            let (count, since) = (raw.count.get(), raw.since.check()?);
            let state = count_state(raw.state, count, since)?;
            return Ok(Self { count, stored_len: raw.stored_len.get(), state, role: Role::Own });
        }
        let raw = CountV2::ref_from_bytes(bytes).ok().filter(|raw| raw.version == 2);
        let raw = raw.ok_or(Garbage)?;
        let (count, since) = (raw.count.get(), raw.since.check()?);
        let (bytes, stored_len) = (raw.bytes.get(), raw.stored_len.get());
        let role = match raw.role {
            1 => Role::Packed(Packed {
                pack: PackId(BlockHash(raw.pack)),
                at: raw.at.get(),
                bytes: bytes.try_into().map_err(|_| Garbage)?,
            }),
            2 => Role::Pack { bytes, left: since },
            _ => return Err(Garbage),
        };
        Ok(Self { count, stored_len, state: count_state(raw.state, count, since)?, role })
    }
}

fn count_state(state: u8, count: u64, since: Time) -> Result<CountState, Garbage> {
    match (state, count) {
        (0, 1..) => Ok(CountState::Live),
        (1, 0) => Ok(CountState::Condemned(since)),
        (2, 0) => Ok(CountState::Deleting(since)),
        (3, 1..) => Ok(CountState::Damaged),
        _ => Err(Garbage),
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

#[cfg(test)]
mod tests;
