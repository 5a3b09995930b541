//! RPC over a simulated network, as a client's kernel does it: what was not answered is asked again
//! with the same transaction id, by another connection if the last one is gone.
//!
//! Invariants: an answer counts when all of it has arrived; a new question has a new id.

use std::{
    cell::{Cell, RefCell},
    fmt::Debug,
    io::Cursor,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use nfs3_types::{
    mount::{self, dirpath, mountres3},
    nfs3::{self, NFS_PROGRAM, Nfs3Result, nfsstat3},
    rpc::{
        RPC_VERSION_2, accept_stat_data, auth_unix, call_body, fragment_header, msg_body,
        opaque_auth, reply_body, rpc_msg,
    },
    xdr_codec::{Opaque, Pack, Unpack},
};
use reactor::{net::Stream, rng::random_u64, sim};

/// Where the servers of worlds listen.
pub(crate) fn server() -> SocketAddr {
    ([10, 0, 1, 1], 2049).into()
}

/// A call is sent so often before the world is called wrong.
const TRIES_MAX: u32 = 3000;
/// Longest wait for an answer, before it is asked again.
const PATIENCE: Duration = Duration::from_millis(400);
const RECEIVE_BYTES: usize = 64 * 1024;

/// A client's host.
#[derive(Debug)]
pub(crate) struct Wire {
    address: IpAddr,
    xid: Cell<u32>,
    stream: RefCell<Option<Stream>>,
    inbox: RefCell<BytesMut>,
    /// Calls that were sent more than once.
    repeated: Cell<usize>,
}

impl Wire {
    /// The host of a client, whose first transaction has that id.
    pub(crate) fn new(number: usize, xid: u32) -> Self {
        let number = u8::try_from(number).expect("few");
        Self {
            address: IpAddr::from([10, 0, 0, number]),
            xid: Cell::new(xid),
            stream: RefCell::default(),
            inbox: RefCell::default(),
            repeated: Cell::new(0),
        }
    }

    /// Leaves whatever connection there is.
    pub(crate) fn hang_up(&self) {
        self.stream.take();
        self.inbox.take();
    }

    /// Calls that were sent more than once.
    pub(crate) fn repeated(&self) -> usize {
        self.repeated.get()
    }

    /// A procedure of NFS; `T` and `E` are its results.
    pub(crate) async fn call<T: Unpack, E: Unpack>(
        &self,
        procedure: NFS_PROGRAM,
        args: &impl Pack,
    ) -> Result<T, nfsstat3> {
        let record = self.record(nfs3::PROGRAM, nfs3::VERSION, procedure as u32, args);
        match self.ask::<Nfs3Result<T, E>>(&procedure, record).await {
            Nfs3Result::Ok(done) => Ok(done),
            Nfs3Result::Err((status, _)) => Err(status),
        }
    }

    /// The handle of a share's root.
    pub(crate) async fn mount(&self, share: &str) -> Vec<u8> {
        let path = dirpath(Opaque::borrowed(share.as_bytes()));
        let procedure = mount::MOUNT_PROGRAM::MOUNTPROC3_MNT as u32;
        let record = self.record(mount::PROGRAM, mount::VERSION, procedure, &path);
        match self.ask::<mountres3<'static>>(&"MNT", record).await {
            mountres3::Ok(done) => done.fhandle.0.to_vec(),
            mountres3::Err(status) => panic!("MNT of {share}: {status:?}"),
        }
    }

    fn record(&self, prog: u32, vers: u32, proc: u32, args: &impl Pack) -> (u32, Bytes) {
        let xid = self.xid.get().wrapping_add(1);
        self.xid.set(xid);
        let root = auth_unix {
            machinename: Opaque::borrowed(b"world"),
            gids: vec![0],
            ..auth_unix::default()
        };
        let (cred, verf) = (opaque_auth::auth_unix(&root), opaque_auth::default());
        let call = call_body { rpcvers: RPC_VERSION_2, prog, vers, proc, cred, verf };
        let mut call_bytes = Vec::new();
        let message = rpc_msg { xid, body: msg_body::CALL(call) };
        message.pack(&mut call_bytes).expect("memory");
        args.pack(&mut call_bytes).expect("memory");
        let mut record = Vec::new();
        let first = match random_u64() % 8 {
            0 => call_bytes.len() / 8 * 4,
            _ => call_bytes.len(),
        };
        for (part, is_last) in [(&call_bytes[..first], false), (&call_bytes[first..], true)] {
            let is_whole = first == call_bytes.len();
            if !(is_whole && is_last) {
                let len = u32::try_from(part.len()).expect("small");
                fragment_header::new(len, is_last || is_whole).pack(&mut record).expect("memory");
                record.extend(part);
            }
        }
        (xid, record.into())
    }

    async fn ask<T: Unpack>(&self, what: &dyn Debug, (xid, record): (u32, Bytes)) -> T {
        for attempt in 0..TRIES_MAX {
            self.repeated.set(self.repeated.get() + usize::from(attempt == 1));
            if attempt > 0 {
                reactor::sleep(Duration::from_micros(100 + random_u64() % 5000)).await;
            }
            let Some(stream) = self.stream().await else { continue };
            let patience = PATIENCE / (1 + u32::try_from(random_u64() % 8).expect("small"));
            let sent = reactor::timeout(PATIENCE, stream.send(vec![record.clone()])).await;
            if !matches!(sent, Some(Ok(()))) {
                self.hang_up();
                continue;
            }
            match reactor::timeout(patience, self.reply(&stream, xid)).await {
                Some(Some(reply)) => return understood(&reply),
                Some(None) => self.hang_up(),
                // Asked again, by the same way or by another.
                None if random_u64().is_multiple_of(2) => self.hang_up(),
                None => {}
            }
        }
        panic!("{what:?}, call {xid}, is never answered; it is {:?}", reactor::clock::monotonic());
    }

    async fn stream(&self) -> Option<Stream> {
        let known = self.stream.borrow().clone();
        if known.is_some() {
            return known;
        }
        let fresh = sim::net::connect(self.address, server()).await.ok()?;
        self.stream.replace(Some(fresh.clone()));
        Some(fresh)
    }

    /// The reply to a call; `None` when the connection ends before.
    async fn reply(&self, stream: &Stream, xid: u32) -> Option<Bytes> {
        loop {
            while let Some(reply) = self.next_record() {
                // Others answer what was asked again, and was answered meanwhile.
                if reply[..4] == xid.to_be_bytes() {
                    return Some(reply);
                }
            }
            let (received, part) = stream.recv(BytesMut::with_capacity(RECEIVE_BYTES)).await;
            if received.ok()? == 0 {
                return None;
            }
            self.inbox.borrow_mut().extend_from_slice(&part);
        }
    }

    fn next_record(&self) -> Option<Bytes> {
        let mut inbox = self.inbox.borrow_mut();
        let mark = fragment_header::from(*inbox.first_chunk::<4>()?);
        assert!(mark.eof(), "the server sends records of one fragment");
        let end = 4 + mark.fragment_length() as usize;
        (inbox.len() >= end).then(|| inbox.split_to(end).split_off(4).freeze())
    }
}

/// What a reply says.
fn understood<T: Unpack>(reply: &[u8]) -> T {
    let mut cursor = Cursor::new(reply);
    let (message, _) = rpc_msg::unpack(&mut cursor).unwrap_or_else(|error| no_reply(&error));
    let is_accepted = matches!(
        &message.body,
        msg_body::REPLY(reply_body::MSG_ACCEPTED(accepted))
            if matches!(accepted.reply_data, accept_stat_data::SUCCESS)
    );
    assert!(is_accepted, "no results: {:?}", message.body);
    let (results, _) = T::unpack(&mut cursor).unwrap_or_else(|error| no_reply(&error));
    assert_eq!(cursor.position(), reply.len() as u64, "bytes behind the results");
    results
}

fn no_reply(why: &dyn Debug) -> ! {
    panic!("a reply that is none: {why:?}")
}
