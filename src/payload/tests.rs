//! Suites of this room: a real log on real reactors, small segments, stores that can fail.

mod faults;
mod garbage;
mod model;
mod packs;
mod plain;
mod power;
mod risk;
mod store;

use std::{path::Path, sync::Arc, time::Duration};

use blocks::{Codec, Content};
use bytes::Bytes;
use meta::{
    Engine, Store,
    command::{Command, NewAttr, NewKind, Outcome},
};
use reactor::{
    clock,
    mailbox::Remote,
    rng,
    runtime::{self, Reactors},
};
use tempfile::TempDir;
use vocab::{Error, InodeId, durable::Grade};

use crate::{Config, Payload, Place, ReadDone, Stability, WriteDone};
use store::Faulty;

/// A log's segment here. A write may have a quarter of it.
pub(crate) const SEGMENT: u32 = 1024 * 1024;
/// Most bytes of a write here.
pub(crate) const WRITE_MAX: u64 = 200 * 1024;

/// A server's data path, which can be restarted.
pub(crate) struct Server {
    dir: TempDir,
    reactors: Option<Reactors>,
    pub(crate) config: Config,
    pub(crate) store: Arc<Faulty>,
    root: InodeId,
    /// `None` in the moment between two lives.
    place: Option<Place>,
    payload: Option<Payload>,
}

impl Server {
    pub(crate) fn start(reactors: usize, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("log"));
        config.log_bytes_max = 8 * u64::from(SEGMENT) * reactors as u64;
        config.cache_bytes_max = 1024 * 1024;
        config.settle = Duration::from_millis(20);
        config.gc_grace = Duration::ZERO;
        config.gc_interval = Duration::from_millis(20);
        change(&mut config);
        let runtime = runtime::Config { cores: vec![None; reactors] };
        let reactors = Reactors::start(&runtime).unwrap();
        let store = Arc::new(Faulty::default());
        let (place, root) = open(dir.path(), &store);
        let payload = start(&config, reactors.remotes(), vec![place.clone()]).unwrap();
        let (place, payload) = (Some(place), Some(payload));
        Self { dir, reactors: Some(reactors), config, store, root, place, payload }
    }

    pub(crate) fn payload(&self) -> &Payload {
        self.payload.as_ref().unwrap()
    }

    pub(crate) fn place(&self) -> &Place {
        self.place.as_ref().unwrap()
    }

    /// Ends everything but the disk and the content store, and begins again.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.begin();
    }

    /// Begins a life.
    pub(crate) fn begin(&mut self) {
        let (place, root) = open(self.dir.path(), &self.store);
        assert_eq!(root, self.root);
        let places = vec![place.clone()];
        self.place = Some(place);
        let payload = start(&self.config, self.remotes(), places);
        self.payload = Some(payload.unwrap());
    }

    /// Ends one life.
    pub(crate) fn stop(&mut self) {
        self.payload.take().unwrap().stop();
        self.place.take().unwrap().meta.close();
    }

    pub(crate) fn remotes(&self) -> &[Remote] {
        self.reactors.as_ref().unwrap().remotes()
    }

    /// Runs a task on the first reactor.
    pub(crate) fn on<T, F>(&self, f: F) -> T
    where
        T: Send + 'static,
        F: AsyncFnOnce(Payload, Place) -> T + Send + 'static,
    {
        let (payload, place) = (self.payload().clone(), self.place().clone());
        self.remotes()[0].call(move || async move { f(payload, place).await }).wait().unwrap()
    }

    pub(crate) fn submit(&self, command: Command) -> Result<Outcome, Error> {
        self.on(async move |_, place| place.meta.submit(command).await)
    }

    pub(crate) fn create(&self, name: &str) -> InodeId {
        let name = name.as_bytes().into();
        let kind = NewKind::Regular { exclusive: None };
        let now = clock::wall();
        let create = Command::Create { dir: self.root, name, kind, attr: ATTR, now, generation: 1 };
        let Ok(Outcome::Created { attr, .. }) = self.submit(create) else { panic!("not created") };
        attr.inode
    }

    pub(crate) fn remove(&self, name: &str, inode: InodeId) {
        let name = name.as_bytes().into();
        let now = clock::wall();
        let remove = Command::Remove { dir: self.root, name, directory: false, now };
        self.submit(remove).unwrap();
        self.payload().forget(self.place(), inode);
    }

    pub(crate) fn try_write(
        &self,
        inode: InodeId,
        offset: u64,
        bytes: Vec<u8>,
        stability: Stability,
    ) -> Result<WriteDone, Error> {
        self.on(async move |payload, place| {
            let bytes = Bytes::from(bytes);
            payload.write(&place, inode, offset, bytes, stability, Grade::Local).await
        })
    }

    pub(crate) fn write(&self, inode: InodeId, offset: u64, bytes: Vec<u8>) -> WriteDone {
        self.try_write(inode, offset, bytes, Stability::Unstable).unwrap()
    }

    pub(crate) fn truncate(&self, inode: InodeId, size: u64) {
        self.on(async move |payload, place| {
            payload.truncate(&place, inode, size, Grade::Local).await
        })
        .unwrap();
    }

    pub(crate) fn try_read(&self, inode: InodeId, from: u64, len: u32) -> Result<ReadDone, Error> {
        self.on(async move |payload, place| payload.read(&place, inode, from, len).await)
    }

    pub(crate) fn read(&self, inode: InodeId, offset: u64, len: u32) -> Vec<u8> {
        self.try_read(inode, offset, len).unwrap().parts.concat()
    }

    pub(crate) fn drain(&self) {
        self.payload().drain(Duration::from_secs(30)).unwrap();
    }

    /// Waits until something is so; the tests' patience is the only time in them.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let patience = clock::monotonic() + Duration::from_secs(30);
        while !is_so(self) {
            assert!(clock::monotonic() < patience, "never: {what}");
            self.on(async |_, _| reactor::sleep(Duration::from_millis(5)).await);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            if self.payload.is_some() {
                self.stop();
            }
            self.reactors.take().unwrap().stop();
        }
    }
}

/// The seed of a test: `SEED=n` repeats one. Printed, since a panic on a reactor does not name it.
#[expect(clippy::print_stdout, reason = "shown when the test fails")]
pub(crate) fn seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rng::random_u64);
    println!("seed {seed}");
    seed
}

/// Blocking: on a plain thread.
pub(crate) fn start(
    config: &Config,
    reactors: &[Remote],
    places: Vec<Place>,
) -> Result<Payload, String> {
    reactor::thread::wait(Payload::open_here(config, reactors, places, SEGMENT))
}

const ATTR: NewAttr = NewAttr { mode: 0o644, uid: 0, gid: 0, atime: None, mtime: None };

fn open(dir: &Path, store: &Arc<Faulty>) -> (Place, InodeId) {
    let meta = Store::open("test", &Engine::Lsm { path: dir.join("meta") }).unwrap();
    let content = Content::new(store.clone(), Codec::Lz4);
    let place = Place { meta, content_name: Arc::from("content"), content };
    if let Some(share) = place.meta.shares().unwrap().first() {
        return (place.clone(), share.root);
    }
    let share = Command::ShareCreate {
        name: "/export".to_owned(),
        content: "content".to_owned(),
        attr: ATTR,
        now: clock::wall(),
        generation: 1,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(place.meta.submit(share)) {
        Ok(Outcome::Share(share)) => (place, share.root),
        other => panic!("no share: {other:?}"),
    }
}
