//! COMMIT (RFC 1813 section 3.3.21). The range is a hint: the whole file is made durable.

use super::{Outcome, Request, wcc};
use crate::wire::v3::data::{CommitArgs, CommitDone};

pub(crate) async fn run(request: &Request<'_>, args: CommitArgs<'_>) -> Outcome<CommitDone> {
    let fail = |error| request.fail_wcc(error, args.handle);
    let handle = request.handle(args.handle).map_err(fail)?;
    let (durable, after) = request.vfs.commit(request.caller, &handle).await.map_err(fail)?;
    Ok(CommitDone::new(wcc(after), durable))
}
