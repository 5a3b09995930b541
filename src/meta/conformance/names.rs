//! Making, linking and removing names.

use vocab::{Cookie, Device, Error, FileKind, InodeId, limits::LINKS_MAX};

use super::{Fixture, new_attr, submit_all, wait};
use crate::command::{Command, NewKind, Outcome};

fn regular() -> NewKind {
    NewKind::Regular { exclusive: None }
}

pub(super) fn every_kind_is_made_and_found(f: &Fixture) {
    let device = Device { major: 8, minor: 1 };
    let kinds = [
        ("file", regular(), FileKind::Regular),
        ("dir", NewKind::Directory, FileKind::Directory),
        ("symlink", NewKind::Symlink(b"../a b".as_slice().into()), FileKind::Symlink),
        ("block", NewKind::Special(FileKind::Block, device), FileKind::Block),
        ("char", NewKind::Special(FileKind::Character, device), FileKind::Character),
        ("fifo", NewKind::Special(FileKind::Fifo, device), FileKind::Fifo),
        ("socket", NewKind::Special(FileKind::Socket, device), FileKind::Socket),
    ];
    for (name, kind, file_kind) in kinds {
        let dir_before = f.attr(f.root).expect("root");
        let now = f.now();
        let outcome = f.submit(Command::Create {
            dir: f.root,
            name: name.as_bytes().into(),
            kind,
            attr: new_attr(0o104_751),
            now,
            generation: 99,
        });
        let Ok(Outcome::Created { attr, dir_pre, dir, replayed: false }) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(attr.kind, file_kind);
        assert_eq!((attr.mode, attr.uid, attr.gid, attr.generation), (0o4751, 10, 20, 99));
        assert_eq!((attr.atime, attr.mtime, attr.ctime), (now, now, now));
        assert_eq!(attr.nlink, if file_kind == FileKind::Directory { 2 } else { 1 });
        let is_device = matches!(file_kind, FileKind::Block | FileKind::Character);
        assert_eq!(attr.device, if is_device { device } else { Device::default() });
        assert_eq!(dir_pre, dir_before.pre());
        assert_eq!((dir.mtime, dir.ctime, dir.change), (now, now, dir_before.change + 1));
        assert_eq!(f.attr(f.root), Ok(dir));
        assert_eq!(f.attr(attr.inode), Ok(attr));
        assert_eq!(f.lookup(f.root, name), Ok(attr.inode));
        assert_eq!(f.store.peek_lookup(f.root, name.as_bytes()), Some(Some(attr.inode)));
        let path = wait(f.store.readlink(attr.inode));
        if file_kind == FileKind::Symlink {
            assert_eq!(path.as_deref(), Ok(b"../a b".as_slice()));
            assert_eq!(attr.size, 6);
        } else {
            assert_eq!(path, Err(Error::Invalid));
        }
    }
    assert_eq!(f.attr(f.root).expect("root").nlink, 3);
    let dir = f.lookup(f.root, "dir").expect("dir");
    assert_eq!(f.lookup(dir, "."), Ok(dir));
    assert_eq!(f.lookup(dir, ".."), Ok(f.root));
    assert_eq!(f.lookup(f.root, ".."), Ok(f.root));
    assert_eq!(wait(f.store.parent(dir)), Ok(f.root));
    assert_eq!(wait(f.store.parent(f.root)), Ok(f.root));
    let file = f.lookup(f.root, "file").expect("file");
    assert_eq!(wait(f.store.parent(file)), Err(Error::NotDirectory));
    assert_eq!(f.lookup(file, "x"), Err(Error::NotDirectory));
    assert_eq!(f.lookup(file, "."), Err(Error::NotDirectory));
    assert_eq!(f.lookup(f.root, &"n".repeat(256)), Err(Error::NameTooLong));
    f.check();
}

