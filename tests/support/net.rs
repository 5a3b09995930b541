//! A network of a test's own, where servers take the ports they are known by and hosts call back.

use std::process::Command;

/// Set in the process that has one.
const MARK: &str = "OWN_TEST_NETWORK";

/// Whether this process has a network of its own. If not, runs one test of this binary in a process
/// that has, and that is all there is to do.
///
/// # Panics
/// When the test fails there.
#[must_use]
pub fn is_own(test: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let here = std::env::current_exe().expect("a path");
    let status = Command::new("unshare")
        .args(["-n", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(here)
        .args([test, "--exact", "--nocapture"])
        .env(MARK, "1")
        .status()
        .expect("unshare, of util-linux");
    assert!(status.success(), "{test} in a network of its own: {status}");
    false
}
