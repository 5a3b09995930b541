//! Shares: kept apart, mounted by path, closed by address, squash and configuration.

use super::*;
use vocab::durable::Grade;

use crate::{Evidence, Flavor, access};

#[test]
fn nothing_crosses_shares() {
    run(|w| async move {
        let u = &w.root;
        for other in [w.b, w.c] {
            let file = u.file(&w.a, "f", 0o644).await.unwrap();
            u.file(&other, "g", 0o644).await.unwrap();
            let crossed = u.rename((&w.a, "f"), (&other, "g")).await;
            assert_eq!(crossed.map(|_| ()), Err(Error::CrossShare));
            assert_eq!(u.link(&file, &other, "h").await, Err(Error::CrossShare));
            assert_eq!(u.lookup(&other, "f").await.map(|_| ()), Err(Error::NotFound));
            u.remove(&w.a, "f").await.unwrap();
        }
    });
}

#[test]
fn handles_are_bound_to_their_share() {
    run(|w| async move {
        let u = &w.root;
        let file = u.file(&w.a, "f", 0o644).await.unwrap();
        let other = u.file(&w.b, "f", 0o644).await.unwrap();
        for forged in [
            forged(&file, |handle| handle.share = other.handle.share),
            forged(&file, |handle| handle.store = w.c.handle.store),
            forged(&file, |handle| handle.generation ^= 1),
            forged(&file, |handle| handle.inode.0 += 1000),
            forged(&file, |handle| handle.share.0 += 1000),
        ] {
            assert_eq!(u.attr(&forged).await, Err(Error::Stale), "{forged:?}");
            assert_eq!(w.vfs.peek(&forged.handle), None, "{forged:?}");
        }
    });
}

#[test]
fn the_same_names_in_two_stores() {
    run(|w| async move {
        let u = &w.root;
        let (a, c) = (u.file(&w.a, "f", 0o644).await, u.file(&w.c, "f", 0o644).await);
        let (a, c) = (a.unwrap(), c.unwrap());
        u.write(&a, 0, "in a").await.unwrap();
        u.write(&c, 0, "over in c").await.unwrap();
        assert_eq!(u.read(&a).await.unwrap(), b"in a");
        assert_eq!(u.read(&c).await.unwrap(), b"over in c");
        u.remove(&w.a, "f").await.unwrap();
        assert_eq!(u.read(&c).await.unwrap(), b"over in c");
    });
}

#[test]
fn mounts_by_path() {
    run(|w| async move {
        let config = ShareConfig { root_mode: 0o750, root_gid: 5, ..open_share("/a/deep/er/") };
        w.vfs.share_add(config, w.places[1].clone()).await.unwrap();
        let deep = w.root.mkdir(&w.a, "deep", 0o700).await.unwrap();
        let dir = w.root.mkdir(&deep, "dir", 0o755).await.unwrap();
        w.root.file(&w.a, "file", 0o644).await.unwrap();
        let user = w.user(1, 1, &[]);
        let mount = |user: &User, path: &'static str| {
            let user = user.clone();
            async move {
                let found = user.vfs.mount(&user.caller, path.as_bytes()).await;
                found.map(|mounted| mounted.found.handle)
            }
        };
        for path in ["/a", "/a/", "//a//", "/a/.", "/a/..", "a"] {
            assert_eq!(mount(&user, path).await, Ok(w.a.handle), "{path}");
        }
        assert_eq!(mount(&w.root, "/a//deep/dir/").await, Ok(dir.handle));
        assert_eq!(mount(&user, "/a/deep/dir").await, Err(Error::Access));
        assert_eq!(mount(&w.root, "/a/none").await, Err(Error::NotFound));
        assert_eq!(mount(&w.root, "/a/file").await, Err(Error::NotDirectory));
        assert_eq!(mount(&w.root, "/aa").await, Err(Error::NotFound));
        assert_eq!(mount(&w.root, "/").await, Err(Error::NotFound));
        let longest = w.vfs.mount(&user.caller, b"/a/deep/er").await.unwrap().found;
        assert_eq!(longest.handle.store, w.c.handle.store, "the longest name wins");
        assert_eq!((longest.attr.mode, longest.attr.gid), (0o750, 5));
    });
}

#[test]
fn shares_that_are_refused() {
    run(|w| async move {
        let add = |name: &str, place: &Place| w.vfs.share_add(open_share(name), place.clone());
        let twice = add("/a/", &w.places[1]).await.unwrap_err();
        assert!(twice.contains("/a"), "{twice}");
        assert!(add("no-slash", &w.places[0]).await.is_err());
        // As after a restart, with another content store configured.
        let moved = Place { content_name: "elsewhere".into(), ..w.places[0].clone() };
        let payload = w.vfs.inner.payload.clone();
        let restarted = Vfs::new(payload, reactor::current().unwrap());
        let words = restarted.share_add(open_share("/a"), moved).await.unwrap_err();
        assert!(words.contains("elsewhere") && words.contains("/a"), "{words}");
        let id = restarted.share_add(open_share("/a"), w.places[0].clone()).await.unwrap();
        assert_eq!(id, w.a.handle.share);
        let again = restarted.mount(&w.root.caller, b"/a").await.unwrap().found;
        assert_eq!(again.handle, w.a.handle, "handles survive a restart");
        let status = w.vfs.shares();
        let names: Vec<&str> = status.iter().map(|share| &*share.name).collect();
        assert_eq!(names, ["/a", "/b", "/c"]);
        assert_eq!((&*status[2].metadata, &*status[2].content), ("m2", "c2"));
        assert_eq!(w.vfs.share_name(&w.b.handle).as_deref(), Some("/b"));
    });
}

