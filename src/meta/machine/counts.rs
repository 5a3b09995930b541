//! How many map entries name each stored block, and what happens to those that none names.
//!
//! | state | count | a reference to it | leaves by |
//! |---|---|---|---|
//! | not counted | | needs a PUT first | `SetBlock` after a PUT |
//! | live | above 0 | one more | the last reference going |
//! | damaged | above 0 | needs a PUT first, and is live then | as live |
//! | condemned | 0 | live again | a reference, or `DeleteBegin` |
//! | condemned, length unknown | 0 | needs a PUT first | as condemned |
//! | deleting | 0 | `Busy`: the deletion would take a new object too | `DeleteEnd` |

use vocab::{BlockHash, Error, Time};

use crate::{
    command::Outcome,
    engine::Space,
    key::{self, ContentId},
    record::{Count, CountState, MapEntry, Number},
    tx::{Tx, broken},
};

/// What became of a reference.
pub(super) enum Up {
    Counted,
    NeedPut,
}

/// Counts one more reference.
///
/// # Errors
/// `Busy` while the object is being deleted; `Corrupt` when the length is not the stored one.
pub(super) fn up(
    tx: &mut Tx<'_>,
    content: ContentId,
    hash: BlockHash,
    stored_len: u32,
    was_put: bool,
) -> Result<Up, Error> {
    let key = key::count(content, hash);
    let old: Option<Count> = tx.get(Space::Counts, &key)?;
    let count = match old {
        None if !was_put => return Ok(Up::NeedPut),
        None => {
            stored_change(tx, content, stored_len.into(), 0)?;
            1
        }
        // A sweep found the object and nobody knows what is in it.
        Some(Count { stored_len: 0, state: CountState::Condemned(since), .. }) => {
            if !was_put {
                return Ok(Up::NeedPut);
            }
            tx.remove(Space::Misc, &key::condemned(content, since, hash));
            stored_change(tx, content, stored_len.into(), 0)?;
            1
        }
        Some(Count { state: CountState::Deleting(_), .. }) => return Err(Error::Busy),
        Some(Count { stored_len: known, .. }) if known != stored_len => {
            return Err(broken("another length for the same hash", &hash));
        }
        Some(Count { state: CountState::Live, count, .. }) => count + 1,
        Some(Count { state: CountState::Damaged, .. }) if !was_put => return Ok(Up::NeedPut),
        Some(Count { state: CountState::Damaged, count, .. }) => count + 1,
        Some(Count { state: CountState::Condemned(since), .. }) => {
            tx.remove(Space::Misc, &key::condemned(content, since, hash));
            1
        }
    };
    tx.put(Space::Counts, &key, &Count { count, stored_len, state: CountState::Live });
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
        condemn(tx, content, entry.hash, &mut count, now);
    }
    tx.put(Space::Counts, &key, &count);
    Ok(())
}

/// An object was put and is not needed after all: the collector must learn of it.
pub(super) fn put_in_vain(
    tx: &mut Tx<'_>,
    content: ContentId,
    hash: BlockHash,
    stored_len: u32,
    now: Time,
) -> Result<(), Error> {
    let key = key::count(content, hash);
    if tx.get::<Count>(Space::Counts, &key)?.is_some() {
        return Ok(());
    }
    stored_change(tx, content, stored_len.into(), 0)?;
    let mut count = Count { count: 0, stored_len, state: CountState::Live };
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
) -> Result<Outcome, Error> {
    let content = content_id(tx, content)?;
    let all = crate::read::content_ids(tx)?;
    let mut condemned = Vec::new();
    for &(hash, since) in found {
        let mut is_counted = false;
        for &content in &all {
            let count: Option<Count> = tx.get(Space::Counts, &key::count(content, hash))?;
            is_counted |= count.is_some();
        }
        if !is_counted {
            let mut count = Count { count: 0, stored_len: 0, state: CountState::Live };
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

/// An entry keeps its block, whose object was put again when `was_put`.
pub(super) fn keep(
    tx: &mut Tx<'_>,
    content: ContentId,
    hash: BlockHash,
    was_put: bool,
) -> Result<Up, Error> {
    let key = key::count(content, hash);
    match tx.get::<Count>(Space::Counts, &key)? {
        Some(Count { state: CountState::Damaged, .. }) if !was_put => Ok(Up::NeedPut),
        Some(count @ Count { state: CountState::Damaged, .. }) => {
            tx.put(Space::Counts, &key, &Count { state: CountState::Live, ..count });
            Ok(Up::Counted)
        }
        _ => Ok(Up::Counted),
    }
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
            Some(Count { state: CountState::Condemned(since), count, stored_len }) => {
                let state = CountState::Deleting(since);
                tx.put(Space::Counts, &key, &Count { count, stored_len, state });
                deleting.push(hash);
            }
            Some(Count { state: CountState::Deleting(_), .. }) => deleting.push(hash),
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
        if let Some(Count { state: CountState::Deleting(since), stored_len, .. }) =
            tx.get(Space::Counts, &key)?
        {
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
