//! SETATTR (RFC 1813 section 3.3.2).

use super::{Outcome, Request, set_attr, wcc};
use crate::wire::v3::object::{SetAttrArgs, WccDone};

pub(crate) async fn run(request: &Request<'_>, args: SetAttrArgs<'_>) -> Outcome<WccDone> {
    let fail = |error| request.fail_wcc(error, args.handle);
    let handle = request.handle(args.handle).map_err(fail)?;
    let set = set_attr(args.set);
    let done = request.vfs.setattr(request.caller, &handle, set, args.guard).await;
    Ok(WccDone(wcc(done.map_err(fail)?)))
}
