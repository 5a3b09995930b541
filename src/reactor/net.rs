//! TCP connections through the ring, or those of a simulated world.
//!
//! Guards against monoio 0.2.4: its vectored "all" helpers corrupt data on short writes, so
//! [`Stream::send`] resumes by itself; its cancelled accept leaks a descriptor, so [`Listener`]
//! waits for readiness and calls `accept4` on a socket that does not block.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, Shutdown, SocketAddrAny, SocketFlags, SocketType, acceptfrom_with, sockopt,
    },
};

use crate::{
    local::{self, Local},
    mailbox::{self, Remote},
    oneshot, runtime,
    sim::{self, net::End},
    sys::{
        buffer,
        socket::{self, Socket},
    },
    views,
};

/// Connections that may wait for an accept.
const BACKLOG: i32 = 1024;
/// Pause after an accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A peer that is silent so long is asked whether it lives, so often, so many times.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// Accepts connections on all the reactors and hands each to `on_stream` on the reactor that shall
/// own it. Call it on a plain thread, or in a world.
///
/// Each reactor has its own listener (`SO_REUSEPORT`); with port 0 the first one decides. The owner
/// is the reactor with the fewest open connections of that client, so several connections of one
/// client spread evenly.
///
/// # Errors
/// The kernel's.
pub fn listen(
    remotes: &[Remote],
    address: SocketAddr,
    on_stream: impl Fn(Stream, SocketAddr) + Clone + Send + 'static,
) -> io::Result<Listening> {
    assert!(!remotes.is_empty(), "somebody must accept");
    if let Some(Local::World(core)) = local::get().as_deref() {
        let address = core.network().listen(address, on_stream)?;
        return Ok(Listening { address, sockets: Vec::new(), ended: Vec::new() });
    }
    let mut sockets = vec![listening_socket(address)?];
    let address = sockets[0].local_addr()?;
    for _ in 1..remotes.len() {
        sockets.push(listening_socket(address)?);
    }
    let balance = Arc::new(Balance::new(remotes));
    let mut listening = Listening { address, sockets: Vec::new(), ended: Vec::new() };
    for (remote, socket) in remotes.iter().zip(sockets) {
        listening.sockets.push(socket.try_clone()?);
        let (balance, on_stream) = (balance.clone(), on_stream.clone());
        listening.ended.push(remote.call(move || accept_all(socket, balance, on_stream)));
    }
    Ok(listening)
}

/// Whether nobody listens there, and so [`listen`] could. By the time it does, somebody may.
#[must_use]
pub fn is_free(address: SocketAddr) -> bool {
    // Without the options of `listening_socket`: those share a port.
    std::net::TcpListener::bind(address).is_ok()
}

/// A running [`listen`]. Dropping it ends the accepting too.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    sockets: Vec<std::net::TcpListener>,
    ended: Vec<oneshot::Receiver<()>>,
}

impl Listening {
    /// Where it listens, also when the port was 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends accepting; open connections go on. On a plain thread the port is free on return.
    pub fn stop(mut self) {
        self.end();
        if local::get().is_none() {
            for ended in self.ended.drain(..) {
                // A reactor that has stopped accepts no more either.
                ended.wait().ok();
            }
        }
    }

    fn end(&mut self) {
        if let Some(Local::World(core)) = local::get().as_deref() {
            core.network().end(self.address);
        }
        for socket in self.sockets.drain(..) {
            // Wakes who waits for readiness; the next accept then fails.
            rustix::net::shutdown(&socket, Shutdown::Both).ok();
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.end();
    }
}

/// A listening socket with `SO_REUSEPORT`, one for each reactor.
#[derive(Debug)]
pub struct Listener {
    /// Waits for readiness.
    ring: monoio::net::TcpListener,
    /// The same socket, to accept from.
    socket: std::net::TcpListener,
    _open: Open,
}

impl Listener {
    /// Listens on this reactor.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::new(listening_socket(address)?)
    }

