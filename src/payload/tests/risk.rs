//! What can be lost is shown: bytes at risk, bytes not uploaded, and since when.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use super::Server;
use crate::{ShareRisk, Stability};

fn risk(server: &Server) -> ShareRisk {
    let gauges = server.payload().gauges();
    assert_eq!(gauges.shares.len(), 1, "{gauges:?}");
    gauges.shares[0]
}

#[test]
fn what_a_power_cut_would_take_is_shown_until_it_is_synced() {
    let server = Server::start(1, |config| config.settle = Duration::from_secs(3600));
    let file = server.create("a");
    server.write(file, 0, vec![1; 1000]);
    server.write(file, 500, vec![2; 1000]);
    let is_shown = |server: &Server| !server.payload().gauges().shares.is_empty();
    server.until("the share is shown", is_shown);
    server.until("all is counted", |server| risk(server).bytes_not_uploaded == 1500);
    let now = risk(&server);
    // Nobody has asked for a sync, and the oldest bytes are too young for one.
    assert_eq!(now.bytes_at_risk, 2000);
    assert!(now.unsynced_since.is_some() && now.unsynced_since == now.not_uploaded_since);
    server.try_write(file, 4000, vec![3; 10], Stability::Stable).unwrap();
    server.until("a sync ends the risk", |server| risk(server).bytes_at_risk == 0);
    let now = risk(&server);
    assert_eq!((now.unsynced_since, now.bytes_not_uploaded), (None, 1510));
    server.drain();
    server.until("all is uploaded", |server| risk(server).bytes_not_uploaded == 0);
    assert_eq!(risk(&server).not_uploaded_since, None);
}

#[test]
fn what_nobody_commits_is_synced_all_the_same() {
    let server = Server::start(1, |config| config.settle = Duration::from_secs(3600));
    let file = server.create("a");
    server.write(file, 0, vec![1; 1000]);
    server.until("it is seen at risk", |server| {
        server.payload().gauges().shares.iter().any(|risk| risk.bytes_at_risk == 1000)
    });
    server.until("and then it is not", |server| risk(server).bytes_at_risk == 0);
}

#[test]
fn the_age_of_what_is_not_uploaded_survives_a_restart() {
    let mut server = Server::start(1, |_| {});
    server.store.is_away.store(true, SeqCst);
    let file = server.create("a");
    server.write(file, 0, vec![1; 1000]);
    server.until("it is shown", |server| {
        server.payload().gauges().shares.iter().any(|risk| risk.bytes_not_uploaded == 1000)
    });
    let before = risk(&server);
    server.until("the store is seen away", |server| {
        server.payload().gauges().stores.values().any(|is_up| !is_up)
    });
    server.restart();
    server.until("it is shown again", |server| !server.payload().gauges().shares.is_empty());
    let after = risk(&server);
    assert_eq!(after.not_uploaded_since, before.not_uploaded_since);
    assert_eq!((after.bytes_at_risk, after.bytes_not_uploaded), (0, 1000));
    server.store.is_away.store(false, SeqCst);
    server.drain();
    server.until("the store is back", |server| {
        server.payload().gauges().stores.values().all(|is_up| *is_up)
    });
    assert!(server.payload().gauges().upload_buckets.iter().sum::<u64>() >= 1);
}

#[test]
fn a_truncate_and_a_removed_file_count_no_more() {
    let server = Server::start(1, |config| config.settle = Duration::from_secs(3600));
    let (a, b) = (server.create("a"), server.create("b"));
    server.write(a, 0, vec![1; 1000]);
    server.write(b, 0, vec![1; 100]);
    server.truncate(a, 10);
    let waits = |server: &Server, bytes| {
        let is_so = |server: &Server| {
            server.payload().gauges().shares.iter().any(|risk| risk.bytes_not_uploaded == bytes)
        };
        server.until("the bytes are counted", is_so);
    };
    waits(&server, 110);
    server.remove("b", b);
    waits(&server, 10);
    server.truncate(a, 0);
    waits(&server, 0);
    assert_eq!(risk(&server).not_uploaded_since, None);
}
