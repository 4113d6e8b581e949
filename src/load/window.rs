//! What is counted between two moments.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Longest latency that is told from longer ones.
const LONGEST: Duration = Duration::from_secs(60);
/// Significant digits of latencies.
const DIGITS: u8 = 3;

/// Latencies, nanoseconds, to three digits.
pub type Latencies = Histogram<u64>;

/// An empty histogram of latencies.
pub fn latencies() -> Latencies {
    // The bounds are constants that the library accepts: 1 ≤ low, 2·low ≤ high, digits ≤ 5.
    Histogram::new_with_bounds(1, nanos(LONGEST), DIGITS)
        .unwrap_or_else(|_| Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("three digits are allowed")))
}

/// A duration as a histogram takes it.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One measured window.
#[derive(Clone, Debug)]
pub struct Window {
    /// When it began.
    pub start: Instant,
    /// When it is to end.
    pub end: Instant,
    /// Answers that were complete within it.
    pub answers: u64,
    /// Bytes of their bodies.
    pub bytes_received: u64,
    /// Bytes of the bodies of their requests.
    pub bytes_sent: u64,
    /// Full handshakes that ended within it.
    pub handshakes: u64,
    /// Resumed handshakes that ended within it.
    pub resumptions: u64,
    /// Connections that the server closed between two requests and that were opened again.
    pub reconnects: u64,
    /// From when a request was due or sent to its answer's last byte.
    pub latencies: Latencies,
    /// Whether requests have a timetable: they then belong to the window in which they were due, not answered.
    open_loop: bool,
}

impl Window {
    /// A window that begins now.
    pub fn new(start: Instant, long: Duration, open_loop: bool) -> Self {
        Self {
            start,
            end: start + long,
            answers: 0,
            bytes_received: 0,
            bytes_sent: 0,
            handshakes: 0,
            resumptions: 0,
            reconnects: 0,
            latencies: latencies(),
            open_loop,
        }
    }

    /// Counts an answer to a request that was due at `since`.
    pub fn answer(&mut self, since: Instant, now: Instant, sent: usize, received: usize) {
        if now < self.end {
            self.answers += 1;
            self.bytes_sent += sent as u64;
            self.bytes_received += received as u64;
        }
        let belongs = if self.open_loop { since >= self.start && since < self.end } else { now < self.end };
        if belongs {
            self.latencies.saturating_record(nanos(now.saturating_duration_since(since)));
        }
    }

    /// Counts a batch of packets that took `time` together; each is taken to have been as fast as the others.
    pub fn packets(&mut self, time: Duration, count: usize, payload: usize) {
        let (count, each) = (count as u64, nanos(time) / (count as u64).max(1));
        self.answers += count;
        self.bytes_received += count * payload as u64;
        self.latencies.saturating_record_n(each.max(1), count);
    }

    /// Whether requests have a timetable.
    pub fn is_open_loop(&self) -> bool {
        self.open_loop
    }

    /// Counts a handshake.
    pub fn handshake(&mut self, resumed: bool) {
        if resumed {
            self.resumptions += 1;
        } else {
            self.handshakes += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_answers_count_for_latency_in_an_open_loop_alone_and_never_for_the_rate() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (open_loop, latencies) in [(false, 2), (true, 2)] {
            let mut window = Window::new(at(100), Duration::from_millis(100), open_loop);
            window.answer(at(90), at(110), 1, 10);
            window.answer(at(150), at(160), 1, 10);
            window.answer(at(190), at(260), 1, 10);
            assert_eq!((window.answers, window.bytes_sent, window.bytes_received), (2, 2, 20));
            assert_eq!(window.latencies.len(), latencies);
            let longest = if open_loop { 70_000_000 } else { 20_000_000 };
            assert!(window.latencies.max().abs_diff(longest) < longest / 500, "{}", window.latencies.max());
        }
    }
}
