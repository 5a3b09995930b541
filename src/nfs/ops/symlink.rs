//! SYMLINK (RFC 1813 section 3.3.10).

use super::{Outcome, Request, made, set_attr};
use crate::wire::v3::names::{MadeDone, SymlinkArgs};

pub(crate) async fn run(request: &Request<'_>, args: SymlinkArgs<'_>) -> Outcome<MadeDone> {
    let fail = |error| request.fail_wcc(error, args.place.dir);
    let dir = request.handle(args.place.dir).map_err(fail)?;
    let set = set_attr(args.set);
    let done = request.vfs.symlink(request.caller, &dir, args.place.name, args.path, set).await;
    done.map(made).map_err(fail)
}
