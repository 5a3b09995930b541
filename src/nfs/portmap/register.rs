//! Registration with the system's rpcbind, for those who serve at its well-known port.
//!
//! Blocking, on a plain thread: at start and at the end. A server whose registration fails is
//! served all the same; clients then have to be told the ports.

use std::{
    io::{self, Read, Write},
    net::IpAddr,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use bytes::BytesMut;
use trace::{info, warn};

use super::{Registry, universal};
use crate::wire::{
    portmap::{self, Mapping, Rpcb},
    record::{MARK_BYTES, Mark},
    rpc,
    xdr::{Encode, Reader, Writer},
};

/// Where rpcbind takes SET and UNSET; over the network it does not.
const SOCKET: &str = "/run/rpcbind.sock";
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Its answers are a word, or an address.
const REPLY_BYTES_MAX: u32 = 1024;

const VERSION: u32 = 4;
const SET: u32 = 1;
const UNSET: u32 = 2;
const GETADDR: u32 = 3;

/// What was registered. It stays so until [`Registered::undo`].
#[derive(Debug, Default)]
pub(crate) struct Registered(Vec<(Mapping, String)>);

/// Registers all programs, listening at an address.
pub(crate) fn register(registry: &Registry, address: IpAddr) -> Registered {
    register_at(Path::new(SOCKET), registry, address)
}

fn register_at(socket: &Path, registry: &Registry, address: IpAddr) -> Registered {
    let mut registered = Registered::default();
    let mut rpcbind = match Rpcbind::connect(socket) {
        Ok(rpcbind) => rpcbind,
        Err(error) => {
            warn!(
                "not registered with the system's rpcbind, {}: {error}; start it, or set \
                 adapters.nfs.portmapper.register to false",
                socket.display()
            );
            return registered;
        }
    };
    for mapping in registry.all().iter().filter(|one| one.program != portmap::PROGRAM) {
        let Mapping { program, version, port, .. } = *mapping;
        let ours = universal(address, port);
        let is_set = rpcbind.call(SET, mapping, address, &ours).map(|reply| word(&reply) == 1);
        // One that a crashed server left behind says the same and will do.
        let is_ours = |rpcbind: &mut Rpcbind| {
            rpcbind.call(GETADDR, mapping, address, "").map(|reply| text(&reply) == ours)
        };
        match is_set {
            Ok(true) => registered.0.push((*mapping, ours)),
            Ok(false) if is_ours(&mut rpcbind).is_ok_and(|is_ours| is_ours) => {
                registered.0.push((*mapping, ours));
            }
            Ok(false) => warn!(
                "program {program} version {version} is registered with the system's rpcbind by \
                 another; clients that ask there will not find ours"
            ),
            Err(error) => warn!("registering with the system's rpcbind: {error}"),
        }
    }
    info!(programs = registered.0.len(), "registered with the system's rpcbind");
    registered
}

impl Registered {
    /// Takes it all back.
    pub(crate) fn undo(&self, address: IpAddr) {
        self.undo_at(Path::new(SOCKET), address);
    }

    fn undo_at(&self, socket: &Path, address: IpAddr) {
        if self.0.is_empty() {
            return;
        }
        let undone = Rpcbind::connect(socket).and_then(|mut rpcbind| {
            let mut unset = |(mapping, ours): &(Mapping, String)| {
                rpcbind.call(UNSET, mapping, address, ours).map(drop)
            };
            self.0.iter().try_for_each(&mut unset)
        });
        if let Err(error) = undone {
            warn!("still registered with the system's rpcbind: {error}");
        }
    }
}

fn word(reply: &[u8]) -> u32 {
    Reader::new(reply).u32().unwrap_or(0)
}

fn text(reply: &[u8]) -> String {
    let text = Reader::new(reply).opaque(REPLY_BYTES_MAX).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

struct Rpcbind {
    stream: UnixStream,
    xid: u32,
}

impl Rpcbind {
    fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, xid: 0 })
    }

    /// The results.
    fn call(
        &mut self,
        procedure: u32,
        mapping: &Mapping,
        local: IpAddr,
        address: &str,
    ) -> io::Result<Vec<u8>> {
        self.xid += 1;
        let netid: &[u8] = match (mapping.protocol == portmap::TCP, local.is_ipv4()) {
            (true, true) => b"tcp",
            (true, false) => b"tcp6",
            (false, true) => b"udp",
            (false, false) => b"udp6",
        };
        let Mapping { program, version, .. } = *mapping;
        let asked = Rpcb { program, version, netid, address: address.as_bytes(), owner: b"" };
        let mut call = BytesMut::new();
        let mut writer = Writer::new(&mut call, 0);
        rpc::call(&mut writer, self.xid, portmap::PROGRAM, VERSION, procedure);
        asked.encode(&mut writer);
        let len = u32::try_from(call.len()).expect("some words");
        self.stream.write_all(&Mark { last: true, len }.encode())?;
        self.stream.write_all(&call)?;
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "an answer that is none");
        let mut mark = [0; MARK_BYTES];
        self.stream.read_exact(&mut mark)?;
        let mark = Mark::decode(&mark).filter(|mark| mark.last && mark.len <= REPLY_BYTES_MAX);
        let mut reply = vec![0; mark.ok_or_else(strange)?.len as usize];
        self.stream.read_exact(&mut reply)?;
        let reply = rpc::Reply::decode(&reply).map_err(|_| strange())?;
        Ok(reply.results.ok_or_else(strange)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::UnixListener,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// What an rpcbind was asked: procedure, program, netid, address.
    type Asked = (u32, u32, String, String);

    /// An rpcbind that has NLM registered for somebody else.
    fn rpcbind(socket: &Path) -> Arc<Mutex<Vec<Asked>>> {
        let listener = UnixListener::bind(socket).unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let answers = asked.clone();
        let serve = move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut mark = [0; MARK_BYTES];
                while stream.read_exact(&mut mark).is_ok() {
                    let mut call = vec![0; Mark::decode(&mark).unwrap().len as usize];
                    stream.read_exact(&mut call).unwrap();
                    let call = rpc::Call::decode(&call).unwrap();
                    assert_eq!((call.program, call.version), (portmap::PROGRAM, VERSION));
                    let rpcb = Rpcb::decode(&mut Reader::new(call.args)).unwrap();
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    let is_taken = rpcb.program == crate::wire::nlm::PROGRAM;
                    let mut reply = BytesMut::new();
                    let mut writer = Writer::new(&mut reply, 0);
                    rpc::success(&mut writer, call.xid);
                    match call.procedure {
                        GETADDR => writer.opaque(b"0.0.0.0.3.3"),
                        _ => writer.bool(!is_taken),
                    }
                    // Before the answer, after which the test looks.
                    let one = (call.procedure, rpcb.program, text(rpcb.netid), text(rpcb.address));
                    answers.lock().unwrap().push(one);
                    let len = u32::try_from(reply.len()).unwrap();
                    stream.write_all(&Mark { last: true, len }.encode()).unwrap();
                    stream.write_all(&reply).unwrap();
                }
            }
        };
        drop(reactor::thread::spawn("rpcbind", None, serve).unwrap());
        asked
    }

    #[test]
    fn what_is_registered_is_taken_back_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("rpcbind.sock");
        let asked = rpcbind(&socket);
        let address = IpAddr::from([0, 0, 0, 0]);
        let registry = Registry::new(2049, true, Some(10111));
        let registered = register_at(&socket, &registry, address);
        let of = |procedure: u32| {
            let asked = asked.lock().unwrap();
            let same = asked.iter().filter(|one| one.0 == procedure);
            same.map(|(_, program, netid, address)| (*program, netid.clone(), address.clone()))
                .collect::<Vec<_>>()
        };
        let at = "0.0.0.0.8.1".to_owned();
        let set = of(SET);
        assert_eq!(set.len(), registry.all().len() - 6, "all but the portmapper's own");
        assert_eq!(set[0], (100_003, "tcp".to_owned(), at.clone()));
        assert_eq!(set[2], (100_005, "udp".to_owned(), at));
        assert_eq!(registered.0.len(), 9, "NFS, MOUNT and NSM; somebody else has NLM");
        registered.undo_at(&socket, address);
        let unset = of(UNSET);
        assert_eq!(unset.len(), 9);
        assert!(unset.iter().all(|(program, ..)| *program != 100_021));
    }

    #[test]
    fn without_an_rpcbind_nothing_is_registered() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::new(2049, true, None);
        let registered = register_at(&dir.path().join("no"), &registry, [0, 0, 0, 0].into());
        assert!(registered.0.is_empty());
        registered.undo_at(&dir.path().join("no"), [0, 0, 0, 0].into());
    }
}
