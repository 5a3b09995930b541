//! Asking a running server through the socket beside its pid file.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use rustix::process::Pid;
use serde_json::Value as Json;

use crate::{config::Config, control, lock::Lock, offline, paths};

/// The server of this configuration, when one runs.
pub(super) fn find(config: &Config, pid_file: Option<&Path>) -> Result<Option<UnixStream>, String> {
    let Some(pid) = offline::server(config)? else { return Ok(None) };
    let pid_file = paths::pid(pid_file)?;
    if Lock::holder(&pid_file)? != Some(pid) {
        return Err(format!(
            "process {pid} serves these stores, but its pid file is not {}; name it with --pid-file",
            pid_file.display()
        ));
    }
    connect(&pid_file, pid).map(Some)
}

/// A connection to the server of a pid file.
pub(super) fn connect(pid_file: &Path, pid: Pid) -> Result<UnixStream, String> {
    let socket = control::socket(pid_file);
    UnixStream::connect(&socket)
        .map_err(|error| format!("process {pid} runs, but {}: {error}", socket.display()))
}

/// GET of a JSON value.
pub(super) fn get(stream: impl Read + Write, path: &str) -> Result<Json, String> {
    let mut answer = ask(stream, "GET", path, "")?;
    let mut body = String::new();
    answer.read_to_string(&mut body).map_err(|error| error.to_string())?;
    serde_json::from_str(&body).map_err(|error| format!("the answer is no JSON: {error}"))
}

/// POST that is answered by lines of JSON, each shown as it comes.
pub(super) fn post(
    stream: impl Read + Write,
    path: &str,
    body: &Json,
    each: &mut dyn FnMut(&Json) -> Result<(), String>,
) -> Result<(), String> {
    for line in ask(stream, "POST", path, &body.to_string())?.lines() {
        let line = line.map_err(|error| error.to_string())?;
        let json = serde_json::from_str(&line);
        each(&json.map_err(|error| format!("the answer is no JSON: {error}: {line}"))?)?;
    }
    Ok(())
}

/// By the oldest HTTP that the server speaks: its answer ends with the connection.
fn ask<S: Read + Write>(
    mut stream: S,
    method: &str,
    path: &str,
    body: &str,
) -> Result<BufReader<S>, String> {
    let words = |error: std::io::Error| error.to_string();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(words)?;
    let mut answer = BufReader::new(stream);
    let mut first = String::new();
    answer.read_line(&mut first).map_err(words)?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if answer.read_line(&mut line).map_err(words)? == 0 {
            return Err("the answer is no HTTP".to_owned());
        }
    }
    if !first.contains(" 200") {
        let mut body = String::new();
        answer.read_to_string(&mut body).map_err(words)?;
        let why: Option<Json> = serde_json::from_str(&body).ok();
        let why = why.and_then(|why| why["error"].as_str().map(str::to_owned));
        return Err(why.unwrap_or_else(|| format!("{}; is this DittoFS?", first.trim())));
    }
    Ok(answer)
}
