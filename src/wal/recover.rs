//! Opening a log: its files, what `walk` makes of them, and the begin of a new life.
//!
//! The rules are in `FORMAT.md`. Blocking reads happen here only, before the log serves anybody.

use std::{
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
    ops::Range,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use reactor::{
    clock,
    file::{self, File, Lock},
    rng,
};
use vocab::{SliceId, Verifier};

use zerocopy::IntoBytes;

use crate::{
    Config, Recovered,
    format::{
        Entry, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SEGMENTS_MAX, STATE_CLOSED, STATE_OPEN,
        What,
    },
    log::{Closed, Log, Segment, State, Turns, Waiters, segment_name},
    manifest::{Listed, Manifest, Unreadable},
    quarantine, segments,
    walk::{Extent, Healed, Walk},
};

/// How long an owner that is just going away is waited for: so many times so long.
const LOCK_ROUNDS: u32 = 100;
const LOCK_ROUND: Duration = Duration::from_millis(20);
/// Bytes rewritten at once.
const REWRITE_BYTES: usize = 4 * 1024 * 1024;

/// See [`crate::Wal::open`].
pub(crate) async fn open(
    config: &Config,
    segment_bytes: u32,
) -> Result<(Rc<Log>, Recovered), String> {
    assert!(segment_bytes >= 4096 && segment_bytes.is_multiple_of(4096), "pages, and at least one");
    let dir = config.dir.join(format!("slice-{:02}", config.slice.0));
    file::create_dir(&dir).map_err(|error| at(&dir, &error))?;
    let lock = lock(&dir).await?;
    let names = file::list(&dir).map_err(|error| at(&dir, &error))?;
    let (manifest, listed) = read_manifest(&dir, config.slice, segment_bytes, &names).await?;

    let mut files = open_files(&dir, &names, u64::from(manifest.segment_bytes()))?;
    let mut walk = Walk::new(&dir, config.slice, &manifest, &listed);
    let mut closed = Vec::new();
    for entry in entries(&listed, STATE_CLOSED) {
        let segment = take(&mut files, &dir, &entry)?;
        walk.closed(&segment, &entry)?;
        let (first, last) = (entry.first.get(), entry.last.get());
        closed.push(Closed { segment, first, last, durable: true });
    }
    for entry in entries(&listed, STATE_OPEN) {
        walk.open(&take(&mut files, &dir, &entry)?)?;
    }
    let open = walk.judge();
    walk.unlisted(&files, manifest.generation_next())?;
    quarantine::judge(&dir, &walk, config.accepts_damage)?;
    // From here on the disk is changed.
    for lost in &walk.lost {
        let done = quarantine::keep(&dir, config.slice, manifest.key, lost).await;
        done.map_err(|error| at(&dir, &error))?;
    }
    if !walk.healed.is_empty() {
        trace::warn!(
            "{}: {} records have damaged headers; the headers after them name them, nothing is \
             lost",
            dir.display(),
            walk.healed.len()
        );
        heal(&walk.healed, manifest.key).await.map_err(|error| at(&dir, &error))?;
    }
    for (segment, extent) in open {
        if let Some(Extent { first, last, end, durable }) = extent {
            rewrite(&segment, durable..end).await.map_err(|error| at(&dir, &error))?;
            closed.push(Closed { segment, first, last, durable: true });
        } else {
            files.push(segment);
        }
    }
    let sequence_next = sequence_next(&walk, &listed, manifest.segment_bytes());
    let lost = walk.lost.iter().map(quarantine::records).sum::<u64>();
    let recovered = Recovered {
        records: walk.records,
        torn_bytes: walk.torn_bytes,
        damaged: walk.healed.len() as u64 + lost,
    };
    let parts = Parts { dir, lock, manifest, closed, free: files, sequence_next };
    let log = start(config, parts).await?;
    segments::prepare_soon(&log);
    Ok((log, recovered))
}

/// Writes sound headers in the place of damaged ones. The header behind one may be cut, and then
/// nothing would name its record at the next start.
async fn heal(healed: &[Healed], key: u64) -> std::io::Result<()> {
    for Healed { segment, offset, header } in healed {
        let bytes = Bytes::copy_from_slice(header.seal(key, *offset).as_bytes());
        segment.file.write_all_at(&[bytes], *offset).await?;
        segment.file.sync_data().await?;
    }
    Ok(())
}

/// What a log is made of.
struct Parts {
    dir: PathBuf,
    lock: Lock,
    manifest: Manifest,
    closed: Vec<Closed>,
    free: Vec<Rc<Segment>>,
    sequence_next: u64,
}

/// Begins a new life: a new segment, and a manifest that says where the last one ended.
async fn start(config: &Config, parts: Parts) -> Result<Rc<Log>, String> {
    let Parts { dir, lock, manifest, closed, mut free, sequence_next } = parts;
    let segment_bytes = u64::from(manifest.segment_bytes());
    // One for now and one to follow: with those two a log never waits for itself. When there are
    // closed ones the one to follow is made while the log serves, or is one of them.
    let segments_min = if closed.is_empty() { 2 } else { 1 };
    while free.len() < segments_min {
        let number = closed.len() + free.len();
        let number = u32::try_from(number).expect("a few thousand at most");
        let segment = segments::make(&dir, number, segment_bytes).await;
        free.push(Rc::new(segment.map_err(|error| at(&dir, &error))?));
    }
    let segments = closed.len() + free.len();
    let current = free.swap_remove(0);
    current.generation.set(manifest.take_generation());
    let mut entries: Vec<Entry> = closed
        .iter()
        .map(|one| segments::entry(&one.segment, STATE_CLOSED, one.first, one.last))
        .collect();
    entries.push(segments::entry(&current, STATE_OPEN, sequence_next, 0));
    let last = sequence_next - 1;
    manifest.write(&entries, sequence_next, last).await.map_err(|error| at(&dir, &error))?;
    let segments_max = usize::try_from(config.log_bytes_max / segment_bytes).unwrap_or(usize::MAX);
    let segments_limit = segments_max.clamp(2, SEGMENTS_MAX);
    let state = State {
        sequence_next,
        written: last,
        durable: last,
        noted: last,
        sync_wanted: last,
        bytes_appended: 0,
        bytes_written: 0,
        bytes_durable: 0,
        queue: VecDeque::new(),
        slots: VecDeque::new(),
        slots_first: sequence_next,
        room: segment_bytes - SEGMENT_HEADER_BYTES,
        promised: 0,
        current,
        current_first: sequence_next,
        current_at: 0,
        before: What::default(),
        spare: None,
        closed,
        free,
        dirty: Vec::new(),
        segments,
        segments_max: segments_limit,
        segments_limit,
        flushing: false,
        syncing: 0,
        under_way: VecDeque::new(),
        preparing: false,
        growing: false,
        noting: false,
        note_planned: false,
        closing: false,
        failed: false,
    };
    Ok(Rc::new(Log {
        dir,
        slice: config.slice,
        segment_bytes,
        verifier: Verifier(rng::random_u64()),
        state: RefCell::new(state),
        manifest,
        changed: Waiters::default(),
        syncs: Turns::default(),
        noters: Turns::default(),
        _lock: lock,
    }))
}

async fn lock(dir: &Path) -> Result<Lock, String> {
    let path = dir.join("lock");
    for _ in 0..LOCK_ROUNDS {
        match file::lock(&path) {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                reactor::sleep(LOCK_ROUND).await;
            }
            Err(error) => return Err(at(&path, &error)),
        }
    }
    Err(format!(
        "{}: another server uses this log. Stop it, or give this one another folder",
        dir.display()
    ))
}

