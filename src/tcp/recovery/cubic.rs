//! How much may be under way: CUBIC (RFC 9438), in bytes.

use std::time::Duration;

use crate::time::Moment;

/// Initial window, segments (RFC 6928).
pub(super) const INITIAL_SEGMENTS: u64 = 10;
/// What a loss leaves of the window (RFC 9438 §4.6).
const BETA: f64 = 0.7;
/// Steepness, segments per cubic second (RFC 9438 §5).
const C: f64 = 0.4;
/// How fast the Reno-friendly estimate grows, segments per round trip (RFC 9438 §4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// Smallest slow-start threshold, segments (RFC 5681 §3.1).
const THRESHOLD_MIN: f64 = 2.0;

/// The congestion window. All windows are in segments.
#[derive(Clone, Debug)]
pub(super) struct Cubic {
    mss: f64,
    window: f64,
    threshold: f64,
    /// The window before the last reduction: W_max.
    peak: f64,
    /// The present stage of congestion avoidance, if it has begun.
    epoch: Option<Epoch>,
}

#[derive(Clone, Copy, Debug)]
struct Epoch {
    since: Moment,
    /// Seconds until the curve is back at the peak: K.
    until_peak: f64,
    /// What Reno would have by now.
    reno: f64,
}

impl Cubic {
    pub(super) fn new(mss: u64) -> Self {
        let window = INITIAL_SEGMENTS as f64;
        Self { mss: mss as f64, window, threshold: f64::INFINITY, peak: 0.0, epoch: None }
    }

    /// Bytes that may be under way.
    #[inline]
    pub(super) fn window(&self) -> u64 {
        (self.window * self.mss) as u64
    }

    #[inline]
    pub(super) fn is_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// `bytes` arrived while the window was the limit.
    pub(super) fn acknowledged(&mut self, bytes: u64, now: Moment, rtt: Duration) {
        let mut segments = bytes as f64 / self.mss;
        if self.is_slow_start() {
            let until = (self.threshold - self.window).min(segments);
            self.window += until;
            segments -= until;
            if segments <= 0.0 {
                return;
            }
        }
        let window = self.window;
        let peak = self.peak.max(window);
        let epoch = self.epoch.get_or_insert_with(|| Epoch {
            since: now,
            until_peak: ((peak - window) / C).cbrt(),
            reno: window,
        });
        let alpha = if epoch.reno >= peak { 1.0 } else { ALPHA };
        epoch.reno += alpha * segments / window;
        let t = now.since(epoch.since).as_secs_f64();
        let curve = |t: f64| C * (t - epoch.until_peak).powi(3) + peak;
        if curve(t) < epoch.reno {
            self.window = window.max(epoch.reno);
        } else {
            let target = curve(t + rtt.as_secs_f64()).clamp(window, window * 1.5);
            self.window += (target - window) / window * segments;
        }
    }

    /// A queue was too short: the window shrinks.
    pub(super) fn lost(&mut self) {
        // Fast convergence (§4.7): a window that did not get back to its peak leaves room for others.
        self.peak = if self.window < self.peak { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.threshold = (self.window * BETA).max(THRESHOLD_MIN);
        (self.window, self.epoch) = (self.threshold, None);
    }

    /// Nothing came back in time: all begins again from one segment.
    pub(super) fn timed_out(&mut self) {
        self.lost();
        self.window = 1.0;
    }

    /// Nothing was sent for a while: what was known of the path is stale (RFC 5681 §4.1).
    pub(super) fn restart(&mut self) {
        self.threshold = self.threshold.max(self.window * 0.75);
        self.window = self.window.min(INITIAL_SEGMENTS as f64);
        self.epoch = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);

    #[test]
    fn slow_start_doubles_until_a_loss_leaves_seven_tenths() {
        let mut cubic = Cubic::new(1_000);
        assert_eq!(cubic.window(), 10_000);
        cubic.acknowledged(10_000, Moment::from_millis(20), RTT);
        cubic.acknowledged(20_000, Moment::from_millis(40), RTT);
        assert_eq!(cubic.window(), 40_000);
        cubic.lost();
        assert!(cubic.window() == 28_000 && !cubic.is_slow_start());
        cubic.timed_out();
        assert!(cubic.window() == 1_000 && cubic.is_slow_start());
    }

    #[test]
    fn the_window_comes_back_to_its_peak_when_the_curve_says() {
        let mut cubic = Cubic::new(1_000);
        cubic.window = 1_000.0;
        cubic.lost();
        // K = cbrt(300 / 0.4) s = 9.09 s (RFC 9438 §4.2), at a round trip where Reno would be slower.
        let (rtt, mut now) = (Duration::from_millis(200), Moment::from_millis(0));
        let mut windows = Vec::new();
        while now <= Moment::from_millis(9_200) {
            cubic.acknowledged(cubic.window(), now, rtt);
            windows.push(cubic.window());
            now += rtt;
        }
        assert!(windows.is_sorted());
        let end = *windows.last().unwrap();
        assert!((990_000..=1_010_000).contains(&end), "{end}");
        assert!(windows[windows.len() / 2] > 940_000, "most is regained early");
    }

    #[test]
    fn at_a_short_round_trip_it_is_as_fast_as_reno() {
        let mut cubic = Cubic::new(1_000);
        cubic.window = 20.0;
        cubic.lost();
        let mut now = Moment::from_millis(0);
        for _ in 0..20 {
            cubic.acknowledged(cubic.window(), now, RTT);
            now += RTT;
        }
        // 14 segments, and 0.53 a round trip up to 20, then 1 (RFC 9438 §4.3): the curve alone would be below 20.
        assert!((24_000..=30_000).contains(&cubic.window()), "{}", cubic.window());
    }
}
