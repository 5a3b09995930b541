//! `dittofs start`: in the foreground, or as a daemon that reports before its parent ends.

use std::path::Path;

use crate::cli::Start;

/// Starts the server.
pub(crate) fn run(named: Option<&Path>, args: &Start) -> Result<(), String> {
    let _ = (named, args);
    Err("not yet".to_owned())
}
