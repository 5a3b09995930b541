//! `dittofs status`: what the server does and where.

use crate::cli::Status;

/// Asks the running server.
pub(crate) fn run(args: &Status) -> Result<(), String> {
    let _ = args;
    Err("not yet".to_owned())
}
