//! The network status monitor, version 1 ("Protocols for X/Open Interworking: XNFS", chapter 11).

use super::xdr::{Encode, Malformed, Reader, Writer};

/// The program's number.
pub(crate) const PROGRAM: u32 = 100_024;
/// The only version there is.
pub(crate) const VERSION: u32 = 1;
/// Longest name of a host; the protocol's 1024 would let strangers fill the memory.
pub(crate) const NAME_BYTES_MAX: u32 = 255;

/// Procedures by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Procedure {
    Null,
    Stat,
    Mon,
    Unmon,
    UnmonAll,
    SimuCrash,
    Notify,
}

impl Procedure {
    /// In order of their numbers, with their names.
    pub(crate) const ALL: [(Self, &'static str); 7] = [
        (Self::Null, "SM_NULL"),
        (Self::Stat, "SM_STAT"),
        (Self::Mon, "SM_MON"),
        (Self::Unmon, "SM_UNMON"),
        (Self::UnmonAll, "SM_UNMON_ALL"),
        (Self::SimuCrash, "SM_SIMU_CRASH"),
        (Self::Notify, "SM_NOTIFY"),
    ];

    /// Its number, for calls of ours.
    pub(crate) const NOTIFY: u32 = 6;

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        let index = usize::try_from(number).ok()?;
        Self::ALL.get(index).map(|(procedure, _)| *procedure)
    }
}

/// `sm_name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameArgs<'a> {
    pub(crate) name: &'a [u8],
}

/// `my_id`: whom to call when a host's state changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listener {
    pub(crate) name: Vec<u8>,
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) procedure: u32,
}

/// `mon_id`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Watch {
    /// The host that is watched.
    pub(crate) name: Vec<u8>,
    pub(crate) listener: Listener,
}

/// `mon`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MonArgs {
    pub(crate) watch: Watch,
    /// What the listener wants to be told again.
    pub(crate) private: [u8; 16],
}

/// `stat_chge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotifyArgs<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) state: u32,
}

/// `status`: what a listener is called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changed<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) state: u32,
    pub(crate) private: [u8; 16],
}

/// `sm_stat_res`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatDone {
    pub(crate) is_watched: bool,
    pub(crate) state: u32,
}

/// `sm_stat`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State(pub(crate) u32);

impl<'a> NameArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { name: reader.opaque(NAME_BYTES_MAX)? })
    }
}

impl Listener {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            name: reader.opaque(NAME_BYTES_MAX)?.to_vec(),
            program: reader.u32()?,
            version: reader.u32()?,
            procedure: reader.u32()?,
        })
    }
}

impl Watch {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let name = reader.opaque(NAME_BYTES_MAX)?.to_vec();
        Ok(Self { name, listener: Listener::decode(reader)? })
    }
}

impl MonArgs {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { watch: Watch::decode(reader)?, private: reader.fixed()? })
    }
}

impl<'a> NotifyArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { name: reader.opaque(NAME_BYTES_MAX)?, state: reader.u32()? })
    }
}

impl Encode for NotifyArgs<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.opaque(self.name);
        writer.u32(self.state);
    }
}

impl Encode for Changed<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.opaque(self.name);
        writer.u32(self.state);
        writer.fixed(&self.private);
    }
}

impl Encode for StatDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.u32(u32::from(!self.is_watched));
        writer.u32(self.state);
    }
}

impl Encode for State {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.u32(self.0);
    }
}
