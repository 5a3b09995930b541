//! Named threads, pinned when asked: for writers, uploaders and other runtimes.

use std::io;

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
