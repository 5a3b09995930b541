//! Counters, kept by each reactor on its own and summed when somebody asks.
//!
//! Invariant: only its reactor writes a counter, so a load and a store do, and no cache line is
//! fought for.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use vocab::{ShareId, StoreId};

use crate::wire::{
    mount, nlm, nsm, portmap,
    v3::{self, Status},
};

/// Where the procedures of each program begin; those of NFS come first.
pub(crate) const MOUNT: usize = v3::Procedure::ALL.len();
pub(crate) const PORTMAP: usize = MOUNT + mount::Procedure::ALL.len();
pub(crate) const NLM: usize = PORTMAP + portmap::Procedure::ALL.len();
pub(crate) const NSM: usize = NLM + nlm::Procedure::ALL.len();
/// Procedures of all programs.
pub(crate) const PROCEDURES: usize = NSM + nsm::Procedure::ALL.len();
const CLASSES: usize = Class::ALL.len();
/// Latency buckets below the last.
pub const BUCKETS: usize = 20;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Done.
    Ok,
    /// The caller's doing: no such name, no permission, a stale handle.
    Refused,
    /// Not now: the client asks again (JUKEBOX).
    Busy,
    /// The server's doing: the disk, the store, no space.
    Failed,
    /// Arguments that make no sense.
    Garbage,
}

impl Class {
    /// All, in order.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Refused, Self::Busy, Self::Failed, Self::Garbage];

    /// For a label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Garbage => "garbage",
        }
    }

    pub(crate) fn of(status: Status) -> Self {
        match status {
            Status::JukeBox => Self::Busy,
            Status::Io | Status::NoSpc => Self::Failed,
            Status::Perm
            | Status::NoEnt
            | Status::Access
            | Status::Exist
            | Status::XDev
            | Status::NotDir
            | Status::IsDir
            | Status::Inval
            | Status::FBig
            | Status::RoFs
            | Status::MLink
            | Status::NameTooLong
            | Status::NotEmpty
            | Status::DQuot
            | Status::Stale
            | Status::BadHandle
            | Status::NotSync
            | Status::BadCookie
            | Status::NotSupp
            | Status::TooSmall
            | Status::BadType => Self::Refused,
        }
    }
}

/// The counters of a server at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Requests that ended, by procedure, share and class; those never counted are left out.
    pub requests: Vec<Requests>,
    /// How long requests took, by procedure; those never called are left out.
    pub latencies: Vec<Latency>,
    /// Requests under way.
    pub in_flight: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Connections open.
    pub connections_active: u64,
    /// Connections ever opened.
    pub connections_accepted: u64,
    /// Connections that ended.
    pub connections_closed: u64,
    /// Connections cut at the deadline of a stop. Also counted as closed.
    pub connections_forced: u64,
    /// Connections turned away because there were too many.
    pub connections_refused: u64,
    /// Calls answered again by the duplicate-request cache.
    pub duplicates: u64,
    /// Byte ranges and files that clients have locked.
    pub locks_held: u64,
    /// Locks that clients wait for.
    pub locks_waiting: u64,
}

/// Requests of one procedure, share and class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// For example `GETATTR`.
    pub procedure: &'static str,
    /// The share's name; empty when the request named none.
    pub share: Arc<str>,
    /// How they ended.
    pub class: Class,
    /// How many.
    pub count: u64,
}

/// How long the requests of one procedure took, from arrival to reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// For example `GETATTR`.
    pub procedure: &'static str,
    /// Requests up to [`bucket_bound`] of each index and above the one before; last, the rest.
    pub buckets: [u64; BUCKETS + 1],
    /// Their sum.
    pub sum: Duration,
}

/// The upper bound of a latency bucket: 16 µs times a power of two, up to 8 s.
#[must_use]
pub fn bucket_bound(index: usize) -> Duration {
    assert!(index < BUCKETS, "the last bucket has no bound");
    Duration::from_micros(16 << index)
}

fn bucket(elapsed: Duration) -> usize {
    (0..BUCKETS).find(|&index| elapsed <= bucket_bound(index)).unwrap_or(BUCKETS)
}

/// What every request adds to.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct PerReactor {
    latencies: [[AtomicU64; BUCKETS + 1]; PROCEDURES],
    latency_nanos: [AtomicU64; PROCEDURES],
    in_flight: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    accepted: AtomicU64,
    closed: AtomicU64,
    forced: AtomicU64,
    refused: AtomicU64,
    duplicates: AtomicU64,
    /// Locked when a share is first seen, and by a snapshot.
    shares: Mutex<Vec<Arc<PerShare>>>,
}

/// What identifies a share among all stores.
pub(crate) type ShareKey = (StoreId, ShareId);

/// What every request of one share adds to.
#[derive(Debug)]
pub(crate) struct PerShare {
    pub(crate) key: Option<ShareKey>,
    name: Arc<str>,
    requests: [[AtomicU64; CLASSES]; PROCEDURES],
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

fn zeroes<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

impl PerReactor {
    pub(crate) fn new() -> Self {
        Self {
            latencies: std::array::from_fn(|_| zeroes()),
            latency_nanos: zeroes(),
            in_flight: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            forced: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            shares: Mutex::default(),
        }
    }

    pub(crate) fn entered(&self) {
        add(&self.in_flight, 1);
    }

    pub(crate) fn left(&self) {
        add(&self.in_flight, 1u64.wrapping_neg());
    }

    pub(crate) fn received(&self, bytes: usize) {
        add(&self.bytes_in, bytes as u64);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        add(&self.bytes_out, bytes as u64);
    }

    pub(crate) fn accepted(&self) {
        add(&self.accepted, 1);
    }

