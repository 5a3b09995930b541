//! `dittofs rebuild`: a working server from its content stores alone, as of the last checkpoint.

use std::{collections::BTreeMap, path::Path};

use blocks::Content;
use tokio::runtime::Runtime;
use upload::{
    checkpoint::{self, Checkpoint},
    garbage::{self, Round},
    lock::Locks,
};

use super::{load, say, source};
use crate::{
    config::{Config, MetadataStore},
    offline::Offline,
    rooms, upkeep,
};

/// Makes every metadata store that shares name, and checks that its blocks are there.
pub(crate) fn run(named: Option<&Path>) -> Result<(), String> {
    let config = load(&source(named)?)?;
    {
        let _lock = rooms::lock(&config.cache.path)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("a runtime: {error}"))?;
        let content = rooms::content(&config)?;
        let mut made = 0;
        for (name, store) in &config.metadata {
            let MetadataStore::Lsm { path } = store else { continue };
            let rests_in = config.shares.iter().filter(|share| share.metadata_store == *name);
            let stores: BTreeMap<&str, &Content> = rests_in
                .map(|share| (share.content_store.as_str(), &content[&share.content_store]))
                .collect();
            if stores.is_empty() {
                continue;
            }
            let (checkpoint, from) = newest(&runtime, name, &stores)?;
            make(&runtime, path, &checkpoint, from)?;
            made += 1;
            let when = trace::stamp::format(checkpoint.time);
            say(&format!("names in {name}: {} keys and values, as of {when}\n", checkpoint.pairs))?;
        }
        if made == 0 {
            return Err("no metadata store on disk is configured, so none can be rebuilt".into());
        }
    }
    verify(&config)
}

/// The newest checkpoint of a store of that name, and where it rests.
fn newest<'a>(
    runtime: &Runtime,
    name: &str,
    stores: &BTreeMap<&str, &'a Content>,
) -> Result<(Checkpoint, &'a Content), String> {
    let mut best: Option<(Checkpoint, &Content)> = None;
    for (content_name, content) in stores {
        let words = |error| format!("content store {content_name}: {error}");
        for domain in runtime.block_on(content.store.domains()).map_err(words)? {
            let found = runtime.block_on(checkpoint::newest(&*content.store, domain));
            let Some(found) = found.map_err(words)? else { continue };
            let is_newer = best.as_ref().is_none_or(|(best, _)| best.time < found.time);
            if found.store == name && is_newer {
                best = Some((found, content));
            }
        }
    }
    best.ok_or_else(|| {
        format!("no checkpoint of a metadata store called {name} is in {:?}", stores.keys())
    })
}

fn make(
    runtime: &Runtime,
    path: &Path,
    checkpoint: &Checkpoint,
    from: &Content,
) -> Result<(), String> {
    let mut next = 0;
    let mut parts = || {
        if next == checkpoint.parts {
            return Ok(None);
        }
        let part = runtime.block_on(checkpoint::part(&*from.store, checkpoint, next));
        next += 1;
        part.map(Some).map_err(|error| error.to_string())
    };
    let pairs = meta::import(path, &mut parts)?;
    if pairs != checkpoint.pairs {
        return Err(format!("{pairs} keys and values instead of {}", checkpoint.pairs));
    }
    Ok(())
}

/// Checks what was made, and that the blocks it names are there.
fn verify(config: &Config) -> Result<(), String> {
    let offline = Offline::open(config)?;
    let mut wrong = 0;
    for place in &offline.places {
        let checked = offline.runtime.block_on(upkeep::check(&place.meta));
        let (checked, _) = checked.map_err(|error| format!("{}: {error}", place.meta.name()))?;
        wrong += checked.findings.len() as u64;
        let round = Round { is_dry: true, grace: config.upload.gc_grace, is_offline: true };
        let locks = Locks::default();
        let mut tell = |_| {};
        let report = garbage::run(place, round, &locks, &mut tell);
        let report = offline.runtime.block_on(report)?;
        wrong += report.missing;
        say(&format!(
            "blocks in {}: {} in use, {} missing\n",
            place.content_name, report.live.objects, report.missing
        ))?;
    }
    if wrong > 0 {
        return Err(format!("{wrong} things are wrong; `dittofs fsck` names them"));
    }
    say("Ready: dittofs start\n")
}
