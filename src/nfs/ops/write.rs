//! WRITE (RFC 1813 section 3.3.7). Given more than `wtmax`, it writes `wtmax` and says so.

use vfs::{Evidence, Stability};
use vocab::{Error, limits::TRANSFER_BYTES_MAX};

use super::{Outcome, Request, wcc};
use crate::wire::v3::data::{StableHow, WriteArgs, WriteDone};

pub(crate) async fn run(request: &Request<'_>, args: WriteArgs<'_>) -> Outcome<WriteDone> {
    let fail = |error| request.fail_wcc(error, args.handle);
    let handle = request.handle(args.handle).map_err(fail)?;
    if u32::try_from(args.data.len()) != Ok(args.count) {
        return Err(fail(Error::Invalid));
    }
    let count = args.count.min(TRANSFER_BYTES_MAX);
    let mut bytes = request.record.slice_ref(args.data);
    bytes.truncate(count as usize);
    let stability = match args.stable {
        StableHow::Unstable => Stability::Unstable,
        StableHow::DataSync | StableHow::FileSync => Stability::Stable,
    };
    let done = request.vfs.write(request.caller, &handle, args.offset, bytes, stability).await;
    let (evidence, after) = done.map_err(fail)?;
    Ok(match evidence {
        Evidence::Logged(logged) => WriteDone::logged(wcc(after), count, logged),
        Evidence::Durable(durable) => WriteDone::durable(wcc(after), count, durable),
    })
}
