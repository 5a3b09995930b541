//! The lock table: byte ranges, waits and share modes of every protocol. Pure: no I/O, no clock.
//!
//! A protocol brings its own names of clients and owners, and gets back whether a lock is granted,
//! refused, or waits under a [`Token`]. What became of waits is fetched with
//! [`Table::take_settled`] after each call.
//!
//! Invariants:
//! * No two owners hold conflicting locks on one byte. An owner's locks never overlap, and two that
//!   touch differ in their mode.
//! * A wait that nothing is in the way of is granted before the call that freed it returns.
//! * Whoever waits is passed by nobody who asked later and conflicts with it, unless keeping the
//!   order would make two owners wait for each other.
//! * Owners never wait in a circle: the request that would close one is refused.

mod circle;
mod file;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use vocab::FileId;

use file::FileLocks;

pub use words::{
    Client, Held, Limits, Mode, Owner, Range, Refused, Request, Settled, Share, Token,
};

/// All locks of a server.
#[derive(Debug, Default)]
pub struct Table {
    limits: Limits,
    is_grace: bool,
    files: BTreeMap<FileId, FileLocks>,
    /// Where each wait queues.
    waits: BTreeMap<Token, FileId>,
    /// The waits of each owner that waits.
    waiting: BTreeMap<Owner, BTreeSet<Token>>,
    clients: BTreeMap<Client, Counts>,
    /// Locks and shares of all clients.
    locks: usize,
    token_last: u64,
    settled: Vec<(Token, Settled)>,
    /// Files where a wait may be granted now.
    stirred: BTreeSet<FileId>,
}

