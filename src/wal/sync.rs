//! Group commit: one `fdatasync` for all who wait, and the evidence that it succeeded.
//!
//! A sync covers what was written before it began. Who asks while one runs shares the next one,
//! which need not wait for the first to end; but what it covers counts as durable only when all
//! before it does.

use std::rc::Rc;

use vocab::{
    Error,
    durable::{Durable, Grade},
};

use crate::{
    log::{Log, SYNCS_MAX, State, Sync},
    segments,
};

/// See [`crate::Wal::sync`].
pub(crate) async fn sync(log: &Rc<Log>) -> Result<Durable, Error> {
    let target = log.state.borrow().appended();
    let begin = {
        let mut state = log.state.borrow_mut();
        state.sync_wanted = state.sync_wanted.max(target);
        let is_needed = !state.failed && state.begun() < target && state.syncing < SYNCS_MAX;
        state.syncing += usize::from(is_needed);
        is_needed
    };
    if begin {
        reactor::spawn(commit(log.clone()));
    }
    log.until(|state| {
        if state.failed {
            return Some(Err(Error::SyncFailed));
        }
        // The kernel has said so for every segment that holds these records.
        let covered = state.durable >= target;
        covered.then(|| Ok(Durable::attest(log.verifier, Grade::Local)))
    })
    .await
}

/// See [`crate::Wal::written`].
pub(crate) async fn written(log: &Rc<Log>) -> Result<Durable, Error> {
    let target = log.state.borrow().appended();
    log.until(|state| {
        if state.failed {
            return Some(Err(Error::SyncFailed));
        }
        let covered = state.written >= target;
        covered.then(|| Ok(Durable::attest(log.verifier, Grade::Writeback)))
    })
    .await
}

/// Syncs until all who wait are served, or will be by a sync that is under way.
async fn commit(log: Rc<Log>) {
    loop {
        let target = log.state.borrow().appended();
        log.until(|state| (state.written >= target || state.failed).then_some(())).await;
        let (through, dirty) = {
            let mut state = log.state.borrow_mut();
            if state.failed || state.begun() >= state.written {
                break;
            }
            let (through, bytes) = (state.written, state.bytes_written);
            state.under_way.push_back(Sync { through, bytes, is_done: false });
            (through, std::mem::take(&mut state.dirty))
        };
        if log.sync_segments(&dirty).await.is_err() {
            break;
        }
        let is_last = {
            let mut state = log.state.borrow_mut();
            state.done(through);
            state.sync_wanted <= state.begun()
        };
        log.changed.wake();
        segments::note_soon(&log);
        if is_last {
            break;
        }
    }
    log.state.borrow_mut().syncing -= 1;
    log.changed.wake();
}

impl State {
    /// The last record that is durable, or that a sync under way covers.
    fn begun(&self) -> u64 {
        self.under_way.back().map_or(self.durable, |last| last.through)
    }

    /// The sync up to here succeeded.
    fn done(&mut self, through: u64) {
        let mut all = self.under_way.iter_mut();
        all.find(|one| one.through == through).expect("it was under way").is_done = true;
        while let Some(first) = self.under_way.pop_front_if(|first| first.is_done) {
            self.durable = first.through;
            self.bytes_durable = first.bytes;
        }
    }
}
