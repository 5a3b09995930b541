//! NFS: wire codec, dispatch table, one file per procedure.
//!
//! Absent: decisions about permission, locks and durability; they are made in [`vfs`]. NFS over UDP
//! (its helpers MOUNT, NLM and NSM have it), and versions 2 and 4.

mod call;
mod connection;
mod credentials;
mod dispatch;
mod door;
mod drc;
mod inbox;
mod kept;
mod link;
pub mod metrics;
mod mount;
mod nlm;
mod nsm;
mod ops;
mod portmap;
mod procedure;
mod replies;
mod side;
mod signal;
mod status;
#[cfg(test)]
mod tests;
mod way;
mod wire;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use reactor::{
    mailbox::Remote,
    net::{Listening, Stream},
    thread,
    udp::{self, Datagrams},
};
use trace::{debug, info};
use vfs::Vfs;
use vocab::limits::RECORD_BYTES_MAX;

pub use nsm::Config as MonitorConfig;

use crate::{
    dispatch::Nfs,
    drc::Drc,
    inbox::Buffers,
    link::Link,
    nlm::Manager,
    nsm::Monitor,
    portmap::{Registry, register},
    signal::Signal,
    way::Door,
};

/// How to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, for all programs alike. Port 0 takes a free one.
    pub address: SocketAddr,
    /// Serve MOUNT, NLM and NSM over UDP too, at the same port.
    pub has_udp: bool,
    /// The port of an embedded portmapper, at the same address; 0 takes a free one.
    pub portmapper: Option<u16>,
    /// Register with the system's rpcbind.
    pub registers: bool,
    /// The file of who mounted what; `None`: a restart forgets it.
    pub mounts: Option<PathBuf>,
    /// Which clients are told of a restart, and what happens after one.
    pub monitor: MonitorConfig,
    /// Most bytes of one RPC record; a longer one ends its connection.
    pub record_bytes_max: u32,
    /// Most requests under way on one connection; further ones are not received.
    pub in_flight_max: usize,
    /// Most bytes of requests under way and of replies asked for or not yet taken, on one
    /// connection; further requests are not received.
    pub in_flight_bytes_max: usize,
    /// Most connections; further ones are turned away.
    pub connections_max: usize,
    /// Most replies kept for calls that must not run twice.
    pub duplicates_max: usize,
    /// How long they are kept.
    pub duplicates_age: Duration,
}

impl Config {
    /// The defaults, at an address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            has_udp: true,
            portmapper: None,
            registers: false,
            mounts: None,
            monitor: MonitorConfig::default(),
            record_bytes_max: RECORD_BYTES_MAX,
            in_flight_max: 256,
            in_flight_bytes_max: 16 * 1024 * 1024,
            connections_max: 4096,
            duplicates_max: 65_536,
            duplicates_age: Duration::from_secs(120),
        }
    }
}

/// Serves NFS version 3 with its helpers on all the reactors, until it is stopped. Call it on a
/// plain thread.
///
/// # Errors
/// The kernel's: for example the port is taken.
pub fn serve(config: Config, vfs: Vfs, remotes: &[Remote]) -> io::Result<Server> {
    thread::wait(serve_here(config, vfs, remotes))
}

/// What [`serve`] does, in a world or on a plain thread. A world has connections only: no
/// datagrams, no portmapper, no rpcbind.
///
/// # Errors
/// The kernel's.
pub async fn serve_here(config: Config, vfs: Vfs, remotes: &[Remote]) -> io::Result<Server> {
    static SERVERS: AtomicU64 = AtomicU64::new(0);
    let metrics = |remote: &Remote| (remote.id(), Arc::new(metrics::PerReactor::new()));
    let main = Port::take(config.address, config.has_udp)?;
    let portmapper = |port| Port::take(SocketAddr::new(config.address.ip(), port), true);
    let portmapper = config.portmapper.map(portmapper).transpose()?;
    let portmapper_port = portmapper.as_ref().map(|port| port.address.port());
    let registry = Registry::new(main.address.port(), config.has_udp, portmapper_port);
    let monitor = Monitor::start(config.monitor.clone(), vfs.locks().clone()).await?;
    let shared = Arc::new(Shared {
        id: SERVERS.fetch_add(1, Relaxed),
        drc: Arc::new(Drc::new(drc::Bounds {
            replies_max: config.duplicates_max,
            age_max: config.duplicates_age,
        })),
        mounts: Arc::new(mount::table::Table::open(config.mounts.clone())),
        registry: Arc::new(registry),
        manager: Manager::new(vfs.locks().clone(), monitor),
        metrics: remotes.iter().map(metrics).collect(),
        connections: AtomicUsize::new(0),
        vfs,
        config,
    });
    let address = main.address;
    let portmapper_address = portmapper.as_ref().map(|port| port.address);
    let mut listening = Vec::new();
    for port in [Some(main), portmapper].into_iter().flatten() {
        listening.push(port.open(&shared, remotes).await?);
    }
    let registered = match shared.config.registers {
        true => register::register(&shared.registry, address.ip()),
        false => register::Registered::default(),
    };
    info!(%address, "serving NFS");
    if let Some(address) = portmapper_address {
        info!(%address, "serving as portmapper");
    }
    let remotes = remotes.to_vec();
    Ok(Server { shared, address, portmapper_address, listening, registered, remotes })
}

