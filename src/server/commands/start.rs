//! `dittofs start`: in the foreground, or as a daemon that reports before its parent ends.
//!
//! The daemon is this program run again, not a fork, so that no thread is ever cut in half. It
//! leaves the terminal's session, and its standard output is a pipe: one line there says that it
//! serves, its end without that line says that it failed.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use trace::log::Output;

use super::{absolute, load, say, source};
use crate::{cli::Start, config::Config, paths, serve};

/// What the line begins with that a daemon says to its parent.
const READY: &str = "ready ";

/// Starts the server.
pub(crate) fn run(named: Option<&Path>, args: &Start) -> Result<(), String> {
    if !args.foreground && !args.daemon {
        return daemonise(named, args);
    }
    let mut config = load(&source(named)?)?;
    config.cache.accepts_log_damage = args.accept_log_damage;
    let pid_file = absolute(&paths::pid(args.pid_file.as_deref())?)?;
    if let Some(path) = &args.log_file {
        config.logging.output = Output::File(absolute(path)?);
    }
    if args.foreground {
        return serve::run(&config, &pid_file, |_, _| Ok(()));
    }
    // Nobody reads what a daemon prints.
    let log_file = match &config.logging.output {
        Output::File(path) => path.clone(),
        Output::Stdout | Output::Stderr => paths::log()?,
    };
    config.logging.output = Output::File(log_file.clone());
    serve_apart(&config, &pid_file, &log_file)
}

/// Runs this program again as a daemon, and waits for its word.
fn daemonise(named: Option<&Path>, args: &Start) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let mut command = Command::new(program);
    if let Some(file) = named {
        command.arg("--config").arg(absolute(file)?);
    }
    command.args(["start", "--daemon"]);
    if args.accept_log_damage {
        command.arg("--accept-log-damage");
    }
    let flags = [("--pid-file", &args.pid_file), ("--log-file", &args.log_file)];
    for (flag, path) in flags {
        if let Some(path) = path {
            command.arg(flag).arg(absolute(path)?);
        }
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the daemon: {error}"))?;
    let mut line = String::new();
    let heard = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    match line.strip_prefix(READY) {
        Some(words) => say(words),
        // It has said why on our standard error.
        None => match child.wait() {
            Ok(status) if status.code() == Some(1) => Err(String::new()),
            Ok(status) => Err(format!("the daemon ended before it served: {status}")),
            Err(error) => Err(format!("the daemon: {error}, {heard:?}")),
        },
    }
}

/// Serves as a daemon.
fn serve_apart(config: &Config, pid_file: &Path, log_file: &Path) -> Result<(), String> {
    rustix::process::setsid().map_err(|error| format!("a session of its own: {error}"))?;
    std::env::set_current_dir("/").map_err(|error| format!("/: {error}"))?;
    serve::run(config, pid_file, |_, rooms| {
        let pid = std::process::id();
        let (nfs, log) = (rooms.nfs_address, log_file.display());
        let words = format!("{READY}Serving NFS on {nfs} as process {pid}; log: {log}\n");
        // A parent that was killed is no reason not to serve.
        drop(std::io::stdout().lock().write_all(words.as_bytes()));
        detach(log_file).map_err(|error| format!("leaving the terminal: {error}"))
    })
}

/// Lets go of the terminal. What a panic says goes to the log's file.
fn detach(log_file: &Path) -> std::io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    let log = OpenOptions::new().create(true).append(true).open(log_file)?;
    rustix::stdio::dup2_stderr(&log)?;
    Ok(())
}
