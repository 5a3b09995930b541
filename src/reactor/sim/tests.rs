//! Worlds: the same seed, the same trace; what survives what.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use vocab::Time;

use super::{
    Event, Image, Moment, World, cut_power, cut_power_at, fail_next_sync, fail_next_write, faults,
};
use crate::{
    clock,
    file::{self, File},
    oneshot, rng, runtime,
};

const FILE: &str = "/disk/file";

/// Tasks that race, talk and write.
async fn busy() -> (u64, Time) {
    let file = File::create_zeroed(Path::new(FILE), 64 * 1024).await.expect("creates");
    let mut answers = Vec::new();
    for task in 0..8_u64 {
        let (sender, receiver) = oneshot::channel();
        let file = file.clone();
        runtime::spawn(async move {
            runtime::sleep(Duration::from_micros(rng::random_u64() % 1_000)).await;
            let bytes = Bytes::from(rng::random_u64().to_le_bytes().to_vec());
            file.write_all_at(&[bytes.clone(), bytes], task * 1000).await.expect("writes");
            file.sync_data().await.expect("syncs");
            sender.send(task);
        });
        answers.push(receiver);
    }
    let remote = runtime::current().expect("a world");
    answers.push(remote.call(|| async { 100 }));
    let mut sum = 0;
    for answer in answers {
        sum += answer.await.expect("speaks");
    }
    (sum, clock::wall())
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_does_not() {
    let run = |seed| {
        let world = World::new(seed);
        let end = world.run(busy()).expect("ends");
        assert_eq!(end.0, 128, "seed {seed}");
        let trace = world.trace();
        (end, trace, world.power_cut().files().clone())
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
        assert_ne!(run(seed).1, run(seed + 1).1, "seed {seed}");
    }
}

#[test]
fn time_moves_only_by_timers_and_costs_nothing() {
    let world = World::new(1);
    let (slept, timed_out) = world
        .run(async {
            let start = clock::monotonic();
            runtime::sleep(Duration::from_secs(86_400)).await;
            let slept = clock::monotonic() - start;
            let day = Duration::from_secs(86_400);
            (slept, runtime::timeout(day, std::future::pending::<()>()).await.is_none())
        })
        .expect("ends");
    assert_eq!((slept, timed_out), (Duration::from_secs(86_400), true));
}

/// Writes ones and syncs, writes twos and does not.
async fn half_synced() {
    let file = File::open(Path::new(FILE), true).expect("opens");
    file::sync_dir(Path::new("/disk")).expect("syncs");
    let fill = |byte| [Bytes::from(vec![byte; 2048])];
    file.write_all_at(&fill(1), 0).await.expect("writes");
    file.sync_data().await.expect("syncs");
    file.write_all_at(&fill(2), 0).await.expect("writes");
    let map = file.map(2048).expect("maps");
    assert_eq!(map.slice(0..2048), fill(2)[0]);
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_some_sectors_of_the_rest() {
    let (mut whole, mut none, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let world = World::new(seed);
        world.run(half_synced()).expect("ends");
        let mut image = world.power_cut();
        let bytes = &image.files()[Path::new(FILE)];
        assert_eq!(bytes.len(), 2048, "seed {seed}");
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|&byte| byte == sector[0] && byte > 0), "seed {seed}");
        }
        match bytes.iter().filter(|&&byte| byte == 2).count() {
            0 => none += 1,
            2048 => whole += 1,
            _ => torn += 1,
        }
    }
    assert!(whole > 20 && none > 20 && torn > 20, "{whole} {none} {torn}");
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    let world = World::new(3);
    world.run(half_synced()).expect("ends");
    let image = world.kill();
    let next = World::open(4, image);
    let bytes = next.run(async {
        let file = File::open(Path::new(FILE), false).expect("is there");
        file.map(2048).expect("maps").slice(0..2048)
    });
    assert_eq!(bytes.expect("ends"), vec![2; 2048]);
}

