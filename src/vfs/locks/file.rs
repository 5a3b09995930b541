//! The locks, waits and shares of one file.

use std::collections::BTreeSet;

use super::{Held, Mode, Owner, Range, Request, Share, Token};

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) token: Token,
    pub(super) request: Request,
    /// Waits that came earlier, conflict, and so go first.
    pub(super) ahead: BTreeSet<Token>,
}

/// Invariant: `queue` is in the order of asking.
#[derive(Debug, Default)]
pub(super) struct FileLocks {
    pub(super) held: Vec<Held>,
    pub(super) queue: Vec<Wait>,
    pub(super) shares: Vec<(Owner, Share)>,
}

impl FileLocks {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.queue.is_empty() && self.shares.is_empty()
    }

    /// A held lock that is in the way.
    pub(super) fn conflict(&self, request: &Request) -> Option<&Held> {
        self.conflicts(request).next()
    }

    pub(super) fn conflicts(&self, request: &Request) -> impl Iterator<Item = &Held> {
        (self.held.iter()).filter(|held| request.conflicts(&held.owner, &held.range, held.mode))
    }

    /// The waits that a new request would go behind.
    pub(super) fn ahead(&self, request: &Request) -> BTreeSet<Token> {
        let is_ahead = |wait: &&Wait| {
            request.conflicts(&wait.request.owner, &wait.request.range, wait.request.mode)
        };
        self.queue.iter().filter(is_ahead).map(|wait| wait.token).collect()
    }

    /// The wait for exactly this.
    pub(super) fn waiting(&self, request: &Request) -> Option<Token> {
        self.queue.iter().find(|wait| wait.request == *request).map(|wait| wait.token)
    }

    /// The first wait that nothing is in the way of.
    pub(super) fn ready(&self) -> Option<Token> {
        let is_ready =
            |wait: &&Wait| wait.ahead.is_empty() && self.conflict(&wait.request).is_none();
        self.queue.iter().find(is_ready).map(|wait| wait.token)
    }

    /// Who holds or shares something; some more than once.
    pub(super) fn owners(&self) -> impl Iterator<Item = Owner> {
        let shares = self.shares.iter().map(|(owner, _)| owner);
        self.held.iter().map(|held| &held.owner).chain(shares).cloned()
    }

    /// All locks, once an owner has this mode, or none, on a range: what it held there is cut out,
    /// and what touches the new lock with the same mode becomes one with it.
    pub(super) fn covered(&self, owner: &Owner, range: Range, mode: Option<Mode>) -> Vec<Held> {
        let mut held = Vec::with_capacity(self.held.len() + 2);
        let mut whole = range;
        for old in &self.held {
            if old.owner != *owner {
                held.push(old.clone());
            } else if Some(old.mode) == mode && old.range.touches(&range) {
                whole.first = whole.first.min(old.range.first);
                whole.last = whole.last.max(old.range.last);
            } else if old.range.overlaps(&range) {
                let piece = |first, last| Held { range: Range { first, last }, ..old.clone() };
                if old.range.first < range.first {
                    held.push(piece(old.range.first, range.first - 1));
                }
                if old.range.last > range.last {
                    held.push(piece(range.last + 1, old.range.last));
                }
            } else {
                held.push(old.clone());
            }
        }
        held.extend(mode.map(|mode| Held { owner: owner.clone(), range: whole, mode }));
        held
    }
}
