//! The table beside a naive model, byte by byte; and each promise once, small enough to read.

use std::{collections::BTreeMap, sync::Arc};

use reactor::rng::Rng;
use vocab::{InodeId, StoreId};

use super::{
    Mode::{Exclusive, Shared},
    *,
};

/// Bytes of the model's files. The last stands for all that follow.
const BYTES: u64 = 16;
const FILES: u64 = 2;
const OWNERS: usize = 5;
/// Later than all.
const LAST: Token = Token(u64::MAX);

fn file(n: u64) -> FileId {
    FileId { store: StoreId(1), inode: InodeId(n + 1) }
}

/// Two owners for each client.
fn owner(n: usize) -> Owner {
    let name = |n: usize| Arc::from(n.to_string().as_bytes());
    Owner { client: Client { realm: "test", name: name(n / 2) }, key: name(n) }
}

fn range(first: u64, last: u64) -> Range {
    Range { first, last: if last >= BYTES - 1 { u64::MAX } else { last } }
}

fn request(n: usize, first: u64, last: u64, mode: Mode) -> Request {
    Request { file: file(0), owner: owner(n), range: range(first, last), mode, is_reclaim: false }
}

/// What each byte's owners are, and who waits, in order.
#[derive(Clone, Debug, Default)]
struct Model {
    bytes: BTreeMap<(FileId, u64), BTreeMap<Owner, Mode>>,
    queue: Vec<(Token, Request)>,
    shares: BTreeMap<(FileId, Owner), Share>,
    /// Waits whose owner had something else meanwhile, so that others may have waited for it.
    loaded: BTreeSet<Token>,
}

fn bytes_of(range: Range) -> std::ops::RangeInclusive<u64> {
    range.first..=range.last.min(BYTES - 1)
}

impl Model {
    fn in_the_way(&self, request: &Request) -> BTreeSet<Owner> {
        let at = |byte| self.bytes.get(&(request.file, byte)).into_iter().flatten();
        let is_in_the_way = |(owner, mode): &(&Owner, &Mode)| {
            **owner != request.owner && (**mode == Exclusive || request.mode == Exclusive)
        };
        let owners = bytes_of(request.range).flat_map(at).filter(is_in_the_way);
        owners.map(|(owner, _)| owner.clone()).collect()
    }

    fn set(&mut self, file: FileId, owner: &Owner, range: Range, mode: Option<Mode>) {
        for byte in bytes_of(range) {
            let owners = self.bytes.entry((file, byte)).or_default();
            match mode {
                Some(mode) => drop(owners.insert(owner.clone(), mode)),
                None => drop(owners.remove(owner)),
            }
        }
    }

    /// Whether locks alone keep an owner waiting for itself.
    fn is_deadlocked(&self, owner: &Owner) -> bool {
        let mut reached = BTreeSet::from([owner.clone()]);
        loop {
            let waits = self.queue.iter().filter(|(_, wait)| reached.contains(&wait.owner));
            let more: BTreeSet<Owner> = waits.flat_map(|(_, wait)| self.in_the_way(wait)).collect();
            if more.contains(owner) {
                return true;
            }
            let before = reached.len();
            reached.extend(more);
            if reached.len() == before {
                return false;
            }
        }
    }

    fn ahead(&self, request: &Request, token: Token) -> impl Iterator<Item = &Request> {
        let earlier = self.queue.iter().filter(move |(other, _)| *other < token);
        earlier.map(|(_, wait)| wait).filter(|wait| {
            wait.file == request.file && request.conflicts(&wait.owner, &wait.range, wait.mode)
        })
    }

    /// What an owner holds of a file, in the fewest ranges.
    fn ranges(&self, file: FileId, owner: &Owner) -> Vec<(Range, Mode)> {
        let mut ranges: Vec<(Range, Mode)> = Vec::new();
        for byte in 0..BYTES {
            let mode = self.bytes.get(&(file, byte)).and_then(|owners| owners.get(owner));
            let Some(&mode) = mode else { continue };
            match ranges.last_mut() {
                Some((last, same)) if last.last + 1 == byte && *same == mode => last.last = byte,
                _ => ranges.push((Range { first: byte, last: byte }, mode)),
            }
        }
        ranges.into_iter().map(|(one, mode)| (range(one.first, one.last), mode)).collect()
    }

    /// Whether an owner holds a lock, or waits so many times.
    fn is_loaded(&self, owner: &Owner, waits: usize) -> bool {
        self.bytes.values().any(|owners| owners.contains_key(owner))
            || self.queue.iter().filter(|(_, wait)| wait.owner == *owner).count() >= waits
    }

