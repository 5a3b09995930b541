//! On the real driver: a ring, a mapping, a folder.

use std::path::PathBuf;

use bytes::Bytes;
use reactor::{
    rng::Rng,
    runtime::{Config as Cores, Reactors},
};
use vocab::{SliceId, limits::SEGMENT_BYTES};

use super::{file, payload, time, write};
use crate::{Config, Wal};

/// Runs on a reactor of its own.
fn on_reactor<T, F>(future: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let reactors = Reactors::start(&Cores { cores: vec![None] }).expect("starts");
    let value = reactors.remotes()[0].call(future).wait().expect("alive");
    reactors.stop();
    value
}

fn config(dir: PathBuf) -> Config {
    let log_bytes_max = 4 * u64::from(SEGMENT_BYTES);
    Config { dir, slice: SliceId(0), log_bytes_max, accepts_damage: false }
}

#[test]
fn what_was_logged_is_found_after_a_reopen() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().to_path_buf();
    let first = config(path.clone());
    let views = on_reactor(move || async move {
        let (wal, recovered) = Wal::open(first).await.expect("opens");
        assert!(recovered.records.is_empty());
        let mut rng = Rng::from_seed(1);
        let mut views = Vec::new();
        for inode in 1..=200 {
            let len = 1 + rng.index(100_000);
            let bytes = Bytes::from(rng.bytes(len));
            let ticket = wal.append(file(inode), time(), write(inode, bytes.clone()));
            views.push((ticket.expect("room"), bytes));
        }
        let mut held = Vec::new();
        for (ticket, bytes) in views {
            let (evidence, view) = ticket.logged().await.expect("logs");
            assert_eq!(evidence.verifier(), wal.verifier());
            assert_eq!(view, bytes);
            held.push(view);
        }
        assert!(wal.bytes_at_risk() > 0);
        let evidence = wal.sync().await.expect("syncs");
        assert_eq!(evidence.verifier(), wal.verifier());
        assert_eq!(wal.bytes_at_risk(), 0);
        held
    });
    let found = on_reactor(move || async move {
        let (wal, recovered) = Wal::open(config(path)).await.expect("opens again");
        assert_eq!(recovered.torn_bytes, 0);
        wal.close().await.expect("closes");
        recovered.records.iter().map(|found| payload(found).clone()).collect::<Vec<Bytes>>()
    });
    assert!(found == views, "{} of {}", found.len(), views.len());
}

#[test]
fn a_second_owner_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().to_path_buf();
    on_reactor(move || async move {
        let (wal, _) = Wal::open(config(path.clone())).await.expect("opens");
        let error = Wal::open(config(path.clone())).await.expect_err("is in use");
        assert!(error.contains("another server uses this log"), "{error}");
        wal.close().await.expect("closes");
        drop(Wal::open(config(path)).await.expect("is free"));
    });
}

#[test]
fn many_writers_fill_segments_and_all_is_as_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().to_path_buf();
    on_reactor(move || async move {
        const BYTES: u32 = 1024 * 1024;
        let limits = Config { log_bytes_max: 6 * u64::from(BYTES), ..config(path) };
        let (wal, _) = Wal::open_sized(limits, BYTES).await.expect("opens");
        let mut writers = Vec::new();
        for seed in 0..8 {
            let (sender, receiver) = reactor::oneshot::channel();
            let wal = wal.clone();
            reactor::spawn(async move {
                let mut rng = Rng::from_seed(seed);
                for _ in 0..100 {
                    let len = 1 + rng.index(60_000);
                    let bytes = Bytes::from(rng.bytes(len));
                    let ticket = loop {
                        match wal.append(file(seed + 1), time(), write(0, bytes.clone())) {
                            Ok(ticket) => break ticket,
                            Err(error) => assert_eq!(error, vocab::Error::Busy),
                        }
                        wal.wait_room().await;
                    };
                    let (_, view) = ticket.logged().await.expect("logs");
                    if rng.one_in(4) {
                        drop(wal.sync().await.expect("syncs"));
                    }
                    assert!(view == bytes, "seed {seed}");
                }
                sender.send(());
            });
            writers.push(receiver);
        }
        for writer in writers {
            writer.await.expect("ends");
        }
        wal.close().await.expect("closes");
    });
}
