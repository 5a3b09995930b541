//! `dittofs rebuild`: a working server from its content stores alone, as of the last checkpoint and
//! the deltas after it.

use std::{collections::BTreeMap, path::Path};

use blocks::Content;
use meta::Engine;
use tokio::runtime::Runtime;
use upload::{
    checkpoint::{self, Checkpoint},
    delta::{self, Line},
    garbage::{self, Round},
    lock::Locks,
};
use vocab::Time;

use super::{load, say, source};
use crate::{
    config::{Config, ContentKind, MetadataStore, Share},
    offline::Offline,
    rooms, upkeep,
};

/// Makes every metadata store that shares name, and checks that its blocks are there.
pub(crate) fn run(named: Option<&Path>) -> Result<(), String> {
    let config = load(&source(named)?)?;
    let lost = {
        let _lock = rooms::lock(&config.cache.path)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("a runtime: {error}"))?;
        let content = rooms::content(&config)?;
        let (mut made, mut lost) = (0, 0);
        for (name, store) in &config.metadata {
            let MetadataStore::Lsm { path } = store else { continue };
            // What was in memory is gone, and a start begins it anew.
            let is_lasting = |share: &&Share| {
                !matches!(config.content[&share.content_store].kind, ContentKind::Memory)
            };
            let rests_in = config.shares.iter().filter(|share| share.metadata_store == *name);
            let rests_in = rests_in.filter(is_lasting);
            let stores: BTreeMap<&str, &Content> = rests_in
                .map(|share| (share.content_store.as_str(), &content[&share.content_store]))
                .collect();
            if stores.is_empty() {
                continue;
            }
            let newest = newest(&runtime, name, &stores)?;
            make(&runtime, path, &newest)?;
            made += 1;
            say(&format!(
                "names in {name}: {} keys and values, {} deltas after them, as of {}\n",
                newest.checkpoint.pairs,
                newest.line.good.len(),
                trace::stamp::format(newest.time())
            ))?;
            if let Some((what, after)) = &newest.line.broken {
                lost += 1;
                say(&format!(
                    "names in {name}: {what}; what it had is lost, and what {after} deltas after \
                     it had\n"
                ))?;
            }
        }
        if made == 0 {
            return Err("no metadata store on disk is configured, so none can be rebuilt".into());
        }
        lost
    };
    verify(&config)?;
    match lost {
        0 => Ok(()),
        _ => Err("the server is as it was before what is lost, see above".into()),
    }
}

/// What a metadata store is made from.
struct Newest<'a> {
    checkpoint: Checkpoint,
    line: Line,
    from: &'a Content,
}

impl Newest<'_> {
    /// The moment that it is as of.
    fn time(&self) -> Time {
        self.line.good.last().map_or(self.checkpoint.time, |delta| delta.time)
    }
}

/// What makes the newest state of a store of that name.
fn newest<'a>(
    runtime: &Runtime,
    name: &str,
    stores: &BTreeMap<&str, &'a Content>,
) -> Result<Newest<'a>, String> {
    let mut best: Option<Newest<'_>> = None;
    for (content_name, &from) in stores {
        let words = |error| format!("content store {content_name}: {error}");
        for domain in runtime.block_on(from.store.domains()).map_err(words)? {
            let found = runtime.block_on(checkpoint::newest(&*from.store, domain));
            let Some(checkpoint) = found.map_err(words)? else { continue };
            if checkpoint.store != name {
                continue;
            }
            let line = runtime.block_on(delta::after(&*from.store, &checkpoint));
            let found = Newest { checkpoint, line: line.map_err(words)?, from };
            if best.as_ref().is_none_or(|best| best.time() < found.time()) {
                best = Some(found);
            }
        }
    }
    best.ok_or_else(|| {
        format!("no checkpoint of a metadata store called {name} is in {:?}", stores.keys())
    })
}

fn make(runtime: &Runtime, path: &Path, newest: &Newest<'_>) -> Result<(), String> {
    let Newest { checkpoint, line, from } = newest;
    let (mut next, mut deltas) = (0, line.good.iter());
    let mut parts = || {
        if next == checkpoint.parts {
            return Ok(deltas.next().map(|delta| delta.bytes.clone()));
        }
        let part = runtime.block_on(checkpoint::part(&*from.store, checkpoint, next));
        next += 1;
        part.map(Some).map_err(|error| error.to_string())
    };
    let made = meta::import(&Engine::Lsm { path: path.to_path_buf() }, &mut parts)?;
    let want = checkpoint.pairs + line.good.iter().map(|delta| delta.changes).sum::<u64>();
    if made != want {
        return Err(format!("{made} keys, values and changes instead of {want}"));
    }
    Ok(())
}

/// Checks what was made, and that the blocks it names are there.
fn verify(config: &Config) -> Result<(), String> {
    let offline = Offline::open(config)?;
    let mut wrong = 0;
    for place in &offline.places {
        offline.runtime.block_on(checkpoint::forget_deleted(place))?;
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
