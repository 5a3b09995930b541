//! GETATTR (RFC 1813 section 3.3.1).

use super::{Outcome, Request};
use crate::wire::v3::object::{GetAttrDone, HandleArgs};

pub(crate) async fn run(request: &Request<'_>, args: HandleArgs<'_>) -> Outcome<GetAttrDone> {
    let fail = |error| request.fail(error);
    let handle = request.handle(args.handle).map_err(fail)?;
    let attr = request.vfs.getattr(request.caller, &handle).await.map_err(fail)?;
    Ok(GetAttrDone(attr))
}
