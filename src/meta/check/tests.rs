//! Each kind of damage, planted in a store that was whole: found, and repaired where that is said.

use vocab::{BlockHash, Cookie, InodeId, PackId, Packed, ShareId, Time};

use super::{Checked, check};
use crate::{
    command::{Command, NewKind},
    conformance::{Fixture, hash, wait},
    engine::{Batch, Space},
    key::{self, ContentId},
    record::{
        Body, CookieEntry, Count, CountState, Counters, Inode, MapEntry, NameEntry, Number, Record,
        Role, ShareTotals,
    },
    tx::get,
};

const CONTENT: ContentId = ContentId(1);

/// A tree with something of everything.
struct World {
    f: Fixture,
    dir: InodeId,
    file: InodeId,
    link: InodeId,
    orphan: InodeId,
}

impl World {
    fn new() -> Self {
        let f = Fixture::lsm();
        let dir = f.make(f.root, "dir", NewKind::Directory).expect("dir").inode;
        let file = f.file(dir, "file");
        let link = f.make(dir, "link", NewKind::Symlink(b"there".as_slice().into())).expect("link");
        let orphan = f.file(f.root, "orphan");
        f.set_block(file, 0, (1, 5000), 1, true).expect("block");
        f.set_block(file, 1, (2, 5000), 1, true).expect("block");
        f.set_block(file, 1, (3, 5000), 2, true).expect("block");
        f.set_block(orphan, 0, (1, 5000), 1, true).expect("block");
        f.remove(f.root, "orphan").expect("orphan");
        f.check();
        Self { dir, file, link: link.inode, orphan, f }
    }

    fn get<R: Record>(&self, space: Space, key: &[u8]) -> R {
        get(&*self.f.store.core().engine.view(), space, key).expect("readable").expect("there")
    }

    fn change(&self, space: Space, key: &[u8], value: Option<Box<[u8]>>) {
        let mut batch = Batch::default();
        batch.changes_mut(space).insert(key.into(), value);
        self.f.store.core().engine.commit(&batch).expect("commit");
    }

    fn put<R: Record>(&self, space: Space, key: &[u8], record: &R) {
        self.change(space, key, Some(record.encode()));
    }

    fn edit<R: Record>(&self, space: Space, key: &[u8], edit: impl FnOnce(&mut R)) {
        let mut record = self.get(space, key);
        edit(&mut record);
        self.put(space, key, &record);
    }

    fn checked(&self) -> Checked {
        check(&*self.f.store.core().engine.view())
    }

    /// The damage is found in these words, and gone after a repair.
    #[track_caller]
    fn repaired(self, words: &str) -> Self {
        let checked = self.checked();
        let found = checked.findings.iter().find(|finding| finding.what.contains(words));
        let found = found.unwrap_or_else(|| panic!("no `{words}` in {:?}", checked.findings));
        assert!(found.repair.is_some(), "{found:?}");
        assert!(checked.findings.iter().all(|finding| finding.repair.is_some()), "{checked:?}");
        wait(self.f.store.repair(checked)).expect("repair");
        self.f.check();
        self
    }

    /// The damage is found in these words, and nothing is proposed.
    #[track_caller]
    fn lost(self, words: &str) {
        let checked = self.checked();
        let found = checked.findings.iter().any(|finding| finding.what.contains(words));
        assert!(found, "no `{words}` in {:?}", checked.findings);
        assert!(checked.findings.iter().all(|finding| finding.repair.is_none()), "{checked:?}");
        assert!(checked.repairs.is_empty());
    }
}

fn inode_key(inode: InodeId) -> [u8; 8] {
    key::inode(inode)
}

#[test]
fn names_that_lead_nowhere() {
    let w = World::new();
    let name = key::name(w.dir, b"ghost");
    let kind = vocab::FileKind::Regular;
    w.put(Space::Names, &name, &NameEntry { inode: InodeId(99), cookie: Cookie(9), kind });
    let w = w.repaired("is gone");
    w.put(
        Space::Names,
        &key::name(InodeId(98), b"x"),
        &NameEntry { inode: w.file, cookie: Cookie(3), kind },
    );
    let w = w.repaired("which is none");
    w.change(
        Space::Names,
        b"short",
        Some(w.get::<NameEntry>(Space::Names, &key::name(w.dir, b"file")).encode()),
    );
    w.repaired("a name without a directory");
}

