//! A real server process of its own for each test: started, killed, stopped, restarted.
//!
//! `SERVER=ganesha` puts nfs-ganesha in its place, to try a test on somebody else's server. What
//! only ours can do (drop its cache, count) is refused then.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::rng::Rng;

/// How long a server may take to come up: a recovery of everything that fits into the log.
const START_MAX: Duration = Duration::from_secs(60);

/// Which metadata engine a share uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// Gone with the process.
    Memory,
    /// On disk.
    Badger,
}

/// Which content store a share uses.
#[derive(Clone, Debug)]
pub enum Content {
    /// Gone with the process.
    Memory,
    /// A folder.
    Filesystem,
    /// A bucket of a running S3 server.
    S3(S3Place),
    /// A folder whose new blocks are compressed by this.
    Compressed(&'static str),
    /// A folder, encrypted under the first of these keys; names and hex digits.
    Encrypted(Vec<(String, String)>),
}

/// Where an S3 server is, and who we are to it.
#[derive(Clone, Debug)]
pub struct S3Place {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// The bucket, which exists.
    pub bucket: String,
    /// Key id and secret.
    pub keys: (String, String),
}

/// A share on a pair of stores of its own.
#[derive(Clone, Debug)]
pub struct Share {
    /// For example `/export`.
    pub name: String,
    /// Its metadata store.
    pub metadata: Metadata,
    /// Its content store.
    pub content: Content,
    /// What COMMIT waits for.
    pub durability: &'static str,
    /// Further keys of the share; of `squash` at least.
    pub options: String,
}

impl Share {
    /// `/export` on disk.
    #[must_use]
    pub fn export() -> Self {
        Self {
            name: "/export".into(),
            metadata: Metadata::Badger,
            content: Content::Filesystem,
            durability: "local",
            options: "squash: none".into(),
        }
    }
}

/// How the server is told what to serve.
#[derive(Clone, Debug)]
enum How {
    /// `dittofs quickstart`: what a new user runs.
    Quickstart,
    /// `dittofs start --config`, with these limits of cache and log.
    Config {
        /// Keys of the section `cache`.
        limits: String,
        /// Reached by other hosts, and by those that know no port of ours.
        is_public: bool,
        /// Files that it has in its own `/etc`; their texts are in its folder's `etc`.
        etc: Vec<String>,
    },
    /// nfs-ganesha with its VFS back end.
    Ganesha,
}

/// A server process. Dropping it kills it; a failing test gets the end of its log printed.
#[derive(Debug)]
pub struct Server {
    how: How,
    dir: PathBuf,
    shares: Vec<Share>,
    child: Option<Child>,
    /// Where NFS and MOUNT listen on 127.0.0.1.
    pub nfs_port: Port,
    metrics_port: Port,
}

impl Server {
    /// What a new user gets: `dittofs quickstart --dir DIR`, with the share `/export`.
    #[must_use]
    pub fn quickstart(dir: &Path) -> Self {
        Self::launch(
            if is_ganesha() { How::Ganesha } else { How::Quickstart },
            dir,
            vec![Share::export()],
        )
    }

    /// A server with these shares, each on stores of its own, with all its files below `dir`.
    #[must_use]
    pub fn with_shares(dir: &Path, shares: Vec<Share>) -> Self {
        Self::with_limits(dir, shares, "512Mi", "1Gi")
    }

    /// The same with so much cache and so much log.
    #[must_use]
    pub fn with_limits(dir: &Path, shares: Vec<Share>, cache: &str, log: &str) -> Self {
        let limits = format!("size: {cache}, log_size: {log}");
        let how = if is_ganesha() {
            How::Ganesha
        } else {
            How::Config { limits, is_public: false, etc: Vec::new() }
        };
        Self::launch(how, dir, shares)
    }

    /// A server at every address of its network, with a portmapper at port 111 and a short grace:
    /// for clients that lock. See `net`.
    #[must_use]
    pub fn public(dir: &Path, shares: Vec<Share>) -> Self {
        let limits = "size: 512Mi, log_size: 1Gi".into();
        Self::launch(How::Config { limits, is_public: true, etc: Vec::new() }, dir, shares)
    }

