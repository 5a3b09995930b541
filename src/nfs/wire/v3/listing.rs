//! READDIR and READDIRPLUS (RFC 1813 sections 3.3.16 and 3.3.17), measured before they are written.

use bytes::Bytes;
use vocab::{Attr, Cookie, InodeId};

use super::{HandleBytes, attr::POST_OP_ATTR_BYTES, handle};
use crate::wire::xdr::{Encode, Malformed, Reader, Writer, opaque_bytes};

/// `READDIR3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReadDirArgs<'a> {
    pub(crate) handle: &'a [u8],
    pub(crate) cookie: Cookie,
    pub(crate) verifier: u64,
    pub(crate) count: u32,
}

/// `READDIRPLUS3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReadDirPlusArgs<'a> {
    pub(crate) handle: &'a [u8],
    pub(crate) cookie: Cookie,
    pub(crate) verifier: u64,
    pub(crate) dircount: u32,
    pub(crate) maxcount: u32,
}

/// `READDIR3resok` and `READDIRPLUS3resok`.
#[derive(Debug)]
pub(crate) struct ListingDone {
    pub(crate) dir: Attr,
    pub(crate) verifier: u64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) eof: bool,
    /// Entries carry attributes and handles: READDIRPLUS.
    pub(crate) plus: bool,
}

/// `entry3` and `entryplus3`.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) inode: InodeId,
    pub(crate) name: Bytes,
    pub(crate) cookie: Cookie,
    /// Left out of a READDIR.
    pub(crate) found: Option<(HandleBytes, Attr)>,
}

/// Bytes of a listing without entries: directory attributes, verifier, end of list, end of file.
pub(crate) const EMPTY_BYTES: usize = POST_OP_ATTR_BYTES + 8 + 4 + 4;

/// Bytes of the `entry3` of a name of this length.
pub(crate) fn entry_bytes(name_len: usize) -> usize {
    (4 + 8 + 8usize).saturating_add(opaque_bytes(name_len))
}

/// Bytes that an `entryplus3` takes besides.
pub(crate) fn plus_bytes(is_found: bool) -> usize {
    if is_found { POST_OP_ATTR_BYTES + 4 + 4 + size_of::<HandleBytes>() } else { 4 + 4 }
}

impl<'a> ReadDirArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            handle: handle(reader)?,
            cookie: Cookie(reader.u64()?),
            verifier: reader.u64()?,
            count: reader.u32()?,
        })
    }
}

impl<'a> ReadDirPlusArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            handle: handle(reader)?,
            cookie: Cookie(reader.u64()?),
            verifier: reader.u64()?,
            dircount: reader.u32()?,
            maxcount: reader.u32()?,
        })
    }
}

impl Encode for ListingDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        Some(self.dir).encode(writer);
        writer.u64(self.verifier);
        for entry in &self.entries {
            writer.bool(true);
            writer.u64(entry.inode.0);
            writer.opaque(&entry.name);
            writer.u64(entry.cookie.0);
            if self.plus {
                entry.found.map(|(_, attr)| attr).encode(writer);
                writer.option(entry.found.as_ref(), |writer, (handle, _)| writer.opaque(handle));
            }
        }
        writer.bool(false);
        writer.bool(self.eof);
    }
}
