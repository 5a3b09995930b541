//! The executor of a simulated machine.
//!
//! Invariants: everything happens on one thread; time moves only when no task can run, to the next
//! timer; whatever is drawn, is drawn from the seed in an order that the seed decides.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use vocab::Time;

use super::{
    disk::{Disk, Image, locked},
    net::Network,
};
use crate::{
    local::{self, Local},
    mailbox::{Remote, TURN_MESSAGES_MAX},
    rng::Rng,
};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A world with more events goes round in circles.
const EVENTS_MAX: usize = 1_000_000;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A task ran, until it waited.
    Poll(u64),
    /// A write began: file, offset and length in bytes.
    Write(u64, u64, u64),
    /// A sync of a file began.
    Sync(u64),
    /// The world was stopped.
    Cut,
}

/// A moment in a world's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So many tasks have run from now on.
    Polls(u64),
    /// So many times a sync has begun or ended from now on, before anybody hears of it.
    Syncs(u64),
}

/// The state of a world.
pub(crate) struct Core {
    seed: u64,
    rng: RefCell<Rng>,
    now: Cell<Duration>,
    wall_start: Time,
    tasks: RefCell<BTreeMap<u64, Option<Task>>>,
    task_next: Cell<u64>,
    ready: Arc<Mutex<Vec<u64>>>,
    timers: RefCell<BTreeMap<(Duration, u64), Waker>>,
    timer_next: Cell<u64>,
    disk: Arc<Mutex<Disk>>,
    network: RefCell<Network>,
    remote: Remote,
    stopped: Cell<bool>,
    /// When to stop.
    end: Cell<Option<Moment>>,
    trace: RefCell<Vec<(Duration, Event)>>,
}

/// Makes the thread a world's while it lives.
pub(crate) struct Entered(Option<Rc<Local>>);

impl Entered {
    pub(crate) fn new(core: &Rc<Core>) -> Self {
        Self(local::replace(Some(Rc::new(Local::World(core.clone())))))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        local::replace(self.0.take());
    }
}

impl Core {
    pub(crate) fn new(seed: u64, image: Image) -> Rc<Self> {
        Rc::new(Self {
            seed,
            rng: RefCell::new(Rng::from_seed(seed)),
            now: Cell::new(Duration::from_secs(1)),
            wall_start: image.wall(),
            tasks: RefCell::new(BTreeMap::new()),
            task_next: Cell::new(0),
            ready: Arc::new(Mutex::new(Vec::new())),
            timers: RefCell::new(BTreeMap::new()),
            timer_next: Cell::new(0),
            disk: Arc::new(Mutex::new(Disk::new(image))),
            network: RefCell::default(),
            remote: Remote::new(0, None),
            stopped: Cell::new(false),
            end: Cell::new(None),
            trace: RefCell::new(Vec::new()),
        })
    }

