//! ACCESS (RFC 1813 section 3.3.4).

use super::{Outcome, Request};
use crate::wire::v3::object::{AccessArgs, AccessDone};

pub(crate) async fn run(request: &Request<'_>, args: AccessArgs<'_>) -> Outcome<AccessDone> {
    let fail = |error| request.fail_attr(error, args.handle);
    let handle = request.handle(args.handle).map_err(fail)?;
    let (access, attr) =
        request.vfs.access(request.caller, &handle, args.access).await.map_err(fail)?;
    Ok(AccessDone { attr: Some(attr), access })
}
