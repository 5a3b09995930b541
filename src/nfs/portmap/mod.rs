//! The embedded portmapper: tells which of our programs is at which port, and nothing else.
//!
//! SET and UNSET are refused: what is served is known from the start.

pub(crate) mod register;

use std::net::IpAddr;

use crate::{
    way::{Transport, Way},
    wire::{
        mount, nlm, nsm,
        portmap::{self, Entry, Mapping, Rpcb},
        v3,
    },
};

/// What we serve, where. The order is that of DUMP.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry(Vec<Mapping>);

impl Registry {
    /// All programs at their ports; `portmapper` when there is an embedded one.
    pub(crate) fn new(port: u16, has_udp: bool, portmapper: Option<u16>) -> Self {
        let mut all = Vec::new();
        let mut add = |program, versions: &[u32], port: u16, transports: &[u32]| {
            for &version in versions {
                let one = |&protocol| Mapping { program, version, protocol, port: port.into() };
                all.extend(transports.iter().map(one));
            }
        };
        let both: &[u32] = if has_udp { &[portmap::TCP, portmap::UDP] } else { &[portmap::TCP] };
        if let Some(portmapper) = portmapper {
            add(portmap::PROGRAM, &[4, 3, 2], portmapper, &[portmap::TCP, portmap::UDP]);
        }
        add(v3::PROGRAM, &[v3::VERSION], port, &[portmap::TCP]);
        add(mount::PROGRAM, &[3, 2, 1], port, both);
        add(nlm::PROGRAM, &[1, 3, 4], port, both);
        add(nsm::PROGRAM, &[nsm::VERSION], port, both);
        Self(all)
    }

    pub(crate) fn has_portmapper(&self) -> bool {
        self.0.first().is_some_and(|first| first.program == portmap::PROGRAM)
    }

    pub(crate) fn all(&self) -> &[Mapping] {
        &self.0
    }

    /// GETPORT: of the version asked for, else of any other, as the portmapper always did; 0 when
    /// the program is not there.
    pub(crate) fn port(&self, program: u32, version: u32, protocol: u32) -> u32 {
        let is_it = |one: &&Mapping| one.program == program && one.protocol == protocol;
        let same = self.0.iter().filter(is_it).find(|one| one.version == version);
        same.or_else(|| self.0.iter().find(is_it)).map_or(0, |one| one.port)
    }

    /// GETADDR and GETVERSADDR: the universal address; empty when it is not there.
    pub(crate) fn address(&self, way: &Way<'_>, asked: &Rpcb<'_>, is_exact: bool) -> String {
        let protocol = match asked.netid {
            b"tcp" | b"tcp6" => portmap::TCP,
            b"udp" | b"udp6" => portmap::UDP,
            _ => match way.transport() {
                Transport::Tcp => portmap::TCP,
                Transport::Udp => portmap::UDP,
            },
        };
        let is_there =
            self.0.iter().any(|one| one.program == asked.program && one.version == asked.version);
        match self.port(asked.program, asked.version, protocol) {
            0 => String::new(),
            _ if is_exact && !is_there => String::new(),
            port => universal(way.local(), port),
        }
    }

    /// DUMP of rpcbind.
    pub(crate) fn entries(&self, way: &Way<'_>) -> Vec<(Mapping, Entry)> {
        let local = way.local();
        let entry = |one: &Mapping| Entry {
            address: universal(local, one.port),
            netid: match (one.protocol == portmap::TCP, local.is_ipv4()) {
                (true, true) => "tcp",
                (true, false) => "tcp6",
                (false, true) => "udp",
                (false, false) => "udp6",
            },
        };
        self.0.iter().map(|one| (*one, entry(one))).collect()
    }
}

/// A universal address (RFC 5665 section 5.2.3): the port's two bytes follow the address.
pub(crate) fn universal(address: IpAddr, port: u32) -> String {
    format!("{address}.{}.{}", port >> 8 & 0xff, port & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_by_program() {
        let registry = Registry::new(12049, false, Some(111));
        assert_eq!(registry.port(v3::PROGRAM, 3, portmap::TCP), 12049);
        assert_eq!(registry.port(v3::PROGRAM, 4, portmap::TCP), 12049, "any version will do");
        assert_eq!(registry.port(mount::PROGRAM, 3, portmap::UDP), 0);
        assert_eq!(registry.port(portmap::PROGRAM, 2, portmap::UDP), 111);
        assert_eq!(registry.port(1, 1, portmap::TCP), 0);
        let registry = Registry::new(12049, true, None);
        assert_eq!(registry.port(nlm::PROGRAM, 4, portmap::UDP), 12049);
        assert_eq!(registry.port(v3::PROGRAM, 3, portmap::UDP), 0);
        assert_eq!(registry.port(portmap::PROGRAM, 2, portmap::UDP), 0);
    }

    #[test]
    fn universal_addresses() {
        assert_eq!(universal("fd00::1".parse().unwrap(), 111), "fd00::1.0.111");
        assert_eq!(universal([127, 0, 0, 1].into(), 2049), "127.0.0.1.8.1");
    }
}
