//! What the calling thread is: a reactor, a simulated world, or a plain thread.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    os::fd::RawFd,
    rc::Rc,
    task::Waker,
};

use crate::{mailbox::Remote, sim::world::Core, sys::ring::Ring};

thread_local! {
    static LOCAL: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

/// The driver of this thread.
pub(crate) enum Local {
    /// A reactor.
    Reactor(Reactor),
    /// A simulated machine.
    World(Rc<Core>),
}

/// What belongs to one reactor's thread.
pub(crate) struct Reactor {
    /// Its own address.
    pub(crate) remote: Remote,
    /// Who waits here for a oneshot.
    pub(crate) wakers: RefCell<Wakers>,
    /// The ring for files.
    pub(crate) ring: Ring,
    /// Sockets that live here, so that a stop can end them.
    pub(crate) sockets: RefCell<BTreeSet<RawFd>>,
    /// A stop was asked for.
    pub(crate) stopping: Cell<bool>,
}

/// The driver of this thread, if it has one.
pub(crate) fn get() -> Option<Rc<Local>> {
    LOCAL.try_with(|local| local.borrow().clone()).ok().flatten()
}

/// Makes this thread something else, and says what it was.
pub(crate) fn replace(local: Option<Rc<Local>>) -> Option<Rc<Local>> {
    LOCAL.with(|cell| cell.replace(local))
}

/// Calls with the reactor of this thread, if it is one.
pub(crate) fn with_reactor<R>(f: impl FnOnce(&Reactor) -> R) -> Option<R> {
    match get().as_deref() {
        Some(Local::Reactor(reactor)) => Some(f(reactor)),
        Some(Local::World(_)) | None => None,
    }
}

/// Names a waker of this thread to other threads. Used once: a later entry in the same place has
/// another generation, so a late message does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    place: u32,
    generation: u32,
}

/// The wakers of one reactor. They never leave its thread.
#[derive(Default)]
pub(crate) struct Wakers {
    entries: Vec<(u32, Option<Waker>)>,
    free: Vec<u32>,
}

impl Wakers {
    pub(crate) fn insert(&mut self, waker: Waker) -> Token {
        if let Some(place) = self.free.pop() {
            let entry = &mut self.entries[place as usize];
            entry.1 = Some(waker);
            return Token { place, generation: entry.0 };
        }
        let place = u32::try_from(self.entries.len()).expect("fewer waiters than 2^32");
        self.entries.push((0, Some(waker)));
        Token { place, generation: 0 }
    }

    /// Puts a newer waker in the place of an older one; false when the entry is used up.
    pub(crate) fn refresh(&mut self, token: Token, waker: &Waker) -> bool {
        match self.entries.get_mut(token.place as usize) {
            Some((generation, Some(old))) if *generation == token.generation => {
                old.clone_from(waker);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn take(&mut self, token: Token) -> Option<Waker> {
        let entry = self.entries.get_mut(token.place as usize)?;
        if entry.0 != token.generation {
            return None;
        }
        let waker = entry.1.take()?;
        entry.0 = entry.0.wrapping_add(1);
        self.free.push(token.place);
        Some(waker)
    }

    /// All wakers, for the end of the thread.
    pub(crate) fn take_all(&mut self) -> Vec<Waker> {
        let places = 0..u32::try_from(self.entries.len()).expect("fewer waiters than 2^32");
        let tokens: Vec<Token> = places
            .map(|place| Token { place, generation: self.entries[place as usize].0 })
            .collect();
        tokens.into_iter().filter_map(|token| self.take(token)).collect()
    }
}
