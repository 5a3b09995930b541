//! MOUNT: from a path to a handle, once per client.

use vocab::Error;

use crate::{
    Caller, Flavor, Found, Vfs, lookup,
    share::{Share, Table, components},
    squash,
    target::Target,
};

/// What MOUNT gives.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// The directory.
    pub found: Found,
    /// How callers of the share may say who they are.
    pub security: Vec<Flavor>,
}

impl Vfs {
    /// The handle of a share's root, or of a directory below it, by path. The walk below the root
    /// asks for the caller's permission like any lookup, and follows no symlinks. How the caller
    /// says who it is does not matter here: it learns from the answer how it should (RFC 2623).
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `Access`, `Busy`.
    pub async fn mount(&self, caller: &Caller, path: &[u8]) -> Result<Mounted, Error> {
        let (share, depth) = by_path(&self.inner.shares, path).ok_or(Error::NotFound)?;
        self.admit(share, caller).await?;
        if !share.config.subdirectories && components(path).nth(depth).is_some() {
            return Err(Error::Access);
        }
        let groups = caller.groups(share.config.groups)?;
        let who = squash::effective(&share.config, caller.credentials.as_deref(), groups);
        let attr = share.place.meta.attr(share.root).await?;
        let mut here = Target { share, who, attr, may_change: false };
        for name in components(path).skip(depth) {
            here = here.with(lookup::step(&here, name).await?);
        }
        here.require_directory()?;
        Ok(Mounted { found: here.found(here.attr), security: share.config.security.clone() })
    }
}

/// The share with the longest name that the path begins with, and its number of components.
fn by_path<'a>(shares: &'a Table, path: &[u8]) -> Option<(&'a Share, usize)> {
    let matching = |share: &'a Share| {
        let mut rest = components(path);
        let name = components(share.name.as_bytes());
        let depth = name.clone().count();
        name.eq(rest.by_ref().take(depth)).then_some((share, depth))
    };
    shares.iter().filter_map(matching).max_by_key(|&(_, depth)| depth)
}
