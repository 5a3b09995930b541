//! WRITE: bytes into a regular file.

use bytes::Bytes;
use meta::command::AttrChange;
use payload::{Evidence, Stability};
use vocab::{
    Error, PreAttr,
    limits::{FILE_BYTES_MAX, TRANSFER_BYTES_MAX},
};

use crate::{Caller, Vfs, Wcc, handle::Handle, permission, setattr, target::Target};

impl Vfs {
    /// WRITE.
    ///
    /// # Errors
    /// `Access`, `IsDirectory`, `Invalid` when it has no bytes or there are more than
    /// `TRANSFER_BYTES_MAX`, `ReadOnly`, `Busy`, `TooBig`, `LogReadOnly`, `SyncFailed`.
    pub async fn write(
        &self,
        caller: &Caller,
        handle: &Handle,
        offset: u64,
        bytes: Bytes,
        stability: Stability,
    ) -> Result<(Evidence, Wcc), Error> {
        let target = self.enter_to_change(caller, handle).await?;
        target.require_regular()?;
        permission::write_data(&target.who, &target.attr)?;
        let (place, inode) = (&target.share.place, target.attr.inode);
        let grade = target.share.durability();
        if bytes.is_empty() {
            // Changes nothing, not even times; the reply needs evidence all the same.
            let durable = self.inner.payload.commit(place, inode, grade).await?;
            return Ok((Evidence::Durable(durable), target.unchanged()));
        }
        if bytes.len() > TRANSFER_BYTES_MAX as usize {
            return Err(Error::Invalid);
        }
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(Error::TooBig);
        }
        let stripped = strip_set_id(&target).await?;
        let payload = &self.inner.payload;
        let done = payload.write(place, inode, offset, bytes, stability, grade).await?;
        let pre = stripped.unwrap_or(done.pre.pre());
        Ok((done.evidence, Wcc { pre: Some(pre), post: Some(done.attr) }))
    }
}

/// Takes setuid and setgid from a file that somebody else than root is about to change. The
/// attributes before, if it had them.
pub(crate) async fn strip_set_id(target: &Target<'_>) -> Result<Option<PreAttr>, Error> {
    if !permission::loses_set_id(&target.who, &target.attr) {
        return Ok(None);
    }
    let mode = Some(permission::without_set_id(target.attr.mode));
    let change = AttrChange { mode, ..AttrChange::default() };
    setattr::submit(target, change, None, reactor::clock::wall()).await.map(|(pre, _)| Some(pre))
}
