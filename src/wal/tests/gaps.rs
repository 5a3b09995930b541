//! Damaged headers: what the header behind makes up for, and what nothing names.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
};

use bytes::Bytes;
use reactor::{
    rng::Rng,
    sim::{Image, World},
};

use super::{
    SEGMENT_BYTES, config,
    damage::{fill, flip, image, numbers, offset, path, reopen},
    file, life, open, payload, time, write,
};
use crate::{
    Config, Wal,
    check::{State, check},
};

/// What a life of a log leaves.
struct Lived {
    /// File and bytes by sequence.
    written: BTreeMap<u64, (u64, Bytes)>,
    /// The last sequence that was synced.
    synced: u64,
    /// The sequences that are still needed.
    held: Vec<u64>,
    image: Image,
}

#[test]
fn a_damaged_header_costs_nothing() {
    // 100 records lie in four segments; each header in turn, first and last of a segment too.
    let sound = image(2, 99, 100);
    let all: Vec<u8> = (0..100).collect();
    let of_segment = (SEGMENT_BYTES as usize - offset(0)) / (offset(1) - offset(0));
    for record in 0..99 {
        let mut damaged = sound.clone();
        let name = format!("segment-{:05}", record / of_segment);
        flip(&mut damaged, &name, offset(record % of_segment) + 33);
        assert_eq!(reopen(damaged).0, Ok((all.clone(), 0)), "record {record}");
    }
    // Nor does that of a segment.
    for segment in ["segment-00000", "segment-00001", "segment-00002", "segment-00003"] {
        let mut damaged = sound.clone();
        flip(&mut damaged, segment, 25);
        assert_eq!(reopen(damaged).0, Ok((all.clone(), 0)), "{segment}");
    }
}

#[test]
fn what_nothing_names_is_refused_until_the_operator_accepts_it() {
    let mut damaged = image(2, 10, 12);
    for record in [3, 4, 5] {
        flip(&mut damaged, "segment-00000", offset(record) + 20);
    }
    let before = damaged.files()[&path("segment-00000")].clone();
    let (error, mut image) = reopen(damaged);
    let error = error.expect_err("is lost");
    for says in [format!("offset {}", offset(3)), "2 records, at most 1024 bytes".to_owned()] {
        assert!(error.contains(&says), "{error}");
    }
    assert!(error.contains("--accept-log-damage"), "{error}");
    assert_eq!(image.files()[&path("segment-00000")], before, "a refusal changes nothing");
    let accept = async {
        let config = Config { accepts_damage: true, ..config(6) };
        let (wal, recovered) = Wal::open_sized(config, SEGMENT_BYTES).await.expect("opens");
        let mut views = fill(&wal, 50..52).await;
        drop(wal.sync().await.expect("syncs"));
        views.extend(recovered.records.iter().map(|found| found.pin.clone()));
        std::mem::forget(views);
        (numbers(&recovered.records), recovered.damaged)
    };
    let (found, mut image) = life(3, image, accept);
    assert_eq!(found, Some((vec![0, 1, 2, 5, 6, 7, 8, 9, 10, 11], 3)));
    let kept = image.files().iter().find(|(name, _)| name.to_string_lossy().contains("damaged-"));
    assert_eq!(kept.expect("a copy").1, &before);
    // Once is enough.
    let after = vec![0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 50, 51];
    assert_eq!(reopen(image).0, Ok((after, 0)));
}

