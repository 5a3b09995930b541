//! Names: made, found, moved, removed, listed; by whom; and what handles lead to afterwards.

use super::*;
use vocab::{Device, FileKind};

#[test]
fn sticky_directories() {
    run(|w| async move {
        let (ann, bob, eve) = (w.user(1, 1, &[]), w.user(2, 2, &[]), w.user(3, 3, &[]));
        let dir = bob.mkdir(&w.a, "tmp", 0o1777).await.unwrap();
        for name in ["f", "g", "h"] {
            ann.file(&dir, name, 0o666).await.unwrap();
        }
        eve.file(&dir, "e", 0o666).await.unwrap();
        let denied = Err(Error::Permission);
        assert_eq!(eve.remove(&dir, "f").await.map(|_| ()), denied);
        assert_eq!(eve.rename((&dir, "f"), (&dir, "x")).await.map(|_| ()), denied);
        assert_eq!(eve.rename((&dir, "e"), (&dir, "f")).await.map(|_| ()), denied);
        assert_eq!(eve.remove(&dir, "none").await.map(|_| ()), Err(Error::NotFound));
        ann.rename((&dir, "f"), (&dir, "g")).await.unwrap();
        bob.remove(&dir, "g").await.unwrap();
        w.root.remove(&dir, "h").await.unwrap();
        ann.mkdir(&dir, "d", 0o777).await.unwrap();
        assert_eq!(eve.rmdir(&dir, "d").await.map(|_| ()), denied);
        ann.rmdir(&dir, "d").await.unwrap();
    });
}

#[test]
fn groups_of_what_is_new() {
    run(|w| async move {
        let ann = w.user(1, 10, &[11]);
        let shared = w.root.mkdir(&w.a, "shared", 0o777).await.unwrap();
        let group = SetAttr { gid: Some(11), ..with_mode(0o2777) };
        w.root.set(&shared, group).await.unwrap();
        let file = ann.file(&shared, "f", 0o2755).await.unwrap().attr;
        assert_eq!((file.uid, file.gid, file.mode), (1, 11, 0o2755));
        let dir = ann.mkdir(&shared, "d", 0o755).await.unwrap().attr;
        assert_eq!((dir.gid, dir.mode), (11, 0o2755));
        let stranger = w.user(2, 20, &[]).file(&shared, "g", 0o2755).await.unwrap().attr;
        assert_eq!((stranger.gid, stranger.mode), (11, 0o755));
        let plain = ann.file(&w.a, "f", 0o600).await.unwrap().attr;
        assert_eq!((plain.uid, plain.gid), (1, 10));
        // Nobody but root gives files away.
        let given = SetAttr { uid: Some(5), gid: Some(6), ..with_mode(0o600) };
        let kept = ann.create(&w.a, "k", CreateHow::Guarded(given)).await.unwrap().attr;
        assert_eq!((kept.uid, kept.gid), (1, 10));
        let gone = w.root.create(&w.a, "l", CreateHow::Guarded(given)).await.unwrap().attr;
        assert_eq!((gone.uid, gone.gid), (5, 6));
    });
}

