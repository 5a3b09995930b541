//! The `dittofs` program as a user meets it: real processes, their words, their exit status.

mod commands;
mod life;
mod service;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

/// A home of our own: nothing of the machine's user is read or written.
struct Home {
    dir: TempDir,
}

/// How a command ended.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("config/dittofs/config.yaml")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dittofs"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.dir.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_DATA_HOME", self.path("data"));
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        ended(self.command(args).output().expect("the program runs"))
    }

    /// Runs a command that must do what was asked; its standard output.
    #[track_caller]
    fn good(&self, args: &[&str]) -> String {
        let Ended { code, out, err } = self.run(args);
        assert_eq!(code, Some(0), "{args:?}: {out}{err}");
        out
    }

    /// Runs a command that must fail; its standard error.
    #[track_caller]
    fn bad(&self, args: &[&str]) -> String {
        let Ended { code, out, err } = self.run(args);
        assert_eq!(code, Some(1), "{args:?}: {out}{err}");
        assert_eq!(out, "", "{args:?}");
        err
    }

    /// A configuration with free ports, all in memory but the log.
    fn write_config(&self, more: &str) {
        let cache = self.path("cache");
        let text = format!(
            "cache: {{path: {}, size: 64Mi}}\nmetadata: {{stores: {{m: {{type: memory}}}}}}\n\
             content: {{stores: {{c: {{type: memory}}}}}}\n\
             shares: [{{name: /export, metadata_store: m, content_store: c}}]\n\
             adapters: {{nfs: {{port: 0, bind: 127.0.0.1}}}}\n{more}\n",
            cache.display()
        );
        write(&self.config(), &text);
    }

    fn status(&self, more: &[&str]) -> serde_json::Value {
        let args: Vec<&str> = ["status", "-o", "json"].iter().chain(more).copied().collect();
        serde_json::from_str(&self.good(&args)).expect("JSON")
    }
}

/// A server that a failed test left behind is ended, too.
impl Drop for Home {
    fn drop(&mut self) {
        for pid_file in ["state/dittofs/dittofs.pid", "data/dittofs.pid"] {
            if self.path(pid_file).exists() {
                let _ = self.run(&["stop", "--force", "--pid-file", pid_file]);
            }
        }
    }
}

fn ended(output: Output) -> Ended {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("written");
}

/// One HTTP request: status code and body.
fn http(address: &str, method: &str, path: &str) -> (u16, String) {
    http_with(address, method, path, "")
}

/// The same with a body.
fn http_with(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let address: SocketAddr = address.parse().expect("an address");
    let mut stream = TcpStream::connect(address).expect("it listens");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("received");
    let code = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (code.expect("a status line"), body.to_owned())
}
