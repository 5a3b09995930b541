//! Named threads, pinned when asked: for writers, uploaders and other runtimes.

use std::{
    future::Future,
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{
    local::{self, Local},
    oneshot,
};

/// Starts a thread. A panic in it ends the process (`panic = "abort"`).
///
/// # Errors
/// The kernel's.
pub fn spawn(
    name: &str,
    core: Option<usize>,
    f: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    let name = name.to_owned();
    std::thread::Builder::new().name(name.clone()).spawn(move || {
        if let Some(core) = core
            && let Err(error) = pin(core)
        {
            trace::warn!("thread {name} runs anywhere, not on core {core}: {error}");
        }
        f();
    })
}

/// Runs a closure that may block on a thread of its own. For rare work; a thread costs about 20 µs.
///
/// # Errors
/// The kernel's, when it gives no thread.
pub fn offload<T: Send + 'static>(
    name: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    if let Some(Local::World(_)) = local::get().as_deref() {
        sender.send(f());
    } else {
        drop(spawn(name, None, move || sender.send(f()))?);
    }
    Ok(receiver)
}

/// Runs a future on a plain thread. Never on a reactor, and the future may need none: it waits for
/// other threads only.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    assert!(local::get().is_none(), "a reactor would wait for itself: await the future");
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Cores this process may use, in order.
#[must_use]
pub fn cores() -> Vec<usize> {
    let set = sched_getaffinity(None).expect("the kernel knows our cores");
    (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()
}

fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such core"));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}