/// The manifest on disk; a new one when there has never been a log.
async fn read_manifest(
    dir: &Path,
    slice: SliceId,
    segment_bytes: u32,
    names: &[String],
) -> Result<(Manifest, Listed), String> {
    let path = dir.join("manifest");
    let is_new = !names.iter().any(|name| name.starts_with("segment-"));
    let unreadable = if names.iter().any(|name| name == "manifest") {
        match Manifest::open(&path, slice) {
            Ok(found) => {
                // The process that made it may have been killed before its sync, and the power may
                // go when segments are there.
                if is_new {
                    found.0.sync().await.map_err(|error| at(&path, &error))?;
                }
                return Ok(found);
            }
            Err(unreadable) => unreadable,
        }
    } else {
        Unreadable::Blank
    };
    match unreadable {
        // Segments come after the manifest: without one nothing was ever appended.
        Unreadable::Blank if is_new => {
            let sequence_next = wall_micros().max(1);
            let manifest = Manifest::create(&path, slice, segment_bytes, sequence_next);
            let manifest = manifest.await.map_err(|error| at(&path, &error))?;
            Ok((manifest, Listed { entries: Vec::new(), sequence_next, synced_through: 0 }))
        }
        Unreadable::Blank => Err(format!(
            "{}: damaged or missing, and there are segments. Which records count is not known any \
             more. Restore the folder, or move it away to start with an empty log",
            path.display()
        )),
        Unreadable::Version(version) => Err(newer(&path, version)),
        Unreadable::Slice(other) => Err(format!(
            "{}: this is the log of slice {other}, not of slice {}. Put the folders back in place",
            path.display(),
            slice.0
        )),
        Unreadable::Io(error) => Err(at(&path, &error)),
    }
}

