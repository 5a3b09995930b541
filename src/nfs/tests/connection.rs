//! Connections over a real reactor and socket, with a service that the tests steer.

use std::{
    cell::RefCell,
    net::{Shutdown, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use reactor::{net::Listening, runtime::Reactors};

use super::{Xdr, connect, fragment, receive, record, send, try_receive, xid};
use crate::{
    connection::{self, Accepted, NoCall, Service},
    inbox::Buffers,
    link::{Limits, Link},
    metrics::{self, PerReactor},
    signal::Signal,
};

const RECORD_BYTES_MAX: usize = 1 << 20;

/// Answers at once with the same bytes.
const ECHO: u32 = 0;
/// Answers once another request says so, with the xid alone.
const WAIT: u32 = 1;
/// Answers at once and lets all that wait go on, latest first.
const GO: u32 = 2;
/// Answers at once with as many bytes as the third word says.
const BIG: u32 = 3;
/// Is no call.
const BAD: u32 = 4;

#[derive(Default)]
struct Steered {
    waiting: RefCell<Vec<Rc<Gate>>>,
}

#[derive(Default)]
struct Gate {
    open: std::cell::Cell<bool>,
    signal: Signal,
}

/// A request: its id, its command, what else it says.
struct Call {
    id: u32,
    command: u32,
    bytes: usize,
    record: Bytes,
}

impl Service for Steered {
    type Call = Call;

    fn accept(
        &self,
        _: &Link,
        record: Bytes,
        _: Duration,
    ) -> Result<Option<Accepted<Call>>, NoCall> {
        let word = |at: usize| record.get(at..at + 4).map(|word| word.try_into().unwrap());
        let word = |at: usize| word(at).map(u32::from_be_bytes).ok_or(NoCall);
        let (id, command) = (word(0)?, word(4)?);
        if command == BAD {
            return Err(NoCall);
        }
        let bytes = if command == BIG { word(8)? as usize } else { 0 };
        Ok(Some(Accepted { call: Call { id, command, bytes, record }, reply_bytes: bytes }))
    }

    async fn run(self: Rc<Self>, link: Rc<Link>, call: Call) {
        let mut tail = Vec::new();
        match call.command {
            WAIT => {
                let gate = Rc::new(Gate::default());
                self.waiting.borrow_mut().push(gate.clone());
                gate.signal.until(|| gate.open.get().then_some(())).await;
            }
            GO => {
                for gate in self.waiting.take().into_iter().rev() {
                    gate.open.set(true);
                    gate.signal.notify();
                }
            }
            BIG => tail = vec![Bytes::from(vec![call.id.to_le_bytes()[0]; call.bytes])],
            _ => {
                link.reply(0, |writer| writer.fixed(&call.record), tail);
                return link.buffers.give_back(call.record);
            }
        }
        link.reply(0, |writer| writer.u32(call.id), tail);
    }
}

/// A listening service on one reactor.
struct Host {
    address: SocketAddr,
    metrics: Arc<PerReactor>,
    listening: Option<Listening>,
    reactors: Option<Reactors>,
}

impl Host {
    fn start(in_flight_max: usize, bytes_max: usize) -> Self {
        let reactors = Reactors::start(&reactor::runtime::Config { cores: vec![None] }).unwrap();
        let limits = Limits { record_bytes_max: RECORD_BYTES_MAX, in_flight_max, bytes_max };
        let metrics = Arc::new(PerReactor::new());
        let counts = metrics.clone();
        let on_stream = move |stream, peer| {
            let buffers = Rc::new(Buffers::new(RECORD_BYTES_MAX));
            let link = Rc::new(Link::new(stream, peer, limits, counts.clone(), buffers));
            counts.accepted();
            let counts = counts.clone();
            reactor::spawn(async move {
                connection::serve(Rc::new(Steered::default()), link).await;
                counts.closed();
            });
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = reactor::net::listen(reactors.remotes(), address, on_stream).unwrap();
        let address = listening.address();
        Self { address, metrics, listening: Some(listening), reactors: Some(reactors) }
    }

    fn counts(&self) -> metrics::Snapshot {
        metrics::snapshot([&self.metrics].into_iter(), (0, 0))
    }

    /// Waits until the counters say so.
    #[track_caller]
    fn wait(&self, what: &str, is_true: impl Fn(&metrics::Snapshot) -> bool) {
        super::wait(what, || is_true(&self.counts()));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.listening.take().unwrap().stop();
        self.reactors.take().unwrap().stop();
    }
}

fn request(id: u32, command: u32, rest: &[u8]) -> Vec<u8> {
    Xdr::default().u32(id).u32(command).raw(rest).0
}

fn big(id: u32, bytes: usize) -> Vec<u8> {
    record(&request(id, BIG, &u32::try_from(bytes).unwrap().to_be_bytes()))
}

#[test]
fn one_byte_at_a_time() {
    let host = Host::start(16, 1 << 20);
    let mut client = connect(host.address);
    let ask = request(1, ECHO, b"slowly");
    let stream = [fragment(&ask[..5], false), fragment(&ask[5..], true), record(&ask)].concat();
    for byte in stream {
        send(&mut client, &[byte]);
    }
    assert_eq!((receive(&mut client), receive(&mut client)), (ask.clone(), ask));
}

#[test]
fn a_thousand_in_one_write() {
    let host = Host::start(16, 1 << 20);
    let mut client = connect(host.address);
    let ask = |id| request(id, ECHO, &[id.to_le_bytes()[0]; 100]);
    send(&mut client, &(0..1000).flat_map(|id| record(&ask(id))).collect::<Vec<_>>());
    // Requests that finish at once are answered in order.
    (0..1000).for_each(|id| assert_eq!(receive(&mut client), ask(id)));
}

#[test]
fn large_records_and_small_ones_mixed() {
    let host = Host::start(16, 8 << 20);
    let mut client = connect(host.address);
    let sizes = [10, RECORD_BYTES_MAX - 8, 100, 300_000, 40_000, 12, RECORD_BYTES_MAX - 8, 5];
    let ask = |id: usize| {
        request(u32::try_from(id).unwrap(), ECHO, &vec![id.to_le_bytes()[0]; sizes[id]])
    };
    let mut writer = client.try_clone().unwrap();
    let stream: Vec<u8> = (0..sizes.len()).flat_map(|id| record(&ask(id))).collect();
    let writing = reactor::thread::spawn("writer", None, move || send(&mut writer, &stream));
    (0..sizes.len()).for_each(|id| assert!(receive(&mut client) == ask(id), "record {id}"));
    writing.unwrap().join().unwrap();
}

#[test]
fn replies_come_in_the_order_they_are_ready() {
    let host = Host::start(16, 1 << 20);
    let mut client = connect(host.address);
    let ask = |id, command| record(&request(id, command, &[]));
    // The reply to the third shows that the first two have begun to wait.
    send(&mut client, &[ask(1, WAIT), ask(2, WAIT), ask(3, ECHO)].concat());
    assert_eq!(xid(&receive(&mut client)), 3);
    send(&mut client, &ask(4, GO));
    let order: Vec<u32> = (0..3).map(|_| xid(&receive(&mut client))).collect();
    assert_eq!(order, [4, 2, 1]);
}

#[test]
fn too_many_at_once_are_held_back() {
    let host = Host::start(3, 1 << 20);
    let mut client = connect(host.address);
    for id in 0..4 {
        send(&mut client, &record(&request(id, WAIT, &[])));
    }
    host.wait("three are under way", |counts| counts.in_flight == 3);
    // The fourth waits, and with it the one that would let them go: the client holds itself up.
    send(&mut client, &record(&request(9, GO, &[])));
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut byte = [0];
    assert!(std::io::Read::read(&mut client, &mut byte).is_err(), "nothing may be answered");
    assert_eq!(host.counts().in_flight, 3);
}

#[test]
fn who_never_reads_is_not_served_on_and_on() {
    let bytes_max = 1 << 20;
    let host = Host::start(1000, bytes_max);
    let client = connect(host.address);
    let mut writer = client.try_clone().unwrap();
    let asked = 400;
    let writing = reactor::thread::spawn("writer", None, move || {
        (0..asked).for_each(|id| send(&mut writer, &big(id, 100_000)));
    });
    // 40 MB are asked for. The kernel's buffers take some; then nothing moves.
    let mut before = 0;
    super::wait("the server stops sending", || {
        let now = host.counts().bytes_out;
        std::mem::replace(&mut before, now) == now && now > 0
    });
    let held = host.counts();
    assert!(held.bytes_out < 20_000_000, "{} bytes sent to nobody", held.bytes_out);
    // All of it comes once somebody reads, so nothing was dropped either.
    let mut client = client;
    for id in 0..asked {
        let reply = receive(&mut client);
        assert_eq!((xid(&reply), reply.len()), (id, 100_004));
    }
    writing.unwrap().join().unwrap();
}

#[test]
fn a_bad_record_ends_the_connection_after_what_came_before_is_answered() {
    let too_long = (0x8000_0000u32 | 0x7fff_ffff).to_be_bytes();
    let bads: [(&str, Vec<u8>); 5] = [
        ("no call", record(&request(2, BAD, &[]))),
        ("empty", record(&[])),
        ("too long", too_long.to_vec()),
        ("much behind it", [&too_long[..], &[0; 300_000]].concat()),
        ("short", record(&[0; 7])),
    ];
    for (what, bad) in bads {
        let host = Host::start(16, 1 << 20);
        let mut client = connect(host.address);
        send(&mut client, &[record(&request(1, ECHO, &[])), bad].concat());
        assert_eq!(xid(&receive(&mut client)), 1, "{what}");
        assert_eq!(try_receive(&mut client), None, "{what}");
        host.wait(what, |counts| counts.connections_closed == 1 && counts.in_flight == 0);
    }
}

#[test]
fn a_client_that_closes_gets_its_last_replies() {
    let host = Host::start(16, 1 << 20);
    let mut client = connect(host.address);
    let stream = [record(&request(1, WAIT, &[])), record(&request(2, GO, &[])), big(3, 100_000)];
    send(&mut client, &stream.concat());
    client.shutdown(Shutdown::Write).unwrap();
    let mut replies: Vec<u32> = (0..3).map(|_| xid(&receive(&mut client))).collect();
    replies.sort_unstable();
    assert_eq!(replies, [1, 2, 3]);
    assert_eq!(try_receive(&mut client), None);
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    let host = Host::start(16, 1 << 20);
    for _ in 0..20 {
        let mut client = connect(host.address);
        send(&mut client, &[big(1, 500_000), record(&request(2, ECHO, &[]))].concat());
        drop(client);
    }
    host.wait("all are closed", |counts| counts.connections_closed == 20);
    assert_eq!(host.counts().in_flight, 0);
}
