//! Shares, new inodes, and more names for old ones.

use vocab::{
    Attr, Cookie, Device, Error, FileKind, InodeId, ShareId, Time,
    limits::{LINKS_MAX, PATH_BYTES_MAX},
};

use super::{
    counters, directory, directory_size, entry, entry_add, inode, inode_id, inode_of_entry,
    name_check, save, totals_change, touch,
};
use crate::{
    ShareRoot,
    command::{NewAttr, NewKind, Outcome},
    engine::Space,
    key::{self, ContentId},
    record::{Body, COOKIE_FIRST, DirectoryBody, Inode, Number, RegularBody, Share},
    tx::{Tx, broken, scan},
};

/// `ShareCreate`.
pub(super) fn share(
    tx: &mut Tx<'_>,
    name: &str,
    content: &str,
    new: &NewAttr,
    now: Time,
    generation: u32,
) -> Result<Outcome, Error> {
    let mut found = None;
    let (from, to) = key::shares();
    scan(tx, Space::Misc, (&from, &to), |_, share: Share| {
        if share.root.name == name {
            found = Some(share.root);
        }
        Ok(found.is_none())
    })?;
    if let Some(root) = found {
        return if root.content == content {
            Ok(Outcome::Share(root))
        } else {
            Err(Error::Invalid)
        };
    }
    let content_id = content_id(tx, content)?;
    let root = inode_id(tx)?;
    let mut counters = counters(tx)?;
    let share = counters.share;
    counters.share = ShareId(share.0 + 1);
    tx.put(Space::Misc, &key::counters(), &counters);
    let inode = Inode {
        stored: new_attr(root, share, FileKind::Directory, new, now, generation),
        body: new_directory(root),
    };
    save(tx, &inode);
    totals_change(tx, share, 1, 0)?;
    let root = ShareRoot { share, name: name.into(), root, content: content.into() };
    let record = Share { root: root.clone(), content: content_id };
    tx.put(Space::Misc, &key::share(share), &record);
    Ok(Outcome::Share(root))
}

/// `Create`.
pub(super) fn create(
    tx: &mut Tx<'_>,
    (dir, name): (InodeId, &[u8]),
    kind: &NewKind,
    new: &NewAttr,
    now: Time,
    generation: u32,
) -> Result<Outcome, Error> {
    let (dir_before, _) = directory(tx, dir)?;
    let dir_pre = dir_before.attr().pre();
    name_check(name, Error::Exists)?;
    if let Some(taken) = entry(tx, dir, name)? {
        let taken = inode_of_entry(tx, &taken)?;
        let verifier = taken.regular().and_then(|body| body.exclusive);
        return match kind {
            NewKind::Regular { exclusive: Some(wanted) } if verifier == Some(*wanted) => {
                let (attr, dir) = (taken.attr(), dir_before.attr());
                Ok(Outcome::Created { attr, dir_pre, dir, replayed: true })
            }
            NewKind::Regular { .. }
            | NewKind::Directory
            | NewKind::Symlink(_)
            | NewKind::Special(..) => Err(Error::Exists),
        };
    }
    let (file_kind, device, size) = kind_check(kind)?;
    let id = inode_id(tx)?;
    let share = dir_before.stored.share;
    let mut stored = new_attr(id, share, file_kind, new, now, generation);
    stored.device = device;
    stored.size = size.unwrap_or(stored.size);
    let body = match kind {
        NewKind::Regular { exclusive } => {
            Body::Regular(RegularBody { exclusive: *exclusive, ..RegularBody::default() })
        }
        NewKind::Directory => new_directory(dir),
        NewKind::Symlink(path) => {
            tx.put(Space::Misc, &key::path(id), path);
            Body::Other
        }
        NewKind::Special(..) => Body::Other,
    };
    let inode = Inode { stored, body };
    save(tx, &inode);
    entry_add(tx, (dir, name), (id, file_kind), None, now)?;
    totals_change(tx, share, 1, 0)?;
    let dir = super::inode(tx, dir)?.attr();
    Ok(Outcome::Created { attr: inode.attr(), dir_pre, dir, replayed: false })
}

