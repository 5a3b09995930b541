//! Questions to the engine: each is answered from one view.

use vocab::{
    BlockHash, BlockIndex, Cookie, Error, FileKind, InodeId, PackId, Sequence, ShareId, Time,
};

use crate::{
    BlockEntry, Counted, ShareRoot, Totals,
    command::DataState,
    engine::{Space, View},
    key::{self, ContentId},
    listings::{Draft, Page},
    record::{
        CookieEntry, Count, CountState, DirectoryBody, Inode, MapEntry, NameEntry, Number, Role,
        Share, ShareTotals,
    },
    tx::{broken, get, scan},
};

/// An inode that is not an orphan.
pub(crate) fn inode(view: &dyn View, id: InodeId) -> Result<Inode, Error> {
    let inode: Option<Inode> = get(view, Space::Inodes, &key::inode(id))?;
    inode.filter(|inode| inode.stored.nlink > 0).ok_or(Error::Stale)
}

fn directory(view: &dyn View, id: InodeId) -> Result<DirectoryBody, Error> {
    inode(view, id)?.directory().copied().ok_or(Error::NotDirectory)
}

/// What a name leads to; `None` for none.
pub(crate) fn lookup(view: &dyn View, dir: InodeId, name: &[u8]) -> Result<Option<Inode>, Error> {
    directory(view, dir)?;
    let entry: Option<NameEntry> = get(view, Space::Names, &key::name(dir, name))?;
    let Some(entry) = entry else { return Ok(None) };
    match inode(view, entry.inode) {
        Err(Error::Stale) => Err(broken("no inode behind an entry", &entry)),
        found => found.map(Some),
    }
}

/// Entries above a cookie, and the directory's `change`.
pub(crate) fn readdir(view: &dyn View, dir: InodeId, after: Cookie) -> Result<(u64, Page), Error> {
    let found = inode(view, dir)?;
    found.directory().ok_or(Error::NotDirectory)?;
    let mut page = Draft::default();
    let mut end = true;
    let (from, to) = key::cookies_after(dir, after);
    scan(view, Space::Cookies, (&from, &to), |key, entry: CookieEntry| {
        let cookie = key::cookie_of(key).ok_or_else(|| broken("a short cookie key", &dir))?;
        end = page.push(cookie, entry.inode, &entry.name);
        Ok(end)
    })?;
    Ok((found.attr().change, page.finish(after, end)))
}

pub(crate) fn parent(view: &dyn View, dir: InodeId) -> Result<InodeId, Error> {
    directory(view, dir).map(|body| body.parent)
}

pub(crate) fn readlink(view: &dyn View, id: InodeId) -> Result<Box<[u8]>, Error> {
    if inode(view, id)?.stored.kind != FileKind::Symlink {
        return Err(Error::Invalid);
    }
    get(view, Space::Misc, &key::path(id))?.ok_or_else(|| broken("no path", &id))
}

pub(crate) fn blocks(
    view: &dyn View,
    id: InodeId,
    first: BlockIndex,
    count: u32,
) -> Result<Vec<BlockEntry>, Error> {
    inode(view, id)?;
    let from = key::block(id, first);
    let to = key::block(id, BlockIndex(first.0.saturating_add(count)));
    let mut blocks = Vec::new();
    scan(view, Space::Map, (&from, &to), |key, entry: MapEntry| {
        let index = key::block_of(key).ok_or_else(|| broken("a short key in the map", &id))?;
        blocks.push(entry.at(index));
        Ok(true)
    })?;
    Ok(blocks)
}

pub(crate) fn data_state(view: &dyn View, id: InodeId) -> Result<DataState, Error> {
    inode(view, id).map(|inode| inode.data_state())
}

pub(crate) fn sealed(view: &dyn View, id: InodeId) -> Result<Sequence, Error> {
    inode(view, id).map(|inode| inode.regular().map_or(Sequence(0), |body| body.sealed))
}

/// What is counted under an id.
pub(crate) fn count_of(
    view: &dyn View,
    content: &str,
    id: BlockHash,
) -> Result<Option<Counted>, Error> {
    let Some(content) = content_id(view, content)? else { return Ok(None) };
    let count: Option<Count> = get(view, Space::Counts, &key::count(content, id))?;
    Ok(count.map(|count| shown(id, count)))
}

/// The blocks that rest in a pack, by reading all counts.
pub(crate) fn packed_in(
    view: &dyn View,
    content: &str,
    pack: PackId,
) -> Result<Vec<Counted>, Error> {
    let Some(content) = content_id(view, content)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let (from, to) = key::counts_after(content, None);
    scan(view, Space::Counts, (&from, &to), |key, count: Count| {
        if matches!(count.role, Role::Packed(packed) if packed.pack == pack) {
            let hash = key::counted_of(key).ok_or_else(|| broken("a short key", &key))?;
            found.push(shown(hash, count));
        }
        Ok(true)
    })?;
    Ok(found)
}

