//! How many map entries name each stored block, and what happens to those that none names.
//!
//! A pack is counted alike: its references are the blocks that rest in it.
//!
//! | state | count | a reference to it | leaves by |
//! |---|---|---|---|
//! | not counted | | needs a PUT first | `SetBlock` after a PUT |
//! | live | above 0 | one more | the last reference going |
//! | damaged | above 0 | needs a PUT first, and is live then | as live |
//! | condemned | 0 | live again | a reference, or `DeleteBegin` |
//! | condemned, length unknown | 0 | needs a PUT first | as condemned |
//! | deleting | 0 | `Busy`: the deletion would take a new object too | `DeleteEnd` |

use vocab::{BlockHash, Error, PackId, Packed, Time};

use crate::{
    Rest,
    command::Outcome,
    engine::Space,
    key::{self, ContentId},
    record::{Count, CountState, MapEntry, Number, Role},
    tx::{Tx, broken},
};

/// What became of a reference.
pub(super) enum Up {
    Counted,
    NeedPut,
}

/// Counts one more reference. `put`: the block was put, in a pack or not.
///
/// # Errors
/// `Busy` while the object is being deleted; `Corrupt` when the length is not the stored one.
pub(super) fn up(
    tx: &mut Tx<'_>,
    content: ContentId,
    (hash, stored_len): (BlockHash, u32),
    put: Option<Option<Packed>>,
    now: Time,
) -> Result<Up, Error> {
    let key = key::count(content, hash);
    let old: Option<Count> = tx.get(Space::Counts, &key)?;
    let mut role = old.map_or(Role::Own, |old| old.role);
    // Whether what was put replaces what was there.
    let (count, is_anew) = match old {
        Some(Count { role: Role::Pack { .. }, .. }) => {
            return Err(broken("a block with the id of a pack", &hash));
        }
        None if put.is_none() => return Ok(Up::NeedPut),
        None => {
            stored_change(tx, content, stored_len.into(), 0)?;
            (1, true)
        }
        // A sweep found the object and nobody knows what is in it.
        Some(Count { stored_len: 0, state: CountState::Condemned(since), .. }) => {
            if put.is_none() {
                return Ok(Up::NeedPut);
            }
            tx.remove(Space::Misc, &key::condemned(content, since, hash));
            stored_change(tx, content, stored_len.into(), 0)?;
            (1, true)
        }
        Some(Count { state: CountState::Deleting(_), .. }) => return Err(Error::Busy),
        Some(Count { stored_len: known, .. }) if known != stored_len => {
            return Err(broken("another length for the same hash", &hash));
        }
        Some(Count { state: CountState::Live, count, .. }) => (count + 1, false),
        Some(Count { state: CountState::Damaged, .. }) if put.is_none() => return Ok(Up::NeedPut),
        Some(Count { state: CountState::Damaged, count, .. }) => (count + 1, true),
        Some(Count { state: CountState::Condemned(since), .. }) => {
            tx.remove(Space::Misc, &key::condemned(content, since, hash));
            (1, false)
        }
    };
    if let (Some(packed), true) = (put, is_anew) {
        place(tx, content, &mut role, packed, now)?;
    }
    tx.put(Space::Counts, &key, &Count { count, stored_len, state: CountState::Live, role });
    Ok(Up::Counted)
}

/// Takes the reference of a map entry away.
pub(super) fn down(
    tx: &mut Tx<'_>,
    content: ContentId,
    entry: &MapEntry,
    now: Time,
) -> Result<(), Error> {
    if !entry.names_object() {
        return Ok(());
    }
    let key = key::count(content, entry.hash);
    let count: Option<Count> = tx.get(Space::Counts, &key)?;
    let Some(mut count) = count.filter(|count| count.count > 0) else {
        return Err(broken("no count for a block in use", &entry.hash));
    };
    count.count -= 1;
    if count.count == 0 {
        let now = tx.let_go(now);
        condemn(tx, content, entry.hash, &mut count, now);
    }
    tx.put(Space::Counts, &key, &count);
    Ok(())
}

/// An object was put and is not needed after all: the collector must learn of it.
pub(super) fn put_in_vain(
    tx: &mut Tx<'_>,
    content: ContentId,
    (hash, stored_len): (BlockHash, u32),
    packed: Option<Packed>,
    now: Time,
) -> Result<(), Error> {
    let key = key::count(content, hash);
    if tx.get::<Count>(Space::Counts, &key)?.is_some() {
        return Ok(());
    }
    stored_change(tx, content, stored_len.into(), 0)?;
    let mut count = Count { count: 0, stored_len, state: CountState::Live, role: Role::Own };
    place(tx, content, &mut count.role, packed, now)?;
    condemn(tx, content, hash, &mut count, now);
    tx.put(Space::Counts, &key, &count);
    Ok(())
}

