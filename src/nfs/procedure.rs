//! Which program's procedure a call is for.

use crate::{
    metrics,
    portmap::Registry,
    wire::{
        mount as mount3, nlm, nsm, portmap,
        rpc::{self, Refusal},
        v3,
    },
};

/// A procedure of one of the programs that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Procedure {
    Nfs(v3::Procedure),
    Mount(mount3::Procedure),
    Portmap(portmap::Procedure),
    Nlm(nlm::Version, nlm::Procedure),
    Nsm(nsm::Procedure),
}

impl Procedure {
    /// RFC 5531 section 9: the program, then its version, then the procedure.
    pub(crate) fn of(call: &rpc::Call<'_>, registry: &Registry) -> Result<Self, Refusal> {
        let (version, number) = (call.version, call.procedure);
        let within = |low: u32, high: u32| match (low..=high).contains(&version) {
            true => Ok(()),
            false => Err(Refusal::ProgramMismatch { low, high }),
        };
        let found = match call.program {
            v3::PROGRAM => {
                within(v3::VERSION, v3::VERSION)?;
                v3::Procedure::from_number(number).map(Self::Nfs)
            }
            mount3::PROGRAM => {
                let [low, high] = mount3::VERSIONS;
                within(low, high)?;
                mount3::Procedure::from_number(version, number).map(Self::Mount)
            }
            portmap::PROGRAM if registry.has_portmapper() => {
                let [low, high] = portmap::VERSIONS;
                within(low, high)?;
                portmap::Procedure::from_number(version, number).map(Self::Portmap)
            }
            nlm::PROGRAM => {
                within(1, 4)?;
                let version = nlm::Version::from_number(version);
                let version = version.ok_or(Refusal::ProgramMismatch { low: 1, high: 4 })?;
                let found = nlm::Procedure::from_number(version, number);
                found.map(|procedure| Self::Nlm(version, procedure))
            }
            nsm::PROGRAM => {
                within(nsm::VERSION, nsm::VERSION)?;
                nsm::Procedure::from_number(number).map(Self::Nsm)
            }
            _ => return Err(Refusal::ProgramUnavailable),
        };
        found.ok_or(Refusal::ProcedureUnavailable)
    }

    /// For the metrics.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Nfs(procedure) => procedure as usize,
            Self::Mount(procedure) => metrics::MOUNT + procedure as usize,
            Self::Portmap(procedure) => metrics::PORTMAP + procedure as usize,
            Self::Nlm(_, procedure) => metrics::NLM + procedure as usize,
            Self::Nsm(procedure) => metrics::NSM + procedure as usize,
        }
    }
}
