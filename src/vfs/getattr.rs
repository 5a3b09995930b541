//! GETATTR: the live attributes.

use vocab::{Attr, Error};

use crate::{Caller, Vfs, handle::Handle};

impl Vfs {
    /// GETATTR.
    ///
    /// # Errors
    /// `Stale`, `Access` by address, and so every operation; further ones by the RFC.
    pub async fn getattr(&self, caller: &Caller, handle: &Handle) -> Result<Attr, Error> {
        Ok(self.enter(caller, handle).await?.attr)
    }
}
