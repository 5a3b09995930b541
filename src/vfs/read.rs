//! READ: bytes of a regular file.

use payload::ReadDone;
use vocab::{Error, limits::TRANSFER_BYTES_MAX};

use crate::{Caller, Vfs, handle::Handle, permission};

impl Vfs {
    /// READ, of at most `TRANSFER_BYTES_MAX`.
    ///
    /// # Errors
    /// `Access`, `IsDirectory`, `Invalid` when it has no bytes, `Busy`, `Corrupt`, `Io`.
    pub async fn read(
        &self,
        caller: &Caller,
        handle: &Handle,
        offset: u64,
        len: u32,
    ) -> Result<ReadDone, Error> {
        let target = self.enter(caller, handle).await?;
        target.require_regular()?;
        permission::read_data(&target.who, &target.attr)?;
        if offset >= target.attr.size {
            // Nothing to ask the slice for; and no offset is too large to read nothing at.
            return Ok(ReadDone { parts: Vec::new(), len: 0, eof: true, attr: target.attr });
        }
        let len = len.min(TRANSFER_BYTES_MAX);
        let place = &target.share.place;
        let done = self.inner.payload.read(place, target.attr.inode, offset, len).await?;
        target.meta().note_read(target.attr.inode, reactor::clock::wall());
        Ok(done)
    }
}
