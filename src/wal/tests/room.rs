//! Room: recycling, a full log, a full disk, failures, group commit.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use reactor::sim::{self, Event, Image, World};
use vocab::{Error, durable::Grade};

use super::{SEGMENT_BYTES, file, life, open, payload, time, write};
use crate::{Change, Wal};

const PAYLOAD_BYTES: usize = 4000;
/// Records of that size in a segment.
const PER_SEGMENT: usize = 3;

async fn append(wal: &Wal, n: u8) -> Result<Bytes, Error> {
    let ticket = wal.append(file(1), time(), write(u64::from(n), vec![n; PAYLOAD_BYTES]))?;
    ticket.logged().await.map(|(_, view)| view)
}

#[test]
fn a_full_log_says_busy_and_recovers_when_views_are_dropped() {
    let world = World::new(1);
    world.run(async {
        let (wal, _) = open(4).await.expect("opens");
        let mut views = Vec::new();
        let error = loop {
            match append(&wal, 1).await {
                Ok(view) => views.push(view),
                Err(error) => break error,
            }
        };
        assert_eq!((error, views.len()), (Error::Busy, 4 * PER_SEGMENT));
        assert!(wal.bytes_live() <= wal.bytes_max());
        assert!(wal.bytes_live() > 3 * u64::from(SEGMENT_BYTES));
        // Nothing is freed while one view of each segment lives.
        views.retain({
            let mut n = 0;
            move |_| {
                n += 1;
                n % PER_SEGMENT == 1
            }
        });
        assert_eq!(append(&wal, 2).await.map(drop), Err(Error::Busy));
        let waiting = reactor::timeout(Duration::from_secs(10), wal.wait_room());
        assert_eq!(waiting.await, None);
        let held = views.split_off(1);
        let later = std::mem::take(&mut views);
        reactor::spawn(async move {
            reactor::sleep(Duration::from_secs(1)).await;
            drop(later);
        });
        wal.wait_room().await;
        let view = append(&wal, 3).await.expect("room again");
        assert_eq!(view, vec![3; PAYLOAD_BYTES]);
        assert!(held.iter().all(|view| *view == vec![1; PAYLOAD_BYTES]));
    });
}

#[test]
fn segments_are_used_again_for_ever() {
    let world = World::new(2);
    let segments = world.run(async {
        let (wal, _) = open(3).await.expect("opens");
        for n in 0..200 {
            wal.wait_room().await;
            let view = append(&wal, n).await.expect("room");
            assert_eq!(view, vec![n; PAYLOAD_BYTES]);
        }
        wal.close().await.expect("closes");
    });
    assert!(segments.is_some());
    let mut image = world.kill();
    let files = image.files().keys().filter(|name| name.to_string_lossy().contains("segment"));
    assert!(files.count() <= 3);
}

#[test]
fn a_recycled_gap_is_not_a_loss() {
    for seed in 0..50 {
        let (kept, image) = life(seed, Image::default(), async {
            let (wal, _) = open(4).await.expect("opens");
            // One record of the first segment stays needed, all others are soon done with.
            let pinned = append(&wal, 0).await.expect("room");
            let mut last = None;
            for n in 1..60 {
                wal.wait_room().await;
                last = Some((n, append(&wal, n).await.expect("room")));
            }
            drop(wal.sync().await.expect("syncs"));
            std::mem::forget((pinned, last.clone()));
            last.expect("appended").0
        });
        let (found, _) = life(seed, image, async {
            let (_wal, recovered) = open(4).await.expect("a gap is no loss");
            recovered.records.iter().map(|found| payload(found)[0]).collect::<Vec<u8>>()
        });
        let found = found.expect("ends");
        assert_eq!((found.first(), found.last()), (Some(&0), kept.as_ref()), "seed {seed}");
        assert!(found.len() < 30, "seed {seed}: {found:?}");
        assert!(found.is_sorted(), "seed {seed}: {found:?}");
    }
}

