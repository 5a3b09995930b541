//! Work sent to a reactor from another reactor or thread, without a lost wake-up.

use std::future::Future;

use crate::oneshot;

/// The address of a reactor. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Remote {}

impl Remote {
    /// Its number, from 0.
    #[must_use]
    pub fn id(&self) -> usize {
        todo!()
    }

    /// Whether the calling thread is that reactor.
    #[must_use]
    pub fn is_current(&self) -> bool {
        todo!()
    }

    /// Runs a closure on the reactor, soon.
    pub fn post(&self, f: impl FnOnce() + Send + 'static) {
        let _ = f;
        todo!()
    }

    /// Runs a task on the reactor and gives its value back. The future itself stays over there, so
    /// it need not be `Send`.
    pub fn call<F, Fut, T>(&self, f: F) -> oneshot::Receiver<T>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let _ = f;
        todo!()
    }
}
