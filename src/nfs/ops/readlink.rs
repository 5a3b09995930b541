//! READLINK (RFC 1813 section 3.3.5).

use super::{Outcome, Request};
use crate::wire::v3::object::{HandleArgs, ReadLinkDone};

pub(crate) async fn run(request: &Request<'_>, args: HandleArgs<'_>) -> Outcome<ReadLinkDone> {
    let fail = |error| request.fail_attr(error, args.handle);
    let handle = request.handle(args.handle).map_err(fail)?;
    let (path, attr) = request.vfs.readlink(request.caller, &handle).await.map_err(fail)?;
    Ok(ReadLinkDone { attr: Some(attr), path })
}
