//! Counters as Prometheus reads them (OpenMetrics text), drawn from the rooms at each scrape.

use std::{fmt::Error, sync::Arc, time::Duration};

use nfs::metrics::{BUCKETS, Latency, Snapshot, bucket_bound};
use payload::{Gauges, ShareRisk, UPLOAD_SECONDS};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};
use vfs::ShareStatus;
use vocab::Time;

/// What the text is, for `Content-Type`.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is shown.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) started: Time,
    /// `None` until the rooms are built.
    pub(crate) rooms: Option<(Gauges, Snapshot)>,
    /// By share.
    pub(crate) risks: Vec<Risk>,
    pub(crate) log_lines_dropped: u64,
}

/// What of a share is where it can still be lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Risk {
    pub(crate) share: Arc<str>,
    pub(crate) bytes_at_risk: u64,
    pub(crate) unsynced_age: Duration,
    pub(crate) bytes_not_uploaded: u64,
    pub(crate) not_uploaded_age: Duration,
}

impl Risk {
    /// Of every share that is served, also of those that nobody wrote to.
    pub(crate) fn all(gauges: &Gauges, shares: &[ShareStatus], now: Time) -> Vec<Self> {
        let risk = |share: &ShareStatus| {
            let is_its = |risk: &&ShareRisk| (risk.store, risk.share) == (share.store, share.id);
            let risk = gauges.shares.iter().find(is_its);
            let age = |since: Option<Time>| since.map_or(Duration::ZERO, |since| age(since, now));
            Self {
                share: Arc::clone(&share.name),
                bytes_at_risk: risk.map_or(0, |risk| risk.bytes_at_risk),
                unsynced_age: age(risk.and_then(|risk| risk.unsynced_since)),
                bytes_not_uploaded: risk.map_or(0, |risk| risk.bytes_not_uploaded),
                not_uploaded_age: age(risk.and_then(|risk| risk.not_uploaded_since)),
            }
        };
        shares.iter().map(risk).collect()
    }
}

/// 0 when the clock was set back meanwhile.
fn age(since: Time, now: Time) -> Duration {
    let nanos = |time: Time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let age = u64::try_from(nanos(now) - nanos(since)).unwrap_or_default();
    Duration::from_nanos(age)
}

/// The text of a scrape.
pub(crate) fn render(sample: Sample) -> String {
    let mut registry = Registry::with_prefix("dittofs");
    registry.register_collector(Box::new(sample));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a string takes all");
    text
}

impl Collector for Sample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let e = &mut encoder;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let metric = e.encode_descriptor("build", "This server.", None, MetricType::Info)?;
        EncodeMetric::encode(&build, metric)?;
        let started = u64::try_from(self.started.seconds).unwrap_or_default();
        gauge(e, "start_time_seconds", "When it started, in Unix time.", started)?;
        let doc = "Lines lost because the log could not be written fast enough.";
        counter(e, "log_lines_dropped", doc, self.log_lines_dropped)?;
        if let Some((gauges, nfs)) = &self.rooms {
            data_path(e, gauges)?;
            uploads(e, gauges)?;
            risks(e, &self.risks)?;
            requests(e, nfs)?;
            connections(e, nfs)?;
            locks(e, nfs)?;
        }
        Ok(())
    }
}

