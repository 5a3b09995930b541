//! Locks: who may ask for one, and the home of the one table of them.
//!
//! The table lives on one reactor and is reached by its mailbox: lock calls are rare beside reads
//! and writes, and a file's locks are decided one after another in any case. Its mutex is taken
//! there only, so nobody ever waits for it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use reactor::{mailbox::Remote, oneshot};
use vocab::{Error, FileId};

use crate::{
    Caller, Vfs,
    handle::Handle,
    locks::{Refused, Request, Settled, Table, Token},
    permission,
};

/// The lock table of a server. Cloning shares it; usable from any reactor.
#[derive(Clone, Debug)]
pub struct Locks {
    home: Remote,
    inner: Arc<Mutex<Inner>>,
    counts: Arc<Counts>,
}

/// For who looks from outside.
#[derive(Debug, Default)]
struct Counts {
    held: AtomicUsize,
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Inner {
    table: Table,
    /// Whom to tell how a wait ended.
    waiters: BTreeMap<Token, oneshot::Sender<Settled>>,
}

/// What became of a request that may wait.
#[derive(Debug)]
pub enum Asked {
    /// It is held.
    Granted,
    /// It waits, and the receiver hears how that ends; not when it is cancelled.
    Waits(Token, oneshot::Receiver<Settled>),
    /// It waits already, and somebody listens already.
    WaitsAlready(Token),
    /// Not to be had.
    Refused(Refused),
}

impl Locks {
    pub(crate) fn new(home: Remote) -> Self {
        let inner = Inner { table: Table::default(), waiters: BTreeMap::new() };
        Self { home, inner: Arc::new(Mutex::new(inner)), counts: Arc::default() }
    }

    /// The reactor where the table lives. There, [`Locks::run`] and [`Locks::wait`] do not wait.
    #[must_use]
    pub fn home(&self) -> &Remote {
        &self.home
    }

    /// Locks and shares held, and waits, a moment ago. From any thread.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.counts.held.load(Relaxed), self.counts.waiting.load(Relaxed))
    }

    /// Does something with the table, on its reactor.
    ///
    /// # Errors
    /// `Stopping`, when that reactor is gone.
    pub async fn run<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Table) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.at_home(move |inner| f(&mut inner.table)).await
    }

    /// [`Table::wait`], with somebody who listens.
    ///
    /// # Errors
    /// `Stopping`, when the reactor of the table is gone.
    pub async fn wait(&self, request: Request) -> Result<Asked, Error> {
        let wait = move |inner: &mut Inner| match inner.table.wait(&request) {
            Ok(None) => Asked::Granted,
            Ok(Some(token)) if inner.waiters.contains_key(&token) => Asked::WaitsAlready(token),
            Ok(Some(token)) => {
                let (sender, receiver) = oneshot::channel();
                inner.waiters.insert(token, sender);
                Asked::Waits(token, receiver)
            }
            Err(refused) => Asked::Refused(refused),
        };
        self.at_home(wait).await
    }

    /// [`Table::cancel`]. Who listens hears that nothing more is to be heard.
    ///
    /// # Errors
    /// `Stopping`, when the reactor of the table is gone.
    pub async fn cancel(&self, token: Token) -> Result<bool, Error> {
        let cancel = move |inner: &mut Inner| {
            inner.waiters.remove(&token);
            inner.table.cancel(token)
        };
        self.at_home(cancel).await
    }

    async fn at_home<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Inner) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (inner, counts) = (self.inner.clone(), self.counts.clone());
        let work = move || {
            let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
            let value = f(&mut inner);
            for (token, settled) in inner.table.take_settled() {
                if let Some(waiter) = inner.waiters.remove(&token) {
                    waiter.send(settled);
                }
            }
            let (held, waiting) = inner.table.len();
            counts.held.store(held, Relaxed);
            counts.waiting.store(waiting, Relaxed);
            value
        };
        if self.home.is_current() {
            return Ok(work());
        }
        self.home.call(move || async move { work() }).await.map_err(|_| Error::Stopping)
    }
}

impl Vfs {
    /// The lock table.
    #[must_use]
    pub fn locks(&self) -> &Locks {
        &self.inner.locks
    }

    /// The file to lock, for a caller who may. Whoever may read or write a file may lock it, in
    /// either mode: a lock is advice, and a client checked the mode when it opened.
    ///
    /// # Errors
    /// `Stale`, `Access`, `IsDirectory`, `Invalid` when it has no bytes.
    pub async fn lock_target(&self, caller: &Caller, handle: &Handle) -> Result<FileId, Error> {
        let target = self.enter(caller, handle).await?;
        target.require_regular()?;
        permission::read_data(&target.who, &target.attr)
            .or_else(|_| permission::write_data(&target.who, &target.attr))?;
        Ok(FileId { store: handle.store, inode: handle.inode })
    }

    /// The file to unlock. It may be gone, or its mode changed: a lock can always be given back.
    ///
    /// # Errors
    /// `Stale` when its share is not there, `Access` by address.
    pub async fn unlock_target(&self, caller: &Caller, handle: &Handle) -> Result<FileId, Error> {
        let share = self.inner.shares.find(handle.share, handle.store).ok_or(Error::Stale)?;
        self.admit(share, caller).await?;
        Ok(FileId { store: handle.store, inode: handle.inode })
    }
}
