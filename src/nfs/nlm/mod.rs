//! The lock manager: NLM's words for `vfs`'s lock table, and GRANTED for those who waited.
//!
//! It works on the reactor of the table, where nothing comes between a look at the table and what
//! follows from it.
//!
//! Invariant: a block is a wait of the table, or a lock that was granted to a wait and whose client
//! has not said yet that it knows. Whatever tells us that it does (its answer to GRANTED, another
//! LOCK or CANCEL or UNLOCK for it) ends the block first.

mod granted;
mod procedures;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use vfs::{
    Locks,
    locks::{Client, Owner, Range, Request, Table, Token},
};
use vocab::FileId;

use crate::{
    call::Peer,
    nsm::Monitor,
    wire::{
        nlm::{self, Holder, Lock, Procedure, Reply, Version},
        nsm::Watch,
    },
};

pub(crate) use procedures::{Deed, From};

/// Our clients' name among all protocols'.
const REALM: &str = "nlm";
/// Most results on their way at a time: a client that is not there takes seconds to give up.
const RESULTS_MAX: usize = 256;
/// Bytes of an address in a client's name.
pub(crate) const ADDRESS_BYTES: usize = 16;

/// The lock manager of a server. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Manager {
    locks: Locks,
    monitor: Monitor,
    /// Locked on the table's reactor only, and never over an await.
    blocks: Arc<Mutex<BTreeMap<Token, Block>>>,
    /// Results on their way to clients.
    results: Arc<AtomicUsize>,
}

/// Somebody who was told to wait, and not yet that the wait is over.
#[derive(Clone, Debug)]
struct Block {
    request: Request,
    callback: Callback,
}

/// What GRANTED needs: the client, and its words for the lock.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    peer: Peer,
    version: Version,
    cookie: Vec<u8>,
    exclusive: bool,
    caller: Vec<u8>,
    handle: Vec<u8>,
    owner: Vec<u8>,
    svid: u32,
    offset: u64,
    len: u64,
}

impl Manager {
    pub(crate) fn new(locks: Locks, monitor: Monitor) -> Self {
        Self { locks, monitor, blocks: Arc::default(), results: Arc::default() }
    }

    fn blocks(&self) -> MutexGuard<'_, BTreeMap<Token, Block>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// SM_NOTIFY: a client lost all that it held.
    pub(crate) async fn restarted(&self, address: IpAddr, name: Vec<u8>, number: u32) {
        let manager = self.clone();
        let restarted = move || async move {
            for client in manager.monitor.restarted(address, &name, number).await {
                manager.free_client(client).await;
            }
            manager.monitor.pass_on(&name, number).await;
        };
        self.locks.home().clone().call(restarted).await.ok();
    }

    /// SM_MON.
    pub(crate) async fn listen(&self, watch: Watch, private: [u8; 16]) -> bool {
        let monitor = self.monitor.clone();
        let listen = move || async move { monitor.listen(watch, private).await };
        self.locks.home().clone().call(listen).await.unwrap_or(false)
    }

    /// SM_UNMON and SM_UNMON_ALL.
    pub(crate) async fn unlisten(&self, is_it: impl Fn(&Watch) -> bool + Send + 'static) {
        let monitor = self.monitor.clone();
        let unlisten = move || async move { monitor.unlisten(is_it).await };
        self.locks.home().clone().call(unlisten).await.ok();
    }

    /// SM_SIMU_CRASH.
    pub(crate) async fn crash(&self) {
        let manager = self.clone();
        let crash = move || async move {
            manager.blocks().clear();
            manager.monitor.crash().await;
        };
        self.locks.home().clone().call(crash).await.ok();
    }

