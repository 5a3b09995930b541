//! What each procedure does, once its arguments are understood and its caller let in.

use std::fmt;

use trace::debug;
use vfs::{
    Asked as Outcome,
    locks::{Client, Owner, Range, Refused, Request, Share},
};
use vocab::{Error, FileId};

use super::{Block, Callback, Manager, holder};
use crate::{
    call::Peer,
    status,
    way::Way,
    wire::nlm::{
        CancelArgs, Extra, FreeAllArgs, Lock, LockArgs, ShareArgs, Status, TestArgs, UnlockArgs,
        Version,
    },
};

/// Something to do, in words that travel between reactors.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Test(Request),
    Lock { request: Request, callback: Callback, block: bool, monitored: bool },
    Cancel(Request),
    Unlock { file: FileId, owner: Owner, range: Range },
    Share { file: FileId, owner: Owner, share: Share, is_reclaim: bool, peer: Peer },
    Unshare { file: FileId, owner: Owner },
    FreeAll(Client),
}

/// For the log.
impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, client, range) = match self {
            Self::Test(Request { owner, range, .. }) => ("test", &owner.client, *range),
            Self::Lock { request: Request { owner, range, is_reclaim, .. }, block, .. } => {
                let what = match (is_reclaim, block) {
                    (true, _) => "reclaim",
                    (false, true) => "lock or wait",
                    (false, false) => "lock",
                };
                (what, &owner.client, *range)
            }
            Self::Cancel(Request { owner, range, .. }) => ("cancel", &owner.client, *range),
            Self::Unlock { owner, range, .. } => ("unlock", &owner.client, *range),
            Self::Share { owner, .. } => ("share", &owner.client, Range::ALL),
            Self::Unshare { owner, .. } => ("unshare", &owner.client, Range::ALL),
            Self::FreeAll(client) => ("free all", client, Range::ALL),
        };
        write!(f, "{what} of {} from {} for {}", super::shown(client), range.offset(), range.len())
    }
}

/// From whom, in which words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From {
    pub(crate) peer: Peer,
    pub(crate) version: Version,
}

impl From {
    pub(crate) fn new(way: &Way<'_>, version: Version, portmapper: u16) -> Self {
        let address = way.peer().ip().to_canonical();
        Self { peer: Peer { address, local: way.local(), portmapper }, version }
    }

    pub(crate) fn test(&self, file: FileId, args: &TestArgs<'_>) -> Deed {
        Deed::Test(super::request(file, self.peer.address, &args.lock, args.exclusive, false))
    }

    pub(crate) fn lock(&self, file: FileId, args: &LockArgs<'_>, monitored: bool) -> Deed {
        let LockArgs { cookie, block, exclusive, lock, reclaim, .. } = args;
        let callback = Callback {
            peer: self.peer,
            version: self.version,
            cookie: cookie.to_vec(),
            exclusive: *exclusive,
            caller: lock.caller.to_vec(),
            handle: lock.handle.to_vec(),
            owner: lock.owner.to_vec(),
            svid: lock.svid,
            offset: lock.offset,
            len: lock.len,
        };
        let request = super::request(file, self.peer.address, lock, *exclusive, *reclaim);
        Deed::Lock { request, callback, block: *block, monitored }
    }

    pub(crate) fn cancel(&self, file: FileId, args: &CancelArgs<'_>) -> Deed {
        Deed::Cancel(super::request(file, self.peer.address, &args.lock, args.exclusive, false))
    }

    pub(crate) fn unlock(&self, file: FileId, args: &UnlockArgs<'_>) -> Deed {
        let lock = &args.lock;
        let range = Range::new(lock.offset, lock.len);
        Deed::Unlock { file, owner: super::owner(self.peer.address, lock), range }
    }

    pub(crate) fn share(&self, file: FileId, args: &ShareArgs<'_>) -> Deed {
        let share = Share {
            reads: args.access & 1 != 0,
            writes: args.access & 2 != 0,
            denies_reads: args.deny & 1 != 0,
            denies_writes: args.deny & 2 != 0,
        };
        let (owner, is_reclaim) = (self.opener(args), args.reclaim);
        Deed::Share { file, owner, share, is_reclaim, peer: self.peer }
    }

    pub(crate) fn unshare(&self, file: FileId, args: &ShareArgs<'_>) -> Deed {
        Deed::Unshare { file, owner: self.opener(args) }
    }

    pub(crate) fn free_all(&self, args: &FreeAllArgs<'_>) -> Deed {
        Deed::FreeAll(super::client(self.peer.address, args.name))
    }

    /// Shares belong to no process.
    fn opener(&self, args: &ShareArgs<'_>) -> Owner {
        let ShareArgs { caller, handle, owner, .. } = *args;
        let lock = Lock { caller, handle, owner, svid: 0, offset: 0, len: 0 };
        super::owner(self.peer.address, &lock)
    }
}

impl Manager {
    /// Does it, on the reactor of the table.
    pub(crate) async fn run(&self, deed: Deed) -> (Status, Extra) {
        let manager = self.clone();
        let home = self.locks.home().clone();
        let asked = deed.to_string();
        let done = home.call(move || async move { manager.run_here(deed).await }).await;
        let failed = |error| (status::nlm(error), Extra::None);
        let (status, extra) = done.unwrap_or(Err(Error::Stopping)).unwrap_or_else(failed);
        debug!(?status, "{asked}");
        (status, extra)
    }

