//! Attributes that are set, and what the log did to lengths and times.

use vocab::{
    BlockIndex, Error, InodeId, Sequence, Time,
    limits::{BLOCK_BYTES, FILE_BYTES_MAX},
};

use super::{counts, inode, save, share, totals_change, touch};
use crate::{
    command::{AttrChange, DataState, Outcome},
    engine::Space,
    key,
    record::{Body, Inode, MapEntry},
    tx::{Tx, broken, scan},
};

/// `SetAttr`.
pub(super) fn set_attr(
    tx: &mut Tx<'_>,
    id: InodeId,
    change: &AttrChange,
    guard: Option<Time>,
    now: Time,
    data: Option<DataState>,
) -> Result<Outcome, Error> {
    let mut inode = inode(tx, id)?;
    if let Some(data) = data {
        apply_data(tx, &mut inode, data)?;
    }
    let pre = inode.attr().pre();
    if guard.is_some_and(|guard| guard != pre.ctime) {
        return Err(Error::GuardMismatch);
    }
    let stored = &mut inode.stored;
    stored.mode = change.mode.map_or(stored.mode, |mode| mode & 0o7777);
    stored.uid = change.uid.unwrap_or(stored.uid);
    stored.gid = change.gid.unwrap_or(stored.gid);
    stored.atime = change.atime.unwrap_or(stored.atime);
    stored.mtime = change.mtime.unwrap_or(stored.mtime);
    if *change != AttrChange::default() {
        touch(stored, now);
    }
    save(tx, &inode);
    Ok(Outcome::Changed { pre, attr: inode.attr() })
}

/// `FlushData`.
pub(super) fn flush(tx: &mut Tx<'_>, id: InodeId, data: DataState) -> Result<Outcome, Error> {
    let mut inode = inode(tx, id)?;
    apply_data(tx, &mut inode, data)?;
    save(tx, &inode);
    Ok(Outcome::Done)
}

/// `Seal`.
pub(super) fn seal(tx: &mut Tx<'_>, id: InodeId, sequence: Sequence) -> Result<Outcome, Error> {
    let mut inode = inode(tx, id)?;
    let Body::Regular(body) = &mut inode.body else { return Err(Error::Invalid) };
    if sequence > body.sealed {
        body.sealed = sequence;
        save(tx, &inode);
    }
    Ok(Outcome::Done)
}

/// Brings the inode up to a data state; nothing happens when it is there already. The caller saves
/// the inode.
pub(super) fn apply_data(tx: &mut Tx<'_>, inode: &mut Inode, data: DataState) -> Result<(), Error> {
    let Body::Regular(mut body) = inode.body else { return Err(Error::Invalid) };
    if data.sequence <= body.data_seq {
        return Ok(());
    }
    if data.size > FILE_BYTES_MAX {
        return Err(Error::TooBig);
    }
    body.data_seq = data.sequence;
    body.data_change = body.data_change.max(data.change);
    inode.stored.size = data.size;
    inode.stored.mtime = data.mtime;
    inode.stored.ctime = inode.stored.ctime.max(data.ctime);
    if data.floor != u64::MAX {
        // A state that does not name its truncate may end with it.
        let truncate = if data.truncate == Sequence(0) { data.sequence } else { data.truncate };
        body.trunc_seq = body.trunc_seq.max(truncate);
        cut(tx, inode, data.floor, truncate)?;
    }
    inode.body = Body::Regular(body);
    Ok(())
}

/// Releases stored blocks above a length, and cuts the one that it falls into.
fn cut(tx: &mut Tx<'_>, inode: &mut Inode, floor: u64, truncate: Sequence) -> Result<(), Error> {
    if floor >= FILE_BYTES_MAX {
        return Ok(());
    }
    let block_bytes = u64::from(BLOCK_BYTES);
    let first = BlockIndex(u32::try_from(floor / block_bytes).expect("below FILE_BYTES_MAX"));
    let kept = u32::try_from(floor % block_bytes).expect("below BLOCK_BYTES");
    let mut hit = Vec::new();
    let (from, to) = key::blocks_from(inode.id(), first);
    scan(tx, Space::Map, (&from, &to), |key, entry: MapEntry| {
        let index = key::block_of(key).ok_or_else(|| broken("a short key in the map", &key))?;
        // A later watermark: it was assembled after the truncate.
        if entry.watermark < truncate {
            hit.push((index, entry));
        }
        Ok(true)
    })?;
    if hit.is_empty() {
        return Ok(());
    }
    let content = share(tx, inode.stored.share)?.content;
    let since = inode.stored.ctime;
    let mut released = 0;
    for (index, entry) in hit {
        let key = key::block(inode.id(), index);
        if index == first && kept > 0 {
            let valid_len = entry.valid_len.min(kept);
            released += u64::from(entry.valid_len - valid_len);
            tx.put(Space::Map, &key, &MapEntry { valid_len, ..entry });
        } else {
            released += u64::from(entry.valid_len);
            tx.remove(Space::Map, &key);
            counts::down(tx, content, &entry, since)?;
        }
    }
    used_change(tx, inode, 0, released)
}

/// Changes what a file costs, in its inode and in its share's totals.
pub(super) fn used_change(
    tx: &mut Tx<'_>,
    inode: &mut Inode,
    more: u64,
    less: u64,
) -> Result<(), Error> {
    let used = (inode.stored.used + more).checked_sub(less);
    inode.stored.used = used.ok_or_else(|| broken("used below 0", &inode.id()))?;
    let difference = more.cast_signed() - less.cast_signed();
    totals_change(tx, inode.stored.share, 0, difference)
}
