//! A store that is away, a log that is full, a store that is not configured.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use vocab::{Error, durable::Grade, limits::BLOCK_BYTES};

use super::{
    SEGMENT, Server,
    plain::{block, write_all},
    start,
};
use crate::Stability;

const BLOCK: u64 = BLOCK_BYTES as u64;

#[test]
fn an_outage_becomes_backpressure_and_then_everything_goes_up() {
    let mut server = Server::start(1, |_| {});
    server.store.is_away.store(true, SeqCst);
    let file = server.create("a");
    let mut written = 0u64;
    let error = loop {
        let bytes = vec![u8::try_from(written % 255).unwrap() + 1; 128 * 1024];
        match server.try_write(file, written * 128 * 1024, bytes, Stability::Unstable) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Busy);
    assert!(written * 128 * 1024 >= u64::from(SEGMENT) * 4, "the log takes what it can");
    assert_eq!(server.payload().drain(Duration::from_millis(50)), Err(Error::Busy));
    let check = |server: &Server| {
        for n in 0..written {
            let want = vec![u8::try_from(n % 255).unwrap() + 1; 128 * 1024];
            assert_eq!(server.read(file, n * 128 * 1024, 128 * 1024), want);
        }
    };
    assert!(server.payload().gauges().upload_retries > 0);
    check(&server);
    server.restart();
    check(&server);
    server.store.is_away.store(false, SeqCst);
    server.write(file, written * 128 * 1024, vec![1; 128 * 1024]);
    server.drain();
    server.payload().drop_clean();
    check(&server);
}

#[test]
fn a_log_full_of_little_files_and_truncates_drains() {
    let server = Server::start(1, |config| config.settle = Duration::from_secs(3600));
    let files: Vec<_> = (0..40).map(|n| server.create(&format!("f{n}"))).collect();
    for round in 0..20u8 {
        for &file in &files {
            server.write(file, u64::from(round) * 30_000, vec![round + 1; 20_000]);
            if round % 4 == 3 {
                server.truncate(file, 0);
            }
        }
    }
    for &file in &files {
        assert!(server.read(file, 0, 10).is_empty());
        server.write(file, 3, vec![9; 3]);
        assert_eq!(server.read(file, 0, 10), [0, 0, 0, 9, 9, 9]);
    }
    server.drain();
    assert!(server.payload().gauges().log_bytes <= 2 * u64::from(SEGMENT));
}

#[test]
fn reads_of_an_absent_store_are_busy_and_recover() {
    let server = Server::start(1, |_| {});
    let file = server.create("a");
    write_all(&server, file, 0, &block(1));
    server.drain();
    server.payload().drop_clean();
    server.store.is_away.store(true, SeqCst);
    assert_eq!(server.try_read(file, 0, 10).unwrap_err(), Error::Busy);
    assert!(server.read(file, BLOCK, 10).is_empty());
    server.store.is_away.store(false, SeqCst);
    assert_eq!(server.read(file, 0, 10), block(1)[..10]);
}

#[test]
fn records_of_a_store_that_is_not_configured_wait_for_it() {
    let mut server = Server::start(1, |_| {});
    server.store.is_away.store(true, SeqCst);
    let file = server.create("a");
    server.write(file, 0, vec![3; 1000]);
    server.stop();
    let without = start(&server.config, server.remotes(), Vec::new()).unwrap();
    assert!(without.gauges().dirty_bytes == 0);
    without.stop();
    server.begin();
    assert_eq!(server.read(file, 0, 2000), vec![3; 1000]);
}

#[test]
fn after_a_stop_everything_is_refused() {
    let server = Server::start(2, |_| {});
    let file = server.create("a");
    server.write(file, 0, vec![1; 10]);
    server.payload().stop();
    assert_eq!(server.try_read(file, 0, 10).unwrap_err(), Error::Stopping);
    let write = server.try_write(file, 0, vec![1], Stability::Unstable);
    assert_eq!(write.unwrap_err(), Error::Stopping);
    assert_eq!(server.payload().drain(Duration::ZERO), Err(Error::Stopping));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a plain thread damages a file that nobody uses")]
fn damage_in_the_log_is_an_error_for_its_bytes_only_and_healed_by_writing_them_again() {
    let mut server = Server::start(1, |config| config.settle = Duration::from_secs(3600));
    let (file, other) = (server.create("a"), server.create("b"));
    for n in 0..10u8 {
        server.write(file, u64::from(n) * 1000, vec![100 + n; 1000]);
    }
    server.try_write(other, 0, vec![7; 1000], Stability::Stable).unwrap();
    server.stop();
    let path = server.config.dir.join("slice-00/segment-00000");
    let mut segment = std::fs::read(&path).unwrap();
    let at = segment.windows(100).position(|bytes| bytes == [104; 100]).unwrap();
    segment[at + 50] ^= 1;
    std::fs::write(&path, segment).unwrap();
    server.begin();
    assert_eq!(server.payload().gauges().local_corruption, 0, "a start reads no payload");
    assert_eq!(server.read(other, 0, 1000), vec![7; 1000]);
    assert_eq!(server.read(file, 3000, 1000), vec![103; 1000]);
    for _ in 0..3 {
        assert_eq!(server.try_read(file, 4999, 1).unwrap_err(), Error::Corrupt);
        assert_eq!(server.try_read(file, 0, 9000).unwrap_err(), Error::Corrupt);
    }
    assert_eq!(server.read(file, 5000, 5000).len(), 5000);
    assert_eq!(server.payload().gauges().local_corruption, 1);
    // A commit to the content store never comes back with yes, and does not let its client wait.
    let commit = |server: &Server, inode| {
        let commit = async move |payload: crate::Payload, place: crate::Place| {
            payload.commit(&place, inode, Grade::Remote).await
        };
        server.on(commit).map(drop)
    };
    assert_eq!(commit(&server, file), Err(Error::Corrupt));
    // Nothing of its block goes to the content store; others go.
    assert_eq!(server.payload().drain(Duration::from_millis(500)), Err(Error::Busy));
    assert_eq!(server.payload().gauges().uploads, 1);
    server.write(file, 4000, vec![9; 1000]);
    assert_eq!(server.read(file, 4000, 1000), vec![9; 1000]);
    server.drain();
    server.payload().drop_clean();
    for n in 0..10u8 {
        let want = if n == 4 { 9 } else { 100 + n };
        assert_eq!(server.read(file, u64::from(n) * 1000, 1000), vec![want; 1000]);
    }
}
