//! Room in the log: promises to appends, segments made ahead of need, segments used again.
//!
//! Invariant: `closed + current + promised <= segments_max`, so that a record that was given a
//! place finds a segment: the spare, a free one, or a new file. A full disk breaks that; then the
//! record waits until a segment is freed.

use std::{
    cell::Cell,
    rc::{Rc, Weak},
    time::Duration,
};

use reactor::file::File;
use vocab::Error;

use crate::{
    append::payload_bytes_max,
    format::{Entry, SEGMENT_HEADER_BYTES, STATE_CLOSED, STATE_OPEN, record_bytes},
    log::{Log, SYNCS_MAX, Segment, State, segment_name},
};

/// Segments that may be given to records before they are current: bounds what waits in memory.
const PROMISED_MAX: usize = 2;
/// How often it is looked whether views were dropped, while somebody waits for that.
const ROOM_POLL: Duration = Duration::from_millis(5);
/// A log that nobody appends to for so long notes what is durable.
const NOTE_PAUSE: Duration = Duration::from_secs(1);
/// How often a log that found the disk full looks for room.
const GROW_PAUSE: Duration = Duration::from_secs(10);

/// Gives a record its room; true when it begins a segment.
pub(crate) fn reserve(log: &Log, cost: u64) -> Result<bool, Error> {
    let mut state = log.state.borrow_mut();
    if !has_room(&mut state, cost) {
        return Err(Error::Busy);
    }
    if cost <= state.room {
        state.room -= cost;
        return Ok(false);
    }
    state.promised += 1;
    state.room = log.segment_bytes - SEGMENT_HEADER_BYTES - cost;
    Ok(true)
}

/// See [`crate::Wal::wait_room`].
pub(crate) async fn wait_room(log: &Log) {
    let cost = record_bytes(payload_bytes_max(log));
    loop {
        {
            let mut state = log.state.borrow_mut();
            if state.failed || has_room(&mut state, cost) {
                return;
            }
        }
        reactor::sleep(ROOM_POLL).await;
    }
}

/// See [`crate::Wal::bytes_live`].
pub(crate) fn bytes_live(log: &Log) -> u64 {
    let mut state = log.state.borrow_mut();
    reclaim(&mut state);
    state.closed.len() as u64 * log.segment_bytes + state.current_at
}

/// Has a spare made, unless there is one or somebody is at it.
pub(crate) fn prepare_soon(log: &Rc<Log>) {
    let mut state = log.state.borrow_mut();
    if state.spare.is_none() && !std::mem::replace(&mut state.preparing, true) {
        reactor::spawn(prepare(log.clone()));
    }
}

/// A new file of the log, all zeroes, or one that has been used before.
pub(crate) async fn make(
    log_dir: &std::path::Path,
    number: u32,
    bytes: u64,
) -> std::io::Result<Segment> {
    let path = log_dir.join(segment_name(number));
    let file = File::create_zeroed(&path, bytes).await?;
    segment(&path, file, number, bytes)
}

pub(crate) fn segment(
    path: &std::path::Path,
    file: File,
    number: u32,
    bytes: u64,
) -> std::io::Result<Segment> {
    let map = file.map(usize::try_from(bytes).expect("a segment fits the address space"))?;
    let mut syncs = [const { None }; SYNCS_MAX];
    for one in &mut syncs {
        *one = Some(File::open(path, false)?);
    }
    let syncs = syncs.map(|one| one.expect("just opened"));
    Ok(Segment { number, generation: Cell::new(0), file, syncs, map })
}

/// The manifest's entry of a segment.
pub(crate) fn entry(segment: &Segment, state: u32, first: u64, last: u64) -> Entry {
    Entry {
        number: segment.number.into(),
        state: state.into(),
        generation: segment.generation.get().into(),
        first: first.into(),
        last: last.into(),
    }
}

fn has_room(state: &mut State, cost: u64) -> bool {
    if cost <= state.room {
        return true;
    }
    if state.promised >= PROMISED_MAX {
        return false;
    }
    let fits = |state: &State| state.closed.len() + 1 + state.promised < state.segments_max;
    fits(state) || {
        reclaim(state);
        fits(state)
    }
}

/// Frees the closed segments of which nobody holds a view.
fn reclaim(state: &mut State) {
    let (unused, used): (Vec<_>, Vec<_>) =
        std::mem::take(&mut state.closed).into_iter().partition(|one| one.segment.map.is_unique());
    state.closed = used;
    state.free.extend(unused.into_iter().map(|one| one.segment));
}

/// Makes a spare. Ends without one when there is no room and nobody needs it.
async fn prepare(log: Rc<Log>) {
    loop {
        let (over, needed) = {
            let state = log.state.borrow();
            (state.failed || state.closing || state.spare.is_some(), state.promised > 0)
        };
        if over {
            break;
        }
        if let Some(segment) = find(&log).await {
            if list(&log, &segment).await.is_ok() {
                log.state.borrow_mut().spare = Some(segment);
            }
        } else if needed {
            reactor::sleep(ROOM_POLL).await;
        } else {
            break;
        }
    }
    log.state.borrow_mut().preparing = false;
    log.changed.wake();
}

