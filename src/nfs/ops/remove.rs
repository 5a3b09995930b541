//! REMOVE (RFC 1813 section 3.3.12).

use super::{Outcome, Request, wcc};
use crate::wire::v3::{names::Place, object::WccDone};

pub(crate) async fn run(request: &Request<'_>, args: Place<'_>) -> Outcome<WccDone> {
    let fail = |error| request.fail_wcc(error, args.dir);
    let dir = request.handle(args.dir).map_err(fail)?;
    let done = request.vfs.remove(request.caller, &dir, args.name).await;
    Ok(WccDone(wcc(done.map_err(fail)?)))
}