    /// A server that sees these texts for files of `/etc` that exist, in a mount namespace of its
    /// own: its hosts, users, groups. Databases elsewhere are not asked.
    ///
    /// # Panics
    /// When they cannot be written.
    #[must_use]
    pub fn with_etc(dir: &Path, shares: Vec<Share>, etc: &[(&str, &str)]) -> Self {
        let limits = "size: 512Mi, log_size: 1Gi".into();
        let files = ["hosts", "passwd", "group", "netgroup"];
        let sources: Vec<String> = files.iter().map(|name| format!("{name}: files\n")).collect();
        let sources = sources.concat();
        let etc = [etc, &[("nsswitch.conf", &*sources)]].concat();
        fs::create_dir_all(dir.join("etc")).expect("folder");
        for (name, text) in &etc {
            fs::write(dir.join("etc").join(name), text).expect("file");
        }
        let etc = etc.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self::launch(How::Config { limits, is_public: false, etc }, dir, shares)
    }

    fn launch(how: How, dir: &Path, shares: Vec<Share>) -> Self {
        fs::create_dir_all(dir).expect("the server's folder");
        let (nfs_port, metrics_port) = (Port::take(), Port::take());
        let mut server =
            Self { how, dir: dir.to_owned(), shares, child: None, nfs_port, metrics_port };
        server.start();
        server
    }

    /// Has the shares be these from the next start or command on.
    pub fn reconfigure(&mut self, shares: Vec<Share>) {
        self.shares = shares;
        if let How::Config { limits, is_public, .. } = &self.how {
            let text = self.config(limits, *is_public);
            fs::write(self.dir.join("config.yaml"), text).expect("config");
        }
    }

    /// Starts it again on what it left behind, and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or is not ready in a minute.
    pub fn start(&mut self) {
        assert!(self.try_start(), "the server ended at its start");
    }

    /// The same; whether it serves. One that ended by itself has refused its data.
    ///
    /// # Panics
    /// When it neither ends nor is ready in a minute.
    pub fn try_start(&mut self) -> bool {
        self.try_start_with(&[])
    }

