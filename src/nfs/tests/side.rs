//! Hostile datagrams for the programs beside NFS. The seed is printed on failure; `SEED=n` repeats
//! it.

use std::net::{Ipv4Addr, UdpSocket};

use reactor::rng::Rng;

use super::{Xdr, ask, call, call_as, fuzz, results, world::World};
use crate::wire::{mount, nlm, nsm, portmap, rpc::AUTH_SYS};

/// Program, version, procedure, and arguments that are well formed.
type Valid = (u32, u32, u32, Vec<u8>);

/// One of each kind.
fn valid(handle: &[u8]) -> Vec<Valid> {
    let x = Xdr::default;
    let lock = |xdr: Xdr| xdr.opaque(b"host").opaque(handle).opaque(b"oh").u32(1).u64(0).u64(10);
    let narrow = |xdr: Xdr| xdr.opaque(b"host").opaque(handle).opaque(b"oh").u32(1).u32(0).u32(10);
    let share = x().opaque(b"ck").opaque(b"host").opaque(handle).opaque(b"oh").u32(1).u32(2).u32(0);
    let listener = |xdr: Xdr| xdr.opaque(b"localhost").u32(1).u32(2).u32(3);
    let mapping = x().u32(100_003).u32(3).u32(6).u32(0);
    let rpcb = x().u32(100_003).u32(3).opaque(b"tcp").opaque(b"").opaque(b"");
    let all = [
        (nlm::PROGRAM, 4, 1, lock(x().opaque(b"ck").u32(1))),
        (nlm::PROGRAM, 4, 2, lock(x().opaque(b"ck").u32(1).u32(1)).u32(0).u32(1)),
        (nlm::PROGRAM, 4, 3, lock(x().opaque(b"ck").u32(1).u32(1))),
        (nlm::PROGRAM, 4, 4, lock(x().opaque(b"ck"))),
        (nlm::PROGRAM, 4, 5, lock(x().opaque(b"ck").u32(1))),
        (nlm::PROGRAM, 1, 2, narrow(x().opaque(b"ck").u32(0).u32(1)).u32(0).u32(1)),
        (nlm::PROGRAM, 3, 7, narrow(x().opaque(b"ck").u32(0).u32(1)).u32(0).u32(1)),
        (nlm::PROGRAM, 4, 20, share.clone()),
        (nlm::PROGRAM, 4, 21, share),
        (nlm::PROGRAM, 4, 22, lock(x().opaque(b"ck").u32(0).u32(1)).u32(0).u32(1)),
        (nlm::PROGRAM, 4, 23, x().opaque(b"host").u32(3)),
        (nsm::PROGRAM, 1, 1, x().opaque(b"host")),
        (nsm::PROGRAM, 1, 2, listener(x().opaque(b"host")).raw(&[7; 16])),
        (nsm::PROGRAM, 1, 3, listener(x().opaque(b"host"))),
        (nsm::PROGRAM, 1, 4, listener(x())),
        (nsm::PROGRAM, 1, 6, x().opaque(b"host").u32(3)),
        (portmap::PROGRAM, 2, 3, mapping),
        (portmap::PROGRAM, 3, 3, rpcb.clone()),
        (portmap::PROGRAM, 4, 9, rpcb.clone()),
        (portmap::PROGRAM, 4, 11, rpcb),
        (mount::PROGRAM, 3, 1, x().opaque(b"/export")),
        (mount::PROGRAM, 3, 3, x().opaque(b"/export")),
    ];
    all.into_iter()
        .map(|(program, version, number, xdr)| (program, version, number, xdr.0))
        .collect()
}

fn world() -> (World, Vec<Valid>) {
    let world = World::start_with(|config| config.portmapper = Some(0));
    let root = world.mount("/export");
    (world, valid(&root.data))
}

#[test]
fn arguments_cut_anywhere_are_garbage() {
    let (world, valid) = world();
    for (program, version, procedure, args) in valid {
        results(&ask(world.address(), &call(1, program, version, procedure, &args)));
        for len in (0..args.len()).step_by(4) {
            let reply = ask(world.address(), &call(1, program, version, procedure, &args[..len]));
            assert_eq!(reply[20..], [0, 0, 0, 4], "{program} {version} {procedure}, {len} bytes");
        }
    }
}

#[test]
fn damaged_datagrams_harm_nobody() {
    let seed = fuzz::Seed::new();
    let mut rng = Rng::from_seed(seed.0);
    let (world, valid) = world();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for round in 0..fuzz::ROUNDS / 10 {
        let (program, version, procedure, mut args) = valid[rng.index(valid.len())].clone();
        if !rng.one_in(4) {
            fuzz::mutate(&mut rng, &mut args);
        }
        let credential = super::auth_sys(0, 0, &[]);
        let mut bytes = call_as(7, program, version, procedure, AUTH_SYS, &credential, &args);
        if rng.one_in(4) {
            fuzz::mutate(&mut rng, &mut bytes);
        }
        socket.send_to(&bytes, world.address()).unwrap();
        if round % 64 == 0 {
            // So that few are lost for want of room.
            ask(world.address(), &call(1, nlm::PROGRAM, 4, 0, &[]));
        }
    }
    assert!(results(&ask(world.address(), &call(1, nlm::PROGRAM, 4, 0, &[]))).is_empty());
    assert!(results(&ask(world.address(), &call(1, nsm::PROGRAM, 1, 0, &[]))).is_empty());
}
