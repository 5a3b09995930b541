//! The duplicate-request cache: a call that must not happen twice is answered twice instead.
//!
//! A client that lost its connection sends again what was not answered, over another connection
//! and perhaps to another reactor. Its second REMOVE must not find that nothing is there, and its
//! first SETATTR, when that comes last, must not undo what was set since. So the replies of such
//! calls are kept for a while, by client, transaction id, caller and arguments; bounded for each
//! client and in all; when there are too many, who has most loses first, so that nobody's are
//! pushed out by another's. It lives in memory: a restart forgets it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use reactor::oneshot;

/// Locks, so that reactors seldom meet.
const SHARDS: usize = 64;
/// Connections that may wait for one running call; a further duplicate is not answered.
const WAITERS_MAX: usize = 4;

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) client: IpAddr,
    pub(crate) xid: u32,
    pub(crate) procedure: u32,
    /// `None`: anonymous.
    pub(crate) uid: Option<u32>,
    /// xxh3 of the arguments.
    pub(crate) args: u64,
}

/// Bounds of the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most replies in all. One client may have half.
    pub(crate) replies_max: usize,
    /// How long a reply is kept.
    pub(crate) age_max: Duration,
}

/// The cache, shared by all reactors.
#[derive(Debug)]
pub(crate) struct Drc {
    shards: Vec<Mutex<Shard>>,
    shard_replies_max: usize,
    age_max: Duration,
}

#[derive(Debug, Default)]
struct Shard {
    calls: BTreeMap<Key, Call>,
    /// Finished calls, oldest first. Each is in `calls`.
    finished: VecDeque<(Duration, Key)>,
    /// Finished calls of each client.
    clients: BTreeMap<IpAddr, usize>,
}

#[derive(Debug)]
enum Call {
    Running(Vec<oneshot::Sender<Bytes>>),
    Finished(Bytes),
}

/// What to do with a call.
#[derive(Debug)]
pub(crate) enum Begin {
    /// Run it, and tell the ticket how it went.
    First(Ticket),
    /// It ran: this was the reply.
    Finished(Bytes),
    /// It runs: this will be the reply; `Closed` if it comes to nothing.
    Running(oneshot::Receiver<Bytes>),
    /// It runs, and enough are waiting: say nothing.
    Crowded,
}

/// The right to run a call. Dropped, the call never happened.
#[derive(Debug)]
pub(crate) struct Ticket {
    drc: Arc<Drc>,
    key: Key,
}

impl Drc {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_replies_max: bounds.replies_max.div_ceil(SHARDS),
            age_max: bounds.age_max,
        }
    }

    /// Looks a call up, and notes that it runs.
    pub(crate) fn begin(self: &Arc<Self>, key: Key, now: Duration) -> Begin {
        let mut shard = self.shard(&key);
        shard.expire(now.saturating_sub(self.age_max));
        match shard.calls.get_mut(&key) {
            Some(Call::Finished(reply)) => return Begin::Finished(reply.clone()),
            Some(Call::Running(waiters)) if waiters.len() < WAITERS_MAX => {
                let (sender, receiver) = oneshot::channel();
                waiters.push(sender);
                return Begin::Running(receiver);
            }
            Some(Call::Running(_)) => return Begin::Crowded,
            None => {}
        }
        shard.calls.insert(key, Call::Running(Vec::new()));
        Begin::First(Ticket { drc: self.clone(), key })
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let index = (key.args ^ u64::from(key.xid)) % SHARDS as u64;
        self.lock(usize::try_from(index).expect("below SHARDS"))
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The call ran; a duplicate gets this reply.
    pub(crate) fn finish(self, reply: &Bytes, now: Duration) {
        let mut shard = self.drc.shard(&self.key);
        let finished = Call::Finished(reply.clone());
        let Some(Call::Running(waiters)) = shard.calls.insert(self.key, finished) else {
            unreachable!("only its ticket ends a running call");
        };
        shard.finished.push_back((now, self.key));
        *shard.clients.entry(self.key.client).or_default() += 1;
        shard.trim(self.key.client, self.drc.shard_replies_max);
        drop(shard);
        waiters.into_iter().for_each(|waiter| waiter.send(reply.clone()));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut shard = self.drc.shard(&self.key);
        if let Some(Call::Running(_)) = shard.calls.get(&self.key) {
            shard.calls.remove(&self.key);
        }
    }
}

impl Shard {
    /// Forgets what finished before.
    fn expire(&mut self, before: Duration) {
        while self.finished.front().is_some_and(|(at, _)| *at < before) {
            self.forget(0);
        }
    }

    /// Forgets the oldest beyond the bounds: the client's own, or that of the client with the most.
    fn trim(&mut self, client: IpAddr, replies_max: usize) {
        let client_max = replies_max.div_ceil(2);
        if self.clients.get(&client).is_some_and(|count| *count > client_max) {
            self.forget_oldest(client);
        }
        if self.finished.len() > replies_max {
            let greediest = self.clients.iter().max_by_key(|(_, count)| **count);
            let (&greediest, _) = greediest.expect("somebody has these replies");
            self.forget_oldest(greediest);
        }
    }

