//! LOOKUP: a name in a directory.

use vocab::{Attr, Error, name};

use crate::{Caller, Found, Vfs, handle::Handle, permission::Rights, target::Target};

impl Vfs {
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
        let dir = self.enter(caller, dir).await?;
        let attr = step(&dir, name).await?;
        Ok((dir.found(attr), dir.attr))
    }
}

/// One component of a path: `.` stays, `..` of the share's root stays as well.
pub(crate) async fn step(dir: &Target<'_>, name: &[u8]) -> Result<Attr, Error> {
    dir.require_directory()?;
    name::check(name)?;
    dir.require(Rights::EXECUTE)?;
    let at_root = dir.attr.inode == dir.share.root;
    match name {
        b"." => Ok(dir.attr),
        b".." if at_root => Ok(dir.attr),
        b".." => parent(dir).await,
        _ => dir.child(name).await,
    }
}

/// The directory above one that is not the root.
pub(crate) async fn parent(dir: &Target<'_>) -> Result<Attr, Error> {
    let inode = dir.meta().parent(dir.attr.inode).await?;
    match dir.meta().peek_attr(inode) {
        Some(attr) => Ok(attr),
        None => dir.meta().attr(inode).await,
    }
}