#[test]
fn names_that_are_none() {
    run(|w| async move {
        let u = &w.root;
        let dir = u.mkdir(&w.a, "d", 0o755).await.unwrap();
        let file = u.file(&dir, "f", 0o644).await.unwrap();
        let long = "n".repeat(256);
        for (name, error) in [
            (".", Error::Exists),
            ("..", Error::Exists),
            ("", Error::Invalid),
            ("a/b", Error::Invalid),
            ("a\0", Error::Invalid),
            (&*long, Error::NameTooLong),
        ] {
            assert_eq!(u.file(&dir, name, 0).await.map(|_| ()), Err(error), "{name:?}");
            let unchecked = CreateHow::Unchecked(with_mode(0));
            assert_eq!(u.create(&dir, name, unchecked).await.map(|_| ()), Err(error), "{name:?}");
            assert_eq!(u.mkdir(&dir, name, 0).await.map(|_| ()), Err(error), "{name:?}");
            assert_eq!(u.link(&file, &dir, name).await.map(|_| ()), Err(error), "{name:?}");
        }
        for name in [".", ".."] {
            let invalid = Err(Error::Invalid);
            assert_eq!(u.remove(&dir, name).await.map(|_| ()), invalid);
            assert_eq!(u.rename((&dir, name), (&dir, "x")).await.map(|_| ()), invalid);
            assert_eq!(u.rename((&dir, "f"), (&dir, name)).await.map(|_| ()), invalid);
        }
        assert_eq!(u.rmdir(&dir, ".").await.map(|_| ()), Err(Error::Invalid));
        assert_eq!(u.rmdir(&dir, "..").await.map(|_| ()), Err(Error::Exists));
        assert_eq!(u.lookup(&dir, ".").await.unwrap().handle, dir.handle);
        assert_eq!(u.lookup(&dir, "..").await.unwrap().handle, w.a.handle);
        assert_eq!(u.lookup(&w.a, "..").await.unwrap().handle, w.a.handle);
        assert_eq!(u.file(&file, "x", 0).await.map(|_| ()), Err(Error::NotDirectory));
        assert_eq!(u.lookup(&file, ".").await.map(|_| ()), Err(Error::NotDirectory));
        let name255 = "n".repeat(255);
        u.file(&dir, &name255, 0).await.unwrap();
        u.remove(&dir, &name255).await.unwrap();
    });
}

#[test]
fn closed_directories() {
    run(|w| async move {
        let user = w.user(1, 1, &[]);
        let dir = w.root.mkdir(&w.a, "d", 0o755).await.unwrap();
        let mine = user.file(&w.a, "mine", 0o644).await.unwrap();
        w.root.file(&dir, "f", 0o644).await.unwrap();
        let (denied, exists, missing) = (Err(Error::Access), Err(Error::Exists), Error::NotFound);
        assert_eq!(user.file(&dir, "f", 0).await.map(|_| ()), exists);
        assert_eq!(user.file(&dir, "g", 0).await.map(|_| ()), denied);
        assert_eq!(user.mkdir(&dir, "g", 0).await.map(|_| ()), denied);
        assert_eq!(user.link(&mine, &dir, "g").await.map(|_| ()), denied);
        assert_eq!(user.remove(&dir, "f").await.map(|_| ()), denied);
        assert_eq!(user.remove(&dir, "g").await.map(|_| ()), Err(missing));
        assert_eq!(user.rename((&dir, "f"), (&w.a, "g")).await.map(|_| ()), denied);
        assert_eq!(user.rename((&w.a, "mine"), (&dir, "g")).await.map(|_| ()), denied);
        assert_eq!(user.rename((&w.a, "mine"), (&dir, "f")).await.map(|_| ()), denied);
        // To open what is there, the directory need not be writable.
        let open = CreateHow::Unchecked(SetAttr::default());
        assert!(user.create(&dir, "f", open).await.is_ok());
        w.root.chmod(&dir, 0o744).await.unwrap();
        assert_eq!(user.lookup(&dir, "f").await.map(|_| ()), denied);
        assert_eq!(user.remove(&dir, "g").await.map(|_| ()), denied);
        assert_eq!(user.rename((&dir, "g"), (&w.a, "g")).await.map(|_| ()), denied);
        assert_eq!(user.file(&dir, "f", 0).await.map(|_| ()), denied);
    });
}

#[test]
fn creates() {
    run(|w| async move {
        let (ann, eve) = (w.user(1, 1, &[]), w.user(2, 2, &[]));
        let size0 = SetAttr { size: Some(0), ..with_mode(0o777) };
        let file = ann.create(&w.a, "f", CreateHow::Unchecked(with_mode(0o640))).await.unwrap();
        ann.write(&file, 0, "data").await.unwrap();
        let again = ann.create(&w.a, "f", CreateHow::Unchecked(with_mode(0o777))).await.unwrap();
        assert_eq!((again.handle, again.attr.mode, again.attr.size), (file.handle, 0o640, 4));
        let refused = eve.create(&w.a, "f", CreateHow::Unchecked(size0)).await;
        assert_eq!(refused.map(|_| ()), Err(Error::Access));
        assert_eq!(ann.attr(&file).await.unwrap().size, 4);
        let emptied = ann.create(&w.a, "f", CreateHow::Unchecked(size0)).await.unwrap();
        assert_eq!((emptied.attr.mode, emptied.attr.size), (0o640, 0));
        ann.mkdir(&w.a, "d", 0o700).await.unwrap();
        let exists = Err(Error::Exists);
        assert_eq!(ann.create(&w.a, "d", CreateHow::Unchecked(size0)).await.map(|_| ()), exists);
        assert_eq!(ann.create(&w.a, "f", CreateHow::Guarded(size0)).await.map(|_| ()), exists);
        let sized = SetAttr { size: Some(9), ..with_mode(0o600) };
        let sized = ann.create(&w.a, "s", CreateHow::Guarded(sized)).await.unwrap();
        assert_eq!(sized.attr.size, 9);
    });
}

