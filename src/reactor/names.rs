//! What the machine's own databases say of hosts and users (`/etc/hosts`, DNS, `/etc/passwd`, LDAP:
//! whatever the machine is set up for). All of it blocks, perhaps for many seconds: on plain
//! threads only.
//!
//! A simulated machine has no such databases.

use std::net::IpAddr;

use crate::{
    local::{self, Local},
    sys,
};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// There is none.
    Unknown,
    /// Who knows it does not answer now.
    Away,
}

/// The addresses of a host. IPv4 addresses in IPv6 clothes are given as what they are.
///
/// # Errors
/// [`Missing`].
pub fn addresses(name: &str) -> Result<Vec<IpAddr>, Missing> {
    may_block()?;
    sys::names::addresses(name)
}

/// The name of the host at an address, as its network's administrator says. Whoever runs the
/// network may say anything: ask [`addresses`] whether the name's owner agrees.
///
/// # Errors
/// [`Missing`].
pub fn name_of(address: IpAddr) -> Result<String, Missing> {
    may_block()?;
    sys::names::name_of(address)
}

/// All groups of a user, its primary one first.
///
/// # Errors
/// [`Missing`].
pub fn groups_of(uid: u32) -> Result<Vec<u32>, Missing> {
    may_block()?;
    sys::names::groups_of(uid)
}

fn may_block() -> Result<(), Missing> {
    match local::get().as_deref() {
        None => Ok(()),
        Some(Local::World(_)) => Err(Missing::Unknown),
        Some(Local::Reactor(_)) => panic!("this blocks, and stalls a reactor"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let here = IpAddr::from([127, 0, 0, 1]);
        assert!(addresses("localhost").unwrap().contains(&here));
        assert_eq!(addresses("127.0.0.1"), Ok(vec![here]));
        assert_eq!(addresses("with\0nul"), Err(Missing::Unknown));
        let name = name_of(here).unwrap();
        assert!(addresses(&name).unwrap().contains(&here), "{name}");
        assert_eq!(name_of("::ffff:127.0.0.1".parse().unwrap()), Ok(name));
    }

    #[test]
    fn users() {
        assert!(groups_of(0).unwrap().contains(&0));
        assert_eq!(groups_of(3_999_999_999), Err(Missing::Unknown));
    }
}
