//! FSINFO (RFC 1813 section 3.3.19).

use super::{Outcome, Request};
use crate::wire::v3::{object::HandleArgs, volume::FsInfoDone};

pub(crate) async fn run(request: &Request<'_>, args: HandleArgs<'_>) -> Outcome<FsInfoDone> {
    let fail = |error| request.fail_attr(error, args.handle);
    let handle = request.handle(args.handle).map_err(fail)?;
    let attr = request.vfs.getattr(request.caller, &handle).await.map_err(fail)?;
    Ok(FsInfoDone { attr: Some(attr) })
}
