//! Every key of the configuration with its default and what it means.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use blocks::{Codec, S3Config, S3Credentials};
use trace::log;

use super::{
    Cache, Config, ContentKind, ContentStore, KeySource, MetadataStore, Metrics, Reactors, Upload,
    adapters,
    reader::Section,
    shares,
    values::{Scalar, Secret, Size, words},
};

/// This machine only.
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

words!(log::Level:
    "TRACE" => log::Level::Trace,
    "DEBUG" => log::Level::Debug,
    "INFO" => log::Level::Info,
    "WARN" => log::Level::Warn,
    "ERROR" => log::Level::Error,
);
words!(log::Format: "text" => log::Format::Text, "json" => log::Format::Json);
words!(Codec: "none" => Codec::None, "lz4" => Codec::Lz4, "zstd" => Codec::Zstd);

impl Scalar for log::Output {
    fn schema() -> serde_json::Value {
        let examples = ["stdout", "stderr", "/var/log/dittofs.log"];
        serde_json::json!({"type": "string", "examples": examples})
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            path => PathBuf::parse(path).map(Self::File),
        }
    }

    fn show(&self) -> serde_json::Value {
        match self {
            Self::Stdout => "stdout".into(),
            Self::Stderr => "stderr".into(),
            Self::File(path) => path.show(),
        }
    }
}

/// What a kind of store or a database is called.
macro_rules! kinds {
    ($name:ident: $($word:literal => $variant:ident),*) => {
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum $name { $($variant),* }
        words!($name: $($word => $name::$variant),*);
    };
}

kinds!(MetadataType: "memory" => Memory, "badger" => Badger, "postgres" => Postgres);
kinds!(ContentType: "memory" => Memory, "filesystem" => Filesystem, "s3" => S3, "pool" => Pool);
kinds!(DatabaseType: "sqlite" => Sqlite, "postgres" => Postgres);

/// Walks through all keys.
pub(super) fn read(mut root: Section<'_>) -> Config {
    let mut remarks = Vec::new();
    let logging = root.section("logging", "What is logged, and where to.", logging);
    let shutdown_timeout = root.value(
        "shutdown_timeout",
        Duration::from_secs(30),
        "How long connections may end what they are doing when the server stops.",
    );
    let metrics = root.section("metrics", "Counters, health and status over HTTP.", metrics);
    let cache = root.section("cache", "The log of writes and the blocks in memory.", cache);
    let metadata = root.section("metadata", "Where names and attributes are kept.", |s| {
        s.open("global", "Of the first server; means nothing here.");
        s.names("stores", "type", "Stores by name.", |_, s| metadata_store(s))
    });
    let content = root.section("content", "Where blocks rest.", |s| {
        s.open("global", "Of the first server; means nothing here.");
        s.names("stores", "type", "Stores by name.", |_, s| content_store(s))
    });
    let doc = "Keys of encrypted content stores, by name.";
    let keys = root.names("keys", "value", doc, |_, s| key(s));
    let shares =
        root.list("shares", "name", "What clients may mount.", |s| shares::share(s, &mut remarks));
    let nfs = root.section("adapters", "Protocols.", |s| {
        let doc = "NFS version 3 with MOUNT, NLM and NSM, on one port.";
        let nfs = s.section("nfs", doc, adapters::nfs);
        s.section("smb", "SMB.", |s| adapters::smb(s, &mut remarks));
        nfs
    });
    let reactors = root.section("reactors", "The threads that serve clients.", reactors);
    let upload = root.section("upload", "Blocks on their way to the content stores.", upload);
    let doc = "What is asked of others: names of hosts, netgroups, groups of users.";
    let lookups = root.section("lookups", doc, shares::lookups);
    later(&mut root, &mut remarks);
    let facts = root.finish();
    Config {
        logging,
        shutdown_timeout,
        metrics,
        cache,
        metadata,
        content,
        keys,
        shares,
        nfs,
        reactors,
        upload,
        lookups,
        remarks,
        facts,
    }
}

