//! The procedures of NFS version 3, one file each: arguments in, `vfs`, results out.

pub(crate) mod access;
pub(crate) mod commit;
pub(crate) mod create;
pub(crate) mod fsinfo;
pub(crate) mod fsstat;
pub(crate) mod getattr;
pub(crate) mod link;
pub(crate) mod lookup;
pub(crate) mod mkdir;
pub(crate) mod mknod;
pub(crate) mod null;
pub(crate) mod pathconf;
pub(crate) mod read;
pub(crate) mod readdir;
pub(crate) mod readdirplus;
pub(crate) mod readlink;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod rmdir;
pub(crate) mod setattr;
pub(crate) mod symlink;
pub(crate) mod write;

use std::cell::Cell;

use bytes::Bytes;
use vfs::{Caller, Found, Vfs, handle::Handle};
use vocab::{Attr, Error};

use crate::{
    status,
    wire::{
        rpc::Refusal,
        v3::{
            Status,
            attr::{SetAttr, SetTime, Wcc},
            fail::{Failed, Tells},
            names::MadeDone,
        },
    },
};

/// What a procedure answers.
pub(crate) type Outcome<T> = Result<T, Failed>;

/// A call, as its procedure sees it.
pub(crate) struct Request<'a> {
    pub(crate) vfs: &'a Vfs,
    pub(crate) caller: &'a Caller,
    /// The bytes that the arguments are borrowed from.
    pub(crate) record: &'a Bytes,
    /// The first handle of the arguments, once it is known to be one of ours.
    pub(crate) seen: Cell<Option<Handle>>,
    /// Why the call is not for the procedure to answer at all.
    pub(crate) refusal: Cell<Option<Refusal>>,
}

impl Request<'_> {
    /// The handle of an argument.
    pub(crate) fn handle(&self, bytes: &[u8]) -> Result<Handle, Error> {
        let handle = Handle::decode(bytes)?;
        self.seen.set(self.seen.get().or(Some(handle)));
        Ok(handle)
    }

    /// What is at hand of a failed call's object. Not after `Access`: a host that may not reach the
    /// share at all learns nothing of it.
    fn peek(&self, error: Error, handle: &[u8]) -> Option<Attr> {
        if error == Error::Access {
            return None;
        }
        self.vfs.peek(&Handle::decode(handle).ok()?)
    }

    fn peek_wcc(&self, error: Error, handle: &[u8]) -> Wcc {
        Wcc { pre: None, post: self.peek(error, handle) }
    }

    fn status(&self, error: Error) -> Status {
        self.refusal.set(status::refusal(error));
        status::nfs(error)
    }

    /// A failed GETATTR.
    pub(crate) fn fail(&self, error: Error) -> Failed {
        Failed { status: self.status(error), tells: Tells::Nothing }
    }

    /// A failed procedure that reads.
    pub(crate) fn fail_attr(&self, error: Error, handle: &[u8]) -> Failed {
        Failed { status: self.status(error), tells: Tells::Attr(self.peek(error, handle)) }
    }

    /// A failed procedure that changes one object or directory.
    pub(crate) fn fail_wcc(&self, error: Error, handle: &[u8]) -> Failed {
        Failed { status: self.status(error), tells: Tells::Wcc(self.peek_wcc(error, handle)) }
    }

    /// A failed RENAME.
    pub(crate) fn fail_two_wcc(&self, error: Error, from: &[u8], to: &[u8]) -> Failed {
        let (from, to) = (self.peek_wcc(error, from), self.peek_wcc(error, to));
        Failed { status: self.status(error), tells: Tells::TwoWcc(from, to) }
    }

    /// A failed LINK.
    pub(crate) fn fail_attr_wcc(&self, error: Error, handle: &[u8], dir: &[u8]) -> Failed {
        let (attr, wcc) = (self.peek(error, handle), self.peek_wcc(error, dir));
        Failed { status: self.status(error), tells: Tells::AttrWcc(attr, wcc) }
    }
}

fn wcc(wcc: vfs::Wcc) -> Wcc {
    Wcc { pre: wcc.pre, post: wcc.post }
}

fn made(made: vfs::Made) -> MadeDone {
    let Found { handle, attr } = made.found;
    MadeDone { handle: handle.encode(), attr: Some(attr), dir: wcc(made.dir) }
}

fn set_attr(set: SetAttr) -> vfs::SetAttr {
    let time = |time: SetTime| match time {
        SetTime::Keep => vfs::SetTime::Keep,
        SetTime::Server => vfs::SetTime::Now,
        SetTime::Client(time) => vfs::SetTime::To(time),
    };
    vfs::SetAttr {
        mode: set.mode,
        uid: set.uid,
        gid: set.gid,
        size: set.size,
        atime: time(set.atime),
        mtime: time(set.mtime),
    }
}
