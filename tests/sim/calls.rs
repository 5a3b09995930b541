//! The procedures of NFSv3, as the clients of worlds call them.

use nfs3_types::{
    nfs3::{
        self, NFS_PROGRAM as P, Nfs3Option, createhow3, createverf3, diropargs3, nfs_fh3, nfsstat3,
        nfstime3, sattr3, set_mtime, stable_how,
    },
    xdr_codec::{Opaque, Pack, Unpack, Void},
};
use tests::model::Reach;
use vfs::{CreateHow, SetAttr, SetTime, handle::Handle};
use vocab::{Error, Time, Verifier};

use crate::{
    door::{Answer, Place, Seen, Wrote},
    wire::Wire,
};

/// What a status says of what the client can do.
pub(crate) const MEANT: [(nfsstat3, Error); 11] = [
    (nfsstat3::NFS3ERR_JUKEBOX, Error::Busy),
    (nfsstat3::NFS3ERR_IO, Error::Io),
    (nfsstat3::NFS3ERR_ROFS, Error::LogReadOnly),
    (nfsstat3::NFS3ERR_STALE, Error::Stale),
    (nfsstat3::NFS3ERR_EXIST, Error::Exists),
    (nfsstat3::NFS3ERR_ISDIR, Error::IsDirectory),
    (nfsstat3::NFS3ERR_PERM, Error::Permission),
    (nfsstat3::NFS3ERR_NOENT, Error::NotFound),
    (nfsstat3::NFS3ERR_NOTEMPTY, Error::NotEmpty),
    (nfsstat3::NFS3ERR_NOTDIR, Error::NotDirectory),
    (nfsstat3::NFS3ERR_INVAL, Error::Invalid),
];

impl Wire {
    async fn done<T: Unpack, E: Unpack>(&self, procedure: P, args: impl Pack) -> Answer<T> {
        self.call::<T, E>(procedure, &args).await.map_err(meant)
    }

    pub(crate) async fn lookup(&self, dir: Handle, name: &str) -> Answer<Handle> {
        let args = nfs3::LOOKUP3args { what: place(dir, name) };
        let done = self.done::<nfs3::LOOKUP3resok, nfs3::LOOKUP3resfail>(P::NFSPROC3_LOOKUP, args);
        Handle::decode(&done.await?.object.data)
    }

    pub(crate) async fn create(&self, dir: Handle, name: &str, how: CreateHow) -> Answer<Handle> {
        let how = match how {
            CreateHow::Unchecked(set) => createhow3::UNCHECKED(sent(set)),
            CreateHow::Guarded(set) => createhow3::GUARDED(sent(set)),
            CreateHow::Exclusive(verifier) => createhow3::EXCLUSIVE(createverf3(verifier)),
        };
        let args = nfs3::CREATE3args { where_: place(dir, name), how };
        let done = self.done::<nfs3::CREATE3resok, nfs3::CREATE3resfail>(P::NFSPROC3_CREATE, args);
        made(done.await?.obj)
    }

    pub(crate) async fn mkdir(&self, dir: Handle, name: &str, set: SetAttr) -> Answer<Handle> {
        let args = nfs3::MKDIR3args { where_: place(dir, name), attributes: sent(set) };
        let done = self.done::<nfs3::MKDIR3resok, nfs3::MKDIR3resfail>(P::NFSPROC3_MKDIR, args);
        made(done.await?.obj)
    }

    pub(crate) async fn symlink(
        &self,
        dir: Handle,
        name: &str,
        target: &str,
        set: SetAttr,
    ) -> Answer<Handle> {
        let symlink_data = target.as_bytes().into();
        let symlink = nfs3::symlinkdata3 { symlink_attributes: sent(set), symlink_data };
        let args = nfs3::SYMLINK3args { where_: place(dir, name), symlink };
        let done =
            self.done::<nfs3::SYMLINK3resok, nfs3::SYMLINK3resfail>(P::NFSPROC3_SYMLINK, args);
        made(done.await?.obj)
    }

    pub(crate) async fn link(&self, file: Handle, dir: Handle, name: &str) -> Answer<()> {
        let args = nfs3::LINK3args { file: fh(file), link: place(dir, name) };
        let done = self.done::<nfs3::LINK3resok, nfs3::LINK3resfail>(P::NFSPROC3_LINK, args);
        done.await.map(drop)
    }

