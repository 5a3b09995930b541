//! Whether a host is one that a share's lists name.
//!
//! A name that a list has leads to addresses, and the host's is among them or not. A pattern or a
//! netgroup asks the other way round: for the name of the address, which counts only when that name
//! leads to the address again, for who owns an address may call it what he likes. Nobody is let in
//! while it cannot be known whether he is denied: he is told to ask again.
//!
//! All of it is asked on threads ([`crate::answers`]); a reactor remembers a verdict for a second,
//! so that a busy client takes no lock.

mod netgroup;
mod rule;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use reactor::{
    clock,
    names::{self, Missing},
    whole,
};
use trace::warn;
use vocab::Error;

use crate::{
    answers::{Answers, Away},
    share::ShareConfig,
};
use netgroup::Netgroups;
pub use rule::{Host, Network};

/// How long a reactor remembers a verdict by itself, and how many.
const VERDICT_AGE_MAX: Duration = Duration::from_secs(1);
const VERDICTS_MAX: usize = 1024;
/// How soon a change of the netgroup file is seen.
const NETGROUPS_AGE_MAX: Duration = Duration::from_secs(5);
/// Largest netgroup file.
const NETGROUP_BYTES_MAX: u64 = 64 << 20;

/// What is looked up outside of this server, and how long an answer is good.
#[derive(Clone, Debug)]
pub struct Lookups {
    /// Where netgroups are.
    pub netgroup_file: PathBuf,
    /// How long names of hosts and groups of users are good.
    pub ttl: Duration,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { netgroup_file: "/etc/netgroup".into(), ttl: Duration::from_secs(60) }
    }
}

/// A share's two lists.
#[derive(Debug)]
pub(crate) struct Lists {
    /// Tells them from those of other shares.
    id: u64,
    allow: Vec<Host>,
    deny: Vec<Host>,
}

impl Lists {
    pub(crate) fn new(allow: Vec<Host>, deny: Vec<Host>) -> Self {
        static LISTS: AtomicU64 = AtomicU64::new(0);
        Self { id: LISTS.fetch_add(1, Relaxed), allow, deny }
    }

    /// The verdict, if addresses alone decide.
    fn at_once(&self, address: IpAddr) -> Option<bool> {
        let among = |hosts: &[Host]| hosts.iter().any(|host| host.has_address(address));
        let is_known = |hosts: &[Host]| hosts.iter().all(Host::is_known);
        if among(&self.deny) {
            return Some(false);
        }
        let is_allowed = self.allow.is_empty() || among(&self.allow);
        if !is_allowed && is_known(&self.allow) {
            return Some(false);
        }
        (is_allowed && is_known(&self.deny)).then_some(true)
    }
}

thread_local! {
    /// Verdicts of this reactor, by list and address, and until when they are good.
    static VERDICTS: RefCell<BTreeMap<(u64, IpAddr), (bool, Duration)>> =
        const { RefCell::new(BTreeMap::new()) };
}

/// What is known of hosts.
#[derive(Debug)]
pub(crate) struct Hosts {
    /// Addresses by name; none, when there is no such host.
    addresses: Answers<Arc<str>, Arc<[IpAddr]>>,
    /// Names by address, confirmed; `None` without one.
    names: Answers<IpAddr, Option<Arc<str>>>,
    netgroups: Answers<(), Arc<Netgroups>>,
}

impl Hosts {
    pub(crate) fn new(lookups: &Lookups) -> Self {
        let file = lookups.netgroup_file.clone();
        let last = Mutex::default();
        let read = move |(): &()| read_again(&file, &last);
        Self {
            addresses: Answers::new("host-names", lookups.ttl, |name: &Arc<str>| {
                known(names::addresses(name)).map(|found| found.unwrap_or_default().into())
            }),
            names: Answers::new("host-names", lookups.ttl, |address| confirmed(*address)),
            netgroups: Answers::new("netgroups", lookups.ttl.min(NETGROUPS_AGE_MAX), read),
        }
    }

    /// Whether a host may come in.
    ///
    /// # Errors
    /// `Busy`, when that cannot be known now.
    pub(crate) async fn admits(&self, lists: &Lists, address: IpAddr) -> Result<bool, Error> {
        let address = address.to_canonical();
        if let Some(verdict) = lists.at_once(address) {
            return Ok(verdict);
        }
        let now = clock::monotonic();
        let known = VERDICTS.with_borrow(|known| known.get(&(lists.id, address)).copied());
        if let Some((verdict, _)) = known.filter(|(_, until)| now < *until) {
            return Ok(verdict);
        }
        // In a box, so that the place of those who are known by address stays small.
        let verdict = Box::pin(async {
            Ok(!self.is_among(&lists.deny, address).await?
                && (lists.allow.is_empty() || self.is_among(&lists.allow, address).await?))
        });
        let verdict = verdict.await?;
        VERDICTS.with_borrow_mut(|known| {
            if known.len() >= VERDICTS_MAX {
                known.clear();
            }
            known.insert((lists.id, address), (verdict, now + VERDICT_AGE_MAX));
        });
        Ok(verdict)
    }

