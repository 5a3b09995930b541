//! `dittofs key rotate`: data keys are wrapped by the key that the configuration names now.

use std::path::Path;

use super::{load, say, source};
use crate::rooms;

/// Works beside a running server, which has its data keys in memory.
pub(crate) fn rotate(named: Option<&Path>) -> Result<(), String> {
    let config = load(&source(named)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("a runtime: {error}"))?;
    let mut has_any = false;
    for (name, content) in rooms::content(&config)? {
        let Some(key) = &config.content[&name].key else { continue };
        has_any = true;
        let count = runtime.block_on(content.rotate_key());
        let count = count.map_err(|error| format!("content store {name}: {error}"))?;
        say(&format!("content store {name}: {count} data keys are wrapped by key {key} now\n"))?;
    }
    if !has_any {
        return Err("no content store is encrypted; see encryption.key below one".to_owned());
    }
    say("Keys that the configuration names for no content store are not needed any more\n")
}
