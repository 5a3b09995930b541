//! READ, WRITE, COMMIT (RFC 1813 sections 3.3.6, 3.3.7, 3.3.21).
//!
//! How safe a write is, and in which life of the log, is said by the evidence alone: the fields are
//! private, no constructor takes them, and evidence is used up.

use bytes::Bytes;
use vocab::{
    Attr, Verifier,
    durable::{Durable, Logged},
};

use super::{attr::Wcc, handle};
use crate::wire::xdr::{Encode, Malformed, Reader, Writer};

/// `READ3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReadArgs<'a> {
    pub(crate) handle: &'a [u8],
    pub(crate) offset: u64,
    pub(crate) count: u32,
}

/// `WRITE3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WriteArgs<'a> {
    pub(crate) handle: &'a [u8],
    pub(crate) offset: u64,
    pub(crate) count: u32,
    pub(crate) stable: StableHow,
    pub(crate) data: &'a [u8],
}

/// `stable_how`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StableHow {
    Unstable,
    DataSync,
    FileSync,
}

/// `COMMIT3args`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommitArgs<'a> {
    pub(crate) handle: &'a [u8],
    pub(crate) offset: u64,
    pub(crate) count: u32,
}

/// `READ3resok`, with the data as it lies in memory.
#[derive(Debug)]
pub(crate) struct ReadDone {
    pub(crate) attr: Option<Attr>,
    pub(crate) eof: bool,
    /// The sum of the parts.
    pub(crate) len: u32,
    pub(crate) parts: Vec<Bytes>,
}

/// `WRITE3resok`.
#[derive(Debug)]
pub(crate) struct WriteDone {
    wcc: Wcc,
    count: u32,
    committed: StableHow,
    verifier: Verifier,
}

/// `COMMIT3resok`.
#[derive(Debug)]
pub(crate) struct CommitDone {
    wcc: Wcc,
    verifier: Verifier,
}

impl WriteDone {
    /// Answers UNSTABLE.
    pub(crate) fn logged(wcc: Wcc, count: u32, evidence: Logged) -> Self {
        Self { wcc, count, committed: StableHow::Unstable, verifier: evidence.verifier() }
    }

    /// Answers FILE_SYNC.
    pub(crate) fn durable(wcc: Wcc, count: u32, evidence: Durable) -> Self {
        Self { wcc, count, committed: StableHow::FileSync, verifier: evidence.verifier() }
    }
}

impl CommitDone {
    pub(crate) fn new(wcc: Wcc, evidence: Durable) -> Self {
        Self { wcc, verifier: evidence.verifier() }
    }
}

impl<'a> ReadArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { handle: handle(reader)?, offset: reader.u64()?, count: reader.u32()? })
    }
}

impl<'a> WriteArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            handle: handle(reader)?,
            offset: reader.u64()?,
            count: reader.u32()?,
            stable: StableHow::decode(reader)?,
            data: reader.opaque(u32::MAX)?,
        })
    }
}

impl<'a> CommitArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { handle: handle(reader)?, offset: reader.u64()?, count: reader.u32()? })
    }
}

impl StableHow {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u32()? {
            0 => Ok(Self::Unstable),
            1 => Ok(Self::DataSync),
            2 => Ok(Self::FileSync),
            _ => Err(Malformed),
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Unstable => 0,
            Self::DataSync => 1,
            Self::FileSync => 2,
        }
    }
}

impl Encode for ReadDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.attr.encode(writer);
        writer.u32(self.len);
        writer.bool(self.eof);
        writer.u32(self.len);
    }

    fn take_tail(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.parts)
    }
}

impl Encode for WriteDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.wcc.encode(writer);
        writer.u32(self.count);
        writer.u32(self.committed.number());
        writer.u64(self.verifier.0);
    }
}

impl Encode for CommitDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.wcc.encode(writer);
        writer.u64(self.verifier.0);
    }
}
