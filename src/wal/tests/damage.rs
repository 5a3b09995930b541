//! Damaged disks: what is a torn tail, what is a loss, and what is refused. Headers: `gaps`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use reactor::{
    rng::Rng,
    sim::{Image, World},
};

use super::{SEGMENT_BYTES, config, file, life, open, payload, time, write};
use crate::{
    Wal,
    check::{State, check},
    format::{RecordHeader, SEGMENT_HEADER_BYTES, record_bytes},
};

const PAYLOAD_BYTES: usize = 500;

pub(super) fn path(name: &str) -> PathBuf {
    Path::new("/log/slice-03").join(name)
}

/// Where the n-th record of a segment lies, when all have `PAYLOAD_BYTES`.
pub(super) fn offset(record: usize) -> usize {
    let offset = SEGMENT_HEADER_BYTES + record as u64 * record_bytes(PAYLOAD_BYTES as u64);
    usize::try_from(offset).expect("small")
}

/// Appends records, the n-th filled with n, and waits until they are logged.
pub(super) async fn fill(wal: &Wal, records: std::ops::Range<u8>) -> Vec<Bytes> {
    let mut views = Vec::new();
    for n in records {
        let ticket = wal.append(file(1), time(), write(0, vec![n; PAYLOAD_BYTES]));
        views.push(ticket.expect("room").logged().await.expect("logs").1);
    }
    views
}

/// What each found record is filled with.
pub(super) fn numbers(records: &[crate::Found]) -> Vec<u8> {
    records.iter().map(|found| payload(found)[0]).collect()
}

/// A disk after a process was killed that had synced so many records, and logged more.
pub(super) fn image(seed: u64, synced: u8, logged: u8) -> Image {
    let world = World::new(seed);
    world.run(async move {
        let (wal, _) = open(6).await.expect("opens");
        let mut views = fill(&wal, 0..synced).await;
        drop(wal.sync().await.expect("syncs"));
        views.extend(fill(&wal, synced..logged).await);
        // Time for the spare.
        reactor::sleep(std::time::Duration::from_secs(1)).await;
        std::mem::forget(views);
    });
    world.shut_down()
}

pub(super) fn flip(image: &mut Image, segment: &str, at: usize) {
    image.files().get_mut(&path(segment)).expect("is there")[at] ^= 1;
}

/// What opening finds, or says, and the disk afterwards; payloads are looked at, too.
pub(super) fn reopen(image: Image) -> (Result<(Vec<u8>, u64), String>, Image) {
    let (result, image) = life(1, image, async {
        let (_wal, recovered) = open(6).await?;
        let unchecked: Vec<_> =
            recovered.records.iter().filter_map(|found| found.unchecked.clone()).collect();
        match check(&unchecked).await.expect("a thread").first() {
            Some((_, words)) => Err(words.clone()),
            None => Ok((numbers(&recovered.records), recovered.torn_bytes)),
        }
    });
    (result.expect("ends"), image)
}

#[test]
fn a_torn_tail_is_cut_for_ever() {
    // Of 20 logged records 5 are synced; the 12th is torn, in its payload or in its header, and
    // then in the header behind it, too, which says the same.
    for at in [offset(12), offset(12) + 127, offset(12) + 128, offset(12) + 300] {
        let header_is_sound = at >= offset(12) + 128;
        let flip = |image: &mut Image| {
            let bytes = image.files().get_mut(&path("segment-00000")).expect("is there");
            bytes[at] ^= 1;
            bytes[offset(13) + 40] ^= u8::from(!header_is_sound);
        };
        let mut torn = image(1, 5, 20);
        flip(&mut torn);
        let (found, after) = reopen(torn);
        let (records, torn_bytes) = found.expect("opens");
        assert_eq!(records, (0..12).collect::<Vec<u8>>(), "offset {at}");
        let record = record_bytes(PAYLOAD_BYTES as u64);
        assert_eq!(torn_bytes, record * (7 + u64::from(header_is_sound)), "offset {at}");
        // Make the torn record whole again: what was cut stays cut.
        let mut healed = after;
        flip(&mut healed);
        let (found, after) = life(2, healed, async {
            let (wal, recovered) = open(6).await.expect("opens");
            let mut views = fill(&wal, 100..103).await;
            drop(wal.sync().await.expect("syncs"));
            views.extend(recovered.records.iter().map(|found| found.pin.clone()));
            std::mem::forget(views);
            (numbers(&recovered.records), recovered.torn_bytes)
        });
        assert_eq!(found, Some(((0..12).collect(), 0)));
        let all: Vec<u8> = (0..12).chain(100..103).collect();
        assert_eq!(reopen(after).0, Ok((all, 0)));
    }
}

#[test]
fn a_record_that_only_the_torn_one_behind_it_names_is_kept_for_ever() {
    // The 12th has no header. The 13th names it, but is torn itself.
    let mut torn = image(1, 5, 20);
    flip(&mut torn, "segment-00000", offset(12) + 20);
    flip(&mut torn, "segment-00000", offset(13) + 300);
    let (found, mut after) = reopen(torn);
    let records: Vec<u8> = (0..13).collect();
    assert_eq!(found.expect("opens").0, records);
    flip(&mut after, "segment-00000", offset(13) + 20);
    assert_eq!(reopen(after).0, Ok((records, 0)));
}

