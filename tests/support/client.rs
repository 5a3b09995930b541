//! An NFSv3 client in this process: somebody else's codec (nfs3_client) over a blocking socket.
//!
//! One call at a time and connection; several connections make a crowd.

use std::{
    io::{Error, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use nfs3_client::{
    MountClient, RpcError,
    io::{AsyncRead, AsyncWrite},
    rpc::RpcClient,
};
use nfs3_types::{
    mount::dirpath,
    nfs3::{self, NFS_PROGRAM, Nfs3Result, nfs_fh3, nfsstat3},
    rpc::{auth_unix, opaque_auth},
    xdr_codec::{Opaque, Pack, Unpack},
};

use super::server::Server;

pub use nfs3_types::nfs3::{fattr3 as Attr, nfs_fh3 as Handle, nfsstat3 as Status, stable_how};

/// Longest wait for one reply. A server that answers later than this is broken.
const REPLY_MAX: Duration = Duration::from_secs(60);

/// Why a call did not succeed.
#[derive(Debug)]
pub enum Fail {
    /// The server says no.
    Status(nfsstat3),
    /// The connection is gone, and with it the answer.
    Lost(String),
}

/// What a call gives.
pub type Answer<T> = Result<T, Fail>;

/// An entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its inode number.
    pub fileid: u64,
}

/// One connection, as some user.
#[derive(Debug)]
pub struct Client {
    rpc: RpcClient<Socket>,
    /// The share's root.
    pub root: Handle,
}

impl Client {
    /// Mounts a share as root.
    ///
    /// # Errors
    /// When the server is away or refuses.
    pub fn mount(server: &Server, share: &str) -> Answer<Self> {
        Self::mount_as(server, share, 0, 0)
    }

    /// Mounts a share as some user.
    ///
    /// # Errors
    /// When the server is away or refuses.
    pub fn mount_as(server: &Server, share: &str, uid: u32, gid: u32) -> Answer<Self> {
        let user = auth_unix {
            machinename: Opaque::borrowed(b"tests"),
            uid,
            gid,
            gids: vec![gid],
            ..auth_unix::default()
        };
        let user = opaque_auth::auth_unix(&user);
        let connect = |port: u16| {
            Socket::connect((std::net::Ipv4Addr::LOCALHOST, port).into())
                .map_err(|e| Fail::Lost(e.to_string()))
        };
        let mut mount = MountClient::new_with_auth(
            connect(server.mount_port())?,
            user.clone(),
            opaque_auth::default(),
        );
        let path = dirpath(Opaque::borrowed(share.as_bytes()));
        let root = ready(mount.mnt(path)).map_err(|e| Fail::Lost(format!("mount: {e:?}")))?;
        let socket = connect(server.nfs_port.number())?;
        Ok(Self {
            rpc: RpcClient::new_with_auth(socket, user, opaque_auth::default()),
            root: nfs_fh3 { data: root.fhandle.0 },
        })
    }

    /// Calls a procedure. A server that is short of room (JUKEBOX) is asked again.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    ///
    /// # Panics
    /// When the server answers what no server may answer.
    pub fn call<A, T, E>(&mut self, procedure: NFS_PROGRAM, args: &A) -> Answer<T>
    where
        A: Pack + Send + Sync,
        T: Unpack,
        E: Unpack,
    {
        for _ in 0..600 {
            let call = self.rpc.call::<A, Nfs3Result<T, E>>(
                nfs3::PROGRAM,
                nfs3::VERSION,
                procedure as u32,
                args,
            );
            match ready(call) {
                Ok(Nfs3Result::Ok(answer)) => return Ok(answer),
                Ok(Nfs3Result::Err((nfsstat3::NFS3ERR_JUKEBOX, _))) => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(Nfs3Result::Err((status, _))) => return Err(Fail::Status(status)),
                Err(RpcError::Io(e)) => return Err(Fail::Lost(e.to_string())),
                Err(e) => panic!("{procedure}: a reply that is none: {e:?}"),
            }
        }
        panic!("{procedure}: JUKEBOX for 30 seconds");
    }

    /// GETATTR.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn getattr(&mut self, object: &Handle) -> Answer<Attr> {
        let args = nfs3::GETATTR3args { object: object.clone() };
        let ok: nfs3::GETATTR3resok =
            self.call::<_, _, nfs3_types::xdr_codec::Void>(NFS_PROGRAM::NFSPROC3_GETATTR, &args)?;
        Ok(ok.obj_attributes)
    }

    /// LOOKUP.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn lookup(&mut self, dir: &Handle, name: &[u8]) -> Answer<Handle> {
        let args = nfs3::LOOKUP3args { what: at(dir, name) };
        let ok: nfs3::LOOKUP3resok =
            self.call::<_, _, nfs3::LOOKUP3resfail>(NFS_PROGRAM::NFSPROC3_LOOKUP, &args)?;
        Ok(ok.object)
    }

    /// CREATE. A server need not return the handle; then it is looked up.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn create(&mut self, dir: &Handle, name: &[u8], how: nfs3::createhow3) -> Answer<Handle> {
        let args = nfs3::CREATE3args { where_: at(dir, name), how };
        let ok: nfs3::CREATE3resok =
            self.call::<_, _, nfs3::CREATE3resfail>(NFS_PROGRAM::NFSPROC3_CREATE, &args)?;
        self.made(ok.obj, dir, name)
    }

    /// CREATE, guarded, mode 0644.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn create_new(&mut self, dir: &Handle, name: &[u8]) -> Answer<Handle> {
        self.create(dir, name, nfs3::createhow3::GUARDED(mode(0o644)))
    }

    /// MKDIR, mode 0755.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn mkdir(&mut self, dir: &Handle, name: &[u8]) -> Answer<Handle> {
        let args = nfs3::MKDIR3args { where_: at(dir, name), attributes: mode(0o755) };
        let ok: nfs3::MKDIR3resok =
            self.call::<_, _, nfs3::MKDIR3resfail>(NFS_PROGRAM::NFSPROC3_MKDIR, &args)?;
        self.made(ok.obj, dir, name)
    }

    /// SYMLINK.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn symlink(&mut self, dir: &Handle, name: &[u8], target: &[u8]) -> Answer<Handle> {
        let args = nfs3::SYMLINK3args {
            where_: at(dir, name),
            symlink: nfs3::symlinkdata3 {
                symlink_attributes: mode(0o777),
                symlink_data: target.into(),
            },
        };
        let ok: nfs3::SYMLINK3resok =
            self.call::<_, _, nfs3::SYMLINK3resfail>(NFS_PROGRAM::NFSPROC3_SYMLINK, &args)?;
        self.made(ok.obj, dir, name)
    }

    /// READLINK.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn readlink(&mut self, symlink: &Handle) -> Answer<Vec<u8>> {
        let args = nfs3::READLINK3args { symlink: symlink.clone() };
        let ok: nfs3::READLINK3resok<'static> =
            self.call::<_, _, nfs3::READLINK3resfail>(NFS_PROGRAM::NFSPROC3_READLINK, &args)?;
        Ok(ok.data.0.into_owned())
    }

    /// LINK.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn link(&mut self, file: &Handle, dir: &Handle, name: &[u8]) -> Answer<()> {
        let args = nfs3::LINK3args { file: file.clone(), link: at(dir, name) };
        self.call::<_, nfs3::LINK3resok, nfs3::LINK3resfail>(NFS_PROGRAM::NFSPROC3_LINK, &args)?;
        Ok(())
    }

    /// REMOVE.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn remove(&mut self, dir: &Handle, name: &[u8]) -> Answer<()> {
        let args = nfs3::REMOVE3args { object: at(dir, name) };
        self.call::<_, nfs3::REMOVE3resok, nfs3::REMOVE3resfail>(
            NFS_PROGRAM::NFSPROC3_REMOVE,
            &args,
        )?;
        Ok(())
    }

    /// RMDIR.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn rmdir(&mut self, dir: &Handle, name: &[u8]) -> Answer<()> {
        let args = nfs3::RMDIR3args { object: at(dir, name) };
        self.call::<_, nfs3::RMDIR3resok, nfs3::RMDIR3resfail>(NFS_PROGRAM::NFSPROC3_RMDIR, &args)?;
        Ok(())
    }

    /// RENAME.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn rename(&mut self, from: (&Handle, &[u8]), to: (&Handle, &[u8])) -> Answer<()> {
        let args = nfs3::RENAME3args { from: at(from.0, from.1), to: at(to.0, to.1) };
        self.call::<_, nfs3::RENAME3resok, nfs3::RENAME3resfail>(
            NFS_PROGRAM::NFSPROC3_RENAME,
            &args,
        )?;
        Ok(())
    }

    /// SETATTR of the size.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn truncate(&mut self, file: &Handle, size: u64) -> Answer<()> {
        let new = nfs3::sattr3 { size: nfs3::Nfs3Option::Some(size), ..nfs3::sattr3::default() };
        let args = nfs3::SETATTR3args {
            object: file.clone(),
            new_attributes: new,
            guard: nfs3::Nfs3Option::None,
        };
        self.call::<_, nfs3::SETATTR3resok, nfs3::SETATTR3resfail>(
            NFS_PROGRAM::NFSPROC3_SETATTR,
            &args,
        )?;
        Ok(())
    }

    /// WRITE. The bytes are at most what one call carries.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn write(
        &mut self,
        file: &Handle,
        offset: u64,
        bytes: &[u8],
        stable: stable_how,
    ) -> Answer<nfs3::WRITE3resok> {
        let args = nfs3::WRITE3args {
            file: file.clone(),
            offset,
            count: u32::try_from(bytes.len()).expect("fits into a call"),
            stable,
            data: Opaque::borrowed(bytes),
        };
        self.call::<_, _, nfs3::WRITE3resfail>(NFS_PROGRAM::NFSPROC3_WRITE, &args)
    }

    /// COMMIT of the whole file: the verifier.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn commit(&mut self, file: &Handle) -> Answer<[u8; 8]> {
        let args = nfs3::COMMIT3args { file: file.clone(), offset: 0, count: 0 };
        let ok: nfs3::COMMIT3resok =
            self.call::<_, _, nfs3::COMMIT3resfail>(NFS_PROGRAM::NFSPROC3_COMMIT, &args)?;
        Ok(ok.verf.0)
    }

    /// READ: the bytes, and whether they reach the end.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    ///
    /// # Panics
    /// When count and bytes differ.
    pub fn read(&mut self, file: &Handle, offset: u64, count: u32) -> Answer<(Vec<u8>, bool)> {
        let args = nfs3::READ3args { file: file.clone(), offset, count };
        let ok: nfs3::READ3resok<'static> =
            self.call::<_, _, nfs3::READ3resfail>(NFS_PROGRAM::NFSPROC3_READ, &args)?;
        assert_eq!(ok.count as usize, ok.data.len(), "READ: count and bytes differ");
        Ok((ok.data.into_owned(), ok.eof))
    }

    /// The whole file, by as many READs as it takes.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    ///
    /// # Panics
    /// When a READ gives nothing and is not at the end.
    pub fn read_all(&mut self, file: &Handle) -> Answer<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let (part, eof) = self.read(file, bytes.len() as u64, 1 << 20)?;
            assert!(eof || !part.is_empty(), "READ at {}: nothing, and no end", bytes.len());
            bytes.extend(part);
            if eof {
                return Ok(bytes);
            }
        }
    }

    /// The whole directory without `.` and `..`, by READDIR calls of `reply_bytes`.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn readdir(&mut self, dir: &Handle, reply_bytes: u32) -> Answer<Vec<Entry>> {
        let (mut all, mut cookie, mut cookieverf) = (Vec::new(), 0, nfs3::cookieverf3::default());
        loop {
            let args =
                nfs3::READDIR3args { dir: dir.clone(), cookie, cookieverf, count: reply_bytes };
            let ok: nfs3::READDIR3resok<'static> =
                self.call::<_, _, nfs3::READDIR3resfail>(NFS_PROGRAM::NFSPROC3_READDIR, &args)?;
            let page = ok.reply.entries.into_inner();
            cookie = page.last().map_or(cookie, |entry| entry.cookie);
            cookieverf = ok.cookieverf;
            let is_stuck = page.is_empty() && !ok.reply.eof;
            all.extend(
                page.into_iter().map(|e| Entry { name: e.name.0.into_owned(), fileid: e.fileid }),
            );
            if ok.reply.eof || is_stuck {
                all.retain(|entry| entry.name != b"." && entry.name != b"..");
                return if is_stuck {
                    Err(Fail::Status(Status::NFS3ERR_TOOSMALL))
                } else {
                    Ok(all)
                };
            }
        }
    }

    /// The same by READDIRPLUS; the attributes that it brings must belong to the entries.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    ///
    /// # Panics
    /// When an entry's attributes are of another file.
    pub fn readdirplus(&mut self, dir: &Handle, reply_bytes: u32) -> Answer<Vec<Entry>> {
        let (mut all, mut cookie, mut cookieverf) = (Vec::new(), 0, nfs3::cookieverf3::default());
        loop {
            let args = nfs3::READDIRPLUS3args {
                dir: dir.clone(),
                cookie,
                cookieverf,
                dircount: reply_bytes,
                maxcount: reply_bytes,
            };
            let ok: nfs3::READDIRPLUS3resok<'static> = self
                .call::<_, _, nfs3::READDIRPLUS3resfail>(
                    NFS_PROGRAM::NFSPROC3_READDIRPLUS,
                    &args,
                )?;
            let page = ok.reply.entries.into_inner();
            cookie = page.last().map_or(cookie, |entry| entry.cookie);
            cookieverf = ok.cookieverf;
            let is_stuck = page.is_empty() && !ok.reply.eof;
            for entry in page {
                if let nfs3::Nfs3Option::Some(attr) = &entry.name_attributes {
                    assert_eq!(attr.fileid, entry.fileid, "READDIRPLUS: {:?}", entry.name);
                }
                all.push(Entry { name: entry.name.0.into_owned(), fileid: entry.fileid });
            }
            if ok.reply.eof || is_stuck {
                all.retain(|entry| entry.name != b"." && entry.name != b"..");
                return if is_stuck {
                    Err(Fail::Status(Status::NFS3ERR_TOOSMALL))
                } else {
                    Ok(all)
                };
            }
        }
    }

    fn made(&mut self, handle: nfs3::post_op_fh3, dir: &Handle, name: &[u8]) -> Answer<Handle> {
        match handle {
            nfs3::Nfs3Option::Some(handle) => Ok(handle),
            nfs3::Nfs3Option::None => self.lookup(dir, name),
        }
    }
}

