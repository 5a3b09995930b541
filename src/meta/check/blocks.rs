//! Whether block maps, counts and totals agree.

use std::collections::{BTreeMap, BTreeSet};

use vocab::{BlockHash, FileKind, InodeId, ShareId, Time};

use super::{Check, hex, values::END};
use crate::{
    engine::Space,
    key::{self, ContentId},
    record::{Count, CountState, MapEntry, Number, Role, ShareTotals},
};

/// How often a block is named, and its length.
type Named = BTreeMap<(ContentId, BlockHash), (u64, u32)>;
/// Packs: their counts, how many blocks rest in each, and the bytes of those.
type Packs = BTreeMap<(ContentId, BlockHash), (Option<Count>, u64, u64)>;

impl Check<'_> {
    /// Block maps belong to files, and say what they use.
    pub(super) fn map(&mut self) {
        let mut named = Named::new();
        self.scan(Space::Map, (&[], &END), |check, key, entry: MapEntry| {
            check.out.blocks += 1;
            let id = key.get(..8).and_then(key::inode_of).unwrap_or(InodeId(0));
            let seen = check.inodes.get_mut(&id).filter(|seen| seen.kind == FileKind::Regular);
            let Some(seen) = seen else {
                let what = format!("a block of inode {}, which is no file", id.0);
                check.wrong(what, "remove the entry");
                return check.remove(Space::Map, key);
            };
            seen.mapped += u64::from(entry.valid_len);
            let share = seen.share;
            if let (true, Some(content)) = (entry.names_object(), check.content_of(share)) {
                let (count, len) = named.entry((content, entry.hash)).or_default();
                *count += 1;
                if *len != 0 && *len != entry.stored_len {
                    let (a, b) = (*len, entry.stored_len);
                    check.lost(format!("block {} has {a} bytes here and {b} there", entry.hash));
                }
                *len = entry.stored_len;
            }
        });
        for id in self.inodes.keys().copied().collect::<Vec<_>>() {
            let (used, mapped) = (self.inodes[&id].used, self.inodes[&id].mapped);
            if used != mapped {
                let what = format!("inode {} says that it uses {used} bytes, not {mapped}", id.0);
                self.wrong(what, "set the number");
                self.fix(id, |inode| inode.stored.used = mapped);
            }
        }
        self.counted(named);
    }

    /// A block's count is the number of entries that name it.
    fn counted(&mut self, mut named: Named) {
        let mut condemned = BTreeSet::new();
        let mut stored = BTreeMap::<ContentId, u64>::new();
        let mut packs = Packs::new();
        let now = reactor::clock::wall();
        self.scan(Space::Counts, (&[], &END), |check, key, count: Count| {
            check.out.counts += 1;
            let (Some(content), Some(hash)) = (key::content_of(key), key::counted_of(key)) else {
                check.is_blind = true;
                return check.lost(format!("a count at {}", hex(key)));
            };
            match count.role {
                Role::Own => {}
                Role::Packed(packed) => {
                    let (_, blocks, bytes) = packs.entry((content, packed.pack.0)).or_default();
                    *blocks += 1;
                    *bytes += u64::from(packed.bytes);
                }
                Role::Pack { .. } => {
                    packs.entry((content, hash)).or_default().0 = Some(count);
                    return;
                }
            }
            let (references, len) = named.remove(&(content, hash)).unwrap_or_default();
            let mut right = count;
            if count.count != references {
                let what =
                    format!("block {hash} counts {} references, not {references}", count.count);
                check.wrong(what, "set the number");
                right.count = references;
                right.state = match references {
                    0 => CountState::Condemned(now),
                    _ => CountState::Live,
                };
            }
            if references > 0 && count.stored_len != len {
                let what = format!("block {hash} counts {} bytes, not {len}", count.stored_len);
                check.wrong(what, "set the length");
                right.stored_len = len;
            }
            if right != count {
                check.put(Space::Counts, key, &right);
            }
            if let CountState::Condemned(since) | CountState::Deleting(since) = right.state {
                condemned.insert(key::condemned(content, since, hash));
            }
            *stored.entry(content).or_default() += u64::from(right.stored_len);
        });
        for ((content, hash), (count, stored_len)) in named {
            self.wrong(format!("block {hash} is in use and not counted"), "count it");
            // Where it rests is forgotten, if that was a pack; then its object is missed.
            let right = Count { count, stored_len, state: CountState::Live, role: Role::Own };
            self.put(Space::Counts, &key::count(content, hash), &right);
            *stored.entry(content).or_default() += u64::from(stored_len);
        }
        for ((content, id), (said, blocks, bytes)) in packs {
            condemned.extend(self.pack(content, id, said, (blocks, bytes), now));
        }
        self.condemned(&condemned);
        self.content_totals(stored);
    }

    /// A pack's count is the number of blocks that rest in it. Its entry among the condemned, if it
    /// belongs there.
    fn pack(
        &mut self,
        content: ContentId,
        id: BlockHash,
        said: Option<Count>,
        (blocks, bytes): (u64, u64),
        now: Time,
    ) -> Option<Vec<u8>> {
        let sums = said.map(|said| (said.count, said.role));
        let is_right = |(count, role)| {
            count == blocks && matches!(role, Role::Pack { bytes: b, .. } if b == bytes)
        };
        let mut right = said;
        if !sums.is_some_and(is_right) {
            self.wrong(format!("pack {id} does not count its {blocks} blocks"), "count them");
            let state = if blocks > 0 { CountState::Live } else { CountState::Condemned(now) };
            let role = Role::Pack { bytes, left: now };
            right = Some(Count { count: blocks, stored_len: 0, state, role });
            self.put(Space::Counts, &key::count(content, id), &right.expect("just made"));
        }
        match right?.state {
            CountState::Condemned(since) | CountState::Deleting(since) => {
                Some(key::condemned(content, since, id))
            }
            CountState::Live | CountState::Damaged => None,
        }
    }

    /// Condemned blocks are listed, and nothing else is.
    fn condemned(&mut self, right: &BTreeSet<Vec<u8>>) {
        let mut listed = BTreeSet::new();
        let (from, to) = key::all_condemned();
        self.scan(Space::Misc, (&from, &to), |_, key, _: Box<[u8]>| {
            listed.insert(key.to_vec());
        });
        for key in right.difference(&listed) {
            self.wrong("a condemned block is not listed", "list it, so that it is deleted");
            self.put(Space::Misc, key, &Box::<[u8]>::default());
        }
        for key in listed.difference(right) {
            self.wrong("a block is listed as condemned and is not", "unlist it");
            self.remove(Space::Misc, key);
        }
    }

    fn content_totals(&mut self, mut stored: BTreeMap<ContentId, u64>) {
        let mut said = Vec::new();
        let (from, to) = key::all_content_totals();
        self.scan(Space::Misc, (&from, &to), |_, key, Number(bytes)| {
            said.extend(key.get(1..).and_then(key::content_of).map(|content| (content, bytes)));
        });
        for (content, bytes) in said {
            let right = stored.remove(&content).unwrap_or(0);
            self.content_total(content, bytes, right);
        }
        for (content, right) in stored {
            self.content_total(content, 0, right);
        }
    }

    fn content_total(&mut self, content: ContentId, said: u64, right: u64) {
        if said != right {
            let what = format!("content store {} holds {right} bytes, not {said}", content.0);
            self.wrong(what, "set the number");
            self.put(Space::Misc, &key::content_totals(content), &Number(right));
        }
    }

    /// Totals of shares are the sums of their inodes.
    pub(super) fn totals(&mut self) {
        let mut right = BTreeMap::<ShareId, ShareTotals>::new();
        for seen in self.inodes.values() {
            let totals = right.entry(seen.share).or_default();
            totals.inodes += 1;
            totals.bytes_used += seen.mapped;
        }
        let mut said = BTreeMap::<ShareId, ShareTotals>::new();
        let (from, to) = key::all_share_totals();
        self.scan(Space::Misc, (&from, &to), |_, key, totals: ShareTotals| {
            said.extend(key::share_totals_of(key).map(|share| (share, totals)));
        });
        for (share, right) in right {
            if said.remove(&share).unwrap_or_default() != right {
                self.wrong(format!("the totals of share {} are wrong", share.0), "add them up");
                self.put(Space::Misc, &key::share_totals(share), &right);
            }
        }
    }
}
