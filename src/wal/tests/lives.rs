//! Random lives of a log: appends, syncs, power cuts, kills, failed syncs, reopens.
//!
//! Checked at every opening: what was synced and is still held is there; nothing is found that was
//! not appended; what is missing is missing at the end; sequences never repeat.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use bytes::Bytes;
use reactor::{
    rng::Rng,
    sim::{self, Image, Moment, World},
};
use vocab::Error;

use super::{file, open, payload, time, write};
use crate::{Change, Recovered, Wal};

/// Worlds of each of the four parts, which run side by side.
const SEEDS: u64 = 250;
const LIVES: u64 = 4;

/// What a client of the log knows.
#[derive(Default)]
struct Model {
    /// Everything that may be in the log, by sequence.
    records: BTreeMap<u64, Record>,
    /// What a successful sync covered.
    durable: u64,
    /// The largest sequence ever given out.
    sequence: u64,
    failed: bool,
}

struct Record {
    inode: u64,
    /// Of a truncate nothing.
    bytes: Option<Bytes>,
    offset: u64,
    /// In the page cache.
    logged: bool,
    /// Keeps the segment.
    view: Option<Bytes>,
    /// Nobody needs it any more: it may be recycled.
    dropped: bool,
}

#[test]
fn what_was_synced_is_found_in_a_thousand_worlds_1() {
    worlds(0);
}

#[test]
fn what_was_synced_is_found_in_a_thousand_worlds_2() {
    worlds(1);
}

#[test]
fn what_was_synced_is_found_in_a_thousand_worlds_3() {
    worlds(2);
}

#[test]
fn what_was_synced_is_found_in_a_thousand_worlds_4() {
    worlds(3);
}

fn worlds(part: u64) {
    let (mut found, mut torn) = (0, 0);
    for seed in part * SEEDS..(part + 1) * SEEDS {
        let mut image = Image::default();
        let model = Rc::new(RefCell::new(Model::default()));
        for life in 0..LIVES {
            let world = World::open(seed * LIVES + life, image);
            let (result, own) = (Rc::new(RefCell::new(None)), model.clone());
            let place = result.clone();
            world.run(async move {
                match open(6).await {
                    Ok((wal, recovered)) => {
                        *place.borrow_mut() = Some(Ok(check(seed, &own, &recovered)));
                        keep_some(&own, recovered);
                        live(wal, own).await;
                    }
                    Err(error) => *place.borrow_mut() = Some(Err(error)),
                }
            });
            match result.take().expect("nothing cuts the power before the log is open") {
                Ok((records, torn_bytes)) => {
                    found += records;
                    torn += u64::from(torn_bytes > 0);
                }
                Err(error) => panic!("seed {seed} life {life}: {error}"),
            }
            let killed = Rng::from_seed(seed ^ life << 32).one_in(3);
            image = if killed { world.kill() } else { world.power_cut() };
            let mut model = model.borrow_mut();
            if killed && !model.failed {
                // A killed process loses nothing that was logged.
                let logged = model.records.iter().rev().find(|(_, record)| record.logged);
                let logged = logged.map_or(0, |(&sequence, _)| sequence);
                model.durable = model.durable.max(logged);
            }
        }
    }
    assert!(found > 5_000 && torn > 12, "the worlds are too tame: {found} {torn}");
}

/// Compares what was found with what must be.
fn check(seed: u64, model: &RefCell<Model>, recovered: &Recovered) -> (u64, u64) {
    let mut model = model.borrow_mut();
    let mut last = 0;
    for found in &recovered.records {
        let sequence = found.sequence.0;
        assert!(sequence > last, "seed {seed}: out of order at {sequence}");
        last = sequence;
        let record = model.records.get(&sequence);
        let record = record.unwrap_or_else(|| panic!("seed {seed}: {sequence} from nowhere"));
        assert_eq!((found.file, found.time), (file(record.inode), time()), "seed {seed}");
        match (&found.change, &record.bytes) {
            (Change::Write { offset, bytes }, Some(want)) => {
                assert_eq!((*offset, bytes), (record.offset, want), "seed {seed} {sequence}");
            }
            (Change::Truncate { size }, None) => assert_eq!(*size, record.offset, "seed {seed}"),
            _ => panic!("seed {seed}: {sequence} changed its kind"),
        }
    }
    let is_found: BTreeMap<u64, ()> =
        recovered.records.iter().map(|found| (found.sequence.0, ())).collect();
    let mut lost = None;
    for (sequence, record) in &model.records {
        if is_found.contains_key(sequence) {
            assert!(lost.is_none(), "seed {seed}: {sequence} found behind missing {lost:?}");
        } else if !record.dropped {
            assert!(*sequence > model.durable, "seed {seed}: synced {sequence} is lost");
            lost = Some(*sequence);
        }
    }
    model.records.retain(|sequence, _| is_found.contains_key(sequence));
    // A life that failed may leave what it could not sync; from now on it counts as durable.
    model.durable = model.sequence;
    model.failed = false;
    (recovered.records.len() as u64, recovered.torn_bytes)
}

/// Goes on with what was found, and drops some of it.
fn keep_some(model: &RefCell<Model>, recovered: Recovered) {
    let mut model = model.borrow_mut();
    for found in recovered.records {
        let record = model.records.get_mut(&found.sequence.0).expect("was checked");
        if reactor::rng::random_u64().is_multiple_of(2) {
            record.view = Some(found.pin);
        } else {
            record.dropped = true;
        }
    }
}

