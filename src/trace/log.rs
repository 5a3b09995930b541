//! The log of a running server: lines of text or of JSON, to a stream or to a file.
//!
//! A line is handed to a thread that writes it, so that a full disk or a stuck reader of the log
//! never stalls a reactor. When that thread falls far behind, lines are dropped and counted.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    filter::Targets,
    fmt::{self, format::Writer, time::FormatTime},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};
use vocab::Time;

use crate::stamp;

/// What is logged, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The least important that is logged.
    pub level: Level,
    /// How a line looks.
    pub format: Format,
    /// Where lines go.
    pub output: Output,
}

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For developers: every step.
    Trace,
    /// For developers.
    Debug,
    /// What an operator wants to find later.
    Info,
    /// What an operator should look at some day.
    Warn,
    /// What an operator should look at now.
    Error,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file, made when missing.
    File(PathBuf),
}

/// A log that works until this is dropped; what was logged before that is written then.
#[derive(Debug)]
#[must_use]
pub struct Log {
    file: Option<(PathBuf, Arc<Mutex<File>>)>,
    dropped: ErrorCounter,
    _guard: WorkerGuard,
}

/// Lines of ours at the configured level; those of libraries only when they warn.
const LIBRARIES: LevelFilter = LevelFilter::WARN;
/// The rooms, by the names that their lines carry.
const ROOMS: &[&str] = &[
    "vocab",
    "trace",
    "reactor",
    "wal",
    "blocks",
    "cache",
    "meta",
    "upload",
    "payload",
    "cluster",
    "vfs",
    "nfs",
    "smb",
    "fuse",
    "collective",
    "control",
    "dittofs",
];

/// Starts the log of this process. `clock` says what time it is.
///
/// # Errors
/// In words for the operator: the file cannot be opened, or there is a log already.
pub fn start(config: &Config, clock: fn() -> Time) -> Result<Log, String> {
    let (sink, file, ansi): (Box<dyn Write + Send>, _, _) = match &config.output {
        Output::Stdout => (Box::new(io::stdout()), None, io::stdout().is_terminal()),
        Output::Stderr => (Box::new(io::stderr()), None, io::stderr().is_terminal()),
        Output::File(path) => {
            let file = Arc::new(Mutex::new(open(path)?));
            (Box::new(Shared(Arc::clone(&file))), Some((path.clone(), file)), false)
        }
    };
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).thread_name("log").finish(sink);
    let dropped = writer.error_counter();
    let level = level(config.level);
    let targets = Targets::new()
        .with_default(level.min(LIBRARIES))
        .with_targets(ROOMS.iter().map(|room| (*room, level)));
    let lines = fmt::layer().with_writer(writer).with_ansi(ansi).with_timer(Stamp(clock));
    let registry = tracing_subscriber::registry().with(targets);
    let started = match config.format {
        Format::Text => registry.with(lines).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| error.to_string())?;
    Ok(Log { file, dropped, _guard: guard })
}

impl Log {
    /// Opens the file again by its name, after somebody has moved the old one away.
    ///
    /// # Errors
    /// In words for the operator; the old file stays in use.
    pub fn reopen(&self) -> Result<(), String> {
        if let Some((path, file)) = &self.file {
            let new = open(path)?;
            *file.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
        Ok(())
    }

    /// Lines that were lost because the writing thread fell behind.
    #[must_use]
    pub fn lines_dropped(&self) -> u64 {
        u64::try_from(self.dropped.dropped_lines()).unwrap_or(u64::MAX)
    }
}

fn level(level: Level) -> LevelFilter {
    match level {
        Level::Trace => LevelFilter::TRACE,
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    }
}

fn open(path: &Path) -> Result<File, String> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)
            .map_err(|error| format!("the log's folder {}: {error}", dir.display()))?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| {
        format!(
            "the log {}: {error}; set logging.output to stdout, stderr or a file this user may \
             write",
            path.display()
        )
    })
}

/// A file that may be exchanged under its writer.
struct Shared(Arc<Mutex<File>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

struct Stamp(fn() -> Time);

impl FormatTime for Stamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        writer.write_str(&stamp::format(self.0()))
    }
}
