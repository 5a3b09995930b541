//! What would be lost now that the share is to keep: by share, with its age. For `remote` that is
//! what is not in the content store together with its metadata, else what a power cut would take.
//!
//! Invariants: `unsynced` has every record that no sync of this slice covers, in steps that no sync
//! splits, so that the sums are exact; `waiting` has every dirty block with the time of its oldest
//! bytes, so that the first one tells the age.

use std::collections::{BTreeMap, VecDeque};

use vocab::{BlockIndex, Sequence, ShareId, StoreId, Time, durable::Grade};

/// What of a share is where it can still be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareRisk {
    /// Its metadata store.
    pub store: StoreId,
    /// The share.
    pub share: ShareId,
    /// Bytes written and not synced: a power cut loses them. For `remote`: not in the content store
    /// or not in a checkpoint or delta there; the loss of this site loses them.
    pub bytes_at_risk: u64,
    /// When the oldest of them came, or arrived in the content store.
    pub unsynced_since: Option<Time>,
    /// Bytes that the content store does not have: the loss of this machine loses them.
    pub bytes_not_uploaded: u64,
    /// When the oldest of them came.
    pub not_uploaded_since: Option<Time>,
}

/// A slice's part of it.
#[derive(Debug, Default)]
pub(crate) struct Risks {
    shares: Vec<Risk>,
    /// The last record that a sync is to cover.
    sync_begun: Sequence,
}

/// A share's place in [`Risks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RiskIndex(usize);

#[derive(Debug)]
struct Risk {
    store: StoreId,
    share: ShareId,
    unsynced: VecDeque<Step>,
    dirty_bytes: u64,
    waiting: BTreeMap<(Sequence, BlockIndex), Time>,
    is_remote: bool,
    /// Arrived in the content store while `remote`, and not known to be in a checkpoint or delta.
    afloat: VecDeque<(u64, u64, Time)>,
    arrivals: u64,
    is_anchoring: bool,
}

/// Records that the same syncs cover.
#[derive(Debug)]
struct Step {
    last: Sequence,
    since: Time,
    bytes: u64,
}

impl Risks {
    /// The place of a share.
    pub(crate) fn index(&mut self, store: StoreId, share: ShareId) -> RiskIndex {
        let at = self.shares.iter().position(|one| (one.store, one.share) == (store, share));
        RiskIndex(at.unwrap_or_else(|| {
            self.shares.push(Risk {
                store,
                share,
                unsynced: VecDeque::new(),
                dirty_bytes: 0,
                waiting: BTreeMap::new(),
                is_remote: false,
                afloat: VecDeque::new(),
                arrivals: 0,
                is_anchoring: false,
            });
            self.shares.len() - 1
        }))
    }

    /// A record took its place in the log.
    pub(crate) fn appended(&mut self, at: RiskIndex, sequence: Sequence, bytes: u64, time: Time) {
        let steps = &mut self.shares[at.0].unsynced;
        match steps.back_mut().filter(|step| step.last > self.sync_begun) {
            Some(step) => {
                step.last = sequence;
                step.bytes += bytes;
            }
            None => steps.push_back(Step { last: sequence, since: time, bytes }),
        }
    }

    /// A sync begins that covers records up to here.
    pub(crate) fn sync_begins(&mut self, upto: Sequence) {
        self.sync_begun = self.sync_begun.max(upto);
    }

    /// And has succeeded.
    pub(crate) fn synced(&mut self, upto: Sequence) {
        for share in &mut self.shares {
            while share.unsynced.pop_front_if(|step| step.last <= upto).is_some() {}
        }
    }

    /// The dirty bytes of a file of the share were so many, and are so many now.
    pub(crate) fn dirty(&mut self, at: RiskIndex, before: u64, after: u64) {
        let bytes = &mut self.shares[at.0].dirty_bytes;
        *bytes = *bytes + after - before;
    }

