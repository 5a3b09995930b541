//! READDIR and READDIRPLUS: the entries of a directory, `.` and `..` first.

use bytes::Bytes;
use meta::DirEntry;
use vocab::{Attr, Cookie, Error};

use crate::{
    Caller, Entry, Listing, Vfs, handle::Handle, lookup, permission, permission::Rights,
    target::Target,
};

/// Where a listing resumes after `.` and `..`.
const DOT: Cookie = Cookie(1);
const DOT_DOT: Cookie = Cookie(2);

impl Vfs {
    /// READDIR and READDIRPLUS (`with_found`): entries after a cookie, at most `entries_max`.
    /// Handles and attributes are given only to who may search the directory.
    ///
    /// # Errors
    /// `NotDirectory`, `Access`, `BadCookie`.
    pub async fn readdir(
        &self,
        caller: &Caller,
        dir: &Handle,
        after: Cookie,
        entries_max: usize,
        with_found: bool,
    ) -> Result<Listing, Error> {
        let dir = self.enter(caller, dir).await?;
        dir.require_directory()?;
        dir.require(Rights::READ)?;
        let with_found = with_found && permission::allows(&dir.who, &dir.attr, Rights::EXECUTE);
        let mut entries = dots(&dir, after, with_found).await?;
        entries.truncate(entries_max);
        let room = entries_max - entries.len();
        if room == 0 {
            return Ok(Listing { entries, end: false, dir: dir.attr });
        }
        let inode = dir.attr.inode;
        let page = dir.meta().readdir(inode, after, room, with_found).await?;
        entries.extend(page.entries.into_iter().map(|entry| outgoing(&dir, entry)));
        dir.meta().note_read(inode, reactor::clock::wall());
        Ok(Listing { entries, end: page.end, dir: dir.attr })
    }
}

/// The entries that no store holds. `..` of the share's root is the root: what is above it is
/// nobody's business.
async fn dots(dir: &Target<'_>, after: Cookie, with_found: bool) -> Result<Vec<Entry>, Error> {
    let entry = |name: &'static [u8], attr: Attr, cookie| Entry {
        name: Bytes::from_static(name),
        inode: attr.inode,
        cookie,
        found: with_found.then(|| dir.found(attr)),
    };
    let mut entries = Vec::new();
    if after < DOT {
        entries.push(entry(b".", dir.attr, DOT));
    }
    if after < DOT_DOT {
        let at_root = dir.attr.inode == dir.share.root;
        let attr = if at_root { dir.attr } else { lookup::parent(dir).await? };
        entries.push(entry(b"..", attr, DOT_DOT));
    }
    Ok(entries)
}

fn outgoing(dir: &Target<'_>, entry: DirEntry) -> Entry {
    let DirEntry { name, inode, cookie, attr } = entry;
    Entry { name, inode, cookie, found: attr.map(|attr| dir.found(attr)) }
}
