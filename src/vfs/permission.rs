//! The one place that decides what mode bits and ownership allow.

use vocab::{Attr, Error, FileKind};

use crate::{SetAttr, SetTime, squash::Who};

const SETUID: u32 = 0o4000;
pub(crate) const SETGID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const GROUP_EXECUTE: u32 = 0o010;

/// What is wanted of an inode: one `rwx` triple of mode bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights(u32);

impl Rights {
    pub(crate) const READ: Self = Self(0o4);
    pub(crate) const WRITE: Self = Self(0o2);
    /// Run a file, or search a directory.
    pub(crate) const EXECUTE: Self = Self(0o1);
    /// Add or remove entries of a directory.
    pub(crate) const CHANGE: Self = Self(0o3);
}

/// Whether the mode bits allow all that is wanted. The first class that the caller belongs to
/// decides, even when a later one would allow more.
///
/// Root reads and writes everything, searches every directory, and runs what anybody may run.
pub(crate) fn allows(who: &Who<'_>, attr: &Attr, wanted: Rights) -> bool {
    if who.is_root() {
        let runs = wanted.0 & Rights::EXECUTE.0 != 0 && attr.kind != FileKind::Directory;
        return !runs || attr.mode & 0o111 != 0;
    }
    let shift = match () {
        () if who.uid == attr.uid => 6,
        () if who.is_member(attr.gid) => 3,
        () => 0,
    };
    (attr.mode >> shift) & wanted.0 == wanted.0
}

/// [`allows`] as a result.
///
/// # Errors
/// `Access`.
pub(crate) fn require(who: &Who<'_>, attr: &Attr, wanted: Rights) -> Result<(), Error> {
    if allows(who, attr, wanted) { Ok(()) } else { Err(Error::Access) }
}

/// Root, or the one the inode belongs to.
pub(crate) fn is_owner(who: &Who<'_>, attr: &Attr) -> bool {
    who.is_root() || who.uid == attr.uid
}

/// READ. The protocol has no `open`: a file that its owner opened stays readable after `chmod 0`,
/// so the owner is always let in, as the client checked the mode when it opened. Whoever may run a
/// file may read it, for the client has no other way to run it.
pub(crate) fn read_data(who: &Who<'_>, attr: &Attr) -> Result<(), Error> {
    if is_owner(who, attr) || allows(who, attr, Rights::READ) || allows(who, attr, Rights::EXECUTE)
    {
        return Ok(());
    }
    Err(Error::Access)
}

/// WRITE, COMMIT and a change of length; the owner as in [`read_data`].
pub(crate) fn write_data(who: &Who<'_>, attr: &Attr) -> Result<(), Error> {
    if is_owner(who, attr) { Ok(()) } else { require(who, attr, Rights::WRITE) }
}

/// Whether an entry may leave its directory (or be replaced in it). In a sticky directory only the
/// owner of the entry, the owner of the directory and root may.
///
/// # Errors
/// `Access`, `Permission` when sticky.
pub(crate) fn remove_entry(who: &Who<'_>, dir: &Attr, entry: &Attr) -> Result<(), Error> {
    require(who, dir, Rights::CHANGE)?;
    if is_sticky(dir) && !is_owner(who, dir) && !is_owner(who, entry) {
        return Err(Error::Permission);
    }
    Ok(())
}

/// Whether it matters whose the entries are.
pub(crate) fn is_sticky(dir: &Attr) -> bool {
    dir.mode & STICKY != 0
}

