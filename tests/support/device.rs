//! A disk that remembers: what was written to it and when it was told to flush, and so what a power
//! cut at any moment may leave.
//!
//! The disk is a file of a FUSE file system that this process serves; mount a file system on it
//! with a loop device, whose flushes arrive here as fsync. Every write and flush has a number, in
//! the order in which they arrived. What was written and not flushed is kept by pieces of 512
//! bytes or not, each for itself, as a disk's cache does it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};

use super::rng::Rng;

const PAGE: usize = 4096;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
const LIVE: u64 = 2;
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// The bytes of a disk; pages of zeroes take no room.
#[derive(Clone, Debug, Default)]
struct Pages(BTreeMap<u64, Arc<[u8; PAGE]>>);

#[derive(Clone, Debug)]
enum Event {
    Write { offset: u64, bytes: Vec<u8> },
    Flush,
}

#[derive(Debug, Default)]
struct State {
    bytes: u64,
    /// By inode: what is written to now, and copies that power cuts left.
    disks: BTreeMap<u64, Pages>,
    /// What the live disk held when the recording began.
    base: Pages,
    events: Option<Vec<Event>>,
    /// Pages that are not given: those that hold these bytes.
    spoilt: Option<Vec<u8>>,
}

/// A recorded disk. Unmount what is on it before it is dropped.
#[derive(Debug)]
pub struct Device {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
    _session: BackgroundSession,
}

impl Device {
    /// A disk of zeroes, as a file in a folder that it mounts over.
    ///
    /// # Panics
    /// Without FUSE.
    #[must_use]
    pub fn new(dir: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(dir).expect("folder");
        let disks = BTreeMap::from([(LIVE, Pages::default())]);
        let state = Arc::new(Mutex::new(State { bytes, disks, ..State::default() }));
        let served = Served(Arc::clone(&state));
        let session = fuser::spawn_mount(served, dir, &fuser::Config::default());
        Self { dir: dir.to_owned(), state, _session: session.expect("/dev/fuse, and root") }
    }

    /// The disk that remembers.
    #[must_use]
    pub fn live(&self) -> PathBuf {
        self.dir.join("live")
    }

    /// Reads of pages that hold these bytes fail from now on; `None`: none do.
    pub fn spoil(&self, pattern: Option<&[u8]>) {
        locked(&self.state).spoilt = pattern.map(<[u8]>::to_vec);
    }

    /// Remembers from now on.
    pub fn record(&self) {
        let mut state = locked(&self.state);
        state.base = state.disks[&LIVE].clone();
        state.events = Some(Vec::new());
    }

    /// The number of the next write or flush.
    #[must_use]
    pub fn now(&self) -> usize {
        locked(&self.state).events.as_ref().map_or(0, Vec::len)
    }

    /// After which flushes the power may be cut: the numbers that follow each.
    #[must_use]
    pub fn flushes(&self) -> Vec<usize> {
        let state = locked(&self.state);
        let events = state.events.iter().flatten().enumerate();
        events.filter(|(_, event)| matches!(event, Event::Flush)).map(|(n, _)| n + 1).collect()
    }

    /// The disk that a power cut leaves before event `number`. What was not flushed is there in
    /// part, by chance.
    #[must_use]
    pub fn cut(&self, number: usize, rng: &mut Rng) -> PathBuf {
        let mut state = locked(&self.state);
        let events = state.events.as_ref().expect("it was recorded");
        let flushed = events[..number].iter().rposition(|event| matches!(event, Event::Flush));
        let flushed = flushed.map_or(0, |last| last + 1);
        let mut pages = state.base.clone();
        // All, none, or so many in four of the pieces.
        let chance = rng.below(5);
        for (n, event) in events[..number].iter().enumerate() {
            let Event::Write { offset, bytes } = event else { continue };
            // ext4 takes for granted that its superblock is written whole.
            let unit = if *offset < PAGE as u64 { bytes.len() } else { SECTOR };
            for (at, piece) in (*offset..).step_by(unit).zip(bytes.chunks(unit)) {
                if n < flushed || rng.below(4) < chance {
                    pages.write(at, piece);
                }
            }
        }
        let inode = LIVE + state.disks.len() as u64;
        state.disks.insert(inode, pages);
        self.dir.join(format!("cut-{inode}"))
    }

