//! Orphans that go, a few blocks at a time.

use vocab::{BlockIndex, Error, InodeId, Time};

use super::{counts, data, remove, save, share};
use crate::{
    command::Outcome,
    engine::Space,
    key,
    record::{Inode, MapEntry},
    tx::{Tx, scan},
};

/// `Reap`. An orphan that is gone is done; `Invalid` for an inode with a name.
pub(super) fn reap(
    tx: &mut Tx<'_>,
    id: InodeId,
    blocks_max: u32,
    now: Time,
) -> Result<Outcome, Error> {
    let orphan: Option<Inode> = tx.get(Space::Inodes, &key::inode(id))?;
    let Some(mut orphan) = orphan else { return Ok(Outcome::Reaped { done: true }) };
    if orphan.stored.nlink > 0 {
        return Err(Error::Invalid);
    }
    let mut blocks: Vec<(Box<[u8]>, MapEntry)> = Vec::new();
    let (from, to) = key::blocks_from(id, BlockIndex(0));
    let mut is_last = true;
    scan(tx, Space::Map, (&from, &to), |key, entry| {
        is_last = blocks.len() < blocks_max as usize;
        if is_last {
            blocks.push((key.into(), entry));
        }
        Ok(is_last)
    })?;
    if !blocks.is_empty() {
        let content = share(tx, orphan.stored.share)?.content;
        let mut released = 0;
        for (key, entry) in &blocks {
            tx.remove(Space::Map, key);
            counts::down(tx, content, entry, now)?;
            released += u64::from(entry.valid_len);
        }
        data::used_change(tx, &mut orphan, 0, released)?;
        save(tx, &orphan);
    }
    if is_last {
        tx.remove(Space::Misc, &key::orphan(id));
        remove::vanish(tx, &orphan)?;
    }
    Ok(Outcome::Reaped { done: is_last })
}
