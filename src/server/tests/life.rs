//! A server's life: start, answer, refuse a second one, stop, find its data again.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    process::{Child, ChildStdout, Stdio},
};

use nfs3_client::{
    MountClient,
    nfs3_types::{mount::dirpath, xdr_codec::Opaque},
    tokio::TokioIo,
};
use rustix::process::{Pid, Signal, kill_process};

use super::{Home, http, http_with};

#[test]
fn a_daemon_starts_answers_and_stops() {
    let home = Home::new();
    home.write_config("metrics: {enabled: true, port: 0}");
    let said = home.good(&["start"]);
    assert!(said.starts_with("Serving NFS on 127.0.0.1:"), "{said}");
    let status = home.status(&[]);
    assert_eq!(status["state"], "ready");
    assert!(said.contains(status["nfs"]["address"].as_str().expect("an address")), "{said}");
    assert_eq!(status["shares"][0]["name"], "/export");
    assert_eq!(status["bytes"]["dirty"], 0);
    assert!(!status["layout"]["reactors"].as_array().expect("reactors").is_empty());
    let table = home.good(&["status"]);
    assert!(table.lines().any(|line| line.starts_with("reactor 0")), "{table}");
    assert!(home.good(&["status", "-o", "yaml"]).contains("state: ready"));

    let metrics = status["metrics"].as_str().expect("metrics are on").to_owned();
    let (code, health) = http(&metrics, "GET", "/health");
    assert_eq!(code, 200, "{health}");
    let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
    assert_eq!((&health["status"], &health["error"]), (&"healthy".into(), &None::<()>.into()));
    assert_eq!(http(&metrics, "GET", "/health/ready").0, 200);
    let (code, text) = http(&metrics, "GET", "/metrics");
    assert_eq!(code, 200);
    assert!(
        text.contains("dittofs_build_info{") && text.contains("dittofs_dirty_bytes 0"),
        "{text}"
    );
    assert_eq!(http(&metrics, "GET", "/debug/drop-cache").0, 405, "it changes something");
    assert_eq!(http(&metrics, "POST", "/debug/drop-cache").0, 200);
    assert_eq!(http(&metrics, "GET", "/elsewhere").0, 404);
    let (_, port) = metrics.rsplit_once(':').expect("a port");
    assert_eq!(home.status(&["--api-port", port])["pid"], status["pid"]);

    let pid = status["pid"].to_string();
    let again = home.bad(&["start"]);
    assert!(again.contains(&format!("a server runs already as process {pid}")), "{again}");
    assert_eq!(home.good(&["stop"]), format!("Stopped process {pid}\n"));
    assert!(!home.path("state/dittofs/dittofs.pid").exists());
    assert!(!home.path("state/dittofs/dittofs.sock").exists());
    let log = home.good(&["logs"]);
    assert!(log.lines().last().is_some_and(|line| line.ends_with("stopped")), "{log}");
    assert!(log.contains("ready"), "{log}");
    assert_eq!(home.good(&["logs", "-n", "1"]).lines().count(), 1);

    home.good(&["start"]);
    let killed = home.good(&["stop", "--force"]);
    assert!(killed.starts_with("Stopped process"), "{killed}");
    home.good(&["start"]);
    home.good(&["stop"]);
}

