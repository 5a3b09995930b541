//! Who may come in to a share at all: from where, and saying how who they are.
//!
//! Permission comes later, and asks who they are.

use vocab::{Credentials, Error};

use crate::{
    Caller, Vfs,
    share::{Share, ShareConfig},
};

/// Ports below this take root on the machine of who calls.
const PRIVILEGED_PORTS: u16 = 1024;

/// A way to say who one is (`auth_flavor`, RFC 5531 section 8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// By ids that are believed (`AUTH_SYS`).
    Sys,
    /// Not at all (`AUTH_NONE`, of old `AUTH_NULL`): the anonymous user.
    None {
        /// It may change what the mode bits let it change; otherwise it only reads.
        writes: bool,
    },
}

impl Vfs {
    /// Whether a caller comes from where the share lets in.
    ///
    /// # Errors
    /// `Access`, `Busy` when it cannot be known now.
    pub(crate) async fn admit(&self, share: &Share, caller: &Caller) -> Result<(), Error> {
        if share.config.privileged_port && caller.port >= PRIVILEGED_PORTS {
            return Err(Error::Access);
        }
        let is_admitted = self.inner.hosts.admits(&share.lists, caller.address).await?;
        if is_admitted { Ok(()) } else { Err(Error::Access) }
    }
}

impl ShareConfig {
    /// Whether callers may say so who they are; then, whether they may change anything.
    ///
    /// # Errors
    /// `WeakIdentity`.
    pub(crate) fn may_change(&self, credentials: Option<&Credentials>) -> Result<bool, Error> {
        let by = |flavor: &Flavor| match (flavor, credentials) {
            (Flavor::Sys, Some(_)) => Some(true),
            (Flavor::None { writes }, None) => Some(*writes),
            (Flavor::Sys, None) | (Flavor::None { .. }, Some(_)) => None,
        };
        let writes = self.security.iter().find_map(by).ok_or(Error::WeakIdentity)?;
        Ok(writes && !self.read_only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavors_and_what_they_may() {
        let (sys, weak) = (Credentials { uid: 1, gid: 1, groups: Vec::new() }, Error::WeakIdentity);
        let check = |security: &[Flavor], read_only, want| {
            let security = security.to_vec();
            let config = ShareConfig { security, read_only, ..ShareConfig::new("/export") };
            let got = (config.may_change(Some(&sys)), config.may_change(None));
            assert_eq!(got, want, "{config:?}");
        };
        let (reads, writes) = (Flavor::None { writes: false }, Flavor::None { writes: true });
        check(&[Flavor::Sys], false, (Ok(true), Err(weak)));
        check(&[Flavor::Sys], true, (Ok(false), Err(weak)));
        check(&[Flavor::Sys, reads], false, (Ok(true), Ok(false)));
        check(&[Flavor::Sys, writes], false, (Ok(true), Ok(true)));
        check(&[writes, Flavor::Sys], true, (Ok(false), Ok(false)));
        check(&[reads], false, (Err(weak), Ok(false)));
    }
}
