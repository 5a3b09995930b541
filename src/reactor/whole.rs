//! Small files that are read, and replaced, as a whole. Blocking: at start, or on a plain thread.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use crate::{
    file::sync_dir,
    local::{self, Local},
    sim::disk::{self, Disk},
};

/// All of a file's bytes; `None` when there is no such file, `InvalidData` beyond so many.
///
/// # Errors
/// The kernel's.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    if let Some(Local::World(core)) = local::get().as_deref() {
        return Ok(disk::locked(core.disk(), |disk| disk.whole(path)));
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than any we wrote"));
    }
    Ok(Some(bytes))
}

/// Puts bytes in the place of a file. After a power cut it has these or the ones before, and once
/// this returned, these.
///
/// # Errors
/// The kernel's; the file may have either.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(Local::World(core)) = local::get().as_deref() {
        return Disk::replace(core.disk(), path, bytes);
    }
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_as_a_whole() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("file");
        assert_eq!(read(&path, 10).expect("no file is no error"), None);
        for bytes in [&b"long"[..], b"x", b""] {
            replace(&path, bytes).expect("written");
            assert_eq!(read(&path, 4).expect("read").as_deref(), Some(bytes));
        }
        replace(&path, b"12345").expect("written");
        assert!(read(&path, 4).is_err());
    }
}
