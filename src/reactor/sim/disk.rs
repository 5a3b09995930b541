//! The disk of a simulated machine: what is written, what is synced, what a power cut leaves.
//!
//! Model: a write changes the page cache when it completes. A sync makes all completed writes of
//! that file durable. At a power cut each sector (512 bytes) of each file holds what was durable
//! plus the first few of the later writes that touched it, how many is drawn from the seed; per
//! file the seed may also decide for all or nothing. A failed sync drops what it should have
//! covered: the page cache still shows it, and the disk may never get it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use vocab::Time;

use super::world::{Core, Event};
use crate::{
    local::{self, Local},
    rng::Rng,
};

const SECTOR_BYTES: u64 = 512;
/// What a fresh world's clock says: 2026-01-01.
const WALL_START: i64 = 1_767_225_600;

/// What a disk holds while no world runs on it.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// What a reader will see.
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Of files that are not as safe as they look, because only the process died: the rest.
    behind: BTreeMap<PathBuf, Behind>,
    wall: Option<Time>,
}

/// The part of a file's state that a reader does not see.
#[derive(Clone, Debug)]
struct Behind {
    durable: Vec<u8>,
    pending: Vec<Pending>,
    named: bool,
}

impl Image {
    /// The files and their bytes, to look at or to damage.
    pub fn files(&mut self) -> &mut BTreeMap<PathBuf, Vec<u8>> {
        &mut self.files
    }

    pub(crate) fn wall(&self) -> Time {
        self.wall.unwrap_or(Time { seconds: WALL_START, nanos: 0 })
    }
}

/// What the disk does wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// So many syncs to come fail.
    pub syncs: u32,
    /// So many writes to come fail, in part.
    pub writes: u32,
    /// No new file is made: the disk is full.
    pub full: bool,
    /// So many syncs to come make nothing safe and say that they did.
    pub lying_syncs: u32,
    /// So many writes to come do nothing and say that they did.
    pub lost_writes: u32,
}

/// A running disk.
#[derive(Debug)]
pub(crate) struct Disk {
    names: BTreeMap<PathBuf, u64>,
    files: BTreeMap<u64, Data>,
    locks: BTreeSet<PathBuf>,
    faults: Faults,
    next: u64,
}

/// The bytes of a file.
#[derive(Debug, Default)]
struct Data {
    /// What a reader sees.
    cached: Vec<u8>,
    /// What is safe.
    durable: Vec<u8>,
    /// Written, and not synced; in order.
    pending: Vec<Pending>,
    /// Whether the name is safe.
    named: bool,
}

#[derive(Clone, Debug)]
struct Pending {
    id: u64,
    offset: u64,
    bytes: Vec<u8>,
    /// In the page cache.
    complete: bool,
}

/// An open file.
#[derive(Clone)]
pub(crate) struct Node {
    disk: Arc<Mutex<Disk>>,
    id: u64,
}

