//! COMMIT: what was written becomes durable.

use vocab::{Error, durable::Durable};

use crate::{Caller, Vfs, Wcc, handle::Handle, permission};

impl Vfs {
    /// COMMIT of the whole file. Allowed on a read-only share: it changes nothing that was not
    /// written before.
    ///
    /// # Errors
    /// `Access`, `IsDirectory`, `SyncFailed`.
    pub async fn commit(&self, caller: &Caller, handle: &Handle) -> Result<(Durable, Wcc), Error> {
        let target = self.enter(caller, handle).await?;
        target.require_regular()?;
        permission::write_data(&target.who, &target.attr)?;
        let inode = target.attr.inode;
        let (place, grade) = (&target.share.place, target.share.durability());
        let durable = self.inner.payload.commit(place, inode, grade).await?;
        let post = target.meta().peek_attr(inode);
        Ok((durable, Wcc { pre: Some(target.attr.pre()), post }))
    }
}