    /// Forgets the bytes of a disk that `cut` made.
    pub fn forget(&self, disk: &Path) {
        let inode = disk.file_name().and_then(inode).expect("it is of this device");
        locked(&self.state).disks.insert(inode, Pages::default());
    }
}

impl Pages {
    fn read(&self, offset: u64, to: &mut [u8]) {
        for (page, at, part) in parts(offset, to.len()) {
            match self.0.get(&page) {
                Some(bytes) => to[part.clone()].copy_from_slice(&bytes[at..at + part.len()]),
                None => to[part].fill(0),
            }
        }
    }

    fn write(&mut self, offset: u64, from: &[u8]) {
        for (page, at, part) in parts(offset, from.len()) {
            let from = &from[part];
            let is_zero = from.iter().all(|byte| *byte == 0);
            if is_zero && (from.len() == PAGE || !self.0.contains_key(&page)) {
                self.0.remove(&page);
                continue;
            }
            let bytes = self.0.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(bytes)[at..at + from.len()].copy_from_slice(from);
        }
    }
}

/// The pages of a range: number, place in the page, place in the range.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let place = offset + done as u64;
        let at = usize::try_from(place % PAGE as u64).expect("below a page");
        let part = (PAGE - at).min(len - done);
        let range = done..done + part;
        done += part;
        (part > 0).then_some((place / PAGE as u64, at, range))
    })
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn inode(name: &OsStr) -> Option<u64> {
    match name.to_str()? {
        "live" => Some(LIVE),
        name => name.strip_prefix("cut-")?.parse().ok(),
    }
}

/// The file system of the disks.
struct Served(Arc<Mutex<State>>);

impl Served {
    fn attributes(&self, inode: u64) -> Option<FileAttr> {
        let state = locked(&self.0);
        let is_root = inode == INodeNo::ROOT.0;
        if !is_root && !state.disks.contains_key(&inode) {
            return None;
        }
        Some(FileAttr {
            ino: INodeNo(inode),
            size: if is_root { 0 } else { state.bytes },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_root { FileType::Directory } else { FileType::RegularFile },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match inode(name).and_then(|inode| self.attributes(inode)) {
            Some(attributes) => reply.entry(&FOR_EVER, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode.0) {
            Some(attributes) => reply.attr(&FOR_EVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        let state = locked(&self.0);
        state.disks[&inode.0].read(offset, &mut bytes);
        let spoilt = state.spoilt.as_ref();
        let is_spoilt =
            |pattern: &Vec<u8>| bytes.windows(pattern.len()).any(|part| part == pattern);
        match spoilt.is_some_and(is_spoilt) {
            true => reply.error(Errno::EIO),
            false => reply.data(&bytes),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = locked(&self.0);
        state.disks.get_mut(&inode.0).expect("it is open").write(offset, data);
        if let (LIVE, Some(events)) = (inode.0, &mut state.events) {
            events.push(Event::Write { offset, bytes: data.to_vec() });
        }
        reply.written(u32::try_from(data.len()).expect("it came in one call"));
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if let (LIVE, Some(events)) = (inode.0, &mut locked(&self.0).events) {
            events.push(Event::Flush);
        }
        reply.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_keep_bytes_at_any_place() {
        let (mut rng, mut pages) = (Rng::new(1), Pages::default());
        let mut model = vec![0; 5 * PAGE];
        for _ in 0..200 {
            let len = 1 + rng.below(2 * PAGE);
            let offset = rng.below(model.len() - len + 1);
            let bytes = if rng.one_in(3) { vec![0; len] } else { rng.bytes(len) };
            model[offset..offset + len].copy_from_slice(&bytes);
            pages.write(offset as u64, &bytes);
            let mut found = vec![1; model.len()];
            pages.read(0, &mut found);
            assert!(found == model);
        }
    }
}