    /// The same with more flags.
    ///
    /// # Panics
    /// When it neither ends nor is ready in a minute.
    pub fn try_start_with(&mut self, flags: &[&str]) -> bool {
        assert!(self.child.is_none(), "it runs");
        if !self.is_ours() {
            // Its verifier is the second in which it starts.
            std::thread::sleep(Duration::from_secs(1));
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log()).expect("log");
        let mut command = self.command();
        command
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .env("RUST_BACKTRACE", "1");
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")));
        let started = Instant::now();
        while !self.is_ready() {
            if self.child.as_mut().expect("started").try_wait().expect("wait").is_some() {
                self.child = None;
                return false;
            }
            assert!(started.elapsed() < START_MAX, "the server is not ready in {START_MAX:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    fn command(&self) -> Command {
        let port = |port: &Port| port.number().to_string();
        match &self.how {
            How::Quickstart => {
                let mut command = Command::new(dittofs());
                command.arg("quickstart").arg("--dir").arg(&self.dir);
                command.args(["--nfs-port", &port(&self.nfs_port)]);
                command.args(["--metrics-port", &port(&self.metrics_port)]);
                command.args(["--bind", "127.0.0.1"]);
                command
            }
            How::Config { limits, is_public, etc } => {
                let config = self.dir.join("config.yaml");
                fs::write(&config, self.config(limits, *is_public)).expect("config");
                let mut command = self.with_own(etc);
                command.args(["start", "--foreground", "--config"]).arg(config);
                command.arg("--pid-file").arg(self.dir.join("pid"));
                command
            }
            How::Ganesha => self.ganesha(),
        }
    }

    /// The program, behind mounts of its own over files of `/etc`.
    fn with_own(&self, etc: &[String]) -> Command {
        if etc.is_empty() {
            return Command::new(dittofs());
        }
        let (mut command, dir) = (Command::new("unshare"), self.dir.join("etc"));
        let bind = |name: &String| format!("mount --bind {}/{name} /etc/{name} && ", dir.display());
        let binds: String = etc.iter().map(bind).collect();
        command.args(["-m", "sh", "-c"]).arg(format!("{binds} exec \"$0\" \"$@\""));
        command.arg(dittofs());
        command
    }

    fn config(&self, limits: &str, is_public: bool) -> String {
        let dir = self.dir.display();
        let [mut metadata, mut content, mut keys, mut shares] = [const { String::new() }; 4];
        for (n, share) in self.shares.iter().enumerate() {
            let engine = match share.metadata {
                Metadata::Memory => "{type: memory}".to_owned(),
                Metadata::Badger => {
                    format!("{{type: badger, badger: {{db_path: {dir}/meta-{n}}}}}")
                }
            };
            let blocks = match &share.content {
                Content::Memory => "{type: memory}".to_owned(),
                Content::Filesystem => {
                    format!("{{type: filesystem, filesystem: {{path: {dir}/content-{n}}}}}")
                }
                Content::Compressed(by) => format!(
                    "{{type: filesystem, filesystem: {{path: {dir}/content-{n}}}, compression: {by}}}"
                ),
                Content::Encrypted(named) => {
                    for (name, secret) in named {
                        let key = format!("  {name}: {{value: '{secret}'}}");
                        writeln!(keys, "{key}").expect("a String");
                    }
                    format!(
                        "{{type: filesystem, filesystem: {{path: {dir}/content-{n}}}, \
                         encryption: {{key: {}}}}}",
                        named[0].0
                    )
                }
                Content::S3(s3) => format!(
                    "{{type: s3, s3: {{endpoint: \"{}\", region: us-east-1, bucket: {}, \
                     access_key: {}, secret_key: {}, path_style: true, \
                     prefix: \"share-{n}/\"}}}}",
                    s3.endpoint, s3.bucket, s3.keys.0, s3.keys.1,
                ),
            };
            let Share { name, durability, options, .. } = share;
            writeln!(metadata, "    m{n}: {engine}").expect("a String");
            writeln!(content, "    c{n}: {blocks}").expect("a String");
            writeln!(
                shares,
                "  - {{name: {name}, metadata_store: m{n}, content_store: c{n}, {options}, \
                 durability: {durability}}}"
            )
            .expect("a String");
        }
        let (level, adapter) = match is_public {
            false => ("INFO", "bind: 127.0.0.1"),
            true => ("DEBUG", "portmapper: {enabled: true, port: 111}, locks: {grace: 10s}"),
        };
        format!(
            "logging: {{level: {level}, format: text, output: stderr}}\nshutdown_timeout: 20s\n\
             lookups: {{netgroup_file: {dir}/netgroup, ttl: 1s}}\n\
             metrics: {{enabled: true, port: {}}}\ncache: {{path: {dir}/cache, {limits}}}\n\
             metadata:\n  stores:\n{metadata}content:\n  stores:\n{content}keys:\n{keys}\
             shares:\n{shares}\
             adapters:\n  nfs: {{port: {}, {adapter}}}\n",
            self.metrics_port.number(),
            self.nfs_port.number(),
        )
    }

    /// Ganesha asks rpcbind at its start; see README.md for one that listens nowhere outside.
    fn ganesha(&self) -> Command {
        let dir = self.dir.display();
        let mut config = format!(
            "NFS_CORE_PARAM {{ Bind_Addr = 127.0.0.1; NFS_Port = {}; MNT_Port = {}; Protocols = 3; \
             Enable_NLM = false; Enable_RQUOTA = false; mount_path_pseudo = true; }}\n",
            self.nfs_port.number(),
            self.metrics_port.number(),
        );
        for (n, Share { name, .. }) in self.shares.iter().enumerate() {
            fs::create_dir_all(self.dir.join(format!("files-{n}"))).expect("folder");
            writeln!(
                config,
                "EXPORT {{ Export_Id = {}; Path = {dir}/files-{n}; Pseudo = {name}; \
                 Access_Type = RW; Squash = No_Root_Squash; SecType = sys,none; Protocols = 3; \
                 Transports = TCP; FSAL {{ Name = VFS; }} }}",
                n + 1
            )
            .expect("a String");
        }
        fs::write(self.dir.join("ganesha.conf"), config).expect("config");
        let mut command = Command::new("ganesha.nfsd");
        command.arg("-F").arg("-f").arg(self.dir.join("ganesha.conf"));
        command.arg("-L").arg(self.log()).arg("-p").arg(self.dir.join("ganesha.pid"));
        command
    }

    /// Whose it is.
    #[must_use]
    pub fn name(&self) -> &'static str {
        if self.is_ours() { "DittoFS" } else { "nfs-ganesha" }
    }

    fn is_ready(&self) -> bool {
        let listens = |port: &Port| TcpStream::connect(port.address()).is_ok();
        match self.how {
            How::Ganesha => listens(&self.nfs_port) && listens(&self.metrics_port),
            How::Quickstart | How::Config { .. } => {
                self.http("GET", "/health/ready").is_some_and(|(status, _)| status == 200)
                    && listens(&self.nfs_port)
            }
        }
    }

    /// Where MOUNT listens: the NFS port, but for ganesha.
    #[must_use]
    pub fn mount_port(&self) -> u16 {
        match self.how {
            How::Ganesha => self.metrics_port.number(),
            How::Quickstart | How::Config { .. } => self.nfs_port.number(),
        }
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it had ended by itself: that is a crash, and no test of one.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let ended = child.try_wait().expect("wait");
        assert!(ended.is_none(), "the server had ended by itself: {ended:?}");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Kills it if it runs.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Panics
    /// When it has not ended after `within`.
    pub fn stop(&mut self, within: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::TERM).expect("it runs");
        let asked = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("wait") {
                return status;
            }
            if asked.elapsed() > within {
                child.kill().expect("kill");
                child.wait().expect("wait");
                panic!("the server did not stop in {within:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it cleanly and starts it again.
    ///
    /// # Panics
    /// When it does not stop with exit status 0.
    pub fn restart(&mut self) {
        let status = self.stop(Duration::from_secs(30));
        assert!(status.success(), "the server stopped with {status}");
        self.start();
    }

    /// Uploads what is dirty and drops every cached block, so that reads go to the content store.
    ///
    /// # Panics
    /// When it refuses, or does not answer in five minutes.
    pub fn drop_cache(&self) {
        if !self.is_ours() {
            return; // its cache is the kernel's, and nothing rests elsewhere
        }
        let answer = self.http("POST", "/debug/drop-cache");
        let (status, body) = answer.expect("an answer to drop-cache");
        assert_eq!(status, 200, "drop-cache: {body}");
    }

    /// The same under load, where a server may find no moment of rest and say so.
    ///
    /// # Panics
    /// When it answers neither.
    pub fn try_drop_cache(&self) {
        if self.is_ours() {
            let answer = self.http("POST", "/debug/drop-cache");
            let (status, body) = answer.expect("an answer to drop-cache");
            assert!(matches!(status, 200 | 503), "drop-cache: {status} {body}");
        }
    }

    /// Does something while other threads work on this server, and ends it should that fail, for
    /// they would go on for ever.
    pub fn while_at_work(&mut self, part: impl FnOnce(&mut Self)) {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| part(self)));
        if let Err(panic) = done {
            if let Some(mut child) = self.child.take() {
                child.kill().ok();
                child.wait().ok();
            }
            std::panic::resume_unwind(panic);
        }
    }

    /// The sum of a metric over its labels; 0 when there is none of that name.
    ///
    /// # Panics
    /// When the metrics cannot be had.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        self.metric_of(name, "")
    }

    /// The same over those labels that contain a text.
    ///
    /// # Panics
    /// When the metrics cannot be had.
    #[must_use]
    pub fn metric_of(&self, name: &str, label: &str) -> f64 {
        let body = self.metrics_text();
        let lines = body.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(label)
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// All metrics, as they are scraped.
    ///
    /// # Panics
    /// When they cannot be had.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let (status, body) = self.http("GET", "/metrics").expect("an answer to metrics");
        assert_eq!(status, 200, "metrics: {body}");
        body
    }

    /// Bytes of all files in the content store of the n-th share.
    ///
    /// # Panics
    /// When the folder cannot be read.
    #[must_use]
    pub fn stored_bytes(&self, share: usize) -> u64 {
        fn below(dir: &Path) -> u64 {
            let entries = fs::read_dir(dir).map(Iterator::flatten).into_iter().flatten();
            let sizes = entries.map(|entry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => below(&entry.path()),
                Ok(metadata) => metadata.len(),
                Err(_) => 0,
            });
            sizes.sum()
        }
        below(&self.dir.join(format!("content-{share}")))
    }