async fn live(wal: Wal, model: Rc<RefCell<Model>>) {
    let mut rng = Rng::from_seed(reactor::rng::random_u64());
    let end = Duration::from_micros(rng.below(60_000));
    reactor::spawn(async move {
        reactor::sleep(end).await;
        sim::cut_power();
    });
    if rng.one_in(8) {
        sim::faults(|faults| faults.syncs = 1);
    }
    if rng.one_in(16) {
        sim::faults(|faults| faults.writes = 1);
    }
    loop {
        match rng.below(12) {
            0..=6 => append(&wal, &model, &mut rng),
            7..=8 => sync(wal.clone(), model.clone()),
            9 => drop_one(&model, &mut rng),
            10 => {
                for _ in 0..rng.below(30) {
                    append(&wal, &model, &mut rng);
                }
            }
            _ => reactor::sleep(Duration::from_micros(rng.below(2_000))).await,
        }
        if rng.one_in(3) {
            reactor::sleep(Duration::from_micros(rng.below(500))).await;
        }
    }
}

fn append(wal: &Wal, model: &Rc<RefCell<Model>>, rng: &mut Rng) {
    let (inode, offset) = (1 + rng.below(9), rng.below(1 << 40));
    let len = if rng.one_in(4) { 1 + rng.index(4096) } else { 1 + rng.index(300) };
    let bytes = (!rng.one_in(6)).then(|| Bytes::from(rng.bytes(len)));
    let change = match &bytes {
        Some(bytes) => write(offset, bytes.clone()),
        None => Change::Truncate { size: offset },
    };
    let ticket = match wal.append(file(inode), time(), change) {
        Ok(ticket) => ticket,
        Err(Error::Busy) => {
            // Somebody uploads, then.
            drop_one(model, rng);
            return;
        }
        Err(error) => {
            assert_eq!(error, Error::LogReadOnly);
            model.borrow_mut().failed = true;
            return;
        }
    };
    let sequence = ticket.sequence.0;
    {
        let mut model = model.borrow_mut();
        assert!(sequence > model.sequence, "a sequence repeats");
        model.sequence = sequence;
        let view = None;
        let record = Record { inode, bytes, offset, logged: false, view, dropped: false };
        model.records.insert(sequence, record);
    }
    let model = model.clone();
    reactor::spawn(async move {
        match ticket.logged().await {
            Ok((_, view)) => {
                let mut model = model.borrow_mut();
                let record = model.records.get_mut(&sequence).expect("just put there");
                if let Some(bytes) = &record.bytes {
                    assert_eq!(view, bytes);
                }
                record.logged = true;
                record.view = Some(view);
            }
            Err(error) => {
                assert_eq!(error, Error::LogReadOnly);
                model.borrow_mut().failed = true;
            }
        }
    });
}

fn sync(wal: Wal, model: Rc<RefCell<Model>>) {
    reactor::spawn(async move {
        let target = model.borrow().sequence;
        let result = wal.sync().await;
        let mut model = model.borrow_mut();
        match result {
            Ok(evidence) => {
                assert_eq!(evidence.verifier(), wal.verifier());
                assert!(!model.failed, "a sync succeeds after a failure");
                model.durable = model.durable.max(target);
            }
            Err(error) => {
                assert_eq!(error, Error::SyncFailed);
                model.failed = true;
            }
        }
    });
}

/// Uploads the oldest record, or any.
fn drop_one(model: &RefCell<Model>, rng: &mut Rng) {
    let mut model = model.borrow_mut();
    let held: Vec<u64> = model
        .records
        .iter()
        .filter(|(_, record)| record.view.is_some())
        .map(|(&sequence, _)| sequence)
        .collect();
    if held.is_empty() {
        return;
    }
    let from = rng.index(held.len());
    for sequence in held.iter().skip(from).take(1 + rng.index(60)) {
        let record = model.records.get_mut(sequence).expect("is held");
        record.view = None;
        record.dropped = true;
    }
}

#[test]
fn the_same_seed_gives_the_same_life() {
    let run = |seed| {
        let world = World::new(seed);
        let model = Rc::new(RefCell::new(Model::default()));
        world.run(async move {
            let (wal, _) = open(6).await.expect("opens");
            live(wal, model).await;
        });
        world.trace()
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

#[test]
fn a_record_may_be_found_twice_but_says_the_same() {
    let mut image = Image::default();
    let mut views = Vec::new();
    for seed in 0..3 {
        let (records, next) = super::life(seed, image, async move {
            let (wal, recovered) = open(6).await.expect("opens");
            if seed == 0 {
                let ticket = wal.append(file(1), time(), write(9, vec![1; 100])).expect("room");
                drop(ticket.logged().await.expect("logs"));
                drop(wal.sync().await.expect("syncs"));
            }
            recovered.records.iter().map(|found| payload(found).clone()).collect::<Vec<_>>()
        });
        views.push(records.expect("ends"));
        image = next;
    }
    assert_eq!(views[0].len(), 0);
    assert_eq!(views[1], views[2]);
    assert_eq!(views[1], vec![Bytes::from(vec![1; 100])]);
}

#[test]
fn a_first_start_may_be_killed_and_the_next_one_lose_its_power() {
    for seed in 0..400 {
        let started = |life: u64, image, moment| {
            let world = World::open(seed * 3 + life, image);
            let opened = world.run(async move {
                sim::cut_power_at(Moment::Polls(moment));
                open(6).await.map(drop)
            });
            (world, opened)
        };
        let (world, _) = started(0, Image::default(), 1 + seed % 20);
        let (world, opened) = started(1, world.kill(), 1 + seed / 20);
        assert!(!matches!(opened, Some(Err(_))), "seed {seed}: {opened:?}");
        let (_, opened) = started(2, world.power_cut(), 10_000);
        assert_eq!(opened, Some(Ok(())), "seed {seed}");
    }
}
