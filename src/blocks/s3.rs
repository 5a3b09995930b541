//! Blocks as objects of an S3 service.
//!
//! Every call ends by its deadline, with the bytes asked for or an error that says what to do. The
//! SDK neither retries nor waits by itself: [`Retry`] does, and a breaker ends it early
//! when the service is away. Conditional PUT is used only where
//! [`Store::probe`] saw the server keep it; without it a PUT overwrites, which is as correct.

mod breaker;
mod config;
mod error;
mod keys;
mod retry;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
};

use aws_sdk_s3::{Client, primitives::ByteStream, types::Object};
use bytes::Bytes;
pub use config::{S3Config, S3Credentials};
use retry::Retry;
use vocab::{BlockHash, StoreId, Time};

use crate::{
    BlockKey, Boxed, Kind, Listed, Put, Store, StoreError,
    key::{domain_path, parse_domain, parse_hash},
    s3::error::{classify, is_status},
};

/// Most keys that one LIST returns, as S3 defines it.
const LIST_KEYS_MAX: usize = 1000;

/// A content store in a bucket.
#[derive(Debug)]
pub struct S3 {
    client: Client,
    bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
    retry: Retry,
    /// The server answers 412 to a conditional PUT of a key that is there.
    is_conditional: AtomicBool,
}

