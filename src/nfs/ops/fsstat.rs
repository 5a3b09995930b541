//! FSSTAT (RFC 1813 section 3.3.18).

use super::{Outcome, Request};
use crate::wire::v3::{object::HandleArgs, volume::FsStatDone};

pub(crate) async fn run(request: &Request<'_>, args: HandleArgs<'_>) -> Outcome<FsStatDone> {
    let fail = |error| request.fail_attr(error, args.handle);
    let handle = request.handle(args.handle).map_err(fail)?;
    let (stat, attr) = request.vfs.statfs(request.caller, &handle).await.map_err(fail)?;
    Ok(FsStatDone {
        attr: Some(attr),
        bytes_total: stat.bytes_total,
        bytes_free: stat.bytes_free,
        inodes_total: stat.inodes_total,
        inodes_free: stat.inodes_free,
    })
}
