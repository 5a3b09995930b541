//! How many batches the LSM has made durable, in a file of its own.
//!
//! Why: the LSM takes a damaged place in its journal for the torn end that a crash leaves, cuts the
//! journal there, and says nothing; all later batches are gone, although they were synced. Here is
//! what it cannot cut: a store that knows of fewer batches than this file has lost some.
//!
//! The number is written after the sync that covers it, and is not synced itself: after a power cut
//! it may be too low, never too high.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use xxhash_rust::xxh3::xxh3_64;

/// The file, in the store's folder.
const NAME: &str = "dittofs-batches";
const MAGIC: [u8; 8] = *b"DFSBATv1";
const BYTES: usize = 24;

/// The open file.
#[derive(Debug)]
pub(crate) struct Witness(File);

impl Witness {
    /// Opens or makes the file of a store that knows of `known` batches.
    pub(crate) fn open(dir: &Path, known: u64) -> Result<Self, String> {
        let path = dir.join(NAME);
        let shown = path.display();
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).read(true).write(true);
        let file = options.open(&path).map_err(|error| format!("{shown}: {error}"))?;
        match read(&file) {
            Some(durable) if durable > known => {
                return Err(format!(
                    "the metadata store in {} has lost its last {} changes, which were safe: its \
                     files were damaged, and the engine has dropped what follows the damage. \
                     Bring back an older copy of the store; or, to go on without those changes, \
                     remove {shown} and run `dittofs fsck`",
                    dir.display(),
                    durable - known
                ));
            }
            Some(_) => {}
            None if file.metadata().is_ok_and(|file| file.len() == 0) => {}
            None => trace::error!("{shown} is damaged: it cannot vouch for the store this time"),
        }
        let witness = Self(file);
        witness.write(known)?;
        Ok(witness)
    }

    /// So many batches are durable.
    pub(crate) fn write(&self, batches: u64) -> Result<(), String> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&batches.to_le_bytes());
        let check = xxh3_64(&bytes[..16]);
        bytes[16..].copy_from_slice(&check.to_le_bytes());
        self.0.write_all_at(&bytes, 0).map_err(|error| format!("{NAME}: {error}"))
    }
}

/// The number in the file; `None` when it is empty or damaged.
fn read(file: &File) -> Option<u64> {
    let mut bytes = [0; BYTES];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let (body, check) = bytes.split_at(16);
    let is_good = body.starts_with(&MAGIC) && xxh3_64(body).to_le_bytes() == *check;
    is_good.then(|| u64::from_le_bytes(body[8..].try_into().expect("8 bytes")))
}
