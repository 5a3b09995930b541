//! Metrics, health and status over HTTP: on the metrics port, and on a socket beside the pid file.
//!
//! Nothing here changes anything, except what is below `/debug`, which is for operators and tests:
//! only this machine may ask for it, and no web page.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, State, connect_info::Connected},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::IncomingStream,
};
use serde_json::{Value as Json, json};
use tokio::net::{TcpListener, UnixListener};
use trace::{info, stamp};
use vocab::durable::Grade;

use crate::{
    board::{Board, Phase},
    config::values::Scalar,
    debug, metrics,
    rooms::Rooms,
};

/// How long a reactor may take to answer before it counts as stuck.
pub(crate) const PING_PATIENCE: Duration = Duration::from_secs(2);
/// How long dirty blocks may take to rest before the cache is dropped.
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// Somebody who may open the socket beside the pid file: the server's own user.
    Socket,
    Tcp(SocketAddr),
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self::Tcp(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(_: IncomingStream<'_, UnixListener>) -> Self {
        Self::Socket
    }
}

/// What is asked here is read from.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) board: Arc<Board>,
    pub(crate) log: Arc<trace::log::Log>,
}

/// All paths.
pub(crate) fn router(sources: Sources) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/health/ready", get(ready))
        .route("/status", get(status))
        .route("/debug/drop-cache", post(drop_cache))
        .route("/debug/durability", post(durability))
        .route("/debug/cache", post(cache))
        .route("/debug/gc", post(debug::gc))
        .route("/debug/fsck", post(debug::fsck))
        .route("/debug/checkpoint", post(debug::checkpoint))
        .route("/debug/scrub", post(debug::scrub))
        .route("/debug/warm", post(debug::warm))
        .with_state(sources)
}