/// `Condemn`. An object that another content store of this domain counts is left alone: both may be
/// names of one place.
pub(super) fn condemn_found(
    tx: &mut Tx<'_>,
    content: &str,
    found: &[(BlockHash, Time)],
    packs: bool,
) -> Result<Outcome, Error> {
    let content = content_id(tx, content)?;
    let all = crate::read::content_ids(tx)?;
    let left = Time::default();
    let role = if packs { Role::Pack { bytes: 0, left } } else { Role::Own };
    let mut condemned = Vec::new();
    for &(hash, since) in found {
        let mut is_counted = false;
        for &content in &all {
            let count: Option<Count> = tx.get(Space::Counts, &key::count(content, hash))?;
            is_counted |= count.is_some();
        }
        if !is_counted {
            let mut count = Count { count: 0, stored_len: 0, state: CountState::Live, role };
            condemn(tx, content, hash, &mut count, since);
            tx.put(Space::Counts, &key::count(content, hash), &count);
            condemned.push(hash);
        }
    }
    Ok(Outcome::Condemned(condemned))
}

/// `MarkDamaged`. A block that nobody refers to is left alone.
pub(super) fn mark(
    tx: &mut Tx<'_>,
    content: &str,
    hash: BlockHash,
    is_damaged: bool,
) -> Result<Outcome, Error> {
    let key = key::count(content_id(tx, content)?, hash);
    let count: Option<Count> = tx.get(Space::Counts, &key)?;
    if let Some(count) = count.filter(|count| count.count > 0) {
        let state = if is_damaged { CountState::Damaged } else { CountState::Live };
        tx.put(Space::Counts, &key, &Count { state, ..count });
    }
    Ok(Outcome::Done)
}

/// An entry keeps its block, which may have been put again.
pub(super) fn keep(
    tx: &mut Tx<'_>,
    content: ContentId,
    hash: BlockHash,
    put: Option<Option<Packed>>,
    now: Time,
) -> Result<Up, Error> {
    let key = key::count(content, hash);
    let Some(mut count) = tx.get::<Count>(Space::Counts, &key)? else { return Ok(Up::Counted) };
    match (count.state, put) {
        (CountState::Damaged, None) => Ok(Up::NeedPut),
        (CountState::Damaged, Some(packed)) => {
            place(tx, content, &mut count.role, packed, now)?;
            tx.put(Space::Counts, &key, &Count { state: CountState::Live, ..count });
            Ok(Up::Counted)
        }
        _ => Ok(Up::Counted),
    }
}

/// `Move`.
pub(super) fn move_all(
    tx: &mut Tx<'_>,
    content: &str,
    moves: &[(BlockHash, Packed, Option<Packed>)],
    now: Time,
) -> Result<Outcome, Error> {
    let content = content_id(tx, content)?;
    for &(hash, from, to) in moves {
        let key = key::count(content, hash);
        let count: Option<Count> = tx.get(Space::Counts, &key)?;
        let rests = |count: &Count| {
            count.role == Role::Packed(from) && !matches!(count.state, CountState::Deleting(_))
        };
        if let Some(mut count) = count.filter(rests) {
            place(tx, content, &mut count.role, to, now)?;
            tx.put(Space::Counts, &key, &count);
        }
    }
    Ok(Outcome::Done)
}

/// Has a block rest in a pack, or in an object of its own, from now on.
fn place(
    tx: &mut Tx<'_>,
    content: ContentId,
    role: &mut Role,
    packed: Option<Packed>,
    now: Time,
) -> Result<(), Error> {
    let new = packed.map_or(Role::Own, Role::Packed);
    if *role == new {
        return Ok(());
    }
    if let Some(packed) = packed {
        pack_up(tx, content, packed)?;
    }
    if let Role::Packed(old) = *role {
        pack_down(tx, content, old, now)?;
    }
    *role = new;
    Ok(())
}