    /// Calls a client with the result of a message, soon and once. For what is lost, or is one too
    /// many, the client asks again.
    pub(crate) fn tell_result(&self, from: &From, procedure: Procedure, result: Reply) {
        let results = self.results.clone();
        if results.fetch_add(1, Relaxed) >= RESULTS_MAX {
            results.fetch_sub(1, Relaxed);
            return;
        }
        let From { peer, version } = *from;
        reactor::spawn(async move {
            if let Some(place) = peer.find(nlm::PROGRAM, version.number()).await {
                place.tell(procedure.number(), &result).await;
            }
            results.fetch_sub(1, Relaxed);
        });
    }

    pub(crate) fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Ends all that a client has.
    pub(crate) async fn free_client(&self, client: Client) {
        self.blocks().retain(|_, block| block.request.owner.client != client);
        self.locks.run(move |table| table.free_client(&client)).await.ok();
    }
}

impl Callback {
    fn lock(&self) -> Lock<'_> {
        Lock {
            caller: &self.caller,
            handle: &self.handle,
            owner: &self.owner,
            svid: self.svid,
            offset: self.offset,
            len: self.len,
        }
    }
}

/// A client is an address and the name it gives itself there: two hosts may call themselves the
/// same, and several may come from one address.
pub(crate) fn client(address: IpAddr, name: &[u8]) -> Client {
    let address = match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    Client { realm: REALM, name: [&address.octets()[..], name].concat().into() }
}

/// An owner is a process of a client, and what the client calls it.
fn owner(address: IpAddr, lock: &Lock<'_>) -> Owner {
    let key = [&lock.svid.to_be_bytes()[..], lock.owner].concat();
    Owner { client: client(address, lock.caller), key: key.into() }
}

/// Whom TEST names. An owner of another protocol has no words here.
fn holder(table: &Table, request: &Request) -> Option<Holder> {
    let held = table.test(request)?;
    let key = (held.owner.client.realm == REALM).then(|| held.owner.key.split_first_chunk());
    let (svid, owner) = key.flatten().unwrap_or((&[0; 4], &[]));
    Some(Holder {
        exclusive: held.mode == vfs::locks::Mode::Exclusive,
        svid: u32::from_be_bytes(*svid),
        owner: owner.to_vec(),
        offset: held.range.offset(),
        len: held.range.len(),
    })
}

/// The client of a name that [`client`] made.
pub(crate) fn client_named(name: &[u8]) -> Client {
    Client { realm: REALM, name: name.into() }
}

/// A client for the log.
fn shown(client: &Client) -> String {
    let name = client.name.get(ADDRESS_BYTES..).unwrap_or_default();
    let address = address_of(&client.name).map_or_else(String::new, |address| address.to_string());
    format!("{}@{address}", name.escape_ascii())
}

/// The address in a client's name.
pub(crate) fn address_of(client: &[u8]) -> Option<IpAddr> {
    let octets = client.first_chunk::<ADDRESS_BYTES>()?;
    Some(IpAddr::from(*octets).to_canonical())
}

/// Whether a client is the host at an address that calls itself so, there or in its notices.
pub(crate) fn is_client_of(client: &[u8], address: IpAddr, name: &[u8]) -> bool {
    let own = client.get(ADDRESS_BYTES..).unwrap_or_default();
    let by_address = address.to_canonical().to_string();
    address_of(client) == Some(address.to_canonical())
        && (is_same_host(own, name) || name == by_address.as_bytes())
}

/// Whether two names may be of one host: one of them may have its domain, the other not.
pub(crate) fn is_same_host(a: &[u8], b: &[u8]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    long.split_at_checked(short.len()).is_some_and(|(head, rest)| {
        head.eq_ignore_ascii_case(short) && rest.first().is_none_or(|&next| next == b'.')
    }) && !short.is_empty()
}

/// The table's words for a lock.
fn request(
    file: FileId,
    address: IpAddr,
    lock: &Lock<'_>,
    exclusive: bool,
    is_reclaim: bool,
) -> Request {
    use vfs::locks::Mode;
    let mode = if exclusive { Mode::Exclusive } else { Mode::Shared };
    let range = Range::new(lock.offset, lock.len);
    Request { file, owner: owner(address, lock), range, mode, is_reclaim }
}