    /// Whether one of them is meant; what cannot be known matters only when none is.
    async fn is_among(&self, hosts: &[Host], address: IpAddr) -> Result<bool, Error> {
        let mut unknown = None;
        for host in hosts {
            match self.is_meant(host, address).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => unknown = Some(error),
            }
        }
        unknown.map_or(Ok(false), Err)
    }

    async fn is_meant(&self, host: &Host, address: IpAddr) -> Result<bool, Error> {
        match host {
            Host::Any | Host::Network(_) => Ok(host.has_address(address)),
            Host::Name(name) => Ok(self.addresses.get(name).await?.contains(&address)),
            Host::Pattern(pattern) => {
                let name = self.names.get(&address).await?;
                Ok(name.is_some_and(|name| rule::matches(pattern.as_bytes(), name.as_bytes())))
            }
            Host::Netgroup(group) => {
                let groups = self.netgroups.get(&()).await?;
                if groups.has(group, address, None) {
                    return Ok(true);
                }
                let name = self.names.get(&address).await?;
                Ok(name.is_some_and(|name| groups.has(group, address, Some(&name))))
            }
        }
    }
}

/// That there is none is an answer, too.
fn known<T>(asked: Result<T, Missing>) -> Result<Option<T>, Away> {
    match asked {
        Ok(answer) => Ok(Some(answer)),
        Err(Missing::Unknown) => Ok(None),
        Err(Missing::Away) => Err(Away),
    }
}

/// The name of an address that leads to the address again.
fn confirmed(address: IpAddr) -> Result<Option<Arc<str>>, Away> {
    let Some(name) = known(names::name_of(address))? else { return Ok(None) };
    let addresses = known(names::addresses(&name))?.unwrap_or_default();
    if !addresses.contains(&address) {
        warn!(%address, name, "the host's name leads elsewhere and does not count");
        return Ok(None);
    }
    Ok(Some(name.trim_end_matches('.').to_ascii_lowercase().into()))
}

/// Whether the netgroups that shares name can be read; those that the file does not have.
///
/// # Errors
/// In words for the operator.
pub fn check_netgroups<'a>(
    lookups: &Lookups,
    shares: impl Iterator<Item = &'a ShareConfig>,
) -> Result<Vec<String>, String> {
    let name = |host: &'a Host| match host {
        Host::Netgroup(name) => Some(&**name),
        Host::Any | Host::Network(_) | Host::Name(_) | Host::Pattern(_) => None,
    };
    let named = shares.flat_map(|share| share.allow.iter().chain(&share.deny).filter_map(name));
    let mut named: Vec<&str> = named.collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let file = &lookups.netgroup_file;
    let groups = bytes(file).and_then(|bytes| parse(file, &bytes))?;
    named.retain(|name| !groups.contains(name));
    Ok(named.into_iter().map(str::to_owned).collect())
}

fn bytes(file: &Path) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let bytes = whole::read(file, NETGROUP_BYTES_MAX);
    let bytes = bytes.map_err(|error| format!("netgroups: {shown}: {error}"))?;
    bytes.ok_or_else(|| format!("netgroups: {shown} is not there"))
}

fn parse(file: &Path, bytes: &[u8]) -> Result<Netgroups, String> {
    let parsed = Netgroups::parse(&String::from_utf8_lossy(bytes));
    parsed.map_err(|why| format!("netgroups: {}: {why}", file.display()))
}

/// The file as it was read last, and what was wrong with it since.
#[derive(Debug, Default)]
struct Last {
    read: Option<(Vec<u8>, Arc<Netgroups>)>,
    wrong: String,
}

/// The groups of a file, parsed again only when it changed. One that cannot be read or is wrong
/// leaves all as it was: a slip of an editor must not shut everybody out.
fn read_again(file: &Path, last: &Mutex<Last>) -> Result<Arc<Netgroups>, Away> {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let read = bytes(file).and_then(|bytes| match &last.read {
        Some((before, groups)) if *before == bytes => Ok((bytes, Arc::clone(groups))),
        Some(_) | None => parse(file, &bytes).map(|groups| (bytes, Arc::new(groups))),
    });
    match read {
        Ok(read) => {
            last.wrong.clear();
            Ok(Arc::clone(&last.read.insert(read).1))
        }
        Err(why) => {
            if last.wrong != why {
                warn!("{why}; the groups stay as they were");
                last.wrong = why;
            }
            last.read.as_ref().map(|(_, groups)| Arc::clone(groups)).ok_or(Away)
        }
    }
}
