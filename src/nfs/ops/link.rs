//! LINK (RFC 1813 section 3.3.15).

use super::{Outcome, Request, wcc};
use crate::wire::v3::names::{LinkArgs, LinkDone};

pub(crate) async fn run(request: &Request<'_>, args: LinkArgs<'_>) -> Outcome<LinkDone> {
    let LinkArgs { handle, place } = args;
    let fail = |error| request.fail_attr_wcc(error, handle, place.dir);
    let file = request.handle(handle).map_err(fail)?;
    let dir = request.handle(place.dir).map_err(fail)?;
    let done = request.vfs.link(request.caller, &file, &dir, place.name).await;
    let (attr, after) = done.map_err(fail)?;
    Ok(LinkDone { attr: Some(attr), dir: wcc(after) })
}