/// A segment that nobody needs, or a new one.
async fn find(log: &Rc<Log>) -> Option<Rc<Segment>> {
    let number = {
        let mut state = log.state.borrow_mut();
        reclaim(&mut state);
        if let Some(segment) = state.free.pop() {
            return Some(segment);
        }
        if state.segments >= state.segments_max {
            return None;
        }
        u32::try_from(state.segments).expect("a few thousand at most")
    };
    match make(&log.dir, number, log.segment_bytes).await {
        Ok(segment) => {
            log.state.borrow_mut().segments += 1;
            Some(Rc::new(segment))
        }
        Err(cause) => {
            let mut state = log.state.borrow_mut();
            state.segments_max = state.segments.max(1);
            trace::error!(
                "the log of slice {} cannot grow beyond {} segments: {cause}. Writes wait for \
                 uploads. Make room in {}, and it grows again by itself",
                log.slice.0,
                state.segments,
                log.dir.display()
            );
            drop(state);
            grow_soon(log);
            None
        }
    }
}

/// Has it looked again and again whether a log that is smaller than it may be can grow.
fn grow_soon(log: &Rc<Log>) {
    reactor::spawn(grow(Rc::downgrade(log)));
}

async fn grow(log: Weak<Log>) {
    loop {
        reactor::sleep(GROW_PAUSE).await;
        let Some(log) = log.upgrade() else { return };
        let number = {
            let mut state = log.state.borrow_mut();
            if state.failed || state.closing {
                return;
            }
            state.growing = true;
            // Nobody else makes segments while there may be no more.
            u32::try_from(state.segments).expect("a few thousand at most")
        };
        let made = make(&log.dir, number, log.segment_bytes).await;
        let mut state = log.state.borrow_mut();
        state.growing = false;
        let is_made = made.is_ok();
        if let Ok(segment) = made {
            state.segments += 1;
            state.segments_max = state.segments_limit;
            state.free.push(Rc::new(segment));
            trace::info!("the log of slice {} grows again", log.slice.0);
        }
        drop(state);
        log.changed.wake();
        if is_made {
            return;
        }
    }
}

/// Lists a segment as the spare: from then on it may be overwritten.
async fn list(log: &Log, spare: &Segment) -> Result<(), Error> {
    // What is listed as closed is durable.
    let full: Vec<Rc<Segment>> = {
        let state = log.state.borrow();
        let full = state.closed.iter().filter(|one| !one.durable);
        full.map(|one| one.segment.clone()).collect()
    };
    log.sync_segments(&full).await?;
    spare.generation.set(log.manifest.take_generation());
    // Without a spare no segment was closed meanwhile.
    log.state.borrow_mut().closed.iter_mut().for_each(|one| one.durable = true);
    write_manifest(log, Some(spare)).await
}

/// Notes in the manifest what is durable, so that damage to it is never taken for a torn tail. Of a
/// log that is synced and takes no more.
pub(crate) async fn note_durable(log: &Log) -> Result<(), Error> {
    let spare = log.state.borrow().spare.clone();
    {
        let mut state = log.state.borrow_mut();
        assert!(state.closing && state.durable == state.appended(), "all is synced");
        state.closed.iter_mut().for_each(|one| one.durable = true);
    }
    write_manifest(log, spare.as_deref()).await
}

/// Has what is durable noted in the manifest, once nobody has appended for a while: until then, and
/// only then, the headers of later records say it.
pub(crate) fn note_soon(log: &Rc<Log>) {
    if !std::mem::replace(&mut log.state.borrow_mut().note_planned, true) {
        reactor::spawn(note(Rc::downgrade(log)));
    }
}

async fn note(log: Weak<Log>) {
    let mut seen = 0;
    loop {
        reactor::sleep(NOTE_PAUSE).await;
        let Some(log) = log.upgrade() else { return };
        {
            let mut state = log.state.borrow_mut();
            if state.failed || state.closing || state.noted == state.durable {
                state.note_planned = false;
                return;
            }
            if std::mem::replace(&mut seen, state.sequence_next) != state.sequence_next {
                continue;
            }
            state.noting = true;
        }
        {
            let _turn = log.noters.wait().await;
            // Without a spare one is being made, or waited for; it will be listed.
            let spare = log.state.borrow().spare.clone();
            if let Some(spare) = spare {
                // A failure has been said, and ends the log.
                write_listed(&log, Some(&spare)).await.ok();
            }
        }
        log.state.borrow_mut().noting = false;
        log.changed.wake();
    }
}

async fn write_manifest(log: &Log, spare: Option<&Segment>) -> Result<(), Error> {
    let _turn = log.noters.wait().await;
    write_listed(log, spare).await
}

/// Writes the manifest as things are now. The caller has the turn, so that a later one is newer.
async fn write_listed(log: &Log, spare: Option<&Segment>) -> Result<(), Error> {
    let (entries, sequence_next, durable) = {
        let state = log.state.borrow();
        let mut entries = Vec::with_capacity(state.closed.len() + 2);
        for one in &state.closed {
            assert!(one.durable, "closed means durable");
            entries.push(entry(&one.segment, STATE_CLOSED, one.first, one.last));
        }
        entries.push(entry(&state.current, STATE_OPEN, state.current_first, 0));
        entries.extend(spare.map(|spare| entry(spare, STATE_OPEN, 0, 0)));
        (entries, state.sequence_next, state.durable)
    };
    if let Err(cause) = log.manifest.write(&entries, sequence_next, durable).await {
        log.fail("a write to the manifest", &cause);
        return Err(Error::SyncFailed);
    }
    let mut state = log.state.borrow_mut();
    state.noted = durable;
    if state.failed { Err(Error::SyncFailed) } else { Ok(()) }
}
