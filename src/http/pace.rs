//! Whether a client keeps the minimum rate.

use std::cell::Cell;
use std::time::Duration;

use crate::time::Moment;

/// The minimum rate, and how far a client may fall behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MinimumRate {
    /// Bytes per second.
    pub bytes: usize,
    /// The lead that whoever begins has, and the longest that bytes can earn.
    pub grace: Duration,
}

/// The pace of one direction of a connection, in a period in which the client owes something without a break.
///
/// Each byte buys the time that it may take at the minimum rate, up to the grace. So a period lasts no longer than the grace
/// and its bytes at the minimum rate, and what was fast once does not pay for trickling later.
#[derive(Debug, Default)]
pub struct Pace {
    /// The grace ends this long after it. `None` while nothing is owed.
    since: Cell<Option<Moment>>,
}

impl Pace {
    /// The client owes something from now on, if it did not already.
    pub fn begin(&self, now: Moment) {
        if self.since.get().is_none() {
            self.since.set(Some(now));
        }
    }

    /// It did so many bytes of it.
    pub fn progress(&self, bytes: usize, now: Moment, rate: &MinimumRate) {
        if let Some(since) = self.since.get().filter(|_| bytes > 0) {
            let bought = (bytes as u64).saturating_mul(1_000_000) / (rate.bytes as u64).max(1);
            self.since.set(Some(now.min(since + Duration::from_micros(bought))));
        }
    }

    /// It owes nothing any more.
    pub fn end(&self) {
        self.since.set(None);
    }

    /// When it is too slow if nothing comes.
    pub fn deadline(&self, rate: &MinimumRate) -> Option<Moment> {
        self.since.get().map(|since| since + rate.grace)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const RATE: MinimumRate = MinimumRate { bytes: 1_000, grace: Duration::from_secs(10) };

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn bytes_buy_time_up_to_the_grace() {
        let pace = Pace::default();
        pace.progress(5, at(0), &RATE);
        assert_eq!(pace.deadline(&RATE), None);
        pace.begin(at(1_000));
        pace.begin(at(2_000));
        assert_eq!(pace.deadline(&RATE), Some(at(11_000)), "owed since the first");
        pace.progress(500, at(4_000), &RATE);
        assert_eq!(pace.deadline(&RATE), Some(at(11_500)));
        pace.progress(1 << 40, at(5_000), &RATE);
        assert_eq!(pace.deadline(&RATE), Some(at(15_000)));
        pace.end();
        assert_eq!(pace.deadline(&RATE), None);
    }

    proptest! {
        #[test]
        fn a_period_lasts_no_longer_than_its_bytes_at_the_minimum_rate_and_the_grace(
            steps in vec((0..20_000_u64, 0..30_000_usize), 1..60)
        ) {
            let pace = Pace::default();
            pace.begin(at(0));
            let (mut now, mut bytes) = (0, 0);
            for (pause, more) in steps {
                now += pause;
                if pace.deadline(&RATE).is_some_and(|deadline| deadline <= at(now)) {
                    break;
                }
                prop_assert!(now < 10_000 + bytes, "{now} ms, {bytes} bytes");
                pace.progress(more, at(now), &RATE);
                bytes += more as u64;
            }
        }

        #[test]
        fn who_keeps_the_rate_is_never_too_slow(steps in vec(1..9_000_u64, 1..60)) {
            let pace = Pace::default();
            pace.begin(at(0));
            let mut now = 0;
            for pause in steps {
                now += pause;
                prop_assert!(pace.deadline(&RATE).unwrap() > at(now));
                pace.progress(pause as usize, at(now), &RATE);
            }
        }
    }
}
