//! READ (RFC 1813 section 3.3.6). Asked for more than `rtmax`, it answers `rtmax`.

use vocab::limits::TRANSFER_BYTES_MAX;

use super::{Outcome, Request};
use crate::wire::v3::data::{ReadArgs, ReadDone};

pub(crate) async fn run(request: &Request<'_>, args: ReadArgs<'_>) -> Outcome<ReadDone> {
    let fail = |error| request.fail_attr(error, args.handle);
    let handle = request.handle(args.handle).map_err(fail)?;
    let count = args.count.min(TRANSFER_BYTES_MAX);
    let done = request.vfs.read(request.caller, &handle, args.offset, count).await;
    let done = done.map_err(fail)?;
    Ok(ReadDone { attr: Some(done.attr), eof: done.eof, len: done.len, parts: done.parts })
}
