//! `dittofs checkpoint`: the metadata stores into the content stores, by the running server or by
//! this process.

use std::path::Path;

use serde_json::{Value as Json, json};
use upload::{
    checkpoint,
    collect::{Event, What},
};

use super::{load, online, say, source};
use crate::{cli::CheckpointArgs, offline::Offline, upkeep};

/// Takes a checkpoint of every pair of stores.
pub(crate) fn run(named: Option<&Path>, args: &CheckpointArgs) -> Result<(), String> {
    let config = load(&source(named)?)?;
    if let Some(stream) = online::find(&config, args.pid_file.as_deref())? {
        return online::post(stream, "/debug/checkpoint", &json!({}), &mut show);
    }
    let offline = Offline::open(&config)?;
    for place in &offline.places {
        let done = offline.runtime.block_on(checkpoint::take(place));
        let what = done.map_or_else(What::Failed, What::Checkpoint);
        let (metadata, content) = (place.meta.name().into(), place.content_name.clone());
        show(&upkeep::garbage(&Event { metadata, content, what }))?;
    }
    Ok(())
}

fn show(event: &Json) -> Result<(), String> {
    match event["error"].as_str() {
        Some(why) => Err(format!("{}: {why}", upkeep::place(event))),
        None => upkeep::check_text(event).map_or(Ok(()), |text| say(&text)),
    }
}
