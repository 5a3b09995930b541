//! An engine on disk: fjall, one keyspace per space, one journal for all of them.
//!
//! Invariants: only the metadata writer commits, since a commit may sleep under backpressure.
//! Keyspaces are never cleared, and point reads are never promised to hit: both have lost data.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::{Batch, Engine, Fault, SPACES, Space, View, Visit, witness::Witness};

/// Bytes of blocks that the engine keeps in memory.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Threads that flush and compact.
const WORKERS: usize = 1;

/// The keyspace that counts batches, and its only key.
const BATCHES: &str = "batches";
const LAST: &[u8] = b"last";

/// The engine. Dropping it releases the folder.
pub(crate) struct Lsm {
    database: Database,
    keyspaces: [Keyspace; SPACES.len()],
    batches: Keyspace,
    /// The last batch that was committed.
    last: AtomicU64,
    witness: Witness,
}

struct LsmView<'a> {
    lsm: &'a Lsm,
    snapshot: Snapshot,
}

impl Lsm {
    /// Opens or creates it, and locks its folder against a second server.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let place = path.display();
        make_durably(path).map_err(|error| format!("cannot make {place}: {error}"))?;
        let database = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .worker_threads(WORKERS)
            .manual_journal_persist(true)
            .open()
            .map_err(|error| {
                if matches!(error, fjall::Error::Locked) {
                    return format!(
                        "the metadata store in {place} is open in another process; stop that one, \
                         or give this server a folder of its own"
                    );
                }
                format!("cannot open the metadata store in {place}: {error}")
            })?;
        let open = |space: Space| {
            database
                .keyspace(name(space), KeyspaceCreateOptions::default)
                .map_err(|error| format!("cannot open {} in {place}: {error}", name(space)))
        };
        let keyspaces = [
            open(Space::Misc)?,
            open(Space::Inodes)?,
            open(Space::Names)?,
            open(Space::Cookies)?,
            open(Space::Map)?,
            open(Space::Counts)?,
        ];
        let batches = database
            .keyspace(BATCHES, KeyspaceCreateOptions::default)
            .map_err(|error| format!("cannot open {BATCHES} in {place}: {error}"))?;
        let last = batches.get(LAST).map_err(|error| format!("{BATCHES} in {place}: {error}"))?;
        let last = last.and_then(|last| Some(u64::from_le_bytes((*last).try_into().ok()?)));
        let last = last.unwrap_or(0);
        let witness = Witness::open(path, last)?;
        Ok(Self { database, keyspaces, batches, last: AtomicU64::new(last), witness })
    }

    fn keyspace(&self, space: Space) -> &Keyspace {
        &self.keyspaces[space as usize]
    }
}

impl Engine for Lsm {
    fn view(&self) -> Box<dyn View + '_> {
        Box::new(LsmView { lsm: self, snapshot: self.database.snapshot() })
    }

    fn commit(&self, batch: &Batch) -> Result<(), Fault> {
        let mut out = self.database.batch();
        for (space, changes) in batch.all_changes() {
            let keyspace = self.keyspace(space);
            for (key, value) in changes {
                match value {
                    Some(value) => out.insert(keyspace, &**key, &**value),
                    None => out.remove(keyspace, &**key),
                }
            }
        }
        // Only the writer commits, so nobody counts at the same time.
        let number = self.last.load(Ordering::Relaxed) + 1;
        out.insert(&self.batches, LAST, number.to_le_bytes());
        out.commit().map_err(fault)?;
        self.last.store(number, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        let number = self.last.load(Ordering::Relaxed);
        self.database.persist(PersistMode::SyncData).map_err(fault)?;
        self.witness.write(number).map_err(Fault)
    }

    fn is_lasting(&self) -> bool {
        true
    }
}

impl View for LsmView<'_> {
    fn get(&self, space: Space, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        let value = self.snapshot.get(self.lsm.keyspace(space), key).map_err(fault)?;
        if let Some(value) = &value {
            visit(value);
        }
        Ok(value.is_some())
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        if from >= to {
            return Ok(());
        }
        for pair in self.snapshot.range(self.lsm.keyspace(space), from..to) {
            let (key, value) = pair.into_inner().map_err(fault)?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}

/// The engine syncs its folder, and nobody would sync the names of new folders above it.
fn make_durably(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    make_durably(parent)?;
    std::fs::create_dir_all(path)?;
    std::fs::File::open(parent)?.sync_all()
}

fn name(space: Space) -> &'static str {
    match space {
        Space::Misc => "misc",
        Space::Inodes => "inodes",
        Space::Names => "names",
        Space::Cookies => "cookies",
        Space::Map => "map",
        Space::Counts => "counts",
    }
}

fn fault(error: fjall::Error) -> Fault {
    Fault(error.to_string())
}
