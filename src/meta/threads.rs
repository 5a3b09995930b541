//! The threads of a store: one that writes, a few that read what is not in memory. In a simulated
//! world, tasks.
//!
//! Invariant: they end when the last handle to the store is gone, or at [`Threads::stop`].

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread::JoinHandle,
};

use crossbeam::channel::{Receiver, Sender, unbounded};
use reactor::{oneshot, sim};
use vocab::Error;

use crate::{
    command::Command,
    core::Core,
    engine::Batch,
    writer::{self, Answer, Message, Next, Writer},
};

/// Threads that read from the engine.
const READERS: usize = 2;

/// A question to the engine, or the end (`None`).
type Job = Option<Box<dyn FnOnce(&Core) + Send>>;

/// An open store with its threads. Both queues hold no more than callers wait for.
#[derive(Debug)]
pub(crate) struct Threads {
    pub(crate) core: Arc<Core>,
    writes: Sender<Message>,
    reads: Sender<Job>,
    handles: Mutex<Vec<JoinHandle<()>>>,
    /// Wakes the writer of a world. A thread waits at its queue.
    bell: Option<Arc<Bell>>,
}

/// Set while the writer waits.
type Bell = Mutex<Option<oneshot::Sender<()>>>;

impl Threads {
    pub(crate) fn start(core: Core) -> std::io::Result<Self> {
        let core = Arc::new(core);
        let (writes, write_queue) = unbounded();
        let (reads, read_queue) = unbounded();
        if sim::is_here() {
            let bell = Arc::new(Bell::default());
            reactor::spawn(write(Arc::clone(&core), write_queue, Arc::downgrade(&bell)));
            return Ok(Self { core, writes, reads, handles: Mutex::default(), bell: Some(bell) });
        }
        let mut handles = Vec::new();
        let for_writer = Arc::clone(&core);
        let name = format!("meta-{}", core.name);
        handles.push(reactor::thread::spawn(&name, None, move || {
            writer::run(&for_writer, &write_queue);
        })?);
        for _ in 0..READERS {
            let (core, queue): (_, Receiver<Job>) = (Arc::clone(&core), read_queue.clone());
            handles.push(reactor::thread::spawn(&format!("{name}-read"), None, move || {
                while let Ok(Some(job)) = queue.recv() {
                    job(&core);
                }
            })?);
        }
        Ok(Self { core, writes, reads, handles: Mutex::new(handles), bell: None })
    }

    /// Sends a command to the writer.
    pub(crate) async fn submit(&self, command: Command) -> Answer {
        let (sender, answer) = oneshot::channel();
        self.tell(Message::Submit(command, sender))?;
        answer.await.unwrap_or(Err(Error::Stopping))
    }

    /// Has changes made to the engine that no command makes.
    pub(crate) async fn repair(&self, changes: Batch) -> Result<(), Error> {
        let (sender, answer) = oneshot::channel();
        self.tell(Message::Repair(changes, sender))?;
        answer.await.unwrap_or(Err(Error::Stopping))
    }

    /// Has a question answered off the reactor.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Core) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, answer) = oneshot::channel();
        if self.bell.is_some() {
            let core = Arc::clone(&self.core);
            reactor::spawn(async move { sender.send(question(&core)) });
            return answer.await.unwrap_or(Err(Error::Stopping));
        }
        let job: Job = Some(Box::new(move |core: &Core| sender.send(question(core))));
        if self.reads.send(job).is_err() {
            return Err(Error::Stopping);
        }
        answer.await.unwrap_or(Err(Error::Stopping))
    }

    /// Finishes what was sent, and ends the threads.
    pub(crate) fn stop(&self) {
        if self.bell.is_some() {
            // A writer that has ended has nothing left to stop.
            self.tell(Message::Stop).ok();
            return;
        }
        let mut handles = lock(&self.handles);
        if handles.is_empty() {
            return;
        }
        // A queue whose threads are gone has nothing left to stop.
        let _sent = self.writes.send(Message::Stop);
        for _ in 0..READERS {
            let _sent = self.reads.send(None);
        }
        for handle in handles.drain(..) {
            handle.join().expect("a panic ends the process");
        }
    }

    fn tell(&self, message: Message) -> Result<(), Error> {
        self.writes.send(message).map_err(|_| Error::Stopping)?;
        if let Some(waiting) = self.bell.as_ref().and_then(|bell| lock(bell).take()) {
            waiting.send(());
        }
        Ok(())
    }
}

/// The writer as a task of a world.
async fn write(core: Arc<Core>, messages: Receiver<Message>, bell: Weak<Bell>) {
    let mut writer = Writer::new(&core);
    loop {
        while let Ok(first) = messages.try_recv() {
            if writer.serve(first, &messages).await == Next::Stop {
                return;
            }
        }
        let (sender, rings) = oneshot::channel();
        let Some(bell) = bell.upgrade() else { return };
        *lock(&bell) = Some(sender);
        drop(bell);
        // When nobody can ring any more, the last handle is gone.
        if rings.await.is_err() {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