/// One more block rests in a pack.
fn pack_up(tx: &mut Tx<'_>, content: ContentId, packed: Packed) -> Result<(), Error> {
    let PackId(id) = packed.pack;
    let key = key::count(content, id);
    let (count, bytes, left) = match tx.get(Space::Counts, &key)? {
        None => (0, 0, Time::default()),
        Some(Count { count, state, role: Role::Pack { bytes, left }, .. }) => match state {
            CountState::Deleting(_) => return Err(Error::Busy),
            CountState::Condemned(since) => {
                tx.remove(Space::Misc, &key::condemned(content, since, id));
                (count, bytes, left)
            }
            CountState::Live | CountState::Damaged => (count, bytes, left),
        },
        Some(_) => return Err(broken("a pack with the hash of a block", &id)),
    };
    let role = Role::Pack { bytes: bytes + u64::from(packed.bytes), left };
    let count = Count { count: count + 1, stored_len: 0, state: CountState::Live, role };
    tx.put(Space::Counts, &key, &count);
    Ok(())
}

/// A block rests in a pack no more since then. The last one condemns it, as of the latest moment
/// when a block left it: a checkpoint or a reader may still look for that block there.
fn pack_down(
    tx: &mut Tx<'_>,
    content: ContentId,
    packed: Packed,
    since: Time,
) -> Result<(), Error> {
    let PackId(id) = packed.pack;
    let key = key::count(content, id);
    let wrong = || broken("no pack around a block", &id);
    let mut count: Count = tx.get(Space::Counts, &key)?.ok_or_else(wrong)?;
    let Role::Pack { bytes, left } = count.role else { return Err(wrong()) };
    let bytes = bytes.checked_sub(packed.bytes.into()).ok_or_else(wrong)?;
    let left = tx.let_go(left.max(since));
    count.count = count.count.checked_sub(1).ok_or_else(wrong)?;
    count.role = Role::Pack { bytes, left };
    if count.count == 0 {
        condemn(tx, content, id, &mut count, left);
    }
    tx.put(Space::Counts, &key, &count);
    Ok(())
}

/// `DeleteBegin`. Repeating it is fine: after a crash, nobody knows which objects are gone.
pub(super) fn delete_begin(
    tx: &mut Tx<'_>,
    content: &str,
    hashes: &[BlockHash],
) -> Result<Outcome, Error> {
    let content = content_id(tx, content)?;
    let mut deleting = Vec::new();
    for &hash in hashes {
        let key = key::count(content, hash);
        match tx.get(Space::Counts, &key)? {
            Some(count @ Count { state: CountState::Condemned(since), role, .. }) => {
                let state = CountState::Deleting(since);
                tx.put(Space::Counts, &key, &Count { state, ..count });
                deleting.push((hash, Rest::from(role)));
            }
            Some(Count { state: CountState::Deleting(_), role, .. }) => {
                deleting.push((hash, Rest::from(role)));
            }
            Some(Count { state: CountState::Live | CountState::Damaged, .. }) | None => {}
        }
    }
    Ok(Outcome::Deleting(deleting))
}

/// `DeleteEnd`. Blocks that were not being deleted are left alone.
pub(super) fn delete_end(
    tx: &mut Tx<'_>,
    content: &str,
    hashes: &[BlockHash],
) -> Result<Outcome, Error> {
    let content = content_id(tx, content)?;
    for &hash in hashes {
        let key = key::count(content, hash);
        if let Some(Count { state: CountState::Deleting(since), stored_len, role, .. }) =
            tx.get(Space::Counts, &key)?
        {
            if let Role::Packed(packed) = role {
                pack_down(tx, content, packed, since)?;
            }
            tx.remove(Space::Counts, &key);
            tx.remove(Space::Misc, &key::condemned(content, since, hash));
            stored_change(tx, content, 0, stored_len.into())?;
        }
    }
    Ok(Outcome::Done)
}

fn condemn(tx: &mut Tx<'_>, content: ContentId, hash: BlockHash, count: &mut Count, now: Time) {
    count.state = CountState::Condemned(now);
    let key = key::condemned(content, now, hash);
    tx.put(Space::Misc, &key, &Box::<[u8]>::default());
}

/// Changes the bytes that a content store holds.
fn stored_change(tx: &mut Tx<'_>, content: ContentId, more: u64, less: u64) -> Result<(), Error> {
    let key = key::content_totals(content);
    let Number(bytes) = tx.get(Space::Misc, &key)?.unwrap_or_default();
    let bytes = (bytes + more).checked_sub(less);
    let bytes = bytes.ok_or_else(|| broken("stored bytes below 0", &content))?;
    tx.put(Space::Misc, &key, &Number(bytes));
    Ok(())
}

fn content_id(tx: &Tx<'_>, name: &str) -> Result<ContentId, Error> {
    crate::read::content_id(tx, name)?.ok_or(Error::Invalid)
}