    fn forget_oldest(&mut self, client: IpAddr) {
        let oldest = self.finished.iter().position(|(_, key)| key.client == client);
        self.forget(oldest.expect("a client that is counted has a reply"));
    }

    fn forget(&mut self, index: usize) {
        let (_, key) = self.finished.remove(index).expect("an index of the list");
        self.calls.remove(&key);
        let count = self.clients.get_mut(&key.client).expect("every reply is counted");
        *count -= 1;
        if *count == 0 {
            self.clients.remove(&key.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(100);

    fn drc(replies_max: usize) -> Arc<Drc> {
        Arc::new(Drc::new(Bounds { replies_max, age_max: AGE }))
    }

    /// Keys of one shard: `args` is what spreads them.
    fn key(client: u8, xid: u32) -> Key {
        let client = IpAddr::from([10, 0, 0, client]);
        Key { client, xid, procedure: 9, uid: Some(1), args: u64::from(xid) }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    #[track_caller]
    fn run(drc: &Arc<Drc>, key: Key, now: Duration) {
        let Begin::First(ticket) = drc.begin(key, now) else { panic!("{key:?} ran before") };
        ticket.finish(&Bytes::from(key.xid.to_string()), now);
    }

    fn is_known(drc: &Arc<Drc>, key: Key, now: Duration) -> bool {
        match drc.begin(key, now) {
            Begin::Finished(reply) => {
                assert_eq!(reply, key.xid.to_string());
                true
            }
            Begin::First(_) => false,
            other @ (Begin::Running(_) | Begin::Crowded) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_call_is_known_by_all_of_its_key() {
        let drc = drc(1000);
        run(&drc, key(1, 7), at(0));
        assert!(is_known(&drc, key(1, 7), at(1)));
        let others = [
            Key { xid: 8, ..key(1, 7) },
            Key { procedure: 8, ..key(1, 7) },
            Key { uid: None, ..key(1, 7) },
            Key { args: 8, ..key(1, 7) },
            key(2, 7),
        ];
        others.iter().for_each(|&other| assert!(!is_known(&drc, other, at(1)), "{other:?}"));
    }

    #[test]
    fn a_ticket_that_is_dropped_never_was() {
        let drc = drc(1000);
        let Begin::First(ticket) = drc.begin(key(1, 7), at(0)) else { panic!() };
        let Begin::Running(waiting) = drc.begin(key(1, 7), at(0)) else { panic!() };
        drop(ticket);
        assert_eq!(waiting.wait(), Err(oneshot::Closed));
        assert!(!is_known(&drc, key(1, 7), at(0)));
    }

    #[test]
    fn who_waits_gets_the_reply_and_not_too_many_wait() {
        let drc = drc(1000);
        let Begin::First(ticket) = drc.begin(key(1, 7), at(0)) else { panic!() };
        let waiting: Vec<_> = (0..WAITERS_MAX)
            .map(|_| {
                let Begin::Running(waiting) = drc.begin(key(1, 7), at(0)) else { panic!() };
                waiting
            })
            .collect();
        assert!(matches!(drc.begin(key(1, 7), at(0)), Begin::Crowded));
        ticket.finish(&Bytes::from_static(b"made"), at(1));
        waiting.into_iter().for_each(|one| assert_eq!(one.wait().unwrap(), "made"));
    }

    #[test]
    fn replies_grow_old() {
        let drc = drc(1000);
        run(&drc, key(1, 7), at(0));
        assert!(is_known(&drc, key(1, 7), at(0) + AGE));
        assert!(!is_known(&drc, key(1, 7), at(1) + AGE));
    }

    #[test]
    fn a_client_has_half_and_all_have_a_bound() {
        // Even arguments and ids cancel out: all in the first shard, which has room for ten.
        let drc = drc(SHARDS * 10);
        (0..20).for_each(|xid| run(&drc, key(1, xid), at(0)));
        let known = |client: u8| -> Vec<u32> {
            (0..20).filter(|&xid| is_known(&drc, key(client, xid), at(0))).collect()
        };
        assert_eq!(known(1), [15, 16, 17, 18, 19]);
        (0..20).for_each(|xid| run(&drc, key(2, xid), at(0)));
        assert_eq!((known(1).len(), known(2).len()), (5, 5), "one does not push out another");
        (0..5).for_each(|xid| run(&drc, key(3, xid), at(0)));
        let each = [known(1).len(), known(2).len(), known(3).len()];
        assert!(each.iter().sum::<usize>() == 10 && each.iter().all(|&len| len >= 3), "{each:?}");
        // One with few loses nothing to those with many.
        run(&drc, key(4, 77), at(0));
        (20..60).for_each(|xid| run(&drc, key(1, xid), at(0)));
        (20..60).for_each(|xid| run(&drc, key(2, xid), at(0)));
        assert!(is_known(&drc, key(4, 77), at(0)));
        assert_eq!(drc.lock(0).finished.len(), 10);
        assert_eq!(drc.lock(0).calls.len(), 10);
    }
}
