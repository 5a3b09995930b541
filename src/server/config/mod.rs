//! The configuration: what a server is told to do, from flags, environment, file and defaults.
//!
//! A `Config` that exists is sound: names lead somewhere, ports and sizes are in range.

mod adapters;
mod check;
mod fact;
mod reader;
mod sections;
mod shares;
pub(crate) mod template;
#[cfg(test)]
mod tests;
mod tree;
pub(crate) mod values;

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value as Json, json};

use fact::Fact;
use reader::Walk;
use values::Size;

/// Everything that a server is told.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) logging: trace::log::Config,
    /// How long connections may end what they are doing when the server stops.
    pub(crate) shutdown_timeout: Duration,
    pub(crate) metrics: Metrics,
    pub(crate) cache: Cache,
    pub(crate) metadata: BTreeMap<String, MetadataStore>,
    pub(crate) content: BTreeMap<String, ContentStore>,
    /// By name.
    pub(crate) keys: BTreeMap<String, KeySource>,
    pub(crate) shares: Vec<Share>,
    pub(crate) nfs: Nfs,
    pub(crate) reactors: Reactors,
    pub(crate) upload: Upload,
    pub(crate) lookups: vfs::Lookups,
    /// What the operator should know, although the server starts.
    pub(crate) remarks: Vec<String>,
    /// All of it, for `config show`.
    facts: Fact,
}

/// Where counters are scraped and health is asked.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) enabled: bool,
    pub(crate) bind: IpAddr,
    pub(crate) port: u16,
}

/// The log and the cache in memory.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    pub(crate) path: PathBuf,
    pub(crate) size: Size,
    pub(crate) log_size: Size,
    /// `start --accept-log-damage`; no key.
    pub(crate) accepts_log_damage: bool,
}

/// Where names and attributes are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MetadataStore {
    Memory,
    Lsm { path: PathBuf },
}

/// Where blocks rest.
#[derive(Clone, Debug)]
pub(crate) struct ContentStore {
    pub(crate) kind: ContentKind,
    pub(crate) codec: blocks::Codec,
    /// The name of the key that it is encrypted under.
    pub(crate) key: Option<String>,
}

/// Where a key is.
#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    Value(values::Secret),
    File(PathBuf),
}

/// The kind of a content store and what it needs.
#[derive(Clone, Debug)]
pub(crate) enum ContentKind {
    Memory,
    Filesystem { path: PathBuf },
    S3(Box<blocks::S3Config>),
}

/// A share and the stores it rests in.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) vfs: vfs::ShareConfig,
    pub(crate) metadata_store: String,
    pub(crate) content_store: String,
}

/// The NFS adapter.
#[derive(Clone, Debug)]
pub(crate) struct Nfs {
    pub(crate) enabled: bool,
    pub(crate) bind: IpAddr,
    pub(crate) port: u16,
    pub(crate) udp: bool,
    pub(crate) portmapper: Portmapper,
    pub(crate) locks: Locks,
}

/// Locks over a restart.
#[derive(Clone, Debug)]
pub(crate) struct Locks {
    pub(crate) grace: Duration,
    /// `None`: the host's name.
    pub(crate) name: Option<String>,
}

/// Where clients learn the adapter's port.
#[derive(Clone, Debug)]
pub(crate) struct Portmapper {
    pub(crate) enabled: bool,
    pub(crate) port: u16,
    pub(crate) register: bool,
}

/// Which reactors run.
#[derive(Clone, Debug)]
pub(crate) struct Reactors {
    /// `None`: by the machine.
    pub(crate) count: Option<usize>,
    /// Empty: by the machine.
    pub(crate) cores: Vec<usize>,
}

/// The uploader and the collector.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    /// `None`: by the machine.
    pub(crate) core: Option<usize>,
    /// A dirty block that rests this long is uploaded.
    pub(crate) settle: Duration,
    /// An unreferenced block is deleted this long after its last reference went.
    pub(crate) gc_grace: Duration,
    /// How often such blocks are looked for.
    pub(crate) gc_interval: Duration,
    /// How often all objects are compared with the counts.
    pub(crate) sweep_interval: Duration,
    /// How often all stored blocks are read and checked; 0: never.
    pub(crate) scrub_interval: Duration,
    /// How often the metadata stores are put into the content stores; 0: never.
    pub(crate) checkpoint_interval: Duration,
    /// Bytes that a scrub reads in a second.
    pub(crate) scrub_rate: Size,
}

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// From 1; 0 when it is not in the file.
    pub(crate) line: u64,
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Why there is no configuration: all that is wrong with it.
#[derive(Debug)]
pub(crate) struct Unsound {
    file: Option<PathBuf>,
    problems: Vec<Problem>,
}

/// Where a configuration comes from.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// The file, when there is one.
    pub(crate) file: Option<PathBuf>,
    /// Values by key path, which win over all others.
    pub(crate) flags: BTreeMap<&'static str, String>,
    /// The environment.
    pub(crate) env: BTreeMap<String, String>,
}

impl Config {
    /// Reads and checks.
    pub(crate) fn load(source: &Source) -> Result<Self, Unsound> {
        let text = match &source.file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                let text = format!("cannot be read: {error}; name another file with --config");
                source.unsound(vec![Problem { line: 0, path: String::new(), text }])
            })?,
        };
        Self::read(source, &text)
    }

    fn read(source: &Source, text: &str) -> Result<Self, Unsound> {
        let root = tree::parse(text, &source.env).map_err(|fault| {
            let text = fault.text;
            source.unsound(vec![Problem { line: fault.line, path: String::new(), text }])
        })?;
        let dir = source.dir();
        let walk = Walk::new(&source.flags, &source.env, &dir);
        let mut config = sections::read(walk.root(&root));
        check::check(&config, &root, &walk);
        let (problems, strays) = walk.finish();
        config.remarks.extend(strays);
        if problems.is_empty() { Ok(config) } else { Err(source.unsound(problems)) }
    }

    /// All values, secrets masked.
    pub(crate) fn shown(&self) -> Json {
        self.facts.shown().unwrap_or_else(|| json!({}))
    }

    /// The JSON Schema of the file.
    pub(crate) fn schema() -> Json {
        // One of everything, so that the walk comes by every key.
        let sample = "keys: {a: {}}\nmetadata: {stores: {a: {}}}\ncontent: {stores: {a: {}}}\n\
                      shares: [{}]\n";
        let source = Source::default();
        let root = tree::parse(sample, &source.env).expect("the sample is YAML");
        let walk = Walk::new(&source.flags, &source.env, Path::new("/"));
        let config = sections::read(walk.root(&root));
        let mut schema = config.facts.schema();
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["title"] = json!("DittoFS");
        schema
    }
}

impl Source {
    fn unsound(&self, problems: Vec<Problem>) -> Unsound {
        Unsound { file: self.file.clone(), problems }
    }

    /// Where relative paths begin: the file's folder.
    fn dir(&self) -> PathBuf {
        let dir = self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        here.join(dir)
    }
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let lead = if index > 0 { "\n" } else { "" };
            let file = match &self.file {
                Some(file) => file.display().to_string(),
                None => "configuration".to_owned(),
            };
            let line = if problem.line > 0 { format!(":{}", problem.line) } else { String::new() };
            let path =
                if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
            write!(f, "{lead}{file}{line}: {path}{}", problem.text)?;
        }
        Ok(())
    }
}
