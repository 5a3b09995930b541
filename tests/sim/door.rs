//! The two ways into a server: the operations themselves, and NFSv3 over the network.

use std::cell::Cell;

use bytes::Bytes;
use nfs3_types::nfs3::cookieverf3;
use tests::model::Reach;
use vfs::{CreateHow, Evidence, SetAttr, Stability, handle::Handle};
use vocab::{Attr, Cookie, Error, Time, Verifier};

use crate::{machine::Machine, wire::Wire};

/// A client's way in.
#[derive(Debug)]
pub(crate) enum Door {
    /// Calls the operations.
    Direct,
    /// Speaks NFSv3.
    Wire(Box<Wire>),
}

/// The attributes that are compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) size: u64,
    pub(crate) nlink: u32,
    pub(crate) mode: u32,
    pub(crate) mtime: Time,
}

/// A WRITE's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrote {
    pub(crate) reach: Reach,
    pub(crate) verifier: Verifier,
    /// The length after it, if it was told.
    pub(crate) size: Option<u64>,
}

/// Where a listing goes on.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) cookie: Cell<u64>,
    pub(crate) verifier: Cell<cookieverf3>,
}

pub(crate) type Answer<T> = Result<T, Error>;

impl Door {
    /// The root of a share.
    pub(crate) async fn mount(&self, at: &Machine, share: usize) -> Answer<Handle> {
        match self {
            Self::Direct => Ok(at.roots[share].handle),
            Self::Wire(wire) => Handle::decode(&wire.mount(&format!("/share-{share}")).await),
        }
    }

    pub(crate) async fn lookup(&self, at: &Machine, dir: Handle, name: &str) -> Answer<Handle> {
        if let Self::Wire(wire) = self {
            return wire.lookup(dir, name).await;
        }
        Ok(at.vfs.lookup(&at.caller, &dir, name.as_bytes()).await?.0.handle)
    }

    pub(crate) async fn create(
        &self,
        at: &Machine,
        dir: Handle,
        name: &str,
        how: CreateHow,
    ) -> Answer<Handle> {
        if let Self::Wire(wire) = self {
            return wire.create(dir, name, how).await;
        }
        Ok(at.vfs.create(&at.caller, &dir, name.as_bytes(), how).await?.found.handle)
    }

    pub(crate) async fn mkdir(&self, at: &Machine, dir: Handle, name: &str) -> Answer<Handle> {
        let set = SetAttr { mode: Some(0o755), ..SetAttr::default() };
        if let Self::Wire(wire) = self {
            return wire.mkdir(dir, name, set).await;
        }
        Ok(at.vfs.mkdir(&at.caller, &dir, name.as_bytes(), set).await?.found.handle)
    }

    pub(crate) async fn symlink(
        &self,
        at: &Machine,
        dir: Handle,
        name: &str,
        target: &str,
    ) -> Answer<Handle> {
        let set = SetAttr { mode: Some(0o644), ..SetAttr::default() };
        if let Self::Wire(wire) = self {
            return wire.symlink(dir, name, target, set).await;
        }
        let (name, path) = (name.as_bytes(), target.as_bytes());
        Ok(at.vfs.symlink(&at.caller, &dir, name, path, set).await?.found.handle)
    }

    pub(crate) async fn link(
        &self,
        at: &Machine,
        file: Handle,
        dir: Handle,
        name: &str,
    ) -> Answer<()> {
        if let Self::Wire(wire) = self {
            return wire.link(file, dir, name).await;
        }
        at.vfs.link(&at.caller, &file, &dir, name.as_bytes()).await.map(drop)
    }

    pub(crate) async fn remove(&self, at: &Machine, dir: Handle, name: &str) -> Answer<()> {
        if let Self::Wire(wire) = self {
            return wire.remove(dir, name).await;
        }
        at.vfs.remove(&at.caller, &dir, name.as_bytes()).await.map(drop)
    }

