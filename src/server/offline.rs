//! The stores of a server that does not run, for commands that work on them.
//!
//! Invariant: while this lives no server opens them, since it holds the lock of the log's folder.

use std::{collections::BTreeSet, path::Path};

use payload::Place;
use rustix::process::Pid;

use crate::{
    config::{Config, ContentKind, MetadataStore},
    lock::Lock,
    rooms,
};

/// The stores, and the runtime that content stores need.
#[derive(Debug)]
pub(crate) struct Offline {
    /// One for each pair of stores that shares name and that outlives a process.
    pub(crate) places: Vec<Place>,
    pub(crate) runtime: tokio::runtime::Runtime,
    _lock: Lock,
}

/// The server that serves this configuration's stores now.
pub(crate) fn server(config: &Config) -> Result<Option<Pid>, String> {
    Lock::holder(&lock_path(&config.cache.path))
}

fn lock_path(dir: &Path) -> std::path::PathBuf {
    dir.join(rooms::LOCK_NAME)
}

impl Offline {
    /// Opens what a server of this configuration would open.
    pub(crate) fn open(config: &Config) -> Result<Self, String> {
        let lock = rooms::lock(&config.cache.path)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("a runtime: {error}"))?;
        let metadata = rooms::metadata(config)?;
        let content = rooms::content(config)?;
        let pairs: BTreeSet<(&str, &str)> = config
            .shares
            .iter()
            .filter(|share| {
                config.metadata[&share.metadata_store] != MetadataStore::Memory
                    && !matches!(config.content[&share.content_store].kind, ContentKind::Memory)
            })
            .map(|share| (share.metadata_store.as_str(), share.content_store.as_str()))
            .collect();
        let place = |(meta, store): (&str, &str)| Place {
            meta: metadata[meta].clone(),
            content_name: store.into(),
            content: content[store].clone(),
        };
        let places: Vec<Place> = pairs.into_iter().map(place).collect();
        if places.is_empty() {
            return Err("all stores are in memory, and gone with their server".to_owned());
        }
        Ok(Self { places, runtime, _lock: lock })
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        self.places.iter().for_each(|place| place.meta.close());
    }
}