    pub(crate) async fn remove(&self, dir: Handle, name: &str) -> Answer<()> {
        let args = nfs3::REMOVE3args { object: place(dir, name) };
        let done = self.done::<nfs3::REMOVE3resok, nfs3::REMOVE3resfail>(P::NFSPROC3_REMOVE, args);
        done.await.map(drop)
    }

    pub(crate) async fn rmdir(&self, dir: Handle, name: &str) -> Answer<()> {
        let args = nfs3::RMDIR3args { object: place(dir, name) };
        let done = self.done::<nfs3::RMDIR3resok, nfs3::RMDIR3resfail>(P::NFSPROC3_RMDIR, args);
        done.await.map(drop)
    }

    pub(crate) async fn rename(&self, from: (Handle, &str), to: (Handle, &str)) -> Answer<()> {
        let args = nfs3::RENAME3args { from: place(from.0, from.1), to: place(to.0, to.1) };
        let done = self.done::<nfs3::RENAME3resok, nfs3::RENAME3resfail>(P::NFSPROC3_RENAME, args);
        done.await.map(drop)
    }

    pub(crate) async fn setattr(&self, of: Handle, set: SetAttr) -> Answer<Option<u64>> {
        let args = nfs3::SETATTR3args {
            object: fh(of),
            new_attributes: sent(set),
            guard: Nfs3Option::None,
        };
        let done =
            self.done::<nfs3::SETATTR3resok, nfs3::SETATTR3resfail>(P::NFSPROC3_SETATTR, args);
        Ok(size(done.await?.obj_wcc.after))
    }

    pub(crate) async fn write(
        &self,
        file: Handle,
        offset: u64,
        bytes: &[u8],
        asked: Reach,
    ) -> Answer<Wrote> {
        let stable = match asked {
            Reach::Unstable => stable_how::UNSTABLE,
            Reach::Data => stable_how::DATA_SYNC,
            Reach::File => stable_how::FILE_SYNC,
        };
        let (file, count) = (fh(file), u32::try_from(bytes.len()).expect("small"));
        let args = nfs3::WRITE3args { file, offset, count, stable, data: Opaque::borrowed(bytes) };
        let done = self.done::<nfs3::WRITE3resok, nfs3::WRITE3resfail>(P::NFSPROC3_WRITE, args);
        let done = done.await?;
        assert_eq!(done.count, count, "a small WRITE is taken whole");
        let reach = match done.committed {
            stable_how::UNSTABLE => Reach::Unstable,
            stable_how::DATA_SYNC => Reach::Data,
            stable_how::FILE_SYNC => Reach::File,
        };
        let verifier = Verifier(u64::from_be_bytes(done.verf.0));
        Ok(Wrote { reach, verifier, size: size(done.file_wcc.after) })
    }

    pub(crate) async fn commit(&self, file: Handle) -> Answer<Verifier> {
        let args = nfs3::COMMIT3args { file: fh(file), offset: 0, count: 0 };
        let done = self.done::<nfs3::COMMIT3resok, nfs3::COMMIT3resfail>(P::NFSPROC3_COMMIT, args);
        Ok(Verifier(u64::from_be_bytes(done.await?.verf.0)))
    }

    pub(crate) async fn read(&self, file: Handle, offset: u64, count: u32) -> Answer<Vec<u8>> {
        type Done = nfs3::READ3resok<'static>;
        let args = nfs3::READ3args { file: fh(file), offset, count };
        let done = self.done::<Done, nfs3::READ3resfail>(P::NFSPROC3_READ, args).await?;
        assert_eq!(done.count as usize, done.data.len(), "READ: count and bytes differ");
        Ok(done.data.into_owned())
    }

    pub(crate) async fn readlink(&self, link: Handle) -> Answer<Vec<u8>> {
        type Done = nfs3::READLINK3resok<'static>;
        let args = nfs3::READLINK3args { symlink: fh(link) };
        let done = self.done::<Done, nfs3::READLINK3resfail>(P::NFSPROC3_READLINK, args);
        Ok(done.await?.data.0.into_owned())
    }

