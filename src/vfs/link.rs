//! LINK: one more name for an inode.

use meta::command::{Command, Outcome};
use vocab::{Attr, Error, FileKind};

use crate::{Caller, Vfs, Wcc, handle::Handle, make, target::same_share};

impl Vfs {
    /// LINK: the inode's attributes and the directory's data.
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
        let target = self.enter(caller, handle).await?;
        let dir = self.enter_to_change(caller, dir).await?;
        same_share(&target, &dir)?;
        if target.attr.kind == FileKind::Directory {
            return Err(Error::IsDirectory);
        }
        make::may_add(&dir, name).await?;
        let command = Command::Link {
            inode: target.attr.inode,
            dir: dir.attr.inode,
            name: name.into(),
            now: reactor::clock::wall(),
        };
        let Outcome::Linked { attr, dir_pre, dir: post } = dir.share.submit(command).await? else {
            unreachable!("the outcome of Link");
        };
        Ok((attr, Wcc { pre: Some(dir_pre), post: Some(post) }))
    }
}