    /// Memory of the process that is not shared with others, in bytes.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let pid = self.child.as_ref().expect("it runs").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux");
        let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        kib.expect("a number") << 10
    }

    /// Runs a command of the program on this server's configuration; what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[expect(clippy::must_use_candidate, reason = "that it succeeds may be all there is to see")]
    pub fn run(&self, args: &[&str]) -> String {
        let (status, out, err) = self.try_run(args);
        assert!(status.success(), "{args:?}: {out}{err}");
        out
    }

    /// The same, with how it ended, what it printed, and what it complained of.
    ///
    /// # Panics
    /// When there is no program.
    #[must_use]
    pub fn try_run(&self, args: &[&str]) -> (ExitStatus, String, String) {
        let mut command = Command::new(dittofs());
        command.args(args).arg("--config").arg(self.dir.join("config.yaml"));
        // These never ask a server, and take no such flag.
        if !matches!(args[0], "rebuild" | "key") {
            command.arg("--pid-file").arg(self.dir.join("pid"));
        }
        let done = command.output().expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (done.status, text(done.stdout), text(done.stderr))
    }

    /// Whether it was started and not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Is it ours (and not ganesha in its place)?
    #[must_use]
    pub fn is_ours(&self) -> bool {
        !matches!(self.how, How::Ganesha)
    }

