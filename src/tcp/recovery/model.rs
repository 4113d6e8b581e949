//! How much may be under way: a model of the path, after BBR (draft-ietf-ccwg-bbr), in bytes.
//!
//! The window is what the path holds, bandwidth times delay, both measured, and somewhat more to find out whether there is
//! more. So a loss that nothing but chance explains costs a segment, and not the window. What it does not take over from BBR
//! is pacing: acknowledgements clock what is sent, and the tunnel has a bounded queue.

use std::time::Duration;

use crate::time::Moment;

/// Initial window, segments (RFC 6928), and the smallest.
const INITIAL_SEGMENTS: u64 = 10;
const SEGMENTS_MIN: u64 = 4;
/// Windows in products of bandwidth and delay: while the bandwidth is still looked for; and then, round trip by round trip.
const STARTUP: f64 = 2.89;
const CYCLE: [f64; 8] = [1.3, 0.9, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1];
/// Round trips over which the largest bandwidth counts.
const BANDWIDTH_ROUNDS: usize = 10;
/// The path is full when the bandwidth has not grown by a quarter in so many round trips.
const FULL_ROUNDS: u32 = 3;
const FULL_GROWTH: f64 = 1.25;
/// How long the smallest round trip counts. Then a round trip with half the window shows whether it has grown.
const DELAY_AGE: Duration = Duration::from_secs(10);
const DELAY_PROBE: f64 = 0.5;
/// More than this part of a round trip's segments, and at least so many, are lost to a queue that is full, not by chance.
const LOSS_MAX: f64 = 0.05;
const LOSS_SEGMENTS: u64 = 10;
/// What such a loss leaves of the window, and by how much the ceiling rises in a round trip without one.
const AFTER_LOSS: f64 = 0.8;
const RISE: f64 = 1.1;

/// What one acknowledgement delivered, and how fast.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivery {
    /// Bytes that it delivered.
    pub(super) bytes: u64,
    /// Bytes delivered in all, and when the newest of these segments was sent.
    pub(super) total: u64,
    pub(super) total_then: u64,
    /// From then to now: the longer of the times that sending and acknowledging took.
    pub(super) interval: Duration,
    /// The application had nothing to send meanwhile.
    pub(super) is_limited: bool,
    /// Bytes that were found lost.
    pub(super) lost: u64,
}

/// The model, and the window that follows from it.
#[derive(Clone, Debug)]
pub(super) struct Model {
    mss: u64,
    window: u64,
    /// The largest bandwidth of each of the last round trips in which the path was the limit, bytes per second.
    bandwidths: [f64; BANDWIDTH_ROUNDS],
    newest: usize,
    was_limit: bool,
    delay: Option<(Duration, Moment)>,
    /// Round trips, and what will have been delivered at the end of this one.
    round: usize,
    round_ends: u64,
    /// Whether the largest bandwidth is found; else the last that was a quarter larger, and round trips since.
    is_full: bool,
    full: (f64, u32),
    /// Delivered and lost in this round trip.
    delivered: u64,
    lost: u64,
    /// A window that a queue was too short for.
    ceiling: f64,
    /// The round trip in which the delay is measured with a small window.
    delay_probe: Option<usize>,
}

impl Model {
    pub(super) fn new(mss: u64) -> Self {
        Self {
            mss,
            window: INITIAL_SEGMENTS * mss,
            bandwidths: [0.0; BANDWIDTH_ROUNDS],
            newest: 0,
            was_limit: false,
            delay: None,
            round: 0,
            round_ends: 0,
            is_full: false,
            full: (0.0, 0),
            delivered: 0,
            lost: 0,
            ceiling: f64::INFINITY,
            delay_probe: None,
        }
    }

    /// Bytes that may be under way.
    #[inline]
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// A round trip was measured.
    pub(super) fn measured(&mut self, rtt: Duration, now: Moment) {
        match &mut self.delay {
            Some((smallest, at)) if rtt > *smallest && now.since(*at) < DELAY_AGE => {}
            delay => {
                if delay.is_some_and(|(smallest, _)| rtt > smallest) {
                    self.delay_probe = Some(self.round + 1);
                }
                *delay = Some((rtt, now));
            }
        }
    }

    /// Something arrived.
    pub(super) fn delivered(&mut self, delivery: &Delivery) {
        self.delivered += delivery.bytes;
        self.lost += delivery.lost;
        if delivery.total_then >= self.round_ends {
            self.begin_round(delivery);
        }
        let smallest = self.delay.map(|(delay, _)| delay).unwrap_or_default();
        if delivery.interval >= smallest && !delivery.interval.is_zero() {
            let rate = (delivery.total - delivery.total_then) as f64 / delivery.interval.as_secs_f64();
            // An application that sends little shows at least so much, and not that there is no more.
            if !delivery.is_limited || rate > self.bandwidth() {
                let largest = &mut self.bandwidths[self.newest];
                *largest = largest.max(rate);
                self.was_limit = true;
            }
        }
        self.window = (self.window + delivery.bytes).min(self.target()).max(SEGMENTS_MIN * self.mss);
    }

    /// Nothing came back in time.
    pub(super) fn timed_out(&mut self) {
        self.window = self.mss;
    }

    /// Nothing was sent for a while.
    pub(super) fn restart(&mut self) {
        self.window = self.window.min(INITIAL_SEGMENTS * self.mss);
    }

    fn begin_round(&mut self, delivery: &Delivery) {
        self.round_ends = delivery.total;
        self.judge_loss();
        let bandwidth = self.bandwidth();
        if !self.is_full && !delivery.is_limited {
            if bandwidth >= self.full.0 * FULL_GROWTH {
                self.full = (bandwidth, 0);
            } else {
                self.full.1 += 1;
                self.is_full = self.full.1 >= FULL_ROUNDS;
            }
        }
        self.round += 1;
        if self.was_limit {
            self.newest = (self.newest + 1) % BANDWIDTH_ROUNDS;
            (self.bandwidths[self.newest], self.was_limit) = (0.0, false);
        }
        (self.delivered, self.lost) = (0, 0);
    }

    fn judge_loss(&mut self) {
        let all = (self.delivered + self.lost) as f64;
        if self.lost >= LOSS_SEGMENTS * self.mss && self.lost as f64 > all * LOSS_MAX {
            self.ceiling = self.window as f64 * AFTER_LOSS;
            self.is_full = true;
        } else {
            self.ceiling *= RISE;
        }
    }

    fn bandwidth(&self) -> f64 {
        self.bandwidths.iter().copied().fold(0.0, f64::max)
    }

    fn target(&self) -> u64 {
        let (Some((delay, _)), bandwidth @ 1.0..) = (self.delay, self.bandwidth()) else { return u64::MAX };
        let gain = match self.delay_probe {
            Some(round) if round == self.round => DELAY_PROBE,
            _ if self.is_full => CYCLE[self.round % CYCLE.len()],
            _ => STARTUP,
        };
        let target = (bandwidth * delay.as_secs_f64() * gain).min(self.ceiling);
        // Acknowledgements come for two segments at a time.
        target as u64 + 3 * self.mss
    }
}
