//! The only source of time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use vocab::Time;

use crate::local::{self, Local};

/// The time of day. May jump.
#[must_use]
pub fn wall() -> Time {
    if let Some(Local::World(core)) = local::get().as_deref() {
        return core.wall();
    }
    let now = clock_gettime(ClockId::Realtime);
    Time { seconds: now.tv_sec, nanos: u32::try_from(now.tv_nsec).expect("below 10^9") }
}

/// Time since some fixed point. Never goes back; the same on all threads.
#[must_use]
pub fn monotonic() -> Duration {
    if let Some(Local::World(core)) = local::get().as_deref() {
        return core.now();
    }
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(
        u64::try_from(now.tv_sec).expect("not before boot"),
        u32::try_from(now.tv_nsec).expect("below 10^9"),
    )
}
