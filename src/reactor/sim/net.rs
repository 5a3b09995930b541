//! The network of a simulated machine: connections that are slow, in pieces, and end anywhere.
//!
//! Model: the bytes of one direction arrive in order, each piece some time after it was sent;
//! pieces of different connections overtake each other. A write takes what the window has room for,
//! or less; a read gives what has arrived, or less. A connection that breaks loses what was sent
//! last, in both directions; each end hears of it some time later and until then sends into
//! nothing. What had left before may still arrive, also after the client has come back by another
//! connection.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};

use super::{with_core, world::Core};
use crate::net::Stream;

/// Bytes after which a connection breaks: below a power of two, up to this one.
const BREAK_BITS_MAX: u64 = 17;
/// The first port that nobody chose.
const PORT_FIRST: u16 = 20_000;

/// What connections that are made from now on are like. At first they are fast and sound.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// A piece takes up to this long.
    pub delay_max: Duration,
    /// Bytes that may be under way in one direction.
    pub window_bytes: usize,
    /// One transfer in so many is cut short; 0: none.
    pub cuts_short_one_in: u64,
    /// One connection in so many breaks; 0: none.
    pub breaks_one_in: u64,
    /// An end hears of it, and the last pieces arrive, after up to this long.
    pub news_max: Duration,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            delay_max: Duration::ZERO,
            window_bytes: 256 * 1024,
            cuts_short_one_in: 0,
            breaks_one_in: 0,
            news_max: Duration::ZERO,
        }
    }
}

type OnStream = Rc<dyn Fn(Stream, SocketAddr)>;

/// Who listens, and what lines are like.
pub(crate) struct Network {
    pub(crate) lines: Lines,
    listeners: BTreeMap<SocketAddr, OnStream>,
    port_next: u16,
}

impl Default for Network {
    fn default() -> Self {
        Self { lines: Lines::default(), listeners: BTreeMap::new(), port_next: PORT_FIRST }
    }
}

impl Network {
    /// Where it listens from now on.
    pub(crate) fn listen(
        &mut self,
        mut address: SocketAddr,
        on_stream: impl Fn(Stream, SocketAddr) + 'static,
    ) -> io::Result<SocketAddr> {
        if address.port() == 0 {
            address.set_port(self.port());
        }
        if self.listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.listeners.insert(address, Rc::new(on_stream));
        Ok(address)
    }

    pub(crate) fn end(&mut self, address: SocketAddr) {
        self.listeners.remove(&address);
    }

    /// Ends all; what they held may ask for the world when it is dropped.
    pub(crate) fn end_all(&mut self) -> impl Sized + use<> {
        std::mem::take(&mut self.listeners)
    }

    fn port(&mut self) -> u16 {
        self.port_next += 1;
        self.port_next
    }
}

/// Connects from a machine with that address, in the running world.
///
/// # Errors
/// `ConnectionRefused` when nobody listens there.
pub async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<Stream> {
    let delay = with_core(|core| {
        let lines = core.network().lines;
        core.sleep(delay(core, lines.delay_max))
    });
    delay.await;
    with_core(|core| {
        let mut network = core.network();
        let from = SocketAddr::new(from, network.port());
        let on_stream = network.listeners.get(&to).ok_or(io::ErrorKind::ConnectionRefused)?.clone();
        let line = Rc::new(RefCell::new(Line::new(core, network.lines)));
        let served = Stream::simulated(End { line: line.clone(), side: 1, local: to });
        core.spawn(async move { on_stream(served, from) });
        Ok(Stream::simulated(End { line, side: 0, local: from }))
    })
}

/// One end of a connection; dropped, it is closed.
#[derive(Debug)]
pub(crate) struct End {
    line: Rc<RefCell<Line>>,
    side: usize,
    pub(crate) local: SocketAddr,
}

/// A connection.
#[derive(Debug)]
struct Line {
    lines: Lines,
    /// The pipe to each side.
    pipes: [Pipe; 2],
    /// Bytes that pass before it breaks.
    bytes_left: Option<usize>,
}

