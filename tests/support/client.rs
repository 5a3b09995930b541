//! An NFSv3 client in this process: somebody else's codec (nfs3_client) over a blocking socket.
//!
//! One call at a time and connection; several connections make a crowd.

use std::{
    io::{Error, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use nfs3_client::{
    MountClient, MountError, RpcError,
    io::{AsyncRead, AsyncWrite},
    rpc::RpcClient,
};
use nfs3_types::{
    mount::{dirpath, mountstat3},
    nfs3::{self, NFS_PROGRAM, Nfs3Result, nfs_fh3, nfsstat3},
    rpc::{auth_stat, auth_unix, opaque_auth},
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
    /// The server does not let mount.
    Mount(mountstat3),
    /// The server does not believe who we are.
    Auth(auth_stat),
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

/// Who calls, and from where.
#[derive(Clone, Debug)]
pub struct Who {
    /// User, group and further groups; `None` does not say (AUTH_NULL).
    pub user: Option<(u32, u32, Vec<u32>)>,
    /// An address of the loopback network.
    pub from: Ipv4Addr,
    /// From a port below 1024.
    pub is_privileged: bool,
}

impl Who {
    /// A user with its group, from 127.0.0.1.
    #[must_use]
    pub fn user(uid: u32, gid: u32) -> Self {
        let user = Some((uid, gid, vec![gid]));
        Self { user, from: Ipv4Addr::LOCALHOST, is_privileged: false }
    }

    /// Root, from that address.
    #[must_use]
    pub fn at(from: Ipv4Addr) -> Self {
        Self { from, ..Self::user(0, 0) }
    }

    fn credential(&self) -> opaque_auth<'static> {
        let Some((uid, gid, gids)) = self.user.clone() else { return opaque_auth::default() };
        let machinename = Opaque::borrowed(b"tests");
        opaque_auth::auth_unix(&auth_unix { machinename, uid, gid, gids, ..auth_unix::default() })
    }

    /// A bare connection to NFS.
    ///
    /// # Panics
    /// When the server does not listen.
    #[must_use]
    pub fn dial(&self, server: &Server) -> TcpStream {
        self.connect(server.nfs_port.number()).expect("it listens").0
    }

    fn connect(&self, port: u16) -> Answer<Socket> {
        let ports = if self.is_privileged { 600..1024 } else { 0..1 };
        let mut tries = ports.map(|from| {
            Socket::connect((self.from, from).into(), (Ipv4Addr::LOCALHOST, port).into())
        });
        let is_taken = |tried: &Result<_, Error>| {
            tried.as_ref().is_err_and(|e| e.kind() == ErrorKind::AddrInUse)
        };
        let socket = tries.find(|tried| !is_taken(tried)).expect("a free port");
        socket.map_err(|e| Fail::Lost(e.to_string()))
    }

    /// Speaks to MOUNT.
    ///
    /// # Errors
    /// When the server is away.
    pub fn mounts(&self, server: &Server) -> Answer<Mounts> {
        let socket = self.connect(server.mount_port())?;
        Ok(Mounts(MountClient::new_with_auth(socket, self.credential(), opaque_auth::default())))
    }
}

/// A connection to MOUNT.
#[derive(Debug)]
pub struct Mounts(MountClient<Socket>);

impl Mounts {
    /// MNT: the handle, and the flavors.
    ///
    /// # Errors
    /// The server's.
    pub fn mnt(&mut self, path: &str) -> Answer<(Handle, Vec<u32>)> {
        let path = dirpath(Opaque::borrowed(path.as_bytes()));
        match ready(self.0.mnt(path)) {
            Ok(done) => Ok((nfs_fh3 { data: done.fhandle.0 }, done.auth_flavors)),
            Err(MountError::Denied(status)) => Err(Fail::Mount(status)),
            Err(e) => Err(Fail::Lost(format!("mount: {e:?}"))),
        }
    }

    /// EXPORT: shares, and who may mount them.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn export(&mut self) -> Vec<(String, Vec<String>)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ours are UTF-8");
        let exports = ready(self.0.export()).expect("an answer").into_inner();
        let groups = |one: &nfs3_types::mount::export_node<'_, '_>| {
            one.ex_groups.0.iter().map(|group| text(&group.0)).collect()
        };
        exports.iter().map(|one| (text(&one.ex_dir.0), groups(one))).collect()
    }

    /// DUMP: hosts and what they mounted.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn dump(&mut self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("ours are UTF-8");
        let mounts = ready(self.0.dump()).expect("an answer").into_inner();
        mounts.iter().map(|one| (text(&one.ml_hostname.0), text(&one.ml_directory.0))).collect()
    }

    /// UMNT.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn umnt(&mut self, path: &str) {
        let path = dirpath(Opaque::borrowed(path.as_bytes()));
        ready(self.0.umnt(path)).expect("an answer");
    }

    /// UMNTALL.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn umntall(&mut self) {
        ready(self.0.umntall()).expect("an answer");
    }
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
        Self::mount_by(server, share, &Who::user(uid, gid))
    }

    /// Mounts a share, or a folder of it, as somebody from somewhere.
    ///
    /// # Errors
    /// When the server is away or refuses.
    pub fn mount_by(server: &Server, path: &str, who: &Who) -> Answer<Self> {
        let (root, _) = who.mounts(server)?.mnt(path)?;
        Self::with_root(server, root, who)
    }

    /// Uses a handle from elsewhere.
    ///
    /// # Errors
    /// When the server is away.
    pub fn with_root(server: &Server, root: Handle, who: &Who) -> Answer<Self> {
        let socket = who.connect(server.nfs_port.number())?;
        let rpc = RpcClient::new_with_auth(socket, who.credential(), opaque_auth::default());
        Ok(Self { rpc, root })
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
                Err(RpcError::Auth(why)) => return Err(Fail::Auth(why)),
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

    /// SETATTR, with a guard if there is one.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn setattr(
        &mut self,
        object: &Handle,
        new_attributes: nfs3::sattr3,
        guard: Option<nfs3::nfstime3>,
    ) -> Answer<nfs3::wcc_data> {
        let guard = guard.map_or(nfs3::Nfs3Option::None, nfs3::Nfs3Option::Some);
        let args = nfs3::SETATTR3args { object: object.clone(), new_attributes, guard };
        let ok: nfs3::SETATTR3resok =
            self.call::<_, _, nfs3::SETATTR3resfail>(NFS_PROGRAM::NFSPROC3_SETATTR, &args)?;
        Ok(ok.obj_wcc)
    }

    /// SETATTR of the size.
    ///
    /// # Errors
    /// The server's status, or a lost connection.
    pub fn truncate(&mut self, file: &Handle, size: u64) -> Answer<()> {
        let new = nfs3::sattr3 { size: nfs3::Nfs3Option::Some(size), ..nfs3::sattr3::default() };
        self.setattr(file, new, None)?;
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
    fn connect(from: SocketAddr, to: SocketAddr) -> std::io::Result<Self> {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        let fd = socket(family, kind, None)?;
        if from != SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0) {
            bind(&fd, &from)?;
        }
        connect(&fd, &to)?;
        let stream = TcpStream::from(fd);
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
