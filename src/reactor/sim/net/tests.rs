//! Simulated connections: what arrives is the front of what was sent, and both hear of a break.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};

use super::{Lines, connect};
use crate::{net, oneshot, rng::Rng, runtime, sim};

const BYTES: usize = 10_000;

fn address() -> SocketAddr {
    ([127, 0, 0, 1], 2049).into()
}

fn rough(rng: &mut Rng, breaks_one_in: u64) -> Lines {
    Lines {
        delay_max: Duration::from_micros(rng.below(3) * 500),
        window_bytes: [500, 5_000, 1 << 20][rng.index(3)],
        cuts_short_one_in: rng.below(3),
        breaks_one_in,
        news_max: Duration::from_millis(100),
    }
}

fn content() -> Bytes {
    (0..BYTES).map(|at| (at % 251).to_le_bytes()[0]).collect::<Vec<u8>>().into()
}

/// What arrived, and whether the end was in order.
async fn receive_all(stream: net::Stream) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    loop {
        match stream.recv(BytesMut::with_capacity(4096)).await {
            (Ok(0), _) => return (all, true),
            (Ok(_), part) => all.extend(part),
            (Err(_), _) => return (all, false),
        }
    }
}

/// Both ends send all of it; what each of them got.
fn exchange(seed: u64, breaks_one_in: u64) -> [(Vec<u8>, bool); 2] {
    let task = async move {
        sim::set_lines(rough(&mut Rng::from_seed(seed), breaks_one_in));
        let here = runtime::current().expect("a world");
        let (sender, served) = oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        let on_stream = move |stream, _| {
            let sender = sender.lock().expect("one thread").take().expect("one connection");
            runtime::spawn(async move { sender.send(both(stream).await) });
        };
        let listening = net::listen(&[here], address(), on_stream).expect("nobody listens there");
        let stream = connect([10, 0, 0, 1].into(), address()).await.expect("somebody listens");
        let got = both(stream).await;
        let other = served.await.expect("it ends");
        listening.stop();
        assert!(connect([10, 0, 0, 1].into(), address()).await.is_err(), "nobody listens");
        [got, other]
    };
    sim::World::new(seed).run(task).expect("it ends")
}

async fn both(stream: net::Stream) -> (Vec<u8>, bool) {
    let (sender, mut received) = oneshot::channel();
    let other = stream.clone();
    runtime::spawn(async move { sender.send(receive_all(other).await) });
    drop(stream.send(vec![content().slice(..10), content().slice(10..)]).await);
    if let Some(got) = runtime::timeout(Duration::from_secs(60), &mut received).await {
        return got.expect("it ends");
    }
    // All that the other end sends is here.
    stream.shutdown();
    received.await.expect("it ends")
}

#[test]
fn a_sound_line_carries_everything_in_order() {
    for seed in 0..60 {
        let wanted = (content().to_vec(), true);
        assert_eq!(exchange(seed, 0), [wanted.clone(), wanted], "seed {seed}");
    }
}

#[test]
fn a_line_that_breaks_loses_the_end_and_both_hear_of_it() {
    let mut broken = 0;
    for seed in 0..100 {
        let both = exchange(seed, 1);
        for (got, _) in &both {
            assert_eq!(got[..], content()[..got.len()], "seed {seed}");
        }
        let [is_whole, other_is_whole] = both.map(|(_, is_whole)| is_whole);
        assert_eq!(is_whole, other_is_whole, "seed {seed}");
        broken += usize::from(!is_whole);
    }
    assert!(broken > 30, "few break: {broken}");
}

#[test]
fn a_seed_repeats_a_line() {
    for seed in 0..10 {
        assert_eq!(exchange(seed, 1), exchange(seed, 1), "seed {seed}");
    }
}