    /// A lock as it is now granted: nobody is in the way, and nobody who waits longer is passed but
    /// by an owner that others may wait for.
    fn grant(&mut self, request: &Request, token: Token) {
        assert_eq!(self.in_the_way(request), BTreeSet::new(), "{request:?}");
        let is_loaded = self.loaded.contains(&token) || self.is_loaded(&request.owner, 1);
        let passed = self.ahead(request, token).next();
        assert!(passed.is_none() || is_loaded, "{request:?} passed {passed:?}");
        self.set(request.file, &request.owner, request.range, Some(request.mode));
    }
}

/// The table and the model.
struct Pair {
    table: Table,
    model: Model,
}

impl Pair {
    fn lock(&mut self, request: &Request) {
        let got = self.table.lock(request);
        let mut after = self.model.clone();
        after.set(request.file, &request.owner, request.range, Some(request.mode));
        let want = match () {
            () if !self.model.in_the_way(request).is_empty() => Err(Refused::Conflict),
            () if after.is_deadlocked(&request.owner) => Err(Refused::Deadlock),
            () => Ok(()),
        };
        assert_eq!(got, want, "{request:?}");
        if got.is_ok() {
            self.model = after;
        }
    }

    fn wait(&mut self, request: &Request) {
        let known = self.model.queue.iter().find(|(_, wait)| wait == request);
        let known = known.map(|(token, _)| *token);
        let got = self.table.wait(request);
        if let Some(known) = known {
            return assert_eq!(got, Ok(Some(known)));
        }
        let is_free = self.model.in_the_way(request).is_empty()
            && self.model.ahead(request, LAST).next().is_none();
        let mut after = self.model.clone();
        match is_free {
            true => after.set(request.file, &request.owner, request.range, Some(request.mode)),
            false => after.queue.push((LAST, request.clone())),
        }
        let is_deadlock = after.is_deadlocked(&request.owner);
        match got {
            Err(refused) => assert!(refused == Refused::Deadlock && is_deadlock, "{request:?}"),
            Ok(None) => {
                assert!(is_free && !is_deadlock, "{request:?}");
                self.model = after;
            }
            Ok(Some(token)) => {
                assert!(!is_free && !is_deadlock, "{request:?}");
                self.model.queue.push((token, request.clone()));
            }
        }
    }

    fn unlock(&mut self, file: FileId, owner: &Owner, range: Range) {
        self.table.unlock(file, owner, range);
        self.model.set(file, owner, range, None);
    }

    fn cancel(&mut self, token: Token) {
        let waits = self.model.queue.len();
        self.model.queue.retain(|(other, _)| *other != token);
        assert_eq!(self.table.cancel(token), self.model.queue.len() < waits);
    }

    fn free(&mut self, is_freed: impl Fn(&Owner) -> bool) {
        self.model.bytes.values_mut().for_each(|owners| owners.retain(|owner, _| !is_freed(owner)));
        self.model.shares.retain(|(_, owner), _| !is_freed(owner));
    }

    fn share(&mut self, file: FileId, owner: &Owner, share: Share) {
        let shares = &mut self.model.shares;
        let others = shares.iter().filter(|((other, by), _)| *other == file && by != owner);
        let is_free = others.map(|(_, held)| held).all(|held| {
            !(held.denies_reads && share.reads
                || held.denies_writes && share.writes
                || share.denies_reads && held.reads
                || share.denies_writes && held.writes)
        });
        let want = if is_free { Ok(()) } else { Err(Refused::Conflict) };
        assert_eq!(self.table.share(file, owner, share, false), want);
        if is_free {
            shares.insert((file, owner.clone()), share);
        }
    }

    /// Follows what became of waits, then compares all there is.
    fn check(&mut self) {
        for (token, settled) in self.table.take_settled() {
            let at = self.model.queue.iter().position(|(other, _)| *other == token);
            let (_, request) = self.model.queue.remove(at.expect("it waited"));
            match settled {
                Settled::Granted => self.model.grant(&request, token),
                Settled::Freed => {}
                Settled::Deadlock => {
                    let mut after = self.model.clone();
                    after.set(request.file, &request.owner, request.range, Some(request.mode));
                    assert!(after.is_deadlocked(&request.owner), "{request:?}");
                }
            }
        }
        let model = &mut self.model;
        let loaded = model.queue.iter().filter(|(_, wait)| model.is_loaded(&wait.owner, 2));
        let loaded: Vec<Token> = loaded.map(|(token, _)| *token).collect();
        model.loaded.extend(loaded);
        let model = &self.model;
        let mut earlier = Model::default();
        for (token, wait) in &model.queue {
            let is_ahead = earlier.ahead(wait, *token).next().is_some();
            assert!(is_ahead || !model.in_the_way(wait).is_empty(), "nothing keeps {wait:?}");
            assert!(!model.is_deadlocked(&wait.owner), "{wait:?} waits for ever");
            assert_eq!(self.table.waiting(wait), Some(*token));
            earlier.queue.push((*token, wait.clone()));
        }
        let mut locks = model.shares.len();
        for (file, n) in (0..FILES).flat_map(|n| (0..OWNERS).map(move |by| (file(n), by))) {
            let held = self.table.files.get(&file).map_or(&[][..], |locks| &locks.held);
            let own = held.iter().filter(|held| held.owner == owner(n));
            let mut own: Vec<_> = own.map(|held| (held.range, held.mode)).collect();
            own.sort_by_key(|(range, _)| *range);
            assert_eq!(own, model.ranges(file, &owner(n)));
            locks += own.len();
        }
        assert_eq!(self.table.len(), (locks, model.queue.len()));
        for n in 0..OWNERS {
            let client = owner(n).client;
            let has = model.bytes.values().any(|by| by.keys().any(|one| one.client == client))
                || model.queue.iter().any(|(_, wait)| wait.owner.client == client)
                || model.shares.keys().any(|(_, one)| one.client == client);
            assert_eq!(self.table.has(&client), has, "{client:?}");
        }
    }
}

