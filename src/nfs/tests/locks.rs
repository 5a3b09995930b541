//! NLM and NSM as a client has them, with a client's own portmapper, lock manager and status
//! monitor to be called back.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::Duration,
};

use nfs3_types::nfs3 as oracle;

use super::{
    PATIENCE, Xdr, ask, call_as, connect, receive, record, results, send,
    world::{World, now},
};
use crate::wire::{nlm, nsm, portmap, rpc::AUTH_SYS, xdr::Reader};

const GRANTED: u32 = 0;
const DENIED: u32 = 1;
const BLOCKED: u32 = 3;
const GRACE: u32 = 4;
const DEADLOCK: u32 = 5;
const STALE: u32 = 7;

/// NLM's numbers.
mod to {
    pub(super) const TEST: u32 = 1;
    pub(super) const LOCK: u32 = 2;
    pub(super) const CANCEL: u32 = 3;
    pub(super) const UNLOCK: u32 = 4;
    pub(super) const SHARE: u32 = 20;
    pub(super) const UNSHARE: u32 = 21;
    pub(super) const FREE_ALL: u32 = 23;
}

/// A client machine as the server may call it: (program, procedure, arguments) of each call, and
/// what GRANTED is answered.
struct Host {
    portmapper: SocketAddr,
    calls: Receiver<(u32, u32, Vec<u8>)>,
}

impl Host {
    fn start(granted: u32) -> Self {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (portmapper, programs) = (bind(), bind());
        let (sender, calls) = channel();
        let port = programs.local_addr().unwrap().port();
        let at = portmapper.local_addr().unwrap();
        serve(portmapper, move |_, _, args| {
            // Everything by UDP, at one port.
            let protocol = u32::from_be_bytes(args[8..12].try_into().unwrap());
            Some(Xdr::default().u32(if protocol == portmap::UDP { port.into() } else { 0 }).0)
        });
        let tell: Sender<_> = sender;
        serve(programs, move |program, procedure, args| {
            tell.send((program, procedure, args.to_vec())).ok();
            Some(match (program, procedure) {
                (nlm::PROGRAM, 5) => {
                    let cookie = Reader::new(args).opaque(255).unwrap();
                    Xdr::default().opaque(cookie).u32(granted).0
                }
                _ => Vec::new(),
            })
        });
        Self { portmapper: at, calls }
    }

    /// The next call's program and procedure.
    fn called(&self) -> (u32, u32, Vec<u8>) {
        self.calls.recv_timeout(PATIENCE).expect("a call")
    }
}

/// Answers calls with their results until the test ends.
fn serve(socket: UdpSocket, results: impl Fn(u32, u32, &[u8]) -> Option<Vec<u8>> + Send + 'static) {
    let serve = move || {
        let mut bytes = [0; 4096];
        while let Ok((len, from)) = socket.recv_from(&mut bytes) {
            let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            let (program, procedure, args) = (word(12), word(20), &bytes[40..len]);
            if let Some(results) = results(program, procedure, args) {
                let head = Xdr::default().u32(word(0)).u32(1).u32(0).u32(0).u32(0).u32(0);
                socket.send_to(&head.raw(&results).0, from).unwrap();
            }
        }
    };
    drop(reactor::thread::spawn("host", None, serve).unwrap());
}

/// A server, and a file to lock.
struct Place {
    world: World,
    handle: Vec<u8>,
}

impl Place {
    fn start(host: Option<&Host>) -> Self {
        Self::start_at(host, None)
    }

    fn start_at(host: Option<&Host>, path: Option<&Path>) -> Self {
        let world = World::start_with(|config| {
            config.monitor.path = path.map(Path::to_path_buf);
            config.monitor.name = "server".into();
            if let Some(host) = host {
                config.monitor.client_portmapper = host.portmapper.port();
            }
        });
        let (mut client, root) = world.client();
        let place = oracle::diropargs3 { dir: root, name: b"file".as_slice().into() };
        let how = oracle::createhow3::GUARDED(oracle::sattr3::default());
        let made = now(client.create(&oracle::CREATE3args { where_: place, how })).unwrap();
        let handle = made.unwrap().obj.unwrap().data.to_vec();
        Self { world, handle }
    }

    fn nlm(&self, version: u32, procedure: u32, args: &Xdr) -> Vec<u8> {
        let credential = super::auth_sys(0, 0, &[]);
        let call = call_as(1, nlm::PROGRAM, version, procedure, AUTH_SYS, &credential, &args.0);
        results(&ask(self.world.address(), &call)).to_vec()
    }

