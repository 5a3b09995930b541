//! Blocks in memory, for tests and scratch. Nothing survives the process.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use vocab::{BlockHash, StoreId, Time};

use crate::{BlockKey, Boxed, Kind, Listed, Put, Store, StoreError, key::parse_domain};

/// Objects, and when they were put.
type Objects = BTreeMap<BlockKey, (Bytes, Time)>;

/// A content store that forgets.
#[derive(Debug, Default)]
pub struct Memory {
    objects: Mutex<Objects>,
    named: Mutex<BTreeMap<String, Bytes>>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, key: &BlockKey, from: u64, len: u64) -> Result<Bytes, StoreError> {
        let (object, _) = self.lock().get(key).cloned().ok_or(StoreError::NotFound)?;
        let clamp = |at: u64| usize::try_from(at).map_or(object.len(), |at| at.min(object.len()));
        Ok(object.slice(clamp(from)..clamp(from.saturating_add(len))))
    }

    fn keys(
        &self,
        domain: StoreId,
        kind: Kind,
        after: Option<BlockHash>,
        max: usize,
    ) -> (Vec<Listed>, bool) {
        let start = match after {
            Some(hash) => Bound::Excluded(BlockKey { domain, kind, hash }),
            None => Bound::Included(BlockKey { domain, kind, hash: BlockHash([0; 32]) }),
        };
        let last = BlockKey { domain, kind, hash: BlockHash([0xff; 32]) };
        let objects = self.lock();
        let mut rest = objects.range((start, Bound::Included(last))).map(|(key, object)| {
            let (bytes, modified) = object;
            Listed { hash: key.hash, bytes: bytes.len() as u64, modified: *modified }
        });
        let listed = rest.by_ref().take(max).collect();
        (listed, rest.next().is_some())
    }
}

impl Store for Memory {
    fn put<'a>(&'a self, key: &'a BlockKey, object: Bytes) -> Boxed<'a, Result<Put, StoreError>> {
        Box::pin(async move {
            Ok(match self.lock().entry(*key) {
                Entry::Occupied(_) => Put::Present,
                Entry::Vacant(place) => {
                    place.insert((object, reactor::clock::wall()));
                    Put::Created
                }
            })
        })
    }

    fn replace<'a>(
        &'a self,
        key: &'a BlockKey,
        object: Bytes,
    ) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.lock().insert(*key, (object, reactor::clock::wall()));
            Ok(())
        })
    }

    fn get<'a>(
        &'a self,
        key: &'a BlockKey,
        from: u64,
        len: u64,
    ) -> Boxed<'a, Result<Bytes, StoreError>> {
        Box::pin(async move { self.read(key, from, len) })
    }

    fn delete<'a>(&'a self, key: &'a BlockKey) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.lock().remove(key);
            Ok(())
        })
    }

    fn list<'a>(
        &'a self,
        domain: StoreId,
        kind: Kind,
        after: Option<BlockHash>,
        max: usize,
    ) -> Boxed<'a, Result<(Vec<Listed>, bool), StoreError>> {
        Box::pin(async move { Ok(self.keys(domain, kind, after, max)) })
    }

    fn put_named<'a>(&'a self, name: &'a str, object: Bytes) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.named().insert(name.to_owned(), object);
            Ok(())
        })
    }

    fn get_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Bytes, StoreError>> {
        Box::pin(async move { self.named().get(name).cloned().ok_or(StoreError::NotFound) })
    }

    fn delete_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.named().remove(name);
            Ok(())
        })
    }

    fn list_named<'a>(&'a self, dir: &'a str) -> Boxed<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let below = |name: &&String| name.strip_prefix(dir).is_some_and(|n| n.starts_with('/'));
            Ok(self.named().keys().filter(below).cloned().collect())
        })
    }

    fn domains(&self) -> Boxed<'_, Result<Vec<StoreId>, StoreError>> {
        Box::pin(async move {
            let blocks: BTreeSet<StoreId> = self.lock().keys().map(|key| key.domain).collect();
            let named: BTreeSet<StoreId> = self
                .named()
                .keys()
                .filter_map(|name| parse_domain(name.split('/').next()?))
                .collect();
            Ok(blocks.union(&named).copied().collect())
        })
    }

    fn probe(&self) -> Boxed<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async { Ok(vec!["blocks in memory are lost when the server ends".into()]) })
    }

    fn bytes_free(&self) -> Option<u64> {
        None
    }

    fn is_lasting(&self) -> bool {
        false
    }
}
