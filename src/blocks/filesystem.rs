//! Blocks as files below a directory.
//!
//! A file has its final name only once its bytes are synced, and `put` answers only once the name
//! is synced too. All system calls run on threads that may block.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{Error, ErrorKind, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};
use tokio::sync::Semaphore;
use vocab::{BlockHash, StoreId, Time};

use crate::{
    BlockKey, Boxed, Kind, Listed, Put, Store, StoreError,
    key::{domain_path, parse_byte, parse_domain, parse_hash},
    spare::{PAGE_BYTES, Spare},
};

/// Where files are written before they have their name.
const TEMPORARY: &str = "tmp";
/// Objects from here on are written around the page cache.
const DIRECT_BYTES_MIN: usize = 1024 * 1024;
/// Calls at the same time, each on a thread of its own.
const CALLS_MAX: usize = 16;

/// A content store in a directory.
#[derive(Clone, Debug)]
pub struct Filesystem {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    calls: Semaphore,
    /// Names the next temporary file.
    temporary: AtomicU64,
    /// Directories whose names are known to be synced.
    synced: Mutex<BTreeSet<PathBuf>>,
}

impl Filesystem {
    /// Opens a directory as a store, makes it if need be, and removes what earlier writers left
    /// unfinished. Blocks the thread.
    ///
    /// # Errors
    /// `Refused` or `Full` when the directory cannot be used.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let temporary = root.join(TEMPORARY);
        fs::create_dir_all(&temporary).map_err(|error| classify(&temporary, &error))?;
        let root = root.canonicalize().map_err(|error| classify(&root, &error))?;
        let shared = Shared {
            root,
            calls: Semaphore::new(CALLS_MAX),
            temporary: AtomicU64::new(0),
            synced: Mutex::default(),
        };
        remove_unfinished(&shared.root.join(TEMPORARY))?;
        // The root may be new, and so may be the directories above it.
        shared.root.ancestors().try_for_each(sync_ancestor)?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Runs blocking calls where they may block.
    async fn run<T: Send + 'static>(
        &self,
        calls: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _permit = self.shared.calls.acquire().await.expect("never closed");
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || calls(&shared))
            .await
            .map_err(|_| StoreError::Unavailable("the server is stopping".into()))?
    }
}

impl Store for Filesystem {
    fn put<'a>(&'a self, key: &'a BlockKey, object: Bytes) -> Boxed<'a, Result<Put, StoreError>> {
        let key = *key;
        Box::pin(self.run(move |shared| shared.put(&key, &object)))
    }

    fn replace<'a>(
        &'a self,
        key: &'a BlockKey,
        object: Bytes,
    ) -> Boxed<'a, Result<(), StoreError>> {
        let key = *key;
        Box::pin(self.run(move |shared| shared.place(&shared.path(&key), &object)))
    }

    fn get<'a>(
        &'a self,
        key: &'a BlockKey,
        from: u64,
        len: u64,
    ) -> Boxed<'a, Result<Bytes, StoreError>> {
        let key = *key;
        Box::pin(self.run(move |shared| read(&shared.path(&key), from, len)))
    }

    fn delete<'a>(&'a self, key: &'a BlockKey) -> Boxed<'a, Result<(), StoreError>> {
        let key = *key;
        Box::pin(self.run(move |shared| shared.delete(&key)))
    }

    fn list<'a>(
        &'a self,
        domain: StoreId,
        kind: Kind,
        after: Option<BlockHash>,
        max: usize,
    ) -> Boxed<'a, Result<(Vec<Listed>, bool), StoreError>> {
        Box::pin(self.run(move |shared| shared.list(domain, kind, after, max)))
    }

    fn put_named<'a>(&'a self, name: &'a str, object: Bytes) -> Boxed<'a, Result<(), StoreError>> {
        let name = name.to_owned();
        Box::pin(self.run(move |shared| shared.place(&shared.root.join(name), &object)))
    }

    fn get_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Bytes, StoreError>> {
        let name = name.to_owned();
        Box::pin(self.run(move |shared| read(&shared.root.join(name), 0, u64::MAX)))
    }

    fn delete_named<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        let name = name.to_owned();
        Box::pin(self.run(move |shared| {
            let path = shared.root.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(classify(&path, &error)),
                _ => {
                    let dir = path.parent().expect("below the root");
                    // The folder goes with its last file, and stays otherwise. Nobody believes in
                    // it from before it goes: see `place`.
                    shared.synced().remove(dir);
                    drop(fs::remove_dir(dir));
                    Ok(())
                }
            }
        }))
    }

    fn list_named<'a>(&'a self, dir: &'a str) -> Boxed<'a, Result<Vec<String>, StoreError>> {
        let dir = dir.to_owned();
        Box::pin(self.run(move |shared| {
            let any = |name: &str| Some(name.to_owned());
            let mut found = Vec::new();
            for first in names(&shared.root.join(&dir), any)? {
                let below = shared.root.join(&dir).join(&first);
                if below.is_dir() {
                    let second = names(&below, any)?;
                    found.extend(second.into_iter().map(|name| format!("{dir}/{first}/{name}")));
                } else {
                    found.push(format!("{dir}/{first}"));
                }
            }
            Ok(found)
        }))
    }

    fn domains(&self) -> Boxed<'_, Result<Vec<StoreId>, StoreError>> {
        Box::pin(self.run(|shared| names(&shared.root, parse_domain)))
    }

    fn probe(&self) -> Boxed<'_, Result<Vec<String>, StoreError>> {
        Box::pin(self.run(Shared::probe))
    }

    fn bytes_free(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.shared.root).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

