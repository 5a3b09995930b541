//! The operations over a real data path and metadata in memory, on one reactor.

mod attributes;
mod locks;
mod model;
mod namespace;
mod shares;

use std::{future::Future, net::IpAddr, path::Path, sync::Arc};

use blocks::{Codec, Content, Memory};
use bytes::Bytes;
use meta::{Engine, Store};
use payload::{Config, Payload, Place, Stability};
use reactor::runtime::{self, Reactors};
use vocab::{Attr, Cookie, Credentials, Error};

use crate::{
    Caller, CreateHow, Found, Listing, SetAttr, ShareConfig, Vfs, Wcc, handle::Handle,
    squash::Squash,
};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 1));

/// Two shares in one metadata store, a third in another one.
struct World {
    vfs: Vfs,
    places: [Place; 2],
    root: User,
    /// `/a`, squashing nobody, its root open to everybody.
    a: Found,
    /// `/b`, in the same metadata store.
    b: Found,
    /// `/c`, in the other one.
    c: Found,
}

/// A caller who says what is to be done in few words.
#[derive(Clone)]
struct User {
    vfs: Vfs,
    caller: Caller,
}

/// Runs a test on a reactor and takes the machine down.
fn run<F, Fut>(test: F)
where
    F: FnOnce(World) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let dir = tempfile::tempdir().unwrap();
    let reactors = Reactors::start(&runtime::Config { cores: vec![None] }).unwrap();
    let places = [place("m1", "c1"), place("m2", "c2")];
    let payload = payload(dir.path(), &reactors, &places);
    let vfs = Vfs::new(payload.clone(), reactors.remotes()[0].clone());
    let task = {
        let (vfs, places) = (vfs.clone(), places.clone());
        move || async move { test(world(vfs, places).await).await }
    };
    reactors.remotes()[0].call(task).wait().expect("the test panicked on the reactor");
    payload.stop();
    places.iter().for_each(|place| place.meta.close());
    reactors.stop();
}

fn place(meta: &str, content: &str) -> Place {
    Place {
        meta: Store::open(meta, &Engine::Memory).unwrap(),
        content_name: content.into(),
        content: Content::new(Arc::new(Memory::new()), Codec::None),
    }
}

fn payload(dir: &Path, reactors: &Reactors, places: &[Place]) -> Payload {
    let config = Config {
        cache_bytes_max: 32 << 20,
        log_bytes_max: 256 << 20,
        ..Config::new(dir.to_owned())
    };
    Payload::start(&config, reactors.remotes(), places.to_vec()).unwrap()
}

async fn world(vfs: Vfs, places: [Place; 2]) -> World {
    let root = User::of(&vfs, 0, 0, &[]);
    let mut roots = Vec::new();
    for (name, place) in [("/a", &places[0]), ("/b", &places[0]), ("/c", &places[1])] {
        let config = open_share(name);
        vfs.share_add(config, place.clone()).await.unwrap();
        roots.push(vfs.mount(&root.caller, name.as_bytes()).await.unwrap().found);
    }
    let [a, b, c] = roots[..] else { unreachable!() };
    World { vfs, places, root, a, b, c }
}

fn open_share(name: &str) -> ShareConfig {
    ShareConfig { squash: Squash::None, root_mode: 0o777, ..ShareConfig::new(name) }
}

impl World {
    fn user(&self, uid: u32, gid: u32, groups: &[u32]) -> User {
        User::of(&self.vfs, uid, gid, groups)
    }
}

impl User {
    fn of(vfs: &Vfs, uid: u32, gid: u32, groups: &[u32]) -> Self {
        let credentials = Some(Arc::new(Credentials { uid, gid, groups: groups.to_vec() }));
        Self { vfs: vfs.clone(), caller: Caller::new(credentials, HERE, 1000) }
    }

    async fn file(&self, dir: &Found, name: &str, mode: u32) -> Result<Found, Error> {
        let how = CreateHow::Guarded(with_mode(mode));
        self.create(dir, name, how).await
    }

