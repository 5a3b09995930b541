//! Answers of slow databases: asked on threads of their own, once for all who wait, and remembered.
//!
//! Invariant: at most `THREADS_MAX` threads ask, so that a database that hangs costs no more, and
//! at most `KEYS_MAX` answers are kept. An answer is good for a while; after that it is asked for
//! again, and for as long once more the old one serves meanwhile, so that nobody notices. While the
//! database is away the old answer serves on for an hour.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reactor::{clock, oneshot, thread};
use trace::warn;
use vocab::Error;

/// Threads that ask at a time.
const THREADS_MAX: usize = 4;
/// Answers kept; strangers may ask for many.
const KEYS_MAX: usize = 4096;
/// How long an answer serves while nobody gives a newer one.
const OLD_MAX: Duration = Duration::from_secs(3600);
/// How soon a database that was away is asked again.
const RETRY: Duration = Duration::from_secs(10);

/// The database does not answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Away;

/// What is known of one database. Cloning shares it; usable from any reactor.
pub(crate) struct Answers<K, V>(Arc<Inner<K, V>>);

/// Blocks until the database has answered.
type Ask<K, V> = dyn Fn(&K) -> Result<V, Away> + Send + Sync;

struct Inner<K, V> {
    /// For the thread's name.
    name: &'static str,
    good: Duration,
    ask: Box<Ask<K, V>>,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    known: BTreeMap<K, Known<V>>,
    /// Questions that wait for a thread.
    queue: VecDeque<K>,
    threads: usize,
}

struct Known<V> {
    /// The last answer, and since when.
    answer: Option<(Duration, V)>,
    /// Asked, or in the queue.
    is_asked: bool,
    /// The database was away when it was asked last: it is not asked again before.
    away_until: Option<Duration>,
    waiters: Vec<oneshot::Sender<Option<V>>>,
}

impl<K, V> Clone for Answers<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> fmt::Debug for Answers<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answers({})", self.0.name)
    }
}

impl<K, V> Answers<K, V>
where
    K: Clone + Ord + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Of a database that `ask` asks, and blocks meanwhile.
    pub(crate) fn new(
        name: &'static str,
        good: Duration,
        ask: impl Fn(&K) -> Result<V, Away> + Send + Sync + 'static,
    ) -> Self {
        let state = State { known: BTreeMap::new(), queue: VecDeque::new(), threads: 0 };
        Self(Arc::new(Inner { name, good, ask: Box::new(ask), state: Mutex::new(state) }))
    }

    /// The answer for a key.
    ///
    /// # Errors
    /// `Busy`, when there is none and the database is away.
    pub(crate) async fn get(&self, key: &K) -> Result<V, Error> {
        let now = clock::monotonic();
        let waiting = {
            let mut state = self.0.lock();
            if !state.make_room(key) {
                return Err(Error::Busy);
            }
            let known = state.known.entry(key.clone()).or_insert_with(Known::new);
            let good = self.0.good;
            if let Some(answer) = known.younger(now, good) {
                return Ok(answer);
            }
            let age_max = if known.away_until.is_some() { OLD_MAX } else { good.saturating_mul(2) };
            let usable = known.younger(now, age_max);
            let must_ask = !known.is_asked && known.away_until.is_none_or(|until| until <= now);
            let waiting = match usable {
                Some(answer) => Err(answer),
                None if !must_ask && !known.is_asked => return Err(Error::Busy),
                None => {
                    let (sender, receiver) = oneshot::channel();
                    known.waiters.push(sender);
                    Ok(receiver)
                }
            };
            if must_ask {
                known.is_asked = true;
                state.queue.push_back(key.clone());
            }
            waiting
        };
        self.work();
        match waiting {
            Err(old) => Ok(old),
            Ok(receiver) => receiver.await.ok().flatten().ok_or(Error::Busy),
        }
    }

    /// Sees to it that a thread takes what is in the queue.
    fn work(&self) {
        {
            let mut state = self.0.lock();
            if state.queue.is_empty() || state.threads == THREADS_MAX {
                return;
            }
            state.threads += 1;
        }
        let inner = Arc::clone(&self.0);
        if let Err(error) = thread::offload(self.0.name, move || inner.run()) {
            warn!("no thread to ask {}: {error}", self.0.name);
            let mut state = self.0.lock();
            state.threads -= 1;
            let queue = std::mem::take(&mut state.queue);
            for key in queue {
                state.answered(&key, Err(Away), clock::monotonic());
            }
        }
    }
}

impl<K: Ord + Clone, V: Clone + Send> Inner<K, V> {
    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On a thread of its own: asks until nothing is left to ask.
    fn run(&self) {
        loop {
            let key = {
                let mut state = self.lock();
                match state.queue.pop_front() {
                    Some(key) => key,
                    None => {
                        state.threads -= 1;
                        return;
                    }
                }
            };
            let answer = (self.ask)(&key);
            self.lock().answered(&key, answer, clock::monotonic());
        }
    }
}

impl<K: Ord + Clone, V: Clone + Send> State<K, V> {
    fn answered(&mut self, key: &K, answer: Result<V, Away>, now: Duration) {
        let known = self.known.get_mut(key).expect("what is asked is kept");
        known.is_asked = false;
        match answer {
            Ok(answer) => (known.answer, known.away_until) = (Some((now, answer)), None),
            Err(Away) => known.away_until = Some(now + RETRY),
        }
        let answer = known.younger(now, OLD_MAX);
        known.waiters.drain(..).for_each(|waiter| waiter.send(answer.clone()));
    }

    /// Forgets the oldest answer when there is no room for a new key. What is being asked stays;
    /// false: that is all there is.
    fn make_room(&mut self, key: &K) -> bool {
        if self.known.len() < KEYS_MAX || self.known.contains_key(key) {
            return true;
        }
        let idle = self.known.iter().filter(|(_, known)| !known.is_asked);
        let at = |known: &Known<V>| known.answer.as_ref().map(|(at, _)| *at);
        let oldest = idle.min_by_key(|(_, known)| at(known)).map(|(key, _)| key.clone());
        oldest.is_some_and(|oldest| self.known.remove(&oldest).is_some())
    }
}

impl<V: Clone> Known<V> {
    fn new() -> Self {
        Self { answer: None, is_asked: false, away_until: None, waiters: Vec::new() }
    }

    /// The answer, unless it is as old as that.
    fn younger(&self, now: Duration, age_max: Duration) -> Option<V> {
        let (at, answer) = self.answer.as_ref()?;
        (now.saturating_sub(*at) < age_max).then(|| answer.clone())
    }
}

#[cfg(test)]
mod tests;
