//! A ring for files, beside the one for sockets: writes and syncs in batches, owned buffers.
//!
//! An operation owns its buffers and its file until its completion was seen, also when the future
//! that waits for it is dropped. Completions ring the reactor's bell (a registered eventfd); the
//! reactor then calls [`Ring::reap`].
#![expect(unsafe_code, reason = "entries for the kernel")]

use std::{
    cell::RefCell,
    fs::File,
    future::Future,
    io,
    os::fd::{AsRawFd, OwnedFd},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use io_uring::{IoUring, opcode, squeue, types};

use super::buffer::Gather;
use crate::thread;

const ENTRIES: u32 = 256;
/// Kernel threads for one reactor's file operations. Writes to one file are serialised anyway.
const WORKERS_MAX: u32 = 4;

/// What an operation needs until it is complete.
pub(crate) enum Work {
    /// Writes a window of parts at an offset.
    Write { file: Arc<File>, parts: Gather, offset: u64 },
    /// `fdatasync`.
    SyncData { file: Arc<File> },
}

/// The ring of one reactor.
pub(crate) struct Ring(Rc<RefCell<Inner>>);

struct Inner {
    ring: IoUring,
    slots: Vec<Slot>,
    free: Vec<usize>,
}

enum Slot {
    Free,
    Pending { work: Work, waker: Option<Waker>, wanted: bool },
    Done { work: Work, result: i32 },
}

impl Ring {
    /// A ring that rings the bell at each completion. Its kernel threads stay off the reactor's
    /// core when there is another one.
    pub(crate) fn new(bell: &OwnedFd, core: Option<usize>) -> io::Result<Self> {
        let ring = IoUring::new(ENTRIES)?;
        ring.submitter().register_eventfd(bell.as_raw_fd())?;
        // Both are matters of speed only, and old kernels lack them.
        drop(ring.submitter().register_iowq_max_workers(&mut [WORKERS_MAX, WORKERS_MAX]));
        let others: Vec<usize> =
            thread::cores().into_iter().filter(|&other| Some(other) != core).collect();
        if core.is_some() && !others.is_empty() {
            drop(ring.submitter().register_iowq_aff(&core_set(&others)));
        }
        let inner = Inner { ring, slots: Vec::new(), free: Vec::new() };
        Ok(Self(Rc::new(RefCell::new(inner))))
    }

    /// Hands work to the kernel. The future gives it back with the result.
    pub(crate) fn submit(&self, work: Work) -> Operation {
        let mut inner = self.0.borrow_mut();
        let place = inner.free.pop().unwrap_or_else(|| {
            inner.slots.push(Slot::Free);
            inner.slots.len() - 1
        });
        inner.slots[place] = Slot::Pending { work, waker: None, wanted: true };
        let Slot::Pending { work, .. } = &inner.slots[place] else { unreachable!("just set") };
        let entry = entry(work).user_data(place as u64);
        inner.push(&entry);
        Operation { inner: self.0.clone(), place, taken: false }
    }

    /// Collects completions and wakes who waits for them.
    pub(crate) fn reap(&self) {
        let wakers = self.0.borrow_mut().reap();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Operations that the kernel has not completed.
    pub(crate) fn in_flight(&self) -> usize {
        let inner = self.0.borrow();
        inner.slots.iter().filter(|slot| matches!(slot, Slot::Pending { .. })).count()
    }
}

impl Inner {
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: what the entry points to is in its slot, on the heap, until its completion.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                break;
            }
            self.submit();
        }
        self.submit();
    }

    fn submit(&self) {
        loop {
            match self.ring.submit() {
                Ok(_) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Out of memory or of workers for the moment: the entries stay queued.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) => {}
                Err(error) => panic!("the ring for files broke: {error}"),
            }
        }
    }

    fn reap(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let Self { ring, slots, free } = self;
        for completion in ring.completion() {
            let place = usize::try_from(completion.user_data()).expect("a place of ours");
            match std::mem::replace(&mut slots[place], Slot::Free) {
                Slot::Pending { work, waker, wanted: true } => {
                    slots[place] = Slot::Done { work, result: completion.result() };
                    wakers.extend(waker);
                }
                Slot::Pending { wanted: false, .. } => free.push(place),
                Slot::Free | Slot::Done { .. } => unreachable!("completed twice"),
            }
        }
        wakers
    }
}

/// An operation on its way. Gives the work back with the bytes done.
pub(crate) struct Operation {
    inner: Rc<RefCell<Inner>>,
    place: usize,
    taken: bool,
}

impl Future for Operation {
    type Output = (io::Result<usize>, Work);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut inner = self.inner.borrow_mut();
        match std::mem::replace(&mut inner.slots[self.place], Slot::Free) {
            Slot::Done { work, result } => {
                let place = self.place;
                inner.free.push(place);
                drop(inner);
                self.taken = true;
                let result =
                    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                Poll::Ready((result, work))
            }
            Slot::Pending { work, wanted, .. } => {
                let waker = Some(context.waker().clone());
                inner.slots[self.place] = Slot::Pending { work, waker, wanted };
                Poll::Pending
            }
            Slot::Free => unreachable!("polled after its end"),
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut inner = self.inner.borrow_mut();
        match &mut inner.slots[self.place] {
            Slot::Pending { wanted, .. } => *wanted = false,
            slot @ Slot::Done { .. } => {
                *slot = Slot::Free;
                let place = self.place;
                inner.free.push(place);
            }
            Slot::Free => unreachable!("ended twice"),
        }
    }
}

fn entry(work: &Work) -> squeue::Entry {
    match work {
        Work::Write { file, parts, offset } => {
            let (first, count) = parts.window();
            let count = u32::try_from(count).expect("at most PARTS_MAX");
            opcode::Writev::new(types::Fd(file.as_raw_fd()), first, count).offset(*offset).build()
        }
        Work::SyncData { file } => opcode::Fsync::new(types::Fd(file.as_raw_fd()))
            .flags(types::FsyncFlags::DATASYNC)
            .build(),
    }
}

fn core_set(cores: &[usize]) -> libc::cpu_set_t {
    // SAFETY: a set of bits; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores {
        // SAFETY: the kernel named the core, so it lies within the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    set
}