async fn metrics(State(sources): State<Sources>) -> Response {
    let rooms = sources.board.rooms().map(|rooms| {
        let (gauges, shares) = (rooms.payload.gauges(), rooms.vfs.shares());
        let risks = metrics::Risk::all(&gauges, &shares, reactor::clock::wall());
        (gauges, rooms.nfs_metrics(), risks)
    });
    let (rooms, risks) = rooms.map(|(gauges, nfs, risks)| ((gauges, nfs), risks)).unzip();
    let text = metrics::render(metrics::Sample {
        started: sources.board.started,
        rooms,
        risks: risks.unwrap_or_default(),
        log_lines_dropped: sources.log.lines_dropped(),
    });
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn status(State(sources): State<Sources>) -> Response {
    reply(StatusCode::OK, &sources.board.shown())
}

/// The process is well: every reactor answers.
async fn health(State(sources): State<Sources>) -> Response {
    let stuck = stuck(&sources.board).await;
    let error = (!stuck.is_empty()).then(|| format!("reactors {stuck:?} do not answer"));
    verdict(&sources.board, error)
}

/// Clients are served.
async fn ready(State(sources): State<Sources>) -> Response {
    let error = match sources.board.phase() {
        Phase::Ready => None,
        Phase::Starting(step) => Some(step.to_owned()),
        Phase::Stopping => Some("stopping".to_owned()),
    };
    verdict(&sources.board, error)
}

fn verdict(board: &Board, error: Option<String>) -> Response {
    let (code, status) = match &error {
        None => (StatusCode::OK, "healthy"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
    };
    let data = json!({
        "service": "dittofs",
        "started_at": stamp::format(board.started),
        "uptime_seconds": board.uptime().as_secs(),
    });
    let now = stamp::format(reactor::clock::wall());
    reply(code, &json!({"status": status, "timestamp": now, "data": data, "error": error}))
}

fn reply(code: StatusCode, body: &Json) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

/// Reactors that do not answer. Proves that each of them drains its mailbox.
pub(crate) async fn stuck(board: &Board) -> Vec<usize> {
    let Some(rooms) = board.rooms() else { return Vec::new() };
    let pings: Vec<_> =
        rooms.remotes().iter().map(|remote| (remote.id(), remote.call(|| async {}))).collect();
    let deadline = tokio::time::Instant::now() + PING_PATIENCE;
    let mut stuck = Vec::new();
    for (id, ping) in pings {
        let answer = tokio::time::timeout_at(deadline, ping).await;
        if !matches!(answer, Ok(Ok(()))) {
            stuck.push(id);
        }
    }
    stuck
}

/// Why something is not done.
pub(crate) struct Refused(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        reply(self.0, &json!({"error": self.1}))
    }
}

/// The rooms, for somebody who may change something.
pub(crate) fn trusted<'a>(
    sources: &'a Sources,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<&'a Arc<Rooms>, Refused> {
    if !is_trusted(peer, headers) {
        return Err(Refused(StatusCode::FORBIDDEN, "only from this machine".to_owned()));
    }
    let away = || Refused(StatusCode::SERVICE_UNAVAILABLE, "not ready yet".to_owned());
    sources.board.rooms().ok_or_else(away)
}

/// Uploads what is dirty and forgets what is clean, so that reads come from the content store.
async fn drop_cache(
    State(sources): State<Sources>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let payload = trusted(&sources, peer, &headers)?.payload.clone();
    let drop = tokio::task::spawn_blocking(move || {
        payload.drain(DRAIN_PATIENCE).map(|()| payload.drop_clean())
    });
    match drop.await {
        Ok(Ok(())) => Ok(reply(StatusCode::OK, &json!({"status": "dropped"}))),
        Ok(Err(error)) => {
            let why = format!("dirty blocks do not come to rest: {error}");
            Err(Refused(StatusCode::SERVICE_UNAVAILABLE, why))
        }
        Err(error) => Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// Sets a share's durability until the next start: `{"share": "/export", "durability": "local"}`.
async fn durability(
    State(sources): State<Sources>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: String,
) -> Response {
    if !is_trusted(peer, &headers) {
        return reply(StatusCode::FORBIDDEN, &json!({"error": "only from this machine"}));
    }
    let Some(rooms) = sources.board.rooms() else {
        return reply(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": "not ready yet"}));
    };
    let asked: Json = serde_json::from_str(&body).unwrap_or_default();
    let (Some(share), Some(wanted)) = (asked["share"].as_str(), asked["durability"].as_str())
    else {
        let error = "expected a body such as {\"share\": \"/export\", \"durability\": \"local\"}";
        return reply(StatusCode::BAD_REQUEST, &json!({"error": error}));
    };
    let set = Grade::parse(wanted).and_then(|grade| rooms.vfs.set_durability(share, grade));
    match set {
        Ok(before) => {
            let before = before.name();
            info!(share, before, now = wanted, "the durability was set");
            let done = json!({"share": share, "durability": wanted, "before": before});
            reply(StatusCode::OK, &done)
        }
        Err(why) => reply(StatusCode::BAD_REQUEST, &json!({"error": why})),
    }
}

/// Has a share's reads stay in memory, or not, until the next start: `{"share": "/export", "cache":
/// "pinned"}`, or `"normal"`.
async fn cache(
    State(sources): State<Sources>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Refused> {
    let rooms = trusted(&sources, peer, &headers)?;
    let asked: Json = serde_json::from_str(&body).unwrap_or_default();
    let is_pinned = match asked["cache"].as_str() {
        Some("pinned") => true,
        Some("normal") => false,
        Some(_) | None => {
            let error = "expected a body such as {\"share\": \"/export\", \"cache\": \"pinned\"}";
            return Err(Refused(StatusCode::BAD_REQUEST, error.to_owned()));
        }
    };
    let share = asked["share"].as_str().unwrap_or_default();
    let set = rooms.vfs.set_pinned(share, is_pinned);
    set.map_err(|why| Refused(StatusCode::BAD_REQUEST, why))?;
    info!(share, is_pinned, "the cache was set");
    Ok(reply(StatusCode::OK, &json!({"share": share, "cache": asked["cache"]})))
}

/// From this machine, and not on behalf of a web page: a browser names the page's origin, and a
/// page that rebinds its name to 127.0.0.1 names itself as the host.
fn is_trusted(peer: Peer, headers: &HeaderMap) -> bool {
    let Peer::Tcp(address) = peer else { return true };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let is_local = name == "localhost"
        || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.to_canonical().is_loopback());
    address.ip().to_canonical().is_loopback() && is_local && !headers.contains_key(header::ORIGIN)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(peer: &str, host: &'static str, origin: Option<&'static str>, want: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        let peer = Peer::Tcp(peer.parse().expect("an address"));
        assert_eq!(is_trusted(peer, &headers), want, "{peer:?} {host} {origin:?}");
    }

    #[test]
    fn only_this_machine_and_no_web_page_drops_the_cache() {
        check("127.0.0.1:5", "127.0.0.1:9090", None, true);
        check("127.0.0.1:5", "localhost", None, true);
        check("[::1]:5", "[::1]:9090", None, true);
        check("[::ffff:127.0.0.1]:5", "127.0.0.1:9090", None, true);
        check("10.0.0.1:5", "127.0.0.1:9090", None, false);
        check("127.0.0.1:5", "evil.example:9090", None, false);
        check("127.0.0.1:5", "127.0.0.1:9090", Some("http://evil.example"), false);
        check("127.0.0.1:5", "", None, false);
        assert!(is_trusted(Peer::Socket, &HeaderMap::new()));
    }
}
