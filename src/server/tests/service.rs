//! The server as a service: what it tells systemd, what systemd thinks of its unit, log rotation.

use std::{os::unix::net::UnixDatagram, path::Path, process::Command, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use super::{Home, ended, write};

#[test]
fn systemd_hears_that_it_is_ready_alive_and_stopping() {
    let home = Home::new();
    home.write_config("");
    let socket = UnixDatagram::bind(home.path("notify")).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let mut server = home
        .command(&["start", "--foreground"])
        .env("NOTIFY_SOCKET", home.path("notify"))
        .env("WATCHDOG_USEC", "400000")
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    let hear = |word: &str| loop {
        let mut buffer = [0; 1024];
        let len = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {word}: {error}"));
        let heard = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if heard.lines().any(|line| line == word) {
            return;
        }
    };
    hear("READY=1");
    // It goes on saying so.
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    kill_process(Pid::from_child(&server), Signal::TERM).expect("it runs");
    hear("STOPPING=1");
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let systemd = Path::new("/usr/bin/systemd-analyze");
    if !systemd.exists() {
        // A machine without systemd will not run the unit either.
        return;
    }
    let home = Home::new();
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd/dittofs.service");
    let unit = std::fs::read_to_string(unit).expect("the unit");
    // The one of these sources, which need not be installed.
    let program = env!("CARGO_BIN_EXE_dittofs");
    let ours = unit.replace("/usr/bin/dittofs", program);
    assert_ne!(unit, ours);
    write(&home.path("dittofs.service"), &ours);
    let output = Command::new(systemd).arg("verify").arg(home.path("dittofs.service")).output();
    let verdict = ended(output.expect("it runs"));
    let about_us: Vec<&str> = verdict.err.lines().filter(|line| line.contains("dittofs")).collect();
    assert_eq!((verdict.code, about_us), (Some(0), Vec::new()));
}

#[test]
fn a_rotated_log_begins_anew() {
    let home = Home::new();
    home.write_config("logging: {format: json}");
    home.good(&["start", "--log-file", "a.log"]);
    let pid = home.status(&[])["pid"].as_i64().expect("a number");
    let pid = Pid::from_raw(i32::try_from(pid).expect("small")).expect("a process");
    std::fs::rename(home.path("a.log"), home.path("a.log.1")).expect("moved");
    kill_process(pid, Signal::HUP).expect("it runs");
    // The signal is heard before the one that ends it, or both are lost to the new file.
    while !home.path("a.log").exists() {
        std::thread::yield_now();
    }
    home.good(&["stop"]);
    let words = |name: &str| -> Vec<String> {
        let lines = home.good(&["logs", "--log-file", name]);
        let message = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["message"].as_str().expect("a message").to_owned()
        };
        lines.lines().map(message).collect()
    };
    assert!(words("a.log.1").contains(&"ready".to_owned()));
    let new = words("a.log");
    assert!(new.contains(&"stopped".to_owned()) && !new.contains(&"ready".to_owned()), "{new:?}");
    let late = home.good(&["logs", "--log-file", "a.log", "--since", "2000-01-01T00:00:00Z"]);
    assert_eq!(late.lines().count(), new.len());
    assert_eq!(home.good(&["logs", "--log-file", "a.log", "--since", "2999-01-01T00:00:00Z"]), "");
}
