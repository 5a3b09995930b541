//! Durability `remote`: what a metadata store has committed is in the content store, as a
//! checkpoint and the deltas after it.
//!
//! Each place has a line of deltas, begun by a whole checkpoint when somebody first asks. From then
//! on all who wait when a delta is cut ride on it; who comes while it travels rides on the next. A
//! new whole checkpoint takes over when the deltas weigh as much as the last one, or it is old, or
//! an operator asks; the line goes on meanwhile.
//!
//! Invariants: nobody is answered before a whole checkpoint of the line and every delta up to the
//! answer's own are in the content store; one delta travels at a time; a store that is away is
//! waited for, and nothing is answered meanwhile.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::{Rc, Weak},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use meta::Capture;
use reactor::oneshot;
use tokio::sync::Notify;
use vocab::{
    Error, StoreId,
    durable::{Durable, Grade},
};

use crate::{
    Place, Task, Uploader,
    checkpoint::{self, Checkpoint, Next, Taking},
    delta,
    tasks::{self, Tasks},
};

/// What may be committed and not cut yet: beyond it the line begins anew.
const CAPTURE_BYTES_MAX: usize = 64 << 20;
/// Deltas weigh as much as the checkpoint, and this, before a new one is taken.
const DELTA_BYTES_MIN: u64 = 4 << 20;
/// And are no more than this and one for so many bytes of the checkpoint.
const DELTAS_MIN: u64 = 10_000;
const DELTA_BYTES_USUAL: u64 = 16 << 10;
/// A checkpoint that is older is renewed: what it names cannot be deleted.
const CHECKPOINT_AGE_MAX: Duration = Duration::from_secs(3600);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A store that is away is asked again after this long at first, and after this long at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// By metadata store and content store.
type Key = (StoreId, Arc<str>);

/// The places whose line does not take deltas now. Read by reactors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Away(Arc<Mutex<BTreeSet<Key>>>);

/// The lines of all places. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    lines: Rc<RefCell<Vec<Rc<Line>>>>,
    away: Away,
    tasks: Weak<Tasks>,
}

/// Who waits, and for what.
#[derive(Debug)]
struct Line {
    place: Place,
    away: Away,
    tasks: Weak<Tasks>,
    waiters: RefCell<Vec<oneshot::Sender<()>>>,
    askers: RefCell<Vec<Asker>>,
    wake: Notify,
    /// A whole checkpoint is on its way beside the deltas.
    renewal: Cell<Renewal>,
}

type Asker = tokio::sync::oneshot::Sender<Result<Checkpoint, String>>;

#[derive(Clone, Copy, Debug)]
enum Renewal {
    None,
    Running,
    /// Its bytes.
    Done(u64),
    Failed,
}

/// A line that takes deltas.
struct Open {
    capture: Arc<Capture>,
    next: Next,
    /// Since the last whole checkpoint began.
    delta_bytes: u64,
    deltas: u64,
    since: Duration,
    checkpoint_bytes: u64,
}

impl Uploader {
    /// Waits until all that was committed so far is in the content store: `local` is evidence of
    /// the log, and the blocks are in the block map already.
    ///
    /// # Errors
    /// `Stopping`.
    pub async fn durable(&self, place: &Place, local: Durable) -> Result<Durable, Error> {
        self.settle_names(place).await?;
        Ok(Durable::attest(local.verifier(), Grade::Remote))
    }

    /// The same for names and attributes, which have no evidence.
    ///
    /// # Errors
    /// `Stopping`.
    pub async fn settle_names(&self, place: &Place) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Task::Remote(place.clone(), reply));
        answer.await.map_err(|_| Error::Stopping)
    }

    /// Begins the line of a place, so that nobody has to wait for its first checkpoint.
    pub fn begin_remote(&self, place: &Place) {
        let (reply, _nobody) = oneshot::channel();
        self.send(Task::Remote(place.clone(), reply));
    }

    /// Whether such a wait would be long: the store is away, or the line has not begun.
    #[must_use]
    pub fn is_remote_away(&self, place: &Place) -> bool {
        self.away().contains(place)
    }
}

impl Away {
    fn contains(&self, place: &Place) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&key(place))
    }

    fn set(&self, place: &Place, is_away: bool) {
        let mut away = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match is_away {
            true => drop(away.insert(key(place))),
            false => drop(away.remove(&key(place))),
        }
    }
}

fn key(place: &Place) -> Key {
    (place.meta.id(), Arc::clone(&place.content_name))
}

