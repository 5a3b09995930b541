//! SETATTR: mode, owner, length, times.
//!
//! Everything is checked before anything changes. The length goes through the log, the rest through
//! the metadata store; the length comes first, so that a given `mtime` wins over the truncate's.

use meta::command::{AttrChange, Command, Outcome};
use vocab::{Attr, Error, FileKind, PreAttr, Time, limits::FILE_BYTES_MAX};

use crate::{
    Caller, SetAttr, SetTime, Vfs, Wcc, handle::Handle, permission, target::Target, write,
};

impl Vfs {
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
        let target = self.enter_to_change(caller, handle).await?;
        self.change(&target, &set, guard).await
    }

    pub(crate) async fn change(
        &self,
        target: &Target<'_>,
        set: &SetAttr,
        guard: Option<Time>,
    ) -> Result<Wcc, Error> {
        check(target, set)?;
        if guard.is_some_and(|ctime| ctime != target.attr.ctime) {
            return Err(Error::GuardMismatch);
        }
        let mut wcc = target.unchanged();
        if let Some(size) = set.size {
            // The guard held a moment ago; a truncate cannot be made to depend on it.
            let stripped = write::strip_set_id(target).await?;
            let place = &target.share.place;
            let (inode, grade) = (target.attr.inode, target.share.durability());
            let (pre, post) = self.inner.payload.truncate(place, inode, size, grade).await?;
            wcc = Wcc { pre: Some(stripped.unwrap_or(pre.pre())), post: Some(post) };
        }
        // One moment: what is set to now is as old as the change.
        let now = reactor::clock::wall();
        let change = resolve(target, set, now);
        if change == AttrChange::default() {
            return Ok(wcc);
        }
        let guard = guard.filter(|_| set.size.is_none());
        let (pre, post) = submit(target, change, guard, now).await?;
        let pre = if set.size.is_some() { wcc.pre } else { Some(pre) };
        Ok(Wcc { pre, post: Some(post) })
    }
}

/// Changes attributes in the store: before and after.
pub(crate) async fn submit(
    target: &Target<'_>,
    change: AttrChange,
    guard: Option<Time>,
    now: Time,
) -> Result<(PreAttr, Attr), Error> {
    let inode = target.attr.inode;
    let data = target.meta().unflushed(inode);
    let command = Command::SetAttr { inode, change, guard, now, data };
    let Outcome::Changed { pre, attr } = target.share.submit(command).await? else {
        unreachable!("the outcome of SetAttr");
    };
    Ok((pre, attr))
}

fn check(target: &Target<'_>, set: &SetAttr) -> Result<(), Error> {
    if let Some(size) = set.size {
        target.require_regular()?;
        if size > FILE_BYTES_MAX {
            return Err(Error::TooBig);
        }
    }
    // `(uid_t) -1` means "leave alone" in every system call that could ask for it back.
    if set.uid == Some(u32::MAX) || set.gid == Some(u32::MAX) {
        return Err(Error::Invalid);
    }
    permission::set_attr(&target.who, &target.attr, set)
}

/// What a [`SetAttr`] comes down to besides the length. A new owner or group takes setuid and
/// setgid along from anything but a directory, root's doing or not, as on Linux.
fn resolve(target: &Target<'_>, set: &SetAttr, now: Time) -> AttrChange {
    let attr = &target.attr;
    let gid = set.gid.unwrap_or(attr.gid);
    let mut mode = set.mode.map(|mode| permission::chmod(&target.who, mode, gid));
    if (set.uid.is_some() || set.gid.is_some()) && attr.kind != FileKind::Directory {
        let before = mode.unwrap_or(attr.mode);
        let after = permission::without_set_id(before);
        mode = mode.or((after != before).then_some(after)).map(|_| after);
    }
    let time = |time| match time {
        SetTime::Keep => None,
        SetTime::Now => Some(now),
        SetTime::To(time) => Some(time),
    };
    AttrChange { mode, uid: set.uid, gid: set.gid, atime: time(set.atime), mtime: time(set.mtime) }
}