    /// Asks for the same, and does not wait. What is given back holds the request open.
    ///
    /// # Panics
    /// When the server does not listen.
    #[must_use]
    pub fn begin_drop_cache(&self) -> Option<TcpStream> {
        self.is_ours().then(|| self.ask("POST", "/debug/drop-cache").expect("it listens"))
    }

    /// Sets a share's durability until the next start.
    ///
    /// # Panics
    /// When it refuses.
    pub fn set_durability(&self, share: &str, durability: &str) {
        let (status, answer) = self.try_set_durability(share, durability);
        assert_eq!(status, 200, "durability: {answer}");
    }

    /// Asks for the same; status and answer.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn try_set_durability(&self, share: &str, durability: &str) -> (u16, String) {
        let body = format!("{{\"share\": \"{share}\", \"durability\": \"{durability}\"}}");
        self.http_with("POST", "/debug/durability", &body).expect("answer")
    }

    /// Has what is read of a share stay in memory (`pinned`) or not (`normal`).
    ///
    /// # Panics
    /// When it refuses.
    pub fn set_cache(&self, share: &str, cache: &str) {
        let body = format!("{{\"share\": \"{share}\", \"cache\": \"{cache}\"}}");
        let (status, answer) = self.http_with("POST", "/debug/cache", &body).expect("answer");
        assert_eq!(status, 200, "cache: {answer}");
    }

    fn ask(&self, method: &str, path: &str) -> std::io::Result<TcpStream> {
        self.ask_with(method, path, "")
    }

    fn ask_with(&self, method: &str, path: &str, body: &str) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.metrics_port.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    }

    /// Status and body.
    fn http(&self, method: &str, path: &str) -> Option<(u16, String)> {
        self.http_with(method, path, "")
    }

    fn http_with(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut answer = String::new();
        self.ask_with(method, path, body).ok()?.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// Fails the test when the process is gone.
    ///
    /// # Panics
    /// Then.
    pub fn assert_alive(&mut self) {
        let ended = self.child.as_mut().expect("started").try_wait().expect("wait");
        assert!(ended.is_none(), "the server ended by itself: {ended:?}");
    }

    /// Everything it has said.
    #[must_use]
    pub fn log_text(&self) -> String {
        fs::read(self.log())
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let kept =
                std::env::temp_dir().join(format!("dittofs-test-{}.log", std::process::id()));
            fs::copy(self.log(), &kept).ok();
            let log = self.log_text();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(20)..].join("\n");
            eprintln!("--- the end of the server's log, {}\n{tail}\n---", kept.display());
        }
    }
}

fn is_ganesha() -> bool {
    std::env::var("SERVER").is_ok_and(|server| server == "ganesha")
}

/// The binary under test: `$DITTOFS`, else the release build beside this test's own.
fn dittofs() -> PathBuf {
    if let Ok(path) = std::env::var("DITTOFS") {
        return path.into();
    }
    let here = std::env::current_exe().expect("a path");
    let target = here.ancestors().nth(3).expect("target/PROFILE/deps/TEST");
    let path = target.join("release/dittofs");
    assert!(
        path.exists(),
        "no {}: run tools/test, or cargo build --release -p server",
        path.display()
    );
    path
}

/// A TCP port of 127.0.0.1 that no other test takes while this lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes one below the range from which the kernel picks ports for outgoing connections.
    ///
    /// # Panics
    /// When a thousand tries find none.
    #[must_use]
    pub fn take() -> Self {
        Self::take_block(1).remove(0)
    }

    /// Takes several in a row.
    ///
    /// # Panics
    /// When a thousand tries find none.
    #[must_use]
    pub fn take_block(count: u16) -> Vec<Self> {
        let mut rng = Rng::new(u64::from(std::process::id()) << 32 | nanos());
        let tries =
            std::iter::repeat_with(|| 20_000 + u16::try_from(rng.below(12_000)).expect("small"));
        let block =
            tries.take(1000).find_map(|first| (first..first + count).map(Self::try_take).collect());
        block.expect("a free port")
    }

    fn try_take(number: u16) -> Option<Self> {
        let dir = std::env::temp_dir().join("dittofs-test-ports");
        fs::create_dir_all(&dir).expect("folder for locks");
        let lock = File::create(dir.join(number.to_string())).expect("lock file");
        let is_free =
            lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok();
        is_free.then_some(Self { number, _lock: lock })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// With the loopback address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

fn nanos() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::from(now.expect("after 1970").subsec_nanos())
}