    /// The status of a call of version 4.
    fn status(&self, procedure: u32, args: &Xdr) -> u32 {
        let reply = self.nlm(4, procedure, args);
        assert_eq!(reply[..8], Xdr::default().opaque(b"ck").0, "the cookie");
        u32::from_be_bytes(reply[8..12].try_into().unwrap())
    }

    fn alock(&self, xdr: Xdr, who: &str, offset: u64, len: u64) -> Xdr {
        let xdr = xdr.opaque(who.as_bytes()).opaque(&self.handle).opaque(b"oh");
        xdr.u32(77).u64(offset).u64(len)
    }

    fn lock_args(&self, who: &str, range: (u64, u64), block: bool, reclaim: bool) -> Xdr {
        let head = Xdr::default().opaque(b"ck").u32(block.into()).u32(1);
        self.alock(head, who, range.0, range.1).u32(reclaim.into()).u32(1)
    }

    fn lock(&self, who: &str, offset: u64, len: u64) -> u32 {
        self.status(to::LOCK, &self.lock_args(who, (offset, len), false, false))
    }

    fn wait(&self, who: &str, offset: u64, len: u64) -> u32 {
        self.status(to::LOCK, &self.lock_args(who, (offset, len), true, false))
    }

    fn unlock(&self, who: &str, offset: u64, len: u64) -> u32 {
        self.status(to::UNLOCK, &self.alock(Xdr::default().opaque(b"ck"), who, offset, len))
    }

    fn cancel(&self, who: &str, offset: u64, len: u64) -> u32 {
        let head = Xdr::default().opaque(b"ck").u32(1).u32(1);
        self.status(to::CANCEL, &self.alock(head, who, offset, len))
    }

    fn notify(&self, name: &str, state: u32) {
        let args = Xdr::default().opaque(name.as_bytes()).u32(state).0;
        let call = super::call(1, nsm::PROGRAM, 1, 6, &args);
        assert!(results(&ask(self.world.address(), &call)).is_empty());
    }
}

#[test]
fn conflicts_between_clients() {
    let place = Place::start(None);
    assert_eq!(place.lock("a", 0, 10), GRANTED);
    assert_eq!(place.lock("a", 5, 10), GRANTED, "its own is not in the way");
    assert_eq!(place.lock("b", 14, 1), DENIED);
    assert_eq!(place.lock("b", 15, 0), GRANTED);
    assert_eq!(place.unlock("a", 14, 1), GRANTED);
    assert_eq!(place.lock("b", 14, 1), GRANTED);
    assert_eq!(place.unlock("nobody", 0, 0), GRANTED, "nothing to give back is no error");
}

#[test]
fn who_holds_it() {
    let place = Place::start(None);
    let test = |who: &str, offset| place.alock(Xdr::default().opaque(b"ck").u32(1), who, offset, 0);
    place.lock("a", 5, 10);
    let holder = Xdr::default().opaque(b"ck").u32(DENIED);
    let holder = holder.u32(1).u32(77).opaque(b"oh").u64(5).u64(10).0;
    assert_eq!(place.nlm(4, to::TEST, &test("b", 0)), holder);
    assert_eq!(place.status(to::TEST, &test("b", 15)), GRANTED);
    assert_eq!(place.status(to::TEST, &test("a", 0)), GRANTED);
}

#[test]
fn older_versions_have_narrow_ranges() {
    let place = Place::start(None);
    let lock = |who: &[u8], offset: u32| {
        let head = Xdr::default().opaque(b"ck").u32(0).u32(1).opaque(who);
        head.opaque(&place.handle).opaque(b"oh").u32(1).u32(offset).u32(4).u32(0).u32(0)
    };
    let status = |reply: Vec<u8>| u32::from_be_bytes(reply[8..].try_into().unwrap());
    for version in [1, 3] {
        assert_eq!(status(place.nlm(version, to::LOCK, &lock(b"a", 0))), GRANTED);
        assert_eq!(status(place.nlm(version, to::LOCK, &lock(b"b", 3))), DENIED);
    }
    assert_eq!(place.lock("c", 3, 1), DENIED, "it is the same table");
    let call = super::call(1, nlm::PROGRAM, 2, 0, &[]);
    let refused = ask(place.world.address(), &call);
    assert_eq!(refused[20..], Xdr::default().u32(2).u32(1).u32(4).0);
}

