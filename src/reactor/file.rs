//! Files of our own, through the ring: the reactor never blocks on them.
//!
//! Each call asks the driver of its thread: on a reactor the ring, in a simulated world its disk,
//! on a plain thread the blocking call of the kernel. "Blocking" below means: at start only, or on
//! a plain thread.

use std::{
    cell::RefCell,
    fs::{self, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

use crate::{
    local::{self, Local},
    sim::disk::{Disk, Node, NodeMap},
    sys::{
        buffer::Gather,
        map::{self, Mapping},
        ring::{Operation, Work},
    },
    thread,
};

/// Bytes written at once when a file is filled with zeroes.
const ZEROES_BYTES: usize = 1024 * 1024;

/// An open file. Cloning shares it.
#[derive(Clone, Debug)]
pub struct File(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Kernel(Arc<fs::File>),
    World(Node),
}

impl File {
    /// Opens for reading and writing; creates it when `create` is set. Blocking. A new file's name
    /// survives a power cut only after [`sync_dir`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &Path, create: bool) -> io::Result<Self> {
        if let Some(disk) = disk() {
            return Ok(Self(Inner::World(Disk::open(&disk, path, create)?)));
        }
        let file =
            OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)?;
        Ok(Self(Inner::Kernel(Arc::new(file))))
    }

    /// Makes a file of so many zeroes: space allocated, every byte written once, all of it and its
    /// name synced. Later writes then change no metadata that a sync would have to commit. What the
    /// file held before is gone. Runs off the reactor.
    ///
    /// # Errors
    /// The kernel's; the file is left behind empty, if at all, and may be made again.
    pub async fn create_zeroed(path: &Path, len: u64) -> io::Result<Self> {
        if let Some(disk) = disk() {
            return Ok(Self(Inner::World(Disk::create_zeroed(&disk, path, len).await?)));
        }
        let path = path.to_path_buf();
        let file = thread::offload("file-zeroes", move || zeroed(&path, len))?;
        let file = file.await.map_err(|_| io::ErrorKind::Other)??;
        Ok(Self(Inner::Kernel(Arc::new(file))))
    }

    /// Length in bytes. Blocking.
    ///
    /// # Errors
    /// The kernel's.
    pub fn len(&self) -> io::Result<u64> {
        match &self.0 {
            Inner::Kernel(file) => Ok(file.metadata()?.len()),
            Inner::World(node) => Ok(node.len()),
        }
    }

    /// Whether it has no bytes. Blocking.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Writes all the buffers one after another from `offset`, without copying them; resumes short
    /// writes. When the future is dropped the write may still happen.
    ///
    /// # Errors
    /// The kernel's; any part of the bytes may have been written.
    pub async fn write_all_at(&self, buffers: &[Bytes], offset: u64) -> io::Result<()> {
        let file = match &self.0 {
            Inner::Kernel(file) => file,
            Inner::World(node) => return node.write_all_at(buffers, offset).await,
        };
        if local::with_reactor(|_| ()).is_none() {
            let mut at = offset;
            for buffer in buffers {
                file.write_all_at(buffer, at)?;
                at += buffer.len() as u64;
            }
            return Ok(());
        }
        let mut at = offset;
        let mut parts = Gather::new(buffers.to_vec());
        while !parts.is_done() {
            let work = Work::Write { file: file.clone(), parts, offset: at };
            let (result, Work::Write { parts: back, .. }) = submit(work).await else {
                unreachable!("a write comes back as a write")
            };
            parts = back;
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    parts.advance(count);
                    at += count as u64;
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes what was written survive a power cut (`fdatasync`). After an error what was written
    /// since the last success may be gone for good, even when a later call succeeds.
    ///
    /// # Errors
    /// The kernel's; final.
    pub async fn sync_data(&self) -> io::Result<()> {
        let file = match &self.0 {
            Inner::Kernel(file) => file,
            Inner::World(node) => return node.sync_data().await,
        };
        if local::with_reactor(|_| ()).is_none() {
            return file.sync_data();
        }
        // Not even an interrupted one is tried again: who knows how far it got.
        submit(Work::SyncData { file: file.clone() }).await.0.map(drop)
    }

    /// Fills a buffer from an offset. Blocking. An error of the disk is an answer here, where a
    /// mapping would end the process.
    ///
    /// # Errors
    /// The kernel's; `UnexpectedEof` beyond the end.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.0 {
            Inner::Kernel(file) => file.read_exact_at(buffer, offset),
            Inner::World(node) => node.read_exact_at(buffer, offset),
        }
    }

    /// The first `len` bytes, mapped and shared with the page cache: what is written later is seen
    /// by views that are taken after the write. The file must not become shorter, and bytes that a
    /// view covers must not be written while it is held.
    ///
    /// # Errors
    /// The kernel's.
    pub fn map(&self, len: usize) -> io::Result<Map> {
        match &self.0 {
            Inner::Kernel(file) => {
                let mapping = map::map(file, len)?;
                Ok(Map { inner: MapInner::Kernel { mapping, root: RefCell::new(None) }, len })
            }
            Inner::World(node) => Ok(Map { inner: MapInner::World(node.map(len)), len }),
        }
    }
}

