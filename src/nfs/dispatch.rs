//! From a record to a procedure and from its result to a reply: the table of NFS and MOUNT.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use vfs::{Caller, Vfs, handle::Handle};
use vocab::limits::TRANSFER_BYTES_MAX;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    connection::{Accepted, NoCall, Service},
    drc::{Begin, Drc, Key, Ticket},
    link::Link,
    metrics::{Class, PerReactor, PerShare},
    mount,
    nlm::Manager,
    ops,
    ops::Request,
    portmap::Registry,
    procedure::Procedure,
    side,
    way::Way,
    wire::{
        mount as mount3,
        rpc::{self, BadCall, Refusal},
        v3::{self, data, fail::Failed, listing, names, object},
        xdr::{Encode, Malformed, Reader, Writer},
    },
};

/// Bytes of a reply that carries neither data nor a listing, about.
const REPLY_BYTES: usize = 512;

/// The service of one reactor.
#[derive(Debug)]
pub(crate) struct Nfs {
    pub(crate) vfs: Vfs,
    pub(crate) drc: Arc<Drc>,
    pub(crate) mounts: Arc<mount::table::Table>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) manager: Manager,
    pub(crate) metrics: Arc<PerReactor>,
    /// Shares seen on this reactor. The first stands for none.
    pub(crate) shares: RefCell<Vec<Arc<PerShare>>>,
}

/// A call that has a procedure and a caller.
#[derive(Debug)]
pub(crate) struct Call {
    record: Bytes,
    /// Where the arguments begin.
    args_at: usize,
    pub(crate) xid: u32,
    pub(crate) procedure: Procedure,
    pub(crate) caller: Caller,
    arrived: Duration,
}

impl Call {
    pub(crate) fn args(&self) -> Reader<'_> {
        Reader::new(&self.record[self.args_at..])
    }
}

/// What to make of a record.
pub(crate) enum Judged {
    Call(Call),
    /// A call that is not run.
    Refused(u32, Refusal),
    NoCall,
}

impl Nfs {
    /// Whether a record is a call of a procedure by a caller.
    pub(crate) fn judge(&self, way: Way<'_>, record: Bytes, arrived: Duration) -> Judged {
        let call = match rpc::Call::decode(&record) {
            Ok(call) => call,
            Err(BadCall::Version { xid }) => return Judged::Refused(xid, Refusal::RpcMismatch),
            Err(BadCall::Malformed) => return Judged::NoCall,
        };
        let xid = call.xid;
        let procedure = match Procedure::of(&call, &self.registry) {
            Ok(procedure) => procedure,
            Err(refusal) => return Judged::Refused(xid, refusal),
        };
        let credentials = match way.credentials().caller(&call.credential, &call.verifier) {
            Ok(credentials) => credentials,
            Err(stat) => return Judged::Refused(xid, Refusal::Auth(stat)),
        };
        let peer = way.peer();
        let caller = Caller::new(credentials, peer.ip(), peer.port());
        let args_at = record.len() - call.args.len();
        Judged::Call(Call { record, args_at, xid, procedure, caller, arrived })
    }

    /// Runs a call of any program but NFS.
    pub(crate) async fn run_side(self: &Rc<Self>, way: Way<'_>, call: &Call) {
        let answer = Answer { nfs: self, way, call, ticket: None };
        match call.procedure {
            Procedure::Nfs(_) => unreachable!("it has a way of its own"),
            Procedure::Mount(procedure) => run_mount(self, answer, procedure).await,
            Procedure::Portmap(procedure) => side::run_portmap(&self.registry, answer, procedure),
            Procedure::Nlm(version, procedure) => {
                let nlm = side::Nlm { vfs: &self.vfs, manager: &self.manager, version };
                nlm.run(answer, procedure).await;
            }
            Procedure::Nsm(procedure) => side::run_nsm(&self.manager, answer, procedure).await,
        }
    }
}

