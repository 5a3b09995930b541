//! A whole server against clients that are wrong, malicious, in a hurry, or gone.

use std::{net::Shutdown, time::Duration};

use nfs3_types::nfs3::nfs_fh3;
use reactor::rng::Rng;

use super::{
    Xdr, auth_sys, call, call_as, call_sys, connect, fuzz, receive, record, send, try_receive,
    wait, world::World, xid,
};
use crate::{
    metrics::Class,
    wire::{
        mount,
        v3::{self, Procedure as P},
    },
};

/// The words of a reply after the xid.
fn words(reply: &[u8]) -> Vec<u32> {
    reply[4..].chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect()
}

/// What precedes the results of a call that ran.
const SUCCESS: [u32; 5] = [1, 0, 0, 0, 0];

fn number(procedure: P) -> u32 {
    procedure as u32
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    let world = World::start();
    let mut client = connect(world.address());
    let (nfs, mount) = (v3::PROGRAM, mount::PROGRAM);
    let sys = |body: &[u8]| call_as(1, nfs, 3, 0, 1, body, &[]);
    let cases: [(&str, Vec<u8>, &[u32]); 13] = [
        ("NFS NULL", call(1, nfs, 3, 0, &[]), &[1, 0, 0, 0, 0]),
        ("MOUNT NULL", call(1, mount, 3, 0, &[]), &[1, 0, 0, 0, 0]),
        ("rquota", call(1, 100_011, 1, 0, &[]), &[1, 0, 0, 0, 1]),
        ("NFS 2", call(1, nfs, 2, 0, &[]), &[1, 0, 0, 0, 2, 3, 3]),
        ("NFS 4", call(1, nfs, 4, 0, &[]), &[1, 0, 0, 0, 2, 3, 3]),
        ("MOUNT 4", call(1, mount, 4, 0, &[]), &[1, 0, 0, 0, 2, 1, 3]),
        ("MNT of MOUNT 1", call(1, mount, 1, 1, &[]), &[1, 0, 0, 0, 3]),
        ("NFS 22", call(1, nfs, 3, 22, &[]), &[1, 0, 0, 0, 3]),
        ("MOUNT 6", call(1, mount, 3, 6, &[]), &[1, 0, 0, 0, 3]),
        ("GETATTR of nothing", call_sys(1, nfs, 1, &[]), &[1, 0, 0, 0, 4]),
        ("GSS", call_as(1, nfs, 3, 0, 6, &[0; 20], &[]), &[1, 1, 1, 5]),
        ("17 groups", sys(&auth_sys(1, 1, &[1; 17])), &[1, 1, 1, 1]),
        (
            "RPC 3",
            {
                let mut rpc = call(1, nfs, 3, 0, &[]);
                rpc[11] = 3;
                rpc
            },
            &[1, 1, 0, 2, 2],
        ),
    ];
    for (what, call, want) in cases {
        send(&mut client, &record(&call));
        assert_eq!(words(&receive(&mut client)), want, "{what}");
    }
}

#[test]
fn bytes_behind_the_arguments_are_tolerated() {
    let world = World::start();
    let root = world.mount("/export");
    let mut client = connect(world.address());
    let args = Xdr::default().opaque(&root.data).raw(b"and more").0;
    send(&mut client, &record(&call_sys(1, v3::PROGRAM, number(P::GetAttr), &args)));
    assert_eq!(words(&receive(&mut client))[..6], [1, 0, 0, 0, 0, 0]);
}

fn place(root: &nfs_fh3, name: &[u8]) -> Xdr {
    Xdr::default().opaque(&root.data).opaque(name)
}

fn mkdir(id: u32, root: &nfs_fh3, name: &[u8]) -> Vec<u8> {
    let args = (0..6).fold(place(root, name), |xdr, _| xdr.u32(0)).0;
    record(&call_sys(id, v3::PROGRAM, number(P::Mkdir), &args))
}

fn rmdir(id: u32, root: &nfs_fh3, name: &[u8]) -> Vec<u8> {
    record(&call_sys(id, v3::PROGRAM, number(P::Rmdir), &place(root, name).0))
}

