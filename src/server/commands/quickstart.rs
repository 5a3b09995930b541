//! `dittofs quickstart`: a server on one folder, with one command.

use crate::cli::Quickstart;

/// Serves the folder.
pub(crate) fn run(args: &Quickstart) -> Result<(), String> {
    let _ = args;
    Err("not yet".to_owned())
}