impl Service for Nfs {
    type Call = Call;

    fn accept(
        &self,
        link: &Link,
        record: Bytes,
        arrived: Duration,
    ) -> Result<Option<Accepted<Call>>, NoCall> {
        match self.judge(Way::Link(link), record, arrived) {
            Judged::Call(call) => {
                let reply_bytes = reply_bytes(call.procedure, call.args());
                Ok(Some(Accepted { call, reply_bytes }))
            }
            Judged::Refused(xid, refusal) => {
                link.reply(0, |writer| refusal.encode(writer, xid), Vec::new());
                Ok(None)
            }
            Judged::NoCall => Err(NoCall),
        }
    }

    async fn run(self: Rc<Self>, link: Rc<Link>, mut call: Call) {
        self.vfs.identify(&mut call.caller).await;
        match call.procedure {
            // In a box, so that the place of NFS, which every request passes through, stays small.
            Procedure::Mount(_)
            | Procedure::Portmap(_)
            | Procedure::Nlm(..)
            | Procedure::Nsm(_) => {
                Box::pin(self.run_side(Way::Link(&link), &call)).await;
            }
            Procedure::Nfs(procedure) => match self.once(&link, &call, procedure).await {
                Once::Run(ticket) => run_nfs(&self, &link, &call, procedure, ticket).await,
                Once::Answered => {}
            },
        }
        link.buffers.give_back(call.record);
    }
}

/// What a reply may weigh, for the bounds of the connection.
fn reply_bytes(procedure: Procedure, mut reader: Reader<'_>) -> usize {
    let asked = match procedure {
        Procedure::Nfs(v3::Procedure::Read) => {
            data::ReadArgs::decode(&mut reader).map_or(0, |args| args.count)
        }
        Procedure::Nfs(v3::Procedure::ReadDir) => {
            listing::ReadDirArgs::decode(&mut reader).map_or(0, |args| args.count)
        }
        Procedure::Nfs(v3::Procedure::ReadDirPlus) => {
            listing::ReadDirPlusArgs::decode(&mut reader).map_or(0, |args| args.maxcount)
        }
        Procedure::Nfs(_) | Procedure::Mount(_) => 0,
        Procedure::Portmap(_) | Procedure::Nlm(..) | Procedure::Nsm(_) => 0,
    };
    asked.min(TRANSFER_BYTES_MAX) as usize + REPLY_BYTES
}