fn data_path(e: &mut DescriptorEncoder<'_>, gauges: &Gauges) -> Result<(), Error> {
    gauge(e, "cache_bytes", "Bytes of clean blocks in memory.", gauges.cache_bytes)?;
    let doc = "Bytes of clean blocks that shares with cache: pinned keep in memory.";
    gauge(e, "cache_pinned_bytes", doc, gauges.cache_pinned_bytes)?;
    let doc = "Frames that were pinned and made room for others that are; see cache.size.";
    counter(e, "cache_unpinned", doc, gauges.cache_unpinned)?;
    let doc = "Memory of all block buffers: clean blocks, blocks on their way, spare ones.";
    gauge(e, "buffer_bytes", doc, gauges.buffer_bytes)?;
    counter(e, "cache_hits", "Reads answered from memory or log.", gauges.cache_hits)?;
    counter(e, "cache_misses", "Reads that asked the content store.", gauges.cache_misses)?;
    gauge(e, "log_bytes", "Bytes of log segments in use.", gauges.log_bytes)?;
    let doc = "Bytes that are only in the log so far.";
    gauge(e, "dirty_bytes", doc, gauges.dirty_bytes)?;
    gauge(e, "sync_pending_bytes", doc, gauges.dirty_bytes)?;
    gauge(e, "log_bytes_max", "Most bytes of log segments.", gauges.log_bytes_max)?;
    let doc = "Logs that take no more writes since their disk failed; restart the server.";
    gauge(e, "log_read_only", doc, gauges.logs_read_only)?;
    let doc = "How often the log's disk did not give bytes; they read as errors; see the log.";
    counter(e, "log_read_errors", doc, gauges.log_read_errors)?;
    let doc =
        "Records of the log that were damaged after they had been synced; the log names them.";
    counter(e, "datapath_local_corruption", doc, gauges.local_corruption)?;
    let doc = "Damaged or missing blocks that reads and scrubs have met.";
    counter(e, "datapath_remote_corruption", doc, gauges.remote_corruption)?;
    let doc = "Damaged blocks that scrubs have put again from another copy.";
    counter(e, "datapath_self_heal", doc, gauges.self_heal)
}

