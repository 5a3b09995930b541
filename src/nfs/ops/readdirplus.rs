//! READDIRPLUS (RFC 1813 section 3.3.17).

use vocab::Error;

use super::{
    Outcome, Request,
    readdir::{Bounds, check, fill},
};
use crate::wire::v3::listing::{ListingDone, ReadDirPlusArgs};

pub(crate) async fn run(request: &Request<'_>, args: ReadDirPlusArgs<'_>) -> Outcome<ListingDone> {
    let fail = |error| request.fail_attr(error, args.handle);
    let dir = request.handle(args.handle).map_err(fail)?;
    check(args.cookie, args.verifier).map_err(fail)?;
    let bounds = Bounds::readdirplus(args.dircount, args.maxcount);
    let entries_max = bounds.entries_max().ok_or_else(|| fail(Error::TooSmall))?;
    let listing = request.vfs.readdir(request.caller, &dir, args.cookie, entries_max, true).await;
    fill(listing.map_err(fail)?, bounds).ok_or_else(|| fail(Error::TooSmall))
}
