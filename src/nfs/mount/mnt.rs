//! MNT (RFC 1813 appendix I, section 5.2.1): from a path to a handle.

use std::sync::Arc;

use vfs::{Caller, Mounted, Vfs};

use super::table::Table;
use crate::{
    status,
    wire::mount::{MntDone, MntFailed, PathArgs},
};

pub(crate) async fn run(
    vfs: &Vfs,
    table: &Arc<Table>,
    caller: &Caller,
    args: PathArgs<'_>,
) -> Result<MntDone, MntFailed> {
    match vfs.mount(caller, args.path).await {
        Ok(Mounted { found, security }) => {
            table.add(caller.address, args.path);
            let flavors = security.into_iter().map(status::flavor).collect();
            Ok(MntDone { handle: found.handle.encode(), flavors })
        }
        Err(error) => Err(MntFailed(status::mount(error))),
    }
}
