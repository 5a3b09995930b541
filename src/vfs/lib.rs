//! The operations that every protocol calls, one file each; permission and squash are decided here
//! and nowhere else.
//!
//! Absent: wire formats, sockets, where bytes rest.

pub mod handle;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use meta::command::AttrChange;
use payload::{Payload, Place};
use vocab::{
    Attr, Cookie, Credentials, Device, Error, FileKind, PreAttr, ShareId, Time, durable::Durable,
};

use handle::Handle;

/// How callers' ids are changed for a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Squash {
    /// Left alone.
    None,
    /// Root stays root: the same as `None` for NFS.
    RootToAdmin,
    /// Root becomes the anonymous user.
    #[default]
    RootToGuest,
    /// Everybody becomes root.
    AllToAdmin,
    /// Everybody becomes the anonymous user.
    AllToGuest,
}

/// A share as configured.
#[derive(Clone, Debug)]
pub struct ShareConfig {
    /// For example `/export`.
    pub name: String,
    /// Refuse every change.
    pub read_only: bool,
    /// How ids are changed.
    pub squash: Squash,
    /// The anonymous user, 65534 unless configured.
    pub anonymous_uid: u32,
    /// The anonymous group, 65534 unless configured.
    pub anonymous_gid: u32,
    /// Networks that may come in; empty: all.
    pub allow: Vec<Network>,
    /// Networks that may not; wins.
    pub deny: Vec<Network>,
}

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// Leading bits.
    pub prefix_bits: u8,
}

/// Who asks, over which connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As the wire had them; squash comes later, by share. `None`: `AUTH_NULL`, the anonymous user.
    pub credentials: Option<Arc<Credentials>>,
    /// From where.
    pub address: IpAddr,
}

// The words of the data path that protocols use.
pub use payload::{Evidence, ReadDone, Stability};

/// A handle and what it leads to.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The handle.
    pub handle: Handle,
    /// The attributes.
    pub attr: Attr,
}

/// Weak cache consistency data (`wcc_data`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Wcc {
    /// Before.
    pub pre: Option<PreAttr>,
    /// After.
    pub post: Option<Attr>,
}

/// A value to set a time to (`set_atime`, `set_mtime`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// Left alone.
    #[default]
    Keep,
    /// The server's clock.
    Now,
    /// This time. Only the owner or root may.
    To(Time),
}

/// Attributes that a caller sets (`sattr3`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length.
    pub size: Option<u64>,
    /// Last read.
    pub atime: SetTime,
    /// Last change of bytes.
    pub mtime: SetTime,
}

/// `createmode3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateHow {
    /// Found or made; a size of 0 truncates what was found.
    Unchecked(SetAttr),
    /// Made, or `Exists`.
    Guarded(SetAttr),
    /// Made once, however often it is asked.
    Exclusive([u8; 8]),
}

/// What a create made.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// The new file.
    pub found: Found,
    /// Its directory.
    pub dir: Wcc,
}

/// Bits of ACCESS (RFC 1813 section 3.3.4).
pub mod access {
    /// Read data or list a directory.
    pub const READ: u32 = 0x01;
    /// Look up a name.
    pub const LOOKUP: u32 = 0x02;
    /// Change bytes or entries that exist.
    pub const MODIFY: u32 = 0x04;
    /// Add bytes or entries.
    pub const EXTEND: u32 = 0x08;
    /// Remove an entry.
    pub const DELETE: u32 = 0x10;
    /// Run a file.
    pub const EXECUTE: u32 = 0x20;
}

/// An entry of a listing.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: Box<[u8]>,
    /// Its file id.
    pub inode: vocab::InodeId,
    /// Where a listing resumes after it.
    pub cookie: Cookie,
    /// Handle and attributes, when asked for and allowed.
    pub found: Option<Found>,
}

/// Part of a listing, `.` and `..` included.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Nothing follows.
    pub end: bool,
    /// The directory.
    pub dir: Attr,
}

/// Sizes of a file system (`FSSTAT3resok`).
#[derive(Clone, Copy, Debug)]
pub struct StatFs {
    /// Bytes in all.
    pub bytes_total: u64,
    /// Bytes free.
    pub bytes_free: u64,
    /// Inodes in all.
    pub inodes_total: u64,
    /// Inodes free.
    pub inodes_free: u64,
}

