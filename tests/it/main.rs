//! One binary for every test that crosses rooms. README.md says which keeps which promise.
#![expect(clippy::disallowed_methods, reason = "tests block, sleep and look at the clock")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "what a failed test has to say")]

mod bounds;
mod crash;
mod disk;
mod encryption;
mod exports;
mod flips;
mod fsck;
mod garbage;
mod kernel;
mod locks;
mod outage;
mod packs;
mod power;
mod property;
mod protocol;
mod rebuild;
mod remote;
mod stop;
mod stores;
mod warm;
mod wire;
