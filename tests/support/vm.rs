//! A script in a real Linux NFS client kernel (`tools/clientvm`), and meetings with it.
//!
//! The script finds: `share NAME DIR` mounts a share of the server at DIR, `$GUEST` is the helper
//! binary, `$GUEST meet NAME` waits until the test has done its part of step NAME.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::server::{Port, Server};

/// Longest life of a guest.
const LIFE_MAX: Duration = Duration::from_secs(1500);

const PRELUDE: &str = r#"
set -e
share() {
    mkdir -p "$2"
    ports="port=$NFS_PORT,mountport=$MOUNT_PORT,mountproto=tcp"
    mount -t nfs -o "vers=3,proto=tcp,$ports,nolock,retry=0,hard" "$HOST_IP:$1" "$2"
}
"#;

/// A running guest.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    meetings: TcpListener,
    _port: Port,
    booted: Instant,
}

impl Vm {
    /// Boots a guest that reaches `server` and runs `script` in it as root.
    ///
    /// # Panics
    /// When there is no `tools/clientvm`, or no helper binary beside this test.
    #[must_use]
    pub fn boot(server: &Server, script: &str) -> Self {
        let port = Port::take();
        let ports = [server.nfs_port.number(), server.mount_port(), port.number()];
        let ports = ports.map(|port| ["--port".to_owned(), port.to_string()]);
        Self::launch(server, port, &ports.concat(), script)
    }

    /// The same in the network of this test (see `net`), as host 15 of 10.0.`n`.0/24, where the
    /// server is host 2.
    ///
    /// # Panics
    /// As [`Vm::boot`].
    #[must_use]
    pub fn boot_here(server: &Server, n: u8, script: &str) -> Self {
        Self::launch(server, Port::take(), &["--here".to_owned(), n.to_string()], script)
    }

    fn launch(server: &Server, port: Port, net: &[String], script: &str) -> Self {
        let everywhere = (Ipv4Addr::UNSPECIFIED, port.number());
        let meetings = TcpListener::bind(everywhere).expect("a free port");
        meetings.set_nonblocking(true).expect("a listener");
        let mut command = Command::new(super::repo().join("tools/clientvm/clientvm"));
        command.args(["-t", &LIFE_MAX.as_secs().to_string(), "--no-auto-ports"]).args(net);
        for (name, value) in [
            ("NFS_PORT", server.nfs_port.number().to_string()),
            ("MOUNT_PORT", server.mount_port().to_string()),
            ("MEET_PORT", port.number().to_string()),
            ("GUEST", guest().display().to_string()),
        ] {
            command.args(["-e", &format!("{name}={value}")]);
        }
        command.args(["-c", &format!("{PRELUDE}{script}")]).stdin(Stdio::null());
        let child = command.spawn().expect("tools/clientvm/clientvm");
        Self { child, meetings, _port: port, booted: Instant::now() }
    }

    /// Waits until the script says `meet NAME`, does `part`, lets the script go on.
    ///
    /// # Panics
    /// When the script ends first, or says another name.
    pub fn meet(&mut self, name: &str, part: impl FnOnce()) {
        let mut guest = self.accept(name);
        let mut said = String::new();
        BufReader::new(&mut guest).read_line(&mut said).expect("a name");
        assert_eq!(said.trim(), name, "the script is at another step");
        println!("[{:6.1} s] {name}", self.booted.elapsed().as_secs_f64());
        part();
        guest.write_all(b"go\n").expect("the guest waits");
        println!("[{:6.1} s] {name}: done", self.booted.elapsed().as_secs_f64());
    }

    fn accept(&mut self, name: &str) -> TcpStream {
        loop {
            if let Ok((guest, _)) = self.meetings.accept() {
                guest.set_nonblocking(false).expect("a socket");
                return guest;
            }
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none(), "the guest ended before `{name}`: {ended:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the script's end.
    ///
    /// # Panics
    /// When it fails.
    pub fn finish(mut self) {
        let status = self.child.wait().expect("wait");
        println!("[{:6.1} s] the guest ended", self.booted.elapsed().as_secs_f64());
        assert!(status.success(), "the script in the guest failed: {status}");
    }
}

impl Drop for Vm {
    /// SIGTERM, so that clientvm tidies up; the guest ends with it.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
            drop(self.child.wait());
        }
    }
}

/// The helper binary, which is built with the tests.
fn guest() -> PathBuf {
    let here = std::env::current_exe().expect("a path");
    let path = here.ancestors().nth(2).expect("target/PROFILE/deps/TEST").join("guest");
    assert!(path.exists(), "no {}: build the package `tests`", path.display());
    path
}
