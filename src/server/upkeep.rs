//! What upkeep has to say, as JSON for a socket and as text for a person.
//!
//! A command prints what it is told as JSON, by a running server or by its own hands: both look
//! the same to whoever reads.

use std::{collections::BTreeSet, fmt::Write};

use meta::{Checked, Finding, Store, User};
use serde_json::{Value as Json, json};
use upload::{
    checkpoint::Checkpoint,
    collect::{Event, What},
    garbage::{Report, Tally, Word},
    scrub,
};
use vocab::{BlockHash, limits::BLOCK_BYTES};

/// A word of a round of garbage collection.
pub(crate) fn garbage(event: &Event) -> Json {
    let mut shown = match &event.what {
        What::Word(Word::Progress(report)) => report_json("progress", report),
        What::Word(Word::Missing(hash)) => json!({"event": "missing", "hash": hash.to_string()}),
        What::End(report) => report_json("end", report),
        What::Checkpoint(Checkpoint { pairs, parts, .. }) => {
            json!({"event": "checkpoint", "pairs": pairs, "parts": parts})
        }
        What::Scrub(scrub::Word::Progress(report)) => scrub_json("scrubbing", report),
        What::Scrubbed(report) => scrub_json("scrubbed", report),
        What::Scrub(scrub::Word::Healed(hash)) => {
            json!({"event": "healed", "hash": hash.to_string()})
        }
        What::Scrub(scrub::Word::Damaged(hash, why)) => {
            json!({"event": "bad", "hash": hash.to_string(), "error": why})
        }
        What::Failed(why) => json!({"event": "failed", "error": why}),
    };
    shown["metadata_store"] = json!(&*event.metadata);
    shown["content_store"] = json!(&*event.content);
    shown
}

fn scrub_json(event: &str, report: &scrub::Report) -> Json {
    json!({
        "event": event,
        "blocks": report.blocks,
        "bytes": report.bytes,
        "damaged": report.damaged,
        "healed": report.healed,
        "unread": report.unread,
    })
}

fn report_json(event: &str, report: &Report) -> Json {
    let tally = |tally: &Tally| json!({"objects": tally.objects, "bytes": tally.bytes});
    json!({
        "event": event,
        "seen": tally(&report.seen),
        "live": tally(&report.live),
        "waiting": tally(&report.waiting),
        "due": tally(&report.due),
        "leaked": tally(&report.leaked),
        "young": tally(&report.young),
        "sparse": tally(&report.sparse),
        "missing": report.missing,
        "orphans": report.orphans,
        "moved": report.moved,
        "deleted": report.deleted,
    })
}

/// The end of a round at one place, for a person.
pub(crate) fn garbage_text(end: &Json, is_dry: bool) -> String {
    let mut text = format!("{}:\n", place(end));
    let mut row = |name: &str, key: &str| {
        let objects = end[key]["objects"].as_u64().unwrap_or_default();
        let bytes = size(end[key]["bytes"].as_u64().unwrap_or_default());
        writeln!(text, "  {name:<34} {objects:>9}  {bytes:>10}").expect("a String");
    };
    row("objects", "seen");
    row("in use", "live");
    row("unreferenced, within the grace", "waiting");
    row("unreferenced, due", "due");
    row("counted by nobody, due", "leaked");
    row("counted by nobody, within the grace", "young");
    row("packs mostly dead, and dead in them", "sparse");
    let mut row = |name: &str, count: u64| {
        writeln!(text, "  {name:<34} {count:>9}").expect("a String");
    };
    let count = |key: &str| end[key].as_u64().unwrap_or_default();
    let objects = |key: &str| end[key]["objects"].as_u64().unwrap_or_default();
    row("blocks in use without an object", count("missing"));
    match is_dry {
        true => {
            row("would remove inodes without a name", count("orphans"));
            row("would delete objects", objects("due") + objects("leaked"));
        }
        false => {
            row("removed inodes without a name", count("orphans"));
            row("blocks moved to new packs", count("moved"));
            row("deleted objects", count("deleted"));
        }
    }
    text
}

