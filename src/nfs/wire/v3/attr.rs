//! Attributes: `fattr3`, `post_op_attr`, `wcc_data`, `sattr3` (RFC 1813 section 2.6).

use vocab::{Attr, FileKind, PreAttr, Time};

use crate::wire::xdr::{Encode, Malformed, Reader, Writer};

/// Bytes of a `post_op_attr` with attributes.
pub(crate) const POST_OP_ATTR_BYTES: usize = 4 + 84;

/// `wcc_data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wcc {
    /// Before.
    pub(crate) pre: Option<PreAttr>,
    /// After.
    pub(crate) post: Option<Attr>,
}

/// `sattr3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetAttr {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: SetTime,
    pub(crate) mtime: SetTime,
}

/// `set_atime` and `set_mtime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetTime {
    Keep,
    Server,
    Client(Time),
}

pub(crate) fn kind(kind: FileKind) -> u32 {
    match kind {
        FileKind::Regular => 1,
        FileKind::Directory => 2,
        FileKind::Block => 3,
        FileKind::Character => 4,
        FileKind::Symlink => 5,
        FileKind::Socket => 6,
        FileKind::Fifo => 7,
    }
}

/// `nfstime3`. It has no years before 1970 nor after 2106: what lies outside becomes the nearest.
fn time(writer: &mut Writer<'_>, time: Time) {
    let seconds = time.seconds.clamp(0, i64::from(u32::MAX));
    writer.u32(u32::try_from(seconds).unwrap_or_default());
    writer.u32(time.nanos);
}

/// `nfstime3`.
pub(crate) fn time_decode(reader: &mut Reader<'_>) -> Result<Time, Malformed> {
    let (seconds, nanos) = (i64::from(reader.u32()?), reader.u32()?);
    if nanos >= 1_000_000_000 {
        return Err(Malformed);
    }
    Ok(Time { seconds, nanos })
}

/// `fattr3`.
impl Encode for Attr {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.u32(kind(self.kind));
        writer.u32(self.mode);
        writer.u32(self.nlink);
        writer.u32(self.uid);
        writer.u32(self.gid);
        writer.u64(self.size);
        writer.u64(self.used);
        writer.u32(self.device.major);
        writer.u32(self.device.minor);
        writer.fsid();
        writer.u64(self.inode.0);
        time(writer, self.atime);
        time(writer, self.mtime);
        time(writer, self.ctime);
    }
}

/// `post_op_attr`.
impl Encode for Option<Attr> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.option(self.as_ref(), |writer, attr| attr.encode(writer));
    }
}

impl Encode for Wcc {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.option(self.pre, |writer, pre| {
            writer.u64(pre.size);
            time(writer, pre.mtime);
            time(writer, pre.ctime);
        });
        self.post.encode(writer);
    }
}

impl SetAttr {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            mode: reader.option(Reader::u32)?,
            uid: reader.option(Reader::u32)?,
            gid: reader.option(Reader::u32)?,
            size: reader.option(Reader::u64)?,
            atime: SetTime::decode(reader)?,
            mtime: SetTime::decode(reader)?,
        })
    }
}

impl SetTime {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u32()? {
            0 => Ok(Self::Keep),
            1 => Ok(Self::Server),
            2 => time_decode(reader).map(Self::Client),
            _ => Err(Malformed),
        }
    }
}
