//! Frames from the content store, for readers and for prefetch.

use std::sync::Arc;

use blocks::{BlockKey, Content, StoreError};
use bytes::Bytes;
use reactor::oneshot;
use tokio::sync::Semaphore;

/// Fetches at a time that somebody waits for.
const FOREGROUND_MAX: usize = 64;
/// Fetches at a time that nobody waits for yet.
const BACKGROUND_MAX: usize = 16;

/// Frames `first..first + count` of a block.
#[derive(Debug)]
pub struct Fetch {
    /// Where it rests.
    pub content: Content,
    /// Which block.
    pub key: BlockKey,
    /// Its plain bytes.
    pub plain_len: u32,
    /// The first frame.
    pub first: u32,
    /// How many, at least 1.
    pub count: u32,
    /// Nobody waits for it yet.
    pub background: bool,
    /// The frames, each with memory of its own.
    pub reply: oneshot::Sender<Result<Vec<Bytes>, StoreError>>,
}

/// How many fetches run at a time. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    foreground: Arc<Semaphore>,
    background: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            foreground: Arc::new(Semaphore::new(FOREGROUND_MAX)),
            background: Arc::new(Semaphore::new(BACKGROUND_MAX)),
        }
    }
}

impl Limits {
    pub(crate) async fn run(self, fetch: Fetch) {
        let limit = if fetch.background { &self.background } else { &self.foreground };
        let _permit = limit.acquire().await.expect("it is never closed");
        let Fetch { content, key, plain_len, first, count, reply, .. } = fetch;
        reply.send(content.frames(&key, plain_len, first, count).await);
    }
}