/// Checks whether a metadata store agrees with itself.
pub(crate) async fn check(store: &Store) -> Result<(Checked, Vec<Json>), vocab::Error> {
    let checked = store.check().await?;
    let finding = |finding: &Finding| {
        json!({
            "event": "finding",
            "metadata_store": store.name(),
            "what": finding.what,
            "repair": finding.repair,
        })
    };
    let mut events: Vec<Json> = checked.findings.iter().map(finding).collect();
    events.push(json!({
        "event": "checked",
        "metadata_store": store.name(),
        "inodes": checked.inodes,
        "names": checked.names,
        "blocks": checked.blocks,
        "counts": checked.counts,
        "findings": checked.findings.len(),
    }));
    Ok((checked, events))
}

/// Names the files that some blocks belong to.
pub(crate) async fn users(
    store: &Store,
    hashes: BTreeSet<BlockHash>,
) -> Result<Vec<Json>, vocab::Error> {
    if hashes.is_empty() {
        return Ok(Vec::new());
    }
    let user = |user: User| {
        json!({
            "event": "damaged",
            "metadata_store": store.name(),
            "hash": user.hash.to_string(),
            "inode": user.inode.0,
            "offset": u64::from(user.index.0) * u64::from(BLOCK_BYTES),
            "path": user.path,
        })
    };
    Ok(store.users(hashes).await?.into_iter().map(user).collect())
}

/// A word of a check, for a person. What is only of interest while it goes on is `None`.
pub(crate) fn check_text(event: &Json) -> Option<String> {
    let text = |key: &str| event[key].as_str().unwrap_or("?");
    let count = |key: &str| event[key].as_u64().unwrap_or_default();
    let objects = |key: &str| event[key]["objects"].as_u64().unwrap_or_default();
    let store = text("metadata_store");
    Some(match text("event") {
        "finding" => {
            let repair = event["repair"].as_str();
            let repair =
                repair.unwrap_or("none; an older copy of the store has it, if one was kept");
            format!("names in {store}: {}\n    repair: {repair}\n", text("what"))
        }
        "checked" => format!(
            "names in {store}: {} inodes, {} names, {} blocks in files, {} counted: {} findings\n",
            count("inodes"),
            count("names"),
            count("blocks"),
            count("counts"),
            count("findings"),
        ),
        "end" => format!(
            "{}: {} objects: {} in use, {} unreferenced, {} counted by nobody; {} missing\n",
            place(event),
            objects("seen"),
            objects("live"),
            objects("waiting") + objects("due"),
            objects("young") + objects("leaked"),
            count("missing"),
        ),
        "scrubbed" => format!(
            "{}: {} blocks, {}: {} damaged, {} of them healed, {} not readable now\n",
            place(event),
            count("blocks"),
            size(count("bytes")),
            count("damaged"),
            count("healed"),
            count("unread"),
        ),
        "checkpoint" => format!(
            "{}: a checkpoint of {} keys and values in {} objects\n",
            place(event),
            count("pairs"),
            count("parts"),
        ),
        "healed" => format!("block {}: damaged, and put again\n", text("hash")),
        "bad" => format!("block {}: damaged: {}\n", text("hash"), text("error")),
        "damaged" => format!(
            "{}: {} from byte {} on cannot be read: no good object of block {}\n",
            text("path"),
            size(u64::from(BLOCK_BYTES)),
            count("offset"),
            text("hash"),
        ),
        _ => return None,
    })
}

/// Which stores an event speaks of.
pub(crate) fn place(event: &Json) -> String {
    let name = |key: &str| event[key].as_str().unwrap_or("?").to_owned();
    format!("names in {}, blocks in {}", name("metadata_store"), name("content_store"))
}

/// Bytes as a person reads them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10) / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(4 << 20), "4.0 MiB");
        assert_eq!(size(5 << 50), "5.0 PiB");
    }
}