/// All segment files, by number, but for one that was not made to its end.
fn open_files(
    dir: &Path,
    names: &[String],
    segment_bytes: u64,
) -> Result<Vec<Rc<Segment>>, String> {
    let numbers: BTreeSet<u32> =
        names.iter().filter_map(|name| name.strip_prefix("segment-")?.parse().ok()).collect();
    let mut files = Vec::new();
    let last = numbers.last().copied();
    for (expected, number) in (0_u32..).zip(numbers) {
        let path = dir.join(segment_name(number));
        if number != expected {
            return Err(format!(
                "{}: missing, and later segments are there. Restore the folder, or move it away \
                 to start with an empty log",
                dir.join(segment_name(expected)).display()
            ));
        }
        let file = File::open(&path, false).map_err(|error| at(&path, &error))?;
        if file.len().map_err(|error| at(&path, &error))? == segment_bytes {
            let segment = segments::segment(&path, file, number, segment_bytes);
            files.push(Rc::new(segment.map_err(|error| at(&path, &error))?));
        } else if Some(number) != last {
            return Err(format!(
                "{}: not {segment_bytes} bytes long. Restore the file, or move the folder away to \
                 start with an empty log",
                path.display()
            ));
        }
    }
    Ok(files)
}

pub(crate) fn entries(listed: &Listed, state: u32) -> Vec<Entry> {
    listed.entries.iter().filter(|entry| entry.state.get() == state).copied().collect()
}

/// The file of an entry, which then is not free.
fn take(files: &mut Vec<Rc<Segment>>, dir: &Path, entry: &Entry) -> Result<Rc<Segment>, String> {
    let number = entry.number.get();
    let place = files.iter().position(|segment| segment.number == number).ok_or_else(|| {
        format!(
            "{}: missing or cut short, and it holds records. Restore it",
            dir.join(segment_name(number)).display()
        )
    })?;
    let segment = files.swap_remove(place);
    segment.generation.set(entry.generation.get());
    Ok(segment)
}

/// Above everything that was ever given out, seen or not.
fn sequence_next(walk: &Walk<'_>, listed: &Listed, segment_bytes: u32) -> u64 {
    // Since the manifest was written at most four segments can have been given to records.
    let unseen = 4 * u64::from(segment_bytes) / RECORD_HEADER_BYTES;
    let beyond = if listed.entries.is_empty() { 0 } else { unseen };
    (walk.seen + 1).max(listed.sequence_next + beyond).max(wall_micros())
}

/// Writes again what was found and may never have been synced, and syncs it. A failed sync of an
/// earlier life leaves pages that look written; only writing them again makes a sync mean it.
async fn rewrite(segment: &Segment, range: Range<u64>) -> std::io::Result<()> {
    for from in range.clone().step_by(REWRITE_BYTES) {
        let bytes = segment.read(from..range.end.min(from + REWRITE_BYTES as u64))?;
        segment.file.write_all_at(&[bytes.into()], from).await?;
    }
    segment.file.sync_data().await
}

pub(crate) fn newer(path: &Path, version: u16) -> String {
    format!(
        "{}: format version {version} is not known to this server. Start the one that wrote it",
        path.display()
    )
}

fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn wall_micros() -> u64 {
    let now = clock::wall();
    let seconds = u64::try_from(now.seconds).unwrap_or(0);
    seconds * 1_000_000 + u64::from(now.nanos / 1_000)
}
