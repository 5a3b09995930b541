//! NFS version 3 (RFC 1813): the 22 procedures, their arguments and results.

pub(crate) mod attr;
pub(crate) mod data;
pub(crate) mod fail;
pub(crate) mod listing;
pub(crate) mod names;
pub(crate) mod object;
pub(crate) mod volume;

use vocab::limits::HANDLE_BYTES_MAX;

use super::xdr::{Malformed, Reader};

/// The program's number.
pub(crate) const PROGRAM: u32 = 100_003;
/// The only version served.
pub(crate) const VERSION: u32 = 3;

/// Procedures by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Procedure {
    Null,
    GetAttr,
    SetAttr,
    Lookup,
    Access,
    ReadLink,
    Read,
    Write,
    Create,
    Mkdir,
    Symlink,
    Mknod,
    Remove,
    Rmdir,
    Rename,
    Link,
    ReadDir,
    ReadDirPlus,
    FsStat,
    FsInfo,
    PathConf,
    Commit,
}

impl Procedure {
    /// In order of their numbers, with their names.
    pub(crate) const ALL: [(Self, &'static str); 22] = [
        (Self::Null, "NULL"),
        (Self::GetAttr, "GETATTR"),
        (Self::SetAttr, "SETATTR"),
        (Self::Lookup, "LOOKUP"),
        (Self::Access, "ACCESS"),
        (Self::ReadLink, "READLINK"),
        (Self::Read, "READ"),
        (Self::Write, "WRITE"),
        (Self::Create, "CREATE"),
        (Self::Mkdir, "MKDIR"),
        (Self::Symlink, "SYMLINK"),
        (Self::Mknod, "MKNOD"),
        (Self::Remove, "REMOVE"),
        (Self::Rmdir, "RMDIR"),
        (Self::Rename, "RENAME"),
        (Self::Link, "LINK"),
        (Self::ReadDir, "READDIR"),
        (Self::ReadDirPlus, "READDIRPLUS"),
        (Self::FsStat, "FSSTAT"),
        (Self::FsInfo, "FSINFO"),
        (Self::PathConf, "PATHCONF"),
        (Self::Commit, "COMMIT"),
    ];

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        let index = usize::try_from(number).ok()?;
        Self::ALL.get(index).map(|(procedure, _)| *procedure)
    }
}

/// `nfsstat3` (RFC 1813 section 2.6), errors only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Perm,
    NoEnt,
    Io,
    Access,
    Exist,
    XDev,
    NotDir,
    IsDir,
    Inval,
    FBig,
    NoSpc,
    RoFs,
    MLink,
    NameTooLong,
    NotEmpty,
    DQuot,
    Stale,
    BadHandle,
    NotSync,
    BadCookie,
    NotSupp,
    TooSmall,
    BadType,
    JukeBox,
}

impl Status {
    /// The number on the wire.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Perm => 1,
            Self::NoEnt => 2,
            Self::Io => 5,
            Self::Access => 13,
            Self::Exist => 17,
            Self::XDev => 18,
            Self::NotDir => 20,
            Self::IsDir => 21,
            Self::Inval => 22,
            Self::FBig => 27,
            Self::NoSpc => 28,
            Self::RoFs => 30,
            Self::MLink => 31,
            Self::NameTooLong => 63,
            Self::NotEmpty => 66,
            Self::DQuot => 69,
            Self::Stale => 70,
            Self::BadHandle => 10001,
            Self::NotSync => 10002,
            Self::BadCookie => 10003,
            Self::NotSupp => 10004,
            Self::TooSmall => 10005,
            Self::BadType => 10007,
            Self::JukeBox => 10008,
        }
    }
}

/// `nfs_fh3` as results carry it: a handle of ours.
pub(crate) type HandleBytes = [u8; 32];

/// `nfs_fh3` as arguments carry it.
pub(crate) fn handle<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    reader.opaque(HANDLE_BYTES_MAX)
}
