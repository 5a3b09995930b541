//! Group commit: one `fdatasync` for all who wait, and the evidence that it succeeded.
//!
//! A sync covers what was written before it began. Who asks while one runs shares the next one.

use std::rc::Rc;

use vocab::{
    Error,
    durable::{Durable, Grade},
};

use crate::{log::Log, segments};

/// See [`crate::Wal::sync`].
pub(crate) async fn sync(log: &Rc<Log>) -> Result<Durable, Error> {
    let target = log.state.borrow().appended();
    let begin = {
        let mut state = log.state.borrow_mut();
        state.sync_wanted = state.sync_wanted.max(target);
        let needed = !state.failed && state.durable < target;
        needed && !std::mem::replace(&mut state.syncing, true)
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

/// Syncs until all who wait are served. One runs at a time.
async fn commit(log: Rc<Log>) {
    loop {
        let target = log.state.borrow().appended();
        log.until(|state| (state.written >= target || state.failed).then_some(())).await;
        let (through, bytes, dirty) = {
            let mut state = log.state.borrow_mut();
            if state.failed || state.durable >= state.written {
                break;
            }
            (state.written, state.bytes_written, std::mem::take(&mut state.dirty))
        };
        if log.sync_segments(&dirty).await.is_err() {
            break;
        }
        let mut state = log.state.borrow_mut();
        state.durable = through;
        state.bytes_durable = bytes;
        let is_last = state.sync_wanted <= through;
        drop(state);
        log.changed.wake();
        segments::note_soon(&log);
        if is_last {
            break;
        }
    }
    log.state.borrow_mut().syncing = false;
    log.changed.wake();
}