#[test]
fn damage_to_what_was_synced_is_named() {
    // The records from 10 on say that 0 to 9 are synced.
    for record in 0..10 {
        let mut damaged = image(2, 10, 12);
        let bytes = damaged.files().get_mut(&path("segment-00000")).expect("is there");
        let header = RecordHeader::read(&bytes[offset(record)..], offset(record) as u64, 0);
        assert!(header.is_err(), "the key is secret");
        let sequence = u64::from_le_bytes(
            bytes[offset(record) + 16..offset(record) + 24].try_into().expect("8 bytes"),
        );
        bytes[offset(record) + 200] ^= 1;
        let error = reopen(damaged).0.expect_err("is lost");
        let says = |what: &str| assert!(error.contains(what), "{error}");
        says("/log/slice-03/segment-00000");
        says(&format!("offset {}", offset(record)));
        says(&format!("record {sequence} had been synced"));
    }
}

#[test]
fn a_damaged_payload_keeps_nothing_else_from_being_served() {
    let mut damaged = image(2, 10, 12);
    let bytes = damaged.files().get_mut(&path("segment-00000")).expect("is there");
    for record in [3, 7] {
        bytes[offset(record) + 200] ^= 1;
    }
    let (states, _) = life(1, damaged, async {
        let (wal, recovered) = open(6).await.expect("opens");
        let unchecked: Vec<_> =
            recovered.records.iter().filter_map(|found| found.unchecked.clone()).collect();
        // What had not been synced was compared already.
        assert_eq!(unchecked.len(), 10);
        assert!(unchecked.iter().all(|one| one.state() == State::Unknown));
        assert_eq!(check(&unchecked).await.expect("a thread").len(), 2);
        assert_eq!(check(&unchecked).await.expect("a thread").len(), 0, "each is told once");
        drop(fill(&wal, 50..53).await);
        unchecked.iter().map(|one| one.state() == State::Sound).collect::<Vec<_>>()
    });
    let want: Vec<bool> = (0..10).map(|n| n != 3 && n != 7).collect();
    assert_eq!(states, Some(want));
}

#[test]
fn a_start_reads_no_payload_that_had_been_synced() {
    // Torn behind the last sync: the eager part is found by the headers alone.
    for (damage, want) in [(11, 11), (15, 15), (19, 19)] {
        let mut torn = image(1, 11, 20);
        let bytes = torn.files().get_mut(&path("segment-00000")).expect("is there");
        bytes[offset(damage) + 200] ^= 1;
        bytes[offset(2) + 200] ^= 1;
        let (found, _) = life(1, torn, async {
            let (_wal, recovered) = open(6).await.expect("opens");
            recovered.records.len()
        });
        assert_eq!(found, Some(want));
    }
}

#[test]
fn no_flipped_bit_gives_a_wrong_record_or_hides_a_synced_one() {
    let (mut refused, mut harmless) = (0, 0);
    for seed in 0..400 {
        let mut rng = Rng::from_seed(seed);
        // 100 records fill three segments and some of the fourth. The last one says that the 99
        // before it are synced; nothing says so of itself.
        let mut damaged = image(seed, 99, 100);
        let name = format!("segment-{:05}", rng.below(4));
        let bytes = damaged.files().get_mut(&path(&name)).expect("is there");
        let at = rng.index(bytes.len());
        bytes[at] ^= 1 << rng.below(8);
        match reopen(damaged).0 {
            Err(_) => refused += 1,
            Ok((records, _)) => {
                harmless += 1;
                let all: Vec<u8> = (0..100).collect();
                assert!(records == all || records == all[..99], "seed {seed}: {records:?}");
            }
        }
    }
    assert!(refused > 200 && harmless > 10, "{refused} {harmless}");
}

#[test]
fn a_damaged_manifest_is_refused_or_makes_no_difference() {
    let all: Vec<u8> = (0..100).collect();
    let sound = || image(3, 100, 100);
    let mut both = sound();
    let bytes = both.files().get_mut(&path("manifest")).expect("is there");
    bytes[20] ^= 1;
    bytes[64 * 1024 + 20] ^= 1;
    let error = reopen(both).0.expect_err("nothing to go by");
    assert!(error.contains("manifest: damaged or missing"), "{error}");

    let mut outcomes = Vec::new();
    for slot in 0..2 {
        let mut one = sound();
        one.files().get_mut(&path("manifest")).expect("is there")[slot * 64 * 1024 + 20] ^= 1;
        outcomes.push(reopen(one).0);
    }
    // The older slot makes no difference. Without the newer one something younger is seen, or,
    // when the newest spare was not used yet, the older one says enough.
    assert!(outcomes.contains(&Ok((all.clone(), 0))), "{outcomes:?}");
    for outcome in outcomes {
        assert!(outcome.is_err() || outcome == Ok((all.clone(), 0)), "{outcome:?}");
    }
}