/// A share that may be mounted.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Who may, in words; empty: everyone.
    pub groups: Vec<String>,
}

/// All shares of this server. Cloning shares it; usable from any reactor.
#[derive(Clone, Debug)]
pub struct Vfs {
    _inner: Arc<()>,
}

impl Vfs {
    /// A server without shares yet.
    #[must_use]
    pub fn new(payload: Payload) -> Self {
        let _ = payload;
        todo!()
    }

    /// Adds a share, making its root directory (mode 0755... as configured) when it is new.
    ///
    /// # Errors
    /// In words for the operator: for example the share rests in another content store.
    pub async fn share_add(&self, config: ShareConfig, place: Place) -> Result<ShareId, String> {
        let _ = (config, place);
        todo!()
    }

    /// The shares, for MOUNT's EXPORT.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        todo!()
    }

    /// The name of the share of a handle, for metrics.
    #[must_use]
    pub fn share_name(&self, handle: &Handle) -> Option<Arc<str>> {
        let _ = handle;
        todo!()
    }

    /// The handle of a share's root, or of a directory below it, by path.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `Access`.
    pub async fn mount(&self, caller: &Caller, path: &[u8]) -> Result<Found, Error> {
        let _ = (caller, path);
        todo!()
    }

    /// Live attributes if they are at hand: for the attributes in a failed reply. Never blocks.
    #[must_use]
    pub fn peek(&self, handle: &Handle) -> Option<Attr> {
        let _ = handle;
        todo!()
    }

    /// GETATTR.
    ///
    /// # Errors
    /// `BadHandle`, `Stale`, and so every operation; further ones by the RFC.
    pub async fn getattr(&self, caller: &Caller, handle: &Handle) -> Result<Attr, Error> {
        let _ = (caller, handle);
        todo!()
    }

    /// SETATTR; only when `ctime` is `guard`, if one is given.
    ///
    /// # Errors
    /// `Access`, `Permission`, `GuardMismatch`, `ReadOnly`, and those of writing.
    pub async fn setattr(
        &self,
        caller: &Caller,
        handle: &Handle,
        set: SetAttr,
        guard: Option<Time>,
    ) -> Result<Wcc, Error> {
        let _ = (caller, handle, set, guard);
        todo!()
    }

    /// LOOKUP: what the name leads to, and the directory's attributes.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `Access`.
    pub async fn lookup(
        &self,
        caller: &Caller,
        dir: &Handle,
        name: &[u8],
    ) -> Result<(Found, Attr), Error> {
        let _ = (caller, dir, name);
        todo!()
    }

    /// ACCESS: those of the asked bits that are granted.
    ///
    /// # Errors
    /// `Stale`.
    pub async fn access(
        &self,
        caller: &Caller,
        handle: &Handle,
        asked: u32,
    ) -> Result<(u32, Attr), Error> {
        let _ = (caller, handle, asked);
        todo!()
    }

    /// READLINK.
    ///
    /// # Errors
    /// `Invalid` when it is no symlink.
    pub async fn readlink(
        &self,
        caller: &Caller,
        handle: &Handle,
    ) -> Result<(Box<[u8]>, Attr), Error> {
        let _ = (caller, handle);
        todo!()
    }

    /// READ.
    ///
    /// # Errors
    /// `Access`, `IsDirectory`, `Busy`, `Corrupt`, `Io`.
    pub async fn read(
        &self,
        caller: &Caller,
        handle: &Handle,
        offset: u64,
        len: u32,
    ) -> Result<ReadDone, Error> {
        let _ = (caller, handle, offset, len);
        todo!()
    }

    /// WRITE.
    ///
    /// # Errors
    /// `Access`, `IsDirectory`, `ReadOnly`, `Busy`, `TooBig`, `LogReadOnly`, `SyncFailed`.
    pub async fn write(
        &self,
        caller: &Caller,
        handle: &Handle,
        offset: u64,
        bytes: Bytes,
        stability: Stability,
    ) -> Result<(Evidence, Wcc), Error> {
        let _ = (caller, handle, offset, bytes, stability);
        todo!()
    }

    /// COMMIT.
    ///
    /// # Errors
    /// `SyncFailed`.
    pub async fn commit(&self, caller: &Caller, handle: &Handle) -> Result<(Durable, Wcc), Error> {
        let _ = (caller, handle);
        todo!()
    }

    /// CREATE of a regular file.
    ///
    /// # Errors
    /// `Exists`, `Access`, `NameTooLong`, `ReadOnly`.
    pub async fn create(
        &self,
        caller: &Caller,
        dir: &Handle,
        name: &[u8],
        how: CreateHow,
    ) -> Result<Made, Error> {
        let _ = (caller, dir, name, how);
        todo!()
    }

    /// MKDIR.
    ///
    /// # Errors
    /// As [`Vfs::create`].
    pub async fn mkdir(
        &self,
        caller: &Caller,
        dir: &Handle,
        name: &[u8],
        set: SetAttr,
    ) -> Result<Made, Error> {
        let _ = (caller, dir, name, set);
        todo!()
    }

    /// SYMLINK.
    ///
    /// # Errors
    /// As [`Vfs::create`].
    pub async fn symlink(
        &self,
        caller: &Caller,
        dir: &Handle,
        name: &[u8],
        path: &[u8],
        set: SetAttr,
    ) -> Result<Made, Error> {
        let _ = (caller, dir, name, path, set);
        todo!()
    }

    /// MKNOD of a device, pipe or socket.
    ///
    /// # Errors
    /// As [`Vfs::create`]; `Permission` for a device by anyone but root.
    pub async fn mknod(
        &self,
        caller: &Caller,
        dir: &Handle,
        name: &[u8],
        kind: FileKind,
        device: Device,
        set: SetAttr,
    ) -> Result<Made, Error> {
        let _ = (caller, dir, name, kind, device, set);
        todo!()
    }

    /// REMOVE: anything but a directory.
    ///
    /// # Errors
    /// `NotFound`, `IsDirectory`, `Access`, `Permission` (sticky).
    pub async fn remove(&self, caller: &Caller, dir: &Handle, name: &[u8]) -> Result<Wcc, Error> {
        let _ = (caller, dir, name);
        todo!()
    }

    /// RMDIR.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `NotEmpty`, `Invalid` for `.`, `Exists` for `..`.
    pub async fn rmdir(&self, caller: &Caller, dir: &Handle, name: &[u8]) -> Result<Wcc, Error> {
        let _ = (caller, dir, name);
        todo!()
    }

    /// RENAME: the two directories' data.
    ///
    /// # Errors
    /// `CrossShare`, and those of POSIX `rename`.
    pub async fn rename(
        &self,
        caller: &Caller,
        from_dir: &Handle,
        from_name: &[u8],
        to_dir: &Handle,
        to_name: &[u8],
    ) -> Result<(Wcc, Wcc), Error> {
        let _ = (caller, from_dir, from_name, to_dir, to_name);
        todo!()
    }

    /// LINK: the file's attributes and the directory's data.
    ///
    /// # Errors
    /// `CrossShare`, `Exists`, `IsDirectory`, `TooManyLinks`.
    pub async fn link(
        &self,
        caller: &Caller,
        handle: &Handle,
        dir: &Handle,
        name: &[u8],
    ) -> Result<(Attr, Wcc), Error> {
        let _ = (caller, handle, dir, name);
        todo!()
    }

    /// READDIR and READDIRPLUS (`with_found`): entries after a cookie, at most `entries_max`.
    ///
    /// # Errors
    /// `NotDirectory`, `Access`, `BadCookie`.
    pub async fn readdir(
        &self,
        caller: &Caller,
        dir: &Handle,
        after: Cookie,
        entries_max: usize,
        with_found: bool,
    ) -> Result<Listing, Error> {
        let _ = (caller, dir, after, entries_max, with_found);
        todo!()
    }

    /// FSSTAT.
    ///
    /// # Errors
    /// `Stale`.
    pub async fn statfs(&self, caller: &Caller, handle: &Handle) -> Result<(StatFs, Attr), Error> {
        let _ = (caller, handle);
        todo!()
    }

    /// The type [`AttrChange`] that a [`SetAttr`] comes down to once its times are known.
    #[must_use]
    pub fn attr_change(set: &SetAttr, now: Time) -> AttrChange {
        let time = |set: SetTime| match set {
            SetTime::Keep => None,
            SetTime::Now => Some(now),
            SetTime::To(time) => Some(time),
        };
        AttrChange {
            mode: set.mode,
            uid: set.uid,
            gid: set.gid,
            atime: time(set.atime),
            mtime: time(set.mtime),
        }
    }
}
