//! Shares: what is configured of them, who may come in, and the table that finds them.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use meta::command::{Command, NewAttr, Outcome};
use payload::{Payload, Place};
use vocab::{Error, InodeId, ShareId, StoreId, durable::Grade};

use crate::{
    Vfs,
    admission::Flavor,
    handle::Handle,
    hosts::{Host, Lists},
    squash::Squash,
    statfs::Free,
    users::Groups,
};

/// Most shares of one server.
pub(crate) const SHARES_MAX: usize = 512;

/// A share as configured.
#[derive(Clone, Debug)]
pub struct ShareConfig {
    /// For example `/export`.
    pub name: String,
    /// Refuse every change.
    pub read_only: bool,
    /// How ids are changed.
    pub squash: Squash,
    /// The anonymous user, 65534 unless configured.
    pub anonymous_uid: u32,
    /// The anonymous group, 65534 unless configured.
    pub anonymous_gid: u32,
    /// Hosts that may come in; empty: all.
    pub allow: Vec<Host>,
    /// Hosts that may not; wins.
    pub deny: Vec<Host>,
    /// Whose word on supplementary groups counts.
    pub groups: Groups,
    /// Let in only who calls from a port below 1024.
    pub privileged_port: bool,
    /// Directories below the root may be mounted, too.
    pub subdirectories: bool,
    /// How callers may say who they are, in the order of preference.
    pub security: Vec<Flavor>,
    /// Bytes that FSSTAT shows as the size at most; otherwise as much as the content store has.
    /// Nothing is refused beyond it.
    pub capacity: Option<u64>,
    /// Permission bits of the root directory when it is made, 0755 unless configured.
    pub root_mode: u32,
    /// Its owner, 0 unless configured.
    pub root_uid: u32,
    /// Its group, 0 unless configured.
    pub root_gid: u32,
    /// What COMMIT, a stable WRITE and, for `remote`, changes of names wait for; one that is
    /// [`offered`].
    pub durability: Grade,
    /// What is read of it stays in memory, within half of the cache.
    pub pinned: bool,
}

impl ShareConfig {
    /// A share with nothing but a name configured.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            read_only: false,
            squash: Squash::default(),
            anonymous_uid: 65534,
            anonymous_gid: 65534,
            allow: Vec::new(),
            deny: Vec::new(),
            groups: Groups::default(),
            privileged_port: false,
            subdirectories: true,
            security: vec![Flavor::Sys],
            capacity: None,
            root_mode: 0o755,
            root_uid: 0,
            root_gid: 0,
            durability: Grade::Local,
            pinned: false,
        }
    }
}

/// A share that may be mounted.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Who may, in words; empty: everyone.
    pub groups: Vec<String>,
}

/// A share as an operator sees it.
#[derive(Clone, Debug)]
pub struct ShareStatus {
    /// Its id in its metadata store.
    pub id: ShareId,
    /// That store's id.
    pub store: StoreId,
    /// Its name.
    pub name: Arc<str>,
    /// It refuses every change.
    pub read_only: bool,
    /// What COMMIT and a stable WRITE wait for now.
    pub durability: Grade,
    /// The name of its metadata store.
    pub metadata: String,
    /// The name of its content store.
    pub content: Arc<str>,
}

/// A share that is served.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) id: ShareId,
    pub(crate) store: StoreId,
    pub(crate) root: InodeId,
    pub(crate) name: Arc<str>,
    pub(crate) config: ShareConfig,
    pub(crate) lists: Lists,
    pub(crate) place: Place,
    pub(crate) free: Free,
    payload: Payload,
    /// Which of [`Grade::ALL`] holds now: read by every write, set by the operator.
    durability: AtomicUsize,
}

impl Share {
    /// What COMMIT and a stable WRITE wait for.
    pub(crate) fn durability(&self) -> Grade {
        Grade::ALL[self.durability.load(Ordering::Relaxed)]
    }

    /// Changes names or attributes. On a `remote` share it waits until the change is in the content
    /// store; while that is away, nothing is changed.
    ///
    /// # Errors
    /// The command's; `Busy`.
    pub(crate) async fn submit(&self, command: Command) -> Result<Outcome, Error> {
        let is_remote = self.durability() == Grade::Remote;
        if is_remote {
            self.payload.names_may_settle(&self.place).await?;
        }
        let outcome = self.place.meta.submit(command).await?;
        if is_remote {
            // It has happened: to tell the client to ask again would have it fail.
            self.payload.names_settle(&self.place).await?;
        }
        Ok(outcome)
    }
}

