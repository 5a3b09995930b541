//! Answers in virtual time, where asking takes none, and on real threads.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use reactor::sim::World;

use super::*;

const GOOD: Duration = Duration::from_secs(60);

/// A database that counts how often it is asked, and is away when told.
fn counted() -> (Answers<u32, usize>, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (asked, away) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let ask = {
        let (asked, away) = (asked.clone(), away.clone());
        move |_: &u32| {
            let count = asked.fetch_add(1, Relaxed) + 1;
            if away.load(Relaxed) > 0 { Err(Away) } else { Ok(count) }
        }
    };
    (Answers::new("test", GOOD, ask), asked, away)
}

async fn pass(seconds: u64) {
    reactor::sleep(Duration::from_secs(seconds)).await;
}

#[test]
fn remembered_and_asked_again() {
    World::new(1).run(async {
        let (answers, asked, _) = counted();
        assert_eq!(answers.get(&1).await, Ok(1));
        pass(59).await;
        assert_eq!((answers.get(&1).await, asked.load(Relaxed)), (Ok(1), 1));
        pass(2).await;
        // The old answer serves, and a new one is fetched.
        assert_eq!((answers.get(&1).await, asked.load(Relaxed)), (Ok(1), 2));
        assert_eq!((answers.get(&1).await, asked.load(Relaxed)), (Ok(2), 2));
        pass(121).await;
        assert_eq!(answers.get(&1).await, Ok(3), "too old to serve meanwhile");
        assert_eq!(answers.get(&2).await, Ok(4), "another key");
    });
}

#[test]
fn old_answers_bridge_an_outage_of_an_hour() {
    World::new(1).run(async {
        let (answers, asked, away) = counted();
        away.store(1, Relaxed);
        assert_eq!(answers.get(&1).await, Err(Error::Busy));
        assert_eq!((answers.get(&1).await, asked.load(Relaxed)), (Err(Error::Busy), 1), "not yet");
        away.store(0, Relaxed);
        pass(11).await;
        assert_eq!(answers.get(&1).await, Ok(2));
        away.store(1, Relaxed);
        for minute in 1..60 {
            pass(60).await;
            assert_eq!(answers.get(&1).await, Ok(2), "minute {minute}");
        }
        pass(70).await;
        assert_eq!(answers.get(&1).await, Err(Error::Busy), "an hour is over");
        away.store(0, Relaxed);
        pass(11).await;
        assert!(answers.get(&1).await.is_ok());
    });
}

#[test]
fn no_more_is_kept_than_there_is_room_for() {
    World::new(1).run(async {
        let (answers, asked, _) = counted();
        let keys = u32::try_from(KEYS_MAX).unwrap();
        for key in 0..keys + 10 {
            answers.get(&key).await.unwrap();
            pass(u64::from(key < 20)).await;
        }
        assert_eq!(answers.0.lock().known.len(), KEYS_MAX);
        let before = asked.load(Relaxed);
        answers.get(&(keys + 9)).await.unwrap();
        assert_eq!(asked.load(Relaxed), before, "the newest is there");
        answers.get(&0).await.unwrap();
        assert_eq!(asked.load(Relaxed), before + 1, "the oldest is not");
    });
}

/// All wait for a database that hangs: few threads, each key asked once, and all are answered.
#[test]
fn many_who_wait_cost_few_threads() {
    let (gate, asked) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
    let ask = {
        let (gate, asked) = (gate.clone(), asked.clone());
        move |key: &usize| {
            asked.fetch_add(1, Relaxed);
            drop(gate.lock());
            Ok(*key)
        }
    };
    let answers = Answers::new("test", GOOD, ask);
    let hang = gate.lock().unwrap();
    let threads: Vec<_> = (0..40)
        .map(|n| {
            let answers = answers.clone();
            let wait = move || assert_eq!(thread::wait(answers.get(&(n % 20))), Ok(n % 20));
            thread::spawn("waiter", None, wait).unwrap()
        })
        .collect();
    while answers.0.lock().known.values().map(|known| known.waiters.len()).sum::<usize>() < 40 {
        std::thread::yield_now();
    }
    while asked.load(Relaxed) < THREADS_MAX {
        std::thread::yield_now();
    }
    assert_eq!(asked.load(Relaxed), THREADS_MAX);
    drop(hang);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(asked.load(Relaxed), 20);
}