#[test]
fn a_wait_ends_with_a_call_back() {
    let host = Host::start(GRANTED);
    let place = Place::start(Some(&host));
    assert_eq!(place.lock("a", 0, 0), GRANTED);
    assert_eq!(place.wait("b", 3, 4), BLOCKED);
    assert_eq!(place.wait("b", 3, 4), BLOCKED, "asked again");
    assert_eq!(place.unlock("a", 0, 0), GRANTED);
    let (program, procedure, args) = host.called();
    assert_eq!((program, procedure), (nlm::PROGRAM, 5));
    let want = place.alock(Xdr::default().opaque(b"ck").u32(1), "b", 3, 4).0;
    assert_eq!(args, want, "in the client's own words");
    assert_eq!(place.lock("a", 0, 0), DENIED);
    assert_eq!(host.calls.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
}

#[test]
fn a_lock_that_nobody_wants_any_more_is_free() {
    let host = Host::start(DENIED);
    let place = Place::start(Some(&host));
    place.lock("a", 0, 0);
    assert_eq!(place.wait("b", 0, 0), BLOCKED);
    place.unlock("a", 0, 0);
    assert_eq!(host.called().1, 5);
    super::wait("the lock is free", || place.lock("a", 0, 0) == GRANTED);
}

#[test]
fn a_cancelled_wait_takes_nothing() {
    let place = Place::start(None);
    place.lock("a", 0, 0);
    assert_eq!(place.wait("b", 0, 0), BLOCKED);
    assert_eq!(place.cancel("b", 0, 1), DENIED, "it waits for nothing of the kind");
    assert_eq!(place.cancel("b", 0, 0), GRANTED);
    place.unlock("a", 0, 0);
    assert_eq!(place.lock("c", 0, 0), GRANTED);
}

#[test]
fn a_wait_granted_and_then_cancelled_is_given_back() {
    // A client that is not reached keeps the block alive.
    let nowhere = Host { portmapper: any_udp(), calls: channel().1 };
    let place = Place::start(Some(&nowhere));
    place.lock("a", 0, 0);
    assert_eq!(place.wait("b", 0, 0), BLOCKED);
    place.unlock("a", 0, 0);
    assert_eq!(place.lock("a", 0, 0), DENIED);
    assert_eq!(place.cancel("b", 0, 0), GRANTED);
    assert_eq!(place.lock("a", 0, 0), GRANTED);
}

/// An address where nobody answers.
fn any_udp() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    // Kept open, so that nobody else comes to answer there.
    std::mem::forget(socket);
    address
}

#[test]
fn a_deadlock_is_told() {
    let place = Place::start(None);
    place.lock("a", 0, 1);
    place.lock("b", 1, 1);
    assert_eq!(place.wait("a", 1, 1), BLOCKED);
    assert_eq!(place.wait("b", 0, 1), DEADLOCK);
}

#[test]
fn asynchronous_calls_are_answered_by_calls() {
    let host = Host::start(GRANTED);
    let place = Place::start(Some(&host));
    let void = place.nlm(4, 7, &place.lock_args("a", (0, 0), false, false));
    assert!(void.is_empty());
    let result = |status| Xdr::default().opaque(b"ck").u32(status).0;
    assert_eq!(host.called(), (nlm::PROGRAM, 12, result(GRANTED)));
    place.nlm(4, 7, &place.lock_args("b", (0, 0), false, false));
    assert_eq!(host.called(), (nlm::PROGRAM, 12, result(DENIED)));
    place.nlm(4, 9, &place.alock(Xdr::default().opaque(b"ck"), "a", 0, 0));
    assert_eq!(host.called(), (nlm::PROGRAM, 14, result(GRANTED)));
    assert_eq!(place.lock("b", 0, 0), GRANTED);
}

#[test]
fn shares() {
    let place = Place::start(None);
    let args = |who: &[u8], deny: u32, access: u32| {
        let head = Xdr::default().opaque(b"ck").opaque(who).opaque(&place.handle);
        head.opaque(b"oh").u32(deny).u32(access).u32(0)
    };
    assert_eq!(place.status(to::SHARE, &args(b"a", 2, 1)), GRANTED);
    assert_eq!(place.status(to::SHARE, &args(b"b", 0, 3)), DENIED, "it would write");
    assert_eq!(place.status(to::SHARE, &args(b"b", 0, 1)), GRANTED);
    assert_eq!(place.status(to::UNSHARE, &args(b"a", 2, 1)), GRANTED);
    assert_eq!(place.status(to::SHARE, &args(b"b", 0, 3)), GRANTED);
    let free = Xdr::default().opaque(b"b").u32(0);
    assert!(place.nlm(4, to::FREE_ALL, &free).is_empty());
    assert_eq!(place.status(to::SHARE, &args(b"a", 3, 3)), GRANTED);
}

