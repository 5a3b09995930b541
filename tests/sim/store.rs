//! A content store for worlds: memory that outlives a power cut, slow and failing by the seed.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use blocks::{BlockKey, Boxed, Kind, Listed, Memory, Put, Store, StoreError};
use bytes::Bytes;
use reactor::{oneshot, rng::random_u64, thread::wait};
use vocab::{BlockHash, StoreId};

/// What a store does wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mood {
    /// A call takes up to this long before it works, and up to this long after.
    pub(crate) delay_max: Duration,
    /// One call in so many fails, half of those after they have worked; 0: none.
    pub(crate) fails_one_in: u64,
    /// One GET in so many gives fewer bytes or others; 0: none.
    pub(crate) lies_one_in: u64,
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Moody {
    memory: Memory,
    mood: Mutex<Mood>,
}

impl Moody {
    /// How it is from now on.
    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// How it is.
    pub(crate) fn mood(&self) -> Mood {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All objects. On a plain thread.
    pub(crate) fn objects(&self) -> Vec<BlockHash> {
        wait(async {
            let mut found = Vec::new();
            for domain in self.memory.domains().await.expect("memory") {
                for kind in [Kind::Block, Kind::Pack] {
                    let page = self.memory.list(domain, kind, None, usize::MAX).await;
                    found.extend(page.expect("memory").0.iter().map(|object| object.hash));
                }
            }
            found
        })
    }

    /// An object, gone behind everybody's back.
    pub(crate) async fn lose(&self, key: &BlockKey) {
        drop(self.memory.delete(key).await);
    }

    /// A call: may take its time, may fail before or after it works.
    async fn call<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.rest().await;
        if self.fails() {
            return away();
        }
        let done = work.await;
        self.rest().await;
        if self.fails() { away() } else { done }
    }

    async fn rest(&self) {
        let most = u64::try_from(self.mood().delay_max.as_micros()).expect("short");
        if most > 0 {
            // A store's futures may change threads, so the timer is somebody else's.
            let (sender, over) = oneshot::channel();
            let rest = Duration::from_micros(random_u64() % most);
            reactor::spawn(async move {
                reactor::sleep(rest).await;
                sender.send(());
            });
            over.await.expect("the world waits as well");
        }
    }

    fn fails(&self) -> bool {
        one_in(2 * self.mood().fails_one_in)
    }
}

/// Never when `n` is 0.
fn one_in(n: u64) -> bool {
    n > 0 && random_u64().is_multiple_of(n)
}

fn away<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("the seed says so".to_owned()))
}

/// Fewer bytes, or one of them another.
fn spoilt(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(last) = bytes.len().checked_sub(1) {
        let at = usize::try_from(random_u64()).expect("64 bits") % bytes.len();
        if random_u64().is_multiple_of(2) {
            bytes.truncate(at.min(last));
        } else {
            bytes[at] ^= 1 << (random_u64() % 8);
        }
    }
    bytes.into()
}

impl Store for Moody {
    fn put<'a>(&'a self, key: &'a BlockKey, object: Bytes) -> Boxed<'a, Result<Put, StoreError>> {
        Box::pin(async move { self.call(self.memory.put(key, object)).await })
    }

    fn replace<'a>(
        &'a self,
        key: &'a BlockKey,
        object: Bytes,
    ) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move { self.call(self.memory.replace(key, object)).await })
    }

    fn get<'a>(
        &'a self,
        key: &'a BlockKey,
        from: u64,
        len: u64,
    ) -> Boxed<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let bytes = self.call(self.memory.get(key, from, len)).await?;
            Ok(if one_in(self.mood().lies_one_in) { spoilt(&bytes) } else { bytes })
        })
    }

    fn delete<'a>(&'a self, key: &'a BlockKey) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move { self.call(self.memory.delete(key)).await })
    }

    fn list<'a>(
        &'a self,
        domain: StoreId,
        kind: Kind,
        after: Option<BlockHash>,
        max: usize,
    ) -> Boxed<'a, Result<(Vec<Listed>, bool), StoreError>> {
        Box::pin(async move { self.call(self.memory.list(domain, kind, after, max)).await })
    }

    fn put_named<'a>(&'a self, name: &'a str, object: Bytes) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move { self.call(self.memory.put_named(name, object)).await })
    }

    fn get_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Bytes, StoreError>> {
        Box::pin(async move { self.call(self.memory.get_named(name)).await })
    }

    fn delete_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move { self.call(self.memory.delete_named(name)).await })
    }

    fn list_named<'a>(&'a self, dir: &'a str) -> Boxed<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move { self.call(self.memory.list_named(dir)).await })
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