#[test]
fn exclusive_creates_are_asked_again() {
    run(|w| async move {
        let ann = w.user(1, 1, &[]);
        let file = ann.create(&w.a, "x", CreateHow::Exclusive([1; 8])).await.unwrap();
        let again = ann.create(&w.a, "x", CreateHow::Exclusive([1; 8])).await.unwrap();
        assert_eq!(again.handle, file.handle);
        let other = ann.create(&w.a, "x", CreateHow::Exclusive([2; 8])).await;
        assert_eq!(other.map(|_| ()), Err(Error::Exists));
        ann.chmod(&file, 0o644).await.unwrap();
        ann.file(&w.a, "y", 0o644).await.unwrap();
        let taken = ann.create(&w.a, "y", CreateHow::Exclusive([1; 8])).await;
        assert_eq!(taken.map(|_| ()), Err(Error::Exists));
    });
}

#[test]
fn special_files() {
    run(|w| async move {
        let user = w.user(1, 1, &[]);
        let device = Device { major: 8, minor: 1 };
        let make = |caller, name: &'static str, kind| {
            let vfs = &w.vfs;
            vfs.mknod(caller, &w.a.handle, name.as_bytes(), kind, device, with_mode(0o600))
        };
        let denied = make(&user.caller, "blk", FileKind::Block).await;
        assert_eq!(denied.map(|_| ()), Err(Error::Permission));
        let block = make(&w.root.caller, "blk", FileKind::Block).await.unwrap().found.attr;
        assert_eq!((block.kind, block.device), (FileKind::Block, device));
        let taken = make(&user.caller, "blk", FileKind::Character).await;
        assert_eq!(taken.map(|_| ()), Err(Error::Exists));
        let fifo = make(&user.caller, "p", FileKind::Fifo).await.unwrap().found.attr;
        assert_eq!((fifo.kind, fifo.device), (FileKind::Fifo, Device::default()));
        let wrong = make(&user.caller, "r", FileKind::Regular).await;
        assert_eq!(wrong.map(|_| ()), Err(Error::BadKind));
    });
}

#[test]
fn symlinks() {
    run(|w| async move {
        let (vfs, caller, dir) = (&w.vfs, &w.root.caller, &w.a.handle);
        let symlink = |name: &'static [u8], path: Vec<u8>| async move {
            vfs.symlink(caller, dir, name, &path, SetAttr::default()).await
        };
        let made = symlink(b"s", b"../x y".to_vec()).await.unwrap();
        let read = vfs.readlink(caller, &made.found.handle).await.unwrap();
        assert_eq!((&*read.0, read.1.size, read.1.kind), (&b"../x y"[..], 6, FileKind::Symlink));
        let not = vfs.readlink(caller, dir).await;
        assert_eq!(not.map(|_| ()), Err(Error::Invalid));
        for (path, error) in [
            (vec![], Error::Invalid),
            (b"a\0b".to_vec(), Error::Invalid),
            (vec![b'p'; 4097], Error::NameTooLong),
        ] {
            assert_eq!(symlink(b"t", path).await.map(|_| ()), Err(error));
        }
        assert!(symlink(b"t", vec![b'p'; 4096]).await.is_ok());
    });
}

