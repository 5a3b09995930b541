//! The state machine: what each command does to the store, one file per family of commands.
//!
//! Invariants: the same commands in the same order give the same store. Inode ids, share ids and
//! cookies are never given out twice. A block's count is the number of map entries that name it;
//! at 0 it is condemned, and only `DeleteEnd` forgets it.

mod blocks;
mod counts;
mod create;
mod data;
mod reap;
mod remove;
mod rename;

use vocab::{Attr, Cookie, Error, FileKind, InodeId, ShareId, Time};

use crate::{
    command::{Command, Outcome},
    engine::Space,
    key::{self, ContentId},
    record::{Body, Counters, DirectoryBody, Inode, NameEntry, Share, ShareTotals},
    tx::{Tx, broken},
};

/// Bytes that a directory seems to grow by, for each of its entries.
const ENTRY_BYTES: u64 = 64;
/// Bytes by which a directory seems to grow.
const PAGE_BYTES: u64 = 4096;

/// Applies a command, wholly or not at all. One trace is left by a block that comes too late: its
/// object was put, and the collector must learn of it.
///
/// # Errors
/// The command's; `Io` and `Corrupt` from below.
pub(crate) fn apply(tx: &mut Tx<'_>, command: &Command) -> Result<Outcome, Error> {
    let done = tx.attempt(|tx| dispatch(tx, command));
    if done.as_ref().err() == Some(&Error::Stale)
        && let Command::SetBlock { inode, block: Some(block), was_put: true, packed, now, .. } =
            command
    {
        tx.attempt(|tx| blocks::put_in_vain(tx, *inode, *block, *packed, *now))?;
    }
    done
}

fn dispatch(tx: &mut Tx<'_>, command: &Command) -> Result<Outcome, Error> {
    match command {
        Command::ShareCreate { name, content, attr, now, generation } => {
            create::share(tx, name, content, attr, *now, *generation)
        }
        Command::Create { dir, name, kind, attr, now, generation } => {
            create::create(tx, (*dir, name), kind, attr, *now, *generation)
        }
        Command::Link { inode, dir, name, now } => create::link(tx, *inode, (*dir, name), *now),
        Command::Remove { dir, name, directory, now } => {
            remove::remove(tx, (*dir, name), *directory, *now)
        }
        Command::Rename { from_dir, from_name, to_dir, to_name, now } => {
            rename::rename(tx, (*from_dir, from_name), (*to_dir, to_name), *now)
        }
        Command::SetAttr { inode, change, guard, now, data } => {
            data::set_attr(tx, *inode, change, *guard, *now, *data)
        }
        Command::FlushData { inode, data } => data::flush(tx, *inode, *data),
        Command::Seal { inode, sequence } => data::seal(tx, *inode, *sequence),
        Command::SetBlock { inode, index, block, watermark, data, was_put, packed, now } => {
            let new = blocks::NewBlock {
                index: *index,
                block: *block,
                watermark: *watermark,
                put: was_put.then_some(*packed),
            };
            blocks::set(tx, *inode, &new, *data, *now)
        }
        Command::Reap { inode, blocks_max, now } => reap::reap(tx, *inode, *blocks_max, *now),
        Command::Condemn { content, found, packs } => {
            counts::condemn_found(tx, content, found, *packs)
        }
        Command::Move { content, moves, now } => counts::move_all(tx, content, moves, *now),
        Command::MarkDamaged { content, hash, is_damaged } => {
            counts::mark(tx, content, *hash, *is_damaged)
        }
        Command::DeleteBegin { content, hashes } => counts::delete_begin(tx, content, hashes),
        Command::DeleteEnd { content, hashes } => counts::delete_end(tx, content, hashes),
    }
}

/// An inode that has a name, or is a root.
fn inode(tx: &Tx<'_>, id: InodeId) -> Result<Inode, Error> {
    let inode: Option<Inode> = tx.get(Space::Inodes, &key::inode(id))?;
    inode.filter(|inode| inode.stored.nlink > 0).ok_or(Error::Stale)
}

fn directory(tx: &Tx<'_>, id: InodeId) -> Result<(Inode, DirectoryBody), Error> {
    let inode = inode(tx, id)?;
    let body = *inode.directory().ok_or(Error::NotDirectory)?;
    Ok((inode, body))
}

/// The inode that an entry leads to: it must be there.
fn inode_of_entry(tx: &Tx<'_>, entry: &NameEntry) -> Result<Inode, Error> {
    let found = inode(tx, entry.inode);
    if found == Err(Error::Stale) {
        return Err(broken("no inode behind an entry", entry));
    }
    found
}