async fn run_nfs(
    nfs: &Rc<Nfs>,
    link: &Link,
    call: &Call,
    procedure: v3::Procedure,
    ticket: Option<Ticket>,
) {
    use v3::Procedure as P;
    let request = Request {
        vfs: &nfs.vfs,
        caller: &call.caller,
        record: &call.record,
        seen: Cell::new(None),
        refusal: Cell::new(None),
    };
    let answer = Answer { nfs, way: Way::Link(link), call, ticket };
    let mut args = call.args();
    macro_rules! op {
        ($args:ty, $op:ident) => {
            match <$args>::decode(&mut args) {
                Ok(args) => answer.outcome(&request, ops::$op::run(&request, args).await),
                Err(Malformed) => answer.garbage(),
            }
        };
        // Large, and seldom done without waiting: in a box, so that the place of the others, which
        // every request passes through, stays small.
        (boxed $args:ty, $op:ident) => {
            match <$args>::decode(&mut args) {
                Ok(args) => answer.outcome(&request, Box::pin(ops::$op::run(&request, args)).await),
                Err(Malformed) => answer.garbage(),
            }
        };
    }
    match procedure {
        P::Null => answer.ok(ops::null::run()),
        P::GetAttr => op!(object::HandleArgs<'_>, getattr),
        P::SetAttr => op!(boxed object::SetAttrArgs<'_>, setattr),
        P::Lookup => op!(names::Place<'_>, lookup),
        P::Access => op!(object::AccessArgs<'_>, access),
        P::ReadLink => op!(object::HandleArgs<'_>, readlink),
        P::Read => op!(data::ReadArgs<'_>, read),
        P::Write => op!(boxed data::WriteArgs<'_>, write),
        P::Create => op!(boxed names::CreateArgs<'_>, create),
        P::Mkdir => op!(boxed names::MkdirArgs<'_>, mkdir),
        P::Symlink => op!(boxed names::SymlinkArgs<'_>, symlink),
        P::Mknod => op!(boxed names::MknodArgs<'_>, mknod),
        P::Remove => op!(boxed names::Place<'_>, remove),
        P::Rmdir => op!(boxed names::Place<'_>, rmdir),
        P::Rename => op!(boxed names::RenameArgs<'_>, rename),
        P::Link => op!(boxed names::LinkArgs<'_>, link),
        P::ReadDir => op!(listing::ReadDirArgs<'_>, readdir),
        P::ReadDirPlus => op!(listing::ReadDirPlusArgs<'_>, readdirplus),
        P::FsStat => op!(object::HandleArgs<'_>, fsstat),
        P::FsInfo => op!(object::HandleArgs<'_>, fsinfo),
        P::PathConf => op!(object::HandleArgs<'_>, pathconf),
        P::Commit => op!(data::CommitArgs<'_>, commit),
    }
}

async fn run_mount(nfs: &Nfs, answer: Answer<'_>, procedure: mount3::Procedure) {
    use mount3::Procedure as P;
    let Nfs { vfs, mounts, .. } = nfs;
    let call = answer.call;
    let caller = &call.caller;
    let path = || mount3::PathArgs::decode(&mut call.args());
    match procedure {
        P::Null => answer.ok(mount::null::run()),
        P::Mnt => match path() {
            Ok(args) => match mount::mnt::run(vfs, mounts, caller, args).await {
                Ok(done) => answer.ok(done),
                Err(failed) => answer.plain(failed, Class::Refused),
            },
            Err(Malformed) => answer.garbage(),
        },
        P::Dump => answer.ok(mount::dump::run(mounts)),
        P::Umnt => match path() {
            Ok(args) => answer.ok(mount::umnt::run(mounts, caller, &args)),
            Err(Malformed) => answer.garbage(),
        },
        P::UmntAll => answer.ok(mount::umntall::run(mounts, caller)),
        P::Export => answer.ok(mount::export::run(vfs)),
    }
}

/// Whether a call still has to run.
enum Once {
    /// It has; its reply is for the ticket, if there is one.
    Run(Option<Ticket>),
    /// It ran before, and was answered the same again, or is better not answered.
    Answered,
}

impl Nfs {
    /// Sees to it that a call runs once, if running it twice would tell.
    async fn once(&self, link: &Link, call: &Call, procedure: v3::Procedure) -> Once {
        let args = &call.record[call.args_at..];
        if !is_once(procedure) {
            return Once::Run(None);
        }
        let key = Key {
            client: call.caller.address,
            xid: call.xid,
            procedure: procedure as u32,
            uid: call.caller.credentials.as_ref().map(|credentials| credentials.uid),
            args: xxh3_64(args),
        };
        let reply = match self.drc.begin(key, call.arrived) {
            Begin::First(ticket) => return Once::Run(Some(ticket)),
            Begin::Finished(reply) => Some(reply),
            Begin::Running(reply) => reply.await.ok(),
            Begin::Crowded => None,
        };
        self.metrics.duplicate();
        if let Some(reply) = reply {
            link.reply(0, |writer| writer.fixed(&reply), Vec::new());
        }
        Once::Answered
    }

    /// The counters of the share of a request.
    fn share(&self, seen: Option<Handle>) -> Arc<PerShare> {
        let key = seen.map(|handle| (handle.store, handle.share));
        let known = self.shares.borrow().iter().find(|share| share.key == key).cloned();
        known.unwrap_or_else(|| {
            // A share that is gone, or never was, is not worth counters of its own.
            let name = seen.and_then(|handle| self.vfs.share_name(&handle));
            let key = key.filter(|_| name.is_some());
            if key.is_none() && seen.is_some() {
                return self.share(None);
            }
            let share = self.metrics.share(key, name.unwrap_or_default());
            self.shares.borrow_mut().push(share.clone());
            share
        })
    }
}

/// Whether running a call twice would tell (RFC 1813 section 4.1). A SETATTR does the same again,
/// but not when it comes late, by a connection that the client has left, behind what the client did
/// next. A WRITE could, too; but there are so many that they would push out all that the cache is
/// for within milliseconds, at a third of their own cost.
fn is_once(procedure: v3::Procedure) -> bool {
    use v3::Procedure as P;
    match procedure {
        P::Create | P::Mkdir | P::Symlink | P::Mknod => true,
        P::Remove | P::Rmdir | P::Rename | P::Link => true,
        P::SetAttr => true,
        P::Null | P::GetAttr | P::Lookup | P::Access | P::ReadLink | P::Read | P::Write => false,
        P::ReadDir | P::ReadDirPlus | P::FsStat | P::FsInfo | P::PathConf | P::Commit => false,
    }
}

/// The end of a call.
pub(crate) struct Answer<'a> {
    nfs: &'a Nfs,
    pub(crate) way: Way<'a>,
    pub(crate) call: &'a Call,
    ticket: Option<Ticket>,
}

impl Answer<'_> {
    /// The result of an NFS procedure.
    fn outcome<T: Encode>(self, request: &Request<'_>, outcome: Result<T, Failed>) {
        if let Some(refusal) = request.refusal.get() {
            return self.refuse(refusal, Class::Refused);
        }
        let class = outcome.as_ref().map_or_else(|failed| Class::of(failed.status), |_| Class::Ok);
        self.send(request.seen.get(), outcome, class);
    }

    /// Results that belong to no share.
    pub(crate) fn plain(self, body: impl Encode, class: Class) {
        self.send(None, body, class);
    }

    pub(crate) fn ok(self, body: impl Encode) {
        self.plain(body, Class::Ok);
    }

    /// The arguments could not be read.
    pub(crate) fn garbage(self) {
        self.refuse(Refusal::GarbageArgs, Class::Garbage);
    }

    fn refuse(self, refusal: Refusal, class: Class) {
        let xid = self.call.xid;
        self.way.reply(0, |writer| refusal.encode(writer, xid), Vec::new());
        self.count(None, class);
    }

    fn send(mut self, seen: Option<Handle>, mut body: impl Encode, class: Class) {
        let tail = body.take_tail();
        let xid = self.call.xid;
        let fsid = seen.map_or(0, |handle| fsid(&handle));
        let encode = |writer: &mut Writer<'_>| {
            rpc::success(writer, xid);
            body.encode(writer);
        };
        // Also "not now": who asks again does so by another id (RFC 1813 section 2.6).
        match self.ticket.take() {
            None => self.way.reply(fsid, encode, tail),
            Some(ticket) => {
                let mut reply = BytesMut::with_capacity(REPLY_BYTES);
                encode(&mut Writer::new(&mut reply, fsid));
                let reply = reply.freeze();
                ticket.finish(&reply, reactor::clock::monotonic());
                self.way.reply(fsid, |writer| writer.fixed(&reply), Vec::new());
            }
        }
        self.count(seen, class);
    }

    fn count(&self, seen: Option<Handle>, class: Class) {
        let took = reactor::clock::monotonic().saturating_sub(self.call.arrived);
        let share = self.nfs.share(seen);
        self.nfs.metrics.ended(self.call.procedure.index(), &share, class, took);
    }
}

/// `fattr3.fsid`: shares of different stores may have the same number.
fn fsid(handle: &Handle) -> u64 {
    handle.store.0.wrapping_add(u64::from(handle.share.0))
}