#[test]
fn a_share_is_as_durable_as_it_was_told_at_that_moment() {
    run(|w| async move {
        let file = w.root.file(&w.a, "f", 0o644).await.unwrap();
        let other = w.root.file(&w.b, "f", 0o644).await.unwrap();
        let grades = async |file: &Found| {
            let (vfs, caller) = (&w.vfs, &w.root.caller);
            let bytes = Bytes::from_static(b"x");
            let stable = Stability::Stable;
            let wrote = vfs.write(caller, &file.handle, 0, bytes, stable).await.unwrap();
            let Evidence::Durable(written) = wrote.0 else { panic!("logged only") };
            let (committed, _) = vfs.commit(caller, &file.handle).await.unwrap();
            (written.grade(), committed.grade())
        };
        let both = |grade: Grade| (grade, grade);
        assert_eq!(grades(&file).await, both(Grade::Local));
        assert_eq!(w.vfs.set_durability("/a", Grade::Writeback), Ok(Grade::Local));
        assert_eq!(grades(&file).await, both(Grade::Writeback));
        assert_eq!(grades(&other).await, both(Grade::Local), "of that share only");
        assert_eq!(w.vfs.shares()[0].durability, Grade::Writeback);
        let refused = w.vfs.set_durability("/a", Grade::Quorum).unwrap_err();
        assert!(refused.contains("replicas"), "{refused}");
        assert!(w.vfs.set_durability("/a", Grade::Remote).is_err());
        assert!(w.vfs.set_durability("/x", Grade::Local).unwrap_err().contains("/x"));
        assert_eq!(w.vfs.set_durability("/a", Grade::Local), Ok(Grade::Writeback));
        assert_eq!(grades(&file).await, both(Grade::Local));
    });
}

#[test]
fn addresses() {
    run(|w| async move {
        let networks = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
        let config = ShareConfig {
            allow: networks(&["10.0.0.0/8", "127.0.0.1"]),
            deny: networks(&["10.6.6.0/24"]),
            ..open_share("/fenced")
        };
        w.vfs.share_add(config, w.places[0].clone()).await.unwrap();
        let export = w.vfs.exports().into_iter().find(|e| e.name == "/fenced").unwrap();
        assert_eq!(export.groups, ["10.0.0.0/8", "127.0.0.1/32"]);
        let root = w.vfs.mount(&w.root.caller, b"/fenced").await.unwrap().found;
        for (address, want) in
            [("10.1.1.1", true), ("::ffff:10.1.1.1", true), ("10.6.6.6", false), ("::1", false)]
        {
            let caller = Caller { address: address.parse().unwrap(), ..w.root.caller.clone() };
            let want = if want { Ok(()) } else { Err(Error::Access) };
            assert_eq!(w.vfs.getattr(&caller, &root.handle).await.map(|_| ()), want, "{address}");
            assert_eq!(w.vfs.mount(&caller, b"/fenced").await.map(|_| ()), want, "{address}");
        }
    });
}

#[test]
fn read_only_shares() {
    run(|w| async move {
        let file = w.root.file(&w.b, "f", 0o666).await.unwrap();
        w.root.write(&file, 0, "kept").await.unwrap();
        w.root.mkdir(&w.b, "d", 0o777).await.unwrap();
        let vfs = Vfs::new(w.vfs.inner.payload.clone(), reactor::current().unwrap());
        let config = ShareConfig { read_only: true, ..open_share("/b") };
        vfs.share_add(config, w.places[0].clone()).await.unwrap();
        let u = User::of(&vfs, 0, 0, &[]);
        let read_only = Err(Error::ReadOnly);
        assert_eq!(u.read(&file).await.unwrap(), b"kept");
        assert_eq!(u.write(&file, 0, "x").await.map(|_| ()), read_only);
        assert_eq!(u.truncate(&file, 0).await.map(|_| ()), read_only);
        assert_eq!(u.chmod(&file, 0).await.map(|_| ()), read_only);
        assert_eq!(u.file(&w.b, "g", 0).await.map(|_| ()), read_only);
        assert_eq!(u.mkdir(&w.b, "g", 0).await.map(|_| ()), read_only);
        assert_eq!(u.remove(&w.b, "f").await.map(|_| ()), read_only);
        assert_eq!(u.rmdir(&w.b, "d").await.map(|_| ()), read_only);
        assert_eq!(u.rename((&w.b, "f"), (&w.b, "g")).await.map(|_| ()), read_only);
        assert_eq!(u.link(&file, &w.b, "g").await.map(|_| ()), read_only);
        assert_eq!(u.access(&w.b).await, access::READ | access::LOOKUP);
        assert_eq!(u.list(&w.b, Cookie(0), 9, true).await.unwrap().entries.len(), 4);
    });
}