pub(super) fn create_refuses_what_it_must(f: &Fixture) {
    let file = f.file(f.root, "file");
    let stranger = InodeId(file.0 + 1000);
    let before = f.attr(f.root);
    let totals = wait(f.store.totals(None)).expect("totals").inodes;
    let cases = [
        (stranger, "a", regular(), Error::Stale),
        (file, "a", regular(), Error::NotDirectory),
        (f.root, "file", regular(), Error::Exists),
        (f.root, "file", NewKind::Directory, Error::Exists),
        (f.root, ".", regular(), Error::Exists),
        (f.root, "..", NewKind::Directory, Error::Exists),
        (f.root, "", regular(), Error::Invalid),
        (f.root, "a/b", regular(), Error::Invalid),
        (f.root, "a\0b", regular(), Error::Invalid),
        (f.root, &"x".repeat(256), regular(), Error::NameTooLong),
        (f.root, "a", NewKind::Symlink(Box::default()), Error::Invalid),
        (f.root, "a", NewKind::Symlink(vec![b'x'; 4097].into()), Error::NameTooLong),
        (f.root, "a", NewKind::Special(FileKind::Regular, Device::default()), Error::BadKind),
        (f.root, "a", NewKind::Special(FileKind::Symlink, Device::default()), Error::BadKind),
    ];
    for (dir, name, kind, error) in cases {
        assert_eq!(f.make(dir, name, kind.clone()), Err(error), "{name:?} {kind:?}");
    }
    assert_eq!(f.attr(f.root), before);
    assert_eq!(wait(f.store.totals(None)).expect("totals").inodes, totals);
    assert!(f.make(f.root, &"x".repeat(255), regular()).is_ok());
    assert_eq!(f.lookup(f.root, "nothing"), Err(Error::NotFound));
    assert_eq!(f.lookup(stranger, "nothing"), Err(Error::Stale));
    assert_eq!(f.attr(stranger), Err(Error::Stale));
    f.check();
}

pub(super) fn exclusive_create_is_made_once(f: &Fixture) {
    let create = |verifier| {
        f.submit(Command::Create {
            dir: f.root,
            name: b"file".as_slice().into(),
            kind: NewKind::Regular { exclusive: verifier },
            attr: new_attr(0o600),
            now: f.now(),
            generation: 1,
        })
    };
    let Ok(Outcome::Created { attr, dir, replayed: false, .. }) = create(Some([7; 8])) else {
        panic!("not made");
    };
    let Ok(Outcome::Created { attr: again, dir_pre, replayed: true, .. }) = create(Some([7; 8]))
    else {
        panic!("not found");
    };
    assert_eq!((again, dir_pre), (attr, dir.pre()));
    assert_eq!(create(Some([8; 8])).err(), Some(Error::Exists));
    assert_eq!(create(None).err(), Some(Error::Exists));
    assert_eq!(f.names(f.root), ["file"]);
    f.check();
}

pub(super) fn links_are_counted(f: &Fixture) {
    let dir = f.mkdir(f.root, "dir");
    let file = f.file(f.root, "a");
    let before = f.attr(file).expect("attr");
    let linked = f.link(file, dir, "b").expect("link");
    assert_eq!((linked.inode, linked.nlink), (file, 2));
    assert!(linked.ctime > before.ctime && linked.change > before.change);
    assert_eq!(linked.mtime, before.mtime);
    assert_eq!(f.lookup(dir, "b"), Ok(file));
    assert_eq!(f.link(dir, f.root, "c"), Err(Error::IsDirectory));
    assert_eq!(f.link(file, dir, "b"), Err(Error::Exists));
    assert_eq!(f.link(file, dir, ".."), Err(Error::Exists));
    assert_eq!(f.link(file, file, "c"), Err(Error::NotDirectory));
    assert_eq!(f.link(InodeId(999), dir, "c"), Err(Error::Stale));
    assert_eq!(f.link(file, InodeId(999), "c"), Err(Error::Stale));
    assert_eq!(f.remove(f.root, "a").expect("remove").nlink, 1);
    assert_eq!(f.attr(file).expect("attr").nlink, 1);
    f.check();
}

pub(super) fn too_many_links(f: &Fixture) {
    let file = f.file(f.root, "first");
    let link = |n: u32| Command::Link {
        inode: file,
        dir: f.root,
        name: format!("{n}").into_bytes().into(),
        now: f.now(),
    };
    let done = submit_all(&f.store, (1..LINKS_MAX).map(link).collect());
    assert!(done.iter().all(Result::is_ok));
    assert_eq!(f.attr(file).expect("attr").nlink, LINKS_MAX);
    assert_eq!(f.link(file, f.root, "one more"), Err(Error::TooManyLinks));
    assert_eq!(f.remove(f.root, "first").expect("remove").nlink, LINKS_MAX - 1);
    assert!(f.link(file, f.root, "one more").is_ok());
}

pub(super) fn the_last_name_takes_the_inode_along(f: &Fixture) {
    let file = f.file(f.root, "file");
    let path = NewKind::Symlink(b"x".as_slice().into());
    let symlink = f.make(f.root, "symlink", path).expect("symlink").inode;
    assert_eq!(f.remove(f.root, "file").expect("remove").nlink, 0);
    assert_eq!(f.remove(f.root, "symlink").expect("remove").nlink, 0);
    for gone in [file, symlink] {
        assert_eq!(f.attr(gone), Err(Error::Stale));
        assert_eq!(f.store.peek_attr(gone), None);
        assert_eq!(wait(f.store.data_state(gone)), Err(Error::Stale));
        assert_eq!(f.link(gone, f.root, "again"), Err(Error::Stale));
    }
    assert_eq!(wait(f.store.readlink(symlink)), Err(Error::Stale));
    assert_eq!(f.lookup(f.root, "file"), Err(Error::NotFound));
    assert_eq!(wait(f.store.orphans(9)), Ok(vec![file]));
    // Ids are not given out again.
    assert!(f.file(f.root, "file") > symlink);
    f.check();
}

