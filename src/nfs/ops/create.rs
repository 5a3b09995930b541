//! CREATE (RFC 1813 section 3.3.8).

use super::{Outcome, Request, made, set_attr};
use crate::wire::v3::names::{CreateArgs, CreateHow, MadeDone};

pub(crate) async fn run(request: &Request<'_>, args: CreateArgs<'_>) -> Outcome<MadeDone> {
    let fail = |error| request.fail_wcc(error, args.place.dir);
    let dir = request.handle(args.place.dir).map_err(fail)?;
    let how = match args.how {
        CreateHow::Unchecked(set) => vfs::CreateHow::Unchecked(set_attr(set)),
        CreateHow::Guarded(set) => vfs::CreateHow::Guarded(set_attr(set)),
        CreateHow::Exclusive(verifier) => vfs::CreateHow::Exclusive(verifier),
    };
    let done = request.vfs.create(request.caller, &dir, args.place.name, how).await;
    done.map(made).map_err(fail)
}
