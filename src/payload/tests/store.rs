//! A content store in memory that counts, and fails when told to.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use blocks::{BlockKey, Boxed, Kind, Listed, Memory, Put, Store, StoreError};
use bytes::Bytes;
use reactor::rng::Rng;
use vocab::{BlockHash, StoreId};

#[derive(Debug, Default)]
pub(crate) struct Faulty {
    memory: Memory,
    /// Every call fails.
    pub(crate) is_away: AtomicBool,
    /// Puts wait.
    pub(crate) is_slow: AtomicBool,
    /// Every call takes a while, before and after it works.
    pub(crate) is_lazy: AtomicBool,
    /// By this seed, about every third call fails, and a failed put may have worked.
    pub(crate) luck: Mutex<Option<Rng>>,
    pub(crate) puts: AtomicU64,
    pub(crate) gets: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) lists: AtomicU64,
}

impl Faulty {
    pub(crate) fn objects(&self, domain: StoreId) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let list = |kind| self.memory.list(domain, kind, None, usize::MAX);
        let count = |kind| runtime.block_on(list(kind)).unwrap().0.len();
        count(Kind::Block) + count(Kind::Pack)
    }

    async fn rest(&self) {
        if self.is_lazy.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    fn fails(&self, one_in: u64) -> bool {
        let mut luck = self.luck.lock().unwrap();
        self.is_away.load(SeqCst) || luck.as_mut().is_some_and(|rng| rng.one_in(one_in))
    }
}

fn away<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("told to be".to_owned()))
}

impl Store for Faulty {
    fn put<'a>(&'a self, key: &'a BlockKey, object: Bytes) -> Boxed<'a, Result<Put, StoreError>> {
        Box::pin(async move {
            self.puts.fetch_add(1, SeqCst);
            while self.is_slow.load(SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if self.fails(4) {
                return away();
            }
            self.rest().await;
            let put = self.memory.put(key, object).await;
            self.rest().await;
            if self.fails(6) { away() } else { put }
        })
    }

    fn replace<'a>(
        &'a self,
        key: &'a BlockKey,
        object: Bytes,
    ) -> Boxed<'a, Result<(), StoreError>> {
        self.memory.replace(key, object)
    }

    fn get<'a>(
        &'a self,
        key: &'a BlockKey,
        from: u64,
        len: u64,
    ) -> Boxed<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            self.gets.fetch_add(1, SeqCst);
            if self.fails(3) { away() } else { self.memory.get(key, from, len).await }
        })
    }

    fn delete<'a>(&'a self, key: &'a BlockKey) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.deletes.fetch_add(1, SeqCst);
            if self.fails(3) {
                return away();
            }
            self.rest().await;
            let deleted = self.memory.delete(key).await;
            if self.fails(6) { away() } else { deleted }
        })
    }

    fn list<'a>(
        &'a self,
        domain: StoreId,
        kind: Kind,
        after: Option<BlockHash>,
        max: usize,
    ) -> Boxed<'a, Result<(Vec<Listed>, bool), StoreError>> {
        self.lists.fetch_add(1, SeqCst);
        self.memory.list(domain, kind, after, max)
    }

    fn put_named<'a>(&'a self, name: &'a str, object: Bytes) -> Boxed<'a, Result<(), StoreError>> {
        self.memory.put_named(name, object)
    }

    fn get_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Bytes, StoreError>> {
        self.memory.get_named(name)
    }

    fn delete_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        self.memory.delete_named(name)
    }

    fn list_named<'a>(&'a self, dir: &'a str) -> Boxed<'a, Result<Vec<String>, StoreError>> {
        self.memory.list_named(dir)
    }

    fn domains(&self) -> Boxed<'_, Result<Vec<StoreId>, StoreError>> {
        self.memory.domains()
    }

    fn probe(&self) -> Boxed<'_, Result<Vec<String>, StoreError>> {
        self.memory.probe()
    }

    fn bytes_free(&self) -> Option<u64> {
        None
    }
}