fn uploads(e: &mut DescriptorEncoder<'_>, gauges: &Gauges) -> Result<(), Error> {
    counter(e, "datapath_uploads", "Blocks put.", gauges.uploads)?;
    let doc = "Bytes put, before compression.";
    counter(e, "datapath_upload_bytes", doc, gauges.upload_bytes)?;
    let doc = "Blocks that the content store had already.";
    counter(e, "datapath_upload_dedup_hits", doc, gauges.upload_dedup_hits)?;
    let doc = "Uploads that failed and were tried again.";
    counter(e, "datapath_upload_retries", doc, gauges.upload_retries)?;
    let doc = "Blocks that are not in the content store yet.";
    gauge(e, "datapath_upload_queue_depth", doc, gauges.upload_queue_depth)?;
    gauge(e, "datapath_uploads_inflight", "Uploads under way.", gauges.uploads_inflight)?;
    let doc = "From the snapshot of a block to its entry in the block map.";
    let unit = Unit::Seconds;
    let kind = MetricType::Histogram;
    let mut metric = e.encode_descriptor("datapath_upload_duration", doc, Some(&unit), kind)?;
    let bounds = UPLOAD_SECONDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(gauges.upload_buckets).collect();
    let (sum, count) = (gauges.upload_time.as_secs_f64(), gauges.upload_buckets.iter().sum());
    metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    let doc = "Whether the content store answered the last upload.";
    let mut metric = e.encode_descriptor("remote_up", doc, None, MetricType::Gauge)?;
    for (store, is_up) in &gauges.stores {
        let labels = [("content_store", &**store)];
        let value = ConstGauge::new(u64::from(*is_up));
        EncodeMetric::encode(&value, metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// By share: how much can still be lost, to what, and for how long it could have been.
fn risks(e: &mut DescriptorEncoder<'_>, risks: &[Risk]) -> Result<(), Error> {
    type Value = fn(&Risk) -> f64;
    let figures: [(&str, &str, Value); 4] = [
        (
            "bytes_at_risk",
            "Bytes that are not yet as safe as the share's durability says.",
            |risk| risk.bytes_at_risk as f64,
        ),
        ("oldest_unsynced_age_seconds", "Age of the oldest of them; 0: none.", |risk| {
            risk.unsynced_age.as_secs_f64()
        }),
        ("bytes_not_uploaded", "Bytes that are on this machine only.", |risk| {
            risk.bytes_not_uploaded as f64
        }),
        ("oldest_not_uploaded_age_seconds", "Age of the oldest of them; 0: none.", |risk| {
            risk.not_uploaded_age.as_secs_f64()
        }),
    ];
    for (name, doc, value) in figures {
        let mut metric = e.encode_descriptor(name, doc, None, MetricType::Gauge)?;
        for risk in risks {
            let labels = [("share", &*risk.share)];
            EncodeMetric::encode(&ConstGauge::new(value(risk)), metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn locks(e: &mut DescriptorEncoder<'_>, nfs: &Snapshot) -> Result<(), Error> {
    gauge(e, "locks_held", "Byte ranges and files that clients have locked.", nfs.locks_held)?;
    gauge(e, "locks_waiting", "Locks that clients wait for.", nfs.locks_waiting)
}

fn requests(e: &mut DescriptorEncoder<'_>, nfs: &Snapshot) -> Result<(), Error> {
    let doc = "Requests that ended.";
    let mut metric = e.encode_descriptor("nfs_requests", doc, None, MetricType::Counter)?;
    for one in &nfs.requests {
        let labels =
            [("procedure", one.procedure), ("share", &*one.share), ("status", one.class.name())];
        EncodeMetric::encode(&ConstCounter::new(one.count), metric.encode_family(&labels)?)?;
    }
    let doc = "From a request's arrival to its reply.";
    let unit = Unit::Seconds;
    let mut metric =
        e.encode_descriptor("nfs_request_duration", doc, Some(&unit), MetricType::Histogram)?;
    for latency in &nfs.latencies {
        histogram(metric.encode_family(&[("procedure", latency.procedure)])?, latency)?;
    }
    gauge(e, "nfs_requests_in_flight", "Requests under way.", nfs.in_flight)?;
    let doc = "Calls that were answered again instead of run again.";
    counter(e, "nfs_duplicate_requests", doc, nfs.duplicates)?;
    let doc = "Bytes over all connections.";
    let mut metric =
        e.encode_descriptor("nfs_bytes_transferred", doc, None, MetricType::Counter)?;
    for (direction, bytes) in [("in", nfs.bytes_in), ("out", nfs.bytes_out)] {
        let labels = [("direction", direction)];
        EncodeMetric::encode(&ConstCounter::new(bytes), metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn connections(e: &mut DescriptorEncoder<'_>, nfs: &Snapshot) -> Result<(), Error> {
    gauge(e, "nfs_active_connections", "Connections open.", nfs.connections_active)?;
    let counters = [
        ("nfs_connections_accepted", "Connections ever opened.", nfs.connections_accepted),
        ("nfs_connections_closed", "Connections that ended.", nfs.connections_closed),
        ("nfs_connections_force_closed", "Connections cut at a stop.", nfs.connections_forced),
        ("nfs_connections_refused", "Connections turned away.", nfs.connections_refused),
    ];
    counters.iter().try_for_each(|(name, doc, count)| counter(e, name, doc, *count))
}

/// The snapshot counts each bucket alone, and so does the encoder, which sums them up.
fn histogram(mut metric: MetricEncoder<'_>, latency: &Latency) -> Result<(), Error> {
    let bound = |index: usize| match index {
        BUCKETS => f64::INFINITY,
        index => bucket_bound(index).as_secs_f64(),
    };
    let buckets: Vec<(f64, u64)> =
        latency.buckets.iter().enumerate().map(|(i, count)| (bound(i), *count)).collect();
    let count = latency.buckets.iter().sum();
    metric.encode_histogram::<NoLabelSet>(latency.sum.as_secs_f64(), count, &buckets, None)
}

fn gauge(e: &mut DescriptorEncoder<'_>, name: &str, doc: &str, value: u64) -> Result<(), Error> {
    let metric = e.encode_descriptor(name, doc, None, MetricType::Gauge)?;
    EncodeMetric::encode(&ConstGauge::new(value), metric)
}

fn counter(e: &mut DescriptorEncoder<'_>, name: &str, doc: &str, value: u64) -> Result<(), Error> {
    let metric = e.encode_descriptor(name, doc, None, MetricType::Counter)?;
    EncodeMetric::encode(&ConstCounter::new(value), metric)
}

#[cfg(test)]
mod tests {
    use nfs::metrics::{Class, Requests};

    use super::*;

    #[test]
    fn a_scrape_has_the_names_that_users_know() {
        let mut buckets = [0; BUCKETS + 1];
        (buckets[0], buckets[2], buckets[BUCKETS]) = (3, 2, 1);
        let nfs = Snapshot {
            requests: vec![Requests {
                procedure: "READ",
                share: "/export".into(),
                class: Class::Ok,
                count: 6,
            }],
            latencies: vec![Latency {
                procedure: "READ",
                buckets,
                sum: Duration::from_millis(1500),
            }],
            bytes_in: 7,
            connections_forced: 8,
            ..Snapshot::default()
        };
        let risk = Risk {
            share: "/export".into(),
            bytes_at_risk: 12,
            not_uploaded_age: Duration::from_millis(1500),
            ..Risk::default()
        };
        let mut gauges =
            Gauges { dirty_bytes: 9, uploads: 10, logs_read_only: 1, ..Gauges::default() };
        gauges.upload_buckets[1] = 4;
        gauges.stores.insert("s3".into(), false);
        let sample = Sample {
            started: Time { seconds: 11, nanos: 0 },
            rooms: Some((gauges, nfs)),
            risks: vec![risk],
            log_lines_dropped: 0,
        };
        let text = render(sample);
        let version = env!("CARGO_PKG_VERSION");
        let wants = [
            &*format!("dittofs_build_info{{version=\"{version}\"}} 1"),
            "dittofs_start_time_seconds 11",
            "dittofs_nfs_requests_total{procedure=\"READ\",share=\"/export\",status=\"ok\"} 6",
            "dittofs_nfs_request_duration_seconds_bucket{le=\"0.000016\",procedure=\"READ\"} 3",
            "dittofs_nfs_request_duration_seconds_bucket{le=\"0.000064\",procedure=\"READ\"} 5",
            "dittofs_nfs_request_duration_seconds_bucket{le=\"+Inf\",procedure=\"READ\"} 6",
            "dittofs_nfs_request_duration_seconds_count{procedure=\"READ\"} 6",
            "dittofs_nfs_request_duration_seconds_sum{procedure=\"READ\"} 1.5",
            "dittofs_nfs_bytes_transferred_total{direction=\"in\"} 7",
            "dittofs_nfs_connections_force_closed_total 8",
            "dittofs_dirty_bytes 9",
            "dittofs_datapath_uploads_total 10",
            "dittofs_datapath_upload_duration_seconds_bucket{le=\"0.016\"} 4",
            "dittofs_remote_up{content_store=\"s3\"} 0",
            "dittofs_log_read_only 1",
            "dittofs_bytes_at_risk{share=\"/export\"} 12.0",
            "dittofs_oldest_unsynced_age_seconds{share=\"/export\"} 0.0",
            "dittofs_oldest_not_uploaded_age_seconds{share=\"/export\"} 1.5",
            "# EOF",
        ];
        for want in wants {
            assert!(text.lines().any(|line| line == want), "no `{want}` in\n{text}");
        }
    }

    #[test]
    fn a_server_that_still_starts_has_little_to_tell() {
        let started = Time { seconds: 11, nanos: 0 };
        let text = render(Sample { started, rooms: None, risks: Vec::new(), log_lines_dropped: 0 });
        assert!(text.contains("dittofs_build_info") && !text.contains("nfs"), "{text}");
    }
}
