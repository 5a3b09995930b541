//! Pinned reactors: start, tasks, timers, graceful stop.

use std::{future::Future, time::Duration};

use crate::mailbox::Remote;

/// Which reactors to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The core of each reactor, in order; `None` leaves it to the scheduler.
    pub cores: Vec<Option<usize>>,
}

/// The running reactors.
#[derive(Debug)]
pub struct Reactors {}

impl Reactors {
    /// Starts one thread and one ring for each core.
    ///
    /// # Errors
    /// The kernel's, when it gives no ring or no thread.
    pub fn start(config: &Config) -> std::io::Result<Self> {
        let _ = config;
        todo!()
    }

    /// All of them, in order.
    #[must_use]
    pub fn remotes(&self) -> &[Remote] {
        todo!()
    }

    /// Ends the threads once their mailboxes are drained. The caller has stopped what runs there.
    pub fn stop(self) {
        todo!()
    }
}

/// The reactor of the calling thread, if it is one.
#[must_use]
pub fn current() -> Option<Remote> {
    todo!()
}

/// Runs a task on this reactor.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    let _ = task;
    todo!()
}

/// Waits on this reactor.
pub async fn sleep(duration: Duration) {
    let _ = duration;
    todo!()
}

/// The future's value, or `None` once the time is up; the future is then dropped.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    let _ = (duration, future);
    todo!()
}
