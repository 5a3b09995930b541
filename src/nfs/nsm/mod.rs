//! The status monitor: which clients to tell of a restart, what to do after one, and what to do
//! when a client tells of its own.
//!
//! What is durable is who may hold locks, not the locks: after a restart each client is told, and
//! reclaims what it holds while nobody may take anything new. Only the client knows whether it
//! still wants a lock, and a sync for each lock would buy nothing. So a client is in the file, and
//! the file on disk, before its first lock is granted.
//!
//! All of it happens on the reactor of the lock table.

mod file;
mod notify;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reactor::{oneshot, thread, whole};
use trace::{error, info, warn};
use vfs::{Locks, locks::Client};

use crate::{
    call::{PORTMAPPER_PORT, Peer},
    nlm,
    wire::nsm::{Listener, Watch},
};
use file::Kept;

/// Most clients that are watched, and most that wait to be told of a restart.
const HOSTS_MAX: usize = 1024;
/// Most of them with one address, however they call themselves.
const ADDRESS_HOSTS_MAX: usize = 128;
/// Most hosts that somebody on this machine wants watched.
const WATCHES_MAX: usize = 256;

/// How to monitor.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file of the clients to tell of a restart; `None`: a restart is told to nobody.
    pub path: Option<PathBuf>,
    /// How long after a restart only what was held before may be locked.
    pub grace: Duration,
    /// Our name, as clients know us. They are told our address as well.
    pub name: String,
    /// The port where the portmappers of clients are asked.
    pub client_portmapper: u16,
}

impl Default for Config {
    fn default() -> Self {
        let name = reactor::host_name();
        Self {
            path: None,
            grace: Duration::from_secs(45),
            name,
            client_portmapper: PORTMAPPER_PORT,
        }
    }
}

/// A client that may hold locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Host {
    /// Our address as it knows us.
    local: IpAddr,
    /// The last state that it told of; 0: none.
    told: u32,
}

/// The status monitor of a server. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Monitor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    locks: Locks,
    /// Locked on the table's reactor only (and at start), and never over an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: Kept,
    /// Clients of an earlier life, to be told that it is over.
    to_tell: BTreeMap<Vec<u8>, Host>,
    /// Grows with each restart, so that a grace ends with its own timer.
    life: u64,
    /// Clients that the file on disk may not have yet.
    fresh: BTreeSet<Vec<u8>>,
    /// Who waits for the file to be on disk.
    savers: Vec<oneshot::Sender<bool>>,
    is_saving: bool,
}

