//! UMNT (RFC 1813 appendix I, section 5.2.3): a client takes its leave of one path.

use std::sync::Arc;

use vfs::Caller;

use super::table::Table;
use crate::wire::{mount::PathArgs, xdr::Void};

pub(crate) fn run(table: &Arc<Table>, caller: &Caller, args: &PathArgs<'_>) -> Void {
    table.remove(caller.address, args.path);
    Void
}