#[test]
fn durability_is_set_live_and_forgotten_at_a_restart() {
    let home = Home::new();
    home.write_config("metrics: {enabled: true, port: 0}");
    home.good(&["start"]);
    let status = home.status(&[]);
    assert_eq!(status["shares"][0]["durability"], "local");
    let metrics = status["metrics"].as_str().expect("metrics are on").to_owned();
    let ask = |body: &str| http_with(&metrics, "POST", "/debug/durability", body);
    let (code, said) = ask(r#"{"share": "/export", "durability": "writeback"}"#);
    assert_eq!((code, said.contains(r#""before":"local""#)), (200, true), "{said}");
    assert_eq!(home.status(&[])["shares"][0]["durability"], "writeback");
    for (body, want) in [
        (r#"{"share": "/export", "durability": "quorum"}"#, "replicas"),
        (r#"{"share": "/export", "durability": "best"}"#, "expected one of writeback, local"),
        (r#"{"share": "/other", "durability": "local"}"#, "no share /other"),
        ("", "expected a body"),
    ] {
        let (code, said) = ask(body);
        assert_eq!((code, said.contains(want)), (400, true), "{body}: {said}");
    }
    assert_eq!(home.status(&[])["shares"][0]["durability"], "writeback");
    home.good(&["stop"]);
    home.good(&["start"]);
    assert_eq!(home.status(&[])["shares"][0]["durability"], "local");
    home.good(&["stop"]);
}

#[test]
fn the_folder_of_the_log_has_one_server() {
    let home = Home::new();
    home.write_config("");
    home.good(&["start"]);
    let pid = home.status(&[])["pid"].to_string();
    for args in [&["start", "--pid-file", "b.pid"][..], &["start", "-f", "--pid-file", "b.pid"]] {
        let ended = home.run(args);
        assert_eq!(ended.code, Some(1), "{args:?}");
        let want = format!("cache is in use by process {pid}; stop it, or choose another folder");
        assert!(ended.err.contains(&want), "{}", ended.err);
    }
    home.good(&["stop"]);
}

#[test]
fn ports_that_are_taken() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    home.write_config(&format!("metrics: {{enabled: true, port: {port}}}"));
    let metrics = home.bad(&["start"]);
    assert!(
        metrics.contains(&format!("metrics on 127.0.0.1:{port}: Address already in use")),
        "{metrics}"
    );
    assert!(metrics.contains("see metrics.port"), "{metrics}");
    home.write_config("");
    let mut command = home.command(&["start"]);
    let output = command.env("DITTOFS_ADAPTERS_NFS_PORT", port.to_string()).output();
    let ended = super::ended(output.expect("it runs"));
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains(&format!("NFS on 127.0.0.1:{port}: ")), "{}", ended.err);
    assert!(ended.err.contains("see adapters.nfs.port"), "{}", ended.err);
    assert_eq!(home.run(&["status"]).code, Some(1), "nothing is left running");
    assert!(!home.path("state/dittofs/dittofs.sock").exists(), "and nothing is left behind");
}

#[test]
fn stores_that_cannot_be_used() {
    let home = Home::new();
    home.write_config("");
    super::write(&home.path("file"), "not a folder");
    let mut command = home.command(&["start", "-f"]);
    let command = command.env("DITTOFS_CACHE_PATH", home.path("file/below"));
    let cache = super::ended(command.output().expect("it runs"));
    assert_eq!(cache.code, Some(1), "{}", cache.err);
    assert!(
        cache.err.contains("cache.path ") && cache.err.contains("choose a folder"),
        "{}",
        cache.err
    );
    let mut command = home.command(&["start", "-f"]);
    let command = command
        .env("DITTOFS_CONTENT_STORES_C_TYPE", "filesystem")
        .env("DITTOFS_CONTENT_STORES_C_FILESYSTEM_PATH", home.path("file/below"));
    let content = super::ended(command.output().expect("it runs"));
    assert_eq!(content.code, Some(1), "{}", content.err);
    assert!(content.err.contains("content store c: "), "{}", content.err);
    assert!(content.err.contains("see content.stores.c"), "{}", content.err);
}

#[test]
fn a_bucket_that_is_away_is_no_reason_not_to_start() {
    let home = Home::new();
    home.write_config("");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let mut command = home.command(&["start", "--log-file", "away.log"]);
    let command = command
        .env("DITTOFS_CONTENT_STORES_C_TYPE", "s3")
        .env("DITTOFS_CONTENT_STORES_C_S3_BUCKET", "b")
        .env("DITTOFS_CONTENT_STORES_C_S3_ENDPOINT", format!("http://{free}"))
        .env("AWS_ACCESS_KEY_ID", "a")
        .env("AWS_SECRET_ACCESS_KEY", "s");
    let started = super::ended(command.output().expect("it runs"));
    assert_eq!(started.code, Some(0), "{}", started.err);
    let log = home.good(&["logs", "--log-file", "away.log"]);
    assert!(log.contains("content store c "), "{log}");
    assert!(log.contains("serving what is cached, writing to the log"), "{log}");
    home.good(&["stop"]);
}

/// A quickstart in the foreground, and what it printed up to its last line.
struct Quickstart {
    child: Child,
    out: BufReader<ChildStdout>,
    said: String,
}

impl Quickstart {
    fn start(home: &Home) -> Self {
        let args = ["quickstart", "--dir", "data", "--nfs-port", "0", "--metrics-port", "0"];
        let mut command = home.command(&args);
        command.args(["--bind", "127.0.0.1"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = String::new();
        while !said.contains("Status: ") {
            assert!(out.read_line(&mut said).expect("UTF-8") > 0, "it ended: {said}");
        }
        Self { child, out, said }
    }

    fn port(&self) -> u16 {
        let mount = self.said.lines().find(|line| line.contains("mount -t nfs"));
        let words = mount.and_then(|line| line.split("mountport=").nth(1));
        let port = words.and_then(|words| words.split(',').next());
        port.and_then(|port| port.parse().ok()).expect("a port")
    }

    fn end(mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        std::io::copy(&mut self.out, &mut std::io::sink()).expect("read to the end");
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
    }
}

#[test]
fn quickstart_writes_a_configuration_serves_and_finds_its_data_again() {
    let home = Home::new();
    let server = Quickstart::start(&home);
    let want = format!("Data and configuration: {}", home.path("data").display());
    assert!(server.said.contains(&want), "{}", server.said);
    assert!(server.said.contains(":/export /mnt"), "{}", server.said);
    let handle = mount(server.port());
    let config = std::fs::read_to_string(home.path("data/config.yaml")).expect("written");
    assert!(config.contains("squash: none"), "{config}");
    assert_eq!(home.status(&["--pid-file", "data/dittofs.pid"])["state"], "ready");
    server.end(Signal::INT);

    let server = Quickstart::start(&home);
    assert_eq!(mount(server.port()), handle, "a handle is for ever");
    let again = std::fs::read_to_string(home.path("data/config.yaml")).expect("there");
    assert_eq!(config, again);
    server.end(Signal::TERM);
}

/// The handle that MOUNT gives for `/export`.
fn mount(port: u16) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let mut client = MountClient::new(TokioIo::new(stream));
        let mounted = client.mnt(dirpath(Opaque::borrowed(b"/export"))).await.expect("mounted");
        mounted.fhandle.0.to_vec()
    })
}
