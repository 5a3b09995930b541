//! The life of a connection: one task receives and runs requests, one sends.
//!
//! A request that finishes at once costs no task and no wake-up: its reply joins the others of the
//! batch, and all leave in one gathered send. Receiving goes on while sending, within the bounds of
//! [`Link`]; beyond them nothing is received, and TCP holds the client back.

use std::{
    convert::Infallible,
    future::{Future, pending, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use trace::{debug, warn};

use crate::{
    inbox::{Inbox, TooLong},
    link::Link,
};

/// How long the last replies may take when the client, not we, ends the connection.
const LINGER: Duration = Duration::from_secs(10);

/// Bytes dropped at a time, once nothing more is answered.
const DISCARD_BYTES: usize = 16 * 1024;

/// What answers the records of connections.
pub(crate) trait Service: 'static {
    /// A record, understood.
    type Call;

    /// Looks at a record. Answers it through the link at once (`None`), or says what to run.
    ///
    /// # Errors
    /// The record is no call.
    fn accept(
        &self,
        link: &Link,
        record: Bytes,
        arrived: Duration,
    ) -> Result<Option<Accepted<Self::Call>>, NoCall>;

    /// Runs a call; ends once the reply waits to be sent.
    fn run(self: Rc<Self>, link: Rc<Link>, call: Self::Call) -> impl Future<Output = ()> + 'static;
}

/// A call to run.
pub(crate) struct Accepted<C> {
    pub(crate) call: C,
    /// Bytes that the reply may have, for the bounds.
    pub(crate) reply_bytes: usize,
}

/// A record that is no call: the peer does not speak RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoCall;

/// Why nothing more is received.
#[derive(Debug)]
enum End {
    /// The client closed it.
    Closed,
    /// The server stops, or the sending task found it broken.
    Stopping,
    TooLong(TooLong),
    NoCall,
    Failed(io::Error),
}

/// Serves a connection until it ends.
pub(crate) async fn serve<S: Service>(service: Rc<S>, link: Rc<Link>) {
    reactor::spawn(send(link.clone()));
    let end = receive(&service, &link).await;
    let peer = link.peer;
    match &end {
        End::Closed => debug!(%peer, "closed by the client"),
        End::Stopping => debug!(%peer, "closed by the server"),
        End::TooLong(TooLong { bytes }) => warn!(%peer, bytes, "closed: a record too long"),
        End::NoCall => warn!(%peer, "closed: a record that is no call"),
        End::Failed(error) => debug!(%peer, %error, "lost"),
    }
    match end {
        End::Stopping => settle(&link).await,
        End::Failed(_) => {}
        End::Closed | End::TooLong(_) | End::NoCall => {
            if reactor::timeout(LINGER, settle(&link)).await.is_none() {
                debug!(%peer, "the last replies were not taken");
            }
        }
    }
    link.break_off();
}

/// Waits until what is under way is answered. Meanwhile drops what arrives: bytes that nobody read
/// when a socket closes make the kernel reset the connection, and the last replies are lost.
async fn settle(link: &Link) {
    let discard = async {
        let mut buffer = BytesMut::with_capacity(DISCARD_BYTES);
        loop {
            match link.stream.recv(buffer).await {
                (Ok(1..), received) => buffer = received,
                (Ok(0) | Err(_), _) => return pending::<Infallible>().await,
            }
            buffer.clear();
        }
    };
    let (mut settled, mut discard) = (pin!(link.settled()), pin!(discard));
    poll_fn(|cx| {
        // What has arrived is dropped first, also when there is nothing to wait for.
        let Poll::Pending = discard.as_mut().poll(cx);
        settled.as_mut().poll(cx)
    })
    .await;
}

async fn send(link: Rc<Link>) {
    while let Some(parts) = link.next_to_send().await {
        if let Err(error) = link.stream.send(parts).await {
            debug!(peer = %link.peer, %error, "lost");
            return link.break_off();
        }
        link.sent();
    }
}

async fn receive<S: Service>(service: &Rc<S>, link: &Rc<Link>) -> End {
    let mut inbox = Inbox::new(link.limits.record_bytes_max);
    // The place of a request's future, used again for as long as requests finish at once.
    let mut place = None;
    loop {
        let arrived = reactor::clock::monotonic();
        loop {
            let record = match inbox.next() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(too_long) => return End::TooLong(too_long),
            };
            if !link.room().await {
                return End::Stopping;
            }
            let record_bytes = record.len();
            match service.accept(link, record, arrived) {
                Ok(None) => {}
                Ok(Some(Accepted { call, reply_bytes })) => {
                    let bytes = record_bytes + reply_bytes;
                    let task = || service.clone().run(link.clone(), call);
                    run(link, &mut place, bytes, task).await;
                }
                Err(NoCall) => return End::NoCall,
            }
        }
        match recv(link, inbox.lend(&link.buffers)).await {
            None => return End::Stopping,
            Some((Err(error), _)) => return End::Failed(error),
            Some((Ok(0), _)) => return End::Closed,
            Some((Ok(bytes), buffer)) => {
                link.metrics.received(bytes);
                inbox.put(buffer);
            }
        }
    }
}

/// Runs a request as far as it gets without waiting; the rest is a task of its own.
async fn run<F: Future<Output = ()> + 'static>(
    link: &Rc<Link>,
    place: &mut Option<Pin<Box<F>>>,
    bytes: usize,
    task: impl FnOnce() -> F,
) {
    link.enter(bytes);
    // A future is some hundred bytes to a few thousand: it is made where it stays.
    let mut task = match place.take() {
        Some(mut place) => {
            place.set(task());
            place
        }
        None => Box::pin(task()),
    };
    if poll_fn(|cx| Poll::Ready(task.as_mut().poll(cx).is_ready())).await {
        link.leave(bytes);
        *place = Some(task);
        return;
    }
    let link = link.clone();
    reactor::spawn(async move {
        task.await;
        link.leave(bytes);
    });
}

/// Receives; `None` once the link takes no more requests.
async fn recv(link: &Link, buffer: BytesMut) -> Option<(io::Result<usize>, BytesMut)> {
    let mut recv = pin!(link.stream.recv(buffer));
    poll_fn(|cx| {
        if !link.is_open() {
            return Poll::Ready(None);
        }
        link.to_stop.register(cx);
        recv.as_mut().poll(cx).map(Some)
    })
    .await
}