impl S3 {
    /// A store in a bucket; speaks to nobody yet. Call [`Store::probe`] before use.
    ///
    /// # Errors
    /// `Refused` without credentials or with values that make no sense.
    pub fn new(config: &S3Config) -> Result<Self, StoreError> {
        let client = Client::from_conf(config.client()?);
        let prefix = match config.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self {
            client,
            bucket: config.bucket.clone(),
            prefix,
            retry: Retry::new(config.attempt_timeout, config.operation_timeout),
            is_conditional: AtomicBool::new(false),
        })
    }

    /// Attempts until one is answered, the deadline passes, or the service is known to be away.
    async fn run<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let name = format!("{}is-anybody-there", self.prefix);
        self.retry.breaker.admit(|| self.get_once(&name, 0, 1)).await?;
        self.retry.run(attempt).await
    }

    fn name(&self, key: &BlockKey) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn put_once(&self, name: &str, object: Bytes, new: bool) -> Result<Put, StoreError> {
        let put = self.client.put_object().bucket(&self.bucket).key(name);
        let put = put.set_if_none_match(new.then(|| "*".into())).body(ByteStream::from(object));
        match put.send().await {
            Ok(_) => Ok(Put::Created),
            Err(error) if new && is_status(&error, 412) => Ok(Put::Present),
            // Another writer of this key, or a removal, is under way and may yet win or fail.
            Err(error) if new && is_status(&error, 409) => {
                Err(StoreError::Unavailable(format!("{name}: the key is being written")))
            }
            Err(error) => Err(classify(name, &error)),
        }
    }

    async fn get_once(&self, name: &str, from: u64, len: u64) -> Result<Bytes, StoreError> {
        let last = from.checked_add(len - 1).filter(|&last| last <= i64::MAX as u64);
        let last = last.map_or(String::new(), |last| last.to_string());
        let get = self.client.get_object().bucket(&self.bucket).key(name);
        let answer = match get.range(format!("bytes={from}-{last}")).send().await {
            Ok(answer) => answer,
            Err(error) if is_status(&error, 416) => return Ok(Bytes::new()),
            Err(error) => return Err(classify(name, &error)),
        };
        let odd = |what: String| StoreError::Unavailable(format!("{name}: {what}"));
        // A server that answers with the whole object is right only if that is what was asked for.
        let range = answer.content_range().unwrap_or("bytes 0-");
        if !range.starts_with(&format!("bytes {from}-")) {
            return Err(odd(format!("asked for bytes {from}-{last}, got {range}")));
        }
        let promised = answer.content_length().and_then(|len| u64::try_from(len).ok());
        if promised.is_some_and(|promised| promised > len) {
            return Err(odd(format!("asked for {len} bytes, got more")));
        }
        let body = answer.body.collect().await.map_err(|error| odd(error.to_string()))?;
        let body = body.into_bytes();
        if promised.is_some_and(|promised| promised != body.len() as u64) || body.len() as u64 > len
        {
            return Err(odd(format!("the body has {} bytes", body.len())));
        }
        Ok(body)
    }

    async fn delete_once(&self, name: &str) -> Result<(), StoreError> {
        let delete = self.client.delete_object().bucket(&self.bucket).key(name);
        match delete.send().await.map_err(|error| classify(name, &error)) {
            Err(StoreError::NotFound) => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Objects below `dir` above `after`, in the server's order, and whether more follow.
    async fn list_once(
        &self,
        dir: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<(Vec<Object>, bool), StoreError> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(dir);
        let list = list.set_start_after(after.map(Into::into));
        let max = i32::try_from(max.min(LIST_KEYS_MAX)).expect("at most LIST_KEYS_MAX");
        let page = list.max_keys(max).send().await.map_err(|error| classify(dir, &error))?;
        let more = page.is_truncated().unwrap_or(false);
        Ok((page.contents.unwrap_or_default(), more))
    }

    async fn list_hashes(
        &self,
        domain: StoreId,
        kind: Kind,
        after: Option<BlockHash>,
        max: usize,
    ) -> Result<(Vec<Listed>, bool), StoreError> {
        let dir = format!("{}{}/", self.prefix, domain_path(domain, kind));
        let mut last = after.map(|hash| self.name(&BlockKey { domain, kind, hash }));
        let mut listed = Vec::new();
        loop {
            // One more than asked for tells whether more follow.
            let wanted = max.saturating_add(1) - listed.len();
            let page = || self.list_once(&dir, last.as_deref(), wanted);
            let (objects, more) = self.run(page).await?;
            for object in objects {
                let Some(name) = object.key() else { continue };
                // Our names have one length and depth, so every sane order is the hashes' order.
                // Relying on another one would let garbage collection skip or repeat.
                if last.as_deref().is_some_and(|last| last >= name) {
                    return Err(StoreError::Refused(format!("{dir}: listed out of order")));
                }
                let hash = name.rsplit('/').next().and_then(parse_hash);
                listed.extend(hash.map(|hash| listed_of(hash, &object)));
                last = Some(name.to_owned());
            }
            if listed.len() > max {
                listed.truncate(max);
                return Ok((listed, true));
            }
            if !more {
                return Ok((listed, false));
            }
        }
    }

    /// Tries what the store is for with the object `name`, and returns remarks.
    async fn try_object(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let mut remarks = Vec::new();
        let object = Bytes::from_static(b"dittofs writes, reads and removes this");
        self.run(|| self.put_once(name, object.clone(), false)).await?;
        for (from, len) in [(0, object.len()), (8, 6)] {
            let read = self.run(|| self.get_once(name, from as u64, len as u64)).await?;
            if read != object.slice(from..from + len) {
                return Err(StoreError::Corrupt(format!("{name}: read other bytes than written")));
            }
        }
        let again = self.run(|| self.put_once(name, object.clone(), true)).await;
        let is_conditional = matches!(again, Ok(Put::Present));
        self.is_conditional.store(is_conditional, Ordering::Relaxed);
        if !is_conditional {
            remarks.push("the server does not keep If-None-Match: PUTs overwrite".into());
        }
        if let Err(error) = self.list_hashes(StoreId(0), Kind::Block, None, 1).await {
            remarks.push(format!("objects cannot be listed, nor garbage found: {error}"));
        }
        Ok(remarks)
    }

    async fn try_all(&self) -> Result<Vec<String>, StoreError> {
        let name = format!("{}probe-{:016x}", self.prefix, self.retry.random());
        let tried = self.try_object(&name).await;
        let removed = self.run(|| self.delete_once(&name)).await;
        let mut remarks = tried?;
        removed?;
        if self.run(|| self.get_once(&name, 0, 1)).await != Err(StoreError::NotFound) {
            remarks.push("a removed object can still be read for a while".into());
        }
        Ok(remarks)
    }
}

/// An object of no known age counts as one of now: it is not garbage yet.
fn listed_of(hash: BlockHash, object: &Object) -> Listed {
    let modified =
        object.last_modified().map(|at| Time { seconds: at.secs(), nanos: at.subsec_nanos() });
    let bytes = object.size().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
    Listed { hash, bytes, modified: modified.unwrap_or_else(reactor::clock::wall) }
}

impl Store for S3 {
    fn put<'a>(&'a self, key: &'a BlockKey, object: Bytes) -> Boxed<'a, Result<Put, StoreError>> {
        Box::pin(async move {
            let (name, new) = (self.name(key), self.is_conditional.load(Ordering::Relaxed));
            self.run(|| self.put_once(&name, object.clone(), new)).await
        })
    }

    fn replace<'a>(
        &'a self,
        key: &'a BlockKey,
        object: Bytes,
    ) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let name = self.name(key);
            self.retry.run(|| self.put_once(&name, object.clone(), false)).await.map(drop)
        })
    }

    fn get<'a>(
        &'a self,
        key: &'a BlockKey,
        from: u64,
        len: u64,
    ) -> Boxed<'a, Result<Bytes, StoreError>> {
        assert!(len > 0, "a range is not empty");
        Box::pin(async move {
            let name = self.name(key);
            self.run(|| self.get_once(&name, from, len)).await
        })
    }

    fn delete<'a>(&'a self, key: &'a BlockKey) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let name = self.name(key);
            self.run(|| self.delete_once(&name)).await
        })
    }

    fn list<'a>(
        &'a self,
        domain: StoreId,
        kind: Kind,
        after: Option<BlockHash>,
        max: usize,
    ) -> Boxed<'a, Result<(Vec<Listed>, bool), StoreError>> {
        Box::pin(self.list_hashes(domain, kind, after, max))
    }

    fn put_named<'a>(&'a self, name: &'a str, object: Bytes) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let name = format!("{}{name}", self.prefix);
            self.retry.run(|| self.put_once(&name, object.clone(), false)).await.map(drop)
        })
    }

    fn get_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let name = format!("{}{name}", self.prefix);
            self.retry.run(|| self.get_once(&name, 0, u64::MAX)).await
        })
    }

    fn delete_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let name = format!("{}{name}", self.prefix);
            self.retry.run(|| self.delete_once(&name)).await
        })
    }

    fn list_named<'a>(&'a self, dir: &'a str) -> Boxed<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let dir = format!("{}{dir}/", self.prefix);
            let mut names: Vec<String> = Vec::new();
            loop {
                let after = names.last().map(|name| format!("{}{name}", self.prefix));
                let page = || self.list_once(&dir, after.as_deref(), LIST_KEYS_MAX);
                let (objects, more) = self.retry.run(page).await?;
                let before = names.len();
                let ours =
                    |object: &Object| object.key()?.strip_prefix(&*self.prefix)?.to_owned().into();
                names.extend(objects.iter().filter_map(ours));
                if !more || names.len() == before {
                    return Ok(names);
                }
            }
        })
    }

    fn domains(&self) -> Boxed<'_, Result<Vec<StoreId>, StoreError>> {
        Box::pin(async move {
            let mut domains = Vec::new();
            let mut after: Option<String> = None;
            loop {
                // One name tells its folder; the next folder's names come after all of this one's.
                let page = || self.list_once(&self.prefix, after.as_deref(), 1);
                let (objects, _) = self.retry.run(page).await?;
                let name = objects.first().and_then(|object| object.key()).map(str::to_owned);
                let Some(name) = name.filter(|name| after.as_ref().is_none_or(|a| a < name)) else {
                    return Ok(domains);
                };
                let rest = name.strip_prefix(&*self.prefix).unwrap_or_default();
                let folder = rest.split('/').next().unwrap_or_default();
                domains.extend(parse_domain(folder));
                after = Some(format!("{}{folder}0", self.prefix));
            }
        })
    }

    fn probe(&self) -> Boxed<'_, Result<Vec<String>, StoreError>> {
        Box::pin(self.try_all())
    }

    fn bytes_free(&self) -> Option<u64> {
        None
    }
}