#[test]
fn handles_after_the_last_name() {
    run(|w| async move {
        let u = &w.root;
        let file = u.file(&w.a, "f", 0o644).await.unwrap();
        u.write(&file, 0, "bytes").await.unwrap();
        assert_eq!(u.link(&file, &w.a, "g").await.unwrap().nlink, 2);
        u.remove(&w.a, "f").await.unwrap();
        assert_eq!(u.attr(&file).await.unwrap().nlink, 1);
        assert_eq!(u.read(&file).await.unwrap(), b"bytes");
        u.remove(&w.a, "g").await.unwrap();
        let again = u.file(&w.a, "f", 0o644).await.unwrap();
        let stale = Error::Stale;
        assert_eq!(u.attr(&file).await, Err(stale));
        assert_eq!(u.read(&file).await, Err(stale));
        assert_eq!(u.write(&file, 0, "x").await, Err(stale));
        assert_eq!(u.chmod(&file, 0).await, Err(stale));
        assert_eq!(u.link(&file, &w.a, "h").await, Err(stale));
        assert!(w.vfs.peek(&file.handle).is_none() && w.vfs.peek(&again.handle).is_some());
        assert_eq!(u.read(&again).await.unwrap(), b"");
        let dir = u.mkdir(&w.a, "d", 0o755).await.unwrap();
        u.rmdir(&w.a, "d").await.unwrap();
        assert_eq!(u.attr(&dir).await, Err(stale));
        assert_eq!(u.file(&dir, "x", 0).await.map(|_| ()), Err(stale));
        assert_eq!(u.list(&dir, Cookie(0), 9, false).await.map(|_| ()), Err(stale));
    });
}

