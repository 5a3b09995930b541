//! Where the uploader's loops run: each on a thread of its own with a tokio runtime, or in a
//! simulated world as tasks of that. Decided by the calling thread, so no caller knows.
//!
//! Channels, locks and semaphores of tokio work anywhere; its tasks and timers do not, and are
//! named here only.

use std::{cell::RefCell, future::Future, thread::JoinHandle, time::Duration};

use futures_util::future::{AbortHandle, abortable};
use reactor::{oneshot, sim};
use tokio::task::{LocalSet, spawn_local};

/// The tasks of a loop: what still runs when it ends is dropped.
#[derive(Debug)]
pub(crate) struct Tasks {
    /// In a world, how to end them; elsewhere their thread's `LocalSet` does it.
    in_world: Option<RefCell<Vec<AbortHandle>>>,
}

impl Tasks {
    /// Runs a task beside the loop.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let Some(handles) = &self.in_world else { return drop(spawn_local(task)) };
        let (task, handle) = abortable(task);
        handles.borrow_mut().push(handle);
        reactor::spawn(async move {
            // Whether it came to its end or was ended: nobody asks.
            task.await.ok();
        });
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.in_world.iter().flat_map(RefCell::take).for_each(|handle| handle.abort());
    }
}

/// Starts a loop; its thread, if it has one.
///
/// # Errors
/// The kernel's.
pub(crate) fn start<F: Future<Output = ()> + 'static>(
    name: &str,
    core: Option<usize>,
    main: impl FnOnce(Tasks) -> F + Send + 'static,
) -> std::io::Result<Option<JoinHandle<()>>> {
    if sim::is_here() {
        reactor::spawn(main(Tasks { in_world: Some(RefCell::default()) }));
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = reactor::thread::spawn(name, core, move || {
        LocalSet::new().block_on(&runtime, main(Tasks { in_world: None }));
        // Blocking calls of a content store may hang on a dead disk or network: do not wait.
        runtime.shutdown_background();
    })?;
    Ok(Some(thread))
}

/// Waits on this thread.
pub(crate) async fn sleep(duration: Duration) {
    if sim::is_here() {
        reactor::sleep(duration).await;
    } else {
        tokio::time::sleep(duration).await;
    }
}

/// Waits for something for a while; `None`: it took longer.
pub(crate) async fn within<T>(duration: Duration, what: impl Future<Output = T>) -> Option<T> {
    match sim::is_here() {
        true => reactor::timeout(duration, what).await,
        false => tokio::time::timeout(duration, what).await.ok(),
    }
}

/// Does what blocks beside this thread; in a world, here and now.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    match sim::is_here() {
        true => sender.send(work()),
        false => drop(tokio::task::spawn_blocking(move || sender.send(work()))),
    }
    receiver
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, sync::mpsc};

    use reactor::sim::World;

    use super::*;

    #[test]
    fn in_a_world_a_loop_runs_in_its_time_and_takes_its_tasks_along() {
        let world = World::new(1);
        world.run(async {
            let (sender, receiver) = mpsc::channel();
            let main = async move |own: Tasks| {
                let held = Rc::new(());
                let task = held.clone();
                own.spawn(async move {
                    sleep(Duration::from_secs(3600)).await;
                    drop(task);
                });
                sleep(Duration::from_secs(60)).await;
                let before = Rc::strong_count(&held);
                drop(own);
                sleep(Duration::from_secs(1)).await;
                sender.send((before, Rc::strong_count(&held))).expect("somebody listens");
            };
            assert!(start("test", None, main).expect("no thread").is_none());
            let start = reactor::clock::monotonic();
            sleep(Duration::from_secs(62)).await;
            assert_eq!(reactor::clock::monotonic() - start, Duration::from_secs(62));
            assert_eq!(receiver.try_recv(), Ok((2, 1)));
        });
    }
}