impl Shared {
    fn path(&self, key: &BlockKey) -> PathBuf {
        self.root.join(key.to_string())
    }

    fn put(&self, key: &BlockKey, object: &[u8]) -> Result<Put, StoreError> {
        let path = self.path(key);
        let dir = path.parent().expect("below the root");
        let there = fs::metadata(&path).is_ok_and(|file| file.len() == object.len() as u64);
        if !there {
            self.make_dir(dir)?;
            self.write(&path, object)?;
        }
        // Also when the file was there: whoever gave it its name may have died before this.
        self.make_dir(dir)?;
        sync_dir(dir)?;
        Ok(if there { Put::Present } else { Put::Created })
    }

    /// Puts a file over whatever is there.
    fn place(&self, path: &Path, object: &[u8]) -> Result<(), StoreError> {
        let dir = path.parent().expect("below the root");
        loop {
            self.make_dir(dir)?;
            match self.write(path, object).and_then(|()| sync_dir(dir)) {
                // Its last file was removed just now, and the folder with it.
                Err(_) if !dir.exists() => drop(self.synced().remove(dir)),
                done => return done,
            }
        }
    }

    /// Writes and syncs a file under a temporary name, then gives it its own.
    fn write(&self, path: &Path, object: &[u8]) -> Result<(), StoreError> {
        let (temporary, file) = self.create_temporary()?;
        let done = write_object(&file, object)
            .and_then(|()| file.sync_data())
            .and_then(|()| fs::rename(&temporary, path));
        done.map_err(|error| {
            // What cannot be removed now is removed when the store is opened again.
            drop(fs::remove_file(&temporary));
            classify(path, &error)
        })
    }

    /// A new file, locked, so that a server that opens the same directory leaves it alone.
    fn create_temporary(&self) -> Result<(PathBuf, File), StoreError> {
        loop {
            let number = self.temporary.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{number}", std::process::id());
            let path = self.root.join(TEMPORARY).join(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    file.lock().map_err(|error| classify(&path, &error))?;
                    return Ok((path, file));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(classify(&path, &error)),
            }
        }
    }

