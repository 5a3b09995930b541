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
    /// Survives a killed process, not a power cut.
    Writeback,
    /// Survives a power cut.
    Local,
    /// Survives the loss of a machine.
    Quorum,
    /// Survives the loss of a site.
    Remote,
}

impl Grade {
    /// All, least first.
    pub const ALL: [Self; 4] = [Self::Writeback, Self::Local, Self::Quorum, Self::Remote];

    /// What operators call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Writeback => "writeback",
            Self::Local => "local",
            Self::Quorum => "quorum",
            Self::Remote => "remote",
        }
    }
}

/// As safe as the share asks: through a killed process, a power cut, the loss of a machine, or the
/// loss of a site.
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
    /// Call only after the log is written or synced as the grade says, a quorum has answered, or
    /// the transaction or the remote checkpoint is through.
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
