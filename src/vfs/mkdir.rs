//! MKDIR: a new directory.

use meta::command::NewKind;
use vocab::Error;

use crate::{Caller, Made, SetAttr, Vfs, handle::Handle, make};

impl Vfs {
    /// MKDIR.
    ///
    /// # Errors
    /// As [`Vfs::create`].
    pub async fn mkdir(
        &self,
        caller: &Caller,
        dir: &Handle,
        name: &[u8],
        set: SetAttr,
    ) -> Result<Made, Error> {
        let dir = self.enter_to_change(caller, dir).await?;
        make::make(&dir, name, NewKind::Directory, &set).await
    }
}
