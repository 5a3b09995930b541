//! READDIRPLUS through a directory, again and again; every walk must see each file once.

use crate::{
    engine::{Done, Lane, Workload},
    nfs3::{self, Fault, Handle, procedure},
    xdr::{Reader, Write},
};

/// Bytes of names, and of a reply, that a call asks for.
const REPLY_BYTES: u32 = 64 * 1024;

pub(super) struct ReadDir {
    dir: Handle,
    lanes: Vec<Walk>,
    files: usize,
}

/// One lane's way through the directory.
#[derive(Clone)]
struct Walk {
    cookie: u64,
    verifier: u64,
    seen: Vec<bool>,
    count: usize,
}

impl ReadDir {
    pub(super) fn new(dir: Handle, files: usize, lanes: usize) -> Self {
        let walk = Walk { cookie: 0, verifier: 0, seen: vec![false; files], count: 0 };
        Self { dir, lanes: vec![walk; lanes], files }
    }
}

impl Walk {
    fn restart(&mut self) {
        (self.cookie, self.verifier, self.count) = (0, 0, 0);
        self.seen.fill(false);
    }

    /// One reply; entries in it, and whether the directory ends here.
    fn entries(&mut self, reply: &mut Reader<'_>) -> Result<(u64, bool), Fault> {
        nfs3::status(reply)?;
        nfs3::skip_attributes(reply)?;
        self.verifier = reply.u64()?;
        let mut entries = 0;
        while reply.flag()? {
            reply.u64()?;
            let name = reply.opaque()?;
            self.cookie = reply.u64()?;
            nfs3::skip_attributes(reply)?;
            if reply.flag()? {
                reply.opaque()?;
            }
            entries += 1;
            if name != b"." && name != b".." {
                self.see(name)?;
            }
        }
        Ok((entries, reply.flag()?))
    }

    fn see(&mut self, name: &[u8]) -> Result<(), Fault> {
        let number = name.strip_prefix(b"f").and_then(|digits| std::str::from_utf8(digits).ok());
        let number = number.and_then(|digits| digits.parse::<usize>().ok());
        let seen = number.and_then(|number| self.seen.get_mut(number));
        let seen = seen.ok_or(Fault::Wrong("a name that nobody made"))?;
        if std::mem::replace(seen, true) {
            return Err(Fault::Wrong("a name twice"));
        }
        self.count += 1;
        Ok(())
    }
}

impl Workload for ReadDir {
    fn call(&mut self, lane: Lane, stop: bool, out: &mut Vec<u8>) -> Option<u32> {
        let walk = &self.lanes[lane.number];
        // A walk that has begun is walked to its end, since only the end tells what was skipped.
        if stop && walk.cookie == 0 {
            return None;
        }
        out.opaque(&self.dir);
        out.u64(walk.cookie);
        out.u64(walk.verifier);
        out.u32(REPLY_BYTES);
        out.u32(REPLY_BYTES);
        Some(procedure::READDIRPLUS)
    }

    fn reply(&mut self, lane: Lane, mut reply: Reader<'_>) -> Result<Done, Fault> {
        let walk = &mut self.lanes[lane.number];
        let (entries, is_end) = match walk.entries(&mut reply) {
            Ok(found) => found,
            Err(fault) => {
                walk.restart();
                return Err(fault);
            }
        };
        if is_end {
            let count = walk.count;
            walk.restart();
            if count != self.files {
                return Err(Fault::Wrong("a walk that skipped names"));
            }
        }
        Ok(Done { ops: entries, bytes: 0 })
    }
}