/// `Link`.
pub(super) fn link(
    tx: &mut Tx<'_>,
    id: InodeId,
    (dir, name): (InodeId, &[u8]),
    now: Time,
) -> Result<Outcome, Error> {
    let mut target = inode(tx, id)?;
    let (dir_before, _) = directory(tx, dir)?;
    let dir_pre = dir_before.attr().pre();
    name_check(name, Error::Exists)?;
    let kind = target.stored.kind;
    if kind == FileKind::Directory {
        return Err(Error::IsDirectory);
    }
    if target.stored.share != dir_before.stored.share {
        return Err(Error::CrossShare);
    }
    if entry(tx, dir, name)?.is_some() {
        return Err(Error::Exists);
    }
    if target.stored.nlink >= LINKS_MAX {
        return Err(Error::TooManyLinks);
    }
    target.stored.nlink += 1;
    touch(&mut target.stored, now);
    save(tx, &target);
    entry_add(tx, (dir, name), (id, kind), None, now)?;
    let dir = inode(tx, dir)?.attr();
    Ok(Outcome::Linked { attr: target.attr(), dir_pre, dir })
}

/// Kind, device and length of what is to be made.
fn kind_check(kind: &NewKind) -> Result<(FileKind, Device, Option<u64>), Error> {
    match kind {
        NewKind::Regular { .. } => Ok((FileKind::Regular, Device::default(), None)),
        NewKind::Directory => Ok((FileKind::Directory, Device::default(), None)),
        NewKind::Symlink(path) if path.is_empty() => Err(Error::Invalid),
        NewKind::Symlink(path) if path.len() > PATH_BYTES_MAX as usize => Err(Error::NameTooLong),
        NewKind::Symlink(path) => {
            Ok((FileKind::Symlink, Device::default(), Some(path.len() as u64)))
        }
        NewKind::Special(kind, device) => match kind {
            FileKind::Block | FileKind::Character => Ok((*kind, *device, None)),
            FileKind::Fifo | FileKind::Socket => Ok((*kind, Device::default(), None)),
            FileKind::Regular | FileKind::Directory | FileKind::Symlink => Err(Error::BadKind),
        },
    }
}

fn new_attr(
    inode: InodeId,
    share: ShareId,
    kind: FileKind,
    new: &NewAttr,
    now: Time,
    generation: u32,
) -> Attr {
    let is_directory = kind == FileKind::Directory;
    Attr {
        inode,
        share,
        generation,
        kind,
        mode: new.mode & 0o7777,
        nlink: if is_directory { 2 } else { 1 },
        uid: new.uid,
        gid: new.gid,
        size: if is_directory { directory_size(0) } else { 0 },
        used: 0,
        device: Device::default(),
        atime: new.atime.unwrap_or(now),
        mtime: new.mtime.unwrap_or(now),
        ctime: now,
        change: 1,
    }
}

fn new_directory(parent: InodeId) -> Body {
    Body::Directory(DirectoryBody { parent, cookie_next: COOKIE_FIRST, entries: 0 })
}

/// The number of a content store, a fresh one for a new name.
fn content_id(tx: &mut Tx<'_>, name: &str) -> Result<ContentId, Error> {
    let key = key::content(name);
    if let Some(Number(id)) = tx.get(Space::Misc, &key)? {
        let id = u32::try_from(id).map_err(|_| broken("content id out of range", &id))?;
        return Ok(ContentId(id));
    }
    let mut counters = counters(tx)?;
    let id = counters.content;
    counters.content = ContentId(id.0 + 1);
    tx.put(Space::Misc, &key::counters(), &counters);
    tx.put(Space::Misc, &key, &Number(id.0.into()));
    Ok(id)
}

// The cookies of `.` and `..` come before every entry's.
const _: () = assert!(COOKIE_FIRST.0 > Cookie(2).0);
