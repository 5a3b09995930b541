//! Who may change which attribute, and what else changes with it; whose bytes may be read.

use super::*;
use crate::{SetTime, access};
use vocab::{Device, FileKind, Time, limits::FILE_BYTES_MAX};

const THEN: Time = Time { seconds: 1_000_000, nanos: 5 };

fn none() -> SetAttr {
    SetAttr::default()
}

#[test]
fn chmod_is_the_owners() {
    run(|w| async move {
        let (owner, other) = (w.user(1, 1, &[]), w.user(2, 1, &[]));
        let file = owner.file(&w.a, "f", 0o666).await.unwrap();
        assert_eq!(other.chmod(&file, 0o600).await, Err(Error::Permission));
        assert_eq!(owner.chmod(&file, 0o1_7640).await.unwrap().mode, 0o7640);
        assert_eq!(w.root.chmod(&file, 0o6755).await.unwrap().mode, 0o6755);
        // The group is not the owner's: setgid is not his to give.
        w.root.set(&file, SetAttr { gid: Some(50), ..none() }).await.unwrap();
        assert_eq!(owner.chmod(&file, 0o6755).await.unwrap().mode, 0o4755);
    });
}

#[test]
fn chown_and_what_it_takes_along() {
    run(|w| async move {
        let owner = w.user(1, 10, &[11]);
        let file = owner.file(&w.a, "f", 0o6755).await.unwrap();
        let (uid, gid) = (
            |uid| SetAttr { uid: Some(uid), ..none() },
            |gid| SetAttr { gid: Some(gid), ..none() },
        );
        assert_eq!(owner.set(&file, uid(2)).await, Err(Error::Permission));
        assert_eq!(owner.set(&file, gid(12)).await, Err(Error::Permission));
        assert_eq!(w.user(2, 10, &[]).set(&file, gid(10)).await, Err(Error::Permission));
        assert_eq!(owner.attr(&file).await.unwrap().mode, 0o6755, "nothing happened yet");
        let attr = owner.set(&file, gid(11)).await.unwrap();
        assert_eq!((attr.uid, attr.gid, attr.mode), (1, 11, 0o755));
        owner.chmod(&file, 0o2745).await.unwrap();
        assert_eq!(owner.set(&file, uid(1)).await.unwrap().mode, 0o2745, "not to be executed");
        w.root.chmod(&file, 0o4755).await.unwrap();
        let attr = w.root.set(&file, uid(7)).await.unwrap();
        assert_eq!((attr.uid, attr.gid, attr.mode), (7, 11, 0o755));
        let both = SetAttr { mode: Some(0o6755), ..uid(8) };
        assert_eq!(w.root.set(&file, both).await.unwrap().mode, 0o755);
        let dir = w.root.mkdir(&w.a, "d", 0o2755).await.unwrap();
        assert_eq!(w.root.set(&dir, gid(11)).await.unwrap().mode, 0o2755);
        assert_eq!(w.root.set(&file, uid(u32::MAX)).await, Err(Error::Invalid));
    });
}

#[test]
fn nothing_set_changes_nothing() {
    run(|w| async move {
        let file = w.root.file(&w.a, "f", 0o600).await.unwrap();
        let before = w.root.attr(&file).await.unwrap();
        assert_eq!(w.user(9, 9, &[]).set(&file, none()).await, Ok(before));
    });
}

#[test]
fn times_given_and_times_of_the_clock() {
    run(|w| async move {
        let (owner, writer, other) = (w.user(1, 1, &[]), w.user(2, 1, &[]), w.user(3, 3, &[]));
        let file = owner.file(&w.a, "f", 0o664).await.unwrap();
        let given = SetAttr { mtime: SetTime::To(THEN), atime: SetTime::To(THEN), ..none() };
        let clock = SetAttr { mtime: SetTime::Now, atime: SetTime::Now, ..none() };
        assert_eq!(writer.set(&file, given).await, Err(Error::Permission));
        assert_eq!(other.set(&file, clock).await, Err(Error::Access));
        let attr = owner.set(&file, given).await.unwrap();
        assert_eq!((attr.mtime, attr.atime), (THEN, THEN));
        let attr = writer.set(&file, clock).await.unwrap();
        assert!(attr.mtime > THEN && attr.atime > THEN);
        owner.write(&file, 0, "x").await.unwrap();
        owner.read(&file).await.unwrap();
        owner.set(&file, given).await.unwrap();
        let attr = owner.attr(&file).await.unwrap();
        assert_eq!((attr.mtime, attr.atime), (THEN, THEN), "what was kept in memory is older");
        let born = SetAttr { mtime: SetTime::To(THEN), ..with_mode(0o600) };
        let file = owner.create(&w.a, "g", CreateHow::Guarded(born)).await.unwrap();
        assert_eq!(file.attr.mtime, THEN);
    });
}