pub(crate) fn locked<R>(disk: &Mutex<Disk>, f: impl FnOnce(&mut Disk) -> R) -> R {
    f(&mut disk.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Disk {
    pub(crate) fn new(image: Image) -> Self {
        let mut disk = Self {
            names: BTreeMap::new(),
            files: BTreeMap::new(),
            locks: BTreeSet::new(),
            faults: Faults::default(),
            next: 0,
        };
        let mut behind = image.behind;
        for (path, cached) in image.files {
            let id = disk.id();
            let rest = behind.remove(&path).unwrap_or_else(|| Behind {
                durable: cached.clone(),
                pending: Vec::new(),
                named: true,
            });
            disk.names.insert(path, id);
            let Behind { durable, pending, named } = rest;
            disk.next = pending.iter().map(|write| write.id).fold(disk.next, u64::max);
            disk.files.insert(id, Data { cached, durable, pending, named });
        }
        disk
    }

    pub(crate) fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    pub(crate) fn open(this: &Arc<Mutex<Self>>, path: &Path, create: bool) -> io::Result<Node> {
        let id = locked(this, |disk| match disk.names.get(path) {
            Some(&id) => Ok(id),
            None if !create => Err(io::Error::from(io::ErrorKind::NotFound)),
            None if disk.faults.full => Err(io::ErrorKind::StorageFull.into()),
            None => {
                let id = disk.id();
                disk.names.insert(path.to_path_buf(), id);
                disk.files.insert(id, Data::default());
                Ok(id)
            }
        })?;
        Ok(Node { disk: this.clone(), id })
    }

    pub(crate) async fn create_zeroed(
        this: &Arc<Mutex<Self>>,
        path: &Path,
        len: u64,
    ) -> io::Result<Node> {
        let node = Self::open(this, path, true)?;
        let core = core();
        core.sleep(core.random_micros(200, 20_000)).await;
        let zeroes = vec![0; usize::try_from(len).expect("fits the simulation")];
        node.data(|data| {
            *data =
                Data { cached: zeroes.clone(), durable: zeroes, pending: Vec::new(), named: true };
        });
        core.sleep(core.random_micros(100, 3_000)).await;
        Ok(node)
    }

    /// All of a file's bytes.
    pub(crate) fn whole(&self, path: &Path) -> Option<Vec<u8>> {
        let id = self.names.get(path)?;
        Some(self.files[id].cached.clone())
    }

    /// Puts bytes in the place of a file, for good.
    pub(crate) fn replace(this: &Arc<Mutex<Self>>, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (cached, durable) = (bytes.to_vec(), bytes.to_vec());
        let whole = Data { cached, durable, pending: Vec::new(), named: true };
        Self::open(this, path, true)?.data(|data| *data = whole);
        Ok(())
    }

    pub(crate) fn lock(this: &Mutex<Self>, path: &Path) -> io::Result<()> {
        let is_new = locked(this, |disk| disk.locks.insert(path.to_path_buf()));
        if is_new { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    pub(crate) fn unlock(this: &Mutex<Self>, path: &Path) {
        locked(this, |disk| disk.locks.remove(path));
    }

    pub(crate) fn sync_dir(this: &Mutex<Self>, path: &Path) {
        locked(this, |disk| {
            let inside = disk.names.iter().filter(|(name, _)| name.parent() == Some(path));
            for (_, id) in inside {
                disk.files.get_mut(id).expect("named files exist").named = true;
            }
        });
    }

    pub(crate) fn list(this: &Mutex<Self>, path: &Path) -> Vec<String> {
        locked(this, |disk| {
            let inside = disk.names.keys().filter(|name| name.parent() == Some(path));
            inside
                .filter_map(|name| Some(name.file_name()?.to_string_lossy().into_owned()))
                .collect()
        })
    }

    /// What is left when the power goes.
    pub(crate) fn power_cut(&mut self, rng: &mut Rng, wall: Time) -> Image {
        let mut image = Image { wall: Some(wall), ..Image::default() };
        for (path, id) in &self.names {
            let data = self.files.get_mut(id).expect("named files exist");
            let pending = std::mem::take(&mut data.pending);
            data.survive(&pending, rng);
            if data.named || rng.one_in(2) {
                image.files.insert(path.clone(), data.durable.clone());
            }
        }
        image
    }

    /// What is left when the process dies.
    pub(crate) fn kill(&mut self, rng: &mut Rng, wall: Time) -> Image {
        let mut image = Image { wall: Some(wall), ..Image::default() };
        for (path, id) in &self.names {
            let data = self.files.get_mut(id).expect("named files exist");
            for write in data.pending.iter_mut().filter(|write| !write.complete) {
                write.bytes.truncate(rng.index(write.bytes.len() + 1));
                write.complete = true;
                apply(&mut data.cached, write.offset, &write.bytes);
            }
            let Data { cached, durable, pending, named } = std::mem::take(data);
            image.files.insert(path.clone(), cached);
            image.behind.insert(path.clone(), Behind { durable, pending, named });
        }
        image
    }

    /// What is left when the machine is shut down in order.
    pub(crate) fn shut_down(&mut self, rng: &mut Rng, wall: Time) -> Image {
        let mut image = self.kill(rng, wall);
        image.behind.clear();
        image
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Data {
    /// Makes some of the writes durable, sector by sector.
    fn survive(&mut self, writes: &[Pending], rng: &mut Rng) {
        let fate = rng.below(4);
        let mut sectors: BTreeMap<u64, Vec<&Pending>> = BTreeMap::new();
        for write in writes {
            let end = write.offset + write.bytes.len() as u64;
            for sector in write.offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
                sectors.entry(sector).or_default().push(write);
            }
        }
        for (sector, writes) in sectors {
            let kept = match fate {
                0 => 0,
                1 => writes.len(),
                _ => rng.index(writes.len() + 1),
            };
            for write in &writes[..kept] {
                let start = (sector * SECTOR_BYTES).max(write.offset);
                let end =
                    ((sector + 1) * SECTOR_BYTES).min(write.offset + write.bytes.len() as u64);
                let part = range(start - write.offset..end - write.offset);
                apply(&mut self.durable, start, &write.bytes[part]);
            }
        }
    }
}

impl Node {
    pub(crate) fn len(&self) -> u64 {
        self.data(|data| data.cached.len() as u64)
    }

    pub(crate) async fn write_all_at(&self, buffers: &[Bytes], offset: u64) -> io::Result<()> {
        let core = core();
        let bytes = buffers.concat();
        let total = bytes.len();
        core.note(Event::Write(self.id, offset, bytes.len() as u64));
        let (id, fails) = locked(&self.disk, |disk| {
            let id = disk.id();
            let fails = take_one(&mut disk.faults.writes);
            let data = disk.files.get_mut(&self.id).expect("open files exist");
            data.pending.push(Pending { id, offset, bytes, complete: false });
            (id, fails)
        });
        core.sleep(core.random_micros(5, 300)).await;
        let kept = core.random(|rng| rng.index(total + 1));
        let is_lost = locked(&self.disk, |disk| take_one(&mut disk.faults.lost_writes));
        self.data(|data| {
            if is_lost {
                data.pending.retain(|write| write.id != id);
                return;
            }
            let write = data.pending.iter_mut().find(|write| write.id == id);
            let write = write.expect("pending until it is synced, and only complete ones are");
            if fails {
                write.bytes.truncate(kept);
            }
            write.complete = true;
            apply(&mut data.cached, offset, &write.bytes);
        });
        if fails { Err(io::Error::other("simulated write error")) } else { Ok(()) }
    }

    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.data(|data| {
            let part = range(offset..offset + buffer.len() as u64);
            let bytes = data.cached.get(part).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        })
    }

    pub(crate) async fn sync_data(&self) -> io::Result<()> {
        let core = core();
        core.note(Event::Sync(self.id));
        core.sync_passes();
        let covered = self.data(|data| {
            let complete = data.pending.iter().filter(|write| write.complete);
            complete.map(|write| write.id).collect::<BTreeSet<u64>>()
        });
        core.sleep(core.random_micros(50, 3_000)).await;
        let synced = locked(&self.disk, |disk| {
            if take_one(&mut disk.faults.lying_syncs) {
                return Ok(());
            }
            let fails = take_one(&mut disk.faults.syncs);
            let data = disk.files.get_mut(&self.id).expect("open files exist");
            let (done, rest) = std::mem::take(&mut data.pending)
                .into_iter()
                .partition(|write| covered.contains(&write.id));
            data.pending = rest;
            let done: Vec<Pending> = done;
            if fails {
                core.random(|rng| data.survive(&done, rng));
                return Err(io::Error::other("simulated sync error"));
            }
            for write in done {
                apply(&mut data.durable, write.offset, &write.bytes);
            }
            Ok(())
        });
        core.sync_passes();
        synced
    }

    pub(crate) fn map(&self, len: usize) -> NodeMap {
        assert!(self.len() >= len as u64, "a mapping beyond the file's end faults");
        NodeMap { node: self.clone(), pin: Arc::new(()) }
    }

    fn data<R>(&self, f: impl FnOnce(&mut Data) -> R) -> R {
        locked(&self.disk, |disk| f(disk.files.get_mut(&self.id).expect("open files exist")))
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.id)
    }
}

/// A mapping: copies of what the file holds, which know how many there are.
pub(crate) struct NodeMap {
    node: Node,
    pin: Arc<()>,
}

struct View {
    bytes: Vec<u8>,
    _pin: Arc<()>,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl NodeMap {
    pub(crate) fn slice(&self, part: Range<usize>) -> Bytes {
        let bytes = self.node.data(|data| data.cached[part].to_vec());
        Bytes::from_owner(View { bytes, _pin: self.pin.clone() })
    }

    pub(crate) fn is_unique(&self) -> bool {
        Arc::strong_count(&self.pin) == 1
    }
}

/// Whether there was one left.
fn take_one(left: &mut u32) -> bool {
    let is_left = *left > 0;
    *left -= u32::from(is_left);
    is_left
}

fn apply(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let part = range(offset..offset + bytes.len() as u64);
    if file.len() < part.end {
        file.resize(part.end, 0);
    }
    file[part].copy_from_slice(bytes);
}

fn range(range: Range<u64>) -> Range<usize> {
    let fit = |at| usize::try_from(at).expect("fits the simulation");
    fit(range.start)..fit(range.end)
}

fn core() -> Rc<Core> {
    match local::get().as_deref() {
        Some(Local::World(core)) => core.clone(),
        Some(Local::Reactor(_)) | None => panic!("a simulated file left its world"),
    }
}
