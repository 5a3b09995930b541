//! Whether names, cookies, inodes and directories agree.

use std::collections::BTreeSet;

use vocab::{Cookie, FileKind, InodeId};

use super::{Check, values::END};
use crate::{
    engine::Space,
    key,
    machine::directory_size,
    record::{Body, COOKIE_FIRST, CookieEntry, NameEntry},
    tx::get,
};

impl Check<'_> {
    /// Every name leads to an inode of its kind and stands at its cookie.
    pub(super) fn names(&mut self) {
        self.scan(Space::Names, (&[], &END), |check, key, entry: NameEntry| {
            check.out.names += 1;
            check.name(key, entry);
        });
    }

    fn name(&mut self, key: &[u8], mut entry: NameEntry) {
        let Some((dir, name)) = split(key) else {
            self.wrong("a name without a directory", "remove it");
            return self.remove(Space::Names, key);
        };
        let shown = || format!("name {:?} in directory {}", String::from_utf8_lossy(name), dir.0);
        if self.inodes.get(&dir).is_none_or(|seen| seen.kind != FileKind::Directory) {
            self.wrong(format!("{}, which is none", shown()), "remove the name");
            return self.remove_name(key, dir, &entry);
        }
        let Some(target) = self.inodes.get_mut(&entry.inode) else {
            let what = format!("{} leads to inode {}, which is gone", shown(), entry.inode.0);
            self.wrong(what, "remove the name");
            return self.remove_name(key, dir, &entry);
        };
        target.links += 1;
        let (kind, parent) = (target.kind, target.parent);
        if kind != entry.kind {
            self.wrong(
                format!("{} says {:?} of inode {}, a {kind:?}", shown(), entry.kind, entry.inode.0),
                "say what the inode says",
            );
            entry.kind = kind;
            self.put(Space::Names, key, &entry);
        }
        if kind == FileKind::Directory && parent != dir {
            let what = format!("{}: its directory says that {} is its parent", shown(), parent.0);
            self.wrong(what, "set the parent");
            self.set_parent(entry.inode, dir);
        }
        let at_cookie = CookieEntry { inode: entry.inode, kind, name: name.into() };
        let cookie_key = key::cookie(dir, entry.cookie);
        // What cannot be read is found when the cookies are.
        if let Ok(found) = get::<CookieEntry>(self.view, Space::Cookies, &cookie_key)
            && found.as_ref() != Some(&at_cookie)
        {
            self.wrong(format!("{} is not listed at its cookie", shown()), "list it");
            self.put(Space::Cookies, &cookie_key, &at_cookie);
        }
        let seen = self.inodes.get_mut(&dir).expect("looked at above");
        seen.listed += 1;
        seen.subdirs += u32::from(kind == FileKind::Directory);
        seen.cookie_max = seen.cookie_max.max(entry.cookie.0);
        if entry.cookie < COOKIE_FIRST {
            self.lost(format!("{} stands at a cookie that is never given out", shown()));
        }
    }

    fn remove_name(&mut self, key: &[u8], dir: InodeId, entry: &NameEntry) {
        self.remove(Space::Names, key);
        self.remove(Space::Cookies, &key::cookie(dir, entry.cookie));
    }

    fn set_parent(&mut self, id: InodeId, dir: InodeId) {
        self.inodes.get_mut(&id).expect("a known inode").parent = dir;
        self.fix(id, |inode| {
            if let Body::Directory(body) = &mut inode.body {
                body.parent = dir;
            }
        });
    }

    /// Every cookie has its name.
    pub(super) fn cookies(&mut self) {
        self.scan(Space::Cookies, (&[], &END), |check, key, at: CookieEntry| {
            let cookie = key::cookie_of(key);
            let dir = key.get(..8).and_then(key::inode_of);
            let (Some(cookie), Some(dir)) = (cookie, dir) else {
                check.wrong("a cookie without a directory", "remove it");
                return check.remove(Space::Cookies, key);
            };
            let name = key::name(dir, &at.name);
            let Ok(entry) = get::<NameEntry>(check.view, Space::Names, &name) else { return };
            if entry.is_none_or(|entry| entry.cookie != cookie) {
                let name = String::from_utf8_lossy(&at.name);
                let what = format!("directory {} lists {name:?}, which is no name of it", dir.0);
                check.wrong(what, "take it out of the listing");
                check.remove(Space::Cookies, key);
            }
        });
    }

    /// Every inode has as many names as it says, and every directory as many entries.
    pub(super) fn links(&mut self) {
        self.reach();
        self.orphans();
        for id in self.inodes.keys().copied().collect::<Vec<_>>() {
            let is_root = self.is_root(id);
            let seen = &self.inodes[&id];
            let is_directory = seen.kind == FileKind::Directory;
            let nlink = if is_directory { 2 + seen.subdirs } else { seen.links };
            let (said, links) = (seen.nlink, seen.links);
            if is_directory && links != u32::from(!is_root) {
                self.lost(format!("directory {} has {links} names", id.0));
            }
            let seen = &self.inodes[&id];
            let (entries, listed, adopts) = (seen.entries, seen.listed, seen.adopts);
            let next = seen.cookie_next.max(seen.cookie_max + 1);
            let repeats = is_directory && seen.cookie_next < next;
            let miscounts = is_directory && entries != listed;
            if said != nlink && !adopts {
                let what = format!("inode {} says that it has {said} links, not {nlink}", id.0);
                self.wrong(what, "set the number");
            }
            if miscounts && !adopts {
                let what = format!("directory {} says {entries} entries, not {listed}", id.0);
                self.wrong(what, "set the number");
            }
            if repeats && !adopts {
                self.wrong(format!("directory {} would repeat a cookie", id.0), "begin above");
            }
            if said != nlink {
                self.fix(id, |inode| inode.stored.nlink = nlink);
            }
            if miscounts || repeats {
                self.fix(id, |inode| {
                    inode.stored.size = directory_size(listed);
                    if let Body::Directory(body) = &mut inode.body {
                        body.entries = listed;
                        body.cookie_next = Cookie(next);
                    }
                });
            }
        }
    }

    /// What has no name gets one in the root of its share, and directories lead to a root.
    fn reach(&mut self) {
        let nameless = |(id, seen): (&InodeId, &super::Seen)| {
            let is_lost = seen.links == 0 && seen.nlink > 0;
            is_lost.then_some((*id, seen.kind, seen.share))
        };
        for (id, kind, share) in self.inodes.iter().filter_map(nameless).collect::<Vec<_>>() {
            let Some(root) = self.shares.get(&share).map(|share| share.root.root) else { continue };
            if id == root || !self.inodes.contains_key(&root) {
                continue;
            }
            let name = format!("lost+found-{}", id.0);
            self.wrong(
                format!("inode {} has no name", id.0),
                format!("call it {name} in the root of its share"),
            );
            let seen = self.inodes.get_mut(&root).expect("looked at above");
            let cookie = Cookie(seen.cookie_next.max(seen.cookie_max + 1));
            seen.adopts = true;
            seen.cookie_max = cookie.0;
            seen.listed += 1;
            seen.subdirs += u32::from(kind == FileKind::Directory);
            self.inodes.get_mut(&id).expect("a known inode").links = 1;
            let at_cookie = CookieEntry { inode: id, kind, name: name.as_bytes().into() };
            self.put(
                Space::Names,
                &key::name(root, name.as_bytes()),
                &NameEntry { inode: id, cookie, kind },
            );
            self.put(Space::Cookies, &key::cookie(root, cookie), &at_cookie);
            if kind == FileKind::Directory {
                self.set_parent(id, root);
            }
        }
        let mut reached = BTreeSet::new();
        let is_directory = |(id, seen): (&InodeId, &super::Seen)| {
            (seen.kind == FileKind::Directory).then_some(*id)
        };
        for start in self.inodes.iter().filter_map(is_directory).collect::<Vec<_>>() {
            let mut way = BTreeSet::new();
            let mut at = start;
            while !self.is_root(at) && !reached.contains(&at) {
                if !way.insert(at) {
                    self.lost(format!("directory {} leads to no root", start.0));
                    break;
                }
                // A parent that is gone was found with the name.
                let Some(seen) = self.inodes.get(&at) else { break };
                at = seen.parent;
            }
            reached.extend(way);
        }
    }

    /// Orphans are listed, and nothing else is.
    fn orphans(&mut self) {
        let mut listed = BTreeSet::new();
        let (from, to) = key::orphans();
        self.scan(Space::Misc, (&from, &to), |_, key, _: Box<[u8]>| {
            listed.extend(key::orphan_of(key));
        });
        let is_orphan = |(id, seen): (&InodeId, &super::Seen)| {
            (seen.nlink == 0 && seen.links == 0).then_some(*id)
        };
        let orphans: BTreeSet<InodeId> = self.inodes.iter().filter_map(is_orphan).collect();
        for id in orphans.difference(&listed) {
            self.wrong(format!("orphan {} is not listed", id.0), "list it, so that it is removed");
            self.put(Space::Misc, &key::orphan(*id), &Box::<[u8]>::default());
        }
        for id in listed.difference(&orphans) {
            self.wrong(format!("inode {} is listed as an orphan and is none", id.0), "unlist it");
            self.remove(Space::Misc, &key::orphan(*id));
        }
    }
}

/// The directory and the name of a key.
pub(super) fn split(key: &[u8]) -> Option<(InodeId, &[u8])> {
    let (dir, name) = key.split_at_checked(8)?;
    Some((key::inode_of(dir)?, name))
}
