//! What is known about this server, for those who ask: its phase, its rooms, who runs where.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use serde_json::{Value as Json, json};
use trace::stamp;
use vocab::Time;

use crate::{layout::Layout, metrics::Risk, rooms::Rooms};

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not serving yet; what is being done.
    Starting(&'static str),
    /// Serving.
    Ready,
    /// Ending.
    Stopping,
}

/// The board. One for a process, seen by all its threads.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) started: Time,
    since: Duration,
    pub(crate) layout: Layout,
    phase: Mutex<Phase>,
    rooms: OnceLock<Arc<Rooms>>,
    /// Where metrics are served, when they are.
    pub(crate) metrics_address: Option<SocketAddr>,
}

impl Board {
    pub(crate) fn new(layout: Layout, metrics_address: Option<SocketAddr>) -> Self {
        Self {
            started: reactor::clock::wall(),
            since: reactor::clock::monotonic(),
            layout,
            phase: Mutex::new(Phase::Starting("starting")),
            rooms: OnceLock::new(),
            metrics_address,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// The rooms are built.
    pub(crate) fn set_rooms(&self, rooms: Arc<Rooms>) {
        assert!(self.rooms.set(rooms).is_ok(), "rooms are built once");
    }

    /// The rooms, once they are built.
    pub(crate) fn rooms(&self) -> Option<&Arc<Rooms>> {
        self.rooms.get()
    }

    pub(crate) fn uptime(&self) -> Duration {
        reactor::clock::monotonic().saturating_sub(self.since)
    }

    /// For `status`.
    pub(crate) fn shown(&self) -> Json {
        let (phase, step) = match self.phase() {
            Phase::Starting(step) => ("starting", Some(step)),
            Phase::Ready => ("ready", None),
            Phase::Stopping => ("stopping", None),
        };
        let mut shown = json!({
            "state": phase,
            "step": step,
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "started": stamp::format(self.started),
            "uptime_seconds": self.uptime().as_secs(),
            "metrics": self.metrics_address.map(|address| address.to_string()),
            "layout": self.layout.shown(),
        });
        if let Some(rooms) = self.rooms() {
            let gauges = rooms.payload.gauges();
            let nfs = rooms.nfs_metrics();
            let shares = rooms.vfs.shares();
            let risks = Risk::all(&gauges, &shares, reactor::clock::wall());
            let shares: Vec<Json> = shares
                .iter()
                .zip(risks)
                .map(|(share, risk)| {
                    json!({
                        "name": &*share.name,
                        "read_only": share.read_only,
                        "durability": share.durability.name(),
                        "metadata_store": share.metadata,
                        "content_store": &*share.content,
                        "bytes_at_risk": risk.bytes_at_risk,
                        "oldest_unsynced_age_seconds": risk.unsynced_age.as_secs_f64(),
                        "bytes_not_uploaded": risk.bytes_not_uploaded,
                        "oldest_not_uploaded_age_seconds": risk.not_uploaded_age.as_secs_f64(),
                    })
                })
                .collect();
            shown["nfs"] = json!({
                "address": rooms.nfs_address.to_string(),
                "connections": nfs.connections_active,
                "requests_in_flight": nfs.in_flight,
            });
            shown["shares"] = json!(shares);
            shown["bytes"] = json!({
                "dirty": gauges.dirty_bytes,
                "log": gauges.log_bytes,
                "cache": gauges.cache_bytes,
                "uploaded": gauges.upload_bytes,
            });
            shown["upload_retries"] = json!(gauges.upload_retries);
            shown["log_read_only"] = json!(gauges.logs_read_only > 0);
            let away = gauges.stores.iter().filter(|(_, is_up)| !**is_up);
            shown["content_stores_away"] = away.map(|(name, _)| &**name).collect();
        }
        shown
    }
}
