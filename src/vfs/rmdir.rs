//! RMDIR: an empty directory.

use vocab::Error;

use crate::{Caller, Vfs, Wcc, handle::Handle};

impl Vfs {
    /// RMDIR.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `NotEmpty`, `Invalid` for `.`, `Exists` for `..` (RFC 1813
    /// section 3.3.13).
    pub async fn rmdir(&self, caller: &Caller, dir: &Handle, name: &[u8]) -> Result<Wcc, Error> {
        let dir = self.enter_to_change(caller, dir).await?;
        match name {
            b"." => Err(Error::Invalid),
            b".." => Err(Error::Exists),
            _ => self.unlink(&dir, name, true).await,
        }
    }
}