impl Monitor {
    /// Begins a life: counts it, and lets clients of the one before reclaim. Call it on a plain
    /// thread or in a world, before anybody is served.
    ///
    /// # Errors
    /// In words for the operator.
    pub(crate) async fn start(config: Config, locks: Locks) -> io::Result<Self> {
        let mut state = State::default();
        if let Some(path) = &config.path {
            state.kept = load(path)?;
            state.begin();
            whole::replace(path, &state.file())?;
        } else {
            state.begin();
        }
        let home = locks.home().clone();
        let monitor = Self(Arc::new(Shared { config, locks, state: Mutex::new(state) }));
        let begin = monitor.clone();
        let begun = home.call(move || async move { begin.recover().await });
        begun.await.map_err(|_| io::ErrorKind::NotConnected)?;
        Ok(monitor)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the portmappers of clients are.
    pub(crate) fn client_portmapper(&self) -> u16 {
        self.0.config.client_portmapper
    }

    /// Our state number.
    pub(crate) fn number(&self) -> u32 {
        self.state().kept.number
    }

    /// The grace after a restart, and the notices of it.
    async fn recover(&self) {
        let (life, clients) = {
            let state = self.state();
            (state.life, state.to_tell.keys().cloned().collect::<Vec<_>>())
        };
        if clients.is_empty() {
            return;
        }
        let grace = self.0.config.grace;
        info!(clients = clients.len(), ?grace, "after a restart, clients reclaim their locks");
        self.0.locks.run(|table| table.set_grace(true)).await.ok();
        let monitor = self.clone();
        reactor::spawn(async move {
            reactor::sleep(grace).await;
            if monitor.state().life == life {
                monitor.0.locks.run(|table| table.set_grace(false)).await.ok();
                info!("new locks are granted again");
            }
        });
        for client in clients {
            let monitor = self.clone();
            reactor::spawn(async move { monitor.tell(client, life).await });
        }
    }

    /// Sees to it that a client will be told of a restart. False: it cannot be, so it may hold no
    /// locks.
    pub(crate) async fn watch(&self, client: &Client, peer: Peer) -> bool {
        let host = {
            let state = self.state();
            if state.kept.hosts.contains_key(&*client.name) && !state.fresh.contains(&*client.name)
            {
                return true;
            }
            let told = state.to_tell.get(&*client.name).map_or(0, |host| host.told);
            Host { local: peer.local, told }
        };
        if self.state().is_full(client) {
            self.drop_idle().await;
        }
        {
            let mut state = self.state();
            if state.is_full(client) && !state.kept.hosts.contains_key(&*client.name) {
                warn!(client = %peer.address, "no lock: too many clients have some");
                return false;
            }
            let State { kept, fresh, .. } = &mut *state;
            kept.hosts.insert(client.name.to_vec(), host);
            fresh.insert(client.name.to_vec());
        }
        let is_saved = self.save().await;
        if is_saved {
            self.state().fresh.remove(&*client.name);
        }
        is_saved
    }

    /// Forgets clients that hold nothing.
    async fn drop_idle(&self) {
        let clients: Vec<Vec<u8>> = self.state().kept.hosts.keys().cloned().collect();
        let idle = self.0.locks.run(move |table| {
            let is_idle = |name: &Vec<u8>| !table.has(&nlm::client_named(name));
            clients.into_iter().filter(is_idle).collect::<Vec<_>>()
        });
        let idle = idle.await.unwrap_or_default();
        self.state().kept.hosts.retain(|name, _| !idle.contains(name));
    }

    /// A client says that it restarted: which ones of ours it was. A repeated notice is none.
    pub(crate) async fn restarted(&self, address: IpAddr, name: &[u8], number: u32) -> Vec<Client> {
        let mut found = Vec::new();
        {
            let State { kept, to_tell, .. } = &mut *self.state();
            let is_it = |known: &[u8]| nlm::is_client_of(known, address, name);
            for (known, host) in kept.hosts.iter_mut().filter(|(known, _)| is_it(known)) {
                if host.told != number {
                    host.told = number;
                    found.push(nlm::client_named(known));
                }
            }
            // What it held before is gone with it: it has nothing to reclaim.
            to_tell.retain(|known, host| !is_it(known) || host.told == number);
        }
        if !found.is_empty() {
            info!(client = %address, "restarted; its locks are free");
            self.save().await;
        }
        found
    }

    /// SM_MON: somebody on this machine wants to hear of a host. False: there are too many.
    pub(crate) async fn listen(&self, watch: Watch, private: [u8; 16]) -> bool {
        {
            let watches = &mut self.state().kept.watches;
            if watches.len() >= WATCHES_MAX && !watches.contains_key(&watch) {
                return false;
            }
            watches.insert(watch, private);
        }
        self.save().await
    }

    /// SM_UNMON and SM_UNMON_ALL.
    pub(crate) async fn unlisten(&self, is_it: impl Fn(&Watch) -> bool) {
        self.state().kept.watches.retain(|watch, _| !is_it(watch));
        self.save().await;
    }

    /// Who wants to hear of a host.
    pub(crate) fn listeners(&self, name: &[u8]) -> Vec<(Listener, [u8; 16])> {
        let state = self.state();
        let watches = state.kept.watches.iter();
        let watches = watches.filter(|(watch, _)| nlm::is_same_host(&watch.name, name));
        watches.map(|(watch, private)| (watch.listener.clone(), *private)).collect()
    }

    /// SM_SIMU_CRASH: as if the server had been killed and started.
    pub(crate) async fn crash(&self) {
        self.0.locks.run(vfs::locks::Table::free_all).await.ok();
        self.state().begin();
        self.save().await;
        self.recover().await;
    }

    /// Puts the state on disk.
    async fn save(&self) -> bool {
        let (sender, saved) = oneshot::channel();
        let is_first = {
            let mut state = self.state();
            state.savers.push(sender);
            !std::mem::replace(&mut state.is_saving, true)
        };
        if is_first {
            let monitor = self.clone();
            reactor::spawn(async move { monitor.save_all().await });
        }
        saved.await.unwrap_or(false)
    }

    /// Saves until nobody asks any more; who asks meanwhile is served by the next round.
    async fn save_all(&self) {
        loop {
            let (bytes, savers) = {
                let mut state = self.state();
                if state.savers.is_empty() {
                    state.is_saving = false;
                    return;
                }
                (state.file(), std::mem::take(&mut state.savers))
            };
            let is_saved = match self.0.config.path.clone() {
                None => true,
                Some(path) => {
                    let write = move || whole::replace(&path, &bytes);
                    let written = match thread::offload("hosts", write) {
                        Ok(written) => {
                            written.await.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
                        }
                        Err(error) => Err(error),
                    };
                    if let Err(error) = &written {
                        error!("clients that hold locks cannot be written down: {error}");
                    }
                    written.is_ok()
                }
            };
            savers.into_iter().for_each(|saver| saver.send(is_saved));
        }
    }
}

impl State {
    /// Whether there is no room for another client.
    fn is_full(&self, client: &Client) -> bool {
        let address = &client.name[..nlm::ADDRESS_BYTES];
        let hosts = &self.kept.hosts;
        let same =
            hosts.range(address.to_vec()..).take_while(|(name, _)| name.starts_with(address));
        hosts.len() >= HOSTS_MAX || same.count() >= ADDRESS_HOSTS_MAX
    }

    /// A new life: whoever held locks in the one before is to be told.
    fn begin(&mut self) {
        // Odd while the server is up (XNFS section 11.3); 1 in the first life.
        self.kept.number = (self.kept.number.wrapping_add(1) | 1) & 0x7fff_ffff;
        self.life += 1;
        self.to_tell.append(&mut self.kept.hosts);
    }

    /// The file: a client is in it until it is told, and for as long as it may hold locks.
    fn file(&self) -> Vec<u8> {
        let mut kept = self.kept.clone();
        for (name, host) in &self.to_tell {
            kept.hosts.entry(name.clone()).or_insert(*host);
        }
        kept.encode()
    }
}

fn load(path: &Path) -> io::Result<Kept> {
    let Some(bytes) = whole::read(path, file::BYTES_MAX)? else { return Ok(Kept::default()) };
    Kept::decode(&bytes).map_err(|why| {
        let text = format!(
            "{}: {why}; without it clients are not told that their locks are gone: unmount them, \
             then remove it",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}
