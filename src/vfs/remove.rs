//! REMOVE: a name of anything but a directory.

use meta::command::{Command, Outcome};
use vocab::{Attr, Error, FileKind, name};

use crate::{
    Caller, Vfs, Wcc,
    handle::Handle,
    permission::{self, Rights},
    target::{Target, is_dots},
};

impl Vfs {
    /// REMOVE: anything but a directory.
    ///
    /// # Errors
    /// `NotFound`, `IsDirectory`, `Access`, `Permission` (sticky), `Invalid` for `.` and `..`.
    pub async fn remove(&self, caller: &Caller, dir: &Handle, name: &[u8]) -> Result<Wcc, Error> {
        let dir = self.enter_to_change(caller, dir).await?;
        if is_dots(name) {
            return Err(Error::Invalid);
        }
        self.unlink(&dir, name, false).await
    }

    /// REMOVE and RMDIR once the special names are dealt with.
    pub(crate) async fn unlink(
        &self,
        dir: &Target<'_>,
        name: &[u8],
        directory: bool,
    ) -> Result<Wcc, Error> {
        dir.require_directory()?;
        name::check(name)?;
        dir.require(Rights::EXECUTE)?;
        let may_change = dir.require(Rights::CHANGE).is_ok();
        // Whose the entry is, matters only in a sticky directory; that it is not there, weighs more
        // than that it may not be removed. Else the writer sees all that there is to see.
        if !may_change || permission::is_sticky(&dir.attr) {
            let entry = dir.child(name).await?;
            permission::remove_entry(&dir.who, &dir.attr, &entry)?;
        }
        let command = Command::Remove {
            dir: dir.attr.inode,
            name: name.into(),
            directory,
            now: reactor::clock::wall(),
        };
        let Outcome::Removed { attr, dir_pre, dir: post } = dir.share.submit(command).await? else {
            unreachable!("the outcome of Remove");
        };
        self.forget_orphan(dir, &attr);
        Ok(Wcc { pre: Some(dir_pre), post: Some(post) })
    }

    /// An inode lost a name: if that was the last one of a file, its bytes go.
    pub(crate) fn forget_orphan(&self, dir: &Target<'_>, attr: &Attr) {
        if attr.nlink == 0 && attr.kind == FileKind::Regular {
            self.inner.payload.forget(&dir.share.place, attr.inode);
        }
    }
}
