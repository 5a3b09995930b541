//! MOUNT version 3 (RFC 1813 appendix I), and of version 1 (RFC 1094 appendix A) and 2 what is the
//! same.

use super::{
    v3::HandleBytes,
    xdr::{Encode, Malformed, Reader, Writer},
};

/// The program's number.
pub(crate) const PROGRAM: u32 = 100_005;
/// The first and the last version that is served; below [`VERSION`] only what tells who mounted
/// what and what could be: some showmount commands ask for no other.
pub(crate) const VERSIONS: [u32; 2] = [1, VERSION];
/// That whose handles are NFSv3's.
const VERSION: u32 = 3;
/// `MNTPATHLEN`.
const PATH_BYTES_MAX: u32 = 1024;

/// Procedures by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Procedure {
    Null,
    Mnt,
    Dump,
    Umnt,
    UmntAll,
    Export,
}

impl Procedure {
    /// In order of their numbers, with their names.
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Null, "MOUNT_NULL"),
        (Self::Mnt, "MNT"),
        (Self::Dump, "DUMP"),
        (Self::Umnt, "UMNT"),
        (Self::UmntAll, "UMNTALL"),
        (Self::Export, "EXPORT"),
    ];

    pub(crate) fn from_number(version: u32, number: u32) -> Option<Self> {
        let index = usize::try_from(number).ok()?;
        let found = Self::ALL.get(index).map(|(procedure, _)| *procedure);
        found.filter(|procedure| version == VERSION || *procedure != Self::Mnt)
    }
}

/// `mountstat3`, errors only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Perm,
    NoEnt,
    Io,
    Access,
    NotDir,
    Inval,
    NameTooLong,
    NotSupp,
    ServerFault,
}

impl Status {
    /// The number on the wire.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Perm => 1,
            Self::NoEnt => 2,
            Self::Io => 5,
            Self::Access => 13,
            Self::NotDir => 20,
            Self::Inval => 22,
            Self::NameTooLong => 63,
            Self::NotSupp => 10004,
            Self::ServerFault => 10006,
        }
    }
}

/// `dirpath`: all of MNT's and UMNT's arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PathArgs<'a> {
    pub(crate) path: &'a [u8],
}

/// `mountres3_ok`.
#[derive(Debug)]
pub(crate) struct MntDone {
    pub(crate) handle: HandleBytes,
    pub(crate) flavors: Vec<u32>,
}

/// `mountres3` without a handle.
#[derive(Debug)]
pub(crate) struct MntFailed(pub(crate) Status);

/// `mountlist`: a client and what it mounted.
#[derive(Debug)]
pub(crate) struct DumpDone(pub(crate) Vec<(String, Box<[u8]>)>);

/// `exports`: a share and who may mount it.
#[derive(Debug)]
pub(crate) struct ExportDone(pub(crate) Vec<(String, Vec<String>)>);

impl<'a> PathArgs<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { path: reader.opaque(PATH_BYTES_MAX)? })
    }
}

impl Encode for MntDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.u32(0);
        writer.opaque(&self.handle);
        writer.count(self.flavors.len());
        self.flavors.iter().for_each(|flavor| writer.u32(*flavor));
    }
}

impl Encode for MntFailed {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.u32(self.0.number());
    }
}

impl Encode for DumpDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        for (client, path) in &self.0 {
            writer.bool(true);
            writer.opaque(client.as_bytes());
            writer.opaque(path);
        }
        writer.bool(false);
    }
}

impl Encode for ExportDone {
    fn encode(&self, writer: &mut Writer<'_>) {
        for (share, groups) in &self.0 {
            writer.bool(true);
            writer.opaque(share.as_bytes());
            for group in groups {
                writer.bool(true);
                writer.opaque(group.as_bytes());
            }
            writer.bool(false);
        }
        writer.bool(false);
    }
}
