//! Why an operation did not happen, named by what the caller can do about it.

/// Protocols translate these in their `status.rs`, and nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// No such entry.
    NotFound,
    /// The entry is there already.
    Exists,
    /// A directory is needed.
    NotDirectory,
    /// A directory will not do.
    IsDirectory,
    /// The directory has entries.
    NotEmpty,
    /// The mode bits, the share or the export refuse.
    Access,
    /// The share wants its callers to say better who they are.
    WeakIdentity,
    /// Only the owner or root may (`EPERM`).
    Permission,
    /// A name above 255 bytes.
    NameTooLong,
    /// An argument makes no sense here.
    Invalid,
    /// Two shares, where one is needed.
    CrossShare,
    /// The handle's file is gone.
    Stale,
    /// The handle was never ours.
    BadHandle,
    /// The share is read-only.
    ReadOnly,
    /// The disk or the store is full, and waiting does not help.
    NoSpace,
    /// A limit of the owner or the directory is reached.
    Quota,
    /// Beyond the largest file.
    TooBig,
    /// No more names for one inode.
    TooManyLinks,
    /// The cookie's place in the directory cannot be found again.
    BadCookie,
    /// The guard's `ctime` is not the file's.
    GuardMismatch,
    /// Known, and not offered.
    NotSupported,
    /// A kind of file that cannot be made this way.
    BadKind,
    /// The reply does not fit what the caller accepts.
    TooSmall,
    /// Not now: the cache or the log is full, or the store is away. Ask again.
    Busy,
    /// The disk failed.
    Io,
    /// Bytes came back with a wrong checksum, and no second copy is known.
    Corrupt,
    /// A sync failed. Bytes that were only logged may be gone; no retry brings them back.
    SyncFailed,
    /// The log takes no more bytes since a sync failed. Reading goes on.
    LogReadOnly,
    /// The server is stopping.
    Stopping,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Error {}