    pub(crate) async fn rmdir(&self, at: &Machine, dir: Handle, name: &str) -> Answer<()> {
        if let Self::Wire(wire) = self {
            return wire.rmdir(dir, name).await;
        }
        at.vfs.rmdir(&at.caller, &dir, name.as_bytes()).await.map(drop)
    }

    pub(crate) async fn rename(
        &self,
        at: &Machine,
        from: (Handle, &str),
        to: (Handle, &str),
    ) -> Answer<()> {
        if let Self::Wire(wire) = self {
            return wire.rename(from, to).await;
        }
        let (a, b) = (from.1.as_bytes(), to.1.as_bytes());
        at.vfs.rename(&at.caller, &from.0, a, &to.0, b).await.map(drop)
    }

    /// The length after it, if it was told.
    pub(crate) async fn setattr(
        &self,
        at: &Machine,
        of: Handle,
        set: SetAttr,
    ) -> Answer<Option<u64>> {
        if let Self::Wire(wire) = self {
            return wire.setattr(of, set).await;
        }
        let wcc = at.vfs.setattr(&at.caller, &of, set, None).await?;
        Ok(wcc.post.map(|attr| attr.size))
    }

    pub(crate) async fn write(
        &self,
        at: &Machine,
        file: Handle,
        offset: u64,
        bytes: &Bytes,
        asked: Reach,
    ) -> Answer<Wrote> {
        if let Self::Wire(wire) = self {
            return wire.write(file, offset, bytes, asked).await;
        }
        let asked = match asked {
            Reach::Unstable => Stability::Unstable,
            Reach::Data | Reach::File => Stability::Stable,
        };
        let done = at.vfs.write(&at.caller, &file, offset, bytes.clone(), asked).await;
        let (evidence, wcc) = done?;
        let (reach, verifier) = match evidence {
            Evidence::Logged(logged) => (Reach::Unstable, logged.verifier()),
            Evidence::Durable(durable) => (Reach::File, durable.verifier()),
        };
        Ok(Wrote { reach, verifier, size: wcc.post.map(|attr| attr.size) })
    }

    pub(crate) async fn commit(&self, at: &Machine, file: Handle) -> Answer<Verifier> {
        if let Self::Wire(wire) = self {
            return wire.commit(file).await;
        }
        Ok(at.vfs.commit(&at.caller, &file).await?.0.verifier())
    }

    pub(crate) async fn read(
        &self,
        at: &Machine,
        file: Handle,
        offset: u64,
        count: u32,
    ) -> Answer<Vec<u8>> {
        if let Self::Wire(wire) = self {
            return wire.read(file, offset, count).await;
        }
        Ok(at.vfs.read(&at.caller, &file, offset, count).await?.parts.concat())
    }

    pub(crate) async fn readlink(&self, at: &Machine, link: Handle) -> Answer<Vec<u8>> {
        if let Self::Wire(wire) = self {
            return wire.readlink(link).await;
        }
        Ok(at.vfs.readlink(&at.caller, &link).await?.0.to_vec())
    }

    pub(crate) async fn getattr(&self, at: &Machine, of: Handle) -> Answer<Seen> {
        if let Self::Wire(wire) = self {
            return wire.getattr(of).await;
        }
        let Attr { size, nlink, mode, mtime, .. } = at.vfs.getattr(&at.caller, &of).await?;
        Ok(Seen { size, nlink, mode, mtime })
    }

    /// The next names of a listing, about so many, and whether they are the last.
    pub(crate) async fn readdir(
        &self,
        at: &Machine,
        dir: Handle,
        from: &Place,
        entries: usize,
        with_found: bool,
    ) -> Answer<(Vec<Vec<u8>>, bool)> {
        if let Self::Wire(wire) = self {
            return wire.readdir(dir, from, entries, with_found).await;
        }
        let after = Cookie(from.cookie.get());
        let list = at.vfs.readdir(&at.caller, &dir, after, entries, with_found).await?;
        from.cookie.set(list.entries.last().map_or(after.0, |last| last.cookie.0));
        Ok((list.entries.iter().map(|one| one.name.to_vec()).collect(), list.end))
    }
}