    /// Where it listens, also when the port was 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket has an address")
    }

    /// The next connection.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (socket, peer) = self.accept_raw().await?;
        Ok((Stream::new(socket, None)?, peer))
    }

    fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        let ring = monoio::net::TcpListener::from_std(socket.try_clone()?)?;
        Ok(Self { _open: Open::new(ring.as_raw_fd()), ring, socket })
    }

    async fn accept_raw(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        loop {
            match acceptfrom_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok((socket, peer)) => {
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    let peer = peer.ok_or(io::ErrorKind::NotConnected)?;
                    return Ok((socket, peer));
                }
                Err(Errno::AGAIN) => self.ring.readable(false).await?,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A connection. Cloning shares it, so that one task receives while another sends.
#[derive(Clone, Debug)]
pub struct Stream {
    inner: Rc<Connection>,
}

#[derive(Debug)]
struct Connection {
    driver: Driver,
    receiving: Cell<bool>,
    sending: Cell<bool>,
    local: Option<SocketAddr>,
    _lease: Option<Lease>,
}

#[derive(Debug)]
enum Driver {
    Ring(Socket, #[expect(dead_code, reason = "dropped after the socket")] Open),
    World(End),
}

impl Stream {
    /// Appends what has arrived to the buffer, at least 1 byte and at most its spare capacity,
    /// which must not be 0; 0 at the end of the stream. Dropping the future loses what arrives: end
    /// a receive with [`Stream::shutdown`].
    ///
    /// # Errors The kernel's.
    pub async fn recv(&self, buffer: BytesMut) -> (io::Result<usize>, BytesMut) {
        let _claim = Claim::new(&self.inner.receiving, "one receive at a time");
        let socket = match &self.inner.driver {
            Driver::Ring(socket, _) => socket,
            Driver::World(end) => return end.recv(buffer).await,
        };
        let mut buffer = buffer::Receive::new(buffer);
        loop {
            let (result, back) = socket.read(buffer).await;
            buffer = back;
            if !matches!(&result, Err(error) if error.kind() == io::ErrorKind::Interrupted) {
                // What was posted before these bytes arrived is run before they are answered.
                mailbox::drain_here();
                return (result, buffer.into_inner());
            }
        }
    }

    /// Sends all the parts with as few calls as the kernel allows, without copying them. Dropping
    /// the future may leave a part unsent.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn send(&self, parts: Vec<Bytes>) -> io::Result<()> {
        let _claim = Claim::new(&self.inner.sending, "one send at a time");
        let socket = match &self.inner.driver {
            Driver::Ring(socket, _) => socket,
            Driver::World(end) => return end.send(parts).await,
        };
        let mut parts = buffer::Gather::new(parts);
        while !parts.is_done() {
            let (result, back) = socket.write(parts).await;
            parts = back;
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => parts.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.raw_os_error() == Some(libc::EFAULT) {
                        views::examine(parts.into_parts()).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Our end, as the peer sees it.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.inner.local
    }

    /// Ends both directions at once; pending calls return.
    pub fn shutdown(&self) {
        match &self.inner.driver {
            Driver::Ring(socket, _) => socket::shutdown(socket.fd(), Shutdown::Both),
            Driver::World(end) => end.shutdown(),
        }
    }

    /// Connects from this reactor.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        if sim::is_here() {
            return sim::net::connect(address.ip(), address).await;
        }
        let socket = monoio::net::TcpStream::connect_addr(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self::from_ring(socket, None))
    }

    fn new(socket: OwnedFd, lease: Option<Lease>) -> io::Result<Self> {
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
        let socket = monoio::net::TcpStream::from_std(std::net::TcpStream::from(socket))?;
        Ok(Self::from_ring(socket, lease))
    }

    fn from_ring(socket: monoio::net::TcpStream, lease: Option<Lease>) -> Self {
        let local = socket.local_addr().ok();
        let socket = Socket::new(socket);
        let open = Open::new(socket.fd());
        Self::of(Driver::Ring(socket, open), local, lease)
    }

    pub(crate) fn simulated(end: End) -> Self {
        let local = Some(end.local);
        Self::of(Driver::World(end), local, None)
    }

    fn of(driver: Driver, local: Option<SocketAddr>, lease: Option<Lease>) -> Self {
        let (receiving, sending) = (Cell::new(false), Cell::new(false));
        Self { inner: Rc::new(Connection { driver, receiving, sending, local, _lease: lease }) }
    }
}

/// A bound, listening socket that does not block.
fn listening_socket(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrAny::from(address))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(std::net::TcpListener::from(socket))
}

/// Accepts on one reactor until the socket is shut down.
async fn accept_all(
    socket: std::net::TcpListener,
    balance: Arc<Balance>,
    on_stream: impl Fn(Stream, SocketAddr) + Clone + Send + 'static,
) {
    let listener = match Listener::new(socket) {
        Ok(listener) => listener,
        Err(error) => return trace::error!("a reactor does not accept connections: {error}"),
    };
    loop {
        match listener.accept_raw().await {
            Ok((socket, peer)) => {
                let (owner, lease) = Balance::assign(&balance, peer.ip());
                let on_stream = on_stream.clone();
                // A reactor that has stopped drops the closure, and with it the socket.
                owner.post(move || match Stream::new(socket, Some(lease)) {
                    Ok(stream) => on_stream(stream, peer),
                    Err(error) => trace::debug!("connection from {peer} ended early: {error}"),
                });
            }
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => return,
            Err(error) => {
                trace::warn!("no connection is accepted for the moment: {error}");
                runtime::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Open connections by client and reactor.
#[derive(Debug)]
struct Balance {
    remotes: Vec<Remote>,
    /// Touched when a connection opens or closes.
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    by_client: BTreeMap<IpAddr, Vec<u32>>,
    total: Vec<u32>,
}

/// A place of one connection; dropping it frees the place.
#[derive(Debug)]
struct Lease {
    balance: Arc<Balance>,
    client: IpAddr,
    owner: usize,
}

impl Balance {
    fn new(remotes: &[Remote]) -> Self {
        let counts = Counts { by_client: BTreeMap::new(), total: vec![0; remotes.len()] };
        Self { remotes: remotes.to_vec(), counts: Mutex::new(counts) }
    }

    /// The reactor with the fewest connections of this client, then with the fewest of all.
    fn assign(this: &Arc<Self>, client: IpAddr) -> (Remote, Lease) {
        let mut counts = this.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { by_client, total } = &mut *counts;
        let own = by_client.entry(client).or_insert_with(|| vec![0; total.len()]);
        let owner = (0..total.len())
            .min_by_key(|&reactor| (own[reactor], total[reactor]))
            .expect("there is a reactor");
        own[owner] += 1;
        total[owner] += 1;
        (this.remotes[owner].clone(), Lease { balance: this.clone(), client, owner })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut counts = self.balance.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total[self.owner] -= 1;
        let own = counts.by_client.get_mut(&self.client).expect("counted when it opened");
        own[self.owner] -= 1;
        if own.iter().all(|&count| count == 0) {
            counts.by_client.remove(&self.client);
        }
    }
}

/// Registers a socket with its reactor for as long as it is open there.
#[derive(Debug)]
pub(crate) struct Open(RawFd);

impl Open {
    pub(crate) fn new(fd: RawFd) -> Self {
        local::with_reactor(|reactor| reactor.sockets.borrow_mut().insert(fd))
            .expect("sockets live on reactors");
        Self(fd)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        local::with_reactor(|reactor| reactor.sockets.borrow_mut().remove(&self.0));
    }
}

/// Sees to it that a direction has one user at a time.
struct Claim<'a>(&'a Cell<bool>);

impl<'a> Claim<'a> {
    fn new(cell: &'a Cell<bool>, rule: &str) -> Self {
        assert!(!cell.replace(true), "{rule}");
        Self(cell)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
