//! Names that go, and inodes that go with their last one.

use vocab::{Attr, Error, FileKind, InodeId, Time};

use super::{directory, entry, entry_remove, inode, inode_of_entry, name_check, save};
use super::{totals_change, touch};
use crate::{
    command::Outcome,
    engine::Space,
    key,
    record::{Body, Inode, NameEntry},
    tx::Tx,
};

/// `Remove`.
pub(super) fn remove(
    tx: &mut Tx<'_>,
    (dir, name): (InodeId, &[u8]),
    is_rmdir: bool,
    now: Time,
) -> Result<Outcome, Error> {
    let (dir_before, _) = directory(tx, dir)?;
    let dir_pre = dir_before.attr().pre();
    name_check(name, if name == b"." { Error::Invalid } else { Error::Exists })?;
    let found = entry(tx, dir, name)?.ok_or(Error::NotFound)?;
    match (found.kind == FileKind::Directory, is_rmdir) {
        (true, false) => return Err(Error::IsDirectory),
        (false, true) => return Err(Error::NotDirectory),
        (true, true) | (false, false) => {}
    }
    let attr = drop_target(tx, &found, now)?;
    entry_remove(tx, (dir, name), &found, now)?;
    let dir = inode(tx, dir)?.attr();
    Ok(Outcome::Removed { attr, dir_pre, dir })
}

/// Takes one name from the inode of an entry, and the inode away with its last one. Gives its
/// attributes afterwards. The entry itself is the caller's.
///
/// # Errors
/// `NotEmpty`.
pub(super) fn drop_target(tx: &mut Tx<'_>, entry: &NameEntry, now: Time) -> Result<Attr, Error> {
    let mut target = inode_of_entry(tx, entry)?;
    if target.directory().is_some_and(|body| body.entries > 0) {
        return Err(Error::NotEmpty);
    }
    touch(&mut target.stored, now);
    let is_directory = target.directory().is_some();
    target.stored.nlink = if is_directory { 0 } else { target.stored.nlink - 1 };
    match (target.stored.nlink, target.body) {
        (1.., _) => save(tx, &target),
        (0, Body::Regular(_)) => {
            save(tx, &target);
            tx.put(Space::Misc, &key::orphan(target.id()), &Box::<[u8]>::default());
        }
        (0, Body::Directory(_) | Body::Other) => vanish(tx, &target)?,
    }
    Ok(target.attr())
}

/// Forgets an inode.
pub(super) fn vanish(tx: &mut Tx<'_>, inode: &Inode) -> Result<(), Error> {
    tx.remove(Space::Inodes, &key::inode(inode.id()));
    if inode.stored.kind == FileKind::Symlink {
        tx.remove(Space::Misc, &key::path(inode.id()));
    }
    totals_change(tx, inode.stored.share, -1, 0)
}
