//! Whether the records of a store agree with each other: every count is counted again.

use std::collections::{BTreeMap, BTreeSet};

use vocab::{FileKind, InodeId, ShareId};

use crate::{
    engine::{Engine, Space},
    key,
    record::{
        CookieEntry, Count, CountState, Inode, MapEntry, NameEntry, Number, Share, ShareTotals,
    },
    tx::scan,
};

/// Checks everything.
pub(crate) fn check(engine: &dyn Engine) {
    let inodes = inodes(engine);
    names(engine, &inodes);
    orphans(engine, &inodes);
    counts(engine, &inodes);
}

fn all<R: crate::record::Record>(engine: &dyn Engine, space: Space) -> Vec<(Vec<u8>, R)> {
    let mut pairs = Vec::new();
    between(engine, space, (&[], &[0xff; 64]), &mut pairs);
    pairs
}

fn between<R: crate::record::Record>(
    engine: &dyn Engine,
    space: Space,
    range: (&[u8], &[u8]),
    pairs: &mut Vec<(Vec<u8>, R)>,
) {
    scan(&*engine.view(), space, range, |key, record| {
        pairs.push((key.to_vec(), record));
        Ok(true)
    })
    .expect("scan");
}

fn inodes(engine: &dyn Engine) -> BTreeMap<InodeId, Inode> {
    let inodes = all::<Inode>(engine, Space::Inodes);
    for (key, inode) in &inodes {
        assert_eq!(key::inode_of(key), Some(inode.id()));
        assert!(inode.id().0 >= 2, "{inode:?}");
    }
    inodes.into_iter().map(|(_, inode)| (inode.id(), inode)).collect()
}

fn names(engine: &dyn Engine, inodes: &BTreeMap<InodeId, Inode>) {
    let mut shares = Vec::<(_, Share)>::new();
    let (from, to) = key::shares();
    between(engine, Space::Misc, (&from, &to), &mut shares);
    let roots: BTreeSet<InodeId> = shares.iter().map(|(_, share)| share.root.root).collect();
    let mut links = BTreeMap::<InodeId, u32>::new();
    let mut subdirs = BTreeMap::<InodeId, u32>::new();
    let mut entries = BTreeMap::<InodeId, u64>::new();
    let by_name = all::<NameEntry>(engine, Space::Names);
    let by_cookie: BTreeMap<_, CookieEntry> = all(engine, Space::Cookies).into_iter().collect();
    assert_eq!(by_name.len(), by_cookie.len());
    for (key, entry) in &by_name {
        let (dir, name) = key.split_first_chunk::<8>().expect("a directory");
        let dir = InodeId(u64::from_be_bytes(*dir));
        let at_cookie = &by_cookie[&key::cookie(dir, entry.cookie)[..]];
        let wanted = CookieEntry { inode: entry.inode, kind: entry.kind, name: name.into() };
        assert_eq!(*at_cookie, wanted);
        let inode = &inodes[&entry.inode];
        assert_eq!(inode.stored.kind, entry.kind);
        let body = inodes[&dir].directory().expect("entries are in directories");
        assert!(entry.cookie >= crate::record::COOKIE_FIRST && entry.cookie < body.cookie_next);
        *entries.entry(dir).or_default() += 1;
        *links.entry(entry.inode).or_default() += 1;
        if let Some(body) = inode.directory() {
            assert_eq!(body.parent, dir);
            *subdirs.entry(dir).or_default() += 1;
        }
    }
    for (id, inode) in inodes {
        let of = |counts: &BTreeMap<InodeId, u32>| counts.get(id).copied().unwrap_or(0);
        if let Some(body) = inode.directory() {
            assert_eq!(inode.stored.nlink, 2 + of(&subdirs), "{inode:?}");
            assert_eq!(body.entries, entries.get(id).copied().unwrap_or(0), "{inode:?}");
            assert_eq!(of(&links), u32::from(!roots.contains(id)), "{inode:?}");
        } else {
            assert_eq!(inode.stored.nlink, of(&links), "{inode:?}");
        }
    }
}

fn orphans(engine: &dyn Engine, inodes: &BTreeMap<InodeId, Inode>) {
    let mut listed = Vec::<(_, Box<[u8]>)>::new();
    let (from, to) = key::orphans();
    between(engine, Space::Misc, (&from, &to), &mut listed);
    let listed: Vec<_> = listed.iter().map(|(key, _)| key::orphan_of(key).expect("key")).collect();
    let nameless = inodes.values().filter(|inode| inode.stored.nlink == 0);
    assert_eq!(listed, nameless.map(Inode::id).collect::<Vec<_>>());
}

fn counts(engine: &dyn Engine, inodes: &BTreeMap<InodeId, Inode>) {
    let mut shares = Vec::<(_, Share)>::new();
    let (from, to) = key::shares();
    between(engine, Space::Misc, (&from, &to), &mut shares);
    let contents: BTreeMap<ShareId, _> =
        shares.iter().map(|(_, share)| (share.root.share, share.content)).collect();
    let mut references = BTreeMap::<Vec<u8>, u64>::new();
    let mut used = BTreeMap::<InodeId, u64>::new();
    for (key, entry) in all::<MapEntry>(engine, Space::Map) {
        let id = key::inode_of(&key[..8]).expect("an inode");
        assert_eq!(inodes[&id].stored.kind, FileKind::Regular);
        *used.entry(id).or_default() += u64::from(entry.valid_len);
        if entry.names_object() {
            let content = contents[&inodes[&id].stored.share];
            *references.entry(key::count(content, entry.hash).to_vec()).or_default() += 1;
        }
    }
    let mut condemned = BTreeSet::new();
    let mut stored = BTreeMap::<Vec<u8>, u64>::new();
    for (key, count) in all::<Count>(engine, Space::Counts) {
        assert_eq!(count.count, references.remove(&key).unwrap_or(0), "{count:?}");
        let content = key::ContentId(u32::from_be_bytes(key[..4].try_into().expect("content")));
        *stored.entry(key::content_totals(content)).or_default() += u64::from(count.stored_len);
        if let CountState::Condemned(since) | CountState::Deleting(since) = count.state {
            let hash = vocab::BlockHash(key[4..].try_into().expect("a hash"));
            condemned.insert(key::condemned(content, since, hash));
        }
    }
    assert_eq!(references, BTreeMap::new(), "blocks that nobody counts");
    let mut listed = Vec::<(_, Box<[u8]>)>::new();
    between(engine, Space::Misc, (b"d", b"e"), &mut listed);
    assert_eq!(listed.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>(), condemned);
    let mut totals = Vec::<(_, Number)>::new();
    let (from, to) = key::all_content_totals();
    between(engine, Space::Misc, (&from, &to), &mut totals);
    for (key, Number(bytes)) in totals {
        assert_eq!(bytes, stored.remove(&key).unwrap_or(0));
    }
    assert_eq!(stored, BTreeMap::new());
    let mut of_shares = Vec::<(_, ShareTotals)>::new();
    let (from, to) = key::all_share_totals();
    between(engine, Space::Misc, (&from, &to), &mut of_shares);
    for (share, (_, totals)) in contents.keys().zip(of_shares) {
        let mine = || inodes.values().filter(|inode| inode.stored.share == *share);
        assert_eq!(totals.inodes, mine().count() as u64);
        assert_eq!(totals.bytes_used, mine().map(|inode| inode.stored.used).sum::<u64>());
    }
    for (id, inode) in inodes {
        assert_eq!(inode.stored.used, used.get(id).copied().unwrap_or(0), "{inode:?}");
    }
}
