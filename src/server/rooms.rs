//! Builds every room in the order of their arrows, and takes them down in the reverse.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use blocks::{Content, Keyring, StoreError};
use nfs::metrics::Snapshot;
use payload::{Payload, Place};
use reactor::{
    mailbox::Remote,
    runtime::{self, Reactors},
};
use trace::{info, warn};
use vfs::Vfs;

use crate::{
    config::{Config, ContentKind, ContentStore, MetadataStore, Share},
    layout::Layout,
    lock::{Lock, Refused},
};

/// The lock of the log's folder.
pub(crate) const LOCK_NAME: &str = "dittofs.lock";
/// The file of the clients that may hold locks, in the same folder.
const HOSTS_NAME: &str = "lock-hosts";
/// The file of who mounted what, there too.
const MOUNTS_NAME: &str = "mounts";
/// How long a content store may take to answer at start. One that is away is no reason not to
/// start: what is cached can be read, and writes go to the log.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// The running rooms.
#[derive(Debug)]
pub(crate) struct Rooms {
    reactors: Reactors,
    metadata: BTreeMap<String, meta::Store>,
    pub(crate) payload: Payload,
    pub(crate) vfs: Vfs,
    nfs: Mutex<Nfs>,
    pub(crate) nfs_address: SocketAddr,
    /// How long garbage stays, unless somebody says otherwise.
    pub(crate) gc_grace: Duration,
    /// How fast stored blocks are read back, unless somebody says otherwise.
    pub(crate) scrub_rate: u64,
    _lock: Lock,
}

/// The NFS adapter, and what it counted in the end.
#[derive(Debug)]
enum Nfs {
    Running(nfs::Server),
    Stopped(Snapshot),
}

impl Rooms {
    /// Opens all. `step` is told what is being waited for.
    pub(crate) fn open(
        config: &Config,
        layout: &Layout,
        step: impl Fn(&'static str),
    ) -> Result<Self, String> {
        let lock = lock(&config.cache.path)?;
        netgroups(config)?;
        step("starting the reactors");
        let cores = runtime::Config { cores: layout.reactors.clone() };
        let reactors = Reactors::start(&cores).map_err(|error| {
            format!("the reactors: {error}; io_uring needs Linux 6.1 and must not be forbidden")
        })?;
        step("opening the metadata stores");
        let metadata = metadata(config)?;
        step("asking the content stores");
        let content = content(config)?;
        let place = |share: &Share| Place {
            meta: metadata[&share.metadata_store].clone(),
            content_name: share.content_store.as_str().into(),
            content: content[&share.content_store].clone(),
        };
        step("reading the log");
        let places = config.shares.iter().map(place).collect();
        let payload = Payload::start(&data_path(config, layout), reactors.remotes(), places)?;
        step("opening the shares");
        let home = reactors.remotes()[0].clone();
        let vfs = Vfs::with_lookups(payload.clone(), home, &config.lookups);
        for share in &config.shares {
            add(&reactors.remotes()[0], &vfs, share, place(share))?;
        }
        step("listening");
        let address = SocketAddr::new(config.nfs.bind, config.nfs.port);
        let nfs = nfs::serve(nfs_config(config), vfs.clone(), reactors.remotes());
        let nfs = nfs.map_err(|error| {
            let also = config.nfs.portmapper.enabled.then_some(", adapters.nfs.portmapper.port");
            format!(
                "NFS on {address}: {error}; see adapters.nfs.port{} and adapters.nfs.bind",
                also.unwrap_or_default()
            )
        })?;
        let nfs_address = nfs.address();
        let nfs = Mutex::new(Nfs::Running(nfs));
        let gc_grace = config.upload.gc_grace;
        let scrub_rate = config.upload.scrub_rate.0;
        Ok(Self {
            reactors,
            metadata,
            payload,
            vfs,
            nfs,
            nfs_address,
            gc_grace,
            scrub_rate,
            _lock: lock,
        })
    }

    /// All reactors, in order.
    pub(crate) fn remotes(&self) -> &[Remote] {
        self.reactors.remotes()
    }

    /// The metadata stores.
    pub(crate) fn stores(&self) -> impl Iterator<Item = &meta::Store> {
        self.metadata.values()
    }

    /// The counters of NFS, also after its end.
    pub(crate) fn nfs_metrics(&self) -> Snapshot {
        match &*self.nfs.lock().unwrap_or_else(PoisonError::into_inner) {
            Nfs::Running(server) => server.metrics(),
            Nfs::Stopped(snapshot) => snapshot.clone(),
        }
    }

    /// Stops taking requests, lets those under way end until the deadline, and makes all safe.
    /// The reactors run on until the process ends.
    pub(crate) fn close(&self, deadline: Duration) {
        // The lock is not held while connections end, so that counters can be read meanwhile.
        let stopping = Nfs::Stopped(self.nfs_metrics());
        let nfs = {
            let mut nfs = self.nfs.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *nfs, stopping)
        };
        if let Nfs::Running(server) = nfs {
            let stopped = server.stop(deadline);
            if stopped.forced > 0 {
                warn!("{} connections were cut after {deadline:?}", stopped.forced);
            }
            let end = Nfs::Stopped(stopped.metrics);
            *self.nfs.lock().unwrap_or_else(PoisonError::into_inner) = end;
        }
        self.payload.stop();
        self.metadata.values().for_each(meta::Store::close);
    }
}

