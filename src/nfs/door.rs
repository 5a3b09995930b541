//! Calls that come as datagrams: those of every program but NFS.

use std::{cell::Cell, rc::Rc};

use trace::{debug, warn};

use crate::{
    dispatch::{Judged, Nfs},
    procedure::Procedure,
    way::{Door, Way},
    wire::rpc::Refusal,
};

/// Most calls under way of one socket; further ones are dropped, and sent again by their clients.
const IN_FLIGHT_MAX: usize = 256;

/// Serves a socket until it is closed.
pub(crate) async fn serve(nfs: Rc<Nfs>, door: Rc<Door>) {
    let in_flight = Rc::new(Cell::new(0));
    loop {
        let (record, peer) = match door.socket.recv().await {
            Ok(datagram) => datagram,
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => return,
            Err(error) => return warn!("no datagrams are served any more: {error}"),
        };
        nfs.metrics.received(record.len());
        let way = Way::Datagram(&door, peer);
        let refuse = |xid, refusal: Refusal| {
            way.reply(0, |writer| refusal.encode(writer, xid), Vec::new());
        };
        match nfs.judge(way, record.into(), reactor::clock::monotonic()) {
            Judged::NoCall => debug!(%peer, "a datagram that is no call"),
            Judged::Refused(xid, refusal) => refuse(xid, refusal),
            Judged::Call(call) if matches!(call.procedure, Procedure::Nfs(_)) => {
                refuse(call.xid, Refusal::ProgramUnavailable);
            }
            Judged::Call(_) if in_flight.get() >= IN_FLIGHT_MAX => debug!(%peer, "too many calls"),
            Judged::Call(mut call) => {
                in_flight.set(in_flight.get() + 1);
                let (nfs, door, in_flight) = (nfs.clone(), door.clone(), in_flight.clone());
                reactor::spawn(async move {
                    nfs.vfs.identify(&mut call.caller).await;
                    nfs.run_side(Way::Datagram(&door, peer), &call).await;
                    in_flight.set(in_flight.get() - 1);
                });
            }
        }
    }
}
