//! A simulated machine: one thread, virtual time, randomness and a disk from one seed.
//!
//! Inside [`World::run`], `spawn`, `sleep`, `timeout`, `clock`, `random_u64`, `oneshot`, the
//! mailbox of `current()`, `File` and `net` work against the world. Which task runs next is drawn
//! from the seed. The same seed gives the same trace. Datagrams are not simulated.

pub mod disk;
pub mod net;
pub(crate) mod world;

use std::{future::Future, rc::Rc, time::Duration};

pub use disk::{Faults, Image};
pub use net::Lines;
use world::{Core, Entered};
pub use world::{Event, Moment};

use crate::local::{self, Local};

/// A simulated machine.
#[derive(Debug)]
pub struct World {
    core: Rc<Core>,
}

impl World {
    /// A machine with an empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::open(seed, Image::default())
    }

    /// A machine with the disk that another one left.
    #[must_use]
    pub fn open(seed: u64, image: Image) -> Self {
        Self { core: Core::new(seed, image) }
    }

    /// Runs a future and what it spawns until it is done, or until [`cut_power`] is called within:
    /// then the answer is `None`. Panics, with the seed, when nothing can ever happen again.
    pub fn run<T>(&self, future: impl Future<Output = T> + 'static) -> Option<T>
    where
        T: 'static,
    {
        Core::run(&self.core, future)
    }

    /// What happened and when, oldest first.
    #[must_use]
    pub fn trace(&self) -> Vec<(Duration, Event)> {
        self.core.trace()
    }

    /// Ends the machine as a power cut does. Of what was not synced each piece of 512 bytes
    /// survives or not, by the seed.
    #[must_use]
    pub fn power_cut(self) -> Image {
        let image = self.core.power_cut();
        self.end();
        image
    }

    /// Ends the process and not the machine: what was written is seen by the next world, synced or
    /// not, and what was not synced may still be lost when that one's power is cut. Writes that
    /// were under way survive in part.
    #[must_use]
    pub fn kill(self) -> Image {
        let image = self.core.kill();
        self.end();
        image
    }

    /// Ends the process, and lets the machine bring everything that was written to the disk.
    #[must_use]
    pub fn shut_down(self) -> Image {
        let image = self.core.shut_down();
        self.end();
        image
    }

    fn end(self) {
        // Tasks may hold the world; what they drop may ask for it.
        let _entered = Entered::new(&self.core);
        self.core.drop_tasks();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _entered = Entered::new(&self.core);
        self.core.drop_tasks();
    }
}

/// Whether the calling thread runs a world.
#[must_use]
pub fn is_here() -> bool {
    matches!(local::get().as_deref(), Some(Local::World(_)))
}

/// Stops the running world at once, in the middle of everything.
pub fn cut_power() {
    with_core(|core| core.stop());
}

/// Stops the running world as [`cut_power`] does, once that moment has come.
pub fn cut_power_at(moment: Moment) {
    with_core(|core| core.stop_at(moment));
}

/// Makes the next sync of any file fail. What it should have covered may be lost, for good.
pub fn fail_next_sync() {
    faults(|faults| faults.syncs += 1);
}

/// Makes the next write to any file fail.
pub fn fail_next_write() {
    faults(|faults| faults.writes += 1);
}

/// Changes what the disk of the running world does wrong.
pub fn faults<R>(change: impl FnOnce(&mut Faults) -> R) -> R {
    with_core(|core| disk::locked(core.disk(), |disk| change(disk.faults())))
}

/// Changes what connections of the running world are like that are made from now on.
pub fn set_lines(lines: Lines) {
    with_core(|core| core.network().lines = lines);
}

fn with_core<R>(f: impl FnOnce(&Core) -> R) -> R {
    match local::get().as_deref() {
        Some(Local::World(core)) => f(core),
        Some(Local::Reactor(_)) | None => panic!("only inside `World::run`"),
    }
}

#[cfg(test)]
mod tests;