    pub(crate) async fn getattr(&self, of: Handle) -> Answer<Seen> {
        let args = nfs3::GETATTR3args { object: fh(of) };
        let done = self.done::<nfs3::GETATTR3resok, Void>(P::NFSPROC3_GETATTR, args);
        let attr = done.await?.obj_attributes;
        let nfstime3 { seconds, nseconds } = attr.mtime;
        let mtime = Time { seconds: seconds.into(), nanos: nseconds };
        Ok(Seen { size: attr.size, nlink: attr.nlink, mode: attr.mode, mtime })
    }

    /// The next names, about so many, and whether they are the last.
    pub(crate) async fn readdir(
        &self,
        dir: Handle,
        from: &Place,
        entries: usize,
        with_found: bool,
    ) -> Answer<(Vec<Vec<u8>>, bool)> {
        type Plain = nfs3::READDIR3resok<'static>;
        type Plus = nfs3::READDIRPLUS3resok<'static>;
        let (dir, cookie, cookieverf) = (fh(dir), from.cookie.get(), from.verifier.get());
        // The longest name fits, and what is around it.
        let count = u32::try_from(700 + entries.min(100) * 40).expect("small");
        let (page, end, verifier): (Vec<_>, _, _) = if with_found {
            let (dircount, maxcount) = (count, count);
            let args = nfs3::READDIRPLUS3args { dir, cookie, cookieverf, dircount, maxcount };
            let done =
                self.done::<Plus, nfs3::READDIRPLUS3resfail>(P::NFSPROC3_READDIRPLUS, args).await?;
            let page =
                done.reply.entries.into_inner().into_iter().map(|one| (one.cookie, one.name));
            (page.collect(), done.reply.eof, done.cookieverf)
        } else {
            let args = nfs3::READDIR3args { dir, cookie, cookieverf, count };
            let done = self.done::<Plain, nfs3::READDIR3resfail>(P::NFSPROC3_READDIR, args).await?;
            let page =
                done.reply.entries.into_inner().into_iter().map(|one| (one.cookie, one.name));
            (page.collect(), done.reply.eof, done.cookieverf)
        };
        assert!(end || !page.is_empty(), "nothing, and no end");
        from.cookie.set(page.last().map_or(cookie, |(cookie, _)| *cookie));
        from.verifier.set(verifier);
        Ok((page.into_iter().map(|(_, name)| name.0.into_owned()).collect(), end))
    }
}

fn fh(handle: Handle) -> nfs_fh3 {
    nfs_fh3 { data: Opaque::owned(handle.encode().to_vec()) }
}

fn place(dir: Handle, name: &str) -> diropargs3<'_> {
    diropargs3 { dir: fh(dir), name: name.as_bytes().into() }
}

fn made(handle: Nfs3Option<nfs_fh3>) -> Answer<Handle> {
    let Nfs3Option::Some(handle) = handle else { panic!("made, and no handle") };
    Handle::decode(&handle.data)
}

fn size(after: Nfs3Option<nfs3::fattr3>) -> Option<u64> {
    match after {
        Nfs3Option::Some(attr) => Some(attr.size),
        Nfs3Option::None => None,
    }
}

fn sent(set: SetAttr) -> sattr3 {
    let option = |value: Option<u32>| value.map_or(Nfs3Option::None, Nfs3Option::Some);
    sattr3 {
        mode: option(set.mode),
        size: set.size.map_or(Nfs3Option::None, Nfs3Option::Some),
        mtime: match set.mtime {
            SetTime::Keep => set_mtime::DONT_CHANGE,
            SetTime::Now => set_mtime::SET_TO_SERVER_TIME,
            SetTime::To(Time { seconds, nanos }) => set_mtime::SET_TO_CLIENT_TIME(nfstime3 {
                seconds: u32::try_from(seconds).expect("a time of today"),
                nseconds: nanos,
            }),
        },
        ..sattr3::default()
    }
}

fn meant(status: nfsstat3) -> Error {
    let known = MEANT.iter().find(|(one, _)| *one == status);
    known.unwrap_or_else(|| panic!("no status for this: {status}")).1
}
