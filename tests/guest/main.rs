//! What a test does inside the client's kernel, in one process: copy, compare, try what POSIX says.
#![expect(clippy::disallowed_methods, reason = "a plain program on a mounted file system")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "its results are what it prints")]

mod posix;
mod readdir;
mod tree;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::ExitCode,
};

const USAGE: &str = "\
guest copy LIST DIR         makes the tree of LIST (written by the tests) below DIR
guest compare LIST DIR      compares every name, mode, size and checksum with LIST
guest posix DIR             tries what POSIX promises, below DIR
guest refused FROM TO       checks that FROM can be neither moved nor linked to TO, another share
guest try WHAT PATH         exits with the errno of one call, to see it as another user
guest readdir DIR COUNT     lists `stay-*` in DIR while names come and go
guest meet NAME             waits until the test on the host has done its part of step NAME
";

/// Why something is not as it must be.
type Wrong = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["copy", list, dir] => tree::copy(list, dir),
        ["compare", list, dir] => tree::compare(list, dir),
        ["posix", dir] => posix::run(dir),
        ["refused", from, to] => posix::refused(from, to),
        ["try", what, path] => return posix::call(what, path),
        ["readdir", dir, count] => readdir::run(dir, count),
        ["meet", name] => meet(name),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("guest {}: {e}", args.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn meet(name: &str) -> Result<(), Wrong> {
    let address = format!("{}:{}", std::env::var("HOST_IP")?, std::env::var("MEET_PORT")?);
    let mut host = TcpStream::connect(address)?;
    host.write_all(format!("{name}\n").as_bytes())?;
    let mut answer = String::new();
    host.read_to_string(&mut answer)?;
    if answer == "go\n" { Ok(()) } else { Err(format!("the test says {answer:?}").into()) }
}

/// Forgets what this kernel has cached, so that the next look goes to the server.
fn forget_cached() -> Result<(), Wrong> {
    rustix::fs::sync();
    Ok(std::fs::write("/proc/sys/vm/drop_caches", "3")?)
}
