//! READLINK: the path in a symlink.

use vocab::{Attr, Error, FileKind};

use crate::{Caller, Vfs, handle::Handle};

impl Vfs {
    /// READLINK. The mode of a symlink decides nothing, as on a local file system.
    ///
    /// # Errors
    /// `Invalid` when it is no symlink.
    pub async fn readlink(
        &self,
        caller: &Caller,
        handle: &Handle,
    ) -> Result<(Box<[u8]>, Attr), Error> {
        let target = self.enter(caller, handle).await?;
        if target.attr.kind != FileKind::Symlink {
            return Err(Error::Invalid);
        }
        let path = target.meta().readlink(target.attr.inode).await?;
        target.meta().note_read(target.attr.inode, reactor::clock::wall());
        Ok((path, target.attr))
    }
}