impl Lines {
    pub(crate) fn new(away: Away, tasks: &Rc<Tasks>) -> Self {
        Self { lines: Rc::default(), away, tasks: Rc::downgrade(tasks) }
    }

    /// Answers once all that is committed now is in the content store.
    pub(crate) fn wait(&self, place: Place, reply: oneshot::Sender<()>) {
        let line = self.of(place);
        line.waiters.borrow_mut().push(reply);
        line.wake.notify_one();
    }

    /// Takes a whole checkpoint, in the line when there is one.
    pub(crate) async fn checkpoint(&self, place: Place) -> Result<Checkpoint, String> {
        let (sender, answer) = tokio::sync::oneshot::channel();
        let line = self.of(place);
        line.askers.borrow_mut().push(sender);
        line.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err("the server stops".to_owned()))
    }

    fn of(&self, place: Place) -> Rc<Line> {
        let mut lines = self.lines.borrow_mut();
        if let Some(line) = lines.iter().find(|line| key(&line.place) == key(&place)) {
            return Rc::clone(line);
        }
        let line = Rc::new(Line {
            place,
            away: self.away.clone(),
            tasks: self.tasks.clone(),
            waiters: RefCell::default(),
            askers: RefCell::default(),
            wake: Notify::new(),
            renewal: Cell::new(Renewal::None),
        });
        lines.push(Rc::clone(&line));
        line.spawn(Rc::clone(&line).run());
        line
    }
}

impl Line {
    async fn run(self: Rc<Self>) {
        let mut open: Option<Open> = None;
        let mut pause = PAUSE_MIN;
        loop {
            // Nobody wakes it for a checkpoint that has grown old.
            let _woken = tasks::within(LOOK_EVERY, self.wake.notified()).await;
            while self.has_work(open.as_ref()) {
                match self.step(&mut open).await {
                    Ok(()) => pause = PAUSE_MIN,
                    Err(why) => {
                        self.fell_back(pause, &why);
                        tasks::sleep(pause).await;
                        pause = PAUSE_MAX.min(pause * 2);
                    }
                }
            }
        }
    }

    fn has_work(&self, open: Option<&Open>) -> bool {
        let is_asked = !self.askers.borrow().is_empty() || open.is_some_and(Open::is_due);
        !self.waiters.borrow().is_empty() || !self.is_renewing() && is_asked
    }

