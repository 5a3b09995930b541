//! `dittofs gc`: a round of garbage collection, by the running server or by this process.

use std::{path::Path, time::Duration};

use serde_json::{Value as Json, json};
use upload::{
    collect::{Event, What},
    garbage::{self, Round},
    lock::Locks,
};

use super::{complain, load, online, say, source};
use crate::{cli::Gc, config::values::Scalar, offline::Offline, upkeep};

/// Runs a round. Fails when a place could not be swept, or blocks in use have no object.
pub(crate) fn run(named: Option<&Path>, args: &Gc) -> Result<(), String> {
    let config = load(&source(named)?)?;
    let grace = args.grace.as_deref().map(Duration::parse).transpose();
    let grace = grace.map_err(|why| format!("--grace: {why}"))?;
    let mut shown = Shown { is_dry: args.dry_run, missing: 0, failed: 0 };
    if let Some(stream) = online::find(&config, args.pid_file.as_deref())? {
        let grace = grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
        let asked = json!({"dry_run": args.dry_run, "grace_ms": grace});
        online::post(stream, "/debug/gc", &asked, &mut |event| shown.show(event))?;
        return shown.verdict();
    }
    let grace = grace.unwrap_or(config.upload.gc_grace);
    let round = Round { is_dry: args.dry_run, grace, is_offline: true };
    let (offline, locks) = (Offline::open(&config)?, Locks::default());
    for place in &offline.places {
        let event = |what| {
            let (metadata, content) = (place.meta.name().into(), place.content_name.clone());
            upkeep::garbage(&Event { metadata, content, what })
        };
        let mut said = Ok(());
        let mut tell = |word| {
            let told = shown.show(&event(What::Word(word)));
            said = std::mem::replace(&mut said, Ok(())).and(told);
        };
        let run = garbage::run(place, round, &locks, &mut tell);
        let done = offline.runtime.block_on(run);
        said?;
        shown.show(&event(match done {
            Ok(report) => What::End(report),
            Err(why) => What::Failed(why),
        }))?;
    }
    shown.verdict()
}

/// What was printed.
struct Shown {
    is_dry: bool,
    missing: u64,
    failed: u64,
}

impl Shown {
    fn show(&mut self, event: &Json) -> Result<(), String> {
        let text = |key: &str| event[key].as_str().unwrap_or("?");
        match event["event"].as_str() {
            Some("end") => say(&upkeep::garbage_text(event, self.is_dry))?,
            Some("failed") => {
                self.failed += 1;
                complain(&format!("{}: {}", upkeep::place(event), text("error")));
            }
            Some("missing") => {
                self.missing += 1;
                complain(&format!("{}: no object of block {}", upkeep::place(event), text("hash")));
            }
            // Progress goes to whoever watches, and not into what a script reads.
            Some("progress") => progress(event),
            _ => {}
        }
        Ok(())
    }

    fn verdict(&self) -> Result<(), String> {
        match (self.failed, self.missing) {
            (0, 0) => Ok(()),
            (0, missing) => Err(format!(
                "{missing} blocks that files refer to have no object; `dittofs fsck` names the files"
            )),
            _ => Err("not everything was swept; what was done stays done".to_owned()),
        }
    }
}

/// One line on a terminal, written over by the next.
fn progress(event: &Json) {
    use std::io::{IsTerminal, Write};
    let mut out = std::io::stderr().lock();
    if out.is_terminal() {
        let (seen, deleted) = (&event["seen"]["objects"], &event["deleted"]);
        // Nobody is left to tell when standard error is closed.
        drop(write!(out, "{seen} objects seen, {deleted} deleted\r"));
    }
}
