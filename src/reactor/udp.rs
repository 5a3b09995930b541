//! UDP sockets: whole datagrams, for protocols whose calls fit into one.
//!
//! The ring tells when a datagram is there; it is then taken with a call that does not block. So no
//! buffer is ever lent to the kernel, and dropping a receive loses nothing.

use std::{
    cell::Cell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, Shutdown, SocketAddrAny, SocketFlags, SocketType},
};

use crate::{mailbox, net::Open, sys::socket};

/// Longest datagram that is taken; of a longer one the rest is lost.
pub const DATAGRAM_BYTES_MAX: usize = 16 * 1024;

/// A bound socket that belongs to no reactor yet.
///
/// # Errors
/// The kernel's: for example the port is taken.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrAny::from(address))?;
    Ok(UdpSocket::from(socket))
}

/// Our address as a peer would see it, by the routes of this machine.
#[must_use]
pub fn address_towards(peer: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match peer {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = bind((any, 0).into()).ok()?;
    // Sends nothing: a port is only needed to choose a route.
    socket.connect((peer, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// A UDP socket of one reactor.
#[derive(Debug)]
pub struct Datagrams {
    /// Waits for readiness.
    ring: monoio::net::udp::UdpSocket,
    /// The same socket, to send and receive.
    socket: UdpSocket,
    is_closed: Cell<bool>,
    _open: Open,
}

impl Datagrams {
    /// Takes a socket of [`bind`] to this reactor.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let ring = monoio::net::udp::UdpSocket::from_std(socket.try_clone()?)?;
        let is_closed = Cell::new(false);
        Ok(Self { _open: Open::new(ring.as_raw_fd()), ring, socket, is_closed })
    }

    /// Where it is bound, also when the port was 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket has an address")
    }

    /// The next datagram, and who sent it.
    ///
    /// # Errors
    /// `NotConnected` once it is closed, and the kernel's. A peer that is not there is no error.
    pub async fn recv(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            if self.is_closed.get() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            match self.socket.recv_from(&mut buffer) {
                Ok((bytes, peer)) => {
                    buffer.truncate(bytes);
                    mailbox::drain_here();
                    return Ok((buffer, peer));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ring.readable(false).await?;
                    if is_shut_down(&self.socket) {
                        self.is_closed.set(true);
                    }
                }
                // What became of a datagram that was sent earlier.
                Err(error) if is_of_a_peer(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a datagram if the kernel has room for it; otherwise it is lost, as any may be.
    pub fn send(&self, bytes: &[u8], peer: SocketAddr) {
        if let Err(error) = self.socket.send_to(bytes, peer) {
            trace::debug!(%peer, %error, "a datagram is lost");
        }
    }

    /// Ends it; a pending receive returns.
    pub fn close(&self) {
        self.is_closed.set(true);
        socket::shutdown(self.ring.as_raw_fd(), Shutdown::Both);
    }
}

/// A socket that is shut down, also by a reactor that stops, is always ready and gives nothing.
fn is_shut_down(socket: &UdpSocket) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

fn is_of_a_peer(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(
            Errno::INTR
                | Errno::CONNREFUSED
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::PROTO
        )
    )
}