    /// A block is dirty since that time, and its oldest bytes are of that record.
    pub(crate) fn waits(&mut self, at: RiskIndex, born: Sequence, index: BlockIndex, since: Time) {
        self.shares[at.0].waiting.insert((born, index), since);
    }

    /// It is dirty no more, or its age changed.
    pub(crate) fn waits_no_more(&mut self, at: RiskIndex, born: Sequence, index: BlockIndex) {
        self.shares[at.0].waiting.remove(&(born, index));
    }

    // For `remote`.

    /// A share is to be that durable from now on.
    pub(crate) fn set_grade(&mut self, store: StoreId, share: ShareId, grade: Grade) {
        let at = self.index(store, share);
        self.shares[at.0].is_remote = grade == Grade::Remote;
    }

    /// Bytes that were dirty since then are in stored blocks now.
    pub(crate) fn arrived(&mut self, at: RiskIndex, bytes: u64, since: Time) {
        let share = &mut self.shares[at.0];
        if share.is_remote && bytes > 0 {
            share.arrivals += 1;
            share.afloat.push_back((share.arrivals, bytes, since));
        }
    }

    /// Whether somebody is to see to what has arrived, who calls [`Risks::end_anchoring`] then.
    pub(crate) fn begin_anchoring(&mut self, at: RiskIndex) -> bool {
        let share = &mut self.shares[at.0];
        !share.afloat.is_empty() && !std::mem::replace(&mut share.is_anchoring, true)
    }

    pub(crate) fn end_anchoring(&mut self, at: RiskIndex) {
        self.shares[at.0].is_anchoring = false;
    }

    /// The last arrival that is not anchored.
    pub(crate) fn afloat(&self, at: RiskIndex) -> Option<u64> {
        self.shares[at.0].afloat.back().map(|(arrival, ..)| *arrival)
    }

    /// What arrived up to then is in a checkpoint or delta.
    pub(crate) fn anchored(&mut self, at: RiskIndex, upto: u64) {
        let afloat = &mut self.shares[at.0].afloat;
        while afloat.pop_front_if(|(arrival, ..)| *arrival <= upto).is_some() {}
    }

    /// When the oldest record that no sync covers came, of all shares.
    pub(crate) fn unsynced_since(&self) -> Option<Time> {
        self.shares.iter().filter_map(|share| Some(share.unsynced.front()?.since)).min()
    }

    /// For metrics and status.
    pub(crate) fn shown(&self) -> Vec<ShareRisk> {
        let shown = |share: &Risk| {
            let not_uploaded_since = share.waiting.first_key_value().map(|(_, &since)| since);
            let afloat: u64 = share.afloat.iter().map(|(_, bytes, _)| bytes).sum();
            let afloat_since = share.afloat.iter().map(|(.., since)| *since);
            let (bytes_at_risk, unsynced_since) = match share.is_remote {
                true => (share.dirty_bytes + afloat, afloat_since.chain(not_uploaded_since).min()),
                false => (
                    share.unsynced.iter().map(|step| step.bytes).sum(),
                    share.unsynced.front().map(|step| step.since),
                ),
            };
            ShareRisk {
                store: share.store,
                share: share.share,
                bytes_at_risk,
                unsynced_since,
                bytes_not_uploaded: share.dirty_bytes,
                not_uploaded_since,
            }
        };
        self.shares.iter().map(shown).collect()
    }
}

