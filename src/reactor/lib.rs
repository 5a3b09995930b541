//! The machine: pinned io_uring reactors, listeners, mailboxes, files, timers, clock, randomness.
//!
//! Absent: what the bytes mean. No file system, no protocol, no policy.
//!
//! Two drivers stand behind the same functions: the real one (a thread, a ring) and the simulated
//! one ([`sim`]: one thread, virtual time, a disk that loses what was not synced). Which one
//! answers is decided by the calling thread, so no caller knows.
//!
//! monoio 0.2.4 is named in this room only. What must not be used of it, and why (`.clippy.toml`
//! bans what can be named there):
//! * `write_vectored_all` and `read_vectored_exact` corrupt data on short transfers: [`net`]
//!   resumes by itself over its own buffer type.
//! * `JoinHandle` across threads and `spawn_blocking` may use freed memory: [`thread`] and
//!   [`mailbox`] stand in. Its `Waker` must never leave its thread: [`oneshot`] keeps it home.
//! * A task that wakes itself starves timers and I/O: there is no `yield_now`.
//! * A cancelled accept leaks the accepted descriptor: [`net`] polls for readiness and then calls
//!   `accept4` itself.
//! * `BufWriter` overruns its buffer; dropping an `OwnedWriteHalf` shuts the socket down.
//! * A timer wakes only the task that polled it first: [`sleep`] arms it anew for another.
//! * A socket dropped outside the runtime panics: [`runtime`] ends the sockets before the ring.

pub mod clock;
pub mod file;
mod local;
pub mod mailbox;
pub mod names;
pub mod net;
pub mod oneshot;
pub mod rng;
pub mod runtime;
pub mod sim;
mod sys;
pub mod thread;
pub mod udp;
pub mod views;
pub mod whole;

#[cfg(test)]
mod tests;

pub use runtime::{current, sleep, spawn, timeout};

/// The name of this machine.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
