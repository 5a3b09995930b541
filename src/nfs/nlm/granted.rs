//! GRANTED: telling a client that its wait is over, until it has heard.

use std::time::Duration;

use reactor::oneshot;
use trace::{debug, warn};
use vfs::locks::{Request, Settled, Token};

use super::{Callback, Manager};
use crate::wire::{
    nlm::{self, Procedure, Status, TestArgs, Version},
    xdr::{Encode, Reader, Writer},
};

/// Seconds between tries; the last one is repeated.
const PAUSES: [u64; 4] = [1, 2, 5, 10];
/// Tries until the client is left to ask by itself, which clients do twice a minute.
const TRIES: usize = 30;

/// GRANTED's arguments.
struct Granted<'a>(TestArgs<'a>, Version);

impl Encode for Granted<'_> {
    fn encode(&self, writer: &mut Writer<'_>) {
        self.0.encode(writer, self.1);
    }
}

impl Manager {
    /// Waits for the end of a wait, and tells the client.
    pub(super) async fn follow(&self, token: Token, settled: oneshot::Receiver<Settled>) {
        match settled.await {
            Ok(Settled::Granted) => self.tell(token).await,
            // The client asks again in any case, and hears why.
            Ok(Settled::Deadlock | Settled::Freed) | Err(oneshot::Closed) => {
                self.blocks().remove(&token);
            }
        }
    }

    async fn tell(&self, token: Token) {
        for attempt in 0..TRIES {
            let Some(block) = self.blocks().get(&token).cloned() else { return };
            let answer = granted(&block.callback).await;
            debug!(client = %block.callback.peer.address, ?answer, "told that its wait is over");
            match answer {
                Some(Status::Granted) => {
                    self.blocks().remove(&token);
                    return;
                }
                // Its own lock manager has just started, or it was not reached.
                Some(Status::GracePeriod) | None => {}
                Some(_) => return self.unwanted(token).await,
            }
            let pause = PAUSES[attempt.min(PAUSES.len() - 1)];
            reactor::sleep(Duration::from_secs(pause)).await;
        }
        if let Some(block) = self.blocks().remove(&token) {
            // It may have heard, and only its answer was lost: the lock stays.
            let client = block.callback.peer.address;
            warn!(%client, "cannot be told that it holds a lock now; is its port 111 open to us?");
        }
    }

    /// The client does not want it any more, unless it has spoken since.
    async fn unwanted(&self, token: Token) {
        let block = self.blocks().remove(&token);
        if let Some(Request { file, owner, range, .. }) = block.map(|block| block.request) {
            self.locks.run(move |table| table.unlock(file, &owner, range)).await.ok();
        }
    }
}

/// The client's answer.
async fn granted(callback: &Callback) -> Option<Status> {
    let Callback { peer, version, cookie, exclusive, .. } = callback;
    let place = peer.find(nlm::PROGRAM, version.number()).await?;
    let args = TestArgs { cookie, exclusive: *exclusive, lock: callback.lock() };
    let results = place.call(Procedure::Granted.number(), &Granted(args, *version)).await?;
    nlm::decode_res(&mut Reader::new(&results)).ok().map(|(_, status)| status)
}
