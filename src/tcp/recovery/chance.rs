//! Which losses are chance, and which a queue that overflows.
//!
//! A path may lose packets without being full: a radio, a bad cable, and the emulated tunnel. A sender that halves its window
//! for each of these gets nowhere. A queue that overflows is full, and a full queue shows as delay: as in TCP Veno
//! (Fu and Liew, IEEE JSAC 21(2), 2003), a loss while packets take no longer than they ever did is taken for chance. Where the
//! queue is too short to show, the number of losses does.
//!
//! Whoever is mistaken for the other: delay that is no queue (a busy machine) makes a chance loss count, as for every other
//! TCP; losses that count for nothing stay below [`LOSS_MAX`].

use std::time::Duration;

/// Delay above the smallest that is no queue yet: a quarter of it, and at least this.
const DELAY_MIN: Duration = Duration::from_millis(2);
/// Above this part of a round trip's segments, and so many at least, losses are no chance.
const LOSS_MAX: f64 = 0.05;
const LOSS_SEGMENTS: u64 = 10;

/// What happened in the present round trip.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chance {
    /// It ends when this is acknowledged.
    ends: u64,
    delivered: u64,
    lost: u64,
    /// The latest measurement.
    latest: Duration,
    /// A loss has counted already.
    has_counted: bool,
}

impl Chance {
    /// A round trip was measured.
    pub(super) fn measured(&mut self, rtt: Duration) {
        self.latest = rtt;
    }

    /// So many bytes arrived and were found lost when everything below `una` had arrived and everything below `nxt` been
    /// sent; `smallest` is the smallest round trip ever. Returns whether the window must shrink: once in a round trip.
    pub(super) fn judge(
        &mut self,
        (delivered, lost): (u64, u64),
        (una, nxt): (u64, u64),
        smallest: Option<Duration>,
        mss: u64,
    ) -> bool {
        (self.delivered, self.lost) = (self.delivered + delivered, self.lost + lost);
        let counts = !self.has_counted && lost > 0 && (self.has_queue(smallest) || self.is_many(mss));
        self.has_counted |= counts;
        if una >= self.ends {
            *self = Self { ends: nxt, latest: self.latest, has_counted: counts, ..Self::default() };
        }
        counts
    }

    fn has_queue(&self, smallest: Option<Duration>) -> bool {
        smallest.is_some_and(|smallest| self.latest > smallest + (smallest / 4).max(DELAY_MIN))
    }

    fn is_many(&self, mss: u64) -> bool {
        let all = (self.delivered + self.lost) as f64;
        self.lost >= LOSS_SEGMENTS * mss && self.lost as f64 > all * LOSS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: Option<Duration> = Some(Duration::from_millis(20));

    #[test]
    fn a_loss_without_delay_is_chance_until_there_are_many() {
        let mut chance = Chance::default();
        chance.measured(Duration::from_millis(24));
        assert!(!chance.judge((0, 0), (0, 200_000), SMALLEST, 1_000), "a round trip begins");
        assert!(!chance.judge((100_000, 1_000), (0, 200_000), SMALLEST, 1_000));
        assert!(!chance.judge((1_000, 8_000), (0, 200_000), SMALLEST, 1_000));
        assert!(chance.judge((1_000, 1_000), (0, 200_000), SMALLEST, 1_000), "10 of 112");
        assert!(!chance.judge((1_000, 1_000), (0, 200_000), SMALLEST, 1_000), "once in a round trip");
        assert!(!chance.judge((1_000, 0), (200_000, 300_000), SMALLEST, 1_000));
        assert!(!chance.judge((1_000, 1_000), (210_000, 300_000), SMALLEST, 1_000), "another round trip");
    }

    #[test]
    fn a_loss_behind_a_queue_counts_once_in_a_round_trip() {
        let mut chance = Chance::default();
        chance.measured(Duration::from_millis(26));
        assert!(!chance.judge((1_000, 0), (1_000, 50_000), SMALLEST, 1_000), "delay alone is none");
        assert!(chance.judge((1_000, 1_000), (2_000, 50_000), SMALLEST, 1_000));
        assert!(!chance.judge((1_000, 1_000), (3_000, 50_000), SMALLEST, 1_000));
        chance.judge((1_000, 0), (50_000, 90_000), SMALLEST, 1_000);
        assert!(chance.judge((1_000, 1_000), (51_000, 90_000), SMALLEST, 1_000));
    }
}
