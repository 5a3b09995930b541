//! The network lock manager: versions 1 and 3 with 32-bit ranges, version 4 with 64-bit ones (RFC
//! 1813 appendix II; the older ones in "Protocols for X/Open Interworking: XNFS").

use super::xdr::{Encode, Malformed, Reader, Writer};

/// The program's number.
pub(crate) const PROGRAM: u32 = 100_021;

/// Longest name of a client; the protocol's 1024 would let strangers fill the memory.
const NAME_BYTES_MAX: u32 = 255;
/// Longest cookie, handle, or owner. No client is known to use more than 64.
const OBJECT_BYTES_MAX: u32 = 255;

/// Versions that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V1 = 1,
    V3 = 3,
    V4 = 4,
}

impl Version {
    pub(crate) const ALL: [Self; 3] = [Self::V1, Self::V3, Self::V4];

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.number() == number)
    }

    pub(crate) fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }
}

/// Procedures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Procedure {
    Null,
    Test,
    Lock,
    Cancel,
    Unlock,
    Granted,
    TestMsg,
    LockMsg,
    CancelMsg,
    UnlockMsg,
    GrantedMsg,
    TestRes,
    LockRes,
    CancelRes,
    UnlockRes,
    GrantedRes,
    Share,
    Unshare,
    NmLock,
    FreeAll,
}

impl Procedure {
    /// In order of their numbers, with their names. There are none from 16 to 19.
    pub(crate) const ALL: [(Self, &'static str); 20] = [
        (Self::Null, "NLM_NULL"),
        (Self::Test, "NLM_TEST"),
        (Self::Lock, "NLM_LOCK"),
        (Self::Cancel, "NLM_CANCEL"),
        (Self::Unlock, "NLM_UNLOCK"),
        (Self::Granted, "NLM_GRANTED"),
        (Self::TestMsg, "NLM_TEST_MSG"),
        (Self::LockMsg, "NLM_LOCK_MSG"),
        (Self::CancelMsg, "NLM_CANCEL_MSG"),
        (Self::UnlockMsg, "NLM_UNLOCK_MSG"),
        (Self::GrantedMsg, "NLM_GRANTED_MSG"),
        (Self::TestRes, "NLM_TEST_RES"),
        (Self::LockRes, "NLM_LOCK_RES"),
        (Self::CancelRes, "NLM_CANCEL_RES"),
        (Self::UnlockRes, "NLM_UNLOCK_RES"),
        (Self::GrantedRes, "NLM_GRANTED_RES"),
        (Self::Share, "NLM_SHARE"),
        (Self::Unshare, "NLM_UNSHARE"),
        (Self::NmLock, "NLM_NM_LOCK"),
        (Self::FreeAll, "NLM_FREE_ALL"),
    ];

    /// The first of those that version 1 has not.
    const SHARE: u32 = 20;

    pub(crate) fn from_number(version: Version, number: u32) -> Option<Self> {
        let index = match number {
            0..16 => number,
            Self::SHARE.. if version != Version::V1 => number.checked_sub(4)?,
            _ => return None,
        };
        Self::ALL.get(usize::try_from(index).ok()?).map(|(procedure, _)| *procedure)
    }

    /// Its number.
    pub(crate) fn number(self) -> u32 {
        let index = Self::ALL.iter().zip(0u32..).find(|((one, _), _)| *one == self);
        index.map_or(0, |(_, index)| if index < 16 { index } else { index.saturating_add(4) })
    }
}

/// `nlm4_stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Granted,
    Denied,
    NoLocks,
    Blocked,
    GracePeriod,
    Deadlock,
    StaleHandle,
    Failed,
}

impl Status {
    /// Older versions know the first five only.
    pub(crate) fn number(self, version: Version) -> u32 {
        let is_old = version != Version::V4;
        match self {
            Self::Granted => 0,
            Self::Deadlock if is_old => 1,
            Self::Denied => 1,
            Self::StaleHandle | Self::Failed if is_old => 2,
            Self::NoLocks => 2,
            Self::Blocked => 3,
            Self::GracePeriod => 4,
            Self::Deadlock => 5,
            Self::StaleHandle => 7,
            Self::Failed => 9,
        }
    }

    /// Of a reply to GRANTED, where only these matter.
    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Granted,
            4 => Self::GracePeriod,
            1 => Self::Denied,
            _ => Self::Failed,
        }
    }
}

/// `nlm4_lock`: whose lock, on which bytes of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock<'a> {
    pub(crate) caller: &'a [u8],
    pub(crate) handle: &'a [u8],
    pub(crate) owner: &'a [u8],
    /// The process there.
    pub(crate) svid: u32,
    pub(crate) offset: u64,
    /// 0: to the end.
    pub(crate) len: u64,
}

/// `nlm4_lockargs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockArgs<'a> {
    pub(crate) cookie: &'a [u8],
    pub(crate) block: bool,
    pub(crate) exclusive: bool,
    pub(crate) lock: Lock<'a>,
    pub(crate) reclaim: bool,
    pub(crate) state: u32,
}

/// `nlm4_cancargs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CancelArgs<'a> {
    pub(crate) cookie: &'a [u8],
    pub(crate) block: bool,
    pub(crate) exclusive: bool,
    pub(crate) lock: Lock<'a>,
}

/// `nlm4_testargs`, of TEST and GRANTED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TestArgs<'a> {
    pub(crate) cookie: &'a [u8],
    pub(crate) exclusive: bool,
    pub(crate) lock: Lock<'a>,
}

