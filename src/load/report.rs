//! What a run found, as data.

use serde::{Deserialize, Serialize};

use super::machine::{CoreUse, CpuTime, ProcessUse};
use super::window::{Latencies, latencies};

/// From this share of its processor on, a program is what limits a run.
pub const SATURATED: f64 = 0.95;

/// From this many processors' worth of time on, other programs are in the way. What the kernel does in interrupts is
/// nobody's and stays below.
pub const OTHERS: f64 = 0.3;

/// A run of the load generator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where requests went: `10.0.1.100:443`.
    pub target: String,
    /// `keep-alive`, `connect` or `resume`.
    pub mode: String,
    /// What is sent and comes back: `echo of 128 bytes`.
    pub exchange: String,
    /// Connections that work.
    pub connections: usize,
    /// Version, cipher suite and group of the first connection.
    pub tls: String,
    /// Whether requests had a timetable.
    pub open_loop: bool,
    /// Requests per second that were asked for, in an open loop.
    pub wanted_per_second: Option<f64>,
    /// The measured window.
    #[serde(flatten)]
    pub window: Measured,
    /// With idle connections: the same before they were opened, and what they cost.
    pub idle: Option<Idle>,
}

/// What was measured in a window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Its length, seconds.
    pub seconds: f64,
    /// Right answers. A wrong one fails the run.
    pub answers: u64,
    /// The same per second.
    pub per_second: f64,
    /// Requests that were due and had no answer when the run ended; 0 in a closed loop.
    pub unanswered: u64,
    /// Bytes of the requests' bodies.
    pub bytes_sent: u64,
    /// Bytes of the answers' bodies.
    pub bytes_received: u64,
    /// Full handshakes.
    pub handshakes: u64,
    /// Resumed handshakes.
    pub resumptions: u64,
    /// Connections that the server closed between requests, opened again.
    pub reconnects: u64,
    /// Latencies.
    pub latency: Latency,
    /// The load generator's own processor time.
    pub load_generator: CpuTime,
    /// The same as a share of the window.
    pub load_generator_share: f64,
    /// The watched processes.
    pub processes: Vec<ProcessUse>,
    /// All processors.
    pub cores: Vec<CoreUse>,
}

/// Connections that were held open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Idle {
    /// How many.
    pub connections: usize,
    /// The window before they were opened.
    pub before: Box<Measured>,
    /// Resident memory that each added, bytes, for each watched process.
    pub rss_per_connection: Vec<(String, f64)>,
}

/// A distribution of latencies, microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// What was measured.
    pub kind: String,
    /// Mean.
    pub mean_us: f64,
    /// Half of all were faster.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
    /// Every value that occurred, nanoseconds, and how often: what distributions of several runs are added up from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorded: Vec<(u64, u64)>,
}

/// What latencies mean in a closed loop.
const SERVICE: &str = "service time, closed loop: from sending a request to its answer's last byte, not corrected for \
                       requests that a slow answer kept from being sent";
/// What latencies mean in an open loop.
const RESPONSE: &str = "response time, open loop: from when a request was due to its answer's last byte";

impl Latency {
    /// What a histogram says.
    pub fn of(histogram: &Latencies, open_loop: bool) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            kind: if open_loop { RESPONSE } else { SERVICE }.to_owned(),
            mean_us: histogram.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
            recorded: histogram.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value())).collect(),
        }
    }

    /// The distribution again.
    pub fn histogram(&self) -> Latencies {
        let mut histogram = latencies();
        for (value, count) in &self.recorded {
            histogram.saturating_record_n(*value, *count);
        }
        histogram
    }
}

impl Measured {
    /// What kept the run from being faster, as far as processor time tells: a process that used a whole processor, else
    /// other programs, else a processor that several shared. `None` if there was time left everywhere.
    pub fn limit(&self) -> Option<String> {
        if self.load_generator_share >= SATURATED {
            return Some("load generator".to_owned());
        }
        let busy = |process: &&ProcessUse| process.cpu.total_s() / self.seconds >= SATURATED;
        if let Some(process) = self.processes.iter().find(busy) {
            return Some(process.name.clone());
        }
        let core = self.cores.iter().find(|core| core.busy + core.stolen >= SATURATED)?;
        let others = self.others() >= OTHERS;
        Some(if others { "other programs".to_owned() } else { format!("processor {}", core.cpu) })
    }

    /// Processors' worth of time that neither the load generator nor a watched process used: other programs, and what the
    /// kernel does for nobody in particular.
    pub fn others(&self) -> f64 {
        let busy: f64 = self.cores.iter().map(|core| core.busy).sum();
        let ours: f64 = self.processes.iter().map(|process| process.cpu.total_s()).sum();
        (busy - (ours + self.load_generator.total_s()) / self.seconds).max(0.0)
    }

    /// The watched process of this name.
    pub fn process(&self, name: &str) -> Option<&ProcessUse> {
        self.processes.iter().find(|process| process.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_used_a_whole_processor_is_the_limit_and_else_who_shared_one() {
        let cpu = |user_s| CpuTime { user_s, system_s: 0.0 };
        let measured = |own: f64, process: f64, busy: [f64; 2]| {
            let process = ProcessUse { name: "endpoint".to_owned(), pid: 1, cpu: cpu(process), rss_bytes: 0 };
            let cores = busy.into_iter().zip(0..).map(|(busy, cpu)| CoreUse { cpu, busy, stolen: 0.0 });
            let measured = Measured {
                seconds: 1.0,
                answers: 1,
                per_second: 1.0,
                unanswered: 0,
                bytes_sent: 0,
                bytes_received: 0,
                handshakes: 0,
                resumptions: 0,
                reconnects: 0,
                latency: Latency::of(&latencies(), false),
                load_generator: cpu(own),
                load_generator_share: own,
                processes: vec![process],
                cores: cores.collect(),
            };
            measured.limit()
        };
        assert_eq!(measured(0.97, 0.97, [1.0, 1.0]).as_deref(), Some("load generator"));
        assert_eq!(measured(0.5, 0.97, [1.0, 0.5]).as_deref(), Some("endpoint"));
        assert_eq!(measured(0.5, 0.4, [0.4, 1.0]).as_deref(), Some("other programs"));
        assert_eq!(measured(0.8, 0.4, [0.4, 1.0]).as_deref(), Some("processor 1"));
        assert_eq!(measured(0.5, 0.4, [0.4, 0.5]), None);
    }

    #[test]
    fn a_distribution_survives_its_way_through_json() {
        let mut histogram = latencies();
        for value in [10_u64, 20_000, 20_000, 3_000_000_000] {
            histogram.saturating_record(value);
        }
        let latency = Latency::of(&histogram, false);
        let text = serde_json::to_string(&latency).expect("serialises");
        let again: Latency = serde_json::from_str(&text).expect("parses");
        assert_eq!(again.histogram(), histogram);
        assert!((latency.p50_us - 20.0).abs() < 0.1 && latency.max_us > 2.9e6, "{latency:?}");
    }
}