#[test]
fn what_a_killed_process_wrote_is_lost_by_a_later_power_cut_unless_it_is_synced() {
    let mut lost = 0;
    for (seed, syncs) in (0..100).map(|seed| (seed, seed % 2 == 0)) {
        let world = World::new(seed);
        world.run(half_synced()).expect("ends");
        let next = World::open(seed, world.kill());
        next.run(async move {
            let file = File::open(Path::new(FILE), false).expect("is there");
            if syncs {
                file.sync_data().await.expect("syncs");
            }
        });
        let is_lost = next.power_cut().files()[Path::new(FILE)] != vec![2; 2048];
        assert!(!(syncs && is_lost), "seed {seed}");
        lost += u32::from(is_lost);
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn a_failed_sync_may_lose_bytes_for_good() {
    let mut lost = 0;
    for seed in 0..50 {
        let world = World::new(seed);
        world.run(async {
            let file = File::create_zeroed(Path::new(FILE), 512).await.expect("creates");
            file.write_all_at(&[Bytes::from(vec![1; 512])], 0).await.expect("writes");
            fail_next_sync();
            file.sync_data().await.expect_err("fails");
            // As Linux does: the next one says all is well.
            file.sync_data().await.expect("syncs");
        });
        lost += u32::from(world.power_cut().files()[Path::new(FILE)][0] == 0);
    }
    assert!((5..45).contains(&lost), "{lost}");
}

#[test]
fn a_failed_write_leaves_a_part() {
    let world = World::new(5);
    world.run(async {
        let file = File::create_zeroed(Path::new(FILE), 512).await.expect("creates");
        fail_next_write();
        file.write_all_at(&[Bytes::from(vec![1; 512])], 0).await.expect_err("fails");
        file.write_all_at(&[Bytes::from(vec![2; 512])], 0).await.expect("writes");
    });
}

#[test]
fn cutting_the_power_stops_the_world_at_once() {
    let world = World::new(6);
    let end = world.run(async {
        runtime::spawn(async {
            runtime::sleep(Duration::from_secs(1)).await;
            cut_power();
        });
        runtime::sleep(Duration::from_secs(2)).await;
        unreachable!("the power is gone");
    });
    assert!(end.is_none());
    assert_eq!(world.trace().last().map(|(_, event)| event.clone()), Some(Event::Cut));
    let next = World::open(7, world.power_cut());
    let later = next.run(async { clock::wall() }).expect("ends");
    assert!(later > Image::default().wall());
}

#[test]
fn a_lock_is_free_again_after_its_owner() {
    let world = World::new(8);
    world.run(async {
        let first = file::lock(Path::new("/lock")).expect("locks");
        assert!(file::lock(Path::new("/lock")).is_err());
        drop(first);
        drop(file::lock(Path::new("/lock")).expect("is free"));
    });
}

/// Writes a byte and syncs, three times; how often that was said to be done.
async fn three_syncs() -> u8 {
    let file = File::create_zeroed(Path::new(FILE), 512).await.expect("creates");
    for number in 1..=3 {
        file.write_all_at(&[Bytes::from(vec![number])], 0).await.expect("writes");
        file.sync_data().await.expect("syncs");
    }
    3
}

fn byte_left(world: World) -> u8 {
    world.power_cut().files()[Path::new(FILE)][0]
}

#[test]
fn the_power_goes_as_a_sync_begins_or_ends() {
    for seed in 0..20 {
        for moment in 1..=6 {
            let world = World::new(seed);
            let ended = world.run(async move {
                cut_power_at(Moment::Syncs(moment));
                three_syncs().await
            });
            assert_eq!(ended, None, "seed {seed}, {moment}");
            let (synced, left) = (moment / 2, u64::from(byte_left(world)));
            assert!(left == synced || left == synced + 1, "seed {seed}, {moment}: {left}");
        }
        let world = World::new(seed);
        world.run(async {
            cut_power_at(Moment::Polls(2));
            three_syncs().await
        });
        assert_eq!(world.trace().iter().filter(|(_, event)| *event == Event::Cut).count(), 1);
    }
}

#[test]
fn a_lying_sync_and_a_lost_write_are_found_out_by_a_power_cut() {
    let mut lost = 0;
    for seed in 0..50 {
        let world = World::new(seed);
        world.run(async {
            let file = File::create_zeroed(Path::new(FILE), 512).await.expect("creates");
            faults(|faults| faults.lying_syncs = 1);
            file.write_all_at(&[Bytes::from(vec![1])], 0).await.expect("writes");
            file.sync_data().await.expect("lies");
        });
        lost += u32::from(byte_left(world) == 0);
        let world = World::new(seed);
        world.run(async {
            faults(|faults| faults.lost_writes = 1);
            three_syncs().await
        });
        assert_eq!(byte_left(world), 3, "only the first is lost");
    }
    assert!((5..45).contains(&lost), "{lost}");
}