/// Or else store and log fill with what nobody can read any more.
#[test]
fn bytes_go_with_the_last_name() {
    run(|w| async move {
        let u = &w.root;
        for replaced in [false, true] {
            let file = u.file(&w.a, "f", 0o644).await.unwrap();
            u.write(&file, 0, "bytes").await.unwrap();
            if replaced {
                u.file(&w.a, "g", 0o644).await.unwrap();
                u.rename((&w.a, "g"), (&w.a, "f")).await.unwrap();
            } else {
                u.remove(&w.a, "f").await.unwrap();
            }
            let mut turns = 0;
            while !w.places[0].meta.orphans(9).await.unwrap().is_empty() {
                assert!(turns < 1000, "never reaped, replaced: {replaced}");
                turns += 1;
                reactor::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    });
}

#[test]
fn renames() {
    run(|w| async move {
        let u = &w.root;
        let (d, e) = (u.mkdir(&w.a, "d", 0o755).await, u.mkdir(&w.a, "e", 0o755).await);
        let (d, e) = (d.unwrap(), e.unwrap());
        let (f, g) = (u.file(&w.a, "f", 0o644).await, u.file(&w.a, "g", 0o644).await);
        let (f, g) = (f.unwrap(), g.unwrap());
        let below = u.mkdir(&d, "below", 0o755).await.unwrap();
        let rename = |from: Found, old: &'static str, to: Found, new: &'static str| async move {
            u.rename((&from, old), (&to, new)).await.map(|_| ())
        };
        assert_eq!(rename(w.a, "none", w.a, "x").await, Err(Error::NotFound));
        assert_eq!(rename(w.a, "f", w.a, "e").await, Err(Error::IsDirectory));
        assert_eq!(rename(w.a, "e", w.a, "f").await, Err(Error::NotDirectory));
        assert_eq!(rename(w.a, "e", w.a, "d").await, Err(Error::NotEmpty));
        assert_eq!(rename(w.a, "d", below, "x").await, Err(Error::Invalid));
        assert_eq!(rename(w.a, "d", d, "x").await, Err(Error::Invalid));
        assert_eq!(rename(w.a, "f", g, "x").await, Err(Error::NotDirectory));
        // A name onto itself, and onto another name of the same inode: both stay.
        u.link(&f, &e, "link").await.unwrap();
        assert_eq!(rename(w.a, "f", w.a, "f").await, Ok(()));
        assert_eq!(rename(w.a, "f", e, "link").await, Ok(()));
        assert_eq!(u.lookup(&w.a, "f").await.unwrap().attr.nlink, 2);
        u.remove(&e, "link").await.unwrap();
        // Replaced.
        assert_eq!(rename(w.a, "f", w.a, "g").await, Ok(()));
        assert_eq!(u.attr(&g).await, Err(Error::Stale));
        assert_eq!(u.lookup(&w.a, "g").await.unwrap().handle, f.handle);
        assert_eq!(rename(d, "below", w.a, "e").await, Ok(()));
        assert_eq!(u.attr(&e).await, Err(Error::Stale));
        assert_eq!(u.lookup(&below, "..").await.unwrap().handle, w.a.handle);
        // A directory's `..` is its own: who may not write it may not move it elsewhere.
        let user = w.user(1, 1, &[]);
        let moved = user.rename((&w.a, "e"), (&w.a, "e2")).await;
        assert!(moved.is_ok(), "within one parent nothing of it changes");
        let open = u.mkdir(&w.a, "open", 0o777).await.unwrap();
        let moved = user.rename((&w.a, "e2"), (&open, "e")).await;
        assert_eq!(moved.map(|_| ()), Err(Error::Access));
    });
}

#[test]
fn listings_in_pages_under_change() {
    run(|w| async move {
        let u = &w.root;
        let dir = u.mkdir(&w.a, "d", 0o755).await.unwrap();
        for index in 0..40 {
            u.file(&dir, &format!("keep{index}"), 0o644).await.unwrap();
            u.file(&dir, &format!("drop{index}"), 0o644).await.unwrap();
        }
        let (mut names, mut after, mut rounds) = (Vec::new(), Cookie(0), 0);
        loop {
            let page = u.list(&dir, after, 7, true).await.unwrap();
            assert!(page.entries.len() <= 7);
            for entry in &page.entries {
                assert!(entry.cookie > after, "cookies rise");
                assert_eq!(entry.found.unwrap().attr.inode, entry.inode);
                after = entry.cookie;
                names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            }
            if page.end {
                break;
            }
            rounds += 1;
            u.remove(&dir, &format!("drop{}", 40 - rounds)).await.unwrap();
            u.file(&dir, &format!("new{rounds}"), 0o644).await.unwrap();
        }
        assert_eq!(names[..2], [".", ".."]);
        for index in 0..40 {
            let keep = format!("keep{index}");
            assert_eq!(names.iter().filter(|name| **name == keep).count(), 1, "{keep}");
        }
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "nothing twice");
    });
}

#[test]
fn listings_and_who_may_see_them() {
    run(|w| async move {
        let user = w.user(1, 1, &[]);
        let dir = w.root.mkdir(&w.a, "d", 0o755).await.unwrap();
        let file = w.root.file(&dir, "f", 0o600).await.unwrap();
        let all = user.list(&dir, Cookie(0), 100, true).await.unwrap();
        let handles: Vec<Handle> = all.entries.iter().map(|e| e.found.unwrap().handle).collect();
        assert_eq!(handles, [dir.handle, w.a.handle, file.handle]);
        assert!(all.end);
        let top = user.list(&w.a, Cookie(1), 1, true).await.unwrap();
        assert_eq!(top.entries[0].found.unwrap().handle, w.a.handle, "nothing above the root");
        assert!(!top.end);
        assert_eq!(user.list(&dir, Cookie(0), 0, false).await.unwrap().entries.len(), 0);
        assert_eq!(
            user.list(&file, Cookie(0), 9, false).await.map(|_| ()),
            Err(Error::NotDirectory)
        );
        w.root.chmod(&dir, 0o744).await.unwrap();
        let names = user.list(&dir, Cookie(0), 100, true).await.unwrap();
        assert!(names.entries.len() == 3 && names.entries.iter().all(|e| e.found.is_none()));
        w.root.chmod(&dir, 0o711).await.unwrap();
        assert_eq!(user.list(&dir, Cookie(0), 9, false).await.map(|_| ()), Err(Error::Access));
    });
}

#[test]
fn the_directory_before_and_after() {
    run(|w| async move {
        let before = w.root.attr(&w.a).await.unwrap();
        let how = CreateHow::Guarded(with_mode(0o600));
        let made = w.vfs.create(&w.root.caller, &w.a.handle, b"f", how).await.unwrap();
        assert_eq!(made.dir.pre, Some(before.pre()));
        let after = made.dir.post.unwrap();
        assert!(after.change > before.change && after.mtime >= before.mtime);
        let wcc = w.root.remove(&w.a, "f").await.unwrap();
        assert_eq!(wcc.pre, Some(after.pre()));
        assert_eq!(wcc.post, Some(w.root.attr(&w.a).await.unwrap()));
    });
}
