//! What names lead to, kept near: also that they lead nowhere.

use vocab::{InodeId, limits::NAME_BYTES_MAX};

use crate::{
    key,
    shards::{Evict, Seed, Shards, Stamp},
};

/// Most names that a store keeps.
pub(crate) const NAMES_MAX: usize = 200_000;
/// Bytes of a key: a directory and a name.
const KEY_BYTES_MAX: usize = 8 + NAME_BYTES_MAX as usize;

/// The cache. Only the writer changes what a name leads to.
#[derive(Debug)]
pub(crate) struct Names(Shards<Box<[u8]>, Name>);

#[derive(Debug)]
struct Name {
    inode: Option<InodeId>,
    is_used: bool,
}

impl Evict for Name {
    fn may_go(&mut self) -> bool {
        !std::mem::take(&mut self.is_used)
    }
}

impl Names {
    pub(crate) fn new(seed: Seed, names_max: usize) -> Self {
        Self(Shards::new(seed, names_max))
    }

    /// What a name leads to; `Some(None)`: nowhere; `None`: not known.
    pub(crate) fn peek(&self, dir: InodeId, name: &[u8]) -> Option<Option<InodeId>> {
        let mut buffer = [0; KEY_BYTES_MAX];
        let key = compose(&mut buffer, dir, name)?;
        let mut shard = self.0.lock(key);
        let found = shard.map.get_mut(key)?;
        found.is_used = true;
        Some(found.inode)
    }

    /// To be taken before the engine is asked.
    pub(crate) fn stamp(&self, dir: InodeId, name: &[u8]) -> Stamp {
        self.0.stamp(&*key::name(dir, name))
    }

    /// Keeps what the engine said, unless the writer changed it meanwhile.
    pub(crate) fn loaded(&self, dir: InodeId, name: &[u8], inode: Option<InodeId>, stamp: Stamp) {
        let key = key::name(dir, name);
        let mut shard = self.0.lock(&*key);
        if self.0.is_current(&shard, &*key, stamp) && !shard.map.contains_key(&*key) {
            self.0.insert(&mut shard, key.into(), Name { inode, is_used: false });
        }
    }

    /// The writer changed what the name of this engine key leads to.
    pub(crate) fn publish(&self, key: &[u8], inode: Option<InodeId>) {
        let mut shard = self.0.lock(key);
        self.0.bump(&mut shard, key);
        match shard.map.get_mut(key) {
            Some(name) => name.inode = inode,
            None => self.0.insert(&mut shard, key.into(), Name { inode, is_used: false }),
        }
    }
}

/// The engine's key of a name, without an allocation; `None` when the name is too long.
fn compose<'a>(buffer: &'a mut [u8; KEY_BYTES_MAX], dir: InodeId, name: &[u8]) -> Option<&'a [u8]> {
    let key = buffer.get_mut(..8 + name.len())?;
    key[..8].copy_from_slice(&key::inode(dir));
    key[8..].copy_from_slice(name);
    Some(key)
}
