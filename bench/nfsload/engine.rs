//! Drives connections with several calls in flight each, on one thread, until a workload is done.
//!
//! A lane has at most one call in flight and sees its calls' replies in order; a connection carries
//! several lanes. Calls that become ready together leave in one `write`.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};

use crate::{nfs3::Fault, rpc, stats::Stats, xdr::Reader};

/// Room for the replies of one connection that were read and not looked at.
const RECEIVE_BYTES: usize = 8 * 1024 * 1024;

/// Which call: connection and place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) connection: usize,
    /// Counted over all connections.
    pub(crate) number: usize,
}

/// What a reply ended.
pub(crate) struct Done {
    /// Whole operations; 0 when the operation goes on with another call.
    pub(crate) ops: u64,
    pub(crate) bytes: u64,
}

/// What lanes do.
pub(crate) trait Workload {
    /// The next call of a lane: the procedure, with arguments appended. `None` when the lane has
    /// nothing to do any more; at the latest when `stop` is set and an operation is whole.
    fn call(&mut self, lane: Lane, stop: bool, out: &mut Vec<u8>) -> Option<u32>;

    /// Judges the reply. After a fault the lane goes on with its next operation.
    fn reply(&mut self, lane: Lane, reply: Reader<'_>) -> Result<Done, Fault>;
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    out_sent: usize,
    received: Vec<u8>,
    /// What of `received` is filled and not looked at.
    unread: std::ops::Range<usize>,
    lanes: Vec<Pending>,
}

/// A lane's place in time.
#[derive(Clone, Copy)]
struct Pending {
    xid: u32,
    is_waiting: bool,
    /// When the operation, of one or more calls, began.
    begun: Option<Instant>,
}

/// Connections that stay for all runs.
pub(crate) struct Engine {
    connections: Vec<Connection>,
    depth: usize,
}

impl Engine {
    pub(crate) fn connect(server: &str, connections: usize, depth: usize) -> io::Result<Self> {
        let connect = |_| {
            let stream = TcpStream::connect(server)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let lane = Pending { xid: 0, is_waiting: false, begun: None };
            Ok(Connection {
                stream,
                out: Vec::new(),
                out_sent: 0,
                received: vec![0; RECEIVE_BYTES],
                unread: 0..0,
                lanes: vec![lane; depth],
            })
        };
        Ok(Self { connections: (0..connections).map(connect).collect::<io::Result<_>>()?, depth })
    }

    /// Runs until every lane has nothing to do. After `limit` no operation begins.
    pub(crate) fn run(
        &mut self,
        workload: &mut dyn Workload,
        limit: Option<Duration>,
    ) -> io::Result<Stats> {
        let mut stats = Stats::new();
        let start = Instant::now();
        let end = limit.map(|limit| start + limit);
        for connection in 0..self.connections.len() {
            for place in 0..self.depth {
                self.next_call(workload, connection, place, end.is_some_and(|end| start >= end));
            }
        }
        loop {
            for connection in &mut self.connections {
                connection.send()?;
            }
            let is_busy = |connection: &Connection| connection.lanes.iter().any(|l| l.is_waiting);
            if !self.connections.iter().any(is_busy) {
                break;
            }
            let ready = self.wait()?;
            for connection in ready {
                self.connections[connection].receive()?;
                let now = Instant::now();
                let stop = end.is_some_and(|end| now >= end);
                while let Some(place) = self.take_reply(workload, connection, now, &mut stats)? {
                    self.next_call(workload, connection, place, stop);
                }
            }
        }
        stats.elapsed = start.elapsed();
        Ok(stats)
    }

    fn next_call(
        &mut self,
        workload: &mut dyn Workload,
        connection: usize,
        place: usize,
        stop: bool,
    ) {
        let lane = Lane { connection, number: connection * self.depth + place };
        let Connection { out, lanes, .. } = &mut self.connections[connection];
        let pending = &mut lanes[place];
        // The place in the low bits finds the lane; the rest tells a late reply from this call's.
        let low = u32::try_from(place).expect("a depth is small");
        pending.xid = (pending.xid & !0xffff).wrapping_add(1 << 16) | low;
        let start = out.len();
        let mut procedure = None;
        rpc::call(out, pending.xid, rpc::NFS, 0, |out| {
            procedure = workload.call(lane, stop, out);
        });
        let Some(procedure) = procedure else {
            out.truncate(start);
            pending.is_waiting = false;
            return;
        };
        rpc::set_procedure(&mut out[start..], procedure);
        pending.is_waiting = true;
        pending.begun.get_or_insert_with(Instant::now);
    }

    /// Looks at one reply of a connection; the place in it that may go on.
    fn take_reply(
        &mut self,
        workload: &mut dyn Workload,
        connection: usize,
        now: Instant,
        stats: &mut Stats,
    ) -> io::Result<Option<usize>> {
        let depth = self.depth;
        let Connection { received, unread, lanes, .. } = &mut self.connections[connection];
        let mut joined = Vec::new();
        let Some((record, len)) = rpc::record(&received[unread.clone()], &mut joined) else {
            return Ok(None);
        };
        unread.start += len;
        let mut reply = Reader::new(record);
        let head = rpc::reply_head(&mut reply);
        let (xid, is_done) = head.map_err(|_| io::Error::other("a reply without a head"))?;
        let place = (xid & 0xffff) as usize;
        let pending = lanes.get_mut(place).filter(|lane| lane.is_waiting && lane.xid == xid);
        let pending = pending.ok_or_else(|| io::Error::other("a reply to no call"))?;
        pending.is_waiting = false;
        let lane = Lane { connection, number: connection * depth + place };
        // The workload hears of calls that were not carried out too, to begin anew.
        let reply = if is_done { reply } else { Reader::new(&[]) };
        match workload.reply(lane, reply) {
            Ok(Done { ops: 0, .. }) => return Ok(Some(place)),
            Ok(Done { ops, bytes }) => {
                let begun = pending.begun.take().expect("a call was sent");
                stats.count(ops, bytes, now - begun);
            }
            Err(fault) => {
                pending.begun = None;
                stats.fail(if is_done { fault } else { Fault::Rpc });
            }
        }
        Ok(Some(place))
    }

    /// Waits until some connections can be read.
    fn wait(&self) -> io::Result<Vec<usize>> {
        let mut polled: Vec<PollFd<'_>> = Vec::new();
        for connection in &self.connections {
            let full = connection.out_sent < connection.out.len();
            let write = if full { PollFlags::OUT } else { PollFlags::empty() };
            polled.push(PollFd::new(&connection.stream, PollFlags::IN | write));
        }
        poll(&mut polled, None)?;
        let is_ready = |polled: &PollFd<'_>| polled.revents().intersects(!PollFlags::OUT);
        let ready = polled.iter().enumerate().filter(|(_, polled)| is_ready(polled));
        Ok(ready.map(|(connection, _)| connection).collect())
    }
}

impl Connection {
    fn send(&mut self) -> io::Result<()> {
        while self.out_sent < self.out.len() {
            match self.stream.write(&self.out[self.out_sent..]) {
                Ok(sent) => self.out_sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.out_sent = 0;
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.end > RECEIVE_BYTES / 2 {
            self.received.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        match self.stream.read(&mut self.received[self.unread.end..]) {
            Ok(0) => {
                Err(io::Error::other("the server closed the connection, or a reply is too long"))
            }
            Ok(len) => {
                self.unread.end += len;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}