    async fn run_here(&self, deed: Deed) -> Result<(Status, Extra), Error> {
        let status = match deed {
            Deed::Test(request) => return self.test(request).await,
            Deed::Lock { request, callback, block, monitored } => {
                if monitored && !self.monitor.watch(&request.owner.client, callback.peer).await {
                    return Ok((Status::NoLocks, Extra::None));
                }
                self.lock(request, callback, block).await?
            }
            Deed::Cancel(request) => self.cancel(request).await?,
            Deed::Unlock { file, owner, range } => self.unlock(file, owner, range).await?,
            Deed::Share { file, owner, share, is_reclaim, peer } => {
                if !self.monitor.watch(&owner.client, peer).await {
                    return Ok((Status::NoLocks, Extra::Sequence));
                }
                let shared =
                    self.locks.run(move |table| table.share(file, &owner, share, is_reclaim));
                return Ok((outcome(shared.await?), Extra::Sequence));
            }
            Deed::Unshare { file, owner } => {
                self.locks.run(move |table| table.unshare(file, &owner)).await?;
                return Ok((Status::Granted, Extra::Sequence));
            }
            Deed::FreeAll(client) => {
                self.free_client(client).await;
                Status::Granted
            }
        };
        Ok((status, Extra::None))
    }

    async fn test(&self, request: Request) -> Result<(Status, Extra), Error> {
        let test = move |table: &mut vfs::locks::Table| {
            if table.is_grace() {
                return (Status::GracePeriod, Extra::None);
            }
            match holder(table, &request) {
                None => (Status::Granted, Extra::None),
                Some(holder) => (Status::Denied, Extra::Holder(holder)),
            }
        };
        self.locks.run(test).await
    }

    async fn lock(
        &self,
        request: Request,
        callback: Callback,
        block: bool,
    ) -> Result<Status, Error> {
        if !block {
            let asked = request.clone();
            let locked = self.locks.run(move |table| table.lock(&asked)).await?;
            if locked.is_ok() {
                self.forget(&request).await?;
            }
            return Ok(outcome(locked));
        }
        match self.locks.wait(request.clone()).await? {
            Outcome::Granted => {
                self.forget(&request).await?;
                Ok(Status::Granted)
            }
            Outcome::Waits(token, settled) => {
                self.blocks().insert(token, Block { request, callback });
                let manager = self.clone();
                reactor::spawn(async move { manager.follow(token, settled).await });
                Ok(Status::Blocked)
            }
            Outcome::WaitsAlready(token) => {
                // Asked again: the newest cookie is the one that the client remembers.
                if let Some(block) = self.blocks().get_mut(&token) {
                    block.callback = callback;
                }
                Ok(Status::Blocked)
            }
            Outcome::Refused(refused) => Ok(outcome(Err(refused))),
        }
    }

    /// The client knows that it has a lock, so nobody needs to tell it, nor to wait for it.
    async fn forget(&self, request: &Request) -> Result<(), Error> {
        self.blocks().retain(|_, block| block.request != *request);
        let asked = request.clone();
        let token = self.locks.run(move |table| table.waiting(&asked)).await?;
        if let Some(token) = token {
            self.locks.cancel(token).await?;
        }
        Ok(())
    }

    async fn cancel(&self, mut request: Request) -> Result<Status, Error> {
        let found = {
            let blocks = self.blocks();
            let is_it = |block: &Block| {
                // CANCEL does not say whether it was a reclaim.
                Request { is_reclaim: request.is_reclaim, ..block.request.clone() } == request
            };
            blocks
                .iter()
                .find(|(_, block)| is_it(block))
                .map(|(token, block)| (*token, block.request.is_reclaim))
        };
        let Some((token, is_reclaim)) = found else { return Ok(Status::Denied) };
        request.is_reclaim = is_reclaim;
        self.blocks().remove(&token);
        if !self.locks.cancel(token).await? {
            // Granted meanwhile, and nobody wants it.
            let Request { file, owner, range, .. } = request;
            self.locks.run(move |table| table.unlock(file, &owner, range)).await?;
        }
        Ok(Status::Granted)
    }

    async fn unlock(&self, file: FileId, owner: Owner, range: Range) -> Result<Status, Error> {
        let given_up = {
            let blocks = self.blocks();
            let is_it = |request: &Request| {
                request.file == file && request.owner == owner && range.contains(&request.range)
            };
            let given_up = blocks.iter().filter(|(_, block)| is_it(&block.request));
            given_up.map(|(token, block)| (*token, block.request.clone())).collect::<Vec<_>>()
        };
        for (token, request) in given_up {
            // What still waits goes on waiting: another thread of the owner may.
            let waiting = self.locks.run(move |table| table.waiting(&request)).await?;
            if waiting != Some(token) {
                self.blocks().remove(&token);
            }
        }
        self.locks.run(move |table| table.unlock(file, &owner, range)).await?;
        Ok(Status::Granted)
    }
}

fn outcome(locked: Result<(), Refused>) -> Status {
    locked.map_or_else(status::nlm_refused, |()| Status::Granted)
}
