//! The only source of time.

use std::time::Duration;

use vocab::Time;

/// The time of day. May jump.
#[must_use]
pub fn wall() -> Time {
    todo!()
}

/// Time since some fixed point. Never goes back; the same on all threads.
#[must_use]
pub fn monotonic() -> Duration {
    todo!()
}
