//! The embedded portmapper, and what is served by datagram.

use std::net::SocketAddr;

use super::{Xdr, ask, call, call_sys, connect, receive, record, results, send, world::World};
use crate::wire::{mount, portmap, v3};

fn world() -> World {
    World::start_with(|config| config.portmapper = Some(0))
}

fn portmapper(world: &World) -> SocketAddr {
    world.server.as_ref().unwrap().portmapper_address().unwrap()
}

fn by_tcp(address: SocketAddr, call: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    send(&mut stream, &record(call));
    receive(&mut stream)
}

#[test]
fn ports_over_both_transports() {
    let world = world();
    let port = u32::from(world.address().port());
    let mapping = |program, version, protocol| {
        Xdr::default().u32(program).u32(version).u32(protocol).u32(0).0
    };
    let getport = |args: &[u8]| call(1, portmap::PROGRAM, 2, 3, args);
    let at = portmapper(&world);
    for (args, want) in [
        (mapping(v3::PROGRAM, 3, 6), port),
        (mapping(v3::PROGRAM, 3, 17), 0),
        (mapping(mount::PROGRAM, 3, 17), port),
        (mapping(portmap::PROGRAM, 2, 17), at.port().into()),
        (mapping(77, 1, 6), 0),
    ] {
        assert_eq!(results(&ask(at, &getport(&args))), want.to_be_bytes());
        assert_eq!(results(&by_tcp(at, &getport(&args))), want.to_be_bytes());
    }
}

#[test]
fn addresses_of_rpcbind() {
    let world = world();
    let (at, port) = (portmapper(&world), world.address().port());
    let rpcb = |program, netid: &[u8]| {
        Xdr::default().u32(program).u32(3).opaque(netid).opaque(b"").opaque(b"").0
    };
    let universal = format!("127.0.0.1.{}.{}", port >> 8, port & 0xff);
    let address = Xdr::default().opaque(universal.as_bytes()).0;
    let none = Xdr::default().opaque(b"").0;
    for (version, procedure, args, want) in [
        (3, 3, rpcb(v3::PROGRAM, b"tcp"), &address),
        (4, 3, rpcb(mount::PROGRAM, b"udp"), &address),
        (4, 9, rpcb(mount::PROGRAM, b"tcp"), &address),
        (4, 3, rpcb(v3::PROGRAM, b"udp"), &none),
        (4, 9, rpcb(77, b"tcp"), &none),
    ] {
        let reply = ask(at, &call(1, portmap::PROGRAM, version, procedure, &args));
        assert_eq!(results(&reply), want, "{version} {procedure}");
    }
    let reply = ask(at, &call(1, portmap::PROGRAM, 4, 11, &rpcb(v3::PROGRAM, b"")));
    let words = [b"tcp".as_slice(), b"inet", b"tcp"];
    let entry = Xdr::default().u32(1).opaque(universal.as_bytes()).opaque(words[0]).u32(3);
    let entry = entry.opaque(words[1]).opaque(words[2]).u32(0).0;
    assert_eq!(results(&reply), entry);
}

#[test]
fn strangers_register_nothing_and_call_nobody_through_us() {
    let world = world();
    let at = portmapper(&world);
    let args = Xdr::default().u32(v3::PROGRAM).u32(3).u32(6).u32(666).0;
    for procedure in [1, 2] {
        let reply = ask(at, &call(1, portmap::PROGRAM, 2, procedure, &args));
        assert_eq!(results(&reply), [0; 4]);
    }
    let callit = Xdr::default().u32(v3::PROGRAM).u32(3).u32(0).opaque(b"").0;
    for (version, procedure) in [(2, 5), (3, 5), (4, 5), (4, 10)] {
        let reply = ask(at, &call(1, portmap::PROGRAM, version, procedure, &callit));
        assert_eq!(reply[20..], [0, 0, 0, 3], "no such procedure");
    }
    let reply = ask(at, &call(1, portmap::PROGRAM, 5, 0, &[]));
    assert_eq!(reply[20..], Xdr::default().u32(2).u32(2).u32(4).0);
}

#[test]
fn without_a_portmapper_there_is_none() {
    let world = World::start();
    let reply = ask(world.address(), &call(1, portmap::PROGRAM, 2, 0, &[]));
    assert_eq!(reply[20..], [0, 0, 0, 1]);
}

#[test]
fn mounting_by_datagram() {
    let world = World::start();
    let path = Xdr::default().opaque(b"/export").0;
    let by_udp = ask(world.address(), &call_sys(1, mount::PROGRAM, 1, &path));
    let by_tcp = by_tcp(world.address(), &call_sys(1, mount::PROGRAM, 1, &path));
    assert_eq!(by_udp, by_tcp);
    assert_eq!(results(&by_udp)[..4], [0; 4], "mounted");
    // NFS itself is not served so.
    let reply = ask(world.address(), &call_sys(1, v3::PROGRAM, 0, &[]));
    assert_eq!(reply[20..], [0, 0, 0, 1]);
    // What is no call is not answered, and harms nobody.
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    for bytes in [&b""[..], b"x", &[0; 20_000]] {
        socket.send_to(bytes, world.address()).unwrap();
    }
    assert_eq!(ask(world.address(), &call_sys(1, mount::PROGRAM, 1, &path)), by_tcp);
}