#[test]
fn squashed_callers() {
    run(|w| async move {
        let security = vec![Flavor::Sys, Flavor::None { writes: false }];
        let squash = Squash::RootToGuest;
        let config = ShareConfig { squash, security, ..open_share("/squashed") };
        w.vfs.share_add(config, w.places[0].clone()).await.unwrap();
        let root = w.vfs.mount(&w.root.caller, b"/squashed").await.unwrap().found;
        let file = w.root.file(&root, "f", 0o600).await.unwrap();
        assert_eq!((file.attr.uid, file.attr.gid), (65534, 65534));
        let nobody = Caller { credentials: None, ..w.root.caller.clone() };
        assert!(w.vfs.read(&nobody, &file.handle, 0, 1).await.is_ok());
        let private = w.user(1, 1, &[]).file(&root, "p", 0o600).await.unwrap();
        assert_eq!(w.root.read(&private).await, Err(Error::Access));
        let anonymous = w.vfs.read(&nobody, &private.handle, 0, 1).await;
        assert_eq!(anonymous.map(|_| ()), Err(Error::Access));
    });
}

#[test]
fn who_does_not_say_who_it_is() {
    run(|w| async move {
        let nobody = Caller { credentials: None, ..w.root.caller.clone() };
        let nobody = User { vfs: w.vfs.clone(), caller: nobody };
        assert_eq!(nobody.attr(&w.a).await, Err(Error::WeakIdentity));
        let add = |name, writes| {
            let security = vec![Flavor::Sys, Flavor::None { writes }];
            let config = ShareConfig { security: security.clone(), ..open_share(name) };
            let (vfs, place) = (w.vfs.clone(), w.places[0].clone());
            let caller = nobody.caller.clone();
            async move {
                vfs.share_add(config, place).await.unwrap();
                let mounted = vfs.mount(&caller, name.as_bytes()).await.unwrap();
                assert_eq!(mounted.security, security);
                mounted.found
            }
        };
        let (reads, writes) = (add("/reads", false).await, add("/writes", true).await);
        let file = w.root.file(&reads, "f", 0o666).await.unwrap();
        assert_eq!(nobody.read(&file).await.map(|_| ()), Ok(()));
        assert_eq!(nobody.write(&file, 0, "x").await, Err(Error::ReadOnly));
        assert_eq!(nobody.file(&reads, "g", 0o666).await.map(|_| ()), Err(Error::ReadOnly));
        assert_eq!(nobody.access(&reads).await, access::READ | access::LOOKUP);
        let file = nobody.file(&writes, "f", 0o600).await.unwrap();
        assert_eq!((file.attr.uid, file.attr.gid), (65534, 65534));
        assert_eq!(nobody.write(&file, 0, "x").await.map(|attr| attr.size), Ok(1));
    });
}

#[test]
fn low_ports_and_roots_only() {
    run(|w| async move {
        let config =
            ShareConfig { privileged_port: true, subdirectories: false, ..open_share("/strict") };
        w.vfs.share_add(config, w.places[0].clone()).await.unwrap();
        let root = w.vfs.mount(&w.root.caller, b"/strict/").await.unwrap().found;
        w.root.mkdir(&root, "d", 0o777).await.unwrap();
        let below = w.vfs.mount(&w.root.caller, b"/strict/d").await;
        assert_eq!(below.map(|_| ()), Err(Error::Access));
        for (port, want) in [(1, Ok(())), (1023, Ok(())), (1024, Err(Error::Access))] {
            let caller = Caller { port, ..w.root.caller.clone() };
            assert_eq!(w.vfs.getattr(&caller, &root.handle).await.map(|_| ()), want, "{port}");
            assert_eq!(w.vfs.mount(&caller, b"/strict").await.map(|_| ()), want, "{port}");
        }
    });
}

#[test]
fn a_capacity_bounds_what_is_free() {
    run(|w| async move {
        let config = ShareConfig { capacity: Some(10 << 20), ..open_share("/bounded") };
        w.vfs.share_add(config, w.places[0].clone()).await.unwrap();
        let root = w.vfs.mount(&w.root.caller, b"/bounded").await.unwrap().found;
        let stat = w.vfs.statfs(&w.root.caller, &root.handle).await.unwrap().0;
        assert_eq!((stat.bytes_total, stat.bytes_free), (10 << 20, 10 << 20));
    });
}

#[test]
fn how_full_it_is() {
    run(|w| async move {
        let stat = || async { w.vfs.statfs(&w.root.caller, &w.a.handle).await.unwrap().0 };
        let before = stat().await;
        assert!(before.bytes_free > 0 && before.bytes_total >= before.bytes_free);
        w.root.file(&w.a, "f", 0o644).await.unwrap();
        let after = stat().await;
        assert_eq!(
            after.inodes_total - after.inodes_free,
            before.inodes_total - before.inodes_free + 1
        );
    });
}
