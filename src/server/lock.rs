//! Files that one process holds at a time: the process id's, and the one of a data folder.
//!
//! The kernel drops a lock with its process, so a file that is left over locks nobody out.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Pid;

/// How often and after which pause a lock is tried again: somebody may just be looking.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// A held lock. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

/// Why a lock is not had.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Another process holds it; its id, when it wrote one.
    Held(Option<Pid>),
    /// The kernel's word.
    Io(std::io::Error),
}

impl Lock {
    /// Takes the lock and writes this process's id into the file.
    pub(crate) fn take(path: &Path) -> Result<Self, Refused> {
        for attempt in 0.. {
            let mut file = OpenOptions::new()
                .create(true)
                .read(true)
                .write(true)
                .truncate(false)
                .open(path)
                .map_err(Refused::Io)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if attempt >= TRIES => {
                    return Err(Refused::Held(pid_in(&mut file)));
                }
                Err(TryLockError::WouldBlock) => {
                    pause();
                    continue;
                }
                Err(TryLockError::Error(error)) => return Err(Refused::Io(error)),
            }
            // Its last owner may have removed the name between our open and our lock.
            let ours = file.metadata().map_err(Refused::Io)?.ino();
            if std::fs::metadata(path).is_ok_and(|there| there.ino() == ours) {
                write_pid(&mut file).map_err(Refused::Io)?;
                return Ok(Self { path: path.to_owned(), _file: file });
            }
        }
        unreachable!("the loop only ends by returning")
    }

    /// The process that holds the lock of this file, if any does.
    pub(crate) fn holder(path: &Path) -> Result<Option<Pid>, String> {
        let shown = path.display();
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{shown}: {error}; name another with --pid-file")),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => match pid_in(&mut file) {
                Some(pid) => Ok(Some(pid)),
                None => Err(format!("{shown}: locked, but no process id is in it; try again")),
            },
            Err(TryLockError::Error(error)) => Err(format!("{shown}: {error}")),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock goes, or the file of the next owner would be removed.
        if let Err(error) = std::fs::remove_file(&self.path) {
            trace::warn!("{} stays behind: {error}", self.path.display());
        }
    }
}

fn pid_in(file: &mut File) -> Option<Pid> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// Waits on a thread that has nothing else to do.
pub(crate) fn pause() {
    nap(PAUSE);
}

/// As [`pause`], for so long.
pub(crate) fn nap(duration: Duration) {
    let time = rustix::thread::Timespec::try_from(duration).expect("short");
    // Woken early by a signal: the callers look and nap again.
    let _woken = rustix::thread::nanosleep(&time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.pid");
        assert_eq!(Lock::holder(&path), Ok(None));
        let lock = Lock::take(&path).expect("free");
        let me = Pid::from_raw(i32::try_from(std::process::id()).expect("small"));
        assert_eq!(Lock::holder(&path), Ok(me));
        assert!(matches!(Lock::take(&path), Err(Refused::Held(pid)) if pid == me));
        drop(lock);
        assert!(!path.exists());
        drop(Lock::take(&path).expect("free again"));
    }

    #[test]
    fn a_file_left_over_is_no_lock() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.pid");
        File::create(&path).and_then(|mut file| file.write_all(b"1\n")).expect("written");
        assert_eq!(Lock::holder(&path), Ok(None));
        let _lock = Lock::take(&path).expect("nobody holds it");
        assert_ne!(Lock::holder(&path), Ok(Pid::from_raw(1)));
    }
}
