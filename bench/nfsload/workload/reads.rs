//! READ, sequential or random, of files whose content is known.

use crate::{
    engine::{Done, Lane, Workload},
    nfs3::{self, Fault, Handle, procedure},
    pattern::{Pattern, Rng},
    xdr::Reader,
};

/// Of so many reads one is checked in every byte, the others in a word of each page.
const CHECK_ALL_EVERY: u64 = 64;

pub(super) struct Read {
    files: Vec<(Handle, Pattern)>,
    file_bytes: u64,
    len: u32,
    /// `None` reads in order.
    rng: Option<Rng>,
    /// Of each file.
    next: Vec<u64>,
    /// Of each lane, which grow as lanes are seen.
    asked: Vec<u64>,
    replies: u64,
}

impl Read {
    pub(super) fn new(
        files: Vec<(Handle, Pattern)>,
        file_bytes: u64,
        len: u32,
        is_random: bool,
        seed: u64,
    ) -> Self {
        let next = vec![0; files.len()];
        let rng = is_random.then_some(Rng(seed));
        Self { files, file_bytes, len, rng, next, asked: Vec::new(), replies: 0 }
    }
}

impl Workload for Read {
    fn call(&mut self, lane: Lane, stop: bool, out: &mut Vec<u8>) -> Option<u32> {
        if stop {
            return None;
        }
        let file = lane.connection % self.files.len();
        let len = u64::from(self.len);
        let offset = match &mut self.rng {
            Some(rng) => rng.below(self.file_bytes / len) * len,
            None => {
                let offset = self.next[file];
                self.next[file] = (offset + len) % self.file_bytes;
                offset
            }
        };
        self.asked.resize(self.asked.len().max(lane.number + 1), 0);
        self.asked[lane.number] = offset;
        nfs3::read(out, &self.files[file].0, offset, self.len);
        Some(procedure::READ)
    }

    fn reply(&mut self, lane: Lane, mut reply: Reader<'_>) -> Result<Done, Fault> {
        let data = nfs3::was_read(&mut reply, self.len)?;
        let (_, pattern) = self.files[lane.connection % self.files.len()];
        let every = self.replies.is_multiple_of(CHECK_ALL_EVERY);
        self.replies += 1;
        if pattern.holds(self.asked[lane.number], data, every) {
            Ok(Done { ops: 1, bytes: u64::from(self.len) })
        } else {
            Err(Fault::Wrong("other bytes than written"))
        }
    }
}