    async fn create(&self, dir: &Found, name: &str, how: CreateHow) -> Result<Found, Error> {
        let made = self.vfs.create(&self.caller, &dir.handle, name.as_bytes(), how).await?;
        Ok(made.found)
    }

    async fn mkdir(&self, dir: &Found, name: &str, mode: u32) -> Result<Found, Error> {
        let set = with_mode(mode);
        let made = self.vfs.mkdir(&self.caller, &dir.handle, name.as_bytes(), set).await?;
        Ok(made.found)
    }

    async fn lookup(&self, dir: &Found, name: &str) -> Result<Found, Error> {
        let found = self.vfs.lookup(&self.caller, &dir.handle, name.as_bytes()).await?;
        Ok(found.0)
    }

    async fn remove(&self, dir: &Found, name: &str) -> Result<Wcc, Error> {
        self.vfs.remove(&self.caller, &dir.handle, name.as_bytes()).await
    }

    async fn rmdir(&self, dir: &Found, name: &str) -> Result<Wcc, Error> {
        self.vfs.rmdir(&self.caller, &dir.handle, name.as_bytes()).await
    }

    async fn rename(&self, from: (&Found, &str), to: (&Found, &str)) -> Result<(Wcc, Wcc), Error> {
        let (from_dir, from_name) = (&from.0.handle, from.1.as_bytes());
        let (to_dir, to_name) = (&to.0.handle, to.1.as_bytes());
        self.vfs.rename(&self.caller, from_dir, from_name, to_dir, to_name).await
    }

    async fn link(&self, file: &Found, dir: &Found, name: &str) -> Result<Attr, Error> {
        let (file, dir) = (&file.handle, &dir.handle);
        let linked = self.vfs.link(&self.caller, file, dir, name.as_bytes()).await?;
        Ok(linked.0)
    }

    async fn attr(&self, of: &Found) -> Result<Attr, Error> {
        self.vfs.getattr(&self.caller, &of.handle).await
    }

    async fn set(&self, of: &Found, set: SetAttr) -> Result<Attr, Error> {
        let wcc = self.vfs.setattr(&self.caller, &of.handle, set, None).await?;
        Ok(wcc.post.unwrap())
    }

    async fn chmod(&self, of: &Found, mode: u32) -> Result<Attr, Error> {
        self.set(of, with_mode(mode)).await
    }

    async fn truncate(&self, of: &Found, size: u64) -> Result<Attr, Error> {
        self.set(of, SetAttr { size: Some(size), ..SetAttr::default() }).await
    }

    async fn write(&self, of: &Found, offset: u64, bytes: &str) -> Result<Attr, Error> {
        let bytes = Bytes::copy_from_slice(bytes.as_bytes());
        let stable = Stability::Stable;
        let wrote = self.vfs.write(&self.caller, &of.handle, offset, bytes, stable).await?;
        Ok(wrote.1.post.unwrap())
    }

    /// From the start, at most 64 bytes.
    async fn read(&self, of: &Found) -> Result<Vec<u8>, Error> {
        let done = self.vfs.read(&self.caller, &of.handle, 0, 64).await?;
        assert_eq!(done.len as usize, done.parts.iter().map(Bytes::len).sum::<usize>());
        Ok(done.parts.concat())
    }

    async fn list(
        &self,
        dir: &Found,
        after: Cookie,
        entries_max: usize,
        with_found: bool,
    ) -> Result<Listing, Error> {
        self.vfs.readdir(&self.caller, &dir.handle, after, entries_max, with_found).await
    }

    async fn access(&self, of: &Found) -> u32 {
        self.vfs.access(&self.caller, &of.handle, u32::MAX).await.unwrap().0
    }
}

fn with_mode(mode: u32) -> SetAttr {
    SetAttr { mode: Some(mode), ..SetAttr::default() }
}

/// A handle with one field of another.
fn forged(of: &Found, change: impl FnOnce(&mut Handle)) -> Found {
    let mut found = *of;
    change(&mut found.handle);
    found
}