#[test]
fn a_client_that_restarts_holds_nothing() {
    let place = Place::start(None);
    place.lock("host.example.org", 0, 1);
    place.lock("other", 1, 1);
    place.notify("host", 3);
    super::wait("its lock is free", || place.lock("new", 0, 1) == GRANTED);
    assert_eq!(place.lock("new", 1, 1), DENIED, "the other one's is not");
    assert_eq!(place.lock("host.example.org", 2, 1), GRANTED);
    // The same notice again is a late copy, and not another restart.
    place.notify("host", 3);
    place.notify("other", 3);
    super::wait("its lock is free", || place.lock("new", 1, 1) == GRANTED);
    assert_eq!(place.lock("new", 2, 1), DENIED);
}

#[test]
fn after_a_restart_clients_are_told_and_reclaim() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hosts");
    let host = Host::start(GRANTED);
    let place = Place::start_at(Some(&host), Some(&path));
    assert_eq!(place.lock("a", 0, 0), GRANTED, "nobody to reclaim from in a first life");
    drop(place);
    let place = Place::start_at(Some(&host), Some(&path));
    for name in ["127.0.0.1", "server"] {
        let notice = Xdr::default().opaque(name.as_bytes()).u32(3).0;
        assert_eq!(host.called(), (nsm::PROGRAM, 6, notice));
    }
    assert_eq!(place.lock("b", 0, 0), GRACE);
    assert_eq!(place.wait("b", 0, 0), GRACE);
    let reclaim = |who| place.status(to::LOCK, &place.lock_args(who, (0, 0), false, true));
    assert_eq!(reclaim("a"), GRANTED);
    assert_eq!(reclaim("b"), DENIED);
    assert_eq!(place.unlock("a", 0, 0), GRANTED);
    drop(place);
    // "a" came back, so it is told again.
    let place = Place::start_at(Some(&host), Some(&path));
    assert_eq!(host.called().2, Xdr::default().opaque(b"127.0.0.1").u32(5).0);
    drop(place);
}

#[test]
fn a_damaged_file_is_no_reason_to_forget_locks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hosts");
    reactor::whole::replace(&path, b"DFSHOSTS, but not ours").unwrap();
    let locks = Place::start(None).world.vfs().locks().clone();
    let config = crate::MonitorConfig { path: Some(path), ..crate::MonitorConfig::default() };
    let error = now(crate::nsm::Monitor::start(config, locks)).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains("remove it"), "{error}");
}

#[test]
fn what_is_for_this_machine_only() {
    let place = Place::start(None);
    // From a port that anybody may use.
    let listener = |xdr: Xdr| xdr.opaque(b"localhost").u32(100_021).u32(4).u32(16);
    let mon = listener(Xdr::default().opaque(b"peer")).raw(&[7; 16]).0;
    let sm = |procedure, args: &[u8]| {
        results(&ask(place.world.address(), &super::call(1, nsm::PROGRAM, 1, procedure, args)))
            .to_vec()
    };
    assert_eq!(sm(2, &mon), Xdr::default().u32(1).u32(1).0, "failed");
    place.lock("a", 0, 0);
    assert!(sm(5, &[]).is_empty());
    assert_eq!(place.lock("b", 0, 0), DENIED, "no crash was simulated");
}

#[test]
fn files_that_are_not_there() {
    let mut place = Place::start(None);
    place.handle = vec![0; 32];
    assert_eq!(place.lock("a", 0, 0), STALE);
    place.handle = vec![0; 3];
    assert_eq!(place.unlock("a", 0, 0), STALE);
}

#[test]
fn over_a_connection_too() {
    let place = Place::start(None);
    let mut streams: Vec<_> = (0..4).map(|_| connect(place.world.address())).collect();
    let credential = super::auth_sys(0, 0, &[]);
    for (n, stream) in (0..).zip(&mut streams) {
        let args = place.lock_args(&format!("host-{n}"), (0, 0), false, false).0;
        let call = call_as(1, nlm::PROGRAM, 4, to::LOCK, AUTH_SYS, &credential, &args);
        send(stream, &record(&call));
        let status = if n == 0 { GRANTED } else { DENIED };
        let want = Xdr::default().opaque(b"ck").u32(status).0;
        assert_eq!(results(&receive(stream)), want, "the table is one for all reactors");
    }
}