fn any_range(rng: &mut Rng) -> Range {
    let (a, b) = (rng.below(BYTES), rng.below(BYTES));
    range(a.min(b), a.max(b))
}

fn any_request(rng: &mut Rng) -> Request {
    Request {
        file: file(rng.below(FILES)),
        owner: owner(rng.index(OWNERS)),
        range: any_range(rng),
        mode: if rng.one_in(2) { Shared } else { Exclusive },
        is_reclaim: false,
    }
}

fn step(pair: &mut Pair, rng: &mut Rng) {
    let request = any_request(rng);
    let Request { file, ref owner, range, .. } = request;
    match rng.below(20) {
        0..5 => pair.lock(&request),
        5..11 => pair.wait(&request),
        11..16 => pair.unlock(file, owner, range),
        16 => {
            let some = |pair: &Pair, rng: &mut Rng| {
                let queue = &pair.model.queue;
                (!queue.is_empty()).then(|| queue[rng.index(queue.len())].0)
            };
            pair.cancel(some(pair, rng).unwrap_or(LAST));
        }
        17 => {
            let flag = |rng: &mut Rng| rng.one_in(3);
            let share = Share {
                reads: flag(rng),
                writes: flag(rng),
                denies_reads: flag(rng),
                denies_writes: flag(rng),
            };
            pair.share(file, owner, share);
        }
        18 => {
            let had = pair.model.shares.remove(&(file, owner.clone())).is_some();
            assert_eq!(pair.table.unshare(file, owner), had);
        }
        _ if rng.one_in(2) => {
            pair.table.free_owner(owner);
            pair.free(|other| other == owner);
        }
        _ => {
            pair.table.free_client(&owner.client);
            pair.free(|other| other.client == owner.client);
        }
    }
    let test = any_request(rng);
    // What waits were granted is looked at first: the table is ahead of the model until then.
    pair.check();
    let found = pair.table.test(&test).map(|held| held.owner.clone());
    let owners = pair.model.in_the_way(&test);
    assert_eq!(found.is_some(), !owners.is_empty());
    assert!(found.is_none_or(|owner| owners.contains(&owner)));
}

/// Prints the seed when the test fails; `SEED=n` repeats it.
struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "a test tells how to repeat itself")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SEED={}", self.0);
        }
    }
}

#[test]
fn as_the_model_has_it() {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = Seed(given.unwrap_or_else(reactor::rng::random_u64));
    let mut rng = Rng::from_seed(seed.0);
    for _ in 0..300 {
        let mut pair = Pair { table: Table::default(), model: Model::default() };
        for _ in 0..100 {
            step(&mut pair, &mut rng);
        }
        // Whoever waits gets it in the end, once those who have it give it up.
        for _ in 0..1000 {
            if pair.model.queue.is_empty() {
                break;
            }
            let (one, by) = (file(rng.below(FILES)), owner(rng.index(OWNERS)));
            if pair.model.queue.iter().all(|(_, wait)| wait.owner != by) {
                pair.unlock(one, &by, Range::ALL);
                pair.check();
            }
        }
        assert!(pair.model.queue.is_empty(), "{:?}", pair.model.queue);
        pair.table.free_all();
        assert!(pair.table.is_empty() && pair.table.clients.is_empty());
    }
}

#[track_caller]
fn held(table: &Table, want: &[(usize, u64, u64, Mode)]) {
    let locks = table.files.get(&file(0)).map_or(&[][..], |locks| &locks.held);
    let mut held: Vec<_> = locks.iter().map(|held| (held.owner.clone(), held.range)).collect();
    held.sort();
    let want: Vec<_> =
        want.iter().map(|&(n, first, last, _)| (owner(n), range(first, last))).collect();
    assert_eq!(held, want);
}