/// SETATTR, before anything is changed.
///
/// # Errors
/// `Permission` where ownership decides, `Access` where write access would do.
pub(crate) fn set_attr(who: &Who<'_>, attr: &Attr, set: &SetAttr) -> Result<(), Error> {
    let owner = is_owner(who, attr);
    let times = [set.atime, set.mtime];
    let uid_ok = |uid| who.is_root() || owner && uid == attr.uid;
    let gid_ok = |gid| who.is_root() || owner && (gid == attr.gid || who.is_member(gid));
    if !owner && (set.mode.is_some() || times.iter().any(|time| matches!(time, SetTime::To(_))))
        || set.uid.is_some_and(|uid| !uid_ok(uid))
        || set.gid.is_some_and(|gid| !gid_ok(gid))
    {
        return Err(Error::Permission);
    }
    if set.size.is_some() {
        write_data(who, attr)?;
    }
    if !owner && times.contains(&SetTime::Now) {
        require(who, attr, Rights::WRITE)?;
    }
    Ok(())
}

/// The mode without the bits that lend the file's identity to who runs it. Setgid without group
/// execution lends nothing (it once meant mandatory locking) and stays.
pub(crate) fn without_set_id(mode: u32) -> u32 {
    let cleared = mode & !SETUID;
    if mode & GROUP_EXECUTE == 0 { cleared } else { cleared & !SETGID }
}

/// Whether a change of the bytes must take those bits away: when the file is not as root left it.
pub(crate) fn loses_set_id(who: &Who<'_>, attr: &Attr) -> bool {
    !who.is_root() && attr.kind == FileKind::Regular && without_set_id(attr.mode) != attr.mode
}

