//! READDIR (RFC 1813 section 3.3.16), and what READDIRPLUS shares with it.
//!
//! A reply is as long as the client asked, to the byte, and never cuts an entry.

use vfs::Listing;
use vocab::{Cookie, Error};

use super::{Outcome, Request};
use crate::wire::v3::listing::{
    EMPTY_BYTES, Entry, ListingDone, ReadDirArgs, entry_bytes, plus_bytes,
};

/// Our cookies hold for ever, so there is one verifier for ever.
const VERIFIER: u64 = u64::from_be_bytes(*b"cookies1");
/// Most bytes of one reply, whatever the client asks.
const BYTES_MAX: usize = 256 * 1024;
/// A guess, to ask the directory for about as many entries as fit.
const NAME_BYTES_GUESS: usize = 12;

/// What a reply may hold.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes of all results.
    bytes_max: usize,
    /// Bytes of names, ids and cookies. The first entry is exempt: some clients ask for none.
    names_max: usize,
    plus: bool,
}

pub(crate) async fn run(request: &Request<'_>, args: ReadDirArgs<'_>) -> Outcome<ListingDone> {
    let fail = |error| request.fail_attr(error, args.handle);
    let dir = request.handle(args.handle).map_err(fail)?;
    check(args.cookie, args.verifier).map_err(fail)?;
    let bounds = Bounds::readdir(args.count);
    let entries_max = bounds.entries_max().ok_or_else(|| fail(Error::TooSmall))?;
    let listing = request.vfs.readdir(request.caller, &dir, args.cookie, entries_max, false).await;
    fill(listing.map_err(fail)?, bounds).ok_or_else(|| fail(Error::TooSmall))
}

/// Whether a listing may begin at the cookie.
pub(crate) fn check(cookie: Cookie, verifier: u64) -> Result<(), Error> {
    let is_start = cookie == Cookie::default() && verifier == 0;
    if is_start || verifier == VERIFIER { Ok(()) } else { Err(Error::BadCookie) }
}

impl Bounds {
    fn readdir(count: u32) -> Self {
        Self { bytes_max: (count as usize).min(BYTES_MAX), names_max: usize::MAX, plus: false }
    }

    pub(crate) fn readdirplus(dircount: u32, maxcount: u32) -> Self {
        let bytes_max = (maxcount as usize).min(BYTES_MAX);
        Self { bytes_max, names_max: dircount as usize, plus: true }
    }

    fn bytes(&self, name_len: usize, is_found: bool) -> usize {
        entry_bytes(name_len) + if self.plus { plus_bytes(is_found) } else { 0 }
    }

    /// Entries worth asking for; `None` when not even an empty listing fits.
    pub(crate) fn entries_max(&self) -> Option<usize> {
        let room = self.bytes_max.checked_sub(EMPTY_BYTES)?;
        let by_names = self.names_max / entry_bytes(NAME_BYTES_GUESS);
        Some((room / self.bytes(NAME_BYTES_GUESS, true)).min(by_names) + 1)
    }
}

/// As many entries as fit; `None` when not even one does.
pub(crate) fn fill(listing: Listing, bounds: Bounds) -> Option<ListingDone> {
    let mut room = bounds.bytes_max.checked_sub(EMPTY_BYTES)?;
    let mut room_names = bounds.names_max;
    let count = listing.entries.len();
    let mut entries = Vec::with_capacity(count);
    for entry in listing.entries {
        let bytes = bounds.bytes(entry.name.len(), entry.found.is_some());
        let name_bytes = entry_bytes(entry.name.len());
        if bytes > room || (name_bytes > room_names && !entries.is_empty()) {
            break;
        }
        room -= bytes;
        room_names = room_names.saturating_sub(name_bytes);
        entries.push(Entry {
            inode: entry.inode,
            name: entry.name,
            cookie: entry.cookie,
            found: entry.found.map(|found| (found.handle.encode(), found.attr)),
        });
    }
    if entries.is_empty() && count > 0 {
        return None;
    }
    let eof = listing.end && entries.len() == count;
    Some(ListingDone { dir: listing.dir, verifier: VERIFIER, entries, eof, plus: bounds.plus })
}
