//! Calls about names and attributes: making files, looking at them, removing them.

use crate::{
    client::{Client, Error},
    engine::{Done, Lane, Workload},
    nfs3::{self, Fault, Handle, Stable, procedure},
    pattern::{Pattern, Rng},
    stats::Stats,
    xdr::{Reader, Write},
};

/// Bytes of a new file.
const SMALL_BYTES: u32 = 4096;
/// New files that are read back.
const READ_BACK: usize = 64;

/// Makes files: empty ones up to a number, or small ones for as long as it is told.
pub(super) struct Create {
    /// A lane makes its files in its connection's.
    dirs: Vec<Handle>,
    /// `None` makes empty files.
    pattern: Option<Pattern>,
    end: u32,
    next: u32,
    lanes: Vec<Step>,
    files: Vec<(u32, Handle)>,
}

/// What a lane waits for, or has just got.
enum Step {
    Idle,
    Creating(u32),
    Created(u32, Handle),
    Writing(u32, Handle),
    Written(u32, Handle, u64),
    Committing(u32, Handle, u64),
}

impl Create {
    pub(super) fn empty(dir: Handle, lanes: usize, count: u32) -> Self {
        Self::new(vec![dir], lanes, count, None)
    }

    pub(super) fn with_data(dirs: Vec<Handle>, lanes: usize, seed: u64) -> Self {
        Self::new(dirs, lanes, u32::MAX, Some(Pattern(seed)))
    }

    fn new(dirs: Vec<Handle>, lanes: usize, end: u32, pattern: Option<Pattern>) -> Self {
        let lanes = (0..lanes).map(|_| Step::Idle).collect();
        Self { dirs, pattern, end, next: 0, lanes, files: Vec::new() }
    }

    /// All files in the order of their numbers, if all were made.
    pub(super) fn into_files(mut self) -> Option<Vec<Handle>> {
        self.files.sort_unstable();
        let is_whole = self.files.len() == self.end as usize;
        is_whole.then(|| self.files.into_iter().map(|(_, file)| file).collect())
    }

    /// Reads some of the new files.
    pub(super) fn read_back(&self, client: &mut Client, stats: &mut Stats) -> Result<(), Error> {
        let stride = (self.files.len() / READ_BACK).max(1);
        for (number, file) in self.files.iter().step_by(stride) {
            let data = client.read(file, 0, SMALL_BYTES)?;
            if !self.small(*number).holds(0, &data, true) {
                stats.fail(Fault::Wrong("other bytes than committed"));
            }
        }
        Ok(())
    }

    fn small(&self, number: u32) -> Pattern {
        let Pattern(seed) = self.pattern.unwrap_or(Pattern(0));
        Pattern(Rng(seed ^ u64::from(number)).next())
    }

    fn finish(&mut self, lane: Lane, number: u32, file: Handle) -> Done {
        self.lanes[lane.number] = Step::Idle;
        self.files.push((number, file));
        Done { ops: 1, bytes: self.pattern.map_or(0, |_| u64::from(SMALL_BYTES)) }
    }
}

impl Workload for Create {
    fn call(&mut self, lane: Lane, stop: bool, out: &mut Vec<u8>) -> Option<u32> {
        match std::mem::replace(&mut self.lanes[lane.number], Step::Idle) {
            Step::Created(number, file) => {
                let pattern = self.small(number);
                let fill = |data: &mut [u8]| pattern.fill(0, data);
                nfs3::write(out, &file, 0, SMALL_BYTES, Stable::Unstable, fill);
                self.lanes[lane.number] = Step::Writing(number, file);
                Some(procedure::WRITE)
            }
            Step::Written(number, file, verifier) => {
                nfs3::commit(out, &file);
                self.lanes[lane.number] = Step::Committing(number, file, verifier);
                Some(procedure::COMMIT)
            }
            Step::Idle | Step::Creating(_) | Step::Writing(..) | Step::Committing(..) => {
                if stop || self.next == self.end {
                    return None;
                }
                let number = self.next;
                self.next += 1;
                let dir = &self.dirs[lane.connection % self.dirs.len()];
                nfs3::create(out, dir, &format!("f{number}"));
                self.lanes[lane.number] = Step::Creating(number);
                Some(procedure::CREATE)
            }
        }
    }