#[test]
fn the_length() {
    run(|w| async move {
        let (owner, other) = (w.user(1, 1, &[]), w.user(2, 2, &[]));
        let file = owner.file(&w.a, "f", 0o644).await.unwrap();
        owner.write(&file, 0, "hello world").await.unwrap();
        assert_eq!(other.truncate(&file, 0).await, Err(Error::Access));
        assert_eq!(owner.truncate(&file, 5).await.unwrap().size, 5);
        assert_eq!(owner.truncate(&file, 8).await.unwrap().size, 8);
        assert_eq!(owner.read(&file).await.unwrap(), b"hello\0\0\0");
        assert_eq!(owner.truncate(&file, FILE_BYTES_MAX + 1).await, Err(Error::TooBig));
        let set = SetAttr { size: Some(2), mtime: SetTime::To(THEN), ..with_mode(0o600) };
        let attr = owner.set(&file, set).await.unwrap();
        assert_eq!((attr.size, attr.mtime, attr.mode), (2, THEN, 0o600));
        let later = owner.attr(&file).await.unwrap();
        assert_eq!(Attr { atime: attr.atime, ..later }, attr, "but for `atime`, kept lazily");
        assert_eq!(w.root.truncate(&w.a, 0).await, Err(Error::IsDirectory));
        let fifo = fifo(&w, "p").await;
        assert_eq!(w.root.truncate(&fifo, 0).await, Err(Error::Invalid));
    });
}

async fn fifo(w: &World, name: &str) -> Found {
    let (caller, dir, name) = (&w.root.caller, &w.a.handle, name.as_bytes());
    let (kind, device) = (FileKind::Fifo, Device::default());
    w.vfs.mknod(caller, dir, name, kind, device, with_mode(0o666)).await.unwrap().found
}

#[test]
fn guards() {
    run(|w| async move {
        let file = w.root.file(&w.a, "f", 0o644).await.unwrap();
        let set = |set, guard| w.vfs.setattr(&w.root.caller, &file.handle, set, Some(guard));
        let resize = |size| SetAttr { size: Some(size), ..none() };
        for what in [with_mode(0o600), resize(3)] {
            let refused = set(what, THEN).await;
            assert_eq!(refused.map(|wcc| wcc.post), Err(Error::GuardMismatch));
        }
        let first = w.root.attr(&file).await.unwrap();
        assert_eq!((first.mode, first.size), (0o644, 0));
        let both = SetAttr { size: Some(3), ..with_mode(0o600) };
        let wcc = set(both, first.ctime).await.unwrap();
        assert_eq!(wcc.pre, Some(first.pre()));
        let second = wcc.post.unwrap();
        assert_eq!((second.mode, second.size), (0o600, 3));
        assert!(second.ctime > first.ctime && second.change > first.change);
        assert!(set(with_mode(0o640), second.ctime).await.is_ok());
    });
}

#[test]
fn set_id_bits_do_not_survive_a_strangers_change() {
    run(|w| async move {
        let (writer, owner) = (w.user(2, 2, &[]), w.user(1, 1, &[]));
        let file = owner.file(&w.a, "f", 0o666).await.unwrap();
        for user in [&writer, &owner] {
            owner.chmod(&file, 0o6777).await.unwrap();
            let attr = user.write(&file, 0, "x").await.unwrap();
            assert_eq!(attr.mode, 0o777);
            owner.chmod(&file, 0o6777).await.unwrap();
            assert_eq!(user.truncate(&file, 0).await.unwrap().mode, 0o777);
        }
        owner.chmod(&file, 0o6777).await.unwrap();
        assert_eq!(w.root.write(&file, 0, "x").await.unwrap().mode, 0o6777);
        assert_eq!(w.root.truncate(&file, 0).await.unwrap().mode, 0o6777);
    });
}

