//! MOUNT: from a path to a handle, once per client.

use vocab::Error;

use crate::{
    Caller, Found, Vfs, lookup,
    share::{Share, Table, components},
    squash,
    target::Target,
};

impl Vfs {
    /// The handle of a share's root, or of a directory below it, by path. The walk below the root
    /// asks for the caller's permission like any lookup, and follows no symlinks.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `Access`.
    pub async fn mount(&self, caller: &Caller, path: &[u8]) -> Result<Found, Error> {
        let (share, depth) = by_path(&self.inner.shares, path).ok_or(Error::NotFound)?;
        share.admit(caller.address)?;
        let who = squash::effective(&share.config, caller.credentials.as_deref());
        let attr = share.place.meta.attr(share.root).await?;
        let mut here = Target { share, who, attr };
        for name in components(path).skip(depth) {
            here = here.with(lookup::step(&here, name).await?);
        }
        here.require_directory()?;
        Ok(here.found(here.attr))
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
