//! `dittofs warm`: a share's stored blocks into the memory of the running server.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::{load, online, say, source};
use crate::{cli::WarmArgs, upkeep};

/// Warms a share.
pub(crate) fn run(named: Option<&Path>, args: &WarmArgs) -> Result<(), String> {
    let config = load(&source(named)?)?;
    let Some(stream) = online::find(&config, args.pid_file.as_deref())? else {
        return Err("no server runs, and only a running one has a cache to warm".to_owned());
    };
    let mut show = |event: &Json| match event["error"].as_str() {
        Some(why) => Err(why.to_owned()),
        None => {
            let count = |key: &str| event[key].as_u64().unwrap_or_default();
            let size = |key: &str| upkeep::size(count(key));
            let left = match count("bytes_left") {
                0 => String::new(),
                _ => format!(", {} did not fit; see cache.size", size("bytes_left")),
            };
            say(&format!("{} files, {} in memory{left}\n", count("files"), size("bytes")))
        }
    };
    online::post(stream, "/debug/warm", &json!({"share": args.share}), &mut show)
}
