//! Who mounted what, for DUMP. Nothing depends on it: clients forget to unmount.
//!
//! Its file is written behind the clients' backs, and not more often than the disk likes.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reactor::{thread, whole};
use trace::warn;

use crate::kept::{self, Cursor, Unreadable, octets, put_bytes, put_len};

/// Mounts noted in all, and of one client; beyond that the oldest is forgotten.
const MOUNTS_MAX: usize = 4096;
const CLIENT_MOUNTS_MAX: usize = 256;

const MAGIC: [u8; 8] = *b"DFSMOUNT";
const VERSION: u32 = 1;
/// More than the most mounts with the longest paths.
const BYTES_MAX: u64 = 8 << 20;

type Mount = (IpAddr, Box<[u8]>);

/// Shared by the reactors; touched only by MOUNT.
#[derive(Debug, Default)]
pub(crate) struct Table {
    path: Option<PathBuf>,
    state: Mutex<State>,
    /// Held while the file is written.
    file: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// With the order in which they came.
    mounts: BTreeMap<Mount, u64>,
    next: u64,
    /// The file has not all of it.
    is_dirty: bool,
    is_saving: bool,
}

impl Table {
    /// The table that a file has; an empty one when it cannot be read. Blocks.
    pub(crate) fn open(path: Option<PathBuf>) -> Self {
        let mounts = path.as_deref().map_or(Vec::new(), |path| {
            load(path).unwrap_or_else(|why| {
                warn!("who mounted what before is not known: {}: {why}", path.display());
                Vec::new()
            })
        });
        let mut state = State::default();
        mounts.into_iter().for_each(|mount| state.add(mount));
        Self { path, state: Mutex::new(state), file: Mutex::default() }
    }

    pub(crate) fn add(self: &Arc<Self>, client: IpAddr, path: &[u8]) {
        self.change(|state| state.add((client.to_canonical(), path.into())));
    }

    pub(crate) fn remove(self: &Arc<Self>, client: IpAddr, path: &[u8]) {
        self.change(|state| {
            state.mounts.retain(|mount, _| (mount.0, &*mount.1) != (client.to_canonical(), path))
        });
    }

    pub(crate) fn remove_all(self: &Arc<Self>, client: IpAddr) {
        let client = client.to_canonical();
        self.change(|state| state.mounts.retain(|(other, _), _| *other != client));
    }

    pub(crate) fn list(&self) -> Vec<Mount> {
        self.lock().mounts.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        {
            let mut state = self.lock();
            change(&mut state);
            state.is_dirty = true;
            if self.path.is_none() || std::mem::replace(&mut state.is_saving, true) {
                return;
            }
        }
        let table = Arc::clone(self);
        if let Err(error) = thread::offload("mounts", move || table.save()) {
            warn!("no thread to write down who mounted what: {error}");
            self.lock().is_saving = false;
        }
    }

    /// Brings the file up to date. Blocks.
    pub(crate) fn save(&self) {
        let Some(path) = &self.path else { return };
        let _file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let bytes = {
                let mut state = self.lock();
                if !std::mem::take(&mut state.is_dirty) {
                    state.is_saving = false;
                    return;
                }
                state.encode()
            };
            if let Err(error) = whole::replace(path, &bytes) {
                warn!("who mounted what is not written down: {}: {error}", path.display());
            }
        }
    }
}

impl State {
    fn add(&mut self, mount: Mount) {
        let client = mount.0;
        self.mounts.insert(mount, self.next);
        self.next += 1;
        let of_client = |(mount, _): &(&Mount, &u64)| mount.0 == client;
        if self.mounts.iter().filter(of_client).count() > CLIENT_MOUNTS_MAX {
            let oldest = self.mounts.iter().filter(of_client).min_by_key(|(_, order)| **order);
            self.forget(oldest.map(|(mount, _)| mount.clone()));
        }
        if self.mounts.len() > MOUNTS_MAX {
            let oldest = self.mounts.iter().min_by_key(|(_, order)| **order);
            self.forget(oldest.map(|(mount, _)| mount.clone()));
        }
    }

