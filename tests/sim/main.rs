//! Whole servers in simulated worlds: every await and every sync is a place where the power may go.
//!
//! `SEED=7 cargo test -p tests --test sim sim_worlds` replays a world, `WORLDS=1000000` is a soak.
#![allow(clippy::print_stdout, reason = "what a failed test has to say")]

mod calls;
mod client;
mod door;
mod machine;
mod store;
mod wire;
mod world;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tests::rng::seeds_of;
use world::{Plant, Story};

/// Worlds in a run of all tests.
const WORLDS: u64 = 10_000;
/// Worlds in which a planted bug must be found.
const PLANTED_MAX: u64 = 3000;

/// Runs a world on a thread of its own, since slices rest in what belongs to a thread; `None` when
/// it found something wrong, and said what.
#[expect(clippy::disallowed_methods, reason = "a world is a machine of its own")]
fn world(seed: u64, plant: Plant) -> Option<Story> {
    thread::spawn(move || world::run(seed, plant)).join().ok()
}

/// Goes through seeds on all cores until one gives up: that one.
fn first_wrong(seeds: &[u64], plant: Plant) -> (Option<u64>, Totals) {
    let (next, totals) = (AtomicU64::new(0), Mutex::new(Totals::default()));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let seed = usize::try_from(index).ok().and_then(|index| seeds.get(index));
                    let Some(&seed) = seed else { return };
                    let story = world(seed, plant);
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    match story {
                        Some(story) => totals.add(&story),
                        None => {
                            next.store(u64::MAX / 2, Ordering::Relaxed);
                            totals.wrong = Some(totals.wrong.map_or(seed, |one| one.min(seed)));
                        }
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    (totals.wrong, totals)
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    wrong: Option<u64>,
    worlds: usize,
    /// Lives that came to their own end.
    ended: usize,
    /// Lives whose clients compared everything.
    checked: usize,
    /// Calls that were sent more than once.
    repeated: usize,
    polls: usize,
}

impl Totals {
    fn add(&mut self, story: &Story) {
        self.worlds += 1;
        self.ended += story.ended;
        self.checked += story.checked;
        self.repeated += story.repeated;
        self.polls += story.traces.iter().map(Vec::len).sum::<usize>();
    }
}

#[test]
fn sim_worlds() {
    let seeds = seeds_of("WORLDS", WORLDS);
    let (wrong, totals) = first_wrong(&seeds, Plant::Nothing);
    println!("{totals:?}");
    if let Some(seed) = wrong {
        panic!("replay: SEED={seed} cargo test -p tests --test sim sim_worlds");
    }
}

#[test]
fn sim_seed_repeats() {
    for seed in 0..10 {
        let (one, other) = (world(seed, Plant::Nothing), world(seed, Plant::Nothing));
        assert_eq!(one, other, "seed {seed}");
        assert!(one.is_some(), "seed {seed}");
    }
}

/// Some world finds the bug.
fn found(plant: Plant) {
    let seeds: Vec<u64> = (0..PLANTED_MAX).collect();
    let (wrong, totals) = first_wrong(&seeds, plant);
    let Some(seed) = wrong else { panic!("{plant:?} is not found: {totals:?}") };
    assert!(world(seed, Plant::Nothing).is_some(), "{plant:?}: seed {seed} is wrong without it");
    println!("{plant:?} is found after {} worlds, by seed {seed}", totals.worlds);
}

#[test]
fn sim_planted_skipped_sync_is_found() {
    found(Plant::SkippedSync);
}

#[test]
fn sim_planted_dropped_record_is_found() {
    found(Plant::DroppedRecord);
}

#[test]
fn sim_planted_early_free_is_found() {
    found(Plant::EarlyFree);
}

#[test]
fn sim_planted_unasked_free_is_found() {
    found(Plant::UnaskedFree);
}
