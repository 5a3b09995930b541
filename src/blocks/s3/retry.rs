//! Attempts, timeouts, and pauses with full jitter, within a deadline.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reactor::rng::{Rng, random_u64};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::StoreError;

/// The longest pause after the first attempt; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause of all.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often and how long to try.
#[derive(Debug)]
pub(super) struct Retry {
    attempt_timeout: Duration,
    operation_timeout: Duration,
    rng: Mutex<Rng>,
}

impl Retry {
    pub(super) fn new(attempt_timeout: Duration, operation_timeout: Duration) -> Self {
        Self { attempt_timeout, operation_timeout, rng: Mutex::new(Rng::from_seed(random_u64())) }
    }

    /// Attempts until one ends other than `Unavailable`, or the deadline passes.
    pub(super) async fn run<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let deadline = Instant::now() + self.operation_timeout;
        let mut last = "no attempt ended in time".to_owned();
        let attempts = async {
            let mut pause_max = PAUSE_FIRST;
            loop {
                match timeout(self.attempt_timeout, attempt()).await {
                    Ok(Err(StoreError::Unavailable(why))) => last = why,
                    Ok(done) => return done,
                    Err(_) => last = format!("no answer in {:?}", self.attempt_timeout),
                }
                sleep(self.jitter(pause_max)).await;
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
    async fn what_is_unavailable_is_tried_until_the_deadline() {
        let (start, tries) = (Instant::now(), AtomicU32::new(0));
        let attempt = || async {
            tries.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(away())
        };
        assert_eq!(retry().run(attempt).await, Err(away()));
        assert_eq!(start.elapsed().as_secs(), 30);
        // Pauses reach five seconds: never a storm, never a standstill.
        let tries = tries.into_inner();
        assert!((8..60).contains(&tries), "{tries}");
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
