//! SM_NOTIFY: telling the clients of an earlier life that it is over, and listeners of clients.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use trace::{debug, warn};

use super::Monitor;
use crate::{
    call::{self, Peer},
    nlm,
    wire::nsm::{self, Changed, Listener, NotifyArgs, Procedure},
};

/// Seconds between tries; the last one is repeated.
const PAUSES: [u64; 5] = [2, 5, 10, 20, 60];
/// Tries until a client is given up, after about a quarter of an hour.
const TRIES: usize = 18;

impl Monitor {
    /// Tells a client that we restarted.
    pub(super) async fn tell(&self, client: Vec<u8>, life: u64) {
        let Some(address) = nlm::address_of(&client) else { return };
        for attempt in 0..TRIES {
            let Some(host) = self.state().to_tell.get(&client).copied() else { return };
            if self.state().life != life {
                return;
            }
            let peer = self.peer(address, host.local);
            if self.told(&peer).await {
                debug!(client = %address, "told that we restarted");
                break;
            }
            if attempt + 1 == TRIES {
                warn!(client = %address, "cannot be told that we restarted: it loses its locks");
            }
            let pause = PAUSES[attempt.min(PAUSES.len() - 1)];
            reactor::sleep(Duration::from_secs(pause)).await;
        }
        self.state().to_tell.remove(&client);
        self.save().await;
    }

    /// Our name and our address: a client knows us by what it mounted.
    async fn told(&self, peer: &Peer) -> bool {
        let number = self.number();
        let Some(place) = peer.find(nsm::PROGRAM, nsm::VERSION).await else { return false };
        let mut is_told = true;
        for name in [peer.local.to_string(), self.0.config.name.clone()] {
            let args = NotifyArgs { name: name.as_bytes(), state: number };
            is_told &= place.call(Procedure::NOTIFY, &args).await.is_some();
        }
        is_told
    }

    /// Tells those on this machine who want to hear of a client.
    pub(crate) async fn pass_on(&self, name: &[u8], state: u32) {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let peer = Peer { portmapper: call::PORTMAPPER_PORT, ..self.peer(here, here) };
        for (Listener { program, version, procedure, .. }, private) in self.listeners(name) {
            if let Some(place) = peer.find(program, version).await {
                place.call(procedure, &Changed { name, state, private }).await;
            }
        }
    }

    fn peer(&self, address: IpAddr, local: IpAddr) -> Peer {
        Peer { address, local, portmapper: self.0.config.client_portmapper }
    }
}
