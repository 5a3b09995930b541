//! MKNOD (RFC 1813 section 3.3.11).

use vocab::Error;

use super::{Outcome, Request, made, set_attr};
use crate::wire::v3::names::{MadeDone, MknodArgs, Node};

pub(crate) async fn run(request: &Request<'_>, args: MknodArgs<'_>) -> Outcome<MadeDone> {
    let fail = |error| request.fail_wcc(error, args.place.dir);
    let dir = request.handle(args.place.dir).map_err(fail)?;
    let Node::Special { kind, device, set } = args.what else {
        return Err(fail(Error::BadKind));
    };
    let (name, set) = (args.place.name, set_attr(set));
    let done = request.vfs.mknod(request.caller, &dir, name, kind, device, set).await;
    done.map(made).map_err(fail)
}