/// Where a name stands.
#[must_use]
pub fn at<'a>(dir: &Handle, name: &'a [u8]) -> nfs3::diropargs3<'a> {
    nfs3::diropargs3 { dir: dir.clone(), name: name.into() }
}

/// New attributes with only a mode.
#[must_use]
pub fn mode(mode: u32) -> nfs3::sattr3 {
    nfs3::sattr3 { mode: nfs3::Nfs3Option::Some(mode), ..nfs3::sattr3::default() }
}

/// A blocking socket in the clothes of an asynchronous one.
#[derive(Debug)]
struct Socket(TcpStream);

impl Socket {
    fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_MAX))?;
        stream.set_write_timeout(Some(REPLY_MAX))?;
        Ok(Self(stream))
    }
}

impl AsyncRead for Socket {
    /// The end of the stream is an error: the caller would ask for ever.
    async fn async_read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buf) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                panic!("no reply for {REPLY_MAX:?}, and the connection stands")
            }
            read => read,
        }
    }
}

impl AsyncWrite for Socket {
    async fn async_write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        match self.0.write(buf) {
            Ok(0) => Err(Error::from(ErrorKind::WriteZero)),
            written => written,
        }
    }
}

/// The value of a future that never waits, because the socket blocks.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a blocking socket cannot wait"),
    }
}
