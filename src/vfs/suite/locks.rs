//! Locks through the operations: who may have one, and who hears of a wait's end.

use vocab::FileId;

use super::*;
use crate::{
    Asked,
    locks::{Client, Mode, Owner, Range, Request, Settled},
};

fn request(file: FileId, owner: &[u8]) -> Request {
    let client = Client { realm: "test", name: owner.into() };
    Request {
        file,
        owner: Owner { client, key: owner.into() },
        range: Range::ALL,
        mode: Mode::Exclusive,
        is_reclaim: false,
    }
}

#[test]
fn a_wait_is_told_how_it_ended() {
    run(|w| async move {
        let file = w.root.file(&w.a, "f", 0o644).await.unwrap();
        let file = w.vfs.lock_target(&w.root.caller, &file.handle).await.unwrap();
        let locks = w.vfs.locks();
        let mine = request(file, b"a");
        locks.run(move |table| table.lock(&mine)).await.unwrap().unwrap();
        let Asked::Waits(_, granted) = locks.wait(request(file, b"b")).await.unwrap() else {
            panic!("it is not free")
        };
        let again = locks.wait(request(file, b"b")).await.unwrap();
        assert!(matches!(again, Asked::WaitsAlready(_)));
        let Asked::Waits(token, cancelled) = locks.wait(request(file, b"c")).await.unwrap() else {
            panic!("it is not free")
        };
        assert!(locks.cancel(token).await.unwrap());
        assert!(cancelled.await.is_err());
        let owner = request(file, b"a").owner;
        locks.run(move |table| table.unlock(file, &owner, Range::ALL)).await.unwrap();
        assert_eq!(granted.await, Ok(Settled::Granted));
    });
}

#[test]
fn who_may_lock() {
    run(|w| async move {
        let secret = w.root.file(&w.a, "secret", 0o600).await.unwrap();
        let (vfs, other) = (&w.vfs, w.user(7, 7, &[]));
        assert_eq!(vfs.lock_target(&other.caller, &secret.handle).await, Err(Error::Access));
        assert!(vfs.unlock_target(&other.caller, &secret.handle).await.is_ok());
        let directory = vfs.lock_target(&w.root.caller, &w.a.handle).await;
        assert_eq!(directory, Err(Error::IsDirectory));
    });
}