fn logging(s: &mut Section<'_>) -> log::Config {
    log::Config {
        level: s.value("level", log::Level::Info, "The least important that is logged."),
        format: s.value("format", log::Format::Text, "For people or for machines."),
        output: s.value("output", log::Output::Stdout, "stdout, stderr or a file."),
    }
}

fn metrics(s: &mut Section<'_>) -> Metrics {
    Metrics {
        enabled: s.value("enabled", false, "Serve /metrics, /health and /status."),
        port: s.value("port", 9090, "TCP port; 0: any free one."),
        bind: s.value("bind", LOOPBACK, "The address to listen on."),
    }
}

fn cache(s: &mut Section<'_>) -> Cache {
    let cure = "name a folder on a local disk for the log, for example /var/lib/dittofs/cache";
    let usual = payload::Config::new(PathBuf::new());
    let (size, log_size) = (Size(usual.cache_bytes_max), Size(usual.log_bytes_max));
    Cache {
        path: s.required("path", cure, "The folder of the log. One server at a time."),
        size: s.value(
            "size",
            size,
            "Most memory for clean blocks, blocks on their way, and requests.",
        ),
        log_size: s.value("log_size", log_size, "Most bytes of log on the local disk."),
        accepts_log_damage: false,
    }
}

fn metadata_store(s: &mut Section<'_>) -> MetadataStore {
    s.flat("badger", &["db_path"]);
    let kind: Option<MetadataType> = kind(s, "memory, badger or postgres");
    let is_badger = kind == Some(MetadataType::Badger);
    let path = s.section("badger", "For type badger: an LSM on disk.", |s| {
        s.quiet();
        if is_badger {
            s.required("db_path", "name its folder", "Its folder, made when missing.")
        } else {
            s.option("db_path", "Its folder, made when missing.").unwrap_or_default()
        }
    });
    s.section("postgres", "For type postgres.", postgres);
    match kind {
        Some(MetadataType::Memory) | None => MetadataStore::Memory,
        Some(MetadataType::Badger) => MetadataStore::Lsm { path },
        Some(MetadataType::Postgres) => {
            s.problem("type", "postgres is not offered yet; use badger");
            MetadataStore::Memory
        }
    }
}

fn content_store(s: &mut Section<'_>) -> ContentStore {
    s.flat("filesystem", &["path"]);
    s.flat("s3", S3_KEYS);
    let kind: Option<ContentType> = kind(s, "memory, filesystem or s3");
    let doc = "How new blocks are compressed. Reading takes what it finds.";
    let codec = s.value("compression", Codec::default(), doc);
    let path = s.section("filesystem", "For type filesystem: a folder of blocks.", |s| {
        s.quiet();
        if kind == Some(ContentType::Filesystem) {
            s.required("path", "name its folder", "Its folder, made when missing.")
        } else {
            s.option("path", "Its folder, made when missing.").unwrap_or_default()
        }
    });
    let is_s3 = kind == Some(ContentType::S3);
    let s3 = s.section("s3", "For type s3: a bucket.", |s| s3(s, is_s3));
    let kind = match kind {
        Some(ContentType::Memory) | None => ContentKind::Memory,
        Some(ContentType::Filesystem) => ContentKind::Filesystem { path },
        Some(ContentType::S3) => ContentKind::S3(Box::new(s3)),
        Some(ContentType::Pool) => {
            s.problem("type", "pool is not offered yet; use filesystem or s3");
            ContentKind::Memory
        }
    };
    let key = s.section("encryption", "Blocks, names and attributes are encrypted.", |s| {
        s.option("key", "Which of keys; a new name and `dittofs key rotate` change it.")
    });
    ContentStore { kind, codec, key }
}

fn key(s: &mut Section<'_>) -> KeySource {
    let doc = "32 bytes as hex or base64, best as ${NAME} of the environment.";
    let value: Option<Secret> = s.option("value", doc);
    let file: Option<PathBuf> = s.option("file", "A file that holds them.");
    match (value, file) {
        (Some(value), None) => KeySource::Value(value),
        (None, Some(file)) => KeySource::File(file),
        (Some(_), Some(_)) => {
            s.problem("file", "value stands there too; choose");
            KeySource::File(PathBuf::new())
        }
        (None, None) => {
            s.problem("", "expected {file: PATH} or {value: ${NAME}}");
            KeySource::File(PathBuf::new())
        }
    }
}

