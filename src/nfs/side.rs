//! The tables of the programs beside NFS and MOUNT.

use std::net::IpAddr;

use vfs::{Caller, Vfs, handle::Handle};
use vocab::{Error, FileId};

use crate::{
    dispatch::Answer,
    metrics::Class,
    nlm::{Deed, From, Manager},
    portmap::Registry,
    status,
    way::Way,
    wire::{
        nlm::{
            self, CancelArgs, Extra, FreeAllArgs, LockArgs, Reply, ShareArgs, Status, TestArgs,
            UnlockArgs, Version,
        },
        nsm::{self, Listener, MonArgs, NameArgs, NotifyArgs, StatDone, State, Watch},
        portmap::{self, Entries, Mapping, Mappings, Rpcb, Rpcbs, Text, Word},
        xdr::{Malformed, Reader, Void},
    },
};

pub(crate) fn run_portmap(registry: &Registry, answer: Answer<'_>, procedure: portmap::Procedure) {
    use portmap::Procedure as P;
    let (call, way) = (answer.call, answer.way);
    let rpcb = || Rpcb::decode(&mut call.args());
    match procedure {
        P::Null => answer.ok(Void),
        // FALSE: what is served is known from the start.
        P::Set | P::Unset => answer.ok(Word(0)),
        P::GetPort => match Mapping::decode(&mut call.args()) {
            Ok(asked) => {
                let Mapping { program, version, protocol, .. } = asked;
                answer.ok(Word(registry.port(program, version, protocol)));
            }
            Err(Malformed) => answer.garbage(),
        },
        P::Dump => answer.ok(Mappings(registry.all().to_vec())),
        P::GetAddr | P::GetVersAddr => match rpcb() {
            Ok(asked) => {
                let is_exact = procedure == P::GetVersAddr;
                answer.ok(Text(registry.address(&way, &asked, is_exact)));
            }
            Err(Malformed) => answer.garbage(),
        },
        P::DumpAddrs => answer.ok(Rpcbs(registry.entries(&way))),
        P::GetTime => {
            let now = reactor::clock::wall().seconds;
            answer.ok(Word(u32::try_from(now).unwrap_or(u32::MAX)));
        }
        P::GetAddrList => match rpcb() {
            Ok(asked) => {
                let mut all = registry.entries(&way);
                all.retain(|(one, _)| one.program == asked.program && one.version == asked.version);
                answer.ok(Entries(all.into_iter().map(|(_, entry)| entry).collect()));
            }
            Err(Malformed) => answer.garbage(),
        },
    }
}

/// The lock manager.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nlm<'a> {
    pub(crate) vfs: &'a Vfs,
    pub(crate) manager: &'a Manager,
    pub(crate) version: Version,
}

