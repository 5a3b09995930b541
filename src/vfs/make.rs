//! What CREATE, MKDIR, SYMLINK and MKNOD have in common: a new name, and the attributes under it.

use meta::command::{Command, NewAttr, NewKind, Outcome};
use vocab::{Error, Time, name};

use crate::{
    Made, SetAttr, SetTime, Wcc,
    permission::{self, Rights, SETGID},
    target::{Target, is_dots},
};

/// Makes an inode under a new name of a directory.
///
/// # Errors
/// `Exists` (also for `.` and `..`), `Access`, `NotDirectory`, `NameTooLong`, `Invalid`.
pub(crate) async fn make(
    dir: &Target<'_>,
    name: &[u8],
    kind: NewKind,
    set: &SetAttr,
) -> Result<Made, Error> {
    may_add(dir, name).await?;
    let attr = attr_of_new(dir, &kind, set);
    let command = Command::Create {
        dir: dir.attr.inode,
        name: name.into(),
        kind,
        attr,
        now: reactor::clock::wall(),
        generation: generation(),
    };
    let Outcome::Created { attr, dir_pre, dir: post, .. } = dir.share.submit(command).await? else {
        unreachable!("the outcome of Create");
    };
    Ok(Made { found: dir.found(attr), dir: Wcc { pre: Some(dir_pre), post: Some(post) } })
}

/// Whether the caller may add this name. That it is taken weighs more than that the directory is
/// closed, as on a local file system; who may not even search it learns neither.
pub(crate) async fn may_add(dir: &Target<'_>, name: &[u8]) -> Result<(), Error> {
    dir.require_directory()?;
    name::check(name)?;
    dir.require(Rights::EXECUTE)?;
    if is_dots(name) {
        return Err(Error::Exists);
    }
    if dir.require(Rights::CHANGE).is_ok() {
        // The writer tells whether the name is taken.
        return Ok(());
    }
    match dir.child(name).await {
        Ok(_) => Err(Error::Exists),
        Err(Error::NotFound) => Err(Error::Access),
        Err(other) => Err(other),
    }
}

/// Random, so that a handle made from guesses leads nowhere.
pub(crate) fn generation() -> u32 {
    let [.., a, b, c, d] = reactor::rng::random_u64().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Only root gives files away at birth; others own what they make. In a setgid directory the group
/// is the directory's, and new directories are setgid as well.
fn attr_of_new(dir: &Target<'_>, kind: &NewKind, set: &SetAttr) -> NewAttr {
    let who = &dir.who;
    let given = |id: Option<u32>| id.filter(|_| who.is_root());
    let inherits = dir.attr.mode & SETGID != 0;
    let gid = given(set.gid).unwrap_or(if inherits { dir.attr.gid } else { who.gid });
    let mode = set.mode.unwrap_or(mode_default(kind)) & 0o7777;
    let mode = match kind {
        NewKind::Directory if inherits => mode | SETGID,
        NewKind::Directory => mode,
        // Who is not in the group may not lend it to whoever runs the file.
        NewKind::Regular { .. } | NewKind::Symlink(_) | NewKind::Special(..) => {
            permission::chmod(who, mode, gid)
        }
    };
    NewAttr {
        mode,
        uid: given(set.uid).unwrap_or(who.uid),
        gid,
        atime: explicit(set.atime),
        mtime: explicit(set.mtime),
    }
}

/// For callers that leave the mode out. An exclusive create cannot carry one; nobody but the owner
/// gets in until the SETATTR that follows.
fn mode_default(kind: &NewKind) -> u32 {
    match kind {
        NewKind::Regular { exclusive: Some(_) } => 0,
        NewKind::Regular { exclusive: None } | NewKind::Special(..) => 0o600,
        NewKind::Directory => 0o700,
        NewKind::Symlink(_) => 0o777,
    }
}

fn explicit(time: SetTime) -> Option<Time> {
    match time {
        SetTime::To(time) => Some(time),
        // The command's own time is the server's clock.
        SetTime::Now | SetTime::Keep => None,
    }
}
