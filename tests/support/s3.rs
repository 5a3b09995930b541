//! A real S3 server (SeaweedFS) on loopback, gone with the test.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::server::{Port, S3Place};

/// A running server with a bucket and its data in a folder of its own.
#[derive(Debug)]
pub struct S3 {
    child: Child,
    port: Port,
    _dir: TempDir,
}

impl S3 {
    /// Starts one. It is ready when this returns.
    ///
    /// # Panics
    /// When it cannot be installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let (dir, port) = (tempfile::tempdir().expect("folder"), Port::take());
        let number = port.number().to_string();
        let mut run = Command::new(script());
        run.arg("run").arg(dir.path()).arg(&number).stdin(Stdio::null());
        let child = run.spawn().expect("tools/testlab/s3");
        let server = Self { child, port, _dir: dir };
        ask(&["wait", &number]);
        server
    }

    /// Where it is, for a share's content store.
    ///
    /// # Panics
    /// When `tools/testlab/s3 env` does not say so.
    #[must_use]
    pub fn place(&self) -> S3Place {
        let said = ask(&["env", &self.port.number().to_string()]);
        let value = |name: &str| {
            let (_, rest) = said.split_once(&format!("{name}=")).expect("it says so");
            rest.split_whitespace().next().unwrap_or_default().to_owned()
        };
        S3Place {
            endpoint: value("S3_ENDPOINT"),
            bucket: value("S3_BUCKET"),
            keys: (value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY")),
        }
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn ask(args: &[&str]) -> String {
    let output = Command::new(script()).args(args).output().expect("tools/testlab/s3");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tools/testlab/s3 {args:?}: {complained}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn script() -> PathBuf {
    super::repo().join("tools/testlab/s3")
}
