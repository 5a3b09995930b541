//! The way in of every operation: share, address, squash, live attributes.
//!
//! Nothing here allocates or waits while the attributes are in memory.

use meta::Store;
use vocab::{Attr, Error, FileKind};

use crate::{
    Caller, Found, Vfs, Wcc,
    handle::Handle,
    permission::{self, Rights},
    share::Share,
    squash::{self, Who},
};

/// What a handle leads to, and who asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) share: &'a Share,
    pub(crate) who: Who<'a>,
    pub(crate) attr: Attr,
    /// Neither the share nor the way the caller says who it is forbid changes.
    pub(crate) may_change: bool,
}

impl Vfs {
    /// Lets a caller in to what a handle leads to.
    ///
    /// # Errors
    /// `Stale` when the share or the inode is not there any more, `Access` by address,
    /// `WeakIdentity`, `Busy` while the host or the user is being looked up in vain.
    pub(crate) async fn enter<'a>(
        &'a self,
        caller: &'a Caller,
        handle: &Handle,
    ) -> Result<Target<'a>, Error> {
        let share = self.inner.shares.find(handle.share, handle.store).ok_or(Error::Stale)?;
        self.admit(share, caller).await?;
        let credentials = caller.credentials.as_deref();
        let may_change = share.config.may_change(credentials)?;
        let groups = caller.groups(share.config.groups)?;
        let who = squash::effective(&share.config, credentials, groups);
        let meta = &share.place.meta;
        let attr = match meta.peek_attr(handle.inode) {
            Some(attr) => attr,
            None => meta.attr(handle.inode).await?,
        };
        if !is_live(handle, &attr) {
            return Err(Error::Stale);
        }
        Ok(Target { share, who, attr, may_change })
    }

    /// [`Vfs::enter`] for an operation that changes something.
    ///
    /// # Errors
    /// And `ReadOnly`.
    pub(crate) async fn enter_to_change<'a>(
        &'a self,
        caller: &'a Caller,
        handle: &Handle,
    ) -> Result<Target<'a>, Error> {
        let target = self.enter(caller, handle).await?;
        if target.may_change { Ok(target) } else { Err(Error::ReadOnly) }
    }

    /// Live attributes if they are at hand: for the attributes in a failed reply. Never blocks.
    #[must_use]
    pub fn peek(&self, handle: &Handle) -> Option<Attr> {
        let share = self.inner.shares.find(handle.share, handle.store)?;
        share.place.meta.peek_attr(handle.inode).filter(|attr| is_live(handle, attr))
    }
}

/// An orphan still has attributes until it is reaped, but no handle leads there any more.
fn is_live(handle: &Handle, attr: &Attr) -> bool {
    attr.generation == handle.generation && attr.share == handle.share && attr.nlink > 0
}

impl<'a> Target<'a> {
    pub(crate) fn meta(&self) -> &'a Store {
        &self.share.place.meta
    }

    /// Another inode of the same share, for the same caller.
    pub(crate) fn with(&self, attr: Attr) -> Self {
        Self { attr, ..*self }
    }

    pub(crate) fn require(&self, wanted: Rights) -> Result<(), Error> {
        permission::require(&self.who, &self.attr, wanted)
    }

    pub(crate) fn require_directory(&self) -> Result<(), Error> {
        if self.attr.kind == FileKind::Directory { Ok(()) } else { Err(Error::NotDirectory) }
    }

    /// Bytes can be read and written only in regular files.
    pub(crate) fn require_regular(&self) -> Result<(), Error> {
        match self.attr.kind {
            FileKind::Regular => Ok(()),
            FileKind::Directory => Err(Error::IsDirectory),
            FileKind::Symlink
            | FileKind::Block
            | FileKind::Character
            | FileKind::Fifo
            | FileKind::Socket => Err(Error::Invalid),
        }
    }

    /// What a name in this directory leads to. Who asks was let in already.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) async fn child(&self, name: &[u8]) -> Result<Attr, Error> {
        let meta = self.meta();
        match meta.peek_lookup(self.attr.inode, name) {
            Some(None) => return Err(Error::NotFound),
            Some(Some(inode)) => {
                // Without a name it was removed just now; the store knows better.
                if let Some(attr) = meta.peek_attr(inode).filter(|attr| attr.nlink > 0) {
                    return Ok(attr);
                }
            }
            None => {}
        }
        meta.lookup(self.attr.inode, name).await
    }

    /// An inode of this share as it goes out.
    pub(crate) fn found(&self, attr: Attr) -> Found {
        // A handle names the share it came from, and a tree never leaves its share.
        assert_eq!(attr.share, self.share.id, "{:?} was reached from another share", attr.inode);
        let handle = Handle {
            share: attr.share,
            store: self.share.store,
            inode: attr.inode,
            generation: attr.generation,
        };
        Found { handle, attr }
    }

    /// Nothing changed.
    pub(crate) fn unchanged(&self) -> Wcc {
        Wcc { pre: Some(self.attr.pre()), post: Some(self.attr) }
    }
}

/// Both in one share.
///
/// # Errors
/// `CrossShare`.
pub(crate) fn same_share(a: &Target<'_>, b: &Target<'_>) -> Result<(), Error> {
    if std::ptr::eq(a.share, b.share) { Ok(()) } else { Err(Error::CrossShare) }
}

/// `.` and `..`, which every directory has.
pub(crate) fn is_dots(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}
