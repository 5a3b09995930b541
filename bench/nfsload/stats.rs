//! Counts, latencies, and what the server's process used.

use std::{collections::BTreeMap, fs, time::Duration};

use crate::nfs3::Fault;

/// Buckets for each power of two: quantiles are right to about 3 %.
const STEPS: u64 = 32;

/// Latencies in nanoseconds, in buckets that grow with them.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { buckets: vec![0; 64 * 32], count: 0 }
    }

    fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(STEPS);
        let power = ns.ilog2() - STEPS.ilog2();
        let bucket = u64::from(power) * STEPS + (ns >> power);
        self.buckets[usize::try_from(bucket).expect("2048 buckets")] += 1;
        self.count += 1;
    }

    /// The latency that this part of all stayed below, in microseconds.
    pub(crate) fn quantile_us(&self, part: f64) -> f64 {
        let mut left = (self.count as f64 * part).ceil();
        for (bucket, count) in (0u64..).zip(&self.buckets) {
            left -= *count as f64;
            if left <= 0.0 && self.count > 0 {
                let power = (bucket / STEPS).saturating_sub(1);
                let ns = (bucket - power * STEPS + 1) << power;
                return ns as f64 / 1000.0;
            }
        }
        0.0
    }
}

/// What a run counted.
pub(crate) struct Stats {
    pub(crate) ops: u64,
    pub(crate) bytes: u64,
    pub(crate) latencies: Histogram,
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) elapsed: Duration,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            ops: 0,
            bytes: 0,
            latencies: Histogram::new(),
            faults: BTreeMap::new(),
            elapsed: Duration::ZERO,
        }
    }

    pub(crate) fn count(&mut self, ops: u64, bytes: u64, latency: Duration) {
        self.ops += ops;
        self.bytes += bytes;
        self.latencies.record(latency);
    }

    pub(crate) fn fail(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }
}

/// How long a server that rests uses no tick of CPU time.
const REST: Duration = Duration::from_millis(500);
/// A server that does not rest by then never will.
const REST_WAIT_MAX: Duration = Duration::from_secs(60);

/// CPU time that the server and this process used while something was measured.
pub(crate) struct Meter {
    pids: [Option<u32>; 2],
    begun: [Option<Duration>; 2],
    used: [Option<Duration>; 2],
    /// What the server used after the end, until it rested.
    afterwards: Option<Duration>,
}

impl Meter {
    pub(crate) fn new(server: Option<u32>) -> Self {
        Self {
            pids: [server, Some(std::process::id())],
            begun: [None; 2],
            used: [None; 2],
            afterwards: None,
        }
    }

    /// Begins once the server rests: what it still has to do for earlier work is not counted.
    pub(crate) fn begin(&mut self) {
        self.rest();
        self.begun = self.now();
    }

    /// May come again, later.
    pub(crate) fn end(&mut self) {
        let now = self.now();
        for ((used, begun), now) in self.used.iter_mut().zip(self.begun).zip(now) {
            *used = begun.zip(now).map(|(begun, now)| now.saturating_sub(begun));
        }
    }

    /// Waits until the server rests, and counts what it uses for that.
    pub(crate) fn finish(&mut self) {
        let ended = self.now()[0];
        self.rest();
        self.afterwards = ended.zip(self.now()[0]).map(|(ended, now)| now.saturating_sub(ended));
    }

    pub(crate) fn afterwards(&self) -> Option<Duration> {
        self.afterwards
    }

    fn rest(&self) {
        let Some(pid) = self.pids[0] else { return };
        let begun = std::time::Instant::now();
        let mut before = cpu_time(pid);
        while begun.elapsed() < REST_WAIT_MAX {
            std::thread::sleep(REST);
            let now = cpu_time(pid);
            // A tick may be somebody's timer.
            if now.zip(before).is_none_or(|(now, before)| now.saturating_sub(before) <= TICK) {
                return;
            }
            before = now;
        }
    }

    pub(crate) fn server(&self) -> Option<Duration> {
        self.used[0]
    }

    pub(crate) fn generator(&self) -> Option<Duration> {
        self.used[1]
    }

    fn now(&self) -> [Option<Duration>; 2] {
        self.pids.map(|pid| pid.and_then(cpu_time))
    }
}

/// Linux counts CPU time in such steps.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process, user and system, with its threads.
fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    u32::try_from(ticks).ok().map(|ticks| TICK * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_three_percent() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile_us(0.5).to_bits(), 0);
        (1..=1000).for_each(|us| histogram.record(Duration::from_micros(us)));
        for (part, want) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = histogram.quantile_us(part);
            assert!((want..want * 1.04).contains(&found), "{part}: {found}");
        }
    }

    #[test]
    fn a_process_uses_time() {
        assert!(cpu_time(std::process::id()).is_some());
        assert!(cpu_time(0).is_none());
    }
}
