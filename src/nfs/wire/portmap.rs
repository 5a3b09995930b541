//! The portmapper: version 2 (RFC 1833 section 3) and rpcbind versions 3 and 4 (section 2).

use super::xdr::{Encode, Malformed, Reader, Writer};

/// The program's number.
pub(crate) const PROGRAM: u32 = 100_000;
/// The oldest and the newest version served.
pub(crate) const VERSIONS: [u32; 2] = [2, 4];
/// Bytes of a netid, an address or an owner's name.
const STRING_BYTES_MAX: u32 = 128;

/// `IPPROTO_TCP` and `IPPROTO_UDP`, as version 2 names transports.
pub(crate) const TCP: u32 = 6;
pub(crate) const UDP: u32 = 17;

/// Procedures that are served; numbers mean different ones by version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Procedure {
    Null,
    Set,
    Unset,
    /// Version 2.
    GetPort,
    /// Version 2.
    Dump,
    GetAddr,
    DumpAddrs,
    GetTime,
    /// Version 4.
    GetVersAddr,
    /// Version 4.
    GetAddrList,
}

impl Procedure {
    /// With their names.
    pub(crate) const ALL: [(Self, &'static str); 10] = [
        (Self::Null, "PMAP_NULL"),
        (Self::Set, "PMAP_SET"),
        (Self::Unset, "PMAP_UNSET"),
        (Self::GetPort, "PMAP_GETPORT"),
        (Self::Dump, "PMAP_DUMP"),
        (Self::GetAddr, "RPCB_GETADDR"),
        (Self::DumpAddrs, "RPCB_DUMP"),
        (Self::GetTime, "RPCB_GETTIME"),
        (Self::GetVersAddr, "RPCB_GETVERSADDR"),
        (Self::GetAddrList, "RPCB_GETADDRLIST"),
    ];

    /// CALLIT, INDIRECT and their like are left out: they let strangers call through us.
    pub(crate) fn from_number(version: u32, number: u32) -> Option<Self> {
        Some(match (version, number) {
            (_, 0) => Self::Null,
            (_, 1) => Self::Set,
            (_, 2) => Self::Unset,
            (2, 3) => Self::GetPort,
            (2, 4) => Self::Dump,
            (3 | 4, 3) => Self::GetAddr,
            (3 | 4, 4) => Self::DumpAddrs,
            (3 | 4, 6) => Self::GetTime,
            (4, 9) => Self::GetVersAddr,
            (4, 11) => Self::GetAddrList,
            _ => return None,
        })
    }
}

/// `mapping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) program: u32,
    pub(crate) version: u32,
    /// [`TCP`] or [`UDP`].
    pub(crate) protocol: u32,
    pub(crate) port: u32,
}

/// `rpcb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rpcb<'a> {
    pub(crate) program: u32,
    pub(crate) version: u32,
    /// `tcp`, `udp6` and the like.
    pub(crate) netid: &'a [u8],
    pub(crate) address: &'a [u8],
    pub(crate) owner: &'a [u8],
}

/// `rpcb_entry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) address: String,
    pub(crate) netid: &'static str,
}

/// A word of result: a port, a boolean, a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word(pub(crate) u32);

/// `string`.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(crate) String);

/// `pmaplist`.
#[derive(Clone, Debug)]
pub(crate) struct Mappings(pub(crate) Vec<Mapping>);

/// `rpcblist`: what is registered, with netid and address.
#[derive(Clone, Debug)]
pub(crate) struct Rpcbs(pub(crate) Vec<(Mapping, Entry)>);

/// `rpcb_entry_list`.
#[derive(Clone, Debug)]
pub(crate) struct Entries(pub(crate) Vec<Entry>);

impl Mapping {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            program: reader.u32()?,
            version: reader.u32()?,
            protocol: reader.u32()?,
            port: reader.u32()?,
        })
    }
}

impl<'a> Rpcb<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            program: reader.u32()?,
            version: reader.u32()?,
            netid: reader.opaque(STRING_BYTES_MAX)?,
            address: reader.opaque(STRING_BYTES_MAX)?,
            owner: reader.opaque(STRING_BYTES_MAX)?,
        })
    }
}

impl Encode for Mapping {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.u32(self.program);
        writer.u32(self.version);
        writer.u32(self.protocol);
        writer.u32(self.port);
    }
}

impl Encode for Rpcb<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.u32(self.program);
        writer.u32(self.version);
        writer.opaque(self.netid);
        writer.opaque(self.address);
        writer.opaque(self.owner);
    }
}

impl Encode for Word {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.u32(self.0);
    }
}

impl Encode for Text {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.opaque(self.0.as_bytes());
    }
}

impl Encode for Mappings {
    fn encode(&self, writer: &mut Writer<'_>) {
        for mapping in &self.0 {
            writer.bool(true);
            mapping.encode(writer);
        }
        writer.bool(false);
    }
}

impl Encode for Rpcbs {
    fn encode(&self, writer: &mut Writer<'_>) {
        for (Mapping { program, version, .. }, entry) in &self.0 {
            writer.bool(true);
            let (netid, address) = (entry.netid.as_bytes(), entry.address.as_bytes());
            let rpcb =
                Rpcb { program: *program, version: *version, netid, address, owner: b"superuser" };
            rpcb.encode(writer);
        }
        writer.bool(false);
    }
}

impl Encode for Entries {
    fn encode(&self, writer: &mut Writer<'_>) {
        /// `NC_TPI_COTS_ORD` (RFC 1833 section 2.1).
        const STREAM: u32 = 3;
        /// `NC_TPI_CLTS`.
        const DATAGRAMS: u32 = 1;
        for Entry { address, netid } in &self.0 {
            let is_stream = netid.starts_with("tcp");
            writer.bool(true);
            writer.opaque(address.as_bytes());
            writer.opaque(netid.as_bytes());
            writer.u32(if is_stream { STREAM } else { DATAGRAMS });
            writer.opaque(if netid.ends_with('6') { b"inet6" } else { b"inet" });
            writer.opaque(if is_stream { b"tcp" } else { b"udp" });
        }
        writer.bool(false);
    }
}