    /// Makes a directory below the root, and sees to it that the names that lead to it are synced.
    fn make_dir(&self, dir: &Path) -> Result<(), StoreError> {
        if dir == self.root || self.synced().contains(dir) {
            return Ok(());
        }
        let parent = dir.parent().expect("below the root");
        self.make_dir(parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(classify(dir, &error));
            }
            // Also when it was there: perhaps another thread has just made it.
            _ => sync_dir(parent)?,
        }
        self.synced().insert(dir.to_owned());
        Ok(())
    }

    fn delete(&self, key: &BlockKey) -> Result<(), StoreError> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            // A removal that a power cut undoes leaves garbage, which a sweep finds; no sync.
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(classify(&path, &error)),
        }
    }

    fn list(
        &self,
        domain: StoreId,
        kind: Kind,
        after: Option<BlockHash>,
        max: usize,
    ) -> Result<(Vec<Listed>, bool), StoreError> {
        let root = self.root.join(domain_path(domain, kind));
        let [first_min, second_min] = after.map_or([0, 0], |hash| [hash.0[0], hash.0[1]]);
        let mut listed = Vec::new();
        for first in names(&root, parse_byte)?.into_iter().filter(|&byte| byte >= first_min) {
            let dir = root.join(format!("{first:02x}"));
            let second_min = if first == first_min { second_min } else { 0 };
            for second in names(&dir, parse_byte)?.into_iter().filter(|&byte| byte >= second_min) {
                let dir = dir.join(format!("{second:02x}"));
                let found = names(&dir, parse_hash)?;
                for hash in found.into_iter().filter(|&hash| Some(hash) > after) {
                    // What was removed meanwhile is not there.
                    listed.extend(look(&dir, hash)?);
                    if listed.len() > max {
                        listed.truncate(max);
                        return Ok((listed, true));
                    }
                }
            }
        }
        Ok((listed, false))
    }

    fn probe(&self) -> Result<Vec<String>, StoreError> {
        let (path, mut file) = self.create_temporary()?;
        let tried = file.write_all(b"probe").and_then(|()| file.sync_data());
        let removed = fs::remove_file(&path);
        tried.and(removed).map_err(|error| classify(&path, &error))?;
        Ok(Vec::new())
    }

    fn synced(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a large object around the page cache, where the file system can: the blocks in memory are
/// ours to choose, and a copy of each in the page cache costs more than hashing it.
fn write_object(file: &File, object: &[u8]) -> Result<(), Error> {
    let whole = object.len() - object.len() % PAGE_BYTES;
    let is_worth = whole >= DIRECT_BYTES_MIN && object.as_ptr().addr().is_multiple_of(PAGE_BYTES);
    if is_worth && set_direct(file, true).is_ok() {
        let written = file.write_all_at(&object[..whole], 0);
        set_direct(file, false)?;
        match written {
            Ok(()) => return file.write_all_at(&object[whole..], whole as u64),
            // It wants more than pages, or could not go on where it stopped.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {}
            Err(error) => return Err(error),
        }
    }
    file.write_all_at(object, 0)
}

fn set_direct(file: &File, is_direct: bool) -> Result<(), Error> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, is_direct);
    Ok(fcntl_setfl(file, flags)?)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "std may add kinds at any time")]
fn read(path: &Path, from: u64, len: u64) -> Result<Bytes, StoreError> {
    let read = || -> Result<Bytes, Error> {
        let file = File::open(path)?;
        let len = file.metadata()?.len().saturating_sub(from).min(len);
        let len = usize::try_from(len).map_err(|_| ErrorKind::FileTooLarge)?;
        let mut bytes = Spare::take(len);
        bytes.extend_by(len, |to| file.read_exact_at(to, from))?;
        Ok(bytes.freeze())
    };
    let is_unreadable = |error: &Error| error.raw_os_error() == Some(Errno::IO.raw_os_error());
    read().map_err(|error| match error.kind() {
        ErrorKind::NotFound => StoreError::NotFound,
        // The disk cannot read its own bytes: waiting does not bring them back.
        _ if is_unreadable(&error) => StoreError::Corrupt(format!("{}: {error}", path.display())),
        _ => classify(path, &error),
    })
}

/// The names in a directory that parse, in order; none where there is no directory.
fn names<T: Ord>(dir: &Path, parse: fn(&str) -> Option<T>) -> Result<Vec<T>, StoreError> {
    let read = || -> Result<Vec<T>, Error> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().to_str().and_then(parse));
        }
        names.sort_unstable();
        Ok(names)
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        done => done.map_err(|error| classify(dir, &error)),
    }
}

/// A block's file, if it is there.
fn look(dir: &Path, hash: BlockHash) -> Result<Option<Listed>, StoreError> {
    let path = dir.join(hash.to_string());
    match fs::metadata(&path) {
        Ok(file) => {
            let nanos = u32::try_from(file.mtime_nsec()).unwrap_or_default();
            let modified = Time { seconds: file.mtime(), nanos };
            Ok(Some(Listed { hash, bytes: file.len(), modified }))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(classify(&path, &error)),
    }
}

/// Removes temporary files that nobody holds a lock on.
fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    let remove = |path: &Path| match OpenOptions::new().write(true).open(path)?.try_lock() {
        Ok(()) => fs::remove_file(path),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    };
    for entry in fs::read_dir(dir).map_err(|error| classify(dir, &error))? {
        let path = entry.map_err(|error| classify(dir, &error))?.path();
        match remove(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(classify(&path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Syncs a directory that others may have made: some may not be read, some know no sync.
fn sync_ancestor(dir: &Path) -> Result<(), StoreError> {
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        Err(error)
            if !matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput) =>
        {
            Err(classify(dir, &error))
        }
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| classify(dir, &error))
}

fn classify(path: &Path, error: &Error) -> StoreError {
    let text = format!("{}: {error}", path.display());
    #[expect(clippy::wildcard_enum_match_arm, reason = "std may add kinds at any time")]
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full(text),
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory => StoreError::Refused(text),
        _ => StoreError::Unavailable(text),
    }
}
