//! Work sent to a reactor from another reactor or thread, without a lost wake-up.
//!
//! Invariants: whoever finds `parked` set takes it and rings the bell (an eventfd that the reactor
//! reads through its ring), so a batch of messages costs one write. The reactor sets `parked` and
//! then looks at the queue once more, so a message sent in between is seen. A message for a mailbox
//! that is closed is dropped, so that its waiter hears `Closed` instead of nothing.
//!
//! The mailbox is drained before a receive hands its bytes out: what was posted before a request
//! arrived is run before the request is. A task of [`Remote::call`] begins behind the tasks that
//! could run already.

use std::{
    future::Future,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering, fence},
    },
};

use crossbeam::queue::SegQueue;

use crate::{
    local::{self, Local, Token},
    oneshot, runtime,
};

/// The address of a reactor. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Remote(Arc<Mailbox>);

/// Messages run in one turn before I/O gets its turn.
pub(crate) const TURN_MESSAGES_MAX: usize = 256;

struct Mailbox {
    id: usize,
    queue: SegQueue<Message>,
    /// The reactor waits for the bell.
    parked: AtomicBool,
    /// Nobody will drain the queue again.
    closed: AtomicBool,
    /// None in a simulated world, which looks at its queue every turn.
    bell: Option<OwnedFd>,
}

enum Message {
    Run(Box<dyn FnOnce() + Send>),
    Wake(Token),
    Stop,
}

impl Remote {
    /// Its number, from 0.
    #[must_use]
    pub fn id(&self) -> usize {
        self.0.id
    }

    /// Whether the calling thread is that reactor.
    #[must_use]
    pub fn is_current(&self) -> bool {
        match local::get().as_deref() {
            Some(Local::Reactor(reactor)) => reactor.remote == *self,
            Some(Local::World(core)) => core.remote() == self,
            None => false,
        }
    }

    /// Runs a closure on the reactor, soon. What one thread posts runs in that order. A reactor
    /// that has stopped drops it.
    pub fn post(&self, f: impl FnOnce() + Send + 'static) {
        if self.is_current() {
            runtime::spawn(async move { f() });
        } else {
            self.send(Message::Run(Box::new(f)));
        }
    }

    /// Runs a task on the reactor and gives its value back. The future itself stays over there, so
    /// it need not be `Send`. `Closed` when the reactor has stopped.
    pub fn call<F, Fut, T>(&self, f: F) -> oneshot::Receiver<T>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let begin = move || {
            let task = f();
            runtime::spawn(async move { sender.send(task.await) });
        };
        if self.is_current() {
            begin();
        } else {
            self.send(Message::Run(Box::new(begin)));
        }
        receiver
    }

    pub(crate) fn new(id: usize, bell: Option<OwnedFd>) -> Self {
        Self(Arc::new(Mailbox {
            id,
            queue: SegQueue::new(),
            parked: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            bell,
        }))
    }

    pub(crate) fn wake(&self, token: Token) {
        self.send(Message::Wake(token));
    }

    pub(crate) fn stop(&self) {
        self.send(Message::Stop);
    }

    fn send(&self, message: Message) {
        let mailbox = &*self.0;
        mailbox.queue.push(message);
        // Pairs with the fences in `park` and `close`: one of the two sides sees the other.
        fence(Ordering::SeqCst);
        if mailbox.closed.load(Ordering::Relaxed) {
            while mailbox.queue.pop().is_some() {}
        } else if mailbox.parked.load(Ordering::Relaxed)
            && mailbox.parked.swap(false, Ordering::Relaxed)
        {
            self.ring_bell();
        }
    }

    /// Makes the reactor's next read of its bell return.
    pub(crate) fn ring_bell(&self) {
        if let Some(bell) = &self.0.bell {
            // Fails only when the counter is full, and then the bell rings anyway.
            rustix::io::write(bell, &1_u64.to_ne_bytes()).ok();
        }
    }

    /// Says that the reactor waits for the bell; false when there is something to do after all.
    pub(crate) fn park(&self) -> bool {
        self.0.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.0.queue.is_empty() {
            return true;
        }
        self.0.parked.store(false, Ordering::Relaxed);
        false
    }

    pub(crate) fn unpark(&self) {
        self.0.parked.store(false, Ordering::Relaxed);
    }

    /// Runs up to so many messages; true when there are more. On the mailbox's own thread only.
    pub(crate) fn drain(&self, messages_max: usize) -> bool {
        for _ in 0..messages_max {
            match self.0.queue.pop() {
                Some(message) => run(message),
                None => return false,
            }
        }
        !self.0.queue.is_empty()
    }

    /// Drops what is queued and what will be sent.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while self.0.queue.pop().is_some() {}
    }
}

/// Runs what waits in the mailbox of this thread, if it is a reactor.
pub(crate) fn drain_here() {
    if let Some(remote) = local::with_reactor(|reactor| reactor.remote.clone()) {
        remote.drain(TURN_MESSAGES_MAX);
    }
}

fn run(message: Message) {
    match message {
        Message::Run(f) => f(),
        Message::Wake(token) => {
            let waker =
                local::with_reactor(|reactor| reactor.wakers.borrow_mut().take(token)).flatten();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        Message::Stop => {
            local::with_reactor(|reactor| reactor.stopping.set(true));
        }
    }
}

impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Remote {}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.0.id)
    }
}