/// A port that is ours, over UDP too if that is served there.
struct Port {
    address: SocketAddr,
    socket: Option<UdpSocket>,
}

impl Port {
    /// A port that is free for both is found by trying, when it is for us to choose.
    const TRIES: usize = 16;

    fn take(mut address: SocketAddr, has_udp: bool) -> io::Result<Self> {
        if address.port() != 0 {
            let socket = has_udp.then(|| udp::bind(address)).transpose()?;
            return Ok(Self { address, socket });
        }
        for _ in 0..Self::TRIES {
            let socket = udp::bind(address)?;
            let free = SocketAddr::new(address.ip(), socket.local_addr()?.port());
            if reactor::net::is_free(free) {
                address = free;
                return Ok(Self { address, socket: has_udp.then_some(socket) });
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// Serves it.
    async fn open(self, shared: &Arc<Shared>, remotes: &[Remote]) -> io::Result<Listening> {
        let on_stream = {
            let shared = shared.clone();
            move |stream, peer| local(&shared).open(&shared, stream, peer)
        };
        let listening = reactor::net::listen(remotes, self.address, on_stream)?;
        if let Some(socket) = self.socket {
            let shared = shared.clone();
            // Calls by datagram are few: one reactor does them all, that of the lock table.
            let open = shared.vfs.locks().home().clone().call(move || async move {
                local(&shared).open_door(Datagrams::new(socket)?);
                io::Result::Ok(())
            });
            open.await.map_err(|_| io::ErrorKind::NotConnected)??;
        }
        Ok(listening)
    }
}

/// A running server. Dropped without [`Server::stop`], it accepts no more; connections go on.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    portmapper_address: Option<SocketAddr>,
    listening: Vec<Listening>,
    registered: register::Registered,
    remotes: Vec<Remote>,
}

impl Server {
    /// Where it listens, also when the port was 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its portmapper listens, if it has one.
    #[must_use]
    pub fn portmapper_address(&self) -> Option<SocketAddr> {
        self.portmapper_address
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> metrics::Snapshot {
        self.shared.snapshot()
    }

    /// Stops: accepts and receives no more, answers what is under way, and cuts what is not through
    /// at the deadline. Call it on a plain thread, while the reactors run.
    pub fn stop(self, deadline: Duration) -> Stopped {
        thread::wait(self.stop_here(deadline))
    }

    /// What [`Server::stop`] does, in a world or on a plain thread.
    pub async fn stop_here(self, deadline: Duration) -> Stopped {
        self.registered.undo(self.address.ip());
        self.listening.into_iter().for_each(Listening::stop);
        let stop = |remote: &Remote| {
            let shared = self.shared.clone();
            remote.call(move || async move { local(&shared).stop(&shared, deadline).await })
        };
        let stopping: Vec<_> = self.remotes.iter().map(stop).collect();
        let mut forced = 0;
        for cut in stopping {
            // A reactor that is gone took its connections along.
            forced += cut.await.unwrap_or_default();
        }
        self.shared.mounts.save();
        info!(address = %self.address, forced, "stopped serving NFS");
        Stopped { forced, metrics: self.shared.snapshot() }
    }
}

/// How a stop went.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Connections that were cut at the deadline, with requests or replies on them.
    pub forced: usize,
    /// The counters at the end.
    pub metrics: metrics::Snapshot,
}

/// A server, as its reactors share it.
#[derive(Debug)]
struct Shared {
    /// Which server of this process.
    id: u64,
    config: Config,
    vfs: Vfs,
    drc: Arc<Drc>,
    mounts: Arc<mount::table::Table>,
    registry: Arc<Registry>,
    manager: Manager,
    metrics: BTreeMap<usize, Arc<metrics::PerReactor>>,
    /// Open connections.
    connections: AtomicUsize,
}

impl Shared {
    fn snapshot(&self) -> metrics::Snapshot {
        metrics::snapshot(self.metrics.values(), self.vfs.locks().counts())
    }
}

/// A server's part on one reactor.
struct Local {
    nfs: Rc<Nfs>,
    buffers: Rc<Buffers>,
    links: RefCell<BTreeMap<u64, Rc<Link>>>,
    doors: RefCell<Vec<Rc<Door>>>,
    next_link: Cell<u64>,
    stopping: Cell<bool>,
    emptied: Signal,
}

thread_local! {
    /// The parts of the servers on this reactor. A server that never stops keeps its own.
    static LOCALS: RefCell<BTreeMap<u64, Rc<Local>>> = const { RefCell::new(BTreeMap::new()) };
}

fn local(shared: &Shared) -> Rc<Local> {
    LOCALS.with_borrow_mut(|locals| {
        locals.entry(shared.id).or_insert_with(|| Rc::new(Local::new(shared))).clone()
    })
}

impl Local {
    fn new(shared: &Shared) -> Self {
        let reactor = reactor::current().expect("connections belong to reactors").id();
        let nfs = Nfs {
            vfs: shared.vfs.clone(),
            drc: shared.drc.clone(),
            mounts: shared.mounts.clone(),
            registry: shared.registry.clone(),
            manager: shared.manager.clone(),
            metrics: shared.metrics[&reactor].clone(),
            shares: RefCell::default(),
        };
        Self {
            nfs: Rc::new(nfs),
            buffers: Rc::new(Buffers::new(shared.config.record_bytes_max as usize)),
            links: RefCell::default(),
            doors: RefCell::default(),
            next_link: Cell::new(0),
            stopping: Cell::new(false),
            emptied: Signal::default(),
        }
    }

    /// Takes a new connection.
    fn open(self: Rc<Self>, shared: &Arc<Shared>, stream: Stream, peer: SocketAddr) {
        let metrics = self.nfs.metrics.clone();
        if shared.connections.fetch_add(1, Relaxed) >= shared.config.connections_max
            || self.stopping.get()
        {
            shared.connections.fetch_sub(1, Relaxed);
            metrics.refused();
            debug!(%peer, "turned away");
            return stream.shutdown();
        }
        metrics.accepted();
        debug!(%peer, "connected");
        let limits = link::Limits {
            record_bytes_max: shared.config.record_bytes_max as usize,
            in_flight_max: shared.config.in_flight_max,
            bytes_max: shared.config.in_flight_bytes_max,
        };
        let link = Rc::new(Link::new(stream, peer, limits, metrics, self.buffers.clone()));
        let id = self.next_link.replace(self.next_link.get() + 1);
        self.links.borrow_mut().insert(id, link.clone());
        let shared = shared.clone();
        reactor::spawn(async move {
            connection::serve(self.nfs.clone(), link).await;
            self.links.borrow_mut().remove(&id);
            self.nfs.metrics.closed();
            shared.connections.fetch_sub(1, Relaxed);
            self.emptied.notify();
        });
    }

    /// Takes a new UDP socket.
    fn open_door(&self, socket: Datagrams) {
        let door = Rc::new(Door { socket, credentials: credentials::Cache::default() });
        self.doors.borrow_mut().push(door.clone());
        reactor::spawn(door::serve(self.nfs.clone(), door));
    }

    /// Ends all connections; the number of those that had to be cut.
    async fn stop(self: Rc<Self>, shared: &Shared, deadline: Duration) -> usize {
        self.stopping.set(true);
        self.doors.borrow_mut().drain(..).for_each(|door| door.socket.close());
        self.links.borrow().values().for_each(|link| link.stop());
        let empty = self.emptied.until(|| self.links.borrow().is_empty().then_some(()));
        let is_empty = reactor::timeout(deadline, empty).await.is_some();
        let left: Vec<_> = self.links.borrow().values().cloned().collect();
        if !is_empty {
            left.iter().for_each(|link| link.break_off());
            self.emptied.until(|| self.links.borrow().is_empty().then_some(())).await;
        }
        left.iter().for_each(|_| self.nfs.metrics.forced());
        LOCALS.with_borrow_mut(|locals| locals.remove(&shared.id));
        left.len()
    }
}
