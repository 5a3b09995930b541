//! `dittofs scrub`: every stored block is read and checked, by the running server or by this
//! process. Only a running server has copies in memory to heal from.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value as Json, json};
use upload::{
    collect::{Event, What},
    lock::Locks,
    scrub::{self, Scrub, Word},
};

use super::{has_failed, load, online, source};
use crate::{
    cli::ScrubArgs,
    config::values::{Scalar, Size},
    offline::Offline,
    upkeep,
};

/// Scrubs. Fails when a block is damaged afterwards, or could not be read.
pub(crate) fn run(named: Option<&Path>, args: &ScrubArgs) -> Result<(), String> {
    let config = load(&source(named)?)?;
    let rate = args.rate.as_deref().map(Size::parse).transpose();
    let rate = rate.map_err(|why| format!("--rate: {why}"))?.map(|Size(rate)| rate);
    let mut shown = Shown::default();
    if let Some(stream) = online::find(&config, args.pid_file.as_deref())? {
        let asked = json!({"rate": rate});
        online::post(stream, "/debug/scrub", &asked, &mut |event| shown.show(event))?;
        return shown.verdict();
    }
    let offline = Offline::open(&config)?;
    let scrub = Scrub { rate: rate.unwrap_or(config.upload.scrub_rate.0), copies: None };
    for place in &offline.places {
        let (mut words, mut damaged, locks) = (Vec::new(), BTreeSet::new(), Locks::default());
        let mut tell = |word: Word| {
            if let Word::Damaged(hash, _) = &word {
                damaged.insert(*hash);
            }
            words.push(What::Scrub(word));
        };
        let done = offline.runtime.block_on(scrub::run(place, &scrub, &locks, &mut tell));
        words.push(done.map_or_else(What::Failed, What::Scrubbed));
        for what in words {
            let (metadata, content) = (place.meta.name().into(), place.content_name.clone());
            shown.show(&upkeep::garbage(&Event { metadata, content, what }))?;
        }
        let users = offline.runtime.block_on(upkeep::users(&place.meta, damaged));
        let users = users.map_err(|error| format!("{}: {error}", place.meta.name()))?;
        users.iter().try_for_each(|user| shown.show(user))?;
    }
    shown.verdict()
}

/// What was printed.
#[derive(Default)]
struct Shown {
    bad: u64,
    unread: u64,
    failed: u64,
}

impl Shown {
    fn show(&mut self, event: &Json) -> Result<(), String> {
        match event["event"].as_str() {
            Some("bad") => self.bad += 1,
            Some("scrubbed") => self.unread += event["unread"].as_u64().unwrap_or_default(),
            _ => {}
        }
        self.failed += u64::from(has_failed(event)?);
        Ok(())
    }

    fn verdict(&self) -> Result<(), String> {
        match (self.failed, self.bad, self.unread) {
            (0, 0, 0) => Ok(()),
            (0, 0, unread) => Err(format!("{unread} blocks could not be read now")),
            (0, bad, _) => {
                Err(format!("{bad} blocks are damaged; writing the same bytes again heals them"))
            }
            _ => Err("not everything could be scrubbed".to_owned()),
        }
    }
}
