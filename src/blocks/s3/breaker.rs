//! Says at once that a service is away, instead of letting every call find out for itself.
//!
//! Invariants: it opens only when several calls failed and none was answered for a while; while it
//! is open, one small probe at a time asks the service, and its first answer closes it. An error
//! that the service gives on purpose is an answer; throttling and errors of its own are none.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use crate::StoreError;

/// So many attempts fail in a row,
const FAILURES_MIN: u32 = 5;
/// over so long, before a service counts as away.
const SILENCE_MIN: Duration = Duration::from_secs(5);
/// The pause between two probes.
const PROBE_PAUSE: Duration = Duration::from_millis(500);
/// For the answer to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// One for a service.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Since the last answer.
    failures: u32,
    /// When the first of them began.
    since: Option<Instant>,
    answered: Option<Instant>,
    /// Why it is open, and when the next probe may go.
    open: Option<(String, Instant)>,
}

impl Breaker {
    /// Lets a call through, if need be after a probe.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) async fn admit<T, F>(&self, probe: impl FnOnce() -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let away = |why: &str| Err(StoreError::Unavailable(format!("away: {why}")));
        {
            let mut state = self.lock();
            let Some((why, next)) = &mut state.open else { return Ok(()) };
            let now = Instant::now();
            if now < *next {
                return away(why);
            }
            // Nobody else probes meanwhile.
            *next = now + PROBE_TIMEOUT + PROBE_PAUSE;
        }
        let why = match timeout(PROBE_TIMEOUT, probe()).await {
            Ok(Err(StoreError::Unavailable(why))) => why,
            Err(_) => format!("no answer in {PROBE_TIMEOUT:?}"),
            Ok(_) => {
                self.answered();
                return Ok(());
            }
        };
        if let Some(open) = &mut self.lock().open {
            *open = (why.clone(), Instant::now() + PROBE_PAUSE);
        }
        away(&why)
    }

    /// The service gave an answer.
    pub(super) fn answered(&self) {
        let was_open = {
            let mut state = self.lock();
            let answered = Some(Instant::now());
            std::mem::replace(&mut *state, State { answered, ..State::default() }).open.is_some()
        };
        if was_open {
            trace::info!("the content store answers again");
        }
    }

    /// An attempt that began then was not answered. Whether it is open now.
    pub(super) fn failed(&self, began: Instant, why: &str) -> bool {
        let mut state = self.lock();
        if state.open.is_some() {
            return true;
        }
        state.failures += 1;
        let first = state.since.map_or(began, |since| since.min(began));
        // What began before the last answer says nothing of the time before it.
        let since = state.answered.map_or(first, |answered| first.max(answered));
        state.since = Some(since);
        if state.failures < FAILURES_MIN || since.elapsed() < SILENCE_MIN {
            return false;
        }
        trace::warn!(why, "the content store is away: it is asked with small probes from now on");
        state.open = Some((why.to_owned(), Instant::now() + PROBE_PAUSE));
        true
    }

    /// Whether calls are turned away.
    pub(super) fn is_open(&self) -> bool {
        self.lock().open.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn unavailable<T>() -> Result<T, StoreError> {
        Err(StoreError::Unavailable("told to be".into()))
    }

    /// So many failures, one each second; whether it is open after each.
    async fn fail(breaker: &Breaker, count: u32) -> Vec<bool> {
        let mut open = Vec::new();
        for _ in 0..count {
            let began = Instant::now();
            sleep(S).await;
            open.push(breaker.failed(began, "x"));
        }
        open
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_several_failures_over_a_while_and_closes_with_an_answer() {
        let breaker = Breaker::default();
        assert_eq!(fail(&breaker, 5).await, [false, false, false, false, true]);
        let turned_away = breaker.admit(|| async { unreachable!("too soon") as Result<(), _> });
        assert!(matches!(turned_away.await, Err(StoreError::Unavailable(_))));
        sleep(S).await;
        let probe = || async { unavailable::<()>() };
        assert!(breaker.admit(probe).await.is_err());
        sleep(S).await;
        // A refusal is an answer.
        let probe = || async { Err::<(), _>(StoreError::NotFound) };
        assert_eq!(breaker.admit(probe).await, Ok(()));
        assert!(!breaker.is_open());
        assert_eq!(fail(&breaker, 3).await, [false; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_answers_now_and_then_is_not_away() {
        let breaker = Breaker::default();
        for _ in 0..50 {
            assert_eq!(fail(&breaker, 4).await, [false; 4]);
            breaker.answered();
        }
        // Many failures at once are no long silence.
        breaker.answered();
        for _ in 0..100 {
            assert!(!breaker.failed(Instant::now(), "x"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_and_a_hanging_one_ends() {
        let breaker = Breaker::default();
        fail(&breaker, 5).await;
        sleep(S).await;
        let hang = breaker.admit(std::future::pending::<Result<(), StoreError>>);
        let other = async {
            sleep(S).await;
            breaker.admit(|| async { unreachable!("one at a time") as Result<(), _> }).await
        };
        let began = Instant::now();
        let (hung, turned_away) = tokio::join!(hang, other);
        assert!(hung.is_err() && turned_away.is_err());
        assert_eq!(began.elapsed(), PROBE_TIMEOUT);
    }
}