pub(super) fn remove_refuses_what_it_must(f: &Fixture) {
    let dir = f.mkdir(f.root, "dir");
    let file = f.file(dir, "file");
    assert_eq!(f.remove(f.root, "dir"), Err(Error::IsDirectory));
    assert_eq!(f.rmdir(dir, "file"), Err(Error::NotDirectory));
    assert_eq!(f.rmdir(f.root, "dir"), Err(Error::NotEmpty));
    assert_eq!(f.remove(f.root, "none"), Err(Error::NotFound));
    assert_eq!(f.rmdir(f.root, "none"), Err(Error::NotFound));
    assert_eq!(f.rmdir(f.root, "."), Err(Error::Invalid));
    assert_eq!(f.rmdir(f.root, ".."), Err(Error::Exists));
    assert_eq!(f.remove(file, "x"), Err(Error::NotDirectory));
    assert_eq!(f.remove(InodeId(999), "x"), Err(Error::Stale));
    assert_eq!(f.names(f.root), ["dir"]);
    f.check();
}

pub(super) fn a_removed_directory_is_stale(f: &Fixture) {
    let dir = f.mkdir(f.root, "dir");
    f.file(dir, "file");
    f.remove(dir, "file").expect("remove");
    assert_eq!(f.attr(f.root).expect("root").nlink, 3);
    assert_eq!(f.rmdir(f.root, "dir").expect("rmdir").nlink, 0);
    assert_eq!(f.attr(f.root).expect("root").nlink, 2);
    assert_eq!(f.attr(dir), Err(Error::Stale));
    assert_eq!(f.make(dir, "new", regular()), Err(Error::Stale));
    assert_eq!(f.lookup(dir, "file"), Err(Error::Stale));
    assert_eq!(f.lookup(dir, ".."), Err(Error::Stale));
    assert_eq!(wait(f.store.readdir(dir, Cookie(0), 9, false)).err(), Some(Error::Stale));
    f.check();
}

pub(super) fn shares_are_made_once(f: &Fixture) {
    let again = f.share_create("/export", "content").expect("again");
    assert_eq!((again.root, again.share), (f.root, f.share));
    assert_eq!(f.share_create("/export", "elsewhere").err(), Some(Error::Invalid));
    let other = f.share_create("/other", "elsewhere").expect("other");
    assert_ne!(other.share, f.share);
    assert_ne!(other.root, f.root);
    assert_eq!(f.store.shares(), Ok(vec![again, other.clone()]));
    let root = f.attr(other.root).expect("root");
    assert_eq!((root.kind, root.mode, root.nlink), (FileKind::Directory, 0o755, 2));
    assert_eq!(root.share, other.share);
    assert!(f.root.0 >= 2);
    f.check();
}

pub(super) fn shares_do_not_mix(f: &Fixture) {
    let other = f.share_create("/other", "content").expect("other");
    let file = f.file(f.root, "file");
    assert_eq!(f.link(file, other.root, "file"), Err(Error::CrossShare));
    assert_eq!(f.rename((f.root, "file"), (other.root, "file")), Err(Error::CrossShare));
    let there = f.file(other.root, "file");
    assert_eq!(f.attr(there).expect("attr").share, other.share);
    let totals = |share| wait(f.store.totals(share)).expect("totals").inodes;
    assert_eq!((totals(Some(f.share)), totals(Some(other.share)), totals(None)), (2, 2, 4));
    f.check();
}

pub(super) fn names_that_lead_nowhere_are_remembered_until_they_do(f: &Fixture) {
    assert_eq!(f.store.peek_lookup(f.root, b"x"), None);
    assert_eq!(f.lookup(f.root, "x"), Err(Error::NotFound));
    assert_eq!(f.store.peek_lookup(f.root, b"x"), Some(None));
    let file = f.file(f.root, "x");
    assert_eq!(f.store.peek_lookup(f.root, b"x"), Some(Some(file)));
    f.rename((f.root, "x"), (f.root, "y")).expect("rename");
    assert_eq!(f.store.peek_lookup(f.root, b"x"), Some(None));
    assert_eq!(f.store.peek_lookup(f.root, b"y"), Some(Some(file)));
    f.remove(f.root, "y").expect("remove");
    assert_eq!(f.store.peek_lookup(f.root, b"y"), Some(None));
}