    pub(crate) fn closed(&self) {
        add(&self.closed, 1);
    }

    pub(crate) fn forced(&self) {
        add(&self.forced, 1);
    }

    pub(crate) fn refused(&self) {
        add(&self.refused, 1);
    }

    pub(crate) fn duplicate(&self) {
        add(&self.duplicates, 1);
    }

    /// A request ended. `procedure` is below [`PROCEDURES`].
    pub(crate) fn ended(&self, procedure: usize, share: &PerShare, class: Class, took: Duration) {
        add(&share.requests[procedure][class as usize], 1);
        add(&self.latencies[procedure][bucket(took)], 1);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&self.latency_nanos[procedure], nanos);
    }

    /// Begins to count a share; the reactor keeps what it gets.
    pub(crate) fn share(&self, key: Option<ShareKey>, name: Arc<str>) -> Arc<PerShare> {
        let requests = std::array::from_fn(|_| zeroes());
        let share = Arc::new(PerShare { key, name, requests });
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).push(share.clone());
        share
    }
}

/// Sums the reactors.
pub(crate) fn snapshot<'a>(
    reactors: impl Iterator<Item = &'a Arc<PerReactor>>,
    (locks_held, locks_waiting): (usize, usize),
) -> Snapshot {
    let reactors: &[_] = &reactors.collect::<Vec<_>>();
    let sum = |counter: fn(&PerReactor) -> &AtomicU64| {
        reactors.iter().fold(0u64, |sum, one| sum.wrapping_add(counter(one).load(Relaxed)))
    };
    let (accepted, closed) = (sum(|one| &one.accepted), sum(|one| &one.closed));
    Snapshot {
        requests: requests(reactors),
        latencies: latencies(reactors),
        in_flight: sum(|one| &one.in_flight),
        bytes_in: sum(|one| &one.bytes_in),
        bytes_out: sum(|one| &one.bytes_out),
        connections_active: accepted.saturating_sub(closed),
        connections_accepted: accepted,
        connections_closed: closed,
        connections_forced: sum(|one| &one.forced),
        connections_refused: sum(|one| &one.refused),
        duplicates: sum(|one| &one.duplicates),
        locks_held: locks_held as u64,
        locks_waiting: locks_waiting as u64,
    }
}

fn procedure_names() -> impl Iterator<Item = (usize, &'static str)> {
    let nfs = v3::Procedure::ALL.iter().map(|(_, name)| *name);
    let mount = mount::Procedure::ALL.iter().map(|(_, name)| *name);
    let portmap = portmap::Procedure::ALL.iter().map(|(_, name)| *name);
    let nlm = nlm::Procedure::ALL.iter().map(|(_, name)| *name);
    let nsm = nsm::Procedure::ALL.iter().map(|(_, name)| *name);
    nfs.chain(mount).chain(portmap).chain(nlm).chain(nsm).enumerate()
}

fn requests(reactors: &[&Arc<PerReactor>]) -> Vec<Requests> {
    let mut all: Vec<Requests> = Vec::new();
    for reactor in reactors {
        let shares = reactor.shares.lock().unwrap_or_else(PoisonError::into_inner);
        for share in shares.iter() {
            for (index, procedure) in procedure_names() {
                for class in Class::ALL {
                    let count = share.requests[index][class as usize].load(Relaxed);
                    if count > 0 {
                        all.push(Requests { procedure, share: share.name.clone(), class, count });
                    }
                }
            }
        }
    }
    let label = |one: &Requests| (one.share.clone(), one.procedure, one.class);
    all.sort_by_key(label);
    all.dedup_by(|next, kept| {
        let is_same = label(next) == label(kept);
        kept.count += if is_same { next.count } else { 0 };
        is_same
    });
    all
}

fn latencies(reactors: &[&Arc<PerReactor>]) -> Vec<Latency> {
    let one = |(index, procedure): (usize, &'static str)| {
        let mut buckets = [0; BUCKETS + 1];
        let mut nanos = 0u64;
        for reactor in reactors {
            for (sum, counter) in buckets.iter_mut().zip(&reactor.latencies[index]) {
                *sum += counter.load(Relaxed);
            }
            nanos = nanos.saturating_add(reactor.latency_nanos[index].load(Relaxed));
        }
        let sum = Duration::from_nanos(nanos);
        (buckets != [0; BUCKETS + 1]).then_some(Latency { procedure, buckets, sum })
    };
    procedure_names().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_their_bounds() {
        for index in 0..BUCKETS {
            assert_eq!(bucket(bucket_bound(index)), index);
            assert_eq!(bucket(bucket_bound(index) + Duration::from_nanos(1)), index + 1);
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS);
    }

    #[test]
    fn reactors_are_summed() {
        let reactors = [Arc::new(PerReactor::new()), Arc::new(PerReactor::new())];
        for reactor in &reactors {
            let share = reactor.share(Some((StoreId(1), ShareId(1))), "/a".into());
            reactor.ended(1, &share, Class::Ok, Duration::from_micros(20));
            reactor.ended(1, &share, Class::Busy, Duration::from_micros(30));
            reactor.entered();
            reactor.accepted();
        }
        reactors[1].left();
        reactors[0].closed();
        let sum = snapshot(reactors.iter(), (0, 0));
        let one =
            |class, count| Requests { procedure: "GETATTR", share: "/a".into(), class, count };
        assert_eq!(sum.requests, [one(Class::Ok, 2), one(Class::Busy, 2)]);
        assert_eq!(sum.latencies[0].buckets[1], 4);
        assert_eq!(sum.latencies[0].sum, Duration::from_micros(100));
        assert_eq!((sum.in_flight, sum.connections_active, sum.connections_accepted), (1, 1, 2));
    }
}