#[test]
fn upgrade_split_and_merge() {
    let mut table = Table::default();
    table.lock(&request(0, 0, 9, Shared)).unwrap();
    table.lock(&request(0, 3, 5, Exclusive)).unwrap();
    held(&table, &[(0, 0, 2, Shared), (0, 3, 5, Exclusive), (0, 6, 9, Shared)]);
    assert_eq!(table.lock(&request(2, 5, 5, Shared)), Err(Refused::Conflict));
    table.lock(&request(2, 6, 6, Shared)).unwrap();
    table.unlock(file(0), &owner(2), Range::ALL);
    table.lock(&request(0, 3, 5, Shared)).unwrap();
    held(&table, &[(0, 0, 9, Shared)]);
    table.unlock(file(0), &owner(0), range(4, 4));
    held(&table, &[(0, 0, 3, Shared), (0, 5, 9, Shared)]);
}

#[test]
fn who_asked_first_goes_first() {
    let mut table = Table::default();
    table.lock(&request(0, 0, 9, Shared)).unwrap();
    let writer = table.wait(&request(2, 0, 9, Exclusive)).unwrap().unwrap();
    // A reader would get it at once, and the next one, and the writer never.
    let reader = table.wait(&request(4, 0, 9, Shared)).unwrap().unwrap();
    table.unlock(file(0), &owner(0), Range::ALL);
    assert_eq!(table.take_settled(), [(writer, Settled::Granted)]);
    table.unlock(file(0), &owner(2), Range::ALL);
    assert_eq!(table.take_settled(), [(reader, Settled::Granted)]);
}

#[test]
fn a_turn_is_given_up_rather_than_waited_for_in_a_circle() {
    let mut table = Table::default();
    table.lock(&request(0, 0, 0, Shared)).unwrap();
    table.wait(&request(2, 0, 9, Exclusive)).unwrap().unwrap();
    // Behind the writer, who waits for this reader.
    let token = table.wait(&request(0, 5, 5, Shared)).unwrap().unwrap();
    assert_eq!(table.take_settled(), [(token, Settled::Granted)]);
}

#[test]
fn a_deadlock_is_refused() {
    let mut table = Table::default();
    table.lock(&request(0, 0, 0, Exclusive)).unwrap();
    table.lock(&request(2, 1, 1, Exclusive)).unwrap();
    let token = table.wait(&request(0, 1, 1, Exclusive)).unwrap().unwrap();
    assert_eq!(table.wait(&request(2, 0, 0, Exclusive)), Err(Refused::Deadlock));
    assert!(table.cancel(token) && !table.cancel(token));
    assert!(table.wait(&request(2, 0, 0, Exclusive)).unwrap().is_some());
}

#[test]
fn bounds_are_kept() {
    let limits = Limits { client_locks_max: 4, client_waits_max: 1, locks_max: 6 };
    let mut table = Table::new(limits);
    (0..3).for_each(|n| table.lock(&request(0, 2 * n, 2 * n, Exclusive)).unwrap());
    assert_eq!(table.lock(&request(1, 6, 6, Exclusive)), Err(Refused::NoRoom));
    table.lock(&request(2, 10, 10, Exclusive)).unwrap();
    table.lock(&request(2, 12, 12, Exclusive)).unwrap();
    assert_eq!(table.lock(&request(4, 14, 14, Exclusive)), Err(Refused::NoRoom));
    table.unlock(file(0), &owner(2), range(12, 12));
    assert!(table.wait(&request(2, 0, 0, Shared)).unwrap().is_some());
    assert_eq!(table.wait(&request(2, 2, 2, Shared)), Err(Refused::NoRoom));
}

#[test]
fn in_grace_only_what_was_held_before() {
    let mut table = Table::default();
    table.set_grace(true);
    let reclaim = Request { is_reclaim: true, ..request(0, 0, 9, Exclusive) };
    assert_eq!(table.lock(&request(2, 0, 9, Shared)), Err(Refused::Grace));
    assert_eq!(table.share(file(0), &owner(2), Share::default(), false), Err(Refused::Grace));
    table.lock(&reclaim).unwrap();
    table.set_grace(false);
    assert_eq!(table.lock(&reclaim), Err(Refused::Grace));
    assert_eq!(table.lock(&request(2, 0, 9, Shared)), Err(Refused::Conflict));
}

#[test]
fn ranges_to_the_end() {
    assert_eq!(Range::new(5, 0), Range { first: 5, last: u64::MAX });
    assert_eq!(Range::new(5, u64::MAX), Range { first: 5, last: u64::MAX });
    assert_eq!(Range::new(5, 1), Range { first: 5, last: 5 });
    assert_eq!((Range::new(5, 3).len(), Range::ALL.len()), (3, 0));
    assert!(Range::ALL.touches(&Range::new(u64::MAX, 1)));
}
