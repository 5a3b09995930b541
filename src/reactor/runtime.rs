//! Pinned reactors: start, tasks, timers, graceful stop.
//!
//! A turn of a reactor: collect file completions, drain the mailbox, run what can run, then wait in
//! the ring for sockets, timers and the bell. One eventfd is the bell for messages and for file
//! completions alike.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::{Future, poll_fn},
    io,
    os::fd::OwnedFd,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use monoio::RuntimeBuilder;
use rustix::{
    event::{EventfdFlags, eventfd},
    net::Shutdown,
};

use crate::{
    local::{self, Local, Reactor, Wakers},
    mailbox::{Remote, TURN_MESSAGES_MAX},
    oneshot,
    sys::{buffer, ring::Ring, socket},
    thread,
};

/// Entries of a reactor's ring for sockets; more operations in flight are fine.
const RING_ENTRIES: u32 = 4096;
/// How long a stop waits for sockets to end: so many times so long.
const STOP_ROUNDS: u32 = 100;
const STOP_ROUND: Duration = Duration::from_millis(2);

/// Which reactors to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The core of each reactor, in order; `None` leaves it to the scheduler.
    pub cores: Vec<Option<usize>>,
}

/// The running reactors.
#[derive(Debug)]
pub struct Reactors {
    remotes: Vec<Remote>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Reactors {
    /// Starts one thread and one ring for each core.
    ///
    /// # Errors
    /// The kernel's, when it gives no ring or no thread.
    pub fn start(config: &Config) -> io::Result<Self> {
        let mut reactors = Self { remotes: Vec::new(), threads: Vec::new() };
        let mut answers = Vec::new();
        for (id, &core) in config.cores.iter().enumerate() {
            let bell = eventfd(0, EventfdFlags::CLOEXEC)?;
            let remote = Remote::new(id, Some(bell.try_clone()?));
            let (sender, receiver) = oneshot::channel();
            let own = remote.clone();
            let name = format!("reactor-{id}");
            let thread = thread::spawn(&name, core, move || run(own, bell, core, sender));
            reactors.remotes.push(remote);
            match thread {
                Ok(thread) => reactors.threads.push(thread),
                Err(error) => {
                    reactors.stop();
                    return Err(error);
                }
            }
            answers.push(receiver);
        }
        for answer in answers {
            if let Err(error) = answer.wait().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())) {
                reactors.stop();
                return Err(error);
            }
        }
        Ok(reactors)
    }

    /// All of them, in order.
    #[must_use]
    pub fn remotes(&self) -> &[Remote] {
        &self.remotes
    }

    /// Ends the threads once their mailboxes are drained. The caller has stopped what runs there:
    /// sockets that are still open are shut down, tasks that still wait are dropped.
    pub fn stop(self) {
        self.remotes.iter().for_each(Remote::stop);
        for thread in self.threads {
            drop(thread.join());
        }
    }
}

/// The reactor of the calling thread, if it is one.
#[must_use]
pub fn current() -> Option<Remote> {
    match local::get().as_deref() {
        Some(Local::Reactor(reactor)) => Some(reactor.remote.clone()),
        Some(Local::World(core)) => Some(core.remote().clone()),
        None => None,
    }
}

/// Runs a task on this reactor.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    match local::get().as_deref() {
        Some(Local::Reactor(_)) => drop(monoio::spawn(task)),
        Some(Local::World(core)) => core.spawn(task),
        None => panic!("`spawn` outside a reactor: use `Remote::call`"),
    }
}

/// Waits on this reactor. Real timers are coarse: 1 ms, never early.
pub async fn sleep(duration: Duration) {
    match local::get().as_deref() {
        Some(Local::Reactor(_)) => Timer::new(duration).await,
        Some(Local::World(core)) => core.sleep(duration).await,
        None => panic!("`sleep` outside a reactor"),
    }
}

/// A timer that may be polled by one task and then by another.
///
/// monoio 0.2.4 wakes only the task that polled its timer first. A request is polled once by its
/// connection before it becomes a task of its own, and would sleep for ever.
struct Timer {
    deadline: monoio::time::Instant,
    timer: Pin<Box<monoio::time::Sleep>>,
    waker: Option<Waker>,
}

impl Timer {
    fn new(duration: Duration) -> Self {
        let deadline = monoio::time::Instant::now() + duration;
        Self { deadline, timer: Box::pin(monoio::time::sleep_until(deadline)), waker: None }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let is_new = self.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker()));
        if is_new && self.waker.replace(context.waker().clone()).is_some() {
            self.timer = Box::pin(monoio::time::sleep_until(self.deadline));
        }
        self.timer.as_mut().poll(context)
    }
}

