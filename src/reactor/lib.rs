//! The machine: pinned io_uring reactors, listeners, mailboxes, files, timers, clock, randomness.
//!
//! Absent: what the bytes mean. No file system, no protocol, no policy.

pub mod clock;
pub mod file;
pub mod mailbox;
pub mod net;
pub mod oneshot;
pub mod rng;
pub mod runtime;
pub mod thread;

pub use runtime::{current, sleep, spawn, timeout};
