//! A server's life: open, serve until asked to end, close. In this order and in no other:
//!
//! log → pid file → sockets of the control thread → control thread (signals from now on) → rooms →
//! ready; and back.

use std::{path::Path, sync::Arc};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use trace::{error, info, warn};

use crate::{
    board::{Board, Phase},
    config::Config,
    control::{Control, Sockets},
    http::Sources,
    layout::Layout,
    lock::{Lock, Refused},
    rooms::Rooms,
};

/// Serves until a signal ends it. `ready` is called once clients are served.
pub(crate) fn run(
    config: &Config,
    pid_file: &Path,
    ready: impl FnOnce(&Board, &Rooms) -> Result<(), String>,
) -> Result<(), String> {
    let log = Arc::new(trace::log::start(&config.logging, reactor::clock::wall)?);
    let result = serve(config, pid_file, ready, Arc::clone(&log));
    match &result {
        Ok(()) => info!("stopped"),
        Err(why) => error!("{why}"),
    }
    // Its last lines are written now.
    drop(log);
    result
}

fn serve(
    config: &Config,
    pid_file: &Path,
    ready: impl FnOnce(&Board, &Rooms) -> Result<(), String>,
    log: Arc<trace::log::Log>,
) -> Result<(), String> {
    info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "starting");
    config.remarks.iter().for_each(|remark| warn!("{remark}"));
    let _pid = lock(pid_file)?;
    let layout = Layout::new(config, &reactor::thread::cores())?;
    raise_limits();
    let sockets = Sockets::open(&config.metrics, pid_file)?;
    let board = Arc::new(Board::new(layout.clone(), sockets.metrics_address()));
    let sources = Sources { board: Arc::clone(&board), log };
    let control = Control::start(layout.control, sockets, sources)?;
    let step = |step| {
        info!("{step}");
        board.set_phase(Phase::Starting(step));
    };
    let rooms = Arc::new(Rooms::open(config, &layout, step)?);
    board.set_rooms(Arc::clone(&rooms));
    board.set_phase(Phase::Ready);
    info!(nfs = %rooms.nfs_address, "ready");
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
    ready(&board, &rooms)?;
    control.wait();
    tell(&[NotifyState::Stopping]);
    rooms.close(config.shutdown_timeout);
    control.stop();
    Ok(())
}

/// To systemd, if it started us. A word that is lost shows as a start that takes too long.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("systemd was not told: {error}");
    }
}

fn lock(path: &Path) -> Result<Lock, String> {
    let shown = path.display();
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)
            .map_err(|error| format!("{shown}: {error}; choose another with --pid-file"))?;
    }
    Lock::take(path).map_err(|refused| match refused {
        Refused::Held(pid) => {
            let who = pid.map_or_else(String::new, |pid| format!(" as process {pid}"));
            format!(
                "a server runs already{who}, with {shown}; `dittofs stop` ends it, --pid-file \
                 starts another"
            )
        }
        Refused::Io(error) => format!("{shown}: {error}; choose another with --pid-file"),
    })
}

/// As many descriptors as we may have: each connection takes one.
fn raise_limits() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!("the limit of open files stays as it is: {error}");
    }
}
