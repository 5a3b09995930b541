//! Errors of `vfs` in the language of NFS and MOUNT.

use vfs::{Flavor, locks::Refused};
use vocab::Error;

use crate::wire::{
    mount, nlm,
    rpc::{AUTH_NULL, AUTH_SYS, AuthStat, Refusal},
    v3::Status,
};

/// `nfsstat3` (RFC 1813 section 2.6).
pub(crate) fn nfs(error: Error) -> Status {
    match error {
        Error::NotFound => Status::NoEnt,
        Error::Exists => Status::Exist,
        Error::NotDirectory => Status::NotDir,
        Error::IsDirectory => Status::IsDir,
        Error::NotEmpty => Status::NotEmpty,
        Error::Access | Error::WeakIdentity => Status::Access,
        Error::Permission => Status::Perm,
        Error::NameTooLong => Status::NameTooLong,
        Error::Invalid => Status::Inval,
        Error::CrossShare => Status::XDev,
        Error::Stale => Status::Stale,
        Error::BadHandle => Status::BadHandle,
        // The log's failure is the disk's, but reading goes on: like a disk remounted read-only.
        Error::ReadOnly | Error::LogReadOnly => Status::RoFs,
        Error::NoSpace => Status::NoSpc,
        Error::Quota => Status::DQuot,
        Error::TooBig => Status::FBig,
        Error::TooManyLinks => Status::MLink,
        Error::BadCookie => Status::BadCookie,
        Error::GuardMismatch => Status::NotSync,
        Error::NotSupported => Status::NotSupp,
        Error::BadKind => Status::BadType,
        Error::TooSmall => Status::TooSmall,
        // A stopping server comes back: the client waits and asks again.
        Error::Busy | Error::Stopping => Status::JukeBox,
        Error::Io | Error::Corrupt | Error::SyncFailed => Status::Io,
    }
}

/// What RPC says before any procedure does (RFC 5531 section 8.2).
pub(crate) fn refusal(error: Error) -> Option<Refusal> {
    (error == Error::WeakIdentity).then_some(Refusal::Auth(AuthStat::TooWeak))
}

/// `mountstat3` (RFC 1813 appendix I).
pub(crate) fn mount(error: Error) -> mount::Status {
    use mount::Status as Mount;
    match nfs(error) {
        Status::Perm => Mount::Perm,
        Status::NoEnt | Status::Stale => Mount::NoEnt,
        Status::Access => Mount::Access,
        Status::NotDir => Mount::NotDir,
        Status::Inval => Mount::Inval,
        Status::NameTooLong => Mount::NameTooLong,
        Status::NotSupp => Mount::NotSupp,
        Status::Io => Mount::Io,
        Status::Exist
        | Status::XDev
        | Status::IsDir
        | Status::FBig
        | Status::NoSpc
        | Status::RoFs
        | Status::MLink
        | Status::NotEmpty
        | Status::DQuot
        | Status::BadHandle
        | Status::NotSync
        | Status::BadCookie
        | Status::TooSmall
        | Status::BadType
        | Status::JukeBox => Mount::ServerFault,
    }
}

/// `nlm4_stats` (RFC 1813 appendix II).
pub(crate) fn nlm(error: Error) -> nlm::Status {
    match nfs(error) {
        Status::Stale | Status::BadHandle => nlm::Status::StaleHandle,
        Status::Access | Status::Perm => nlm::Status::Denied,
        // The only one after which clients ask again.
        Status::JukeBox => nlm::Status::GracePeriod,
        Status::NoSpc | Status::DQuot => nlm::Status::NoLocks,
        Status::NoEnt
        | Status::Io
        | Status::Exist
        | Status::XDev
        | Status::NotDir
        | Status::IsDir
        | Status::Inval
        | Status::FBig
        | Status::RoFs
        | Status::MLink
        | Status::NameTooLong
        | Status::NotEmpty
        | Status::NotSync
        | Status::BadCookie
        | Status::NotSupp
        | Status::TooSmall
        | Status::BadType => nlm::Status::Failed,
    }
}

/// The lock table's refusals among them.
pub(crate) fn nlm_refused(refused: Refused) -> nlm::Status {
    match refused {
        Refused::Conflict => nlm::Status::Denied,
        Refused::Deadlock => nlm::Status::Deadlock,
        Refused::NoRoom => nlm::Status::NoLocks,
        Refused::Grace => nlm::Status::GracePeriod,
    }
}

/// `auth_flavor` (RFC 5531 section 8.2).
pub(crate) fn flavor(flavor: Flavor) -> u32 {
    match flavor {
        Flavor::Sys => AUTH_SYS,
        Flavor::None { .. } => AUTH_NULL,
    }
}