/// The future's value, or `None` once the time is up; the future is then dropped.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut alarm = pin!(sleep(duration));
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        alarm.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// The life of a reactor's thread.
fn run(
    remote: Remote,
    bell: OwnedFd,
    core: Option<usize>,
    started: oneshot::Sender<io::Result<()>>,
) {
    let ring = Ring::new(&bell, core);
    let runtime = build();
    let (ring, mut runtime) = match (ring, runtime) {
        (Ok(ring), Ok(runtime)) => (ring, runtime),
        (Err(error), _) | (_, Err(error)) => {
            remote.close();
            return started.send(Err(error));
        }
    };
    let local = Rc::new(Local::Reactor(Reactor {
        remote: remote.clone(),
        wakers: RefCell::new(Wakers::default()),
        ring,
        sockets: RefCell::new(BTreeSet::new()),
        stopping: Cell::new(false),
    }));
    local::replace(Some(local));
    let clean = runtime.block_on(async {
        started.send(Ok(()));
        turns(&remote, bell).await;
        quiesce(&remote).await
    });
    if clean {
        drop(runtime);
    } else {
        // What still has an operation in flight keeps its memory: the kernel may write there.
        trace::warn!("reactor {} stopped with I/O in flight; its memory is kept", remote.id());
        std::mem::forget(runtime);
        std::mem::forget(local::get());
    }
    local::replace(None);
}

/// A ring with the flags that spare interrupts, or without them on an older kernel.
fn build() -> io::Result<monoio::Runtime<monoio::time::TimeDriver<monoio::IoUringDriver>>> {
    let mut flags = io_uring_monoio::IoUring::builder();
    flags.setup_single_issuer().setup_coop_taskrun();
    RuntimeBuilder::<monoio::IoUringDriver>::new()
        .with_entries(RING_ENTRIES)
        .uring_builder(flags)
        .enable_timer()
        .build()
        .or_else(|_| {
            RuntimeBuilder::<monoio::IoUringDriver>::new()
                .with_entries(RING_ENTRIES)
                .enable_timer()
                .build()
        })
}

/// Turns until a stop is asked for and the mailbox is empty.
async fn turns(remote: &Remote, bell: OwnedFd) {
    let bell = monoio::fs::File::from_std(std::fs::File::from(bell)).expect("takes every file");
    let mut count = buffer::Receive::new(bytes::BytesMut::with_capacity(8));
    loop {
        local::with_reactor(|reactor| reactor.ring.reap());
        let more = remote.drain(TURN_MESSAGES_MAX);
        if more {
            remote.ring_bell();
        } else if local::with_reactor(|reactor| reactor.stopping.get()) == Some(true) {
            return;
        } else if !remote.park() {
            continue;
        }
        let (result, back) = bell.read_at(count, 0).await;
        remote.unpark();
        count = back.cleared();
        if let Err(error) = result {
            assert!(error.kind() == io::ErrorKind::Interrupted, "the bell broke: {error}");
        }
    }
}

/// Ends the sockets and what waits; true when nothing is in flight any more.
async fn quiesce(remote: &Remote) -> bool {
    let mut clean = false;
    for _ in 0..STOP_ROUNDS {
        let busy = local::with_reactor(|reactor| {
            let sockets = reactor.sockets.borrow();
            sockets.iter().for_each(|&fd| socket::shutdown(fd, Shutdown::Both));
            reactor.ring.reap();
            !sockets.is_empty() || buffer::in_flight() > 0 || reactor.ring.in_flight() > 0
        });
        remote.drain(TURN_MESSAGES_MAX);
        clean = busy == Some(false);
        if clean {
            break;
        }
        monoio::time::sleep(STOP_ROUND).await;
    }
    remote.close();
    let wakers = local::with_reactor(|reactor| reactor.wakers.borrow_mut().take_all());
    // Tasks that nobody else holds end here, while the ring can still close their sockets.
    drop::<Option<Vec<Waker>>>(wakers);
    let left = local::with_reactor(|reactor| !reactor.sockets.borrow().is_empty());
    clean && left == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_wakes_the_task_that_polled_it_last() {
        let reactors = Reactors::start(&Config { cores: vec![None] }).expect("a reactor");
        let woken = reactors.remotes()[0].call(|| async {
            let (sender, receiver) = oneshot::channel();
            let mut task = Box::pin(async move {
                sleep(Duration::from_millis(5)).await;
                sender.send(());
            });
            let first = poll_fn(|context| Poll::Ready(task.as_mut().poll(context))).await;
            assert!(first.is_pending());
            spawn(task);
            timeout(Duration::from_secs(5), receiver).await
        });
        assert_eq!(woken.wait(), Ok(Some(Ok(()))));
        reactors.stop();
    }
}