/// All shares, found by the ids of a handle.
///
/// A hash table whose slots are written once: shares are added and never moved or dropped, so that
/// every operation borrows its share with a few loads, without a lock and without a count that all
/// cores would fight over. Half of the slots stay free, so a search ends soon.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Box<[OnceLock<Share>]>,
    /// Shares in it. Held while one is added.
    count: Mutex<usize>,
    /// One of them wants this machine's word on groups.
    asks_for_groups: AtomicBool,
}

const SLOTS: usize = (2 * SHARES_MAX).next_power_of_two();

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| OnceLock::new()).collect(),
            count: Mutex::new(0),
            asks_for_groups: AtomicBool::new(false),
        }
    }

    pub(crate) fn find(&self, id: ShareId, store: StoreId) -> Option<&Share> {
        self.probe(id, store)
            .map_while(OnceLock::get)
            .find(|share| share.id == id && share.store == store)
    }

    pub(crate) fn asks_for_groups(&self) -> bool {
        self.asks_for_groups.load(Ordering::Relaxed)
    }

    /// In no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Share> {
        self.slots.iter().filter_map(OnceLock::get)
    }

    fn add(&self, share: Share) -> Result<(), String> {
        #[expect(clippy::unwrap_used, reason = "a panic ends the process, nothing is poisoned")]
        let mut count = self.count.lock().unwrap();
        if *count == SHARES_MAX {
            return Err(format!("there are {SHARES_MAX} shares already"));
        }
        self.check_name(&share.name)?;
        if share.config.groups == Groups::Server {
            self.asks_for_groups.store(true, Ordering::Relaxed);
        }
        let mut free = self.probe(share.id, share.store).skip_while(|slot| slot.get().is_some());
        let placed = free.next().is_some_and(|slot| slot.set(share).is_ok());
        assert!(placed, "half of the slots are free, and the lock is ours");
        *count += 1;
        Ok(())
    }

    fn check_name(&self, name: &str) -> Result<(), String> {
        if self.iter().any(|share| &*share.name == name) {
            return Err(format!("a share named {name} is served already"));
        }
        Ok(())
    }

    /// The slots where a share may be, likeliest first.
    fn probe(&self, id: ShareId, store: StoreId) -> impl Iterator<Item = &OnceLock<Share>> {
        let mixed = (store.0 ^ u64::from(id.0)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // The highest bits of a product are its best mixed ones.
        let first = usize::from(mixed.to_be_bytes()[0]) << 8 | usize::from(mixed.to_be_bytes()[1]);
        (0..SLOTS).map(move |step| &self.slots[(first + step) % SLOTS])
    }
}

/// The grade, unless this server cannot keep its promise, over stores that outlive the process
/// (`names`, `blocks`) or do not.
///
/// # Errors
/// In words for the operator.
pub fn offered(grade: Grade, names: bool, blocks: bool) -> Result<Grade, String> {
    match grade {
        Grade::Writeback | Grade::Local => Ok(grade),
        Grade::Quorum => Err("quorum needs replicas, which are not offered yet; use local".into()),
        Grade::Remote if !blocks => Err("remote needs a content store that outlives the server, \
                                         and this one is in memory; use local, or a content store \
                                         of type s3 or filesystem"
            .into()),
        Grade::Remote if !names => Err("remote needs a metadata store that `dittofs rebuild` can \
                                        make anew, and this one is in memory; use local, or a \
                                        metadata store of type badger"
            .into()),
        Grade::Remote => Ok(grade),
    }
}

fn offered_on(grade: Grade, place: &Place) -> Result<Grade, String> {
    offered(grade, place.meta.is_lasting(), place.content.store.is_lasting())
}

fn position(grade: Grade) -> usize {
    Grade::ALL.iter().position(|&one| one == grade).expect("all are there")
}

/// The components of a path; slashes at the end and doubled ones do not count.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
}

/// `/a/b` for `/a//b/`.
fn normal_name(name: &str) -> Result<String, String> {
    let wrong = |why| Err(format!("share name {name:?} {why}, write one like /export"));
    if !name.starts_with('/') {
        return wrong("does not begin with a slash");
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "." | "..") || part.contains('\0')) {
        return wrong("has a component that names nothing");
    }
    Ok(format!("/{}", parts.join("/")))
}

