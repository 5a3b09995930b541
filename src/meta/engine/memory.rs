//! An engine in this process: ordered maps behind one lock, gone with the process.

use std::{
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use super::{Batch, Engine, Fault, SPACES, Space, View, Visit};

type Map = std::collections::BTreeMap<Box<[u8]>, Box<[u8]>>;

/// The engine.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    maps: RwLock<[Map; SPACES.len()]>,
}

struct MemoryView<'a>(RwLockReadGuard<'a, [Map; SPACES.len()]>);

impl Engine for Memory {
    fn view(&self) -> Box<dyn View + '_> {
        Box::new(MemoryView(self.maps.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn commit(&self, batch: &Batch) -> Result<(), Fault> {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        for (space, changes) in batch.all_changes() {
            let map = &mut maps[space as usize];
            for (key, value) in changes {
                match value {
                    Some(value) => map.insert(key.clone(), value.clone()),
                    None => map.remove(key),
                };
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn is_lasting(&self) -> bool {
        false
    }
}

impl View for MemoryView<'_> {
    fn get(&self, space: Space, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> Result<bool, Fault> {
        let value = self.0[space as usize].get(key);
        if let Some(value) = &value {
            visit(value);
        }
        Ok(value.is_some())
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        if from >= to {
            return Ok(());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        for (key, value) in self.0[space as usize].range::<[u8], _>(range) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
