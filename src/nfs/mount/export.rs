//! EXPORT (RFC 1813 appendix I, section 5.2.5): the shares.

use vfs::Vfs;

use crate::wire::mount::ExportDone;

pub(crate) fn run(vfs: &Vfs) -> ExportDone {
    let exports = vfs.exports();
    ExportDone(exports.into_iter().map(|export| (export.name, export.groups)).collect())
}
