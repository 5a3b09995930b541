//! RENAME (RFC 1813 section 3.3.14).

use super::{Outcome, Request, wcc};
use crate::wire::v3::names::{RenameArgs, RenameDone};

pub(crate) async fn run(request: &Request<'_>, args: RenameArgs<'_>) -> Outcome<RenameDone> {
    let RenameArgs { from, to } = args;
    let fail = |error| request.fail_two_wcc(error, from.dir, to.dir);
    let from_dir = request.handle(from.dir).map_err(fail)?;
    let to_dir = request.handle(to.dir).map_err(fail)?;
    let done = request.vfs.rename(request.caller, &from_dir, from.name, &to_dir, to.name).await;
    let (from, to) = done.map_err(fail)?;
    Ok(RenameDone { from: wcc(from), to: wcc(to) })
}