#[test]
fn a_failed_sync_is_final_and_never_retried() {
    let world = World::new(3);
    world.run(async {
        let (wal, _) = open(4).await.expect("opens");
        let view = append(&wal, 1).await.expect("room");
        sim::fail_next_sync();
        let waiting = wal.append(file(1), time(), Change::Truncate { size: 0 }).expect("room");
        let sequence = waiting.sequence;
        assert_eq!(wal.sync().await.map(drop), Err(Error::SyncFailed));
        // The disk would say yes now. Nobody asks it.
        for _ in 0..3 {
            assert_eq!(wal.sync().await.map(drop), Err(Error::SyncFailed));
            assert_eq!(append(&wal, 2).await.map(drop), Err(Error::LogReadOnly));
        }
        // What was logged before stays readable, and its ticket keeps its word.
        assert_eq!(view, vec![1; PAYLOAD_BYTES]);
        assert!(waiting.logged().await.is_ok());
        assert!(sequence.0 > 0);
        wal.wait_room().await;
        assert_eq!(wal.close().await, Err(Error::SyncFailed));
    });
    let trace = world.trace();
    let count = |trace: &[(Duration, Event)]| {
        trace.iter().filter(|(_, event)| matches!(event, Event::Sync(_))).count()
    };
    let last_write = trace.iter().rposition(|(_, event)| matches!(event, Event::Write(..)));
    let after = &trace[last_write.expect("writes")..];
    assert!(count(after) <= 2, "{after:?}");
}

#[test]
fn a_failed_write_is_final() {
    let world = World::new(4);
    world.run(async {
        let (wal, _) = open(4).await.expect("opens");
        let view = append(&wal, 1).await.expect("room");
        reactor::sleep(Duration::from_secs(1)).await;
        sim::fail_next_write();
        assert_eq!(append(&wal, 2).await.map(drop), Err(Error::LogReadOnly));
        assert_eq!(append(&wal, 3).await.map(drop), Err(Error::LogReadOnly));
        assert_eq!(wal.sync().await.map(drop), Err(Error::SyncFailed));
        assert_eq!(view, vec![1; PAYLOAD_BYTES]);
    });
}

#[test]
fn a_full_disk_makes_a_smaller_log() {
    let world = World::new(5);
    world.run(async {
        let (wal, _) = open(8).await.expect("opens");
        reactor::sleep(Duration::from_secs(1)).await;
        sim::faults(|faults| faults.full = true);
        let mut views = Vec::new();
        // The current segment and the spare are there.
        for _ in 0..2 * PER_SEGMENT {
            views.push(append(&wal, 1).await.expect("room"));
        }
        reactor::sleep(Duration::from_secs(1)).await;
        assert_eq!(append(&wal, 9).await.map(drop), Err(Error::Busy));
        assert_eq!(wal.bytes_max(), 2 * u64::from(SEGMENT_BYTES));
        drop(views);
        wal.wait_room().await;
        assert_eq!(append(&wal, 9).await.expect("room"), vec![9; PAYLOAD_BYTES]);
    });
}

#[test]
fn a_log_grows_again_once_the_disk_has_room() {
    let world = World::new(11);
    world.run(async {
        sim::faults(|faults| faults.full = true);
        // A new log needs two segments, or it says so.
        assert!(open(8).await.expect_err("no room").contains("storage"));
        sim::faults(|faults| faults.full = false);
        let (wal, _) = open(8).await.expect("opens");
        reactor::sleep(Duration::from_secs(1)).await;
        sim::faults(|faults| faults.full = true);
        let mut views = Vec::new();
        while let Ok(view) = append(&wal, 1).await {
            views.push(view);
        }
        assert_eq!(wal.bytes_max(), 2 * u64::from(SEGMENT_BYTES));
        reactor::sleep(Duration::from_secs(60)).await;
        assert_eq!(append(&wal, 9).await.map(drop), Err(Error::Busy));
        sim::faults(|faults| faults.full = false);
        let room = reactor::timeout(Duration::from_secs(60), wal.wait_room());
        assert_eq!(room.await, Some(()), "nobody dropped a view");
        assert_eq!(wal.bytes_max(), 8 * u64::from(SEGMENT_BYTES));
        for _ in 0..6 * PER_SEGMENT {
            wal.wait_room().await;
            views.push(append(&wal, 2).await.expect("room"));
        }
        wal.close().await.expect("closes");
    });
}