impl ShareRisk {
    /// The same share in another slice.
    pub(crate) fn add(&mut self, other: &Self) {
        let older = |a: Option<Time>, b: Option<Time>| a.into_iter().chain(b).min();
        self.bytes_at_risk += other.bytes_at_risk;
        self.unsynced_since = older(self.unsynced_since, other.unsynced_since);
        self.bytes_not_uploaded += other.bytes_not_uploaded;
        self.not_uploaded_since = older(self.not_uploaded_since, other.not_uploaded_since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time { seconds, nanos: 0 }
    }

    #[test]
    fn a_sync_takes_what_came_before_it_and_nothing_else() {
        let mut risks = Risks::default();
        let share = risks.index(StoreId(1), ShareId(1));
        let other = risks.index(StoreId(1), ShareId(2));
        assert_eq!(risks.index(StoreId(1), ShareId(1)), share);
        risks.appended(share, Sequence(1), 10, at(1));
        risks.appended(share, Sequence(2), 20, at(2));
        risks.appended(other, Sequence(3), 40, at(3));
        risks.sync_begins(Sequence(3));
        // While it runs.
        risks.appended(share, Sequence(4), 80, at(4));
        risks.sync_begins(Sequence(4));
        risks.appended(share, Sequence(5), 160, at(5));
        let now = |risks: &Risks| -> Vec<(u64, Option<Time>)> {
            risks.shown().iter().map(|one| (one.bytes_at_risk, one.unsynced_since)).collect()
        };
        assert_eq!(now(&risks), [(270, Some(at(1))), (40, Some(at(3)))]);
        risks.synced(Sequence(3));
        assert_eq!(now(&risks), [(240, Some(at(4))), (0, None)]);
        risks.synced(Sequence(4));
        assert_eq!(now(&risks), [(160, Some(at(5))), (0, None)]);
        assert_eq!(risks.unsynced_since(), Some(at(5)));
    }

    #[test]
    fn remote_is_at_risk_until_the_metadata_has_followed() {
        let mut risks = Risks::default();
        let share = risks.index(StoreId(1), ShareId(1));
        risks.set_grade(StoreId(1), ShareId(1), Grade::Remote);
        risks.appended(share, Sequence(1), 100, at(1));
        risks.dirty(share, 0, 100);
        risks.waits(share, Sequence(1), BlockIndex(7), at(1));
        let now = |risks: &Risks| {
            let shown = risks.shown()[0];
            (shown.bytes_at_risk, shown.unsynced_since, shown.bytes_not_uploaded)
        };
        risks.synced(Sequence(1));
        assert_eq!(now(&risks), (100, Some(at(1)), 100), "a sync is not enough");
        risks.dirty(share, 100, 30);
        risks.arrived(share, 70, at(2));
        assert_eq!(now(&risks), (100, Some(at(1)), 30));
        assert!(risks.begin_anchoring(share) && !risks.begin_anchoring(share));
        let upto = risks.afloat(share).unwrap();
        risks.dirty(share, 30, 0);
        risks.waits_no_more(share, Sequence(1), BlockIndex(7));
        risks.arrived(share, 30, at(3));
        risks.anchored(share, upto);
        assert_eq!(now(&risks), (30, Some(at(3)), 0));
        risks.set_grade(StoreId(1), ShareId(1), Grade::Local);
        assert_eq!(now(&risks), (0, None, 0));
        risks.anchored(share, risks.afloat(share).unwrap());
        risks.end_anchoring(share);
        assert!(!risks.begin_anchoring(share), "nothing is afloat");
    }

    #[test]
    fn the_oldest_block_that_waits_tells_the_age() {
        let mut risks = Risks::default();
        let share = risks.index(StoreId(1), ShareId(1));
        risks.dirty(share, 0, 100);
        risks.waits(share, Sequence(1), BlockIndex(7), at(1));
        risks.waits(share, Sequence(2), BlockIndex(8), at(2));
        let now = |risks: &Risks| {
            let shown = risks.shown()[0];
            (shown.bytes_not_uploaded, shown.not_uploaded_since)
        };
        assert_eq!(now(&risks), (100, Some(at(1))));
        risks.dirty(share, 60, 10);
        risks.waits_no_more(share, Sequence(1), BlockIndex(7));
        assert_eq!(now(&risks), (50, Some(at(2))));
        risks.dirty(share, 50, 0);
        risks.waits_no_more(share, Sequence(2), BlockIndex(8));
        assert_eq!(now(&risks), (0, None));
    }
}