    pub(crate) fn run<T: 'static>(
        this: &Rc<Self>,
        future: impl Future<Output = T> + 'static,
    ) -> Option<T> {
        let _entered = Entered::new(this);
        let result = Rc::new(RefCell::new(None));
        let place = result.clone();
        this.stopped.set(false);
        this.spawn(async move {
            let value = future.await;
            *place.borrow_mut() = Some(value);
        });
        loop {
            if this.stopped.get() {
                return None;
            }
            if let Some(value) = result.borrow_mut().take() {
                return Some(value);
            }
            this.remote.drain(TURN_MESSAGES_MAX);
            if !this.poll_one() {
                this.advance();
            }
        }
    }

    pub(crate) fn remote(&self) -> &Remote {
        &self.remote
    }

    pub(crate) fn disk(&self) -> &Arc<Mutex<Disk>> {
        &self.disk
    }

    /// Not over an await, nor over what may connect.
    pub(crate) fn network(&self) -> RefMut<'_, Network> {
        self.network.borrow_mut()
    }

    pub(crate) fn now(&self) -> Duration {
        self.now.get()
    }

    pub(crate) fn wall(&self) -> Time {
        let nanos = Duration::from_nanos(self.wall_start.nanos.into()) + self.now.get();
        Time {
            seconds: self.wall_start.seconds + i64::try_from(nanos.as_secs()).expect("a short run"),
            nanos: nanos.subsec_nanos(),
        }
    }

    pub(crate) fn random<R>(&self, draw: impl FnOnce(&mut Rng) -> R) -> R {
        draw(&mut self.rng.borrow_mut())
    }

    /// A duration between two bounds.
    pub(crate) fn random_micros(&self, least: u64, most: u64) -> Duration {
        Duration::from_micros(least + self.random(|rng| rng.below(most - least)))
    }

    pub(crate) fn note(&self, event: Event) {
        let mut trace = self.trace.borrow_mut();
        trace.push((self.now.get(), event));
        let is_sane = trace.len() < EVENTS_MAX;
        let last = &trace[trace.len().saturating_sub(6)..];
        assert!(is_sane, "seed {}: {EVENTS_MAX} events, and no end; the last: {last:?}", self.seed);
    }

    pub(crate) fn trace(&self) -> Vec<(Duration, Event)> {
        self.trace.borrow().clone()
    }

    pub(crate) fn stop(&self) {
        self.note(Event::Cut);
        self.stopped.set(true);
    }

    pub(crate) fn stop_at(&self, moment: Moment) {
        self.end.set(Some(moment));
    }

    /// A sync begins or ends.
    pub(crate) fn sync_passes(&self) {
        if let Some(Moment::Syncs(left)) = self.end.get() {
            self.end.set(left.checked_sub(1).map(Moment::Syncs));
            if left <= 1 {
                self.stop();
            }
        }
    }

    fn poll_passes(&self) {
        if let Some(Moment::Polls(left)) = self.end.get() {
            self.end.set(left.checked_sub(1).map(Moment::Polls));
            if left <= 1 {
                self.stop();
            }
        }
    }

    pub(crate) fn power_cut(&self) -> Image {
        let wall = self.wall();
        self.random(|rng| locked(&self.disk, |disk| disk.power_cut(rng, wall)))
    }

    pub(crate) fn kill(&self) -> Image {
        let wall = self.wall();
        self.random(|rng| locked(&self.disk, |disk| disk.kill(rng, wall)))
    }

    pub(crate) fn shut_down(&self) -> Image {
        let wall = self.wall();
        self.random(|rng| locked(&self.disk, |disk| disk.shut_down(rng, wall)))
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let id = self.task_next.get();
        self.task_next.set(id + 1);
        self.tasks.borrow_mut().insert(id, Some(Box::pin(task)));
        wake(&self.ready, id);
    }

    pub(crate) fn sleep(self: &Core, duration: Duration) -> impl Future<Output = ()> + use<> {
        let id = self.timer_next.get();
        self.timer_next.set(id + 1);
        let alarm = Alarm { deadline: self.now.get() + duration, id };
        poll_fn(move |context| alarm.poll(context))
    }

    /// Wakes a task at a time.
    pub(crate) fn wake_at(&self, at: Duration, waker: Waker) {
        let id = self.timer_next.get();
        self.timer_next.set(id + 1);
        self.timers.borrow_mut().insert((at, id), waker);
    }

    pub(crate) fn drop_tasks(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
        let timers = std::mem::take(&mut *self.timers.borrow_mut());
        drop(timers);
        let listeners = self.network().end_all();
        drop(listeners);
        self.remote.close();
    }

    /// Runs one task that can run, if there is one.
    fn poll_one(&self) -> bool {
        let id = {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            if ready.is_empty() {
                return false;
            }
            let place = self.random(|rng| rng.index(ready.len()));
            ready.swap_remove(place)
        };
        let Some(mut task) = self.tasks.borrow_mut().get_mut(&id).and_then(Option::take) else {
            return true;
        };
        self.note(Event::Poll(id));
        self.poll_passes();
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: self.ready.clone() }));
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => drop(self.tasks.borrow_mut().remove(&id)),
            Poll::Pending => {
                if let Some(place) = self.tasks.borrow_mut().get_mut(&id) {
                    *place = Some(task);
                }
            }
        }
        true
    }

    /// Moves time to the next timer.
    fn advance(&self) {
        let next = self.timers.borrow_mut().pop_first();
        let Some(((deadline, _), waker)) = next else {
            panic!("seed {}: every task waits and no timer runs", self.seed)
        };
        self.now.set(self.now.get().max(deadline));
        waker.wake();
    }
}

/// A timer; forgotten when it is dropped.
struct Alarm {
    deadline: Duration,
    id: u64,
}

impl Alarm {
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let here = local::get();
        let Some(Local::World(core)) = here.as_deref() else { panic!("a timer left its world") };
        if core.now() >= self.deadline {
            return Poll::Ready(());
        }
        core.timers.borrow_mut().insert((self.deadline, self.id), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(Local::World(core)) = local::get().as_deref() {
            drop(core.timers.borrow_mut().remove(&(self.deadline, self.id)));
        }
    }
}

struct TaskWaker {
    id: u64,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        wake(&self.ready, self.id);
    }
}

fn wake(ready: &Mutex<Vec<u64>>, id: u64) {
    let mut ready = ready.lock().unwrap_or_else(PoisonError::into_inner);
    if !ready.contains(&id) {
        ready.push(id);
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World(seed {})", self.seed)
    }
}
