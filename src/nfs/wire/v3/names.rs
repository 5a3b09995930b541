//! LOOKUP, CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK (RFC 1813 sections 3.3.3 and
//! 3.3.8 to 3.3.15).
//!
//! Names and paths have no maximum here: too long a one has its own status.

use vocab::{Attr, Device, FileKind};

use super::{
    HandleBytes,
    attr::{SetAttr, Wcc},
    handle,
};
use crate::wire::xdr::{Encode, Malformed, Reader, Writer};

/// `diropargs3`: also all of LOOKUP's, REMOVE's and RMDIR's arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) dir: &'a [u8],
    pub(crate) name: &'a [u8],
}

/// `CREATE3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CreateArgs<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) how: CreateHow,
}

/// `createhow3`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CreateHow {
    Unchecked(SetAttr),
    Guarded(SetAttr),
    Exclusive([u8; 8]),
}

/// `MKDIR3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MkdirArgs<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) set: SetAttr,
}

/// `SYMLINK3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SymlinkArgs<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) set: SetAttr,
    pub(crate) path: &'a [u8],
}

/// `MKNOD3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MknodArgs<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) what: Node,
}

/// `mknoddata3`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A device, pipe or socket.
    Special { kind: FileKind, device: Device, set: SetAttr },
    /// A kind that has its own procedure.
    Other,
}

/// `RENAME3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RenameArgs<'a> {
    pub(crate) from: Place<'a>,
    pub(crate) to: Place<'a>,
}

/// `LINK3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LinkArgs<'a> {
    pub(crate) handle: &'a [u8],
    pub(crate) place: Place<'a>,
}

/// `LOOKUP3resok`.
#[derive(Debug)]
pub(crate) struct LookupDone {
    pub(crate) handle: HandleBytes,
    pub(crate) attr: Option<Attr>,
    pub(crate) dir: Option<Attr>,
}

/// `CREATE3resok`, `MKDIR3resok`, `SYMLINK3resok`, `MKNOD3resok`.
#[derive(Debug)]
pub(crate) struct MadeDone {
    pub(crate) handle: HandleBytes,
    pub(crate) attr: Option<Attr>,
    pub(crate) dir: Wcc,
}

/// `RENAME3resok`.
#[derive(Debug)]
pub(crate) struct RenameDone {
    pub(crate) from: Wcc,
    pub(crate) to: Wcc,
}

/// `LINK3resok`.
#[derive(Debug)]
pub(crate) struct LinkDone {
    pub(crate) attr: Option<Attr>,
    pub(crate) dir: Wcc,
}

impl<'a> Place<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { dir: handle(reader)?, name: reader.opaque(u32::MAX)? })
    }
}

impl<'a> CreateArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let place = Place::decode(reader)?;
        let how = match reader.u32()? {
            0 => CreateHow::Unchecked(SetAttr::decode(reader)?),
            1 => CreateHow::Guarded(SetAttr::decode(reader)?),
            2 => CreateHow::Exclusive(reader.fixed()?),
            _ => return Err(Malformed),
        };
        Ok(Self { place, how })
    }
}

impl<'a> MkdirArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { place: Place::decode(reader)?, set: SetAttr::decode(reader)? })
    }
}

impl<'a> SymlinkArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            place: Place::decode(reader)?,
            set: SetAttr::decode(reader)?,
            path: reader.opaque(u32::MAX)?,
        })
    }
}

impl<'a> MknodArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let place = Place::decode(reader)?;
        let kind = match reader.u32()? {
            3 => FileKind::Block,
            4 => FileKind::Character,
            6 => FileKind::Socket,
            7 => FileKind::Fifo,
            1 | 2 | 5 => return Ok(Self { place, what: Node::Other }),
            _ => return Err(Malformed),
        };
        let set = SetAttr::decode(reader)?;
        let device = if matches!(kind, FileKind::Block | FileKind::Character) {
            Device { major: reader.u32()?, minor: reader.u32()? }
        } else {
            Device::default()
        };
        Ok(Self { place, what: Node::Special { kind, device, set } })
    }
}

impl<'a> RenameArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { from: Place::decode(reader)?, to: Place::decode(reader)? })
    }
}

impl<'a> LinkArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { handle: handle(reader)?, place: Place::decode(reader)? })
    }
}

impl Encode for LookupDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.opaque(&self.handle);
        self.attr.encode(writer);
        self.dir.encode(writer);
    }
}

impl Encode for MadeDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.option(Some(&self.handle), |writer, handle| writer.opaque(handle));
        self.attr.encode(writer);
        self.dir.encode(writer);
    }
}

impl Encode for RenameDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.from.encode(writer);
        self.to.encode(writer);
    }
}

impl Encode for LinkDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.attr.encode(writer);
        self.dir.encode(writer);
    }
}
