//! The file of the status monitor. Drawn in FORMAT.md.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use super::Host;
use crate::{
    kept::{self, Cursor, Unreadable, octets, put_bytes, put_len, put_u32},
    wire::nsm::{Listener, Watch},
};

const MAGIC: [u8; 8] = *b"DFSHOSTS";
const VERSION: u32 = 1;
/// Far more than the most hosts and watches with the longest names.
pub(super) const BYTES_MAX: u64 = 4 << 20;

/// What outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The state number: odd, and larger with every life.
    pub(super) number: u32,
    /// Clients by their name in the lock table, which begins with their address.
    pub(super) hosts: BTreeMap<Vec<u8>, Host>,
    pub(super) watches: BTreeMap<Watch, [u8; 16]>,
}

impl Kept {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_u32(&mut body, self.number);
        put_len(&mut body, self.hosts.len());
        for (name, host) in &self.hosts {
            put_bytes(&mut body, name);
            body.extend(octets(host.local));
            put_u32(&mut body, host.told);
        }
        put_len(&mut body, self.watches.len());
        for (Watch { name, listener }, private) in &self.watches {
            put_bytes(&mut body, name);
            put_bytes(&mut body, &listener.name);
            for word in [listener.program, listener.version, listener.procedure] {
                put_u32(&mut body, word);
            }
            body.extend(private);
        }
        kept::seal(MAGIC, VERSION, &body)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let body = kept::open(MAGIC, VERSION, bytes)?;
        Self::body(&mut Cursor(body)).ok_or(Unreadable::Damaged)
    }

    fn body(body: &mut Cursor<'_>) -> Option<Self> {
        let mut kept = Self { number: body.u32()?, ..Self::default() };
        for _ in 0..body.u32()? {
            let name = body.bytes()?.to_vec();
            let local = Ipv6Addr::from(*body.take(16)?.first_chunk::<16>()?);
            let local = IpAddr::V6(local).to_canonical();
            kept.hosts.insert(name, Host { local, told: body.u32()? });
        }
        for _ in 0..body.u32()? {
            let name = body.bytes()?.to_vec();
            let listener = Listener {
                name: body.bytes()?.to_vec(),
                program: body.u32()?,
                version: body.u32()?,
                procedure: body.u32()?,
            };
            kept.watches.insert(Watch { name, listener }, *body.take(16)?.first_chunk()?);
        }
        body.0.is_empty().then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let host = |local: [u8; 4]| Host { local: IpAddr::from(local), told: 7 };
        let name = |last: u8| [&octets(IpAddr::from([10, 0, 0, last]))[..], b"host"].concat();
        let listener =
            Listener { name: b"localhost".to_vec(), program: 100_021, version: 4, procedure: 16 };
        Kept {
            number: 5,
            hosts: BTreeMap::from([(name(1), host([10, 0, 0, 9])), (name(2), host([1, 2, 3, 4]))]),
            watches: BTreeMap::from([(Watch { name: b"peer".to_vec(), listener }, [3; 16])]),
        }
    }

    #[test]
    fn it_comes_back() {
        for kept in [kept(), Kept::default()] {
            assert_eq!(Kept::decode(&kept.encode()), Ok(kept));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let bytes = kept().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let decoded = Kept::decode(&flipped);
            let is_version = (64..96).contains(&bit);
            match decoded {
                Err(Unreadable::Version(_)) => assert!(is_version, "bit {bit}"),
                other => assert_eq!(other, Err(Unreadable::Damaged), "bit {bit}"),
            }
        }
        for len in 0..bytes.len() {
            assert_eq!(Kept::decode(&bytes[..len]), Err(Unreadable::Damaged), "{len} bytes");
        }
    }

    /// Files outlive upgrades of the server, so these bytes may never change.
    #[test]
    fn the_layout_stays() {
        let empty = Kept { number: 3, ..Kept::default() }.encode();
        assert_eq!(empty[..16], *b"DFSHOSTS\x01\0\0\0\x0c\0\0\0");
        assert_eq!(empty[24..], [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
