//! Counters as Prometheus reads them (OpenMetrics text), drawn from the rooms at each scrape.

use std::fmt::Error;

use nfs::metrics::{BUCKETS, Latency, Snapshot, bucket_bound};
use payload::Gauges;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};
use vocab::Time;

/// What the text is, for `Content-Type`.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is shown.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) started: Time,
    /// `None` until the rooms are built.
    pub(crate) rooms: Option<(Gauges, Snapshot)>,
    pub(crate) log_lines_dropped: u64,
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
            requests(e, nfs)?;
            connections(e, nfs)?;
        }
        Ok(())
    }
}

fn data_path(e: &mut DescriptorEncoder<'_>, gauges: &Gauges) -> Result<(), Error> {
    gauge(e, "cache_bytes", "Bytes of clean blocks in memory.", gauges.cache_bytes)?;
    counter(e, "cache_hits", "Reads answered from memory or log.", gauges.cache_hits)?;
    counter(e, "cache_misses", "Reads that asked the content store.", gauges.cache_misses)?;
    gauge(e, "log_bytes", "Bytes of log segments in use.", gauges.log_bytes)?;
    let doc = "Bytes that are only in the log so far.";
    gauge(e, "dirty_bytes", doc, gauges.dirty_bytes)?;
    gauge(e, "sync_pending_bytes", doc, gauges.dirty_bytes)?;
    counter(e, "datapath_uploads", "Blocks put.", gauges.uploads)?;
    let doc = "Bytes put, before compression.";
    counter(e, "datapath_upload_bytes", doc, gauges.upload_bytes)?;
    let doc = "Blocks that the content store had already.";
    counter(e, "datapath_upload_dedup_hits", doc, gauges.upload_dedup_hits)?;
    let doc = "Uploads that failed and were tried again.";
    counter(e, "datapath_upload_retries", doc, gauges.upload_retries)
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
    use std::time::Duration;

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
        let gauges = Gauges { dirty_bytes: 9, uploads: 10, ..Gauges::default() };
        let sample = Sample {
            started: Time { seconds: 11, nanos: 0 },
            rooms: Some((gauges, nfs)),
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
            "# EOF",
        ];
        for want in wants {
            assert!(text.lines().any(|line| line == want), "no `{want}` in\n{text}");
        }
    }

    #[test]
    fn a_server_that_still_starts_has_little_to_tell() {
        let started = Time { seconds: 11, nanos: 0 };
        let text = render(Sample { started, rooms: None, log_lines_dropped: 0 });
        assert!(text.contains("dittofs_build_info") && !text.contains("nfs"), "{text}");
    }
}