#[test]
fn records_that_were_promised_a_segment_wait_for_one_on_a_full_disk() {
    let world = World::new(10);
    world.run(async {
        let (wal, _) = open(8).await.expect("opens");
        sim::faults(|faults| faults.full = true);
        let change = |n| write(0, vec![n; PAYLOAD_BYTES]);
        // All at once, before anybody knows that the disk is full.
        let tickets: Vec<crate::Ticket> =
            (0..6).map(|n| wal.append(file(1), time(), change(n)).expect("room")).collect();
        let own = wal.clone();
        for (n, ticket) in (0..).zip(tickets) {
            let (_, view) = ticket.logged().await.expect("logs");
            assert_eq!(view, vec![n; PAYLOAD_BYTES]);
        }
        own.close().await.expect("closes");
    });
}

#[test]
fn those_who_wait_together_share_a_sync() {
    let world = World::new(6);
    let verified = world
        .run(async {
            let (wal, _) = open(4).await.expect("opens");
            reactor::sleep(Duration::from_secs(1)).await;
            let mut waiters = Vec::new();
            for n in 0..100_u8 {
                let wal = wal.clone();
                let (sender, receiver) = reactor::oneshot::channel();
                reactor::spawn(async move {
                    let ticket = wal.append(file(1), time(), write(0, vec![n; 10]));
                    drop(ticket.expect("room").logged().await.expect("logs"));
                    let evidence = wal.sync().await.expect("syncs");
                    sender.send((evidence.grade(), evidence.verifier() == wal.verifier()));
                });
                waiters.push(receiver);
            }
            let mut verified = 0;
            for waiter in waiters {
                let (grade, same) = waiter.await.expect("ends");
                verified += u32::from(grade == Grade::Local && same);
            }
            verified
        })
        .expect("ends");
    assert_eq!(verified, 100);
    let last = world.trace();
    let count = last.iter().filter(|(_, event)| matches!(event, Event::Sync(_))).count();
    assert!(count < 20, "{count} syncs");
}

#[test]
fn a_sync_with_nothing_to_do_asks_nobody() {
    let world = World::new(7);
    world.run(async {
        let (wal, _) = open(4).await.expect("opens");
        drop(append(&wal, 1).await.expect("room"));
        drop(wal.sync().await.expect("syncs"));
        reactor::sleep(Duration::from_secs(1)).await;
        let before = reactor::clock::monotonic();
        drop(wal.sync().await.expect("syncs"));
        assert_eq!(reactor::clock::monotonic(), before);
    });
}

#[test]
fn verifiers_differ_and_sequences_rise_from_life_to_life() {
    let mut image = Image::default();
    let mut lives = BTreeMap::new();
    for seed in 0..5 {
        let (life, next) = life(seed, image, async {
            let (wal, _) = open(4).await.expect("opens");
            let ticket = wal.append(file(1), time(), Change::Truncate { size: 1 }).expect("room");
            (ticket.sequence, wal.verifier().0)
        });
        let (sequence, verifier) = life.expect("ends");
        assert!(lives.last_key_value().is_none_or(|(&last, _)| last < sequence));
        assert!(lives.values().all(|&other| other != verifier));
        lives.insert(sequence, verifier);
        image = next;
    }
}

#[test]
fn a_dropped_ticket_is_written_all_the_same() {
    let (_, image) = life(8, Image::default(), async {
        let (wal, _) = open(4).await.expect("opens");
        drop(wal.append(file(1), time(), write(0, vec![5; 10])).expect("room"));
        drop(wal.append(file(1), time(), Change::Truncate { size: 3 }).expect("room"));
        drop(wal.sync().await.expect("syncs"));
    });
    let (found, _) = life(9, image, async {
        let (_wal, recovered) = open(4).await.expect("opens");
        recovered.records.len()
    });
    assert_eq!(found, Some(2));
}
