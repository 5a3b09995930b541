//! Moving names: the matrix of kinds, parents and cookies.

use vocab::{Error, InodeId};

use super::{Fixture, wait};
use crate::command::{Command, NewKind, Outcome};

pub(super) fn a_name_moves(f: &Fixture) {
    let (here, there) = (f.mkdir(f.root, "here"), f.mkdir(f.root, "there"));
    let file = f.file(here, "a");
    let before = (f.attr(here).expect("here"), f.attr(there).expect("there"));
    let attr = f.attr(file).expect("file");
    let outcome = f.submit(Command::Rename {
        from_dir: here,
        from_name: b"a".as_slice().into(),
        to_dir: there,
        to_name: b"b".as_slice().into(),
        now: f.now(),
    });
    let Ok(Outcome::Renamed { replaced: None, from_pre, from, to_pre, to }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!((from_pre, to_pre), (before.0.pre(), before.1.pre()));
    assert_eq!((f.attr(here), f.attr(there)), (Ok(from), Ok(to)));
    assert!(from.change > before.0.change && to.change > before.1.change);
    assert!(from.mtime > before.0.mtime && to.mtime > before.1.mtime);
    assert_eq!(f.lookup(here, "a"), Err(Error::NotFound));
    assert_eq!(f.lookup(there, "b"), Ok(file));
    let after = f.attr(file).expect("file");
    assert!(after.ctime > attr.ctime && after.change > attr.change);
    assert_eq!((after.mtime, after.nlink), (attr.mtime, 1));
    assert_eq!(f.rename((here, "a"), (there, "c")), Err(Error::NotFound));
    assert_eq!(f.rename((there, "."), (here, "c")), Err(Error::Invalid));
    assert_eq!(f.rename((there, "b"), (here, "..")), Err(Error::Invalid));
    assert_eq!(f.rename((there, "b"), (here, "x/y")), Err(Error::Invalid));
    assert_eq!(f.rename((file, "b"), (here, "x")), Err(Error::NotDirectory));
    assert_eq!(f.rename((there, "b"), (InodeId(999), "x")), Err(Error::Stale));
    f.check();
}

pub(super) fn a_target_is_replaced(f: &Fixture) {
    let dir = f.mkdir(f.root, "dir");
    let (a, b) = (f.file(f.root, "a"), f.file(dir, "b"));
    f.link(b, f.root, "b2").expect("link");
    let replaced = f.rename((f.root, "a"), (dir, "b")).expect("rename").expect("replaced");
    assert_eq!((replaced.inode, replaced.nlink), (b, 1));
    assert_eq!(f.lookup(dir, "b"), Ok(a));
    assert_eq!(f.lookup(f.root, "b2"), Ok(b));
    let replaced = f.rename((dir, "b"), (f.root, "b2")).expect("rename").expect("replaced");
    assert_eq!((replaced.inode, replaced.nlink), (b, 0));
    assert_eq!(f.attr(b), Err(Error::Stale));
    assert_eq!(wait(f.store.orphans(9)), Ok(vec![b]));
    let (d1, d2) = (f.mkdir(f.root, "d1"), f.mkdir(dir, "d2"));
    let replaced = f.rename((f.root, "d1"), (dir, "d2")).expect("rename").expect("replaced");
    assert_eq!((replaced.inode, replaced.nlink), (d2, 0));
    assert_eq!(f.lookup(dir, "d2"), Ok(d1));
    assert_eq!(f.attr(d2), Err(Error::Stale));
    assert_eq!((f.attr(f.root).expect("root").nlink, f.attr(dir).expect("dir").nlink), (3, 3));
    f.check();
}

pub(super) fn kinds_must_match(f: &Fixture) {
    f.file(f.root, "file");
    f.make(f.root, "symlink", NewKind::Symlink(b"x".as_slice().into())).expect("symlink");
    f.mkdir(f.root, "empty");
    let full = f.mkdir(f.root, "full");
    f.mkdir(full, "inner");
    let cases = [
        ("file", "empty", Err(Error::IsDirectory)),
        ("symlink", "full", Err(Error::IsDirectory)),
        ("empty", "file", Err(Error::NotDirectory)),
        ("empty", "symlink", Err(Error::NotDirectory)),
        ("empty", "full", Err(Error::NotEmpty)),
        ("full", "full", Ok(())),
        ("file", "symlink", Ok(())),
        ("full", "empty", Ok(())),
    ];
    for (from, to, wanted) in cases {
        let before = f.attr(f.root);
        let done = f.rename((f.root, from), (f.root, to)).map(|_| ());
        assert_eq!(done, wanted, "{from} to {to}");
        assert!(wanted.is_ok() || f.attr(f.root) == before);
        f.check();
    }
    assert_eq!(f.names(f.root), ["symlink", "empty"]);
    assert_eq!(f.names(full), ["inner"]);
}

pub(super) fn a_directory_takes_its_parent_along(f: &Fixture) {
    let (a, b) = (f.mkdir(f.root, "a"), f.mkdir(f.root, "b"));
    let moved = f.mkdir(a, "moved");
    let inner = f.mkdir(moved, "inner");
    f.rename((a, "moved"), (b, "moved")).expect("rename");
    assert_eq!(wait(f.store.parent(moved)), Ok(b));
    assert_eq!(f.lookup(moved, ".."), Ok(b));
    assert_eq!(wait(f.store.parent(inner)), Ok(moved));
    assert_eq!((f.attr(a).expect("a").nlink, f.attr(b).expect("b").nlink), (2, 3));
    f.rename((b, "moved"), (b, "renamed")).expect("rename");
    assert_eq!((f.attr(b).expect("b").nlink, f.lookup(b, "renamed")), (3, Ok(moved)));
    f.check();
}

pub(super) fn never_below_itself(f: &Fixture) {
    let a = f.mkdir(f.root, "a");
    let b = f.mkdir(a, "b");
    let c = f.mkdir(b, "c");
    assert_eq!(f.rename((f.root, "a"), (a, "x")), Err(Error::Invalid));
    assert_eq!(f.rename((f.root, "a"), (c, "x")), Err(Error::Invalid));
    assert_eq!(f.rename((a, "b"), (c, "x")), Err(Error::Invalid));
    // Onto an ancestor: it has entries.
    assert_eq!(f.rename((b, "c"), (f.root, "a")), Err(Error::NotEmpty));
    f.rename((b, "c"), (f.root, "c")).expect("up");
    f.rename((f.root, "a"), (c, "a")).expect("now they are apart");
    assert_eq!(f.lookup(a, ".."), Ok(c));
    f.check();
}

pub(super) fn the_same_inode_is_left_alone(f: &Fixture) {
    let file = f.file(f.root, "a");
    f.link(file, f.root, "b").expect("link");
    let before = (f.attr(f.root), f.attr(file));
    assert_eq!(f.rename((f.root, "a"), (f.root, "a")), Ok(None));
    assert_eq!(f.rename((f.root, "a"), (f.root, "b")), Ok(None));
    assert_eq!((f.attr(f.root), f.attr(file)), before);
    assert_eq!(f.names(f.root), ["a", "b"]);
    f.check();
}