fn refusal(name: &str, place: &Place, error: Error) -> String {
    let store = place.meta.name();
    if error != Error::Invalid {
        return format!("share {name}: metadata store {store}: {error}");
    }
    format!(
        "share {name} exists in metadata store {store} with another content store than {}; its \
         blocks rest there, so configure that one again or choose another name",
        place.content_name
    )
}

impl Vfs {
    /// Adds a share, making its root directory as configured when it is new.
    ///
    /// # Errors
    /// In words for the operator: for example the share rests in another content store.
    pub async fn share_add(&self, config: ShareConfig, place: Place) -> Result<ShareId, String> {
        let name = normal_name(&config.name)?;
        self.inner.shares.check_name(&name)?;
        let grade = offered_on(config.durability, &place)?;
        let command = Command::ShareCreate {
            name: name.clone(),
            content: place.content_name.to_string(),
            attr: NewAttr {
                mode: config.root_mode & 0o7777,
                uid: config.root_uid,
                gid: config.root_gid,
                atime: None,
                mtime: None,
            },
            now: reactor::clock::wall(),
            generation: crate::make::generation(),
        };
        let outcome = match place.meta.submit(command).await {
            Ok(outcome) => outcome,
            Err(error) => return Err(refusal(&name, &place, error)),
        };
        let Outcome::Share(root) = outcome else { unreachable!("the outcome of ShareCreate") };
        let payload = &self.inner.payload;
        payload.collect(&place);
        payload.set_grade(&place, root.share, grade);
        payload.set_pinned(&place, root.share, config.pinned);
        self.inner.shares.add(Share {
            id: root.share,
            store: place.meta.id(),
            root: root.root,
            name: name.into(),
            durability: AtomicUsize::new(position(grade)),
            lists: Lists::new(config.allow.clone(), config.deny.clone()),
            config,
            place,
            free: Free::default(),
            payload: payload.clone(),
        })?;
        Ok(root.share)
    }

    /// Has a share's COMMIT and stable WRITE wait for this from now on; what it was before.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn set_durability(&self, name: &str, grade: Grade) -> Result<Grade, String> {
        let share = self.inner.shares.iter().find(|share| &*share.name == name);
        let share = share.ok_or_else(|| format!("no share {name} is served"))?;
        let grade = offered_on(grade, &share.place)?;
        self.inner.payload.set_grade(&share.place, share.id, grade);
        Ok(Grade::ALL[share.durability.swap(position(grade), Ordering::Relaxed)])
    }

    /// Has what is read of a share stay in memory from now on, or not.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn set_pinned(&self, name: &str, is_pinned: bool) -> Result<(), String> {
        let share = self.inner.shares.iter().find(|share| &*share.name == name);
        let share = share.ok_or_else(|| format!("no share {name} is served"))?;
        self.inner.payload.set_pinned(&share.place, share.id, is_pinned);
        Ok(())
    }

    /// The shares, for an operator, by name.
    #[must_use]
    pub fn shares(&self) -> Vec<ShareStatus> {
        let mut shares: Vec<ShareStatus> = (self.inner.shares.iter())
            .map(|share| ShareStatus {
                id: share.id,
                store: share.store,
                name: share.name.clone(),
                read_only: share.config.read_only,
                durability: share.durability(),
                metadata: share.place.meta.name().to_owned(),
                content: share.place.content_name.clone(),
            })
            .collect();
        shares.sort_by(|a, b| a.name.cmp(&b.name));
        shares
    }

    /// The shares, for MOUNT's EXPORT, by name.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        let mut exports: Vec<Export> = (self.inner.shares.iter())
            .map(|share| Export {
                name: share.name.to_string(),
                groups: share.config.allow.iter().map(Host::to_string).collect(),
            })
            .collect();
        exports.sort_by(|a, b| a.name.cmp(&b.name));
        exports
    }

    /// The name of the share of a handle, for metrics.
    #[must_use]
    pub fn share_name(&self, handle: &Handle) -> Option<Arc<str>> {
        self.inner.shares.find(handle.share, handle.store).map(|share| share.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_one_spelling() {
        assert_eq!(normal_name("/a//b/").as_deref(), Ok("/a/b"));
        assert_eq!(normal_name("//").as_deref(), Ok("/"));
        for name in ["", "a", "/a/../b", "/./a", "/a\0b"] {
            assert!(normal_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn paths_in_components() {
        let parts: Vec<&[u8]> = components(b"//a///b/").collect();
        assert_eq!(parts, [b"a", b"b"]);
        assert_eq!(components(b"/").count(), 0);
    }
}