    fn forget(&mut self, mount: Option<Mount>) {
        mount.and_then(|mount| self.mounts.remove(&mount)).expect("there are too many");
    }

    /// In the order in which they came.
    fn encode(&self) -> Vec<u8> {
        let mut mounts: Vec<(&Mount, &u64)> = self.mounts.iter().collect();
        mounts.sort_by_key(|(_, order)| **order);
        let mut body = Vec::new();
        put_len(&mut body, mounts.len());
        for ((client, path), _) in mounts {
            body.extend(octets(*client));
            put_bytes(&mut body, path);
        }
        kept::seal(MAGIC, VERSION, &body)
    }
}

fn load(path: &Path) -> Result<Vec<Mount>, String> {
    let bytes = whole::read(path, BYTES_MAX).map_err(|error| error.to_string())?;
    bytes.map_or(Ok(Vec::new()), |bytes| decode(&bytes).map_err(|why| why.to_string()))
}

fn decode(bytes: &[u8]) -> Result<Vec<Mount>, Unreadable> {
    let mut body = Cursor(kept::open(MAGIC, VERSION, bytes)?);
    let mut mounts = || {
        let mut mounts = Vec::new();
        for _ in 0..body.u32()? {
            let client = Ipv6Addr::from(*body.take(16)?.first_chunk::<16>()?);
            mounts.push((IpAddr::V6(client).to_canonical(), body.bytes()?.into()));
        }
        body.0.is_empty().then_some(mounts)
    };
    mounts().ok_or(Unreadable::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: usize) -> IpAddr {
        let [.., a, b] = n.to_be_bytes();
        IpAddr::from([10, 0, a, b])
    }

    fn add(state: &mut State, n: usize, path: usize) {
        state.add((client(n), path.to_string().into_bytes().into()));
    }

    #[test]
    fn the_oldest_goes_first_the_clients_own() {
        let mut state = State::default();
        add(&mut state, 1, 0);
        (0..CLIENT_MOUNTS_MAX + 10).for_each(|path| add(&mut state, 2, path));
        assert_eq!(state.mounts.len(), 1 + CLIENT_MOUNTS_MAX);
        let has = |state: &State, n, path: &str| {
            state.mounts.contains_key(&(client(n), path.as_bytes().into()))
        };
        assert!(has(&state, 1, "0") && !has(&state, 2, "9") && has(&state, 2, "10"));
        add(&mut state, 2, 10);
        add(&mut state, 2, 1000);
        assert!(has(&state, 2, "10") && !has(&state, 2, "11"), "mounted again, so not the oldest");
        (10..MOUNTS_MAX + 10).for_each(|n| add(&mut state, n, 0));
        assert_eq!(state.mounts.len(), MOUNTS_MAX);
        assert!(!has(&state, 1, "0") && has(&state, MOUNTS_MAX + 9, "0"));
    }

    #[test]
    fn a_file_comes_back_and_damage_is_seen() {
        let mut state = State::default();
        (0..5).for_each(|n| add(&mut state, 9 - n, n));
        let bytes = state.encode();
        assert_eq!(bytes[..16], *b"DFSMOUNT\x01\0\0\0\x6d\0\0\0");
        let mut again = State::default();
        decode(&bytes).unwrap().into_iter().for_each(|mount| again.add(mount));
        assert_eq!(again.mounts, state.mounts, "in the same order");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
        (0..bytes.len()).for_each(|len| assert!(decode(&bytes[..len]).is_err(), "{len} bytes"));
    }

    #[test]
    fn saved_as_a_whole_and_read_at_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mounts");
        let table = Arc::new(Table::open(Some(path.clone())));
        (0..50).for_each(|n| table.add(client(n), b"/export"));
        table.remove(client(7), b"/export");
        table.remove_all(client(8));
        table.save();
        let list = table.list();
        assert_eq!(list.len(), 48);
        // The thread that saves may be behind, and writes the same.
        assert_eq!(Table::open(Some(path.clone())).list(), list);
        while table.lock().is_saving {
            std::thread::yield_now();
        }
        whole::replace(&path, b"nonsense").unwrap();
        assert!(Table::open(Some(path)).list().is_empty(), "nothing depends on it");
    }
}
