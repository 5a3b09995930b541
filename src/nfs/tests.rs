//! Suites of this room: bytes against another implementation, hostile bytes, real connections.

mod connection;
mod fuzz;
mod golden;
mod hostile;
mod inbox;
mod locks;
mod portmap;
mod rpc;
mod served;
mod side;
mod world;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use crate::wire::{
    record::{MARK_BYTES, Mark},
    rpc::{AUTH_NULL, AUTH_SYS},
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// XDR by hand.
#[derive(Clone, Debug, Default)]
struct Xdr(Vec<u8>);

impl Xdr {
    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn opaque(self, bytes: &[u8]) -> Self {
        let padding = vec![0; bytes.len().next_multiple_of(4) - bytes.len()];
        self.u32(u32::try_from(bytes.len()).unwrap()).raw(bytes).raw(&padding)
    }
}

/// An RPC call without its record mark.
fn call(xid: u32, program: u32, version: u32, procedure: u32, args: &[u8]) -> Vec<u8> {
    call_as(xid, program, version, procedure, AUTH_NULL, &[], args)
}

fn call_as(
    xid: u32,
    program: u32,
    version: u32,
    procedure: u32,
    flavor: u32,
    credential: &[u8],
    args: &[u8],
) -> Vec<u8> {
    let header = Xdr::default().u32(xid).u32(0).u32(2).u32(program).u32(version).u32(procedure);
    header.u32(flavor).opaque(credential).u32(AUTH_NULL).opaque(&[]).raw(args).0
}

/// The body of an `AUTH_SYS` credential.
fn auth_sys(uid: u32, gid: u32, groups: &[u32]) -> Vec<u8> {
    let head = Xdr::default().u32(7).opaque(b"host").u32(uid).u32(gid);
    let head = head.u32(u32::try_from(groups.len()).unwrap());
    groups.iter().fold(head, |xdr, group| xdr.u32(*group)).0
}

/// A call by an ordinary user.
fn call_sys(xid: u32, program: u32, procedure: u32, args: &[u8]) -> Vec<u8> {
    call_as(xid, program, 3, procedure, AUTH_SYS, &auth_sys(0, 0, &[]), args)
}

/// A record of one fragment.
fn record(bytes: &[u8]) -> Vec<u8> {
    fragment(bytes, true)
}

fn fragment(bytes: &[u8], last: bool) -> Vec<u8> {
    let mark = Mark { last, len: u32::try_from(bytes.len()).unwrap() };
    [&mark.encode(), bytes].concat()
}

/// A connection that blocks, with a timeout.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The next record.
fn receive(stream: &mut TcpStream) -> Vec<u8> {
    try_receive(stream).expect("a reply")
}

/// The next record; `None` once the server closed.
fn try_receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut mark = [0; MARK_BYTES];
    match stream.read_exact(&mut mark) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::UnexpectedEof
                    | std::io::ErrorKind::ConnectionReset
                    | std::io::ErrorKind::BrokenPipe
            ) =>
        {
            return None;
        }
        Err(error) => panic!("neither a reply nor a close: {error}"),
    }
    let mark = Mark::decode(&mark).unwrap();
    assert!(mark.last, "we send records of one fragment");
    let mut reply = vec![0; mark.len as usize];
    stream.read_exact(&mut reply).unwrap();
    Some(reply)
}

fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
}

/// Waits until it is true. It is asked now and then.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a plain thread waits for the reactors")]
fn wait(what: &str, is_true: impl FnMut() -> bool) {
    let mut is_true = is_true;
    for _ in 0..400 {
        if is_true() {
            return;
        }
        std::thread::sleep(PATIENCE / 400);
    }
    panic!("waited in vain: {what}");
}

/// The first word of a reply.
fn xid(reply: &[u8]) -> u32 {
    u32::from_be_bytes(*reply.first_chunk().unwrap())
}

/// The results of a call by datagram.
fn ask(address: SocketAddr, call: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(call, address).unwrap();
    let mut reply = vec![0; 16 * 1024];
    let (bytes, from) = socket.recv_from(&mut reply).expect("a reply");
    assert_eq!(from, address);
    reply.truncate(bytes);
    reply
}

/// The results in a reply that has some.
#[track_caller]
fn results(reply: &[u8]) -> &[u8] {
    let head = Xdr::default().u32(1).u32(0).u32(0).u32(0).u32(0).0;
    assert_eq!(reply[4..24], head, "{reply:?}");
    &reply[24..]
}
