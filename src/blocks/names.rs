//! A content store whose named objects, such as checkpoints, are sealed on their way in and out.
//!
//! Blocks pass as they are: their format seals them, frame by frame. So do the data keys.

use std::sync::Arc;

use bytes::Bytes;
use vocab::{BlockHash, StoreId};

use crate::{
    BlockKey, Boxed, Keyring, Kind, Listed, Put, Store, StoreError,
    key::parse_domain,
    seal::{DataKeys, is_sealed},
};

/// See the file's head.
#[derive(Debug)]
pub(crate) struct SealedNames {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) keys: Arc<Keyring>,
}

impl SealedNames {
    async fn keys(&self, name: &str) -> Result<Arc<DataKeys>, StoreError> {
        let domain = name.split('/').next().and_then(parse_domain);
        self.keys.of(&*self.inner, domain.expect("a name begins with its domain")).await
    }
}

impl Store for SealedNames {
    fn put_named<'a>(&'a self, name: &'a str, object: Bytes) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let sealed = self.keys(name).await?.seal_named(name, &object);
            self.inner.put_named(name, sealed.into()).await
        })
    }

    fn get_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let stored = self.inner.get_named(name).await?;
            // From before there were keys.
            if !is_sealed(&stored) {
                return Ok(stored);
            }
            let opened = self.keys(name).await?.open_named(name, &stored);
            let opened = opened.map(Bytes::from);
            opened.ok_or_else(|| StoreError::Corrupt(format!("{name}: not sealed by its key")))
        })
    }

    fn delete_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        self.inner.delete_named(name)
    }

    fn list_named<'a>(&'a self, dir: &'a str) -> Boxed<'a, Result<Vec<String>, StoreError>> {
        self.inner.list_named(dir)
    }

    fn put<'a>(&'a self, key: &'a BlockKey, object: Bytes) -> Boxed<'a, Result<Put, StoreError>> {
        self.inner.put(key, object)
    }

    fn replace<'a>(
        &'a self,
        key: &'a BlockKey,
        object: Bytes,
    ) -> Boxed<'a, Result<(), StoreError>> {
        self.inner.replace(key, object)
    }

    fn get<'a>(
        &'a self,
        key: &'a BlockKey,
        from: u64,
        len: u64,
    ) -> Boxed<'a, Result<Bytes, StoreError>> {
        self.inner.get(key, from, len)
    }

    fn delete<'a>(&'a self, key: &'a BlockKey) -> Boxed<'a, Result<(), StoreError>> {
        self.inner.delete(key)
    }

    fn list<'a>(
        &'a self,
        domain: StoreId,
        kind: Kind,
        after: Option<BlockHash>,
        max: usize,
    ) -> Boxed<'a, Result<(Vec<Listed>, bool), StoreError>> {
        self.inner.list(domain, kind, after, max)
    }

    fn domains(&self) -> Boxed<'_, Result<Vec<StoreId>, StoreError>> {
        self.inner.domains()
    }

    fn probe(&self) -> Boxed<'_, Result<Vec<String>, StoreError>> {
        self.inner.probe()
    }

    fn bytes_free(&self) -> Option<u64> {
        self.inner.bytes_free()
    }
}