    /// Ends with the loop, whatever it holds.
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if let Some(tasks) = self.tasks.upgrade() {
            tasks.spawn(task);
        }
    }

    fn is_renewing(&self) -> bool {
        matches!(self.renewal.get(), Renewal::Running)
    }

    async fn step(self: &Rc<Self>, open: &mut Option<Open>) -> Result<(), String> {
        while open.is_none() && self.is_renewing() {
            // Two checkpoints at a time might choose the same folder.
            self.wake.notified().await;
        }
        self.see_renewal(open);
        let is_whole = match open {
            Some(line) => self.renew(line).await?,
            None if self.waiters.borrow().is_empty() => {
                let askers = std::mem::take(&mut *self.askers.borrow_mut());
                tell(askers, &checkpoint::take(&self.place).await);
                return Ok(());
            }
            None => {
                *open = Some(self.begin().await?);
                true
            }
        };
        if let Some(line) = open
            && !(is_whole && self.cut(line).await?)
        {
            trace::warn!(
                store = self.place.meta.name(),
                content = &*self.place.content_name,
                "more was committed than is kept for the next delta: a whole checkpoint is taken"
            );
            *open = None;
        }
        Ok(())
    }

    /// Begins a line with a whole checkpoint.
    async fn begin(self: &Rc<Self>) -> Result<Open, String> {
        self.away.set(&self.place, true);
        let capture = Arc::new(self.place.meta.capture(CAPTURE_BYTES_MAX));
        let since = reactor::clock::monotonic();
        // What the capture had before its first cut is in the view.
        let (taking, _) = checkpoint::begin(&self.place, Some(Arc::clone(&capture))).await?;
        let next = Next { line: taking.number, delta: 0 };
        let askers = std::mem::take(&mut *self.askers.borrow_mut());
        let done = taking.finish(&self.place, Some(next)).await;
        tell(askers, &done.clone().map(|(checkpoint, _)| checkpoint));
        let (_, checkpoint_bytes) = done?;
        self.away.set(&self.place, false);
        Ok(Open { capture, next, delta_bytes: 0, deltas: 0, since, checkpoint_bytes })
    }

    /// Cuts a delta for all who wait now, and answers them once it is there. `false`: there was too
    /// much for one.
    async fn cut(&self, open: &mut Open) -> Result<bool, String> {
        let waiting = std::mem::take(&mut *self.waiters.borrow_mut());
        match open.capture.take().await {
            Ok(Some(changes)) => self.ship(open, changes).await?,
            Ok(None) => {
                self.waiters.borrow_mut().extend(waiting);
                return Ok(false);
            }
            Err(error) => return Err(format!("{}: {error}", self.place.meta.name())),
        }
        waiting.into_iter().for_each(|waiter| waiter.send(()));
        Ok(true)
    }

    /// Puts a delta, however long that takes: its number has no other bytes.
    async fn ship(&self, open: &mut Open, changes: meta::Delta) -> Result<(), String> {
        if changes.changes == 0 {
            return Ok(());
        }
        let object = delta::encode(open.next, reactor::clock::wall(), &changes);
        let object: Bytes = object.map_err(|error| format!("packing a delta: {error}"))?;
        let name = delta::name(self.place.meta.id(), open.next);
        let mut pause = PAUSE_MIN;
        while let Err(error) = self.place.content.store.put_named(&name, object.clone()).await {
            self.fell_back(pause, &error.to_string());
            tasks::sleep(pause).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
        self.away.set(&self.place, false);
        open.next.delta += 1;
        open.deltas += 1;
        open.delta_bytes += object.len() as u64;
        Ok(())
    }

    /// Has a whole checkpoint take over when it is time, beside the deltas. As [`Line::cut`].
    async fn renew(self: &Rc<Self>, open: &mut Open) -> Result<bool, String> {
        let is_due = open.is_due() || !self.askers.borrow().is_empty();
        if self.is_renewing() || !is_due {
            return Ok(true);
        }
        let begun = checkpoint::begin(&self.place, Some(Arc::clone(&open.capture))).await?;
        let (taking, Some(changes)) = begun else { return Ok(false) };
        (open.since, open.delta_bytes, open.deltas) = (reactor::clock::monotonic(), 0, 0);
        self.renewal.set(Renewal::Running);
        let askers = std::mem::take(&mut *self.askers.borrow_mut());
        // What the view has goes into the line as well, for whoever finds the older checkpoint.
        let delta = open.next.delta + u64::from(changes.changes > 0);
        self.spawn(Rc::clone(self).finish(taking, Next { delta, ..open.next }, askers));
        self.ship(open, changes).await?;
        Ok(true)
    }

    async fn finish(self: Rc<Self>, taking: Taking, next: Next, askers: Vec<Asker>) {
        let done = taking.finish(&self.place, Some(next)).await;
        tell(askers, &done.clone().map(|(checkpoint, _)| checkpoint));
        self.renewal.set(match done {
            Ok((_, bytes)) => Renewal::Done(bytes),
            Err(why) => {
                let store = self.place.meta.name();
                trace::warn!(store, why, "no new checkpoint, will be tried again");
                Renewal::Failed
            }
        });
        self.wake.notify_one();
    }

    fn see_renewal(&self, open: &mut Option<Open>) {
        let Some(open) = open else { return };
        match self.renewal.get() {
            Renewal::None | Renewal::Running => return,
            Renewal::Done(bytes) => open.checkpoint_bytes = bytes,
            // The deltas go on; it is tried again when as many have come once more.
            Renewal::Failed => {}
        }
        self.renewal.set(Renewal::None);
    }

    fn fell_back(&self, pause: Duration, why: &str) {
        self.away.set(&self.place, true);
        if pause == PAUSE_MIN {
            let (store, content) = (self.place.meta.name(), &*self.place.content_name);
            trace::warn!(store, content, why, "names wait for the content store, as do commits");
        }
    }
}

fn tell(askers: Vec<Asker>, done: &Result<Checkpoint, String>) {
    // Whoever asked may have gone.
    askers.into_iter().for_each(|asker| drop(asker.send(done.clone())));
}

impl Open {
    fn is_due(&self) -> bool {
        let age = reactor::clock::monotonic().saturating_sub(self.since);
        self.delta_bytes >= self.checkpoint_bytes.max(DELTA_BYTES_MIN)
            || self.deltas >= DELTAS_MIN + self.checkpoint_bytes / DELTA_BYTES_USUAL
            || age >= CHECKPOINT_AGE_MAX && self.deltas > 0
    }
}
