//! `dittofs logs`: the last lines of the log, those since a time, and those to come.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use trace::stamp;
use vocab::Time;

use super::say;
use crate::{cli::Logs, lock, paths};

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Prints the log.
pub(crate) fn run(named: Option<&Path>, args: &Logs) -> Result<(), String> {
    let since = match &args.since {
        None => None,
        Some(text) => Some(stamp::parse(text).ok_or_else(|| {
            format!("--since {text}: expected a time such as 2026-02-09T10:00:00Z")
        })?),
    };
    let path = log_file(named, args)?;
    let mut lines = BufReader::new(open(&path)?);
    for line in last(&mut lines, args.lines, since).map_err(|error| unreadable(&path, &error))? {
        say(&line)?;
    }
    if !args.follow {
        return Ok(());
    }
    loop {
        if let Some(line) = next(&mut lines).map_err(|error| unreadable(&path, &error))? {
            say(&line)?;
        } else if is_moved(lines.get_ref(), &path) {
            lines = BufReader::new(open(&path)?);
        } else {
            lock::nap(LOOK);
        }
    }
}

/// The flag's, else the configuration's, else that of a server in the background.
fn log_file(named: Option<&Path>, args: &Logs) -> Result<PathBuf, String> {
    if let Some(path) = &args.log_file {
        return Ok(path.clone());
    }
    // A configuration that is wrong must not hide the log that says so.
    let output = super::source(named).and_then(|source| super::load(&source));
    match output.map(|config| config.logging.output) {
        Ok(trace::log::Output::File(path)) => Ok(path),
        _ => paths::log(),
    }
}

fn open(path: &Path) -> Result<File, String> {
    File::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("the log {}: {error}; name another with --log-file", path.display())
}

/// The last `count` lines, and of those only what was logged since a time.
fn last(
    lines: &mut impl BufRead,
    count: usize,
    since: Option<Time>,
) -> std::io::Result<VecDeque<String>> {
    let mut kept = VecDeque::new();
    // A line without a time belongs to the one before it.
    let mut is_late = since.is_none();
    while let Some(line) = next(lines)? {
        if let (Some(since), Some(time)) = (since, time_of(&line)) {
            is_late = time >= since;
        }
        if is_late {
            kept.push_back(line);
            if kept.len() > count {
                kept.pop_front();
            }
        }
    }
    Ok(kept)
}

fn next(lines: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    let count = lines.read_until(b'\n', &mut line)?;
    Ok((count > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
}

/// When a line was logged, whether it is text or JSON.
fn time_of(line: &str) -> Option<Time> {
    let text = match line.strip_prefix("{\"timestamp\":\"") {
        Some(rest) => rest.split('"').next()?,
        None => line.split_whitespace().next()?,
    };
    stamp::parse(text)
}

/// Another file goes by the name now.
fn is_moved(open: &File, path: &Path) -> bool {
    let there = std::fs::metadata(path).map(|meta| meta.ino());
    let ours = open.metadata().map(|meta| meta.ino());
    matches!((there, ours), (Ok(there), Ok(ours)) if there != ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-02-09T10:00:00.000Z  INFO dittofs: one\n\
                       2026-02-09T10:00:01.000Z ERROR dittofs: two\n  and more of two\n\
                       {\"timestamp\":\"2026-02-09T10:00:02.000Z\",\"level\":\"INFO\"}\n";

    #[track_caller]
    fn check(count: usize, since: Option<&str>, want: &[&str]) {
        let since = since.map(|text| stamp::parse(text).expect("a time"));
        let lines = last(&mut LOG.as_bytes(), count, since).expect("in memory");
        let words: Vec<&str> =
            lines.iter().map(|line| line.split_whitespace().last().unwrap_or_default()).collect();
        assert_eq!(words, want);
    }

    #[test]
    fn keeps_the_last_lines() {
        let json = "{\"timestamp\":\"2026-02-09T10:00:02.000Z\",\"level\":\"INFO\"}";
        check(100, None, &["one", "two", "two", json]);
        check(2, None, &["two", json]);
        check(0, None, &[]);
    }

    #[test]
    fn keeps_what_is_late_enough_with_its_continuation() {
        let json = "{\"timestamp\":\"2026-02-09T10:00:02.000Z\",\"level\":\"INFO\"}";
        check(100, Some("2026-02-09T10:00:01Z"), &["two", "two", json]);
        check(100, Some("2026-02-09T11:00:02+01:00"), &[json]);
        check(100, Some("2026-02-10T00:00:00Z"), &[]);
    }
}
