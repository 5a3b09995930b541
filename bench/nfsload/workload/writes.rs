//! WRITE, sequential or random, with COMMIT now and then, and reading back what was committed.

use std::time::{Duration, Instant};

use crate::{
    client::{Client, Error},
    engine::{Done, Lane, Workload},
    nfs3::{self, Fault, Handle, Stable, procedure},
    pattern::{Pattern, Rng},
    stats::Stats,
    xdr::Reader,
};

/// Pieces read back of each file.
const READ_BACK: usize = 256;

pub(super) struct Write {
    len: u32,
    stable: Stable,
    /// `None` writes in order.
    rng: Option<Rng>,
    commit_every: Option<u32>,
    is_once: bool,
    files: Vec<Target>,
    lanes: Vec<Call>,
}

/// A file being written.
struct Target {
    handle: Handle,
    pattern: Pattern,
    file_bytes: u64,
    next: u64,
    since_commit: u32,
    verifier: Option<u64>,
    /// How often writing in order has begun again.
    lap: u32,
    /// For each piece the lap of its last answered WRITE, counted from 1; 0 if there was none.
    written: Vec<u32>,
}

#[derive(Clone, Copy)]
enum Call {
    Write { offset: u64, lap: u32 },
    Commit,
}

impl Write {
    pub(super) fn sequential(len: u32, commit_every: Option<u32>) -> Self {
        Self {
            len,
            stable: Stable::Unstable,
            rng: None,
            commit_every,
            is_once: false,
            files: Vec::new(),
            lanes: Vec::new(),
        }
    }

    pub(super) fn random(len: u32, stable: Stable, commit_every: Option<u32>) -> Self {
        Self { stable, rng: Some(Rng(0)), ..Self::sequential(len, commit_every) }
    }

    /// Ends when the files are full, instead of beginning again.
    pub(super) fn once(self) -> Self {
        Self { is_once: true, ..self }
    }

    pub(super) fn is_random(&self) -> bool {
        self.rng.is_some()
    }

    /// Which files to write with what, before a run.
    pub(super) fn start(&mut self, files: &[(Handle, Pattern)], file_bytes: u64, lanes: usize) {
        let pieces = usize::try_from(file_bytes / u64::from(self.len)).expect("fits memory");
        let target = |(handle, pattern): &(Handle, Pattern)| Target {
            handle: handle.clone(),
            pattern: *pattern,
            file_bytes,
            next: 0,
            since_commit: 0,
            verifier: None,
            lap: 1,
            written: vec![0; pieces],
        };
        self.files = files.iter().map(target).collect();
        self.lanes = vec![Call::Commit; lanes];
        self.rng = self.rng.take().map(|_| Rng(files[0].1.0));
    }

    /// Commits what is left; how long that took.
    pub(super) fn finish(&mut self, client: &mut Client) -> Result<Duration, Error> {
        let start = Instant::now();
        for file in self.files.iter_mut().filter(|_| self.stable == Stable::Unstable) {
            let verifier = client.commit(&file.handle)?;
            file.judge(verifier).map_err(|fault| Error::Fault("COMMIT", fault))?;
        }
        Ok(start.elapsed())
    }

    /// Reads some of what was written, and of what was there before.
    pub(super) fn read_back(
        &self,
        client: &mut Client,
        before: &[(Handle, Pattern)],
        rng: &mut Rng,
        stats: &mut Stats,
    ) -> Result<(), Error> {
        for (file, (_, before)) in self.files.iter().zip(before) {
            let written = file.written.iter().filter(|&&lap| lap > 0).count();
            if written == 0 {
                stats.fail(Fault::Wrong("nothing was written"));
            }
            for _ in 0..READ_BACK {
                let piece = rng.below(file.written.len() as u64);
                let pattern = match file.written[usize::try_from(piece).expect("an index")] {
                    0 if self.is_random() => *before,
                    // Not reached.
                    0 => continue,
                    lap => file.pattern.lap(lap),
                };
                let offset = piece * u64::from(self.len);
                let data = client.read(&file.handle, offset, self.len)?;
                if !pattern.holds(offset, &data, true) {
                    stats.fail(Fault::Wrong("other bytes than committed"));
                }
            }
        }
        Ok(())
    }
}

impl Target {
    /// A verifier that changes says that unstable writes may be lost; nobody restarted the server.
    fn judge(&mut self, verifier: u64) -> Result<(), Fault> {
        match self.verifier.replace(verifier) {
            Some(before) if before != verifier => Err(Fault::Wrong("the verifier changed")),
            _ => Ok(()),
        }
    }
}

impl Workload for Write {
    fn call(&mut self, lane: Lane, stop: bool, out: &mut Vec<u8>) -> Option<u32> {
        if stop {
            return None;
        }
        let count = self.files.len();
        let file = &mut self.files[lane.connection % count];
        if self.commit_every.is_some_and(|every| file.since_commit >= every) {
            file.since_commit = 0;
            self.lanes[lane.number] = Call::Commit;
            nfs3::commit(out, &file.handle);
            return Some(procedure::COMMIT);
        }
        let len = u64::from(self.len);
        let offset = match &mut self.rng {
            Some(rng) => rng.below(file.file_bytes / len) * len,
            None if file.next == file.file_bytes && self.is_once => return None,
            None => {
                if file.next == file.file_bytes {
                    file.next = 0;
                    file.lap += 1;
                }
                file.next += len;
                file.next - len
            }
        };
        file.since_commit += 1;
        self.lanes[lane.number] = Call::Write { offset, lap: file.lap };
        let pattern = file.pattern.lap(file.lap);
        nfs3::write(out, &file.handle, offset, self.len, self.stable, |data| {
            pattern.fill(offset, data);
        });
        Some(procedure::WRITE)
    }

    fn reply(&mut self, lane: Lane, mut reply: Reader<'_>) -> Result<Done, Fault> {
        let count = self.files.len();
        let file = &mut self.files[lane.connection % count];
        match self.lanes[lane.number] {
            Call::Commit => {
                file.judge(nfs3::committed(&mut reply)?)?;
                Ok(Done { ops: 0, bytes: 0 })
            }
            Call::Write { offset, lap } => {
                file.judge(nfs3::written(&mut reply, self.len, self.stable)?)?;
                let piece = usize::try_from(offset / u64::from(self.len)).expect("an index");
                file.written[piece] = lap;
                Ok(Done { ops: 1, bytes: u64::from(self.len) })
            }
        }
    }
}
