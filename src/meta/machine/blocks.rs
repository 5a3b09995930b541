//! The block map of files.

use vocab::{
    BlockHash, BlockIndex, Error, InodeId, Packed, Sequence, Time,
    limits::{BLOCK_BYTES, FILE_BYTES_MAX},
};

use super::{counts, data, inode, save, share};
use crate::{
    command::{DataState, Outcome},
    engine::Space,
    key::{self, ContentId},
    record::{Inode, MapEntry},
    tx::Tx,
};

/// What `SetBlock` enters.
pub(super) struct NewBlock {
    pub(super) index: BlockIndex,
    pub(super) block: Option<(BlockHash, u32)>,
    pub(super) watermark: Sequence,
    /// It was put: in a pack, or as an object of its own.
    pub(super) put: Option<Option<Packed>>,
}

/// `SetBlock`.
pub(super) fn set(
    tx: &mut Tx<'_>,
    id: InodeId,
    new: &NewBlock,
    data: Option<DataState>,
    now: Time,
) -> Result<Outcome, Error> {
    let mut inode = inode(tx, id)?;
    let body = inode.regular().ok_or(Error::Invalid)?;
    bounds_check(new)?;
    if new.watermark < body.trunc_seq {
        return Err(Error::Stale);
    }
    if let Some(data) = data {
        data::apply_data(tx, &mut inode, data)?;
    }
    if inode.regular().is_some_and(|body| new.watermark < body.trunc_seq) {
        return Err(Error::Stale);
    }
    let content = share(tx, inode.stored.share)?.content;
    let old = tx.get(Space::Map, &key::block(id, new.index))?;
    let outcome = enter(tx, &mut inode, content, old, new, now)?;
    save(tx, &inode);
    Ok(outcome)
}

/// An object was put for a block that is refused. Nothing can be done when the inode is gone
/// altogether: nobody knows the content store then, and a sweep will find the object.
pub(super) fn put_in_vain(
    tx: &mut Tx<'_>,
    id: InodeId,
    (hash, stored_len): (BlockHash, u32),
    packed: Option<Packed>,
    now: Time,
) -> Result<(), Error> {
    let inode: Option<Inode> = tx.get(Space::Inodes, &key::inode(id))?;
    let Some(inode) = inode else { return Ok(()) };
    let content = share(tx, inode.stored.share)?.content;
    counts::put_in_vain(tx, content, (hash, stored_len), packed, now)
}

fn bounds_check(new: &NewBlock) -> Result<(), Error> {
    if new.block.is_some_and(|(_, len)| len == 0 || len > BLOCK_BYTES) {
        return Err(Error::Invalid);
    }
    if u64::from(new.index.0) * u64::from(BLOCK_BYTES) >= FILE_BYTES_MAX {
        return Err(Error::TooBig);
    }
    Ok(())
}

/// One row of the table of what may happen:
///
/// | the old entry | the new block | |
/// |---|---|---|
/// | as new or newer | any | kept; an object that nobody counts is condemned |
/// | older or none | zeroes | an entry without an object, so that its watermark is known |
/// | older, same hash | | the watermark moves, a cut is undone |
/// | older or none | counted or condemned | counted once more |
/// | older or none | not counted, put | counted |
/// | older or none | not counted, not put | nothing, `NeedPut` |
/// | any | being deleted | nothing, `Busy` |
fn enter(
    tx: &mut Tx<'_>,
    inode: &mut Inode,
    content: ContentId,
    old: Option<MapEntry>,
    new: &NewBlock,
    now: Time,
) -> Result<Outcome, Error> {
    let watermark = new.watermark;
    if old.is_some_and(|old| old.watermark >= watermark) {
        if let (Some(block), Some(packed)) = (new.block, new.put) {
            counts::put_in_vain(tx, content, block, packed, now)?;
        }
        return Ok(Outcome::Done);
    }
    let entry = match new.block {
        None => MapEntry::zeroes(watermark),
        Some((hash, len)) => MapEntry { hash, stored_len: len, valid_len: len, watermark },
    };
    let is_same = old.is_some_and(|old| old.names_object() && old.hash == entry.hash);
    if entry.names_object() {
        let up = match is_same {
            true => counts::keep(tx, content, entry.hash, new.put, now),
            false => counts::up(tx, content, (entry.hash, entry.stored_len), new.put, now),
        };
        match up? {
            counts::Up::Counted => {}
            counts::Up::NeedPut => return Ok(Outcome::NeedPut),
        }
    }
    if let (Some(old), false) = (&old, is_same) {
        counts::down(tx, content, old, now)?;
    }
    tx.put(Space::Map, &key::block(inode.id(), new.index), &entry);
    let less = old.map_or(0, |old| old.valid_len);
    data::used_change(tx, inode, entry.valid_len.into(), less.into())?;
    Ok(Outcome::Done)
}
