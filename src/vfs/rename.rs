//! RENAME: an entry to another name or directory of its share.

use meta::command::{Command, Outcome};
use vocab::{Attr, Error, FileKind, name};

use crate::{
    Caller, Vfs, Wcc,
    handle::Handle,
    permission::{self, Rights},
    target::{Target, is_dots, same_share},
};

impl Vfs {
    /// RENAME: the two directories' data.
    ///
    /// # Errors
    /// `CrossShare`, `Invalid` for `.` and `..`, and those of POSIX `rename`.
    pub async fn rename(
        &self,
        caller: &Caller,
        from_dir: &Handle,
        from_name: &[u8],
        to_dir: &Handle,
        to_name: &[u8],
    ) -> Result<(Wcc, Wcc), Error> {
        let from = self.enter_to_change(caller, from_dir).await?;
        let to = self.enter_to_change(caller, to_dir).await?;
        same_share(&from, &to)?;
        let source = source(&from, from_name, &to, to_name).await?;
        let target = match to.child(to_name).await {
            Err(Error::NotFound) => None,
            found => Some(found?),
        };
        if target.is_some_and(|target| target.inode == source.inode) {
            // Two names of one inode: POSIX wants nothing to happen, both names stay.
            return Ok((from.unchanged(), to.unchanged()));
        }
        permit(&from, &source, &to, target.as_ref())?;
        let command = Command::Rename {
            from_dir: from.attr.inode,
            from_name: from_name.into(),
            to_dir: to.attr.inode,
            to_name: to_name.into(),
            now: reactor::clock::wall(),
        };
        let outcome = from.share.submit(command).await?;
        let Outcome::Renamed { replaced, from_pre, from: from_post, to_pre, to: to_post } = outcome
        else {
            unreachable!("the outcome of Rename");
        };
        if let Some(replaced) = replaced {
            self.forget_orphan(&to, &replaced);
        }
        let wcc = |pre, post| Wcc { pre: Some(pre), post: Some(post) };
        Ok((wcc(from_pre, from_post), wcc(to_pre, to_post)))
    }
}

/// What is to be moved, by names and directories that can be searched.
async fn source(
    from: &Target<'_>,
    from_name: &[u8],
    to: &Target<'_>,
    to_name: &[u8],
) -> Result<Attr, Error> {
    for (dir, name) in [(from, from_name), (to, to_name)] {
        dir.require_directory()?;
        name::check(name)?;
        dir.require(Rights::EXECUTE)?;
        if is_dots(name) {
            return Err(Error::Invalid);
        }
    }
    from.child(from_name).await
}

/// One entry leaves, one may be replaced, and a directory that changes its parent is changed
/// itself: its `..` is.
fn permit(
    from: &Target<'_>,
    source: &Attr,
    to: &Target<'_>,
    target: Option<&Attr>,
) -> Result<(), Error> {
    permission::remove_entry(&from.who, &from.attr, source)?;
    match target {
        Some(target) => permission::remove_entry(&to.who, &to.attr, target)?,
        None => to.require(Rights::CHANGE)?,
    }
    if source.kind == FileKind::Directory && from.attr.inode != to.attr.inode {
        permission::require(&from.who, source, Rights::WRITE)?;
    }
    Ok(())
}
