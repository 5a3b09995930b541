//! One file for each command, and what they share.

pub(crate) mod checkpoint;
pub(crate) mod config;
pub(crate) mod fsck;
pub(crate) mod gc;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod logs;
pub(crate) mod online;
pub(crate) mod quickstart;
pub(crate) mod rebuild;
pub(crate) mod scrub;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod warm;

use std::{
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use serde_json::Value as Json;

use crate::{
    cli::{Cli, Completion, Version},
    config::{Config, Source},
    paths, upkeep,
};

/// Prints to standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn say(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Prints why a command failed. An empty text was said already, by a child.
pub(crate) fn complain(why: &str) {
    if !why.is_empty() {
        // Nobody is left to tell when standard error is closed.
        drop(writeln!(std::io::stderr().lock(), "error: {why}"));
    }
}

/// Prints what a check tells. Whether it tells that something could not be checked.
pub(crate) fn has_failed(event: &Json) -> Result<bool, String> {
    if let Some(text) = upkeep::check_text(event) {
        say(&text)?;
    }
    let failed = event["event"] == "failed";
    if failed {
        let why = event["error"].as_str().unwrap_or("?");
        complain(&format!("{}: {why}", upkeep::place(event)));
    }
    Ok(failed)
}

/// `version`.
pub(crate) fn version(args: &Version) -> Result<(), String> {
    let number = env!("CARGO_PKG_VERSION");
    if args.short {
        say(&format!("{number}\n"))
    } else {
        let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
        say(&format!("dittofs {number} ({system}/{machine})\n"))
    }
}

/// `completion`.
pub(crate) fn completion(args: &Completion) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dittofs", &mut script);
    say(&String::from_utf8_lossy(&script))
}

/// Where this process's configuration comes from. A file that was not named may be missing: the
/// environment can say all that is needed.
fn source(named: Option<&Path>) -> Result<Source, String> {
    let env = std::env::vars().collect();
    let file = match (named, paths::config(named)) {
        (Some(file), _) => Some(file.to_owned()),
        (None, Ok(file)) => file.exists().then_some(file),
        (None, Err(_)) => None,
    };
    Ok(Source { file, env, ..Source::default() })
}

/// Reads the configuration; every error names cause and cure.
fn load(source: &Source) -> Result<Config, String> {
    Config::load(source).map_err(|unsound| match &source.file {
        Some(_) => unsound.to_string(),
        None => format!(
            "{unsound}\nthere is no configuration file; `dittofs init` writes one, --config names \
             one"
        ),
    })
}

/// A path that means the same from every folder.
fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes a whole file, readable by its owner alone; replaces another one at once or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(fail)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(fail)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&new, path).map_err(fail)
}
