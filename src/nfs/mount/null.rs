//! NULL (RFC 1813 appendix I, section 5.2.0): does nothing, for anybody.

use crate::wire::xdr::Void;

pub(crate) fn run() -> Void {
    Void
}
