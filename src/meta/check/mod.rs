//! Whether the records of a store agree with each other: every count is counted again.
//!
//! Invariants: a check reads one view and changes nothing. A repair never throws away what may be
//! somebody's bytes: it puts derived records (counts, totals, indexes) right by what they are
//! derived from, and gives names to what has none. Where the primary record is gone, there is no
//! repair but an older copy of the store.

mod blocks;
mod names;
mod paths;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;

use vocab::{BlockHash, BlockIndex, FileKind, InodeId, ShareId};

pub(crate) use paths::users;

use crate::{
    engine::{Batch, Space, View},
    key::{self, ContentId},
    record::{Inode, Record, Share},
    tx::get,
};

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, in words for the operator.
    pub what: String,
    /// What a repair would do about it; `None` when nothing can be done here.
    pub repair: Option<String>,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Inodes looked at.
    pub inodes: u64,
    /// Names looked at.
    pub names: u64,
    /// Entries of block maps looked at.
    pub blocks: u64,
    /// Counts of blocks looked at.
    pub counts: u64,
    /// All that is wrong.
    pub findings: Vec<Finding>,
    /// The changes that the repairs of all findings come to.
    pub(crate) repairs: Batch,
}

/// A file that refers to a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The block.
    pub hash: BlockHash,
    /// The file.
    pub inode: InodeId,
    /// Which block of it.
    pub index: BlockIndex,
    /// The share and a path below it, as far as names lead.
    pub path: String,
}

/// Checks everything.
pub(crate) fn check(view: &dyn View) -> Checked {
    let mut check = Check {
        view,
        out: Checked::default(),
        is_blind: false,
        shares: BTreeMap::new(),
        inodes: BTreeMap::new(),
        fixed: BTreeMap::new(),
    };
    check.misc();
    check.inodes();
    check.names();
    check.cookies();
    check.links();
    check.map();
    check.totals();
    check.finish()
}

/// A check under way.
struct Check<'a> {
    view: &'a dyn View,
    out: Checked,
    /// Something could not be read, so what seems to be missing may be there: nothing is repaired.
    is_blind: bool,
    shares: BTreeMap<ShareId, Share>,
    inodes: BTreeMap<InodeId, Seen>,
    /// Inodes that a repair changes.
    fixed: BTreeMap<InodeId, Inode>,
}

/// What is known of an inode.
struct Seen {
    kind: FileKind,
    share: ShareId,
    nlink: u32,
    used: u64,
    /// Of a directory.
    parent: InodeId,
    entries: u64,
    /// As counted: names that lead to it, and of a directory its entries and directories in it.
    links: u32,
    listed: u64,
    subdirs: u32,
    /// The highest cookie in it.
    cookie_max: u64,
    cookie_next: u64,
    /// A repair enters names here, which changes its numbers.
    adopts: bool,
    /// Sum of the valid lengths of its blocks.
    mapped: u64,
}

impl Check<'_> {
    /// Something wrong that cannot be repaired here.
    fn lost(&mut self, what: impl Into<String>) {
        self.out.findings.push(Finding { what: what.into(), repair: None });
    }

    /// Something wrong, and what would be done about it.
    fn wrong(&mut self, what: impl Into<String>, repair: impl Into<String>) {
        let repair = Some(repair.into());
        self.out.findings.push(Finding { what: what.into(), repair });
    }

    fn put<R: Record>(&mut self, space: Space, key: &[u8], record: &R) {
        self.out.repairs.changes_mut(space).insert(key.into(), Some(record.encode()));
    }

    fn remove(&mut self, space: Space, key: &[u8]) {
        self.out.repairs.changes_mut(space).insert(key.into(), None);
    }

    /// Reads records; one that is none is a finding, and so is an engine that fails.
    fn scan<R: Record>(
        &mut self,
        space: Space,
        (from, to): (&[u8], &[u8]),
        mut visit: impl FnMut(&mut Self, &[u8], R),
    ) {
        let view = self.view;
        let read = view.scan(space, from, to, &mut |key, value| {
            match R::decode(value) {
                Ok(record) => visit(self, key, record),
                Err(_) => {
                    self.is_blind = true;
                    self.lost(format!("an unreadable value in {space:?} at {}", hex(key)));
                }
            }
            true
        });
        if let Err(fault) = read {
            self.is_blind = true;
            self.lost(format!("{space:?} cannot be read to its end: {}", fault.0));
        }
    }

    /// Changes an inode of the repaired store.
    fn fix(&mut self, id: InodeId, change: impl FnOnce(&mut Inode)) {
        if !self.fixed.contains_key(&id) {
            // One that cannot be read was found already, and nothing is repaired then.
            let Ok(Some(inode)) = get(self.view, Space::Inodes, &key::inode(id)) else { return };
            self.fixed.insert(id, inode);
        }
        change(self.fixed.get_mut(&id).expect("just entered"));
    }

    fn content_of(&self, share: ShareId) -> Option<ContentId> {
        self.shares.get(&share).map(|share| share.content)
    }

    fn is_root(&self, id: InodeId) -> bool {
        self.shares.values().any(|share| share.root.root == id)
    }

    fn finish(mut self) -> Checked {
        for (id, inode) in std::mem::take(&mut self.fixed) {
            self.put(Space::Inodes, &key::inode(id), &inode);
        }
        if self.is_blind {
            self.out.repairs = Batch::default();
            for finding in &mut self.out.findings {
                finding.repair = None;
            }
        }
        self.out
    }
}

/// Bytes for a person.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