pub(crate) fn lock(dir: &Path) -> Result<Lock, String> {
    let shown = dir.display();
    std::fs::create_dir_all(dir)
        .map_err(|error| format!("cache.path {shown}: {error}; choose a folder to write to"))?;
    Lock::take(&dir.join(LOCK_NAME)).map_err(|refused| match refused {
        Refused::Held(pid) => {
            let who =
                pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            format!("cache.path {shown} is in use by {who}; stop it, or choose another folder")
        }
        Refused::Io(error) => format!("cache.path {shown}: {error}; choose a folder to write to"),
    })
}

/// Sees to it that the netgroups that shares name can be read.
fn netgroups(config: &Config) -> Result<(), String> {
    let shares = config.shares.iter().map(|share| &share.vfs);
    let missing = vfs::check_netgroups(&config.lookups, shares)
        .map_err(|why| format!("{why}; see lookups.netgroup_file, and @ in allow and deny"))?;
    let file = config.lookups.netgroup_file.display();
    missing.iter().for_each(|group| warn!("no netgroup {group} in {file}: nobody is in it"));
    Ok(())
}

fn nfs_config(config: &Config) -> nfs::Config {
    let (portmapper, locks) = (&config.nfs.portmapper, &config.nfs.locks);
    let usual = nfs::MonitorConfig::default();
    let monitor = nfs::MonitorConfig {
        path: Some(config.cache.path.join(HOSTS_NAME)),
        grace: locks.grace,
        name: locks.name.clone().unwrap_or(usual.name),
        client_portmapper: usual.client_portmapper,
    };
    nfs::Config {
        mounts: Some(config.cache.path.join(MOUNTS_NAME)),
        monitor,
        has_udp: config.nfs.udp,
        portmapper: portmapper.enabled.then_some(portmapper.port),
        registers: portmapper.register,
        ..nfs::Config::new(SocketAddr::new(config.nfs.bind, config.nfs.port))
    }
}

fn data_path(config: &Config, layout: &Layout) -> payload::Config {
    payload::Config {
        cache_bytes_max: config.cache.size.0,
        log_bytes_max: config.cache.log_size.0,
        accepts_log_damage: config.cache.accepts_log_damage,
        settle: config.upload.settle,
        upload_core: layout.upload,
        gc_grace: config.upload.gc_grace,
        gc_interval: config.upload.gc_interval,
        sweep_interval: config.upload.sweep_interval,
        scrub_interval: config.upload.scrub_interval,
        scrub_rate: config.upload.scrub_rate.0,
        checkpoint_interval: config.upload.checkpoint_interval,
        ..payload::Config::new(config.cache.path.clone())
    }
}

/// Opens the stores that shares name.
pub(crate) fn metadata(config: &Config) -> Result<BTreeMap<String, meta::Store>, String> {
    let mut stores = BTreeMap::new();
    for (name, store) in &config.metadata {
        if !config.shares.iter().any(|share| share.metadata_store == *name) {
            warn!("metadata store {name} belongs to no share and is not opened");
            continue;
        }
        let engine = match store {
            MetadataStore::Memory => meta::Engine::Memory,
            MetadataStore::Lsm { path } => meta::Engine::Lsm { path: path.clone() },
        };
        let store = meta::Store::open(name, &engine)
            .map_err(|error| format!("metadata store {name}: {error}"))?;
        stores.insert(name.clone(), store);
    }
    Ok(stores)
}

/// Opens the stores that shares name, and asks each of them whether it works.
pub(crate) fn content(config: &Config) -> Result<BTreeMap<String, Content>, String> {
    // Ends with this function, and with it the connections it made: the uploader makes its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("asking the content stores: {error}"))?;
    let mut stores = BTreeMap::new();
    for (name, store) in &config.content {
        if !config.shares.iter().any(|share| share.content_store == *name) {
            warn!("content store {name} belongs to no share and is not opened");
            continue;
        }
        let keys = crate::keys::ring(config, name)?;
        let content = open(store, keys).map_err(|error| unusable(name, &error))?;
        let probe = async {
            let remarks = content.store.probe().await?;
            content.check_keys().await.map(|()| remarks)
        };
        let probe = async { tokio::time::timeout(PROBE_PATIENCE, probe).await };
        match runtime.block_on(probe) {
            Ok(Ok(remarks)) => {
                remarks.iter().for_each(|remark| info!("content store {name}: {remark}"));
            }
            Ok(Err(StoreError::Unavailable(why))) => warn!(
                "content store {name} is away: {why}; serving what is cached, writing to the log"
            ),
            Ok(Err(error)) => return Err(unusable(name, &error)),
            Err(_) => warn!(
                "content store {name} does not answer; serving what is cached, writing to the log"
            ),
        }
        stores.insert(name.clone(), content);
    }
    Ok(stores)
}

fn open(store: &ContentStore, keys: Option<Keyring>) -> Result<Content, StoreError> {
    let bytes: Arc<dyn blocks::Store> = match &store.kind {
        ContentKind::Memory => Arc::new(blocks::Memory::new()),
        ContentKind::Filesystem { path } => Arc::new(blocks::Filesystem::open(path)?),
        ContentKind::S3(config) => Arc::new(blocks::S3::new(config)?),
    };
    Ok(match keys {
        Some(keys) => Content::encrypted(bytes, store.codec, keys),
        None => Content::new(bytes, store.codec),
    })
}

fn unusable(name: &str, error: &StoreError) -> String {
    format!("content store {name}: {error}; see content.stores.{name}")
}

fn add(remote: &Remote, vfs: &Vfs, share: &Share, place: Place) -> Result<(), String> {
    let (vfs, config) = (vfs.clone(), share.vfs.clone());
    let added = remote.call(move || async move { vfs.share_add(config, place).await });
    let added = added.wait().map_err(|_| "its reactor is gone".to_owned());
    added.flatten().map(drop).map_err(|why| format!("share {}: {why}", share.vfs.name))
}
