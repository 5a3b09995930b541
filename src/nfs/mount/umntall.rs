//! UMNTALL (RFC 1813 appendix I, section 5.2.4): a client takes its leave.

use std::sync::Arc;

use vfs::Caller;

use super::table::Table;
use crate::wire::xdr::Void;

pub(crate) fn run(table: &Arc<Table>, caller: &Caller) -> Void {
    table.remove_all(caller.address);
    Void
}
