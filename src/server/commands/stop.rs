//! `dittofs stop`: asks the server to end, and waits until it has.

use std::time::Duration;

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{complain, say};
use crate::{cli::Stop, lock::Lock, paths};

/// After so long the operator is told what is awaited.
const PATIENCE: Duration = Duration::from_secs(45);

/// Stops the server of a pid file.
pub(crate) fn run(args: &Stop) -> Result<(), String> {
    let path = paths::pid(args.pid_file.as_deref())?;
    let Some(pid) = Lock::holder(&path)? else {
        return Err(format!("no server runs with {}", path.display()));
    };
    let fail = |error: rustix::io::Errno| format!("process {pid}: {error}");
    // A descriptor names this very process, whoever gets its number later.
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(fail)?;
    if Lock::holder(&path)? != Some(pid) {
        return say("The server has just stopped\n");
    }
    let signal = if args.force { Signal::KILL } else { Signal::TERM };
    pidfd_send_signal(&process, signal).map_err(fail)?;
    let mut waits = [PollFd::new(&process, PollFlags::IN)];
    let patience = Timespec::try_from(PATIENCE).expect("short");
    loop {
        match poll(&mut waits, Some(&patience)) {
            Ok(0) => complain(&format!(
                "process {pid} still ends what it does; --force kills it, and what was \
                 acknowledged as stable is safe all the same"
            )),
            Ok(_) => return say(&format!("Stopped process {pid}\n")),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(fail(error)),
        }
    }
}