impl Nlm<'_> {
    pub(crate) async fn run(&self, answer: Answer<'_>, procedure: nlm::Procedure) {
        use nlm::Procedure as P;
        let res = match procedure {
            P::Null => return answer.ok(Void),
            // Answers to messages that we do not send, and news of locks that we do not want.
            P::TestRes | P::LockRes | P::CancelRes | P::UnlockRes | P::GrantedRes => {
                return answer.ok(Void);
            }
            P::GrantedMsg => return answer.ok(Void),
            P::TestMsg => Some(P::TestRes),
            P::LockMsg => Some(P::LockRes),
            P::CancelMsg => Some(P::CancelRes),
            P::UnlockMsg => Some(P::UnlockRes),
            P::Test | P::Lock | P::Cancel | P::Unlock | P::Granted => None,
            P::Share | P::Unshare | P::NmLock | P::FreeAll => None,
        };
        let (call, version) = (answer.call, self.version);
        let from = self.from(&answer.way);
        let mut args = call.args();
        let (cookie, deed) = match self.read(&from, &call.caller, procedure, &mut args).await {
            Ok(read) => read,
            Err(Malformed) => return answer.garbage(),
        };
        if procedure == P::FreeAll {
            self.run_deed(deed).await;
            return answer.ok(Void);
        }
        let Some(res) = res else {
            let (status, extra) = self.run_deed(deed).await;
            let class = class(status);
            return answer.plain(Reply { version, cookie, status, extra }, class);
        };
        // Asynchronous: the result is a call of ours.
        answer.ok(Void);
        let (status, extra) = self.run_deed(deed).await;
        self.manager.tell_result(&from, res, Reply { version, cookie, status, extra });
    }

    fn from(&self, way: &Way<'_>) -> From {
        From::new(way, self.version, self.manager.monitor().client_portmapper())
    }

    async fn run_deed(&self, deed: Result<Deed, (Status, Extra)>) -> (Status, Extra) {
        match deed {
            Ok(deed) => self.manager.run(deed).await,
            Err(refused) => refused,
        }
    }

    /// The cookie, and what is to be done, or why it may not be.
    async fn read(
        &self,
        from: &From,
        caller: &Caller,
        procedure: nlm::Procedure,
        reader: &mut Reader<'_>,
    ) -> Result<(Vec<u8>, Result<Deed, (Status, Extra)>), Malformed> {
        use nlm::Procedure as P;
        let version = self.version;
        let plain = |error| (status::nlm(error), Extra::None);
        let shared = |error| (status::nlm(error), Extra::Sequence);
        Ok(match procedure {
            P::Test | P::TestMsg => {
                let args = TestArgs::decode(reader, version)?;
                let file = self.lock_target(caller, args.lock.handle).await;
                (args.cookie.to_vec(), file.map(|file| from.test(file, &args)).map_err(plain))
            }
            P::Lock | P::LockMsg | P::NmLock => {
                let args = LockArgs::decode(reader, version)?;
                let is_monitored = procedure != P::NmLock;
                let file = self.lock_target(caller, args.lock.handle).await;
                let deed = file.map(|file| from.lock(file, &args, is_monitored));
                (args.cookie.to_vec(), deed.map_err(plain))
            }
            P::Cancel | P::CancelMsg => {
                let args = CancelArgs::decode(reader, version)?;
                let file = self.unlock_target(caller, args.lock.handle).await;
                (args.cookie.to_vec(), file.map(|file| from.cancel(file, &args)).map_err(plain))
            }
            P::Unlock | P::UnlockMsg => {
                let args = UnlockArgs::decode(reader, version)?;
                let file = self.unlock_target(caller, args.lock.handle).await;
                (args.cookie.to_vec(), file.map(|file| from.unlock(file, &args)).map_err(plain))
            }
            P::Granted => {
                let args = TestArgs::decode(reader, version)?;
                (args.cookie.to_vec(), Err((Status::Denied, Extra::None)))
            }
            P::Share => {
                let args = ShareArgs::decode(reader)?;
                let file = self.lock_target(caller, args.handle).await;
                (args.cookie.to_vec(), file.map(|file| from.share(file, &args)).map_err(shared))
            }
            P::Unshare => {
                let args = ShareArgs::decode(reader)?;
                let file = self.unlock_target(caller, args.handle).await;
                (args.cookie.to_vec(), file.map(|file| from.unshare(file, &args)).map_err(shared))
            }
            P::FreeAll => {
                let args = FreeAllArgs::decode(reader)?;
                (Vec::new(), Ok(from.free_all(&args)))
            }
            P::Null
            | P::GrantedMsg
            | P::TestRes
            | P::LockRes
            | P::CancelRes
            | P::UnlockRes
            | P::GrantedRes => return Err(Malformed),
        })
    }

    async fn lock_target(&self, caller: &Caller, handle: &[u8]) -> Result<FileId, Error> {
        self.vfs.lock_target(caller, &Handle::decode(handle)?).await
    }

    async fn unlock_target(&self, caller: &Caller, handle: &[u8]) -> Result<FileId, Error> {
        self.vfs.unlock_target(caller, &Handle::decode(handle)?).await
    }
}

fn class(status: Status) -> Class {
    match status {
        Status::Granted | Status::Blocked => Class::Ok,
        Status::Denied | Status::Deadlock | Status::StaleHandle => Class::Refused,
        Status::GracePeriod => Class::Busy,
        Status::NoLocks | Status::Failed => Class::Failed,
    }
}

/// The status monitor. What is not meant for other machines is done for this one only, and only for
/// its root, who alone may send from low ports.
pub(crate) async fn run_nsm(manager: &Manager, answer: Answer<'_>, procedure: nsm::Procedure) {
    use nsm::Procedure as P;
    let (call, monitor) = (answer.call, manager.monitor());
    let peer = answer.way.peer();
    let address: IpAddr = peer.ip().to_canonical();
    let is_ours = address.is_loopback() && peer.port() < 1024;
    let mut args = call.args();
    match procedure {
        P::Null => answer.ok(Void),
        P::Stat => match NameArgs::decode(&mut args) {
            Ok(_) => answer.ok(StatDone { is_watched: is_ours, state: monitor.number() }),
            Err(Malformed) => answer.garbage(),
        },
        P::Mon => match MonArgs::decode(&mut args) {
            Ok(MonArgs { watch, private }) => {
                let is_watched = is_ours && manager.listen(watch, private).await;
                answer.ok(StatDone { is_watched, state: monitor.number() });
            }
            Err(Malformed) => answer.garbage(),
        },
        P::Unmon => match Watch::decode(&mut args) {
            Ok(watch) => {
                if is_ours {
                    manager.unlisten(move |other| *other == watch).await;
                }
                answer.ok(State(monitor.number()));
            }
            Err(Malformed) => answer.garbage(),
        },
        P::UnmonAll => match Listener::decode(&mut args) {
            Ok(listener) => {
                if is_ours {
                    manager.unlisten(move |other| other.listener == listener).await;
                }
                answer.ok(State(monitor.number()));
            }
            Err(Malformed) => answer.garbage(),
        },
        P::SimuCrash => {
            if is_ours {
                manager.crash().await;
            }
            answer.ok(Void);
        }
        P::Notify => match NotifyArgs::decode(&mut args) {
            Ok(NotifyArgs { name, state }) => {
                let name = name.to_vec();
                // Heard; what follows may take a while.
                answer.ok(Void);
                manager.restarted(address, name, state).await;
            }
            Err(Malformed) => answer.garbage(),
        },
    }
}
