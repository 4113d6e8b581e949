//! Round-trip time and retransmission time-out (RFC 6298), with the minimum that Linux uses.

use std::time::Duration;

/// Smallest term for the variance: with it a time-out is 200 ms above the round-trip time. RFC 6298 §2.4 wants a second in
/// all, for clocks of 1988; Linux and RFC 8985 go by this.
const VARIANCE_MIN: Duration = Duration::from_millis(200);
/// Before the first measurement (RFC 6298 §2.1).
const INITIAL: Duration = Duration::from_secs(1);
/// Where doubling ends (RFC 6298 §2.5).
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// What is known about the round trip.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundTrip {
    smoothed: Option<Duration>,
    variance: Duration,
    smallest: Option<Duration>,
    /// How often the time-out doubled since something was acknowledged.
    backoff: u32,
    /// Follows from the others. Kept, because it is asked for more often than they change.
    timeout: Duration,
}

impl Default for RoundTrip {
    fn default() -> Self {
        Self { smoothed: None, variance: Duration::ZERO, smallest: None, backoff: 0, timeout: INITIAL }
    }
}

impl RoundTrip {
    /// Takes a measurement of a segment that was sent once (Karn's rule).
    pub(super) fn measure(&mut self, sample: Duration) {
        self.smallest = Some(self.smallest.map_or(sample, |smallest| smallest.min(sample)));
        match &mut self.smoothed {
            Some(smoothed) => {
                let error = smoothed.abs_diff(sample);
                self.variance = (self.variance * 3 + error) / 4;
                *smoothed = (*smoothed * 7 + sample) / 8;
            }
            None => (self.smoothed, self.variance) = (Some(sample), sample / 2),
        }
        self.set_timeout();
    }

    /// Smoothed, if it was ever measured.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The smallest ever measured.
    pub(super) fn smallest(&self) -> Option<Duration> {
        self.smallest
    }

    /// How long to wait for an acknowledgement.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn set_timeout(&mut self) {
        let base = self.smoothed.map_or(INITIAL, |smoothed| smoothed + (self.variance * 4).max(VARIANCE_MIN));
        self.timeout = base.saturating_mul(1 << self.backoff.min(10)).min(TIMEOUT_MAX);
    }

    /// A time-out passed: the next is twice as long.
    pub(super) fn back_off(&mut self) {
        self.backoff += 1;
        self.set_timeout();
    }

    /// Something new was acknowledged.
    pub(super) fn progress(&mut self) {
        if self.backoff != 0 {
            self.backoff = 0;
            self.set_timeout();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_out_follows_the_round_trip_and_doubles() {
        let ms = Duration::from_millis;
        let mut rtt = RoundTrip::default();
        assert_eq!(rtt.timeout(), ms(1_000));
        for _ in 0..50 {
            rtt.measure(ms(20));
        }
        assert_eq!(rtt.timeout(), ms(220));
        rtt.back_off();
        rtt.back_off();
        assert_eq!(rtt.timeout(), ms(880));
        rtt.progress();
        rtt.measure(ms(820));
        // RFC 6298 §2.3: 20 * 7/8 + 820/8, and a quarter of the error.
        assert_eq!((rtt.smoothed(), rtt.smallest()), (Some(ms(120)), Some(ms(20))));
        assert!(rtt.timeout() > ms(900));
        (0..40).for_each(|_| rtt.back_off());
        assert_eq!(rtt.timeout(), TIMEOUT_MAX);
    }
}
