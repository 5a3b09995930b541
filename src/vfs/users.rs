//! The groups of a user by this machine's own database, for shares that do not believe the caller's
//! list: `AUTH_SYS` carries 16 groups at most.
//!
//! Until the users of a control plane exist, that database is the machine's (`getgrouplist`: files,
//! LDAP, whatever it is set up for), asked on threads and remembered.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};

use reactor::{
    clock,
    names::{self, Missing},
};
use vocab::Error;

use crate::{
    Caller, Vfs,
    answers::{Answers, Away},
    hosts::Lookups,
};

/// How long a reactor remembers a user's groups by itself, and of how many users.
const AGE_MAX: Duration = Duration::from_secs(1);
const USERS_MAX: usize = 1024;

/// Whose word on a caller's supplementary groups counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Groups {
    /// The caller's.
    #[default]
    Client,
    /// This machine's database of users. Who is not in it has no supplementary groups; the primary
    /// group is the caller's word still.
    Server,
}

type Known = BTreeMap<u32, (Arc<[u32]>, Duration)>;

thread_local! {
    /// Groups by user, and until when they are good.
    static KNOWN: RefCell<Known> = const { RefCell::new(BTreeMap::new()) };
}

/// What is known of users.
#[derive(Debug)]
pub(crate) struct Users(Answers<u32, Arc<[u32]>>);

impl Users {
    pub(crate) fn new(lookups: &Lookups) -> Self {
        Self(Answers::new("users", lookups.ttl, |uid| match names::groups_of(*uid) {
            Ok(groups) => Ok(groups.into()),
            Err(Missing::Unknown) => Ok([].into()),
            Err(Missing::Away) => Err(Away),
        }))
    }

    async fn groups(&self, uid: u32) -> Option<Arc<[u32]>> {
        let now = clock::monotonic();
        let known = KNOWN.with_borrow(|known| known.get(&uid).cloned());
        if let Some((groups, _)) = known.filter(|(_, until)| now < *until) {
            return Some(groups);
        }
        let groups = self.0.get(&uid).await.ok()?;
        KNOWN.with_borrow_mut(|known| {
            if known.len() >= USERS_MAX {
                known.clear();
            }
            known.insert(uid, (groups.clone(), now + AGE_MAX));
        });
        Some(groups)
    }
}

impl Vfs {
    /// Notes what this machine knows of a caller, before the caller's first operation, if there is
    /// a share that wants it. One that does not find it then tells the caller to ask again.
    pub async fn identify(&self, caller: &mut Caller) {
        if !self.inner.shares.asks_for_groups() {
            return;
        }
        if let Some(credentials) = &caller.credentials {
            // In a box, so that the place of those who need it not stays small.
            caller.groups = Box::pin(self.inner.users.groups(credentials.uid)).await;
        }
    }
}

impl Caller {
    /// The supplementary groups that count.
    ///
    /// # Errors
    /// `Busy`, when they are not known now.
    pub(crate) fn groups(&self, whose: Groups) -> Result<&[u32], Error> {
        match (whose, &self.credentials) {
            (_, None) => Ok(&[]),
            (Groups::Client, Some(credentials)) => Ok(&credentials.groups),
            (Groups::Server, Some(_)) => self.groups.as_deref().ok_or(Error::Busy),
        }
    }
}
