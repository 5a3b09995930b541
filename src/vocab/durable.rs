//! Evidence of how far written bytes have travelled, in two grades.
//!
//! A reply that is a promise takes its evidence by value, so it can be built neither on hope nor
//! on what an earlier sync proved. Search for `Durable` to see every promise, and for `attest` to
//! see every place that can make one true; `cargo x tidy` pins the second list.

use crate::Verifier;

/// In the log's file (page cache): survives a killed process, not a power cut.
#[derive(Debug)]
#[must_use = "a write that nobody is told about is wasted work"]
pub struct Logged(Verifier);

/// How far the bytes of a `Durable` have travelled, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Survives a power cut.
    Local,
    /// Survives the loss of a machine.
    Quorum,
    /// Survives the loss of a site.
    Remote,
}

/// As safe as the share asks: through a power cut, the loss of a machine, or the loss of a site.
#[derive(Debug)]
#[must_use = "a sync that nobody is told about is wasted work"]
pub struct Durable {
    verifier: Verifier,
    grade: Grade,
}

impl Logged {
    /// Call only after the bytes are in the log's file.
    pub fn attest(verifier: Verifier) -> Self {
        Self(verifier)
    }

    /// The life of the log that holds the bytes.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.0
    }
}

impl Durable {
    /// Call only after the log is synced, a quorum has answered, or the transaction or the remote
    /// checkpoint is through.
    pub fn attest(verifier: Verifier, grade: Grade) -> Self {
        Self { verifier, grade }
    }

    /// The life of the log that took the bytes.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.verifier
    }

    /// How far the bytes have travelled.
    #[must_use]
    pub fn grade(&self) -> Grade {
        self.grade
    }
}
