//! Payloads of records found at the start: compared with their checksums when they are needed, not
//! before, so that a start takes as long as the index, not as the data.
//!
//! Invariant: a payload that nobody has compared is never given to a reader or to the content
//! store; whoever holds an [`Unchecked`] sees to it.

use std::{cell::Cell, fmt, io, path::PathBuf, rc::Rc};

use reactor::{file::File, thread};
use vocab::Error;

use crate::{
    format::payload_xxh3,
    log::{Segment, segment_name},
};

/// The payload of a record that had been synced before the start. What is cut from it shares it.
pub struct Unchecked {
    payload: Payload,
    state: Cell<State>,
}

/// What is known of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    Unknown,
    /// It is what was written.
    Sound,
    /// It is not, or cannot be read.
    Damaged,
}

/// Where it lies, and what it should be.
#[derive(Clone)]
struct Payload {
    file: File,
    path: PathBuf,
    /// Of the record.
    at: u64,
    start: u64,
    len: usize,
    sequence: u64,
    xxh3: u64,
}

impl Unchecked {
    /// The payload `start..start + len` of a segment, of the record at `at`.
    pub(crate) fn new(
        dir: &std::path::Path,
        segment: &Segment,
        (at, start, len): (u64, u64, usize),
        (sequence, xxh3): (u64, u64),
    ) -> Self {
        let path = dir.join(segment_name(segment.number));
        let file = segment.file.clone();
        let payload = Payload { file, path, at, start, len, sequence, xxh3 };
        Self { payload, state: Cell::new(State::Unknown) }
    }

    /// Looks now, at the start. Blocking.
    pub(crate) fn is_sound(&self) -> io::Result<bool> {
        self.payload.is_sound()
    }

    /// What is known of it.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.get()
    }
}

/// Compares payloads, off the reactor. Gives those that are damaged, with what to tell the
/// operator; each of them is given once.
///
/// # Errors
/// `Busy` when there is no thread to do it.
pub async fn check(records: &[Rc<Unchecked>]) -> Result<Vec<(Rc<Unchecked>, String)>, Error> {
    let payloads: Vec<Payload> = records.iter().map(|record| record.payload.clone()).collect();
    let verdicts = move || payloads.iter().map(Payload::check).collect::<Vec<_>>();
    let verdicts = thread::offload("log-check", verdicts).map_err(|_| Error::Busy)?;
    let verdicts = verdicts.await.map_err(|_| Error::Stopping)?;
    let mut damaged = Vec::new();
    for (record, verdict) in records.iter().zip(verdicts) {
        let state = if verdict.is_ok() { State::Sound } else { State::Damaged };
        let before = record.state.replace(state);
        if let Err(words) = verdict
            && before == State::Unknown
        {
            damaged.push((Rc::clone(record), words));
        }
    }
    Ok(damaged)
}

impl Payload {
    fn is_sound(&self) -> io::Result<bool> {
        let mut bytes = vec![0; self.len];
        self.file.read_exact_at(&mut bytes, self.start)?;
        Ok(payload_xxh3(&bytes, self.sequence) == self.xxh3)
    }

    fn check(&self) -> Result<(), String> {
        let why = match self.is_sound() {
            Ok(true) => return Ok(()),
            Ok(false) => "its bytes are not those that were written".to_owned(),
            Err(error) => error.to_string(),
        };
        let Self { path, at, sequence, .. } = self;
        let path = path.display();
        Err(format!(
            "{path}: damaged at offset {at}: record {sequence} had been synced and is lost: {why}"
        ))
    }
}

impl fmt::Debug for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Payload { path, at, .. } = &self.payload;
        write!(f, "Unchecked({} at {at}, {:?})", path.display(), self.state.get())
    }
}