#[test]
fn bytes_of_others() {
    run(|w| async move {
        let (owner, other) = (w.user(1, 1, &[]), w.user(2, 2, &[]));
        let file = owner.file(&w.a, "f", 0o000).await.unwrap();
        owner.write(&file, 0, "mine").await.unwrap();
        assert_eq!(owner.read(&file).await.unwrap(), b"mine");
        assert_eq!(other.read(&file).await, Err(Error::Access));
        assert_eq!(other.write(&file, 0, "his").await, Err(Error::Access));
        assert_eq!(commit(&other, &file).await, Err(Error::Access));
        assert_eq!(commit(&owner, &file).await, Ok(()));
        owner.chmod(&file, 0o711).await.unwrap();
        assert_eq!(other.read(&file).await.unwrap(), b"mine");
        assert_eq!(w.root.read(&file).await.unwrap(), b"mine");
        assert_eq!(w.root.read(&w.a).await, Err(Error::IsDirectory));
        assert_eq!(w.root.write(&w.a, 0, "x").await, Err(Error::IsDirectory));
        let fifo = fifo(&w, "p").await;
        assert_eq!(w.root.read(&fifo).await, Err(Error::Invalid));
        assert_eq!(w.root.write(&fifo, 0, "x").await, Err(Error::Invalid));
        assert_eq!(w.root.write(&file, FILE_BYTES_MAX, "x").await, Err(Error::TooBig));
        assert_eq!(w.root.write(&file, u64::MAX, "x").await, Err(Error::TooBig));
        let before = w.root.attr(&file).await.unwrap();
        assert_eq!(w.root.write(&file, 100, "").await, Ok(before));
        let far = w.vfs.read(&w.root.caller, &file.handle, u64::MAX, 10).await.unwrap();
        assert!(far.eof && far.len == 0);
    });
}

async fn commit(user: &User, file: &Found) -> Result<(), Error> {
    user.vfs.commit(&user.caller, &file.handle).await.map(|_| ())
}

#[test]
fn access_bits_over_the_wire() {
    run(|w| async move {
        let owner = w.user(1, 1, &[]);
        let file = owner.file(&w.a, "f", 0o640).await.unwrap();
        assert_eq!(owner.access(&file).await, access::READ | access::MODIFY | access::EXTEND);
        assert_eq!(w.user(2, 9, &[1]).access(&file).await, access::READ);
        assert_eq!(w.user(2, 9, &[]).access(&file).await, 0);
    });
}

#[test]
fn attributes_survive_unflushed_writes() {
    run(|w| async move {
        let file = w.root.file(&w.a, "f", 0o644).await.unwrap();
        w.root.write(&file, 0, "12345").await.unwrap();
        let attr = w.root.chmod(&file, 0o600).await.unwrap();
        assert_eq!((attr.size, attr.mode), (5, 0o600));
        assert_eq!(w.root.attr(&file).await.unwrap(), attr);
    });
}

/// What is in memory is answered at once; the reactor is not asked for another turn.
#[test]
fn nothing_waits_for_what_is_cached() {
    run(|w| async move {
        let file = w.root.file(&w.a, "f", 0o644).await.unwrap();
        w.root.lookup(&w.a, "f").await.unwrap();
        assert!(at_once(w.root.attr(&file)).unwrap().is_ok());
        assert_eq!(at_once(w.root.access(&file)).unwrap() & access::READ, access::READ);
        assert_eq!(at_once(w.root.lookup(&w.a, "f")).unwrap().unwrap().handle, file.handle);
        let none = at_once(w.root.lookup(&w.a, "none"));
        assert!(none.is_none_or(|none| none.is_err()));
        assert_eq!(at_once(w.root.read(&file)).unwrap().unwrap(), b"");
    });
}

fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    use std::task::{Context, Poll, Waker};
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