/// A mapped file, from which views are taken. It knows when nobody holds one any more.
#[derive(Debug)]
pub struct Map {
    inner: MapInner,
    len: usize,
}

enum MapInner {
    /// `root` is what views are slices of. Dropping it leaves the views' own references.
    Kernel { mapping: Arc<Mapping>, root: RefCell<Option<Bytes>> },
    /// Views are copies of what the simulated file holds at that moment.
    World(NodeMap),
}

impl Map {
    /// A view of a range. Shares one count with the other views; copies nothing on a real machine.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        match &self.inner {
            MapInner::Kernel { mapping, root } => {
                root.borrow_mut().get_or_insert_with(|| map::view(mapping)).slice(range)
            }
            MapInner::World(map) => map.slice(range),
        }
    }

    /// Bytes mapped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no view is held by anybody.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        match &self.inner {
            MapInner::Kernel { mapping, root } => {
                root.take();
                let unique = Arc::strong_count(mapping) == 1;
                // What the last reader saw comes before what is written next.
                fence(Ordering::Acquire);
                unique
            }
            MapInner::World(map) => map.is_unique(),
        }
    }
}

impl std::fmt::Debug for MapInner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Map")
    }
}

/// Holds a file's lock while it lives; the kernel frees it when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: Option<fs::File>,
    world: Option<(Arc<std::sync::Mutex<Disk>>, PathBuf)>,
}

/// Locks a file for this owner alone, creating it. Blocking, but never waits for the lock.
///
/// # Errors
/// `WouldBlock` when somebody has it, else the kernel's.
pub fn lock(path: &Path) -> io::Result<Lock> {
    if let Some(disk) = disk() {
        Disk::lock(&disk, path)?;
        return Ok(Lock { _file: None, world: Some((disk, path.to_path_buf())) });
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(Lock { _file: Some(file), world: None })
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some((disk, path)) = &self.world {
            Disk::unlock(disk, path);
        }
    }
}

/// Makes a folder and what lies above it, and makes the names survive a power cut. Blocking.
///
/// # Errors
/// The kernel's.
pub fn create_dir(path: &Path) -> io::Result<()> {
    if disk().is_some() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    path.ancestors().skip(1).take(2).try_for_each(|above| {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        fs::File::open(above)?.sync_all()
    })
}

/// Makes the names in a folder survive a power cut. Blocking.
///
/// # Errors
/// The kernel's.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    if let Some(disk) = disk() {
        Disk::sync_dir(&disk, path);
        return Ok(());
    }
    fs::File::open(path)?.sync_all()
}

/// The names in a folder, sorted. Blocking.
///
/// # Errors
/// The kernel's.
pub fn list(path: &Path) -> io::Result<Vec<String>> {
    if let Some(disk) = disk() {
        return Ok(Disk::list(&disk, path));
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn disk() -> Option<Arc<std::sync::Mutex<Disk>>> {
    match local::get().as_deref() {
        Some(Local::World(core)) => Some(core.disk().clone()),
        Some(Local::Reactor(_)) | None => None,
    }
}

fn submit(work: Work) -> Operation {
    local::with_reactor(|reactor| reactor.ring.submit(work)).expect("on a reactor")
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

fn zeroed(path: &Path, len: u64) -> io::Result<fs::File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let filled = fill(&file, path, len);
    if filled.is_err() {
        // A full disk must not get fuller by what nobody can use. The first error is the one to
        // tell; whether the room is given back changes nothing.
        drop(file.set_len(0));
    }
    filled.map(|()| file)
}

fn fill(file: &fs::File, path: &Path, len: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        // Not every file system can; the zeroes below allocate as well.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let zeroes = vec![0; ZEROES_BYTES];
    let mut at = 0;
    while at < len {
        let count = (len - at).min(ZEROES_BYTES as u64);
        let count = usize::try_from(count).expect("at most ZEROES_BYTES");
        file.write_all_at(&zeroes[..count], at)?;
        at += count as u64;
    }
    file.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