/// The way to one side.
#[derive(Debug, Default)]
struct Pipe {
    /// What is under way, and when it arrives.
    pieces: VecDeque<(Duration, Bytes)>,
    bytes: usize,
    /// What comes after the pieces, and when at the earliest.
    end: Option<(Duration, Ending)>,
    /// Its side reads and writes no more.
    is_shut: bool,
    reader: Option<Waker>,
    /// Waits for room; it is the other side's.
    writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// In order.
    Closed,
    /// What was sent may not have arrived.
    Broken,
}

impl End {
    /// Appends what has arrived; 0 at the end.
    pub(crate) async fn recv(&self, mut buffer: BytesMut) -> (io::Result<usize>, BytesMut) {
        assert!(buffer.capacity() > buffer.len(), "no room to receive into");
        let result = poll_fn(|context| self.poll_recv(context, &mut buffer)).await;
        (result, buffer)
    }

    /// Sends all the parts.
    pub(crate) async fn send(&self, parts: Vec<Bytes>) -> io::Result<()> {
        for mut part in parts {
            while !part.is_empty() {
                let taken = poll_fn(|context| self.poll_send(context, &part)).await?;
                part.advance(taken);
            }
        }
        Ok(())
    }

    /// Ends both directions; what was sent still arrives.
    pub(crate) fn shutdown(&self) {
        let mut line = self.line.borrow_mut();
        let Line { lines, pipes, .. } = &mut *line;
        let [own, other] = sides(pipes, self.side);
        if own.is_shut {
            return;
        }
        own.is_shut = true;
        own.pieces.clear();
        own.wake();
        other.wake();
        // Dropped after its world, nobody waits for the news.
        if super::is_here() && other.end.is_none() {
            let at = with_core(|core| core.now() + delay(core, lines.delay_max));
            other.end = Some((other.last().max(at), Ending::Closed));
        }
    }

    fn poll_recv(&self, context: &Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut line = self.line.borrow_mut();
        let lines = line.lines;
        let pipe = &mut line.pipes[self.side];
        if pipe.is_shut {
            return Poll::Ready(Ok(0));
        }
        with_core(|core| {
            let now = core.now();
            let arrived = pipe.pieces.iter().take_while(|(at, _)| *at <= now);
            let arrived: usize = arrived.map(|(_, piece)| piece.len()).sum();
            if arrived > 0 {
                let most = arrived.min(buffer.capacity() - buffer.len());
                let count = cut_short(core, lines, most);
                pipe.take(count, buffer);
                return Poll::Ready(Ok(count));
            }
            let next = pipe.pieces.front().map(|(at, _)| *at);
            match (next, pipe.end) {
                (None, Some((at, Ending::Closed))) if at <= now => return Poll::Ready(Ok(0)),
                (None, Some((at, Ending::Broken))) if at <= now => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                (Some(at), _) | (None, Some((at, _))) => core.wake_at(at, context.waker().clone()),
                (None, None) => {}
            }
            pipe.reader = Some(context.waker().clone());
            Poll::Pending
        })
    }

