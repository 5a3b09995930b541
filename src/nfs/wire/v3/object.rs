//! GETATTR, SETATTR, ACCESS, READLINK (RFC 1813 sections 3.3.1, 3.3.2, 3.3.4, 3.3.5).

use vocab::{Attr, Time};

use super::{
    attr::{SetAttr, Wcc, time_decode},
    handle,
};
use crate::wire::xdr::{Encode, Malformed, Reader, Writer};

/// Arguments that are one handle: GETATTR, READLINK, FSSTAT, FSINFO, PATHCONF.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HandleArgs<'a> {
    pub(crate) handle: &'a [u8],
}

/// `SETATTR3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SetAttrArgs<'a> {
    pub(crate) handle: &'a [u8],
    pub(crate) set: SetAttr,
    pub(crate) guard: Option<Time>,
}

/// `ACCESS3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AccessArgs<'a> {
    pub(crate) handle: &'a [u8],
    pub(crate) access: u32,
}

/// `GETATTR3resok`.
#[derive(Debug)]
pub(crate) struct GetAttrDone(pub(crate) Attr);

/// Results that are one `wcc_data`: SETATTR, REMOVE, RMDIR.
#[derive(Debug)]
pub(crate) struct WccDone(pub(crate) Wcc);

/// `ACCESS3resok`.
#[derive(Debug)]
pub(crate) struct AccessDone {
    pub(crate) attr: Option<Attr>,
    pub(crate) access: u32,
}

/// `READLINK3resok`.
#[derive(Debug)]
pub(crate) struct ReadLinkDone {
    pub(crate) attr: Option<Attr>,
    pub(crate) path: Box<[u8]>,
}

impl<'a> HandleArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { handle: handle(reader)? })
    }
}

impl<'a> SetAttrArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            handle: handle(reader)?,
            set: SetAttr::decode(reader)?,
            guard: reader.option(time_decode)?,
        })
    }
}

impl<'a> AccessArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { handle: handle(reader)?, access: reader.u32()? })
    }
}

impl Encode for GetAttrDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.0.encode(writer);
    }
}

impl Encode for WccDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.0.encode(writer);
    }
}

impl Encode for AccessDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.attr.encode(writer);
        writer.u32(self.access);
    }
}

impl Encode for ReadLinkDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.attr.encode(writer);
        writer.opaque(&self.path);
    }
}
