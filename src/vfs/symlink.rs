//! SYMLINK: a new path.

use meta::command::NewKind;
use vocab::{Error, limits::PATH_BYTES_MAX};

use crate::{Caller, Made, SetAttr, Vfs, handle::Handle, make};

impl Vfs {
    /// SYMLINK. The path is kept as given; only clients follow it.
    ///
    /// # Errors
    /// As [`Vfs::create`]; `Invalid` for a path that is empty or has a NUL in it.
    pub async fn symlink(
        &self,
        caller: &Caller,
        dir: &Handle,
        name: &[u8],
        path: &[u8],
        set: SetAttr,
    ) -> Result<Made, Error> {
        let dir = self.enter_to_change(caller, dir).await?;
        if path.len() > PATH_BYTES_MAX as usize {
            return Err(Error::NameTooLong);
        }
        if path.is_empty() || path.contains(&0) {
            return Err(Error::Invalid);
        }
        make::make(&dir, name, NewKind::Symlink(path.into()), &set).await
    }
}
