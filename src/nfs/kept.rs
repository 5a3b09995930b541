//! Small files of ours: a header with a checksum around a body, and what bodies are made of.
//! Drawn in FORMAT.md.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

const HEADER_BYTES: usize = 24;

/// Why a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not what we wrote.
    Damaged,
    /// Of a version that this server does not know.
    Version(u32),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged => write!(f, "it is damaged"),
            Self::Version(version) => write!(f, "it has format {version}, which is not known here"),
        }
    }
}

/// A whole file.
pub(crate) fn seal(magic: [u8; 8], version: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    put_u32(&mut bytes, version);
    put_len(&mut bytes, body.len());
    bytes.extend(xxh3_64_with_seed(body, version.into()).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// The body of a file.
///
/// # Errors
/// [`Unreadable`].
pub(crate) fn open(magic: [u8; 8], version: u32, bytes: &[u8]) -> Result<&[u8], Unreadable> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(Unreadable::Damaged)?;
    let mut header = Cursor(header);
    if header.take(8) != Some(&magic) {
        return Err(Unreadable::Damaged);
    }
    let (found, len) = (header.u32(), header.u32());
    match found {
        Some(found) if found == version => {}
        Some(other) => return Err(Unreadable::Version(other)),
        None => return Err(Unreadable::Damaged),
    }
    let sum = xxh3_64_with_seed(body, version.into()).to_le_bytes();
    if len.is_none_or(|len| len as usize != body.len()) || header.take(8) != Some(&sum) {
        return Err(Unreadable::Damaged);
    }
    Ok(body)
}

pub(crate) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

pub(crate) fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend(value.to_le_bytes());
}

pub(crate) fn put_len(bytes: &mut Vec<u8>, len: usize) {
    put_u32(bytes, u32::try_from(len).expect("bounded far below"));
}

pub(crate) fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    put_len(bytes, value.len());
    bytes.extend(value);
}

/// Reads a body from its start.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(usize::try_from(len).ok()?)
    }
}