/// What a client has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    locks: usize,
    waits: usize,
}

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// While it is grace, only what is reclaimed is granted; afterwards, only what is not.
    pub fn set_grace(&mut self, is_grace: bool) {
        self.is_grace = is_grace;
    }

    /// Whether it is grace.
    #[must_use]
    pub fn is_grace(&self) -> bool {
        self.is_grace
    }

    /// Takes a lock at once. What its owner held in the range becomes part of it, also when the
    /// mode is another (upgrade, downgrade).
    ///
    /// # Errors
    /// All of [`Refused`]; nothing has changed then.
    pub fn lock(&mut self, request: &Request) -> Result<(), Refused> {
        self.admit(request)?;
        if self.files.get(&request.file).is_some_and(|file| file.conflict(request).is_some()) {
            return Err(Refused::Conflict);
        }
        self.grant(request)?;
        self.settle();
        Ok(())
    }

    /// Takes a lock, or waits for it: then there is a token. The wait may be settled at once, when
    /// others give way. Asking again for what is waited for gives the same token.
    ///
    /// # Errors
    /// All of [`Refused`] but `Conflict`; nothing has changed then.
    pub fn wait(&mut self, request: &Request) -> Result<Option<Token>, Refused> {
        self.admit(request)?;
        if let Some(token) = self.waiting(request) {
            return Ok(Some(token));
        }
        let file = self.files.get(&request.file);
        let ahead = file.map(|file| file.ahead(request)).unwrap_or_default();
        if ahead.is_empty() && file.is_none_or(|file| file.conflict(request).is_none()) {
            self.grant(request)?;
            self.settle();
            return Ok(None);
        }
        if self.counts(&request.owner.client).waits >= self.limits.client_waits_max {
            return Err(Refused::NoRoom);
        }
        let token = self.enqueue(request, ahead);
        if circle::by_locks(self, &request.owner) {
            self.dequeue(token);
            return Err(Refused::Deadlock);
        }
        circle::give_way(self, &request.owner);
        self.settle();
        Ok(Some(token))
    }

    /// Ends a wait; false when it has ended already.
    pub fn cancel(&mut self, token: Token) -> bool {
        let is_waiting = self.waits.contains_key(&token);
        if is_waiting {
            self.dequeue(token);
            self.settle();
        }
        is_waiting
    }

    /// The wait of an owner for exactly this, if there is one.
    #[must_use]
    pub fn waiting(&self, request: &Request) -> Option<Token> {
        self.files.get(&request.file)?.waiting(request)
    }

    /// Gives up an owner's locks on a range, whatever it holds of it.
    pub fn unlock(&mut self, file: FileId, owner: &Owner, range: Range) {
        self.cover(file, owner, range, None);
        self.settle();
    }

    /// A lock of somebody else that is in the way.
    #[must_use]
    pub fn test(&self, request: &Request) -> Option<&Held> {
        self.files.get(&request.file)?.conflict(request)
    }

    /// Opens a file with a share mode, in place of what this owner had on it.
    ///
    /// # Errors
    /// `Conflict`, `NoRoom`, `Grace`.
    pub fn share(
        &mut self,
        file: FileId,
        owner: &Owner,
        share: Share,
        is_reclaim: bool,
    ) -> Result<(), Refused> {
        self.admit_client(&owner.client, is_reclaim)?;
        let shares = &mut self.files.entry(file).or_default().shares;
        if shares.iter().any(|(other, held)| other != owner && held.conflicts(&share)) {
            return Err(Refused::Conflict);
        }
        match shares.iter_mut().find(|(other, _)| other == owner) {
            Some((_, held)) => *held = share,
            None => {
                shares.push((owner.clone(), share));
                self.count(&owner.client, |counts| counts.locks += 1);
                self.locks += 1;
            }
        }
        Ok(())
    }

    /// Closes it; false when it was not open.
    pub fn unshare(&mut self, file: FileId, owner: &Owner) -> bool {
        let Some(locks) = self.files.get_mut(&file) else { return false };
        let before = locks.shares.len();
        locks.shares.retain(|(other, _)| other != owner);
        let is_gone = locks.shares.len() < before;
        if is_gone {
            self.count(&owner.client, |counts| counts.locks -= 1);
            self.locks -= 1;
            self.tidy(file);
        }
        is_gone
    }

    /// Ends all that an owner holds and waits for.
    pub fn free_owner(&mut self, owner: &Owner) {
        self.free(|other| other == owner);
    }

    /// Ends all that a client holds and waits for.
    pub fn free_client(&mut self, client: &Client) {
        self.free(|owner| owner.client == *client);
    }

    /// Ends all of everybody.
    pub fn free_all(&mut self) {
        self.free(|_| true);
    }

    /// Whether a client holds or waits for anything.
    #[must_use]
    pub fn has(&self, client: &Client) -> bool {
        self.clients.contains_key(client)
    }

    /// Locks and shares held, and waits.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.locks, self.waits.len())
    }

    /// Whether nobody has anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What became of waits since this was last asked.
    #[must_use]
    pub fn take_settled(&mut self) -> Vec<(Token, Settled)> {
        std::mem::take(&mut self.settled)
    }

    fn admit(&self, request: &Request) -> Result<(), Refused> {
        self.admit_client(&request.owner.client, request.is_reclaim)
    }

    fn admit_client(&self, client: &Client, is_reclaim: bool) -> Result<(), Refused> {
        if self.is_grace != is_reclaim {
            return Err(Refused::Grace);
        }
        // A lock inside another of its owner leaves three where one was.
        let more = 2;
        let full = self.counts(client).locks + more > self.limits.client_locks_max
            || self.locks + more > self.limits.locks_max;
        if full { Err(Refused::NoRoom) } else { Ok(()) }
    }

    /// Makes a request a lock. Nobody else's is in the way.
    fn grant(&mut self, request: &Request) -> Result<(), Refused> {
        let Request { file, ref owner, range, mode, .. } = *request;
        // An owner that waits for nobody closes no circle.
        if !self.waiting.contains_key(owner) {
            self.cover(file, owner, range, Some(mode));
            return Ok(());
        }
        let before = self.files.get(&file).map(|file| file.held.clone()).unwrap_or_default();
        self.cover(file, owner, range, Some(mode));
        if circle::by_locks(self, owner) {
            self.replace(file, &owner.client, before);
            return Err(Refused::Deadlock);
        }
        circle::give_way(self, owner);
        Ok(())
    }

    /// Sets an owner's locks on a range.
    fn cover(&mut self, file: FileId, owner: &Owner, range: Range, mode: Option<Mode>) {
        let held = self.files.get(&file).map(|locks| locks.covered(owner, range, mode));
        let held = held.unwrap_or_else(|| FileLocks::default().covered(owner, range, mode));
        self.replace(file, &owner.client, held);
    }

    /// Puts other locks in the place of a file's; they differ in those of one client only.
    fn replace(&mut self, file: FileId, client: &Client, held: Vec<Held>) {
        let locks = self.files.entry(file).or_default();
        let before = std::mem::replace(&mut locks.held, held);
        let (before, after) = (before.len(), locks.held.len());
        self.locks = self.locks + after - before;
        self.count(client, |counts| counts.locks = counts.locks + after - before);
        self.stirred.insert(file);
        self.tidy(file);
    }

    fn enqueue(&mut self, request: &Request, ahead: BTreeSet<Token>) -> Token {
        self.token_last += 1;
        let token = Token(self.token_last);
        let wait = file::Wait { token, request: request.clone(), ahead };
        self.files.entry(request.file).or_default().queue.push(wait);
        self.waits.insert(token, request.file);
        self.waiting.entry(request.owner.clone()).or_default().insert(token);
        self.count(&request.owner.client, |counts| counts.waits += 1);
        token
    }

    /// Takes a wait out of its queue.
    fn dequeue(&mut self, token: Token) -> Request {
        let file = self.waits.remove(&token).expect("it waits");
        let locks = self.files.get_mut(&file).expect("where it queues");
        let at = locks.queue.iter().position(|wait| wait.token == token).expect("in the queue");
        let request = locks.queue.remove(at).request;
        locks.queue.iter_mut().for_each(|wait| wait.ahead.retain(|other| *other != token));
        let tokens = self.waiting.get_mut(&request.owner).expect("its owner waits");
        tokens.remove(&token);
        if tokens.is_empty() {
            self.waiting.remove(&request.owner);
        }
        self.count(&request.owner.client, |counts| counts.waits -= 1);
        self.stirred.insert(file);
        self.tidy(file);
        request
    }

    /// Grants every wait that nothing is in the way of any more.
    fn settle(&mut self) {
        while let Some(file) = self.stirred.pop_first() {
            while let Some(token) = self.files.get(&file).and_then(FileLocks::ready) {
                let request = self.dequeue(token);
                let settled = match self.grant(&request) {
                    Ok(()) => Settled::Granted,
                    Err(_) => Settled::Deadlock,
                };
                self.settled.push((token, settled));
            }
        }
    }

    fn free(&mut self, is_freed: impl Fn(&Owner) -> bool) {
        let owners = self.waiting.iter().filter(|(owner, _)| is_freed(owner));
        let tokens: Vec<Token> = owners.flat_map(|(_, tokens)| tokens.iter().copied()).collect();
        for token in tokens {
            self.dequeue(token);
            self.settled.push((token, Settled::Freed));
        }
        let files: Vec<FileId> = self.files.keys().copied().collect();
        for file in files {
            let locks = self.files.get_mut(&file).expect("one of them");
            let held: BTreeSet<Owner> = locks.owners().filter(|owner| is_freed(owner)).collect();
            for owner in held {
                self.unshare(file, &owner);
                self.cover(file, &owner, Range::ALL, None);
            }
        }
        self.settle();
    }

    fn counts(&self, client: &Client) -> Counts {
        self.clients.get(client).copied().unwrap_or_default()
    }

    fn count(&mut self, client: &Client, change: impl FnOnce(&mut Counts)) {
        let counts = self.clients.entry(client.clone()).or_default();
        change(counts);
        if *counts == Counts::default() {
            self.clients.remove(client);
        }
    }

    /// Forgets a file that nobody has anything on.
    fn tidy(&mut self, file: FileId) {
        if self.files.get(&file).is_some_and(FileLocks::is_empty) {
            self.files.remove(&file);
        }
    }
}