#[test]
fn names_and_cookies_that_disagree() {
    let w = World::new();
    let name = key::name(w.dir, b"file");
    w.edit(Space::Names, &name, |entry: &mut NameEntry| entry.kind = vocab::FileKind::Fifo);
    let w = w.repaired("says Fifo");
    let entry: NameEntry = w.get(Space::Names, &name);
    w.change(Space::Cookies, &key::cookie(w.dir, entry.cookie), None);
    let w = w.repaired("not listed at its cookie");
    let at_cookie =
        CookieEntry { inode: w.file, kind: entry.kind, name: b"none".as_slice().into() };
    w.put(Space::Cookies, &key::cookie(w.dir, Cookie(77)), &at_cookie);
    let w = w.repaired("which is no name of it");
    assert_eq!(w.f.list(w.dir).expect("list").len(), 2);
}

#[test]
fn inodes_that_lost_their_names_get_one() {
    for is_directory in [false, true] {
        let w = World::new();
        let (dir, name, lost) = match is_directory {
            true => (w.f.root, b"dir".as_slice(), w.dir),
            false => (w.dir, b"file".as_slice(), w.file),
        };
        let name = key::name(dir, name);
        let entry: NameEntry = w.get(Space::Names, &name);
        w.change(Space::Names, &name, None);
        w.change(Space::Cookies, &key::cookie(dir, entry.cookie), None);
        let w = w.repaired("has no name");
        let found = w.f.lookup(w.f.root, &format!("lost+found-{}", lost.0));
        assert_eq!(found, Ok(lost));
        assert_eq!(w.f.lookup(w.dir, "..").expect("its parent"), w.f.root);
    }
}

#[test]
fn numbers_of_inodes_that_are_wrong() {
    let w = World::new();
    w.edit(Space::Inodes, &inode_key(w.file), |inode: &mut Inode| inode.stored.nlink = 7);
    let w = w.repaired("7 links");
    w.edit(Space::Inodes, &inode_key(w.file), |inode: &mut Inode| inode.stored.nlink = 0);
    let w = w.repaired("0 links");
    w.edit(Space::Inodes, &inode_key(w.file), |inode: &mut Inode| inode.stored.used = 1);
    let w = w.repaired("uses 1 bytes");
    let body = |change: fn(&mut crate::record::DirectoryBody)| {
        move |inode: &mut Inode| match &mut inode.body {
            Body::Directory(body) => change(body),
            Body::Regular(_) | Body::Other => panic!("a directory"),
        }
    };
    w.edit(Space::Inodes, &inode_key(w.dir), body(|body| body.entries = 9));
    let w = w.repaired("9 entries");
    w.edit(Space::Inodes, &inode_key(w.dir), body(|body| body.cookie_next = Cookie(3)));
    let w = w.repaired("repeat a cookie");
    w.edit(Space::Inodes, &inode_key(w.dir), body(|body| body.parent = InodeId(55)));
    let w = w.repaired("is its parent");
    w.edit(Space::Misc, &key::counters(), |counters: &mut Counters| counters.inode = InodeId(3));
    w.repaired("given out twice");
}

#[test]
fn orphans_that_are_not_listed_or_none() {
    let w = World::new();
    w.change(Space::Misc, &key::orphan(w.orphan), None);
    let w = w.repaired("is not listed");
    w.put(Space::Misc, &key::orphan(w.file), &Box::<[u8]>::default());
    w.repaired("is none");
}

#[test]
fn counts_that_are_wrong() {
    let count = |byte| key::count(CONTENT, hash(byte));
    let w = World::new();
    w.edit(Space::Counts, &count(1), |count: &mut Count| count.count = 5);
    let w = w.repaired("counts 5 references, not 2");
    w.edit(Space::Counts, &count(1), |count: &mut Count| count.stored_len = 5);
    let w = w.repaired("counts 5 bytes");
    w.change(Space::Counts, &count(1), None);
    let w = w.repaired("in use and not counted");
    let since = CountState::Condemned(Time::default());
    w.put(
        Space::Counts,
        &count(1),
        &Count { count: 0, stored_len: 5000, state: since, role: Role::Own },
    );
    let w = w.repaired("counts 0 references");
    w.change(Space::Map, &key::block(w.file, vocab::BlockIndex(1)), None);
    let w = w.repaired("counts 1 references, not 0");
    w.put(Space::Misc, &key::condemned(CONTENT, Time::default(), hash(1)), &Box::<[u8]>::default());
    let w = w.repaired("listed as condemned and is not");
    let listed = wait(w.f.store.condemned("content", crate::conformance::at(i64::MAX), 9));
    assert_eq!(listed.expect("condemned").len(), 2);
    w.put(Space::Misc, &key::content_totals(CONTENT), &Number(1));
    let w = w.repaired("not 1");
    let totals = ShareTotals { inodes: 1, bytes_used: 1 };
    w.put(Space::Misc, &key::share_totals(ShareId(1)), &totals);
    w.repaired("totals of share");
}

