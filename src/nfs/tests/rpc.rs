//! RPC headers against another implementation's codec, and against bytes written by hand.

use bytes::BytesMut;
use nfs3_types::rpc as oracle_rpc;

use super::{Xdr, auth_sys, call, call_as, golden::read_back};
use crate::wire::{
    rpc::{self, AuthStat, Refusal},
    v3,
    xdr::{Malformed, Writer},
};

#[test]
fn a_call_by_hand() {
    let record = call_as(9, v3::PROGRAM, 3, 1, 1, &auth_sys(1, 2, &[3, 4]), b"args");
    let call = rpc::Call::decode(&record).unwrap();
    assert_eq!((call.xid, call.program, call.version, call.procedure), (9, 100_003, 3, 1));
    assert_eq!((call.credential.flavor, call.args), (1, b"args".as_slice()));
    let who = rpc::auth_sys(call.credential.body).unwrap();
    assert_eq!((who.uid, who.gid, who.groups), (1, 2, vec![3, 4]));
    let message: oracle_rpc::rpc_msg<'_, '_> = read_back(&record[..record.len() - 4]);
    assert_eq!(message.xid, 9);
}

#[test]
fn credentials_that_are_too_much() {
    assert!(rpc::auth_sys(&auth_sys(1, 1, &[5; 16])).is_ok());
    assert_eq!(rpc::auth_sys(&auth_sys(1, 1, &[5; 17])), Err(Malformed));
    let name = |len| Xdr::default().u32(0).opaque(&vec![b'n'; len]).u32(1).u32(1).u32(0).0;
    assert!(rpc::auth_sys(&name(255)).is_ok());
    assert_eq!(rpc::auth_sys(&name(256)), Err(Malformed));
    assert_eq!(rpc::auth_sys(&[]), Err(Malformed));
}

#[test]
fn calls_that_are_none() {
    let good = call(1, 2, 3, 4, &[]);
    for len in 0..good.len() {
        assert_eq!(rpc::Call::decode(&good[..len]).err(), Some(rpc::BadCall::Malformed), "{len}");
    }
    let mut reply = good.clone();
    reply[7] = 1;
    assert_eq!(rpc::Call::decode(&reply).err(), Some(rpc::BadCall::Malformed));
    let mut version = good;
    version[11] = 3;
    assert_eq!(rpc::Call::decode(&version).err(), Some(rpc::BadCall::Version { xid: 1 }));
    let verbose = call_as(1, 2, 3, 4, 0, &[0; 404], &[]);
    assert_eq!(rpc::Call::decode(&verbose).err(), Some(rpc::BadCall::Malformed));
}

#[test]
fn refusals() {
    use oracle_rpc::{accept_stat_data as accept, auth_stat, msg_body, rejected_reply, reply_body};
    let refused = |refusal: Refusal| {
        let mut buffer = BytesMut::new();
        refusal.encode(&mut Writer::new(&mut buffer, 0), 77);
        let message: oracle_rpc::rpc_msg<'_, '_> = read_back(&buffer);
        assert_eq!(message.xid, 77);
        let msg_body::REPLY(reply) = message.body else { panic!("a call") };
        reply
    };
    let accepted = |refusal| match refused(refusal) {
        reply_body::MSG_ACCEPTED(accepted) => accepted.reply_data,
        reply_body::MSG_DENIED(denied) => panic!("{denied:?}"),
    };
    let denied = |refusal| match refused(refusal) {
        reply_body::MSG_DENIED(denied) => denied,
        reply_body::MSG_ACCEPTED(accepted) => panic!("{accepted:?}"),
    };
    assert!(matches!(accepted(Refusal::ProgramUnavailable), accept::PROG_UNAVAIL));
    assert!(matches!(
        accepted(Refusal::ProgramMismatch { low: 3, high: 3 }),
        accept::PROG_MISMATCH { low: 3, high: 3 }
    ));
    assert!(matches!(accepted(Refusal::ProcedureUnavailable), accept::PROC_UNAVAIL));
    assert!(matches!(accepted(Refusal::GarbageArgs), accept::GARBAGE_ARGS));
    assert!(matches!(
        denied(Refusal::RpcMismatch),
        rejected_reply::RPC_MISMATCH { low: 2, high: 2 }
    ));
    for (stat, want) in [
        (AuthStat::BadCredential, auth_stat::AUTH_BADCRED),
        (AuthStat::BadVerifier, auth_stat::AUTH_BADVERF),
        (AuthStat::TooWeak, auth_stat::AUTH_TOOWEAK),
    ] {
        let rejected_reply::AUTH_ERROR(stat) = denied(Refusal::Auth(stat)) else { panic!() };
        assert_eq!(stat, want);
    }
}
