//! A value that many tasks of one reactor wait for.

use std::{
    cell::RefCell,
    future::poll_fn,
    task::{Poll, Waker},
};

/// Set once; every waiter gets a clone.
#[derive(Debug)]
pub(crate) struct Event<T> {
    state: RefCell<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    waiters: Vec<Waker>,
}

impl<T> Default for Event<T> {
    fn default() -> Self {
        Self { state: RefCell::new(State { value: None, waiters: Vec::new() }) }
    }
}

impl<T: Clone> Event<T> {
    pub(crate) fn set(&self, value: T) {
        let waiters = {
            let mut state = self.state.borrow_mut();
            state.value = Some(value);
            std::mem::take(&mut state.waiters)
        };
        waiters.into_iter().for_each(Waker::wake);
    }

    pub(crate) async fn wait(&self) -> T {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if let Some(value) = &state.value {
                return Poll::Ready(value.clone());
            }
            if !state.waiters.iter().any(|waiter| waiter.will_wake(context.waker())) {
                state.waiters.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