#[test]
fn packs_that_miscount() {
    let w = World::new();
    let packed = |at| Packed { pack: PackId(hash(9)), at, bytes: 10 };
    for (index, byte, at) in [(5, 7, 0), (6, 8, 10)] {
        w.f.set_packed(w.file, index, (byte, 100), 99, packed(at)).expect("set");
    }
    let pack = key::count(CONTENT, hash(9));
    w.edit(Space::Counts, &pack, |count: &mut Count| count.count = 5);
    let w = w.repaired("does not count its 2 blocks");
    let left = Time::default();
    w.edit(Space::Counts, &pack, |count: &mut Count| count.role = Role::Pack { bytes: 1, left });
    let w = w.repaired("does not count its 2 blocks");
    w.change(Space::Counts, &pack, None);
    let w = w.repaired("does not count its 2 blocks");
    w.change(Space::Counts, &key::count(CONTENT, hash(7)), None);
    let w = w.repaired("in use and not counted");
    let pack: Count = w.get(Space::Counts, &pack);
    assert_eq!(pack.count, 1);
}

#[test]
fn a_condemned_block_that_is_not_listed() {
    let w = World::new();
    let Count { state: CountState::Condemned(since), .. } =
        w.get(Space::Counts, &key::count(CONTENT, hash(2)))
    else {
        panic!("condemned")
    };
    w.change(Space::Misc, &key::condemned(CONTENT, since, hash(2)), None);
    w.repaired("a condemned block is not listed");
}

#[test]
fn maps_of_nothing() {
    let w = World::new();
    let entry: MapEntry = w.get(Space::Map, &key::block(w.file, vocab::BlockIndex(0)));
    w.put(Space::Map, &key::block(InodeId(77), vocab::BlockIndex(0)), &entry);
    let w = w.repaired("a block of inode 77");
    w.put(Space::Misc, &key::path(w.file), &Box::<[u8]>::default());
    w.repaired("which is no symlink");
}

#[test]
fn what_is_lost_is_said_and_left_alone() {
    let rubbish = || Some(Box::<[u8]>::from(b"rubbish".as_slice()));
    let w = World::new();
    w.change(Space::Inodes, &inode_key(w.file), rubbish());
    w.lost("unreadable value in Inodes");
    let w = World::new();
    w.change(Space::Map, &key::block(w.file, vocab::BlockIndex(0)), rubbish());
    w.lost("unreadable value in Map");
    let w = World::new();
    w.change(Space::Misc, &key::path(w.link), None);
    w.lost("has no path");
    let w = World::new();
    w.change(Space::Inodes, &inode_key(w.f.root), None);
    w.lost("no root directory");
}

#[test]
fn users_of_a_block_are_named() {
    let w = World::new();
    let wanted = [hash(1), hash(3)].into();
    let users = wait(w.f.store.users(wanted)).expect("users");
    let row = |user: &super::User| (user.hash, user.index.0, user.path.clone());
    let rows: Vec<(BlockHash, u32, String)> = users.iter().map(row).collect();
    assert_eq!(rows[0], (hash(1), 0, "/export/dir/file".to_owned()));
    assert_eq!(rows[1], (hash(3), 1, "/export/dir/file".to_owned()));
    assert_eq!(rows[2], (hash(1), 0, "(removed, or without a name)".to_owned()));
    let reap = Command::Reap { inode: w.orphan, blocks_max: 9, now: w.f.now() };
    w.f.submit(reap).expect("reaped");
    assert_eq!(wait(w.f.store.users([hash(1)].into())).expect("users").len(), 1);
}
