//! NFS version 3 (RFC 1813): the calls that the workloads send, and what they check in replies.

use crate::xdr::{Reader, Short, Write};

/// A file handle.
pub(crate) type Handle = Box<[u8]>;

/// Why an operation counts as failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// `nfsstat3` other than `NFS3_OK`.
    Status(u32),
    /// The reply is no reply.
    Garbled,
    /// The server did not carry out the call.
    Rpc,
    /// The reply is not true.
    Wrong(&'static str),
}

impl From<Short> for Fault {
    fn from(_: Short) -> Self {
        Self::Garbled
    }
}

/// Procedure numbers.
pub(crate) mod procedure {
    pub(crate) const GETATTR: u32 = 1;
    pub(crate) const LOOKUP: u32 = 3;
    pub(crate) const ACCESS: u32 = 4;
    pub(crate) const READ: u32 = 6;
    pub(crate) const WRITE: u32 = 7;
    pub(crate) const CREATE: u32 = 8;
    pub(crate) const MKDIR: u32 = 9;
    pub(crate) const REMOVE: u32 = 12;
    pub(crate) const READDIRPLUS: u32 = 17;
    pub(crate) const COMMIT: u32 = 21;
}

/// `stable_how`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stable {
    Unstable = 0,
    FileSync = 2,
}

const ATTRIBUTES_BYTES: usize = 84;
const BEFORE_BYTES: usize = 24;

pub(crate) fn status(reply: &mut Reader<'_>) -> Result<(), Fault> {
    match reply.u32()? {
        0 => Ok(()),
        status => Err(Fault::Status(status)),
    }
}

/// `post_op_attr`.
pub(crate) fn skip_attributes(reply: &mut Reader<'_>) -> Result<(), Fault> {
    if reply.flag()? {
        reply.bytes(ATTRIBUTES_BYTES)?;
    }
    Ok(())
}

/// `wcc_data`.
pub(crate) fn skip_changes(reply: &mut Reader<'_>) -> Result<(), Fault> {
    if reply.flag()? {
        reply.bytes(BEFORE_BYTES)?;
    }
    skip_attributes(reply)
}

/// `post_op_fh3`, which we want.
pub(crate) fn handle(reply: &mut Reader<'_>) -> Result<Handle, Fault> {
    if reply.flag()? { Ok(reply.opaque()?.into()) } else { Err(Fault::Wrong("no handle")) }
}

/// Arguments of CREATE (guarded: the name must be new).
pub(crate) fn create(out: &mut Vec<u8>, dir: &[u8], name: &str) {
    out.opaque(dir);
    out.opaque(name.as_bytes());
    out.u32(1);
    mode_only(out, 0o644);
}

/// Arguments of MKDIR.
pub(crate) fn mkdir(out: &mut Vec<u8>, dir: &[u8], name: &str) {
    out.opaque(dir);
    out.opaque(name.as_bytes());
    mode_only(out, 0o755);
}

/// `sattr3` that sets the mode.
fn mode_only(out: &mut Vec<u8>, mode: u32) {
    for word in [1, mode, 0, 0, 0, 0, 0] {
        out.u32(word);
    }
}

/// Result of CREATE and MKDIR.
pub(crate) fn created(reply: &mut Reader<'_>) -> Result<Handle, Fault> {
    status(reply)?;
    handle(reply)
}

/// Arguments of WRITE; `fill` makes the data in place.
pub(crate) fn write(
    out: &mut Vec<u8>,
    file: &[u8],
    offset: u64,
    len: u32,
    stable: Stable,
    fill: impl FnOnce(&mut [u8]),
) {
    out.opaque(file);
    out.u64(offset);
    for word in [len, stable as u32, len] {
        out.u32(word);
    }
    let start = out.len();
    out.resize(start + len as usize, 0);
    fill(&mut out[start..]);
}

/// Result of WRITE, which must have taken all; returns the verifier.
pub(crate) fn written(reply: &mut Reader<'_>, len: u32, stable: Stable) -> Result<u64, Fault> {
    status(reply)?;
    skip_changes(reply)?;
    if reply.u32()? != len {
        return Err(Fault::Wrong("short write"));
    }
    if reply.u32()? < stable as u32 {
        return Err(Fault::Wrong("less stable than asked for"));
    }
    Ok(reply.u64()?)
}

/// Arguments of COMMIT for a whole file.
pub(crate) fn commit(out: &mut Vec<u8>, file: &[u8]) {
    out.opaque(file);
    out.u64(0);
    out.u32(0);
}

/// Result of COMMIT: the verifier.
pub(crate) fn committed(reply: &mut Reader<'_>) -> Result<u64, Fault> {
    status(reply)?;
    skip_changes(reply)?;
    Ok(reply.u64()?)
}

/// Arguments of READ.
pub(crate) fn read(out: &mut Vec<u8>, file: &[u8], offset: u64, len: u32) {
    out.opaque(file);
    out.u64(offset);
    out.u32(len);
}

/// Result of READ: all that was asked for.
pub(crate) fn was_read<'a>(reply: &mut Reader<'a>, len: u32) -> Result<&'a [u8], Fault> {
    status(reply)?;
    skip_attributes(reply)?;
    let (count, _eof) = (reply.u32()?, reply.u32()?);
    let data = reply.opaque()?;
    if count == len && data.len() == len as usize {
        Ok(data)
    } else {
        Err(Fault::Wrong("short read"))
    }
}