fn save(tx: &mut Tx<'_>, inode: &Inode) {
    tx.put(Space::Inodes, &key::inode(inode.id()), inode);
}

/// Something about it changed.
fn touch(attr: &mut Attr, now: Time) {
    attr.ctime = attr.ctime.max(now);
    attr.change += 1;
}

fn entry(tx: &Tx<'_>, dir: InodeId, name: &[u8]) -> Result<Option<NameEntry>, Error> {
    tx.get(Space::Names, &key::name(dir, name))
}

/// Enters a name; at a fresh cookie unless one is given. The directory is read and written here, so
/// that callers cannot hold an old copy of it.
fn entry_add(
    tx: &mut Tx<'_>,
    (dir, name): (InodeId, &[u8]),
    (inode, kind): (InodeId, FileKind),
    cookie: Option<Cookie>,
    now: Time,
) -> Result<(), Error> {
    let (mut inode_dir, mut body) = directory(tx, dir)?;
    let cookie = cookie.unwrap_or_else(|| {
        let fresh = body.cookie_next;
        body.cookie_next = Cookie(fresh.0 + 1);
        fresh
    });
    body.entries += 1;
    if kind == FileKind::Directory {
        inode_dir.stored.nlink += 1;
    }
    tx.put(Space::Names, &key::name(dir, name), &NameEntry { inode, cookie, kind });
    let at_cookie = crate::record::CookieEntry { inode, kind, name: name.into() };
    tx.put(Space::Cookies, &key::cookie(dir, cookie), &at_cookie);
    save_directory(tx, inode_dir, body, now);
    Ok(())
}

/// Takes a name out.
fn entry_remove(
    tx: &mut Tx<'_>,
    (dir, name): (InodeId, &[u8]),
    entry: &NameEntry,
    now: Time,
) -> Result<(), Error> {
    let (mut inode_dir, mut body) = directory(tx, dir)?;
    body.entries =
        body.entries.checked_sub(1).ok_or_else(|| broken("more entries than counted", &dir))?;
    if entry.kind == FileKind::Directory {
        inode_dir.stored.nlink -= 1;
    }
    tx.remove(Space::Names, &key::name(dir, name));
    tx.remove(Space::Cookies, &key::cookie(dir, entry.cookie));
    save_directory(tx, inode_dir, body, now);
    Ok(())
}

fn save_directory(tx: &mut Tx<'_>, mut dir: Inode, body: DirectoryBody, now: Time) {
    dir.stored.size = directory_size(body.entries);
    dir.stored.mtime = now;
    touch(&mut dir.stored, now);
    dir.body = Body::Directory(body);
    save(tx, &dir);
}

pub(crate) fn directory_size(entries: u64) -> u64 {
    ((entries + 2) * ENTRY_BYTES).next_multiple_of(PAGE_BYTES)
}

/// Whether a name may stand in a directory. `.` and `..` are there already.
fn name_check(name: &[u8], dots: Error) -> Result<(), Error> {
    vocab::name::check(name)?;
    if name == b"." || name == b".." { Err(dots) } else { Ok(()) }
}

fn counters(tx: &Tx<'_>) -> Result<Counters, Error> {
    let counters = tx.get(Space::Misc, &key::counters())?;
    Ok(counters.unwrap_or(Counters { inode: InodeId(2), share: ShareId(1), content: ContentId(1) }))
}

/// A fresh inode id.
fn inode_id(tx: &mut Tx<'_>) -> Result<InodeId, Error> {
    let mut counters = counters(tx)?;
    let id = counters.inode;
    counters.inode = InodeId(id.0 + 1);
    tx.put(Space::Misc, &key::counters(), &counters);
    Ok(id)
}

fn share(tx: &Tx<'_>, id: ShareId) -> Result<Share, Error> {
    tx.get(Space::Misc, &key::share(id))?.ok_or_else(|| broken("no record", &id))
}

/// Changes a share's totals.
fn totals_change(
    tx: &mut Tx<'_>,
    share: ShareId,
    inodes: i64,
    bytes_used: i64,
) -> Result<(), Error> {
    if inodes == 0 && bytes_used == 0 {
        return Ok(());
    }
    let key = key::share_totals(share);
    let totals: ShareTotals = tx.get(Space::Misc, &key)?.unwrap_or_default();
    let damaged = || broken("totals below 0", &share);
    let totals = ShareTotals {
        inodes: totals.inodes.checked_add_signed(inodes).ok_or_else(damaged)?,
        bytes_used: totals.bytes_used.checked_add_signed(bytes_used).ok_or_else(damaged)?,
    };
    tx.put(Space::Misc, &key, &totals);
    Ok(())
}
