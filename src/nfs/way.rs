//! Where a call came from, and its reply goes: a connection, or the sender of a datagram.

use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};
use reactor::udp::{self, Datagrams};

use crate::{
    credentials,
    link::Link,
    wire::xdr::{Writer, padding},
};

/// Longest reply in a datagram.
const REPLY_BYTES_MAX: usize = 8 * 1024;

/// What carries a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// The way of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'a> {
    Link(&'a Link),
    Datagram(&'a Door, SocketAddr),
}

/// A UDP socket that is served.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) socket: Datagrams,
    pub(crate) credentials: credentials::Cache,
}

impl Way<'_> {
    pub(crate) fn peer(&self) -> SocketAddr {
        match self {
            Self::Link(link) => link.peer,
            Self::Datagram(_, peer) => *peer,
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Link(_) => Transport::Tcp,
            Self::Datagram(..) => Transport::Udp,
        }
    }

    /// Our address, as the peer sees it.
    pub(crate) fn local(&self) -> IpAddr {
        let bound = match self {
            Self::Link(link) => link.stream.local(),
            Self::Datagram(door, _) => Some(door.socket.address()),
        };
        let (bound, peer) = (bound.map(|address| address.ip()), self.peer().ip());
        let bound = bound.filter(|address| !address.is_unspecified());
        let found = bound.or_else(|| udp::address_towards(peer)).unwrap_or(peer);
        found.to_canonical()
    }

    pub(crate) fn credentials(&self) -> &credentials::Cache {
        match self {
            Self::Link(link) => &link.credentials,
            Self::Datagram(door, _) => &door.credentials,
        }
    }

    /// Sends a reply: what `encode` writes, then the tail and its padding.
    pub(crate) fn reply(&self, fsid: u64, encode: impl FnOnce(&mut Writer<'_>), tail: Vec<Bytes>) {
        match self {
            Self::Link(link) => link.reply(fsid, encode, tail),
            Self::Datagram(door, peer) => {
                let mut reply = BytesMut::new();
                encode(&mut Writer::new(&mut reply, fsid));
                tail.iter().for_each(|part| reply.extend_from_slice(part));
                reply.extend_from_slice(padding(reply.len()));
                // A large reply to a forged sender would flood somebody else.
                if reply.len() <= REPLY_BYTES_MAX {
                    door.socket.send(&reply, *peer);
                }
            }
        }
    }
}