fn shown(hash: BlockHash, count: Count) -> Counted {
    let Count { count: references, stored_len, state, role } = count;
    let (since, is_deleting) = match state {
        CountState::Live | CountState::Damaged => (None, false),
        CountState::Condemned(since) => (Some(since), false),
        CountState::Deleting(since) => (Some(since), true),
    };
    let (rests, is_damaged) = (role.into(), state == CountState::Damaged);
    Counted { hash, rests, stored_len, references, since, is_deleting, is_damaged }
}

pub(crate) fn shares(view: &dyn View) -> Result<Vec<ShareRoot>, Error> {
    let mut shares = Vec::new();
    let (from, to) = key::shares();
    scan(view, Space::Misc, (&from, &to), |_, share: Share| {
        shares.push(share.root);
        Ok(true)
    })?;
    Ok(shares)
}

/// Counters of all shares, or of one and its content store.
pub(crate) fn totals(view: &dyn View, share: Option<ShareId>) -> Result<Totals, Error> {
    let mut totals = Totals::default();
    if let Some(share) = share {
        let of_share: Option<ShareTotals> = get(view, Space::Misc, &key::share_totals(share))?;
        let of_share = of_share.unwrap_or_default();
        totals.inodes = of_share.inodes;
        totals.bytes_used = of_share.bytes_used;
        if let Some(Share { content, .. }) = get(view, Space::Misc, &key::share(share))? {
            let stored: Option<Number> = get(view, Space::Misc, &key::content_totals(content))?;
            totals.bytes_stored = stored.unwrap_or_default().0;
        }
        return Ok(totals);
    }
    let (from, to) = key::all_share_totals();
    scan(view, Space::Misc, (&from, &to), |_, of_share: ShareTotals| {
        totals.inodes += of_share.inodes;
        totals.bytes_used += of_share.bytes_used;
        Ok(true)
    })?;
    let (from, to) = key::all_content_totals();
    scan(view, Space::Misc, (&from, &to), |_, Number(bytes)| {
        totals.bytes_stored += bytes;
        Ok(true)
    })?;
    Ok(totals)
}

pub(crate) fn orphans(view: &dyn View, max: usize) -> Result<Vec<InodeId>, Error> {
    let mut orphans = Vec::new();
    let (from, to) = key::orphans();
    scan(view, Space::Misc, (&from, &to), |key, _: Box<[u8]>| {
        if orphans.len() < max {
            orphans.push(key::orphan_of(key).ok_or_else(|| broken("a short key", &key))?);
        }
        Ok(orphans.len() < max)
    })?;
    Ok(orphans)
}

/// Longest condemned first.
pub(crate) fn condemned(
    view: &dyn View,
    content: &str,
    before: Time,
    max: usize,
) -> Result<Vec<BlockHash>, Error> {
    let Some(content) = content_id(view, content)? else { return Ok(Vec::new()) };
    let mut hashes = Vec::new();
    let (from, to) = (key::condemned_start(content), key::condemned_from(content, before));
    scan(view, Space::Misc, (&from, &to), |key, _: Box<[u8]>| {
        if hashes.len() < max {
            hashes.push(key::condemned_of(key).ok_or_else(|| broken("a short key", &key))?);
        }
        Ok(hashes.len() < max)
    })?;
    Ok(hashes)
}

/// Counts of a content store in order of their hashes, after one.
pub(crate) fn counted(
    view: &dyn View,
    content: &str,
    after: Option<BlockHash>,
    max: usize,
) -> Result<Vec<Counted>, Error> {
    let Some(content) = content_id(view, content)? else { return Ok(Vec::new()) };
    let mut counted = Vec::new();
    let (from, to) = key::counts_after(content, after);
    scan(view, Space::Counts, (&from, &to), |key, count: Count| {
        if counted.len() < max {
            let hash = key::counted_of(key).ok_or_else(|| broken("a short key", &key))?;
            counted.push(shown(hash, count));
        }
        Ok(counted.len() < max)
    })?;
    Ok(counted)
}

/// The numbers of all content stores.
pub(crate) fn content_ids(view: &dyn View) -> Result<Vec<ContentId>, Error> {
    let mut ids = Vec::new();
    let (from, to) = key::contents();
    scan(view, Space::Misc, (&from, &to), |key, Number(id)| {
        ids.push(u32::try_from(id).map(ContentId).map_err(|_| broken("content id", &key))?);
        Ok(true)
    })?;
    Ok(ids)
}

/// The number of a content store; `None` when no share rests in it.
pub(crate) fn content_id(view: &dyn View, name: &str) -> Result<Option<ContentId>, Error> {
    let number: Option<Number> = get(view, Space::Misc, &key::content(name))?;
    let id = number.map(|Number(id)| u32::try_from(id).map(ContentId));
    id.transpose().map_err(|_| broken("content id out of range", &name))
}
