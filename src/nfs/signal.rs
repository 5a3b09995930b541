//! A condition that one task waits for and another on the same reactor makes true.

use std::{
    cell::RefCell,
    future::poll_fn,
    task::{Context, Poll, Waker},
};

/// Invariant: at most one task waits at a time; a second one would take its place.
#[derive(Debug, Default)]
pub(crate) struct Signal(RefCell<Option<Waker>>);

impl Signal {
    /// Something changed.
    pub(crate) fn notify(&self) {
        let waker = self.0.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes the task at the next change.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        *self.0.borrow_mut() = Some(cx.waker().clone());
    }

    /// Waits until the condition gives a value.
    pub(crate) async fn until<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        poll_fn(|cx| match condition() {
            Some(value) => Poll::Ready(value),
            None => {
                self.register(cx);
                Poll::Pending
            }
        })
        .await
    }
}
