//! The control thread: signals, HTTP, and the watchdog, on a tokio runtime of its own.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};
use trace::{error, info, warn};

use crate::{
    board::Phase,
    config::Metrics,
    http::{self, Peer, Sources},
};

/// While the server starts, systemd is told so often that it still does.
const EXTEND_EVERY: Duration = Duration::from_secs(2);
/// By so much the start may take longer each time.
const EXTEND_BY: Duration = Duration::from_secs(60);

/// Sockets that are open before any room is built, so that a port that is taken is found at once.
#[derive(Debug)]
pub(crate) struct Sockets {
    tcp: Option<TcpListener>,
    unix: Option<(UnixListener, Name)>,
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Control {
    thread: JoinHandle<()>,
    end: Arc<Notify>,
    stops: mpsc::Receiver<()>,
    _socket: Option<Name>,
}

/// A socket's name in the file system, removed with this.
#[derive(Debug)]
struct Name(PathBuf);

impl Sockets {
    /// Listens. The pid file is ours, so a socket beside it is left over from a dead server.
    pub(crate) fn open(metrics: &Metrics, pid_file: &Path) -> Result<Self, String> {
        let tcp = metrics.enabled.then(|| {
            let address = SocketAddr::new(metrics.bind, metrics.port);
            let listener = TcpListener::bind(address);
            let listener = listener.and_then(|l| l.set_nonblocking(true).map(|()| l));
            listener.map_err(|error| {
                format!("metrics on {address}: {error}; see metrics.port and metrics.bind")
            })
        });
        let path = socket(pid_file);
        remove(&path);
        let unix = UnixListener::bind(&path).and_then(|listener| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let unix = match unix {
            Ok(listener) => Some((listener, Name(path))),
            Err(error) => {
                warn!("`dittofs status` will not find this server: {}: {error}", path.display());
                None
            }
        };
        Ok(Self { tcp: tcp.transpose()?, unix })
    }

    /// Where metrics are served, when they are.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|listener| listener.local_addr().ok())
    }
}

/// Removes a socket's name, if it is there.
fn remove(socket: &Path) {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            warn!("{} stays behind: {error}", socket.display());
        }
        _ => {}
    }
}

/// The socket beside a pid file.
pub(crate) fn socket(pid_file: &Path) -> PathBuf {
    pid_file.with_extension("sock")
}

impl Drop for Name {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

impl Control {
    /// Starts the thread. From now on signals are heard.
    pub(crate) fn start(
        core: Option<usize>,
        sockets: Sockets,
        sources: Sources,
    ) -> Result<Self, String> {
        let Sockets { tcp, unix } = sockets;
        let (unix, socket) = unix.unzip();
        let fail = |error: std::io::Error| format!("the control thread: {error}");
        let end = Arc::new(Notify::new());
        let (sender, stops) = mpsc::channel();
        let (started_sender, started) = mpsc::channel();
        let ended = Arc::clone(&end);
        let thread = reactor::thread::spawn("control", core, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let result = runtime.and_then(|runtime| {
                let served = runtime.block_on(async {
                    tasks(tcp, unix, sources, sender)?;
                    // The starter has gone only if the process ends.
                    drop(started_sender.send(Ok(())));
                    ended.notified().await;
                    Ok(())
                });
                runtime.shutdown_background();
                served
            });
            if let Err(error) = result {
                drop(started_sender.send(Err(error)));
            }
        });
        let thread = thread.map_err(fail)?;
        started.recv().expect("the thread says how it went").map_err(fail)?;
        Ok(Self { thread, end, stops, _socket: socket })
    }

    /// Waits until somebody asks the server to end.
    pub(crate) fn wait(&self) {
        self.stops.recv().expect("the thread lives as long as this");
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        self.end.notify_one();
        self.thread.join().expect("a panic would have ended the process");
    }
}

/// Starts all that runs here.
fn tasks(
    tcp: Option<TcpListener>,
    unix: Option<UnixListener>,
    sources: Sources,
    stops: mpsc::Sender<()>,
) -> std::io::Result<()> {
    if let Some(listener) = tcp {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let router = http::router(sources.clone());
        let service = router.into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async move { axum::serve(listener, service).await });
    }
    if let Some(listener) = unix {
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let router = http::router(sources.clone());
        let service = router.into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async move { axum::serve(listener, service).await });
    }
    let ends = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    for signals in ends {
        tokio::spawn(hear_end(signals, sources.clone(), stops.clone()));
    }
    tokio::spawn(hear_hangup(signal(SignalKind::hangup())?, sources.clone()));
    tokio::spawn(watchdog(sources));
    Ok(())
}

/// The first signal ends the server in order, a second one at once.
async fn hear_end(mut signals: Signal, sources: Sources, stops: mpsc::Sender<()>) {
    while signals.recv().await.is_some() {
        match sources.board.phase() {
            Phase::Ready => {
                sources.board.set_phase(Phase::Stopping);
                info!("stopping");
                stops.send(()).expect("the main thread waits for this");
            }
            // What is acknowledged is in the log; nothing is lost by ending here.
            Phase::Starting(step) => exit(&format!("ended while {step}")),
            Phase::Stopping => exit("ended at once by a second signal"),
        }
    }
}

fn exit(why: &str) -> ! {
    error!("{why}");
    crate::commands::complain(why);
    std::process::exit(1)
}

/// Opens the log's file again: `logrotate` has moved it away.
async fn hear_hangup(mut signals: Signal, sources: Sources) {
    while signals.recv().await.is_some() {
        match sources.log.reopen() {
            Ok(()) => info!("the log begins anew"),
            Err(why) => warn!("{why}"),
        }
    }
}

/// Tells systemd that the server lives: while it starts, because it does; afterwards, because every
/// reactor answers.
async fn watchdog(sources: Sources) {
    // A word to systemd that is lost is followed by the next.
    let tell = |state: NotifyState<'_>| drop(sd_notify::notify(&[state]));
    while let Phase::Starting(_) = sources.board.phase() {
        let micros = u32::try_from(EXTEND_BY.as_micros()).expect("a minute");
        tell(NotifyState::ExtendTimeoutUsec(micros));
        tokio::time::sleep(EXTEND_EVERY).await;
    }
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    loop {
        let stuck = http::stuck(&sources.board).await;
        if stuck.is_empty() {
            tell(NotifyState::Watchdog);
        } else {
            error!("reactors {stuck:?} do not answer");
        }
        tokio::time::sleep(patience / 4).await;
    }
}
