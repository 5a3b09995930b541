//! Calls of ours: to clients' lock managers and status monitors, found by their portmappers.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use reactor::{
    net::Stream,
    udp::{self, Datagrams},
};

use crate::{
    way::Transport,
    wire::{
        portmap::{self, Mapping},
        record::{MARK_BYTES, Mark},
        rpc,
        xdr::{Encode, Reader, Writer},
    },
};

/// Where every host's portmapper is.
pub(crate) const PORTMAPPER_PORT: u16 = 111;

/// How long each try by datagram waits for its reply.
const TRIES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// How long a call over TCP may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest reply that is read.
const REPLY_BYTES_MAX: u32 = 8 * 1024;

/// Somebody to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Our address as it knows us: it may listen to no other.
    pub(crate) local: IpAddr,
    /// The port of its portmapper.
    pub(crate) portmapper: u16,
}

/// A program of a peer, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) peer: Peer,
    pub(crate) transport: Transport,
    pub(crate) port: u16,
    pub(crate) program: u32,
    pub(crate) version: u32,
}

impl Peer {
    /// Where a program is: by datagram if it can be had so, for a host that is gone costs least
    /// then. `None`: it is not there, or nobody answers.
    pub(crate) async fn find(&self, program: u32, version: u32) -> Option<Place> {
        for (transport, protocol) in
            [(Transport::Udp, portmap::UDP), (Transport::Tcp, portmap::TCP)]
        {
            let asked = Mapping { program, version, protocol, port: 0 };
            let port = self.portmapper(Transport::Udp, &asked).await;
            let port = match port {
                Some(port) => port,
                None => self.portmapper(Transport::Tcp, &asked).await?,
            };
            if let Some(port) = u16::try_from(port).ok().filter(|&port| port > 0) {
                return Some(Place { peer: *self, transport, port, program, version });
            }
        }
        None
    }

    async fn portmapper(&self, transport: Transport, asked: &Mapping) -> Option<u32> {
        const GETPORT: u32 = 3;
        let (peer, port) = (*self, self.portmapper);
        let (program, version) = (portmap::PROGRAM, 2);
        let portmapper = Place { peer, transport, port, program, version };
        Reader::new(&portmapper.call(GETPORT, asked).await?).u32().ok()
    }
}

impl Place {
    /// The results of a call; `None`: nobody answers, or refuses to.
    pub(crate) async fn call(&self, procedure: u32, args: &impl Encode) -> Option<Vec<u8>> {
        let (xid, call) = self.message(procedure, args);
        match self.transport {
            Transport::Udp => self.by_datagram(xid, &call).await,
            Transport::Tcp => reactor::timeout(PATIENCE, self.by_stream(xid, call)).await.flatten(),
        }
    }

    /// A call whose reply nobody waits for.
    pub(crate) async fn tell(&self, procedure: u32, args: &impl Encode) {
        match self.transport {
            Transport::Udp => {
                let (_, call) = self.message(procedure, args);
                if let Some(socket) = self.socket() {
                    socket.send(&call, self.address());
                }
            }
            Transport::Tcp => drop(self.call(procedure, args).await),
        }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.peer.address, self.port)
    }

    fn message(&self, procedure: u32, args: &impl Encode) -> (u32, Bytes) {
        let xid = u32::try_from(reactor::rng::random_u64() >> 32).expect("the other half is gone");
        let mut call = BytesMut::new();
        let mut writer = Writer::new(&mut call, 0);
        rpc::call(&mut writer, xid, self.program, self.version, procedure);
        args.encode(&mut writer);
        (xid, call.freeze())
    }

    fn socket(&self) -> Option<Datagrams> {
        let local = udp::bind(SocketAddr::new(self.peer.local, 0));
        // An address that is ours no more.
        let any = || udp::bind((Ipv4Addr::UNSPECIFIED, 0).into());
        Datagrams::new(local.or_else(|_| any()).ok()?).ok()
    }

    async fn by_datagram(&self, xid: u32, call: &[u8]) -> Option<Vec<u8>> {
        let socket = self.socket()?;
        for patience in TRIES {
            socket.send(call, self.address());
            let reply = async {
                loop {
                    let (bytes, from) = socket.recv().await.ok()?;
                    if from == self.address()
                        && let Some(results) = results(xid, &bytes)
                    {
                        return Some(results);
                    }
                }
            };
            match reactor::timeout(patience, reply).await {
                Some(Some(results)) => return results,
                Some(None) => return None,
                None => {}
            }
        }
        None
    }

    async fn by_stream(&self, xid: u32, call: Bytes) -> Option<Vec<u8>> {
        let stream = Stream::connect(self.address()).await.ok()?;
        let len = u32::try_from(call.len()).expect("calls of ours are small");
        let mark = Mark { last: true, len }.encode();
        stream.send(vec![Bytes::copy_from_slice(&mark), call]).await.ok()?;
        let mut buffer = BytesMut::with_capacity(REPLY_BYTES_MAX as usize + MARK_BYTES);
        loop {
            if let Some(mark) = Mark::decode(&buffer) {
                if !mark.last || mark.len > REPLY_BYTES_MAX {
                    return None;
                }
                if let Some(reply) = buffer.get(MARK_BYTES..MARK_BYTES + mark.len as usize) {
                    return results(xid, reply)?;
                }
            }
            let (received, back) = stream.recv(buffer).await;
            buffer = back;
            if received.ok()? == 0 {
                return None;
            }
        }
    }
}

/// What a reply says, if it is the one that is waited for.
fn results(xid: u32, reply: &[u8]) -> Option<Option<Vec<u8>>> {
    let reply = rpc::Reply::decode(reply).ok().filter(|reply| reply.xid == xid)?;
    Some(reply.results.map(<[u8]>::to_vec))
}