#[test]
fn a_repeated_call_gets_the_same_reply_over_any_connection() {
    let world = World::start();
    let root = world.mount("/export");
    let ask = |bytes: &[u8]| {
        // Each time another connection, and so by turns another reactor.
        let mut client = connect(world.address());
        send(&mut client, bytes);
        receive(&mut client)
    };
    let status = |reply: &[u8]| words(reply)[5];
    let made = ask(&mkdir(1, &root, b"d"));
    assert_eq!(status(&made), 0);
    (0..4).for_each(|_| assert_eq!(ask(&mkdir(1, &root, b"d")), made));
    assert_eq!(status(&ask(&mkdir(2, &root, b"d"))), 17, "another call is another call");
    assert_eq!(status(&ask(&mkdir(1, &root, b"e"))), 0, "other arguments are another call");
    let gone = ask(&rmdir(3, &root, b"d"));
    assert_eq!(status(&gone), 0);
    assert_eq!(ask(&rmdir(3, &root, b"d")), gone);
    assert_eq!(status(&ask(&rmdir(4, &root, b"d"))), 2);
    assert_eq!(world.counts().duplicates, 5);
}

#[test]
fn a_setattr_that_comes_again_late_undoes_nothing() {
    let world = World::start();
    let root = world.mount("/export");
    let ask = |id: u32, procedure: P, args: Xdr| {
        let mut client = connect(world.address());
        let call = call_sys(id, v3::PROGRAM, number(procedure), &args.0);
        send(&mut client, &record(&call));
        let reply = receive(&mut client);
        assert_eq!(words(&reply)[5], 0, "call {id}");
        reply
    };
    // Unchecked, with no attributes.
    let made = ask(1, P::Create, (0..7).fold(place(&root, b"f"), |xdr, _| xdr.u32(0)));
    let len = words(&made)[7] as usize;
    let file = Xdr::default().opaque(&made[36..36 + len]);
    let chmod = |id, mode| {
        let args = file.clone().u32(1).u32(mode);
        ask(id, P::SetAttr, (0..6).fold(args, |xdr, _| xdr.u32(0)))
    };
    let first = chmod(2, 0o600);
    chmod(3, 0o640);
    assert_eq!(chmod(2, 0o600), first, "the same answer");
    let attributes = ask(4, P::GetAttr, file);
    assert_eq!(words(&attributes)[7], 0o640, "what was set last holds");
}

#[test]
fn a_call_repeated_while_it_runs_runs_once() {
    let world = World::start();
    let root = world.mount("/export");
    for round in 0..50 {
        let name = format!("d{round}");
        let bytes = mkdir(round, &root, name.as_bytes());
        let mut clients: Vec<_> = (0..4).map(|_| connect(world.address())).collect();
        clients.iter_mut().for_each(|client| send(client, &bytes));
        let replies: Vec<_> = clients.iter_mut().map(receive).collect();
        assert_eq!(words(&replies[0])[5], 0, "made");
        assert!(replies.iter().all(|reply| *reply == replies[0]), "all the same");
    }
}

#[test]
fn damaged_calls_end_in_a_reply_or_a_close() {
    let seed = fuzz::Seed::new();
    let mut rng = Rng::from_seed(seed.0);
    let world = World::start();
    let root = world.mount("/export");
    let valid = fuzz::valid_args(&root.data);
    let mut client = connect(world.address());
    for round in 0..fuzz::ROUNDS / 10 {
        let procedure = fuzz::below(&mut rng, valid.len());
        let mut args = valid[procedure].clone();
        if !rng.one_in(4) {
            fuzz::mutate(&mut rng, &mut args);
        }
        let id = u32::try_from(round).unwrap();
        let mut bytes = call_sys(id, v3::PROGRAM, u32::try_from(procedure).unwrap(), &args);
        if rng.one_in(4) {
            fuzz::mutate(&mut rng, &mut bytes);
        }
        let mut bytes = record(&bytes);
        let lies = rng.one_in(16);
        if lies {
            fuzz::mutate(&mut rng, &mut bytes);
        }
        // The server may have closed already.
        std::io::Write::write_all(&mut client, &bytes).ok();
        if lies {
            // The mark may promise more than there is: end it, and see the rest through.
            client.shutdown(Shutdown::Write).ok();
            while try_receive(&mut client).is_some() {}
            client = connect(world.address());
        } else if try_receive(&mut client).is_none() {
            client = connect(world.address());
        }
    }
    drop(client);
    wait("all requests are over", || world.counts().in_flight == 0);
    wait("all connections are closed", || world.counts().connections_active == 0);
    let mut client = connect(world.address());
    send(&mut client, &record(&call(7, v3::PROGRAM, 3, 0, &[])));
    assert_eq!(xid(&receive(&mut client)), 7, "it still serves");
}

#[test]
fn random_bytes_end_in_a_close() {
    let seed = fuzz::Seed::new();
    let mut rng = Rng::from_seed(seed.0);
    let world = World::start();
    for _ in 0..50 {
        let mut client = connect(world.address());
        let bytes: Vec<u8> = (0..4000).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
        std::io::Write::write_all(&mut client, &bytes).ok();
        client.shutdown(Shutdown::Write).ok();
        while try_receive(&mut client).is_some() {}
    }
    wait("all connections are closed", || world.counts().connections_active == 0);
}