    fn reply(&mut self, lane: Lane, mut reply: Reader<'_>) -> Result<Done, Fault> {
        // A fault leaves the lane idle.
        match std::mem::replace(&mut self.lanes[lane.number], Step::Idle) {
            Step::Creating(number) => {
                let file = nfs3::created(&mut reply)?;
                if self.pattern.is_none() {
                    return Ok(self.finish(lane, number, file));
                }
                self.lanes[lane.number] = Step::Created(number, file);
            }
            Step::Writing(number, file) => {
                let verifier = nfs3::written(&mut reply, SMALL_BYTES, Stable::Unstable)?;
                self.lanes[lane.number] = Step::Written(number, file, verifier);
            }
            Step::Committing(number, file, verifier) => {
                if nfs3::committed(&mut reply)? != verifier {
                    return Err(Fault::Wrong("the verifier changed"));
                }
                return Ok(self.finish(lane, number, file));
            }
            Step::Idle | Step::Created(..) | Step::Written(..) => unreachable!("nothing was asked"),
        }
        Ok(Done { ops: 0, bytes: 0 })
    }
}

/// Looks at files: GETATTR, LOOKUP, ACCESS.
pub(super) struct Mix {
    dir: Handle,
    files: Vec<Handle>,
    rng: Rng,
    /// Of each lane: the procedure and the file.
    asked: Vec<(u32, usize)>,
}

impl Mix {
    pub(super) fn new(dir: Handle, files: Vec<Handle>, seed: u64) -> Self {
        Self { dir, files, rng: Rng(seed), asked: Vec::new() }
    }
}

impl Workload for Mix {
    fn call(&mut self, lane: Lane, stop: bool, out: &mut Vec<u8>) -> Option<u32> {
        if stop {
            return None;
        }
        let random = self.rng.next();
        let file = usize::try_from(random >> 32).expect("32 bits") % self.files.len();
        let procedure = match random % 10 {
            0..5 => procedure::GETATTR,
            5..8 => procedure::LOOKUP,
            _ => procedure::ACCESS,
        };
        if procedure == procedure::LOOKUP {
            out.opaque(&self.dir);
            out.opaque(format!("f{file}").as_bytes());
        } else {
            out.opaque(&self.files[file]);
        }
        if procedure == procedure::ACCESS {
            // READ, LOOKUP, MODIFY, EXTEND, DELETE, EXECUTE.
            out.u32(0x3f);
        }
        self.asked.resize(self.asked.len().max(lane.number + 1), (0, 0));
        self.asked[lane.number] = (procedure, file);
        Some(procedure)
    }

    fn reply(&mut self, lane: Lane, mut reply: Reader<'_>) -> Result<Done, Fault> {
        nfs3::status(&mut reply)?;
        match self.asked[lane.number] {
            (procedure::GETATTR, _) => {
                // ftype3, mode.
                if (reply.u32()?, reply.u32()?) != (1, 0o644) {
                    return Err(Fault::Wrong("other attributes than given"));
                }
            }
            (procedure::LOOKUP, file) => {
                if reply.opaque()? != &*self.files[file] {
                    return Err(Fault::Wrong("another handle than CREATE gave"));
                }
            }
            _ => {
                nfs3::skip_attributes(&mut reply)?;
                // Root may at least read and write.
                if reply.u32()? & 0x0d != 0x0d {
                    return Err(Fault::Wrong("root may not read and write"));
                }
            }
        }
        Ok(Done { ops: 1, bytes: 0 })
    }
}

/// Removes the files `f0`, `f1` and so on.
pub(super) struct Remove {
    dir: Handle,
    count: usize,
    next: usize,
}

impl Remove {
    pub(super) fn new(dir: Handle, count: usize) -> Self {
        Self { dir, count, next: 0 }
    }
}

impl Workload for Remove {
    fn call(&mut self, _lane: Lane, stop: bool, out: &mut Vec<u8>) -> Option<u32> {
        if stop || self.next == self.count {
            return None;
        }
        out.opaque(&self.dir);
        out.opaque(format!("f{}", self.next).as_bytes());
        self.next += 1;
        Some(procedure::REMOVE)
    }

    fn reply(&mut self, _lane: Lane, mut reply: Reader<'_>) -> Result<Done, Fault> {
        nfs3::status(&mut reply)?;
        Ok(Done { ops: 1, bytes: 0 })
    }
}
