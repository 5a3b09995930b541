//! LOOKUP (RFC 1813 section 3.3.3).

use super::{Outcome, Request};
use crate::wire::v3::names::{LookupDone, Place};

pub(crate) async fn run(request: &Request<'_>, args: Place<'_>) -> Outcome<LookupDone> {
    let fail = |error| request.fail_attr(error, args.dir);
    let dir = request.handle(args.dir).map_err(fail)?;
    let (found, dir) = request.vfs.lookup(request.caller, &dir, args.name).await.map_err(fail)?;
    Ok(LookupDone { handle: found.handle.encode(), attr: Some(found.attr), dir: Some(dir) })
}