#[test]
fn too_many_connections_are_turned_away() {
    let world = World::start_with(|config| config.connections_max = 2);
    let mut clients = [connect(world.address()), connect(world.address())];
    for client in &mut clients {
        send(client, &record(&call(1, v3::PROGRAM, 3, 0, &[])));
        receive(client);
    }
    assert_eq!(try_receive(&mut connect(world.address())), None);
    assert_eq!(world.counts().connections_refused, 1);
    drop(clients);
    wait("there is room again", || world.counts().connections_active == 0);
    let mut client = connect(world.address());
    send(&mut client, &record(&call(1, v3::PROGRAM, 3, 0, &[])));
    receive(&mut client);
}

#[test]
fn a_stop_answers_what_is_under_way() {
    let mut world = World::start();
    let root = world.mount("/export");
    let mut client = connect(world.address());
    let mut idle = connect(world.address());
    let calls: Vec<u8> =
        (0..100).flat_map(|id| mkdir(id, &root, format!("d{id}").as_bytes())).collect();
    send(&mut client, &calls);
    wait("some are under way", || world.counts().requests.len() > 1);
    let stopped = world.stop(Duration::from_secs(20));
    assert_eq!(stopped.forced, 0);
    assert_eq!((stopped.metrics.in_flight, stopped.metrics.connections_active), (0, 0));
    let mut answered = 0;
    while let Some(reply) = try_receive(&mut client) {
        assert_eq!(words(&reply)[..6], [&SUCCESS[..], &[0]].concat());
        answered += 1;
    }
    let made = stopped.metrics.requests.iter().find(|one| one.procedure == "MKDIR").unwrap();
    assert_eq!(made.count, answered, "every directory made was answered");
    assert_eq!(try_receive(&mut idle), None);
}

#[test]
fn a_stop_cuts_who_does_not_read() {
    let mut world = World::start();
    let root = world.mount("/export");
    let mut client = connect(world.address());
    let args = (0..6).fold(place(&root, b"f").u32(0), |xdr, _| xdr.u32(0)).0;
    send(&mut client, &record(&call_sys(1, v3::PROGRAM, number(P::Create), &args)));
    let made = receive(&mut client);
    // status, handle follows, length, handle
    let file = made[4 + 20 + 12..][..32].to_vec();
    let write = |offset: u64| {
        let args = Xdr::default().opaque(&file).u64(offset).u32(1 << 20).u32(0);
        record(&call_sys(2, v3::PROGRAM, number(P::Write), &args.opaque(&vec![7; 1 << 20]).0))
    };
    send(&mut client, &write(0));
    assert_eq!(words(&receive(&mut client))[5], 0);
    let read = Xdr::default().opaque(&file).u64(0).u32(1 << 20).0;
    let read = record(&call_sys(3, v3::PROGRAM, number(P::Read), &read));
    send(&mut client, &read.repeat(60));
    let mut before = 0;
    wait("the server stops sending", || {
        let now = world.counts().bytes_out;
        std::mem::replace(&mut before, now) == now && now > 1 << 20
    });
    let stopped = world.stop(Duration::from_millis(50));
    assert_eq!((stopped.forced, stopped.metrics.connections_forced), (1, 1));
    assert_eq!(stopped.metrics.connections_active, 0);
}

#[test]
fn the_counters_tell() {
    let world = World::start();
    let root = world.mount("/export");
    let mut client = connect(world.address());
    let getattr = |handle: &[u8]| {
        let args = Xdr::default().opaque(handle).0;
        record(&call_sys(1, v3::PROGRAM, number(P::GetAttr), &args))
    };
    for handle in [&root.data[..], &root.data[..], &[0; 32], &[0; 65]] {
        send(&mut client, &getattr(handle));
        receive(&mut client);
    }
    let counts = world.counts();
    let getattrs: Vec<_> =
        counts.requests.iter().filter(|one| one.procedure == "GETATTR").collect();
    let labels: Vec<_> = getattrs.iter().map(|one| (&*one.share, one.class, one.count)).collect();
    let want = [("", Class::Refused, 1), ("", Class::Garbage, 1), ("/export", Class::Ok, 2)];
    assert_eq!(labels, want);
    let latency = counts.latencies.iter().find(|one| one.procedure == "GETATTR").unwrap();
    assert_eq!(latency.buckets.iter().sum::<u64>(), 4);
    assert!(counts.bytes_in > 4 * 100 && counts.bytes_out > 2 * 112);
    assert_eq!((counts.connections_accepted, counts.in_flight), (2, 0));
}
