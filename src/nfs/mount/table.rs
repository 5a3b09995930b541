//! Who mounted what, for DUMP. Nothing depends on it: clients forget to unmount.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Beyond this no mount is noted.
const MOUNTS_MAX: usize = 4096;

type Mount = (IpAddr, Box<[u8]>);

/// Shared by the reactors; touched only by MOUNT.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<BTreeSet<Mount>>);

impl Table {
    pub(crate) fn add(&self, client: IpAddr, path: &[u8]) {
        let mut mounts = self.lock();
        if mounts.len() < MOUNTS_MAX {
            mounts.insert((client, path.into()));
        }
    }

    pub(crate) fn remove(&self, client: IpAddr, path: &[u8]) {
        self.lock().remove(&(client, path.into()));
    }

    pub(crate) fn remove_all(&self, client: IpAddr) {
        self.lock().retain(|(other, _)| *other != client);
    }

    pub(crate) fn list(&self) -> Vec<Mount> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Mount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
