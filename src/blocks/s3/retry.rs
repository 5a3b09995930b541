//! Attempts, timeouts, and pauses with full jitter, within a deadline.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reactor::rng::{Rng, random_u64};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{StoreError, s3::breaker::Breaker};

/// The longest pause after the first attempt; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause of all.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How often and how long to try.
#[derive(Debug)]
pub(super) struct Retry {
    attempt_timeout: Duration,
    operation_timeout: Duration,
    rng: Mutex<Rng>,
    pub(super) breaker: Breaker,
}

impl Retry {
    pub(super) fn new(attempt_timeout: Duration, operation_timeout: Duration) -> Self {
        let rng = Mutex::new(Rng::from_seed(random_u64()));
        Self { attempt_timeout, operation_timeout, rng, breaker: Breaker::default() }
    }

    /// Attempts until one ends other than `Unavailable`, the breaker opens, or the deadline passes.
    pub(super) async fn run<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let deadline = Instant::now() + self.operation_timeout;
        let mut last = "no attempt ended in time".to_owned();
        let attempts = async {
            let mut pause_max = PAUSE_FIRST;
            loop {
                let began = Instant::now();
                match timeout(self.attempt_timeout, attempt()).await {
                    Ok(Err(StoreError::Unavailable(why))) => last = why,
                    Ok(done) => {
                        self.breaker.answered();
                        return done;
                    }
                    Err(_) => last = format!("no answer in {:?}", self.attempt_timeout),
                }
                if self.breaker.failed(began, &last) {
                    return Err(StoreError::Unavailable(last.clone()));
                }
                sleep(self.jitter(pause_max)).await;
                if self.breaker.is_open() {
                    return Err(StoreError::Unavailable(last.clone()));
                }
                pause_max = PAUSE_MAX.min(pause_max * 2);
            }
        };
        let done = timeout_at(deadline, attempts).await;
        done.unwrap_or_else(|_| Err(StoreError::Unavailable(last)))
    }

    pub(super) fn random(&self) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    /// Anything up to the longest pause, so that many that failed together do not return together.
    fn jitter(&self, pause_max: Duration) -> Duration {
        pause_max.mul_f64((self.random() >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn retry() -> Retry {
        Retry::new(Duration::from_secs(2), Duration::from_secs(30))
    }

    fn away() -> StoreError {
        StoreError::Unavailable("away".into())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unavailable_is_tried_until_it_counts_as_away() {
        let (start, tries, retry) = (Instant::now(), AtomicU32::new(0), retry());
        let attempt = || async {
            tries.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(away())
        };
        assert_eq!(retry.run(attempt).await, Err(away()));
        assert!((5..9).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        // Pauses reach two seconds: never a storm, never a standstill.
        let tries = tries.into_inner();
        assert!((6..40).contains(&tries), "{tries}");
        assert!(retry.breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_given_up_and_tried_again() {
        let tries = AtomicU32::new(0);
        let attempt = || async {
            if tries.fetch_add(1, Ordering::Relaxed) < 3 {
                std::future::pending::<()>().await;
            }
            Ok(7)
        };
        assert_eq!(retry().run(attempt).await, Ok(7));
        assert_eq!(tries.into_inner(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_another_attempt_is_told_when_the_breaker_opens() {
        let retry = retry();
        let hang = || async { std::future::pending::<Result<(), StoreError>>().await };
        let began = Instant::now();
        let calls = (0..6).map(|_| retry.run(hang));
        let done = futures_util::future::join_all(calls).await;
        assert!(done.iter().all(Result::is_err));
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn other_errors_are_final() {
        let tries = AtomicU32::new(0);
        let attempt = || async {
            tries.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(StoreError::NotFound)
        };
        assert_eq!(retry().run(attempt).await, Err(StoreError::NotFound));
        assert_eq!(tries.into_inner(), 1);
    }
}