/// Keys that may also stand directly below the store.
const S3_KEYS: &[&str] = &[
    "bucket",
    "region",
    "endpoint",
    "access_key",
    "secret_key",
    "credentials_file",
    "prefix",
    "path_style",
];

fn s3(s: &mut Section<'_>, is_needed: bool) -> S3Config {
    s.quiet();
    let doc = "The bucket; it must exist.";
    let bucket: String = match is_needed {
        true => s.required("bucket", "name the bucket", doc),
        false => s.option("bucket", doc).unwrap_or_default(),
    };
    let mut config = S3Config::new(bucket);
    config.region = s.option("region", "Its region; else AWS_REGION, else us-east-1.");
    config.endpoint = s.option("endpoint", "URL of a service other than Amazon's.");
    if config.endpoint.as_ref().is_some_and(|url| !is_url(url)) {
        s.problem("endpoint", "expected a URL such as http://10.0.0.5:9000");
    }
    let access_key: Option<String> =
        s.option("access_key", "The access key's id; else AWS_ACCESS_KEY_ID.");
    let secret_key: Option<Secret> =
        s.option("secret_key", "The access key's secret; else AWS_SECRET_ACCESS_KEY.");
    let doc = "A file such as ~/.aws/credentials, instead of both; read for every request.";
    config.credentials_file = s.option("credentials_file", doc);
    let has_file = config.credentials_file.is_some();
    let missing = |key: &str, variable: &str| {
        if is_needed && !s.env_has(variable) {
            s.problem(key, format!("missing; give it here or set {variable}"));
        }
    };
    match (access_key, secret_key) {
        (None, None) if has_file => {}
        (Some(_), _) | (_, Some(_)) if has_file => {
            s.problem("credentials_file", "access_key and secret_key stand there too; choose");
        }
        (Some(access_key), Some(Secret(secret_key))) => {
            let session_token = None;
            config.credentials = Some(S3Credentials { access_key, secret_key, session_token });
        }
        (None, None) => {
            missing("access_key", "AWS_ACCESS_KEY_ID");
            missing("secret_key", "AWS_SECRET_ACCESS_KEY");
        }
        (Some(_), None) => s.problem("secret_key", "missing, although access_key is given"),
        (None, Some(_)) => s.problem("access_key", "missing, although secret_key is given"),
    }
    config.prefix = s.value("prefix", String::new(), "What the names of all objects begin with.");
    let doc = "endpoint/bucket instead of bucket.endpoint; false for Amazon's unless set.";
    config.is_path_style = s.option("path_style", doc).unwrap_or(config.endpoint.is_some());
    config
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

fn kind<T: Scalar>(s: &mut Section<'_>, choices: &str) -> Option<T> {
    if s.is_absent("type") {
        s.problem("type", format!("missing; choose {choices}"));
    }
    s.option("type", "What kind of store it is.")
}

fn reactors(s: &mut Section<'_>) -> Reactors {
    let count = s.option("count", "How many; otherwise one for each core but one.");
    if count == Some(0) {
        s.problem("count", "expected at least 1");
    }
    Reactors { count, cores: s.values("cores", "The core of each; otherwise by the machine.") }
}

fn upload(s: &mut Section<'_>) -> Upload {
    let usual = payload::Config::new(PathBuf::new());
    let sweep = "How often objects that nobody counts and blocks that are missing are looked for.";
    let checkpoint =
        "How often names are put into the content stores, for `dittofs rebuild`; 0s: never.";
    let scrub = "How often all stored blocks are read, checked and healed; 0s: never.";
    let grace = "An unreferenced block is deleted this long after its last reference went.";
    Upload {
        core: s.option("core", "The uploader's core; otherwise by the machine."),
        settle: s.value("settle", usual.settle, "A dirty block that rests this long is uploaded."),
        gc_grace: s.value("gc_grace", usual.gc_grace, grace),
        gc_interval: s.value("gc_interval", usual.gc_interval, "How often such are looked for."),
        sweep_interval: s.value("sweep_interval", usual.sweep_interval, sweep),
        checkpoint_interval: s.value("checkpoint_interval", usual.checkpoint_interval, checkpoint),
        scrub_interval: s.value("scrub_interval", usual.scrub_interval, scrub),
        scrub_rate: s.value("scrub_rate", Size(usual.scrub_rate), "Bytes a scrub reads a second."),
    }
}

/// Known keys whose features are still to come: their shape is checked, and a remark says so.
fn later(root: &mut Section<'_>, remarks: &mut Vec<String>) {
    let mut given = Vec::new();
    root.section("telemetry", "Traces over OTLP. Not offered yet.", |s| {
        s.quiet();
        let enabled = s.value("enabled", false, "Send traces.");
        s.value("endpoint", "localhost:4317".to_owned(), "The collector.");
        s.value("insecure", false, "Without TLS.");
        let rate = s.value("sample_rate", 1.0, "The share of requests that is traced.");
        if !(0.0..=1.0).contains(&rate) {
            s.problem("sample_rate", "expected a number from 0 to 1");
        }
        given.extend(enabled.then_some("telemetry"));
    });
    root.section("database", "The control plane's database. Not offered yet.", |s| {
        s.quiet();
        s.value("type", DatabaseType::Sqlite, "What kind of database it is.");
        s.section("sqlite", "For type sqlite.", |s| {
            s.option::<PathBuf>("path", "Its file.");
        });
        s.section("postgres", "For type postgres.", postgres);
        given.extend(s.is_given().then_some("database"));
    });
    root.section("controlplane", "The REST API. Not offered yet.", |s| {
        s.quiet();
        s.value("port", 8080_u16, "TCP port.");
        s.value("read_timeout", Duration::from_secs(10), "For a request.");
        s.value("write_timeout", Duration::from_secs(10), "For an answer.");
        s.value("idle_timeout", Duration::from_secs(60), "For a connection at rest.");
        s.section("jwt", "Tokens.", jwt);
        given.extend(s.is_given().then_some("controlplane"));
    });
    root.section("admin", "The first user of the REST API. Not offered yet.", |s| {
        s.quiet();
        s.value("username", "admin".to_owned(), "Its name.");
        s.option::<String>("email", "Its address.");
        s.option::<Secret>("password_hash", "Its password, by bcrypt.");
        s.knows("DITTOFS_ADMIN_INITIAL_PASSWORD");
        given.extend(s.is_given().then_some("admin"));
    });
    if !given.is_empty() {
        remarks.push(format!("accepted, but not offered yet: {}", given.join(", ")));
    }
}

fn jwt(s: &mut Section<'_>) {
    s.also("secret", "DITTOFS_CONTROLPLANE_SECRET");
    let secret: Option<Secret> = s.option("secret", "At least 32 characters.");
    if secret.is_some_and(|secret| secret.0.chars().count() < 32) {
        s.problem("secret", "expected at least 32 characters");
    }
    s.value("access_token_duration", Duration::from_secs(15 * 60), "How long a token is good.");
    s.value("refresh_token_duration", Duration::from_secs(168 * 3600), "For a new one.");
}

fn postgres(s: &mut Section<'_>) {
    s.quiet();
    s.value("host", "localhost".to_owned(), "The server.");
    s.value("port", 5432_u16, "Its port.");
    s.option::<String>("database", "The database.");
    s.option::<String>("user", "The user.");
    s.option::<Secret>("password", "The user's password.");
    s.option::<String>("sslmode", "As libpq has it.");
    s.option::<u32>("max_open_conns", "Most connections at a time.");
    s.option::<u32>("max_conns", "Most connections at a time.");
    s.option::<u32>("min_conns", "Connections kept open.");
    s.option::<bool>("auto_migrate", "Bring the schema up to date at start.");
}