    fn poll_send(&self, context: &Context<'_>, part: &Bytes) -> Poll<io::Result<usize>> {
        let mut line = self.line.borrow_mut();
        let lines = line.lines;
        with_core(|core| {
            let now = core.now();
            let [own, other] = sides(&mut line.pipes, self.side);
            let is_over = own.end.is_some_and(|(at, _)| at <= now);
            if own.is_shut || is_over {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            // Nobody takes it any more, and that is not known here yet.
            if other.is_shut {
                return Poll::Ready(Ok(part.len()));
            }
            let room = lines.window_bytes.saturating_sub(other.bytes);
            if room == 0 {
                other.writer = Some(context.waker().clone());
                if let Some((at, _)) = own.end {
                    core.wake_at(at, context.waker().clone());
                }
                return Poll::Pending;
            }
            let count = cut_short(core, lines, room.min(part.len()));
            let is_lost = other.end.is_some();
            let at = if is_lost { Duration::MAX } else { now + delay(core, lines.delay_max) };
            other.push(core, at, part.slice(..count));
            if let Some(left) = &mut line.bytes_left {
                *left = left.saturating_sub(count);
                if *left == 0 {
                    line.break_off(core);
                }
            }
            Poll::Ready(Ok(count))
        })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Line {
    fn new(core: &Core, lines: Lines) -> Self {
        let breaks = one_in(core, lines.breaks_one_in);
        let bytes_left = breaks.then(|| {
            core.random(|rng| {
                let most = 1 << (4 + rng.below(BREAK_BITS_MAX - 3));
                1 + rng.index(most)
            })
        });
        Self { lines, pipes: Default::default(), bytes_left }
    }

    /// Some of what is under way is lost, the rest comes late, and then the news.
    fn break_off(&mut self, core: &Core) {
        self.bytes_left = None;
        for pipe in &mut self.pipes {
            if pipe.end.is_some() {
                continue;
            }
            let now = core.now();
            let late = if core.random(|rng| rng.one_in(2)) {
                delay(core, self.lines.news_max)
            } else {
                Duration::ZERO
            };
            let arrived = pipe.pieces.iter().filter(|(at, _)| *at <= now).count();
            let kept = arrived + core.random(|rng| rng.index(pipe.pieces.len() - arrived + 1));
            pipe.pieces.truncate(kept);
            if let Some((_, last)) = pipe.pieces.back_mut()
                && kept > arrived
            {
                // At any byte.
                let bytes = core.random(|rng| 1 + rng.index(last.len()));
                last.truncate(bytes);
            }
            pipe.pieces.iter_mut().skip(arrived).for_each(|(at, _)| *at += late);
            pipe.bytes = pipe.pieces.iter().map(|(_, piece)| piece.len()).sum();
            let news = now + delay(core, self.lines.news_max);
            pipe.end = Some((pipe.last().max(news), Ending::Broken));
            pipe.wake();
        }
    }
}

impl Pipe {
    /// When the last piece arrives.
    fn last(&self) -> Duration {
        self.pieces.back().map_or(Duration::ZERO, |(at, _)| *at)
    }

    fn push(&mut self, core: &Core, at: Duration, piece: Bytes) {
        self.bytes += piece.len();
        if at == Duration::MAX {
            // Lost: it takes room, and never arrives.
            return;
        }
        let at = at.max(self.last());
        self.pieces.push_back((at, piece));
        if let Some(reader) = self.reader.take() {
            core.wake_at(at, reader);
        }
    }

    fn take(&mut self, mut count: usize, buffer: &mut BytesMut) {
        self.bytes -= count;
        while count > 0 {
            let (_, piece) = self.pieces.front_mut().expect("so much has arrived");
            let part = count.min(piece.len());
            buffer.extend_from_slice(&piece.split_to(part));
            count -= part;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Has both look again.
    fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }
}

/// The pipe to this side, and to the other.
fn sides(pipes: &mut [Pipe; 2], side: usize) -> [&mut Pipe; 2] {
    let [first, second] = pipes;
    if side == 0 { [first, second] } else { [second, first] }
}

fn delay(core: &Core, most: Duration) -> Duration {
    let most = u64::try_from(most.as_micros()).expect("a short run");
    if most == 0 { Duration::ZERO } else { core.random_micros(0, most) }
}

/// All of it, or now and then less.
fn cut_short(core: &Core, lines: Lines, bytes: usize) -> usize {
    if one_in(core, lines.cuts_short_one_in) {
        core.random(|rng| 1 + rng.index(bytes))
    } else {
        bytes
    }
}

/// Never when `n` is 0.
fn one_in(core: &Core, n: u64) -> bool {
    n > 0 && core.random(|rng| rng.one_in(n))
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Network({:?})", self.listeners.keys())
    }
}

#[cfg(test)]
mod tests;
