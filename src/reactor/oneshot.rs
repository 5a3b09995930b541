//! One value from any thread to a waiter on a reactor, on another runtime, or on a plain thread.
//!
//! A waiter on a reactor is woken through its mailbox, never by a foreign `Waker`.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

/// The sending half. Dropping it without sending answers `Closed`.
#[derive(Debug)]
pub struct Sender<T>(PhantomData<T>);

/// The receiving half, a future.
#[derive(Debug)]
pub struct Receiver<T>(PhantomData<T>);

/// The sender went away without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// A new pair.
#[must_use]
pub fn channel<T: Send>() -> (Sender<T>, Receiver<T>) {
    todo!()
}

impl<T: Send> Sender<T> {
    /// Hands the value over and wakes the waiter. A waiter that is gone drops it.
    pub fn send(self, value: T) {
        let _ = value;
        todo!()
    }
}

impl<T: Send> Receiver<T> {
    /// Waits on a plain thread. Never on a reactor.
    ///
    /// # Errors
    /// [`Closed`] when the sender was dropped.
    pub fn wait(self) -> Result<T, Closed> {
        todo!()
    }
}

impl<T: Send> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}
