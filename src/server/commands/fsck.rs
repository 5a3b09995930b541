//! `dittofs fsck`: checks all stores, and repairs what can be when no server runs.

use std::{
    collections::BTreeSet,
    io::{IsTerminal, Write},
    path::Path,
};

use meta::{Checked, Store};
use payload::Place;
use serde_json::{Value as Json, json};
use upload::{
    collect::{Event, What},
    garbage::{self, Round, Word},
    lock::Locks,
};

use super::{has_failed, load, online, say, source};
use crate::{cli::Fsck, config::Config, offline::Offline, upkeep};

/// Checks. Fails when anything is wrong afterwards.
pub(crate) fn run(named: Option<&Path>, args: &Fsck) -> Result<(), String> {
    let config = load(&source(named)?)?;
    let mut shown = Shown::default();
    if let Some(stream) = online::find(&config, args.pid_file.as_deref())? {
        if args.repair {
            return Err("a server works on these stores; `dittofs stop` it before --repair".into());
        }
        online::post(stream, "/debug/fsck", &json!({}), &mut |event| shown.show(event))?;
        return shown.verdict();
    }
    let offline = Offline::open(&config)?;
    let mut checks = Vec::new();
    let mut done = BTreeSet::new();
    for place in offline.places.iter().filter(|place| done.insert(place.meta.id())) {
        checks.push((place.meta.clone(), check(&offline, &place.meta, &mut shown)?));
    }
    for place in &offline.places {
        compare(&offline, &config, place, &mut shown)?;
    }
    if args.repair {
        repair(&offline, checks, args.yes, &mut shown)?;
    }
    shown.verdict()
}

fn check(offline: &Offline, store: &Store, shown: &mut Shown) -> Result<Checked, String> {
    let checked = offline.runtime.block_on(upkeep::check(store));
    let (checked, events) = checked.map_err(|error| words(store, error))?;
    events.iter().try_for_each(|event| shown.show(event))?;
    Ok(checked)
}

/// Compares what is counted with what is stored, and names the files that lost something.
fn compare(
    offline: &Offline,
    config: &Config,
    place: &Place,
    shown: &mut Shown,
) -> Result<(), String> {
    let round = Round { is_dry: true, grace: config.upload.gc_grace, is_offline: true };
    let (mut missing, locks) = (BTreeSet::new(), Locks::default());
    let mut tell = |word| match word {
        Word::Progress(_) => {}
        Word::Missing(hash) => drop(missing.insert(hash)),
    };
    let report = garbage::run(place, round, &locks, &mut tell);
    let what = offline.runtime.block_on(report).map_or_else(What::Failed, What::End);
    let (metadata, content) = (place.meta.name().into(), place.content_name.clone());
    shown.show(&upkeep::garbage(&Event { metadata, content, what }))?;
    let users = offline.runtime.block_on(upkeep::users(&place.meta, missing));
    let users = users.map_err(|error| words(&place.meta, error))?;
    users.iter().try_for_each(|event| shown.show(event))
}

fn words(store: &Store, error: vocab::Error) -> String {
    format!("the metadata store {}: {error}", store.name())
}

/// Does what was printed, once the operator agrees, and checks again.
fn repair(
    offline: &Offline,
    checks: Vec<(Store, Checked)>,
    is_agreed: bool,
    shown: &mut Shown,
) -> Result<(), String> {
    let can = |checked: &Checked| checked.findings.iter().any(|finding| finding.repair.is_some());
    let checks: Vec<_> = checks.into_iter().filter(|(_, checked)| can(checked)).collect();
    if checks.is_empty() {
        return say("Nothing is there to be repaired\n");
    }
    let stdin = std::io::stdin();
    if !is_agreed && !stdin.is_terminal() {
        return Err("what would be done is said above; --yes does it".to_owned());
    }
    if !is_agreed {
        say("Do what is said above? [y/N] ")?;
        let mut answer = String::new();
        stdin.read_line(&mut answer).map_err(|error| format!("standard input: {error}"))?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            return Err("nothing was changed".to_owned());
        }
    }
    for (store, checked) in checks {
        // The second check counts what is left.
        shown.findings -= checked.findings.len() as u64;
        let repaired = offline.runtime.block_on(store.repair(checked));
        repaired.map_err(|error| words(&store, error))?;
        say(&format!("names in {}: repaired; checking again\n", store.name()))?;
        check(offline, &store, shown)?;
    }
    Ok(())
}

/// What was printed.
#[derive(Default)]
struct Shown {
    findings: u64,
    missing: u64,
    failed: u64,
}

impl Shown {
    fn show(&mut self, event: &Json) -> Result<(), String> {
        match event["event"].as_str() {
            Some("checked") => self.findings += event["findings"].as_u64().unwrap_or_default(),
            Some("end") => self.missing += event["missing"].as_u64().unwrap_or_default(),
            _ => {}
        }
        self.failed += u64::from(has_failed(event)?);
        Ok(())
    }

    fn verdict(&self) -> Result<(), String> {
        // The files are named on standard output, which must be there before this.
        drop(std::io::stdout().flush());
        match (self.failed, self.findings, self.missing) {
            (0, 0, 0) => say("Everything agrees\n"),
            (0, findings, missing) => Err(format!(
                "{findings} contradictions in names and counts, {missing} blocks without an object"
            )),
            _ => Err("not everything could be checked".to_owned()),
        }
    }
}
