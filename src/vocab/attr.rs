//! What a file system knows of a file besides its name and bytes.

use crate::{InodeId, ShareId, Time};

/// What a file is (`ftype3`, RFC 1813 section 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// Bytes.
    Regular,
    /// Names.
    Directory,
    /// A path.
    Symlink,
    /// A block device.
    Block,
    /// A character device.
    Character,
    /// A named pipe.
    Fifo,
    /// A local socket.
    Socket,
}

/// A device number (`specdata3`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Device {
    /// The driver.
    pub major: u32,
    /// The device of the driver.
    pub minor: u32,
}

/// The attributes of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Its id in its metadata store.
    pub inode: InodeId,
    /// The share it was created in. Decides the content store of its blocks.
    pub share: ShareId,
    /// Set once at creation, random: a handle with another one is stale.
    pub generation: u32,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky: `mode & 0o7777`.
    pub mode: u32,
    /// Names that lead here.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes; of a symlink its path's, of a directory something plausible.
    pub size: u64,
    /// Bytes that the file costs before deduplication.
    pub used: u64,
    /// Of a device: which.
    pub device: Device,
    /// Last read. Kept lazily.
    pub atime: Time,
    /// Last change of the bytes or of the entries.
    pub mtime: Time,
    /// Last change of bytes or attributes.
    pub ctime: Time,
    /// Rises with every change of bytes or attributes (`change`, NFSv4).
    pub change: u64,
}

/// What weak cache consistency compares (`wcc_attr`, RFC 1813 section 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreAttr {
    /// Length before the operation.
    pub size: u64,
    /// `mtime` before the operation.
    pub mtime: Time,
    /// `ctime` before the operation.
    pub ctime: Time,
}

impl Attr {
    /// The part that weak cache consistency compares.
    #[must_use]
    pub fn pre(&self) -> PreAttr {
        PreAttr { size: self.size, mtime: self.mtime, ctime: self.ctime }
    }
}
