//! NULL (RFC 1813 section 3.3.0): does nothing, for anybody.

use crate::wire::xdr::Void;

pub(crate) fn run() -> Void {
    Void
}
