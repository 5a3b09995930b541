//! A connection as the tasks that serve it share it: bounds, replies, how it ends.
//!
//! Invariant: what is under way and what waits to be sent stay below [`Limits`], but for one
//! request.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc};

use bytes::Bytes;
use reactor::net::Stream;

use crate::{
    credentials, inbox::Buffers, metrics, replies::Replies, signal::Signal, wire::xdr::Writer,
};

/// Bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most bytes of a record.
    pub(crate) record_bytes_max: usize,
    /// Most requests under way.
    pub(crate) in_flight_max: usize,
    /// Most bytes of requests under way and of replies, asked for or waiting.
    pub(crate) bytes_max: usize,
}

/// How far a connection is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Takes no more requests; answers those under way.
    Stopping,
    /// Nothing is received or sent any more.
    Broken,
}

/// The shared state of a connection. Of one reactor.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: Stream,
    pub(crate) peer: SocketAddr,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<metrics::PerReactor>,
    pub(crate) buffers: Rc<Buffers>,
    pub(crate) credentials: credentials::Cache,
    replies: Replies,
    in_flight: Cell<usize>,
    in_flight_bytes: Cell<usize>,
    phase: Cell<Phase>,
    /// The receiving task waits for the end.
    pub(crate) to_stop: Signal,
    /// The receiving task waits for room, or for nothing to be under way.
    to_leave: Signal,
    /// The sending task waits for replies.
    to_send: Signal,
}

impl Link {
    pub(crate) fn new(
        stream: Stream,
        peer: SocketAddr,
        limits: Limits,
        metrics: Arc<metrics::PerReactor>,
        buffers: Rc<Buffers>,
    ) -> Self {
        Self {
            stream,
            peer,
            limits,
            metrics,
            buffers,
            credentials: credentials::Cache::default(),
            replies: Replies::new(),
            in_flight: Cell::new(0),
            in_flight_bytes: Cell::new(0),
            phase: Cell::new(Phase::Open),
            to_stop: Signal::default(),
            to_leave: Signal::default(),
            to_send: Signal::default(),
        }
    }

    /// Sends a reply, soon.
    pub(crate) fn reply(&self, fsid: u64, encode: impl FnOnce(&mut Writer<'_>), tail: Vec<Bytes>) {
        self.replies.push(fsid, encode, tail);
        self.to_send.notify();
    }

    /// The next bytes to send; `None` once the connection is broken.
    pub(crate) async fn next_to_send(&self) -> Option<Vec<Bytes>> {
        self.to_send
            .until(|| if self.is_broken() { Some(None) } else { self.replies.take().map(Some) })
            .await
    }

    /// What [`Link::next_to_send`] gave has been sent.
    pub(crate) fn sent(&self) {
        self.metrics.sent(self.replies.sent());
        self.to_leave.notify();
    }

    /// A request begins that costs this many bytes while it is under way.
    pub(crate) fn enter(&self, bytes: usize) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.in_flight_bytes.set(self.in_flight_bytes.get() + bytes);
        self.metrics.entered();
    }

    /// It is over, and its reply, if any, waits to be sent.
    pub(crate) fn leave(&self, bytes: usize) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.in_flight_bytes.set(self.in_flight_bytes.get() - bytes);
        self.metrics.left();
        self.to_leave.notify();
    }

    /// Waits until another request may begin; false: none may any more.
    pub(crate) async fn room(&self) -> bool {
        self.to_leave
            .until(|| match self.is_open() {
                true => self.has_room().then_some(true),
                false => Some(false),
            })
            .await
    }

    fn has_room(&self) -> bool {
        let bytes = self.in_flight_bytes.get() + self.replies.bytes();
        self.in_flight.get() < self.limits.in_flight_max && bytes < self.limits.bytes_max
    }

    /// Waits until all requests are answered and the answers are sent, or cannot be.
    pub(crate) async fn settled(&self) {
        let is_idle = || self.in_flight.get() == 0 && self.replies.bytes() == 0;
        self.to_leave.until(|| (self.is_broken() || is_idle()).then_some(())).await;
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    fn is_broken(&self) -> bool {
        self.phase.get() == Phase::Broken
    }

    /// Takes no more requests.
    pub(crate) fn stop(&self) {
        self.advance(Phase::Stopping);
    }

    /// Ends it at once.
    pub(crate) fn break_off(&self) {
        if !self.is_broken() {
            self.replies.close();
            self.stream.shutdown();
            self.advance(Phase::Broken);
        }
    }

    fn advance(&self, phase: Phase) {
        self.phase.set(self.phase.get().max(phase));
        self.to_stop.notify();
        self.to_leave.notify();
        self.to_send.notify();
    }
}