/// The mode that `chmod` ends with: setgid only for a group that the caller is in.
pub(crate) fn chmod(who: &Who<'_>, mode: u32, gid: u32) -> u32 {
    let mode = mode & 0o7777;
    if who.is_root() || who.is_member(gid) { mode } else { mode & !SETGID }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use vocab::{Device, InodeId, ShareId, Time};

    pub(crate) fn attr(kind: FileKind, mode: u32, uid: u32, gid: u32) -> Attr {
        Attr {
            inode: InodeId(1),
            share: ShareId(1),
            generation: 1,
            kind,
            mode,
            nlink: 1,
            uid,
            gid,
            size: 0,
            used: 0,
            device: Device::default(),
            atime: Time::default(),
            mtime: Time::default(),
            ctime: Time::default(),
            change: 0,
        }
    }

    const ROOT: Who<'static> = Who::plain(0, 0, &[]);
    const OWNER: Who<'static> = Who::plain(1, 99, &[]);
    const GROUP: Who<'static> = Who::plain(2, 10, &[]);
    const SUPPLEMENTARY: Who<'static> = Who::plain(3, 99, &[98, 10]);
    const OTHER: Who<'static> = Who::plain(4, 99, &[98]);

    /// All modes, all callers, all wants: only the caller's own class counts.
    #[test]
    fn the_whole_matrix() {
        for mode in 0..0o1000 {
            let file = attr(FileKind::Regular, mode, 1, 10);
            for (who, shift) in [(OWNER, 6), (GROUP, 3), (SUPPLEMENTARY, 3), (OTHER, 0)] {
                for wanted in 1..8 {
                    let want = (mode >> shift) & wanted == wanted;
                    assert_eq!(allows(&who, &file, Rights(wanted)), want, "{mode:o} {who:?}");
                }
            }
        }
    }

    #[test]
    fn an_owner_in_the_group_is_still_the_owner() {
        let who = Who::plain(1, 10, &[10]);
        assert!(!allows(&who, &attr(FileKind::Regular, 0o077, 1, 10), Rights::READ));
    }

    #[test]
    fn root_passes_except_to_run_what_nobody_may() {
        for mode in 0..0o1000 {
            let file = attr(FileKind::Regular, mode, 1, 10);
            let dir = attr(FileKind::Directory, mode, 1, 10);
            assert!(allows(&ROOT, &file, Rights::READ) && allows(&ROOT, &file, Rights::WRITE));
            assert!(allows(&ROOT, &dir, Rights::CHANGE));
            assert_eq!(allows(&ROOT, &file, Rights::EXECUTE), mode & 0o111 != 0, "{mode:o}");
        }
    }

    #[test]
    fn data_of_an_open_file() {
        let sealed = attr(FileKind::Regular, 0, 1, 10);
        assert_eq!((read_data(&OWNER, &sealed), write_data(&OWNER, &sealed)), (Ok(()), Ok(())));
        assert_eq!(read_data(&OTHER, &sealed), Err(Error::Access));
        let program = attr(FileKind::Regular, 0o711, 1, 10);
        assert_eq!(read_data(&OTHER, &program), Ok(()));
        assert_eq!(write_data(&OTHER, &program), Err(Error::Access));
        assert_eq!(write_data(&GROUP, &attr(FileKind::Regular, 0o020, 1, 10)), Ok(()));
    }

    #[test]
    fn sticky_directories() {
        let dir = attr(FileKind::Directory, 0o1777, 1, 10);
        let file = |uid| attr(FileKind::Regular, 0o666, uid, 10);
        assert_eq!(remove_entry(&OTHER, &dir, &file(4)), Ok(()));
        assert_eq!(remove_entry(&OTHER, &dir, &file(5)), Err(Error::Permission));
        assert_eq!(remove_entry(&OWNER, &dir, &file(5)), Ok(()));
        assert_eq!(remove_entry(&ROOT, &dir, &file(5)), Ok(()));
        let closed = attr(FileKind::Directory, 0o1755, 1, 10);
        assert_eq!(remove_entry(&OTHER, &closed, &file(4)), Err(Error::Access));
    }

    #[test]
    fn who_may_set_what() {
        const NONE: SetAttr = SetAttr {
            mode: None,
            uid: None,
            gid: None,
            size: None,
            atime: SetTime::Keep,
            mtime: SetTime::Keep,
        };
        let to = SetTime::To(Time::default());
        let denied = Err(Error::Permission);
        // What; root, the owner (in group 99), a member of group 10 with write access, another.
        let table = [
            (NONE, [Ok(()); 4]),
            (SetAttr { mode: Some(0), ..NONE }, [Ok(()), Ok(()), denied, denied]),
            (SetAttr { uid: Some(1), ..NONE }, [Ok(()), Ok(()), denied, denied]),
            (SetAttr { uid: Some(2), ..NONE }, [Ok(()), denied, denied, denied]),
            (SetAttr { gid: Some(10), ..NONE }, [Ok(()), Ok(()), denied, denied]),
            (SetAttr { gid: Some(99), ..NONE }, [Ok(()), Ok(()), denied, denied]),
            (SetAttr { gid: Some(11), ..NONE }, [Ok(()), denied, denied, denied]),
            (SetAttr { mtime: to, ..NONE }, [Ok(()), Ok(()), denied, denied]),
            (SetAttr { atime: SetTime::Now, ..NONE }, [Ok(()), Ok(()), Ok(()), Err(Error::Access)]),
            (SetAttr { size: Some(0), ..NONE }, [Ok(()), Ok(()), Ok(()), Err(Error::Access)]),
        ];
        let file = attr(FileKind::Regular, 0o464, 1, 10);
        for (set, want) in table {
            let got = [ROOT, OWNER, GROUP, OTHER].map(|who| set_attr(&who, &file, &set));
            assert_eq!(got, want, "{set:?}");
        }
    }

    #[test]
    fn bits_that_lend_identity() {
        assert_eq!(without_set_id(0o6755), 0o755);
        assert_eq!(without_set_id(0o6745), 0o2745);
        assert_eq!(chmod(&OTHER, 0o6755, 10), 0o4755);
        assert_eq!(chmod(&GROUP, 0o6755, 10), 0o6755);
        assert_eq!(chmod(&ROOT, 0o6755, 10), 0o6755);
        let file = attr(FileKind::Regular, 0o4755, 1, 10);
        assert!(loses_set_id(&OWNER, &file) && !loses_set_id(&ROOT, &file));
    }
}
