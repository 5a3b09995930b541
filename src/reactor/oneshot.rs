//! One value from any thread to a waiter on a reactor, on another runtime, or on a plain thread.
//!
//! A waiter on a reactor is woken through its mailbox, never by a foreign `Waker`: its waker rests
//! in a table of its own thread, and only the entry's token travels. On the same thread the entry
//! is woken at once.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{
    local::{self, Local, Token},
    mailbox::Remote,
    thread,
};

/// The sending half. Dropping it without sending answers `Closed`.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The receiving half, a future. May be polled on any thread, also on a different one each time.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

/// The sender went away without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// A new pair. One allocation.
#[must_use]
pub fn channel<T: Send>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::Waiting(None)) });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

impl<T: Send> Sender<T> {
    /// Hands the value over and wakes the waiter. A waiter that is gone drops it.
    pub fn send(self, value: T) {
        self.shared.finish(State::Sent(value));
    }

    /// Whether nobody waits any more, so that the work may be left undone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(*self.shared.lock(), State::Over)
    }
}

impl<T: Send> Receiver<T> {
    /// Waits on a plain thread. Never on a reactor.
    ///
    /// # Errors
    /// [`Closed`] when the sender was dropped.
    pub fn wait(self) -> Result<T, Closed> {
        thread::wait(self)
    }
}

impl<T: Send> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        match std::mem::replace(&mut *state, State::Over) {
            State::Waiting(old) => {
                let (waiter, stale) = Waiter::register(old, context.waker());
                *state = State::Waiting(Some(waiter));
                drop(state);
                if let Some(stale) = stale {
                    stale.forget();
                }
                Poll::Pending
            }
            State::Sent(value) => Poll::Ready(Ok(value)),
            State::Closed => Poll::Ready(Err(Closed)),
            State::Over => unreachable!("polled after its end"),
        }
    }
}

struct Shared<T> {
    /// Held for a few instructions; two parties at most.
    state: Mutex<State<T>>,
}

enum State<T> {
    /// No value yet, and perhaps somebody to wake.
    Waiting(Option<Waiter>),
    /// The value rests here.
    Sent(T),
    /// The sender went away.
    Closed,
    /// The receiver has it all, or went away.
    Over,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sender's last word, unless it has spoken or nobody listens.
    fn finish(&self, end: State<T>) {
        let mut state = self.lock();
        if let State::Waiting(waiter) = &mut *state {
            let waiter = waiter.take();
            *state = end;
            drop(state);
            if let Some(waiter) = waiter {
                waiter.wake();
            }
        }
    }
}

/// Whom to wake, and how.
enum Waiter {
    /// By its mailbox, or at once on the same thread.
    Reactor(Remote, Token),
    /// By a waker that is safe on every thread.
    Anywhere(Waker),
}

impl Waiter {
    /// The waiter for the calling thread, and the one that it replaces, to forget outside the lock.
    fn register(old: Option<Self>, waker: &Waker) -> (Self, Option<Self>) {
        let here = local::get();
        let Some(Local::Reactor(reactor)) = here.as_deref() else {
            return (Self::Anywhere(waker.clone()), old);
        };
        if let Some(Self::Reactor(remote, token)) = &old
            && *remote == reactor.remote
            && reactor.wakers.borrow_mut().refresh(*token, waker)
        {
            return (Self::Reactor(remote.clone(), *token), None);
        }
        let token = reactor.wakers.borrow_mut().insert(waker.clone());
        (Self::Reactor(reactor.remote.clone(), token), old)
    }

    fn wake(self) {
        match self {
            Self::Reactor(remote, token) => {
                let here = local::with_reactor(|reactor| {
                    (reactor.remote == remote).then(|| reactor.wakers.borrow_mut().take(token))
                });
                match here.flatten() {
                    Some(waker) => waker.into_iter().for_each(Waker::wake),
                    None => remote.wake(token),
                }
            }
            Self::Anywhere(waker) => waker.wake(),
        }
    }

    /// Frees the entry of a waiter that no longer waits. Elsewhere that is a wake-up for nothing.
    fn forget(self) {
        if let Self::Reactor(remote, token) = self {
            let here = local::with_reactor(|reactor| {
                (reactor.remote == remote).then(|| drop(reactor.wakers.borrow_mut().take(token)))
            });
            if here.flatten().is_none() {
                remote.wake(token);
            }
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.finish(State::Closed);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let last = std::mem::replace(&mut *self.shared.lock(), State::Over);
        if let State::Waiting(Some(waiter)) = last {
            waiter.forget();
        }
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver")
    }
}
