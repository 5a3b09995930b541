//! A whole server in this process: a log in a folder, stores in memory, two reactors.

use std::{
    net::{SocketAddr, TcpStream},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use blocks::{Codec, Content, Memory};
use meta::Engine;
use nfs3_client::{MountClient, Nfs3Client, io as client_io};
use nfs3_types::{
    mount::dirpath,
    nfs3::nfs_fh3,
    rpc::{auth_unix, opaque_auth},
    xdr_codec::Opaque,
};
use payload::{Payload, Place};
use reactor::runtime::Reactors;
use vfs::{ShareConfig, Squash, Vfs};

use super::connect;
use crate::{Config, Server, Stopped};

pub(super) struct World {
    pub(super) server: Option<Server>,
    payload: Payload,
    vfs: Vfs,
    store: meta::Store,
    reactors: Option<Reactors>,
    _dir: tempfile::TempDir,
}

/// A socket that blocks, as the client library wants it.
pub(super) struct Blocking(pub(super) TcpStream);

pub(super) type Client = Nfs3Client<Blocking>;

impl World {
    pub(super) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(super) fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cores = vec![None, None];
        let reactors = Reactors::start(&reactor::runtime::Config { cores }).unwrap();
        let store = meta::Store::open("test", &Engine::Memory).unwrap();
        let place = Place {
            meta: store.clone(),
            content_name: "test".into(),
            content: Content::new(Arc::new(Memory::new()), Codec::None),
        };
        let layout = payload::Config::new(dir.path().join("log"));
        let layout = payload::Config { log_bytes_max: 256 << 20, ..layout };
        let payload = Payload::start(&layout, reactors.remotes(), vec![place.clone()]).unwrap();
        let vfs = Vfs::new(payload.clone(), reactors.remotes()[0].clone());
        let open = ShareConfig { squash: Squash::None, ..ShareConfig::new("/export") };
        let closed = ShareConfig { read_only: true, ..ShareConfig::new("/read-only") };
        let other = ShareConfig { squash: Squash::None, ..ShareConfig::new("/other") };
        for share in [open, closed, other] {
            let (vfs, place) = (vfs.clone(), place.clone());
            let added = reactors.remotes()[0]
                .call(move || async move { vfs.share_add(share, place).await });
            added.wait().unwrap().unwrap();
        }
        let mut config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        configure(&mut config);
        let server = Some(crate::serve(config, vfs.clone(), reactors.remotes()).unwrap());
        Self { server, payload, vfs, store, reactors: Some(reactors), _dir: dir }
    }

    pub(super) fn vfs(&self) -> &Vfs {
        &self.vfs
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address()
    }

    pub(super) fn counts(&self) -> crate::metrics::Snapshot {
        self.server.as_ref().unwrap().metrics()
    }

    pub(super) fn stop(&mut self, deadline: Duration) -> Stopped {
        self.server.take().unwrap().stop(deadline)
    }

    /// A client as root, with the root of the first share.
    pub(super) fn client(&self) -> (Client, nfs_fh3) {
        (self.client_as(0), self.mount("/export"))
    }

    pub(super) fn client_as(&self, uid: u32) -> Client {
        let io = Blocking(connect(self.address()));
        Nfs3Client::new_with_auth(io, credential(uid), opaque_auth::default())
    }

    pub(super) fn mounts(&self) -> MountClient<Blocking> {
        MountClient::new_with_auth(
            Blocking(connect(self.address())),
            credential(0),
            opaque_auth::default(),
        )
    }

    pub(super) fn mount(&self, path: &str) -> nfs_fh3 {
        let path = dirpath(Opaque::borrowed(path.as_bytes()));
        let done = now(self.mounts().mnt(path)).unwrap();
        nfs_fh3 { data: Opaque::owned(done.fhandle.0.to_vec()) }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop(Duration::ZERO);
        }
        self.payload.stop();
        self.store.close();
        self.reactors.take().unwrap().stop();
    }
}

fn credential(uid: u32) -> opaque_auth<'static> {
    let machinename = Opaque::borrowed(b"test");
    let gids = vec![uid];
    opaque_auth::auth_unix(&auth_unix { stamp: 1, machinename, uid, gid: uid, gids })
}

/// The value of a future over sockets that block.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits but the socket"),
    }
}

impl client_io::AsyncRead for Blocking {
    async fn async_read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match std::io::Read::read(&mut self.0, buf)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            bytes => Ok(bytes),
        }
    }
}

impl client_io::AsyncWrite for Blocking {
    async fn async_write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        std::io::Write::write(&mut self.0, buf)
    }
}