/// `nlm4_unlockargs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnlockArgs<'a> {
    pub(crate) cookie: &'a [u8],
    pub(crate) lock: Lock<'a>,
}

/// `nlm4_shareargs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShareArgs<'a> {
    pub(crate) cookie: &'a [u8],
    pub(crate) caller: &'a [u8],
    pub(crate) handle: &'a [u8],
    pub(crate) owner: &'a [u8],
    /// `fsh4_mode`: others may not read (1), write (2).
    pub(crate) deny: u32,
    /// `fsh4_access`: the owner reads (1), writes (2).
    pub(crate) access: u32,
    pub(crate) reclaim: bool,
}

/// `nlm4_notify`, of FREE_ALL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FreeAllArgs<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) state: u32,
}

/// `nlm4_holder`: what is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) exclusive: bool,
    pub(crate) svid: u32,
    pub(crate) owner: Vec<u8>,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// The result of every procedure that has one, and the arguments of every `_RES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) version: Version,
    pub(crate) cookie: Vec<u8>,
    pub(crate) status: Status,
    pub(crate) extra: Extra,
}

/// What follows the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    None,
    /// `nlm4_testrply`, when the status is `Denied`.
    Holder(Holder),
    /// `nlm4_shareres.sequence`.
    Sequence,
}

/// A range's number in the words of a version.
fn number(reader: &mut Reader<'_>, version: Version) -> Result<u64, Malformed> {
    if version == Version::V4 { reader.u64() } else { reader.u32().map(u64::from) }
}

fn put_range(writer: &mut Writer<'_>, version: Version, offset: u64, len: u64) {
    if version == Version::V4 {
        writer.u64(offset);
        writer.u64(len);
    } else {
        // What lies beyond is told as far as it can be.
        writer.u32(u32::try_from(offset).unwrap_or(u32::MAX));
        writer.u32(u32::try_from(len).unwrap_or(0));
    }
}

impl<'a> Lock<'a> {
    fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, Malformed> {
        Ok(Self {
            caller: reader.opaque(NAME_BYTES_MAX)?,
            handle: reader.opaque(OBJECT_BYTES_MAX)?,
            owner: reader.opaque(OBJECT_BYTES_MAX)?,
            svid: reader.u32()?,
            offset: number(reader, version)?,
            len: number(reader, version)?,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>, version: Version) {
        writer.opaque(self.caller);
        writer.opaque(self.handle);
        writer.opaque(self.owner);
        writer.u32(self.svid);
        put_range(writer, version, self.offset, self.len);
    }
}

impl<'a> LockArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, Malformed> {
        Ok(Self {
            cookie: reader.opaque(OBJECT_BYTES_MAX)?,
            block: reader.bool()?,
            exclusive: reader.bool()?,
            lock: Lock::decode(reader, version)?,
            reclaim: reader.bool()?,
            state: reader.u32()?,
        })
    }
}

impl<'a> CancelArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, Malformed> {
        Ok(Self {
            cookie: reader.opaque(OBJECT_BYTES_MAX)?,
            block: reader.bool()?,
            exclusive: reader.bool()?,
            lock: Lock::decode(reader, version)?,
        })
    }
}

impl<'a> TestArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, Malformed> {
        Ok(Self {
            cookie: reader.opaque(OBJECT_BYTES_MAX)?,
            exclusive: reader.bool()?,
            lock: Lock::decode(reader, version)?,
        })
    }

    pub(crate) fn encode(&self, writer: &mut Writer<'_>, version: Version) {
        writer.opaque(self.cookie);
        writer.bool(self.exclusive);
        self.lock.encode(writer, version);
    }
}

impl<'a> UnlockArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, Malformed> {
        Ok(Self { cookie: reader.opaque(OBJECT_BYTES_MAX)?, lock: Lock::decode(reader, version)? })
    }
}

impl<'a> ShareArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let up_to_3 = |word: u32| if word <= 3 { Ok(word) } else { Err(Malformed) };
        Ok(Self {
            cookie: reader.opaque(OBJECT_BYTES_MAX)?,
            caller: reader.opaque(NAME_BYTES_MAX)?,
            handle: reader.opaque(OBJECT_BYTES_MAX)?,
            owner: reader.opaque(OBJECT_BYTES_MAX)?,
            deny: reader.u32().and_then(up_to_3)?,
            access: reader.u32().and_then(up_to_3)?,
            reclaim: reader.bool()?,
        })
    }
}

impl<'a> FreeAllArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { name: reader.opaque(NAME_BYTES_MAX)?, state: reader.u32()? })
    }
}

/// Cookie and status of a `nlm4_res`, as GRANTED's reply and GRANTED_RES have it.
pub(crate) fn decode_res<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], Status), Malformed> {
    Ok((reader.opaque(OBJECT_BYTES_MAX)?, Status::from_number(reader.u32()?)))
}

impl Encode for Reply {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.opaque(&self.cookie);
        writer.u32(self.status.number(self.version));
        match &self.extra {
            Extra::None => {}
            Extra::Sequence => writer.u32(0),
            Extra::Holder(holder) => {
                writer.bool(holder.exclusive);
                writer.u32(holder.svid);
                writer.opaque(&holder.owner);
                put_range(writer, self.version, holder.offset, holder.len);
            }
        }
    }
}
