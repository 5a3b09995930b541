//! ONC RPC version 2 (RFC 5531): call headers, the two credentials we know, reply headers.

use vocab::{Credentials, limits::GROUPS_MAX};

use super::xdr::{Malformed, Reader, Writer};

const VERSION: u32 = 2;
const CALL: u32 = 0;
const REPLY: u32 = 1;
const ACCEPTED: u32 = 0;
const DENIED: u32 = 1;
const RPC_MISMATCH: u32 = 0;
const AUTH_ERROR: u32 = 1;
const AUTH_BYTES_MAX: u32 = 400;
const MACHINE_NAME_BYTES_MAX: u32 = 255;

/// The flavor of an anonymous caller.
pub(crate) const AUTH_NULL: u32 = 0;
/// The flavor of a caller with ids.
pub(crate) const AUTH_SYS: u32 = 1;

/// A call, borrowed from its record.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) xid: u32,
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) procedure: u32,
    pub(crate) credential: Auth<'a>,
    pub(crate) verifier: Auth<'a>,
    /// What follows the header.
    pub(crate) args: &'a [u8],
}

/// `opaque_auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Auth<'a> {
    pub(crate) flavor: u32,
    pub(crate) body: &'a [u8],
}

/// The reply to a call of ours (`rpc_msg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply<'a> {
    pub(crate) xid: u32,
    /// The results; `None`: there are none, for whatever reason.
    pub(crate) results: Option<&'a [u8]>,
}

/// The header of a call of ours, as nobody in particular; its arguments follow.
pub(crate) fn call(writer: &mut Writer<'_>, xid: u32, program: u32, version: u32, procedure: u32) {
    for word in [xid, CALL, VERSION, program, version, procedure] {
        writer.u32(word);
    }
    // Credential and verifier.
    for _ in 0..2 {
        writer.u32(AUTH_NULL);
        writer.opaque(&[]);
    }
}

impl<'a> Reply<'a> {
    pub(crate) fn decode(record: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(record);
        let xid = reader.u32()?;
        if reader.u32()? != REPLY {
            return Err(Malformed);
        }
        if reader.u32()? != ACCEPTED {
            return Ok(Self { xid, results: None });
        }
        Auth::decode(&mut reader)?;
        let is_success = reader.u32()? == 0;
        Ok(Self { xid, results: is_success.then_some(reader.rest()) })
    }
}

/// Why a record is no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadCall {
    /// Cut short, or a reply: whoever sends it does not speak RPC.
    Malformed,
    /// Another version of RPC.
    Version {
        /// To answer it.
        xid: u32,
    },
}

/// An answer without results (`accept_stat` besides SUCCESS, `reject_stat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    ProgramUnavailable,
    ProgramMismatch { low: u32, high: u32 },
    ProcedureUnavailable,
    GarbageArgs,
    RpcMismatch,
    Auth(AuthStat),
}

/// `auth_stat`: the part that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthStat {
    /// A credential that cannot be read.
    BadCredential,
    /// A verifier where none belongs.
    BadVerifier,
    /// A flavor that is not served; no retry helps.
    TooWeak,
}

impl From<Malformed> for BadCall {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl<'a> Call<'a> {
    pub(crate) fn decode(record: &'a [u8]) -> Result<Self, BadCall> {
        let mut reader = Reader::new(record);
        let xid = reader.u32()?;
        if reader.u32()? != CALL {
            return Err(BadCall::Malformed);
        }
        if reader.u32()? != VERSION {
            return Err(BadCall::Version { xid });
        }
        let (program, version, procedure) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let credential = Auth::decode(&mut reader)?;
        let verifier = Auth::decode(&mut reader)?;
        let args = reader.rest();
        Ok(Self { xid, program, version, procedure, credential, verifier, args })
    }
}

impl<'a> Auth<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { flavor: reader.u32()?, body: reader.opaque(AUTH_BYTES_MAX)? })
    }
}

/// The body of an `AUTH_SYS` credential (`authsys_parms`, RFC 5531 appendix A).
pub(crate) fn auth_sys(body: &[u8]) -> Result<Credentials, Malformed> {
    let mut reader = Reader::new(body);
    reader.u32()?; // the stamp: arbitrary
    reader.opaque(MACHINE_NAME_BYTES_MAX)?;
    let (uid, gid) = (reader.u32()?, reader.u32()?);
    let groups = reader.array(GROUPS_MAX, Reader::u32)?;
    Ok(Credentials { uid, gid, groups })
}

fn accepted(writer: &mut Writer<'_>, xid: u32, stat: u32) {
    writer.u32(xid);
    writer.u32(REPLY);
    writer.u32(ACCEPTED);
    writer.u32(AUTH_NULL);
    writer.opaque(&[]);
    writer.u32(stat);
}

fn denied(writer: &mut Writer<'_>, xid: u32, stat: u32) {
    writer.u32(xid);
    writer.u32(REPLY);
    writer.u32(DENIED);
    writer.u32(stat);
}

/// The header before results.
pub(crate) fn success(writer: &mut Writer<'_>, xid: u32) {
    accepted(writer, xid, 0);
}

impl Refusal {
    pub(crate) fn encode(self, writer: &mut Writer<'_>, xid: u32) {
        match self {
            Self::ProgramUnavailable => accepted(writer, xid, 1),
            Self::ProgramMismatch { low, high } => {
                accepted(writer, xid, 2);
                writer.u32(low);
                writer.u32(high);
            }
            Self::ProcedureUnavailable => accepted(writer, xid, 3),
            Self::GarbageArgs => accepted(writer, xid, 4),
            Self::RpcMismatch => {
                denied(writer, xid, RPC_MISMATCH);
                writer.u32(VERSION);
                writer.u32(VERSION);
            }
            Self::Auth(stat) => {
                denied(writer, xid, AUTH_ERROR);
                writer.u32(match stat {
                    AuthStat::BadCredential => 1,
                    AuthStat::BadVerifier => 3,
                    AuthStat::TooWeak => 5,
                });
            }
        }
    }
}