#[test]
fn the_loss_of_the_newest_manifest_never_hides_synced_records() {
    for records in 1..140_u8 {
        let mut damaged = image(u64::from(records), records, records);
        let manifest = damaged.files().get_mut(&path("manifest")).expect("is there");
        let epoch = |slot: usize| {
            let at = slot * 64 * 1024 + 16;
            u64::from_le_bytes(manifest[at..at + 8].try_into().expect("8 bytes"))
        };
        let newest = usize::from(epoch(1) > epoch(0));
        manifest[newest * 64 * 1024 + 30] ^= 1;
        match reopen(damaged).0 {
            Ok((found, _)) => assert_eq!(found, (0..records).collect::<Vec<u8>>()),
            Err(error) => assert!(error.contains("slice-03"), "{error}"),
        }
    }
}

#[test]
fn what_is_not_ours_is_refused_with_advice() {
    let damage = |change: &dyn Fn(&mut Image)| {
        let mut image = image(4, 100, 100);
        change(&mut image);
        reopen(image).0.expect_err("is refused")
    };
    let error = damage(&|image| {
        image.files().get_mut(&path("manifest")).expect("is there")[4] = 3;
    });
    assert!(error.contains("format version 3 is not known"), "{error}");
    let error = damage(&|image| {
        image.files().remove(&path("segment-00001"));
    });
    assert!(error.contains("segment-00001"), "{error}");
    let error = damage(&|image| {
        image.files().get_mut(&path("segment-00001")).expect("is there").truncate(512);
    });
    assert!(error.contains("segment-00001"), "{error}");
    let error = damage(&|image| {
        image.files().remove(&path("manifest"));
    });
    assert!(error.contains("damaged or missing"), "{error}");
}

#[test]
fn a_log_in_another_slices_folder_is_refused() {
    let mut moved = Image::default();
    for (name, bytes) in image(5, 3, 3).files() {
        let name = name.file_name().expect("a name");
        moved.files().insert(Path::new("/log/slice-04").join(name), bytes.clone());
    }
    let (result, _) = life(1, moved, async {
        let config = crate::Config { slice: vocab::SliceId(4), ..config(6) };
        Wal::open_sized(config, SEGMENT_BYTES).await.map(drop)
    });
    let error = result.expect("ends").expect_err("is refused");
    assert!(error.contains("log of slice 3, not of slice 4"), "{error}");
}

#[test]
fn bytes_of_a_client_that_look_like_a_record_are_none() {
    // A client writes what a record looks like, learned from its own log, into the log.
    let mut victim = image(6, 3, 3);
    let bytes = &victim.files()[&path("segment-00000")];
    let forged = bytes[offset(2)..offset(3)].to_vec();
    let (found, after) = life(7, Image::default(), async move {
        let (wal, _) = open(6).await.expect("opens");
        let ticket = wal.append(file(1), time(), write(0, forged)).expect("room");
        let view = ticket.logged().await.expect("logs").1;
        drop(wal.sync().await.expect("syncs"));
        std::mem::forget(view);
    });
    assert!(found.is_some());
    let (found, _) = reopen(after);
    assert_eq!(found.expect("opens").0.len(), 1);
}

#[test]
fn what_a_closed_log_had_synced_is_never_taken_for_torn() {
    // No record follows that could say so: the manifest does.
    let closed = || {
        let world = World::new(8);
        world.run(async {
            let (wal, _) = open(6).await.expect("opens");
            std::mem::forget(fill(&wal, 0..5).await);
            wal.close().await.expect("closes");
        });
        world.shut_down()
    };
    for at in [offset(2) + 200, offset(4) + 20, offset(4) + 200] {
        let mut damaged = closed();
        damaged.files().get_mut(&path("segment-00000")).expect("is there")[at] ^= 1;
        let error = reopen(damaged).0.expect_err("is lost");
        assert!(error.contains("had been synced and is lost"), "{error}");
    }
}

#[test]
fn what_a_quiet_log_had_synced_is_never_taken_for_torn() {
    // The process is killed, and no record follows: the manifest has noted it meanwhile.
    let killed = |quiet_seconds| {
        let world = World::new(9);
        world.run(async move {
            let (wal, _) = open(6).await.expect("opens");
            std::mem::forget(fill(&wal, 0..5).await);
            drop(wal.sync().await.expect("syncs"));
            reactor::sleep(std::time::Duration::from_secs(quiet_seconds)).await;
        });
        world.kill()
    };
    for at in [offset(2) + 200, offset(4) + 20, offset(4) + 200] {
        let mut damaged = killed(4);
        damaged.files().get_mut(&path("segment-00000")).expect("is there")[at] ^= 1;
        let error = reopen(damaged).0.expect_err("is lost");
        assert!(error.contains("had been synced and is lost"), "{error}");
    }
    let mut damaged = killed(0);
    damaged.files().get_mut(&path("segment-00000")).expect("is there")[offset(4) + 20] ^= 1;
    assert_eq!(reopen(damaged).0.expect("opens").0.len(), 4, "this one nobody can tell from torn");
}
