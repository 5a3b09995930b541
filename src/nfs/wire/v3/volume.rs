//! FSSTAT, FSINFO, PATHCONF (RFC 1813 sections 3.3.18 to 3.3.20).

use vocab::{
    Attr,
    limits::{FILE_BYTES_MAX, LINKS_MAX, NAME_BYTES_MAX, TRANSFER_BYTES_MAX},
};

use crate::wire::xdr::{Encode, Writer};

/// Bytes of a listing that a client should ask for (`dtpref`).
pub(crate) const LISTING_BYTES: u32 = 64 * 1024;

/// `FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME`.
const PROPERTIES: u32 = 0x01 | 0x02 | 0x08 | 0x10;

/// `FSSTAT3resok`.
#[derive(Debug)]
pub(crate) struct FsStatDone {
    pub(crate) attr: Option<Attr>,
    pub(crate) bytes_total: u64,
    pub(crate) bytes_free: u64,
    pub(crate) inodes_total: u64,
    pub(crate) inodes_free: u64,
}

/// `FSINFO3resok`: the same for every share.
#[derive(Debug)]
pub(crate) struct FsInfoDone {
    pub(crate) attr: Option<Attr>,
}

/// `PATHCONF3resok`: the same for every object.
#[derive(Debug)]
pub(crate) struct PathConfDone {
    pub(crate) attr: Option<Attr>,
}

impl Encode for FsStatDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.attr.encode(writer);
        writer.u64(self.bytes_total);
        writer.u64(self.bytes_free);
        writer.u64(self.bytes_free); // abytes: what this caller may use
        writer.u64(self.inodes_total);
        writer.u64(self.inodes_free);
        writer.u64(self.inodes_free); // afiles
        writer.u32(0); // invarsec: may change at once
    }
}

impl Encode for FsInfoDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.attr.encode(writer);
        for _ in ["rt", "wt"] {
            writer.u32(TRANSFER_BYTES_MAX); // max
            writer.u32(TRANSFER_BYTES_MAX); // pref
            writer.u32(4096); // mult
        }
        writer.u32(LISTING_BYTES); // dtpref
        writer.u64(FILE_BYTES_MAX);
        writer.u32(0); // time_delta, seconds
        writer.u32(1); // time_delta, nanoseconds
        writer.u32(PROPERTIES);
    }
}

impl Encode for PathConfDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.attr.encode(writer);
        writer.u32(LINKS_MAX);
        writer.u32(NAME_BYTES_MAX);
        writer.bool(true); // no_trunc
        writer.bool(true); // chown_restricted
        writer.bool(false); // case_insensitive
        writer.bool(true); // case_preserving
    }
}
