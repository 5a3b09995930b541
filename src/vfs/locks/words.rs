//! The nouns of the lock table: clients, owners, ranges, modes, requests, and what comes of them.

use std::sync::Arc;

use vocab::FileId;

/// Whose end frees all its locks at once: a client machine, a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// The protocol that names it, so that two protocols never mean the same client by accident.
    pub realm: &'static str,
    /// Its name there.
    pub name: Arc<[u8]>,
}

/// Who holds a lock: a process, an open file. Opaque here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Its client.
    pub client: Client,
    /// Its name among that client's owners.
    pub key: Arc<[u8]>,
}

/// Bytes, both ends included; the last may be `u64::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// How a range is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Others may share it.
    Shared,
    /// Nobody else may have any lock there.
    Exclusive,
}

/// A lock that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// On which file.
    pub file: FileId,
    /// By whom.
    pub owner: Owner,
    /// On which bytes.
    pub range: Range,
    /// How.
    pub mode: Mode,
    /// It was held before the server restarted.
    pub is_reclaim: bool,
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// By whom.
    pub owner: Owner,
    /// On which bytes.
    pub range: Range,
    /// How.
    pub mode: Mode,
}

/// What an open file lets its owner and others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Share {
    /// The owner reads.
    pub reads: bool,
    /// The owner writes.
    pub writes: bool,
    /// Others may not read.
    pub denies_reads: bool,
    /// Others may not write.
    pub denies_writes: bool,
}

/// Why there is no lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Others hold what is in the way.
    Conflict,
    /// Waiting for it would never end.
    Deadlock,
    /// The client, or all together, have as many locks or waits as they may.
    NoRoom,
    /// Only locks from before the restart may be taken now, or no longer.
    Grace,
}

/// Names a wait. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub(super) u64);

/// How a wait ended, other than by [`Table::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The lock is held now.
    Granted,
    /// Another lock of its owner made it a deadlock.
    Deadlock,
    /// Its owner or client was freed.
    Freed,
}

/// Most of each.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Locks and shares of one client.
    pub client_locks_max: usize,
    /// Waits of one client.
    pub client_waits_max: usize,
    /// Locks and shares of all.
    pub locks_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { client_locks_max: 8192, client_waits_max: 512, locks_max: 262_144 }
    }
}

impl Range {
    /// Every byte.
    pub const ALL: Self = Self { first: 0, last: u64::MAX };

    /// So many bytes from an offset; 0, or more than there can be: all that follow.
    #[must_use]
    pub fn new(offset: u64, len: u64) -> Self {
        let last = len.checked_sub(1).map_or(u64::MAX, |more| offset.saturating_add(more));
        Self { first: offset, last }
    }

    /// The first byte.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.first
    }

    /// How many bytes; 0: all that follow.
    #[must_use]
    pub fn len(&self) -> u64 {
        if self.last == u64::MAX { 0 } else { self.last - self.first + 1 }
    }

    /// Never: a range has a byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether all of another is in it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// They overlap, or one begins where the other ends.
    pub(super) fn touches(&self, other: &Self) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }
}

impl Request {
    /// Whether it cannot be had while somebody else has, or is to have, the other.
    pub(super) fn conflicts(&self, owner: &Owner, range: &Range, mode: Mode) -> bool {
        let exclusive = self.mode == Mode::Exclusive || mode == Mode::Exclusive;
        exclusive && self.range.overlaps(range) && self.owner != *owner
    }
}

impl Share {
    pub(super) fn conflicts(&self, other: &Self) -> bool {
        let keeps_out = |one: &Self, other: &Self| {
            one.denies_reads && other.reads || one.denies_writes && other.writes
        };
        keeps_out(self, other) || keeps_out(other, self)
    }
}
