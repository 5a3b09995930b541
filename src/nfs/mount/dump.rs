//! DUMP (RFC 1813 appendix I, section 5.2.2): who mounted what.

use super::table::Table;
use crate::wire::mount::DumpDone;

pub(crate) fn run(table: &Table) -> DumpDone {
    let mounts = table.list();
    DumpDone(mounts.into_iter().map(|(client, path)| (client.to_string(), path)).collect())
}
