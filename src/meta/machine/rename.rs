//! Moving names (POSIX `rename`).

use vocab::{Error, FileKind, InodeId, Time};

use super::{directory, entry, entry_add, entry_remove, inode, inode_of_entry, name_check};
use super::{remove::drop_target, save, touch};
use crate::{
    command::Outcome,
    record::{Body, DirectoryBody, NameEntry},
    tx::{Tx, broken},
};

/// Directories above one another before the store must be damaged.
const DEPTH_MAX: u32 = 1 << 20;

/// `Rename`.
pub(super) fn rename(
    tx: &mut Tx<'_>,
    (from_dir, from_name): (InodeId, &[u8]),
    (to_dir, to_name): (InodeId, &[u8]),
    now: Time,
) -> Result<Outcome, Error> {
    let (from_before, _) = directory(tx, from_dir)?;
    let (to_before, _) = directory(tx, to_dir)?;
    name_check(from_name, Error::Invalid)?;
    name_check(to_name, Error::Invalid)?;
    if from_before.stored.share != to_before.stored.share {
        return Err(Error::CrossShare);
    }
    let source = entry(tx, from_dir, from_name)?.ok_or(Error::NotFound)?;
    let target = entry(tx, to_dir, to_name)?;
    let is_noop = target.is_some_and(|target| target.inode == source.inode);
    let mut replaced = None;
    if !is_noop {
        kinds_check(&source, target.as_ref())?;
        if source.kind == FileKind::Directory && from_dir != to_dir {
            ancestor_check(tx, source.inode, to_dir)?;
        }
        if let Some(target) = &target {
            replaced = Some(drop_target(tx, target, now)?);
            entry_remove(tx, (to_dir, to_name), target, now)?;
        }
        // A listing under way must not meet the new name twice, nor miss the moved inode.
        let cookie = match target {
            Some(target) => Some(target.cookie),
            None if from_dir == to_dir => Some(source.cookie),
            None => None,
        };
        entry_remove(tx, (from_dir, from_name), &source, now)?;
        entry_add(tx, (to_dir, to_name), (source.inode, source.kind), cookie, now)?;
        let mut moved = inode_of_entry(tx, &source)?;
        if let Body::Directory(body) = moved.body {
            moved.body = Body::Directory(DirectoryBody { parent: to_dir, ..body });
        }
        touch(&mut moved.stored, now);
        save(tx, &moved);
    }
    Ok(Outcome::Renamed {
        replaced,
        from_pre: from_before.attr().pre(),
        from: inode(tx, from_dir)?.attr(),
        to_pre: to_before.attr().pre(),
        to: inode(tx, to_dir)?.attr(),
    })
}

/// A directory replaces only a directory, and anything else only what is none.
fn kinds_check(source: &NameEntry, target: Option<&NameEntry>) -> Result<(), Error> {
    let is_directory = |entry: &NameEntry| entry.kind == FileKind::Directory;
    match (is_directory(source), target.map(is_directory)) {
        (true, Some(false)) => Err(Error::NotDirectory),
        (false, Some(true)) => Err(Error::IsDirectory),
        (true, Some(true) | None) | (false, Some(false) | None) => Ok(()),
    }
}

/// `Invalid` when `dir` is `moved` or below it.
fn ancestor_check(tx: &Tx<'_>, moved: InodeId, mut dir: InodeId) -> Result<(), Error> {
    for _ in 0..DEPTH_MAX {
        if dir == moved {
            return Err(Error::Invalid);
        }
        let (_, body) = directory(tx, dir)?;
        if body.parent == dir {
            return Ok(());
        }
        dir = body.parent;
    }
    Err(broken("a circle of parents", &dir))
}
