//! MKNOD: a new device, pipe or socket.

use meta::command::NewKind;
use vocab::{Device, Error, FileKind};

use crate::{Caller, Made, SetAttr, Vfs, handle::Handle, make};

impl Vfs {
    /// MKNOD of a device, pipe or socket.
    ///
    /// # Errors
    /// As [`Vfs::create`]; `Permission` for a device by anyone but root; `BadKind` for a kind that
    /// has an operation of its own.
    pub async fn mknod(
        &self,
        caller: &Caller,
        dir: &Handle,
        name: &[u8],
        kind: FileKind,
        device: Device,
        set: SetAttr,
    ) -> Result<Made, Error> {
        let dir = self.enter_to_change(caller, dir).await?;
        let device = match kind {
            FileKind::Block | FileKind::Character => device,
            FileKind::Fifo | FileKind::Socket => Device::default(),
            FileKind::Regular | FileKind::Directory | FileKind::Symlink => {
                return Err(Error::BadKind);
            }
        };
        let needs_root = matches!(kind, FileKind::Block | FileKind::Character);
        if needs_root && !dir.who.is_root() {
            make::may_add(&dir, name).await?;
            return match dir.child(name).await {
                Ok(_) => Err(Error::Exists),
                Err(Error::NotFound) => Err(Error::Permission),
                Err(error) => Err(error),
            };
        }
        make::make(&dir, name, NewKind::Special(kind, device), &set).await
    }
}
