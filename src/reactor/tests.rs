//! Reactors, mailboxes, oneshots, sockets and files on the real driver.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};

use crate::{
    clock, file,
    mailbox::Remote,
    net::{self, Stream},
    oneshot,
    rng::Rng,
    runtime::{self, Config, Reactors},
    thread, udp,
};

const ANY: &str = "127.0.0.1:0";

fn reactors(count: usize) -> Reactors {
    Reactors::start(&Config { cores: vec![None; count] }).expect("reactors start")
}

fn any() -> SocketAddr {
    ANY.parse().expect("an address")
}

/// Echoes until the end, in parts, so that gathered sends are exercised.
fn echo(stream: Stream, _: SocketAddr) {
    runtime::spawn(async move {
        loop {
            let (result, buffer) = stream.recv(BytesMut::with_capacity(64 * 1024)).await;
            match result {
                Ok(0) | Err(_) => return,
                Ok(count) => assert_eq!(count, buffer.len()),
            }
            let all = buffer.freeze();
            let parts = (0..all.len()).step_by(7).map(|at| all.slice(at..all.len().min(at + 7)));
            if stream.send(parts.collect()).await.is_err() {
                return;
            }
        }
    });
}

#[test]
fn messages_of_many_threads_all_run_and_in_order_of_each() {
    const THREADS: usize = 4;
    const MESSAGES: u64 = 20_000;
    let reactors = reactors(1);
    let last: Arc<Vec<AtomicU64>> = Arc::new((0..THREADS).map(|_| AtomicU64::new(0)).collect());
    let senders: Vec<_> = (0..THREADS)
        .map(|sender| {
            let (remote, last) = (reactors.remotes()[0].clone(), last.clone());
            thread::spawn("sender", None, move || {
                for message in 0..MESSAGES {
                    let last = last.clone();
                    remote.post(move || {
                        let before = last[sender].swap(message + 1, Ordering::Relaxed);
                        assert_eq!(before, message, "sender {sender}");
                    });
                }
            })
            .expect("a thread")
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
    let done = reactors.remotes()[0].call(|| async {});
    done.wait().expect("the reactor lives");
    assert!(last.iter().all(|last| last.load(Ordering::Relaxed) == MESSAGES));
    reactors.stop();
}

#[test]
fn no_wake_up_is_lost_between_two_reactors_and_a_thread() {
    let reactors = reactors(2);
    let (left, right) = (reactors.remotes()[0].clone(), reactors.remotes()[1].clone());
    let sum = left.call(move || async move {
        let mut sum = 0;
        for round in 0..5_000_u64 {
            sum += right.call(move || async move { round }).await.expect("alive");
        }
        sum
    });
    assert_eq!(sum.wait(), Ok(5_000 * 4_999 / 2));
    for round in 0..2_000_u64 {
        let answer = reactors.remotes()[1].call(move || async move { round });
        assert_eq!(answer.wait(), Ok(round));
    }
    reactors.stop();
}

#[test]
fn a_call_may_hold_what_is_not_send_and_reaches_its_own_reactor_too() {
    let reactors = reactors(1);
    let remote = reactors.remotes()[0].clone();
    let own = remote.clone();
    let answer = remote.call(move || async move {
        let local = Rc::new(5);
        runtime::sleep(Duration::from_millis(1)).await;
        assert!(own.is_current());
        assert_eq!(runtime::current(), Some(own.clone()));
        let here = own.clone();
        own.call(move || async move { here.is_current() }).await.map(|here| (here, *local))
    });
    assert_eq!(answer.wait(), Ok(Ok((true, 5))));
    assert!(!remote.is_current());
    reactors.stop();
}

#[test]
fn a_stopped_reactor_answers_closed() {
    let reactors = reactors(1);
    let remote = reactors.remotes()[0].clone();
    let never = remote.call(std::future::pending::<()>);
    reactors.stop();
    assert_eq!(remote.call(|| async {}).wait(), Err(oneshot::Closed));
    drop(never);
}

#[test]
fn messages_sent_before_a_stop_run() {
    let reactors = reactors(1);
    let count = Arc::new(AtomicU64::new(0));
    for _ in 0..10_000 {
        let count = count.clone();
        reactors.remotes()[0].post(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
    }
    reactors.stop();
    assert_eq!(count.load(Ordering::Relaxed), 10_000);
}

#[test]
fn oneshots_cross_threads_in_every_way() {
    let reactors = reactors(2);
    for seed in 0..3_000_u64 {
        let mut rng = Rng::from_seed(seed);
        let (sender, receiver) = oneshot::channel::<Arc<u64>>();
        let value = Arc::new(seed);
        let (own, drops) = (value.clone(), rng.one_in(4));
        let speak = move || if drops { drop(sender) } else { sender.send(own) };
        match rng.below(3) {
            0 => reactors.remotes()[0].post(speak),
            1 => reactors.remotes()[1].post(speak),
            _ => speak(),
        }
        let want = if drops { Err(oneshot::Closed) } else { Ok(seed) };
        let got = match rng.below(4) {
            0 => receiver.wait().map(|value| *value),
            1 => hear(&reactors.remotes()[0], receiver),
            2 => hear(&reactors.remotes()[1], receiver),
            _ => {
                drop(receiver);
                want
            }
        };
        assert_eq!(got, want, "seed {seed}");
    }
    reactors.stop();
}

fn hear(remote: &Remote, receiver: oneshot::Receiver<Arc<u64>>) -> Result<u64, oneshot::Closed> {
    remote.call(move || async move { receiver.await.map(|value| *value) }).wait().expect("alive")
}

#[test]
fn oneshots_hammered_from_threads() {
    let reactors = reactors(2);
    let threads: Vec<_> = (0..3_u64)
        .map(|seed| {
            let remotes = reactors.remotes().to_vec();
            thread::spawn("hammer", None, move || {
                let mut rng = Rng::from_seed(seed);
                for round in 0..3_000 {
                    let (sender, receiver) = oneshot::channel();
                    let to = remotes[rng.index(2)].clone();
                    let heard = to.call(move || receiver);
                    sender.send(round);
                    assert_eq!(heard.wait(), Ok(Ok(round)), "seed {seed}");
                }
            })
            .expect("a thread")
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    reactors.stop();
}

#[test]
fn a_receiver_that_moves_is_woken_where_it_was_polled_last() {
    let reactors = reactors(2);
    for round in 0..200_u64 {
        let (sender, mut receiver) = oneshot::channel();
        for remote in reactors.remotes() {
            let polled = remote.call(move || async move {
                let first = std::future::poll_fn(|context| {
                    let poll = std::pin::Pin::new(&mut receiver).poll(context);
                    Poll::Ready(poll.is_pending())
                });
                assert!(first.await);
                Some(receiver)
            });
            receiver = polled.wait().ok().flatten().expect("alive");
        }
        let heard = reactors.remotes()[0].call(move || receiver);
        sender.send(round);
        assert_eq!(heard.wait(), Ok(Ok(round)));
    }
    reactors.stop();
}

#[test]
fn a_sender_knows_that_nobody_waits() {
    let (sender, receiver) = oneshot::channel::<u8>();
    assert!(!sender.is_closed());
    drop(receiver);
    assert!(sender.is_closed());
}

#[test]
fn timers_fire_late_never_early_and_a_timeout_drops_its_future() {
    let reactors = reactors(1);
    let answer = reactors.remotes()[0].call(|| async {
        let start = clock::monotonic();
        runtime::sleep(Duration::from_millis(20)).await;
        let slept = clock::monotonic() - start;
        let held = Arc::new(());
        let inner = held.clone();
        let late = runtime::timeout(Duration::from_millis(5), async move {
            std::future::pending::<()>().await;
            drop(inner);
        });
        let late = late.await;
        let soon = runtime::timeout(Duration::from_secs(60), async { 7 }).await;
        (slept, late, Arc::strong_count(&held), soon)
    });
    let (slept, late, held, soon) = answer.wait().expect("alive");
    assert!(slept >= Duration::from_millis(20), "{slept:?}");
    assert_eq!((late, held, soon), (None, 1, Some(7)));
    reactors.stop();
}

#[test]
fn large_gathered_echoes_come_back_whole() {
    let reactors = reactors(2);
    let listening = net::listen(reactors.remotes(), any(), echo).expect("listens");
    let clients: Vec<_> = (0..4_u64)
        .map(|seed| {
            let address = listening.address();
            thread::spawn("client", None, move || {
                let mut rng = Rng::from_seed(seed);
                let bytes: Vec<u8> = rng.bytes(3_000_000);
                let mut socket = TcpStream::connect(address).expect("connects");
                let mut writer = socket.try_clone().expect("clones");
                let sent = bytes.clone();
                let writing = thread::spawn("writer", None, move || {
                    writer.write_all(&sent).expect("writes");
                    writer.shutdown(std::net::Shutdown::Write).expect("shuts down");
                });
                let mut back = Vec::new();
                socket.read_to_end(&mut back).expect("reads");
                assert!(back == bytes, "seed {seed}: {} of {}", back.len(), bytes.len());
                writing.expect("a thread").join().expect("no panic");
            })
            .expect("a thread")
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("no panic"));
    listening.stop();
    reactors.stop();
}

#[test]
fn connections_of_one_client_spread_evenly_also_after_some_closed() {
    let reactors = reactors(3);
    let owners = Arc::new(Mutex::new(Vec::new()));
    let seen = owners.clone();
    let hello = move |stream: Stream, _: SocketAddr| {
        seen.lock().expect("lock").push(runtime::current().expect("a reactor").id());
        runtime::spawn(async move {
            stream.send(vec![Bytes::from_static(b"x")]).await.expect("sends");
            let (result, _) = stream.recv(BytesMut::with_capacity(1)).await;
            assert!(matches!(result, Ok(0) | Err(_)));
        });
    };
    let listening = net::listen(reactors.remotes(), any(), hello).expect("listens");
    let connect = || {
        let mut socket = TcpStream::connect(listening.address()).expect("connects");
        socket.read_exact(&mut [0]).expect("greets");
        socket
    };
    let sockets: Vec<TcpStream> = (0..9).map(|_| connect()).collect();
    let mut first = std::mem::take(&mut *owners.lock().expect("lock"));
    first.sort_unstable();
    assert_eq!(first, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    drop(sockets);
    listening.stop();
    reactors.stop();
}

#[test]
fn a_stopped_listener_refuses_and_leaves_no_descriptor() {
    let reactors = reactors(2);
    for _ in 0..3 {
        let listening = net::listen(reactors.remotes(), any(), echo).expect("listens");
        let address = listening.address();
        let mut socket = TcpStream::connect(address).expect("connects");
        socket.write_all(b"hello").expect("writes");
        socket.read_exact(&mut [0; 5]).expect("reads");
        listening.stop();
        // Open connections go on.
        socket.write_all(b"again").expect("writes");
        socket.read_exact(&mut [0; 5]).expect("reads");
        assert_eq!(open_sockets(address), 1);
        drop(socket);
        assert!(TcpStream::connect(address).is_err());
        // Closing is the ring's work: let each reactor take a few turns.
        for remote in reactors.remotes() {
            let turns = remote.call(|| runtime::sleep(Duration::from_millis(20)));
            turns.wait().expect("alive");
        }
        assert_eq!(open_sockets(address), 0);
    }
    reactors.stop();
}

/// Sockets on our side of an address that somebody holds open.
fn open_sockets(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("proc");
    let local = format!(":{:04X}", address.port());
    let is_open = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&local) && fields[9] != "0"
    };
    table.lines().skip(1).filter(is_open).count()
}

#[test]
fn one_stream_receives_and_sends_at_once_and_a_shutdown_ends_both() {
    let reactors = reactors(1);
    let (sender, receiver) = oneshot::channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let on_stream = move |stream: Stream, _: SocketAddr| {
        let sender = sender.lock().expect("lock").take().expect("one connection");
        runtime::spawn(async move {
            let (receiving, ended) = oneshot::channel();
            let other = stream.clone();
            runtime::spawn(async move {
                receiving.send(other.recv(BytesMut::with_capacity(8)).await.0.ok());
            });
            // More than the sockets buffer: stays pending.
            let (sending, sent) = oneshot::channel();
            let third = stream.clone();
            runtime::spawn(async move {
                let huge = Bytes::from(vec![0; 64 << 20]);
                sending.send(third.send(vec![huge]).await.is_err());
            });
            runtime::sleep(Duration::from_millis(50)).await;
            stream.shutdown();
            sender.send((ended.await, sent.await));
        });
    };
    let listening = net::listen(reactors.remotes(), any(), on_stream).expect("listens");
    let socket = TcpStream::connect(listening.address()).expect("connects");
    assert_eq!(receiver.wait(), Ok((Ok(Some(0)), Ok(true))));
    drop(socket);
    listening.stop();
    reactors.stop();
}

#[test]
fn a_reset_is_an_ordinary_error() {
    let reactors = reactors(1);
    let (sender, receiver) = oneshot::channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let on_stream = move |stream: Stream, _: SocketAddr| {
        let sender = sender.lock().expect("lock").take().expect("one connection");
        runtime::spawn(async move {
            let (result, buffer) = stream.recv(BytesMut::with_capacity(8)).await;
            sender.send((result.map_err(|error| error.kind()), buffer.len()));
        });
    };
    let listening = net::listen(reactors.remotes(), any(), on_stream).expect("listens");
    let socket = TcpStream::connect(listening.address()).expect("connects");
    let linger = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    linger.expect("lingers");
    drop(socket);
    let (result, len) = receiver.wait().expect("answers");
    assert_eq!((result, len), (Err(std::io::ErrorKind::ConnectionReset), 0));
    listening.stop();
    reactors.stop();
}

#[test]
fn a_stop_ends_connections_that_are_still_open() {
    let reactors = reactors(1);
    let listening = net::listen(reactors.remotes(), any(), echo).expect("listens");
    let mut socket = TcpStream::connect(listening.address()).expect("connects");
    socket.write_all(b"x").expect("writes");
    socket.read_exact(&mut [0]).expect("reads");
    reactors.stop();
    assert_eq!(socket.read(&mut [0]).unwrap_or(0), 0);
    drop(listening);
}

#[test]
fn a_file_takes_gathered_writes_and_its_map_shows_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("file");
    let reactors = reactors(1);
    let own = path.clone();
    let answer = reactors.remotes()[0].call(move || async move {
        let file = file::File::create_zeroed(&own, 1 << 20).await.expect("creates");
        let map = file.map(1 << 20).expect("maps");
        // More parts than one call takes.
        let parts: Vec<Bytes> = (0..3_000_u32).map(|n| n.to_le_bytes().to_vec().into()).collect();
        file.write_all_at(&parts, 4096).await.expect("writes");
        file.sync_data().await.expect("syncs");
        let view = map.slice(4096..4096 + 12_000);
        assert_eq!(view[..], parts.concat()[..]);
        assert!(!map.is_unique());
        let second = map.slice(0..1);
        drop(view);
        assert!(!map.is_unique());
        drop(second);
        assert!(map.is_unique());
        assert_eq!(map.slice(0..4), [0; 4][..]);
        // A dropped write owns its buffers until the kernel is done with them.
        let writes = (0..50).map(|_| file.write_all_at(&parts, 100_000));
        for write in writes {
            runtime::timeout(Duration::ZERO, write).await;
        }
        file.sync_data().await.expect("syncs");
    });
    answer.wait().expect("alive");
    assert_eq!(std::fs::metadata(&path).expect("is there").len(), 1 << 20);
    reactors.stop();
}

#[test]
fn a_failing_write_is_an_ordinary_error() {
    let reactors = reactors(1);
    let answer = reactors.remotes()[0].call(|| async {
        let full = file::File::open(std::path::Path::new("/dev/full"), false).expect("opens");
        full.write_all_at(&[Bytes::from_static(b"x")], 0).await.map_err(|error| error.kind())
    });
    assert_eq!(answer.wait(), Ok(Err(std::io::ErrorKind::StorageFull)));
    reactors.stop();
}

#[test]
fn a_lock_is_refused_while_it_is_held() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("lock");
    let first = file::lock(&path).expect("locks");
    let second = file::lock(&path).expect_err("is held");
    assert_eq!(second.kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    file::lock(&path).expect("is free");
}

#[test]
fn a_pinned_thread_runs_on_its_core() {
    let core = *thread::cores().last().expect("a core");
    let (sender, receiver) = oneshot::channel();
    let pinned = thread::spawn("pinned", Some(core), move || sender.send(thread::cores()));
    assert_eq!(receiver.wait(), Ok(vec![core]));
    pinned.expect("a thread").join().expect("no panic");
}

/// Runs alone in a process of its own, since it counts the descriptors of all threads.
#[test]
fn reactors_start_and_stop_without_leaving_descriptors() {
    const ALONE: &str = "REACTOR_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "tests::reactors_start_and_stop_without_leaving_descriptors";
        let own = std::env::current_exe().expect("a program");
        let run = std::process::Command::new(own).args([name, "--exact"]).env(ALONE, "1").output();
        let run = run.expect("runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        return;
    }
    let count = || std::fs::read_dir("/proc/self/fd").expect("proc").count();
    reactors(2).stop();
    let before = count();
    (0..5).for_each(|_| reactors(2).stop());
    assert_eq!(count(), before);
}

#[test]
fn datagrams_there_and_back_until_closed() {
    let reactors = reactors(1);
    let socket = udp::bind(any()).expect("a port");
    let done = reactors.remotes()[0].call(move || async move {
        let server = Rc::new(udp::Datagrams::new(socket).expect("a socket"));
        let address = server.address();
        let echo = server.clone();
        let (sender, ended) = oneshot::channel();
        runtime::spawn(async move {
            loop {
                match echo.recv().await {
                    Ok((bytes, peer)) => echo.send(&bytes, peer),
                    Err(error) => return sender.send(error.kind()),
                }
            }
        });
        let socket = udp::bind(any()).expect("a port");
        let client = udp::Datagrams::new(socket).expect("a socket");
        for len in [0, 1, 9000] {
            client.send(&vec![7; len], address);
            assert_eq!(client.recv().await.expect("the echo"), (vec![7; len], address));
        }
        // Nobody is there: that is no error of the socket.
        client.send(b"x", SocketAddr::from(([127, 0, 0, 1], 1)));
        client.send(b"y", address);
        assert_eq!(client.recv().await.expect("the echo").0, b"y");
        server.close();
        assert_eq!(ended.await, Ok(std::io::ErrorKind::NotConnected));
    });
    done.wait().expect("no panic");
    reactors.stop();
}

#[test]
fn a_stop_ends_a_socket_that_waits_for_datagrams() {
    let reactors = reactors(1);
    let socket = udp::bind(any()).expect("a port");
    let address = socket.local_addr().expect("bound");
    let ready = reactors.remotes()[0].call(move || async move {
        runtime::spawn(async move {
            let socket = udp::Datagrams::new(socket).expect("a socket");
            drop(socket.recv().await);
        });
    });
    ready.wait().expect("no panic");
    reactors.stop();
    udp::bind(address).expect("the port is free again");
}