#[test]
fn whatever_is_overwritten_every_record_is_right_or_counted_as_lost() {
    let (mut refused, mut lost) = (0, 0);
    for seed in 0..300 {
        let Lived { written, synced, held, mut image } = long_life(seed);
        let mut rng = Rng::from_seed(seed + 1000);
        for _ in 0..=rng.below(3) {
            let names: Vec<PathBuf> = image.files().keys().cloned().collect();
            let segments: Vec<&PathBuf> =
                names.iter().filter(|name| name.to_string_lossy().contains("segment")).collect();
            let into = segments[rng.index(segments.len())];
            let from = segments[rng.index(segments.len())];
            let len = 1 + rng.index(3000);
            let at = rng.index(SEGMENT_BYTES as usize - len) / 32 * 32;
            // Noise, nothing, or what lies elsewhere, at the same offset or not.
            let shift = if rng.one_in(2) { 0 } else { 32 * rng.index(8) };
            let other = image.files()[from][at.saturating_sub(shift)..][..len].to_vec();
            let with = [rng.bytes(len), vec![0; len], other][rng.index(3)].clone();
            image.files().get_mut(into).expect("there")[at..at + len].copy_from_slice(&with);
        }
        let open = |accepts_damage| async move {
            let config = Config { accepts_damage, ..config(6) };
            let (_wal, recovered) = Wal::open_sized(config, SEGMENT_BYTES).await?;
            let unchecked = recovered.records.iter().filter_map(|found| found.unchecked.clone());
            drop(check(&unchecked.collect::<Vec<_>>()).await.expect("a thread"));
            let mut found = BTreeMap::new();
            for one in recovered.records {
                let is_sound = one.unchecked.as_ref().is_none_or(|one| one.state() == State::Sound);
                let bytes = payload(&one).clone();
                found.insert(one.sequence.0, (one.file, bytes.len(), is_sound.then_some(bytes)));
            }
            Ok::<_, String>((found, recovered.damaged))
        };
        let unforced = life(seed, image.clone(), open(false)).0.expect("ends");
        let (forced, after) = life(seed, image, open(true));
        let (found, damaged) =
            forced.expect("ends").unwrap_or_else(|error| panic!("{seed}: {error}"));
        for (sequence, (file, len, bytes)) in &found {
            let (inode, want) = &written[sequence];
            assert_eq!((file.inode.0, *len), (*inode, want.len()), "seed {seed}: {sequence}");
            assert!(bytes.as_ref().is_none_or(|bytes| bytes == want), "seed {seed}: {sequence}");
        }
        let needed = held.iter().filter(|&&sequence| sequence <= synced);
        let missing = needed.filter(|sequence| !found.contains_key(sequence)).count() as u64;
        assert!(missing <= damaged, "seed {seed}: {missing} of {damaged}");
        match unforced {
            Ok((same, _)) => assert!(missing == 0 && same == found, "seed {seed}"),
            Err(_) => refused += 1,
        }
        lost += missing;
        let again = life(seed, after, open(false)).0.expect("ends").expect("was accepted").0;
        for sequence in found.keys() {
            assert_eq!(again.get(sequence), found.get(sequence), "seed {seed}: {sequence}");
        }
    }
    assert!(refused > 20 && lost > 20, "{refused} {lost}");
}

/// A log whose segments have been used again.
fn long_life(seed: u64) -> Lived {
    let world = World::new(seed);
    let (written, synced, held) = world
        .run(async move {
            let mut rng = Rng::from_seed(seed);
            let (wal, _) = open(6).await.expect("opens");
            let mut written = BTreeMap::new();
            let (mut synced, mut held) = (0, VecDeque::new());
            let count = 40 + rng.below(200);
            for inode in 1..count {
                let len = 1 + if rng.one_in(3) { rng.index(3000) } else { rng.index(200) };
                let bytes = Bytes::from(rng.bytes(len));
                let ticket = wal.append(file(inode), time(), write(0, bytes.clone()));
                let ticket = ticket.expect("room");
                let sequence = ticket.sequence.0;
                written.insert(sequence, (inode, bytes));
                held.push_back((sequence, ticket.logged().await.expect("logs").1));
                while held.len() > 25 {
                    held.pop_front();
                }
                if rng.one_in(5) {
                    drop(wal.sync().await.expect("syncs"));
                    synced = sequence;
                }
            }
            // In time the manifest says what was synced: till then only later records do.
            reactor::sleep(std::time::Duration::from_secs(4)).await;
            let sequences: Vec<u64> = held.iter().map(|(sequence, _)| *sequence).collect();
            std::mem::forget(held);
            (written, synced, sequences)
        })
        .expect("ends");
    Lived { written, synced, held, image: world.shut_down() }
}
