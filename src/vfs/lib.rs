//! The operations that every protocol calls, one file each; permission and squash are decided here
//! and nowhere else.
//!
//! Absent: wire formats, sockets, where bytes rest.

pub mod access;
pub mod handle;
pub mod locks;

mod admission;
mod answers;
mod commit;
mod create;
mod getattr;
mod hosts;
mod link;
mod lock;
mod lookup;
mod make;
mod mkdir;
mod mknod;
mod mount;
mod permission;
mod read;
mod readdir;
mod readlink;
mod remove;
mod rename;
mod rmdir;
mod setattr;
mod share;
mod squash;
mod statfs;
mod symlink;
mod target;
mod users;
mod warm;
mod write;

#[cfg(test)]
mod suite;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use payload::Payload;
use reactor::mailbox::Remote;
use vocab::{Attr, Cookie, Credentials, InodeId, PreAttr, Time};

use handle::Handle;

// The words of the data path that protocols use.
pub use admission::Flavor;
pub use hosts::{Host, Lookups, Network, check_netgroups};
pub use lock::{Asked, Locks};
pub use mount::Mounted;
pub use payload::{Evidence, ReadDone, Stability, Warmed};
pub use share::{Export, ShareConfig, ShareStatus, offered};
pub use squash::Squash;
pub use users::Groups;

/// Who asks, over which connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As the wire had them; squash comes later, by share. `None`: `AUTH_NULL`, the anonymous user.
    pub credentials: Option<Arc<Credentials>>,
    /// From where.
    pub address: IpAddr,
    /// And from which port: one below 1024 takes root on the caller's machine.
    pub port: u16,
    /// The groups that this machine knows of the caller, where a share wants them.
    groups: Option<Arc<[u32]>>,
}

impl Caller {
    /// Who asks, as the wire says.
    #[must_use]
    pub fn new(credentials: Option<Arc<Credentials>>, address: IpAddr, port: u16) -> Self {
        Self { credentials, address, port, groups: None }
    }
}

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

/// An entry of a listing.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: Bytes,
    /// Its file id.
    pub inode: InodeId,
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

/// All shares of this server. Cloning shares it; usable from any reactor.
#[derive(Clone, Debug)]
pub struct Vfs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    payload: Payload,
    shares: share::Table,
    locks: Locks,
    hosts: hosts::Hosts,
    users: users::Users,
}

impl Vfs {
    /// A server without shares yet, whose lock table lives on that reactor.
    #[must_use]
    pub fn new(payload: Payload, home: Remote) -> Self {
        Self::with_lookups(payload, home, &Lookups::default())
    }

    /// The same, told where to look up hosts and users.
    #[must_use]
    pub fn with_lookups(payload: Payload, home: Remote, lookups: &Lookups) -> Self {
        let (shares, locks) = (share::Table::new(), Locks::new(home));
        let (hosts, users) = (hosts::Hosts::new(lookups), users::Users::new(lookups));
        Self { inner: Arc::new(Inner { payload, shares, locks, hosts, users }) }
    }
}
