//! Whether every value is one, and what stands by itself: shares, counters, inodes.

use vocab::{FileKind, InodeId};

use super::{Check, Seen};
use crate::{
    engine::Space,
    key::{self, ContentId},
    record::{Counters, Format, Inode, Number, Share, ShareTotals},
};

/// Above every key.
pub(super) const END: [u8; 64] = [0xff; 64];

impl Check<'_> {
    /// The values of `Misc`, and shares with their content stores.
    pub(super) fn misc(&mut self) {
        let one = |key: Vec<u8>| (key.clone(), [key, vec![0]].concat());
        let (from, to) = one(key::format());
        self.scan(Space::Misc, (&from, &to), |_, _, _: Format| {});
        let (from, to) = key::shares();
        self.scan(Space::Misc, (&from, &to), |check, _, share: Share| {
            check.shares.insert(share.root.share, share);
        });
        let mut contents = Vec::new();
        let (from, to) = key::contents();
        self.scan(Space::Misc, (&from, &to), |_, key, Number(id)| {
            contents.push((String::from_utf8_lossy(&key[1..]).into_owned(), id));
        });
        for share in self.shares.values().cloned().collect::<Vec<_>>() {
            let id = u64::from(share.content.0);
            let name = &share.root.content;
            if !contents.iter().any(|(known, number)| known == name && *number == id) {
                self.wrong(
                    format!(
                        "the content store `{name}` of share {} is not listed",
                        share.root.name
                    ),
                    "list it",
                );
                self.put(Space::Misc, &key::content(name), &Number(id));
            }
        }
        let (from, to) = key::all_share_totals();
        self.scan(Space::Misc, (&from, &to), |_, _, _: ShareTotals| {});
        let (from, to) = key::all_content_totals();
        self.scan(Space::Misc, (&from, &to), |_, _, _: Number| {});
    }

    /// Every inode, and the counters that must be above them.
    pub(super) fn inodes(&mut self) {
        self.scan(Space::Inodes, (&[], &END), |check, key, inode: Inode| {
            check.out.inodes += 1;
            let id = inode.id();
            if key::inode_of(key) != Some(id) {
                check.is_blind = true;
                check.lost(format!("inode {} stands where inode {} should", id.0, super::hex(key)));
                return;
            }
            let attr = &inode.stored;
            if !check.shares.contains_key(&attr.share) {
                check.is_blind = true;
                check.lost(format!(
                    "inode {} belongs to share {}, of which nothing is known",
                    id.0, attr.share.0
                ));
            }
            let (parent, entries, cookie_next) = inode
                .directory()
                .map_or((InodeId(0), 0, 0), |body| (body.parent, body.entries, body.cookie_next.0));
            let seen = Seen {
                kind: attr.kind,
                share: attr.share,
                nlink: attr.nlink,
                used: attr.used,
                parent,
                entries,
                links: 0,
                listed: 0,
                subdirs: 0,
                cookie_max: 0,
                cookie_next,
                adopts: false,
                mapped: 0,
            };
            check.inodes.insert(id, seen);
        });
        self.counters();
        self.symlinks();
        for share in self.shares.values().cloned().collect::<Vec<_>>() {
            let root = self.inodes.get(&share.root.root);
            if root.is_none_or(|root| root.kind != FileKind::Directory) {
                self.is_blind = true;
                self.lost(format!("share {} has no root directory", share.root.name));
            }
        }
    }

    fn counters(&mut self) {
        let mut found = None;
        let from = key::counters();
        let to = [from.clone(), vec![0]].concat();
        self.scan(Space::Misc, (&from, &to), |_, _, counters: Counters| found = Some(counters));
        let inode = self.inodes.keys().next_back().map_or(2, |id| id.0 + 1);
        let share = self.shares.keys().next_back().map_or(1, |id| id.0 + 1);
        let content = self.shares.values().map(|share| share.content.0 + 1).max().unwrap_or(1);
        if self.shares.is_empty() {
            return;
        }
        let low = found.is_none_or(|counters| {
            counters.inode.0 < inode || counters.share.0 < share || counters.content.0 < content
        });
        if low {
            self.wrong("ids could be given out twice", "begin above those in use");
            // Those of inodes that are gone are not known any more; their handles are.
            let inode = found.map_or(0, |counters| counters.inode.0).max(inode + 1_000_000);
            let counters = Counters {
                inode: InodeId(inode),
                share: vocab::ShareId(found.map_or(0, |c| c.share.0).max(share)),
                content: ContentId(found.map_or(0, |c| c.content.0).max(content)),
            };
            self.put(Space::Misc, &key::counters(), &counters);
        }
    }

    /// Symlinks have paths, and paths symlinks.
    fn symlinks(&mut self) {
        let mut paths = Vec::new();
        let (from, to) = key::paths();
        self.scan(Space::Misc, (&from, &to), |_, key, _: Box<[u8]>| {
            paths.extend(key::path_of(key));
        });
        for id in &paths {
            if self.inodes.get(id).is_none_or(|seen| seen.kind != FileKind::Symlink) {
                self.wrong(format!("a path of inode {}, which is no symlink", id.0), "remove it");
                self.remove(Space::Misc, &key::path(*id));
            }
        }
        let is_bare = |(id, seen): (&InodeId, &Seen)| {
            let is_bare = seen.kind == FileKind::Symlink && paths.binary_search(id).is_err();
            is_bare.then_some(*id)
        };
        for id in self.inodes.iter().filter_map(is_bare).collect::<Vec<_>>() {
            self.lost(format!("symlink {} has no path", id.0));
        }
    }
}
