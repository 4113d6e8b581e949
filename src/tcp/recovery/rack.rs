//! RACK (RFC 8985 §6): a segment is lost if one that was sent later has arrived, and some time for reordering has passed.

use std::time::Duration;

use super::rtt::RoundTrip;
use super::scoreboard::{Judgement, Scoreboard, Sent};
use crate::time::Moment;

/// Segments that must have arrived ahead of a hole before it is taken for a loss at once (RFC 8985 §6.2 step 4).
const DUPLICATES: u64 = 3;
/// Recoveries after which a widened reordering window is narrow again (RFC 8985 §6.2 step 4).
const PERSISTENCE: u8 = 16;
/// Widest reordering window, in quarters of the round-trip time; the smoothed round-trip time caps it anyhow.
const STEPS_MAX: u32 = 8;

/// Segments that arrived, in the order in which they were sent.
#[derive(Debug)]
pub(super) struct Rack {
    /// The latest sent of those that arrived: when it was sent, its end, how long it and its acknowledgement took.
    at: Moment,
    end: u64,
    rtt: Duration,
    /// The highest end that arrived.
    forward: u64,
    has_reordering: bool,
    steps: u32,
    persistence: u8,
    /// The end of what had been sent when a duplicate last widened the window: once a round trip is enough.
    widened_until: u64,
}

impl Default for Rack {
    fn default() -> Self {
        Self {
            at: Moment::default(),
            end: 0,
            rtt: Duration::ZERO,
            forward: 0,
            has_reordering: false,
            steps: 1,
            persistence: 0,
            widened_until: 0,
        }
    }
}

impl Rack {
    /// A segment arrived.
    #[inline]
    pub(super) fn delivered(&mut self, sent: &Sent, now: Moment, round_trip: &RoundTrip) {
        let rtt = now.since(sent.at);
        if sent.again && round_trip.smallest().is_some_and(|smallest| rtt < smallest) {
            // It is the first copy that arrived (§6.2 step 2).
            return;
        }
        if sent.end > self.forward {
            self.forward = sent.end;
        } else if !sent.again {
            self.has_reordering = true;
        }
        if is_after((sent.at, sent.end), (self.at, self.end)) {
            (self.at, self.end, self.rtt) = (sent.at, sent.end, rtt);
        }
    }

    /// A duplicate arrived at the receiver: it had only been late.
    pub(super) fn duplicate(&mut self, una: u64, nxt: u64) {
        if una >= self.widened_until {
            self.steps = (self.steps + 1).min(STEPS_MAX);
            self.persistence = PERSISTENCE;
            self.widened_until = nxt;
        }
    }

    /// A recovery ended.
    pub(super) fn recovered(&mut self) {
        self.persistence = self.persistence.saturating_sub(1);
        if self.persistence == 0 {
            self.steps = 1;
        }
    }

    /// Marks what is lost. Returns whether anything is, and when to look again for what is merely late.
    pub(super) fn detect(
        &self,
        board: &mut Scoreboard,
        now: Moment,
        round_trip: &RoundTrip,
        is_recovering: bool,
        mss: u64,
    ) -> (bool, Option<Moment>) {
        let patience = self.rtt + self.window(board, round_trip, is_recovering, mss);
        let mut again: Option<Moment> = None;
        let found = board.mark_lost(|sent| {
            if !is_after((self.at, self.end), (sent.at, sent.end)) {
                // What was sent once stands in the order of sending: nothing behind it was sent earlier.
                return if sent.again { Judgement::Flying } else { Judgement::Enough };
            }
            let until = sent.at + patience;
            if until <= now {
                return Judgement::Lost;
            }
            again = Some(again.map_or(until, |again| again.max(until)));
            Judgement::Flying
        });
        (found, again)
    }

    /// How long to wait for what may only be reordered.
    fn window(&self, board: &Scoreboard, round_trip: &RoundTrip, is_recovering: bool, mss: u64) -> Duration {
        if !self.has_reordering && (is_recovering || board.sacked() >= DUPLICATES * mss) {
            return Duration::ZERO;
        }
        let quarter = round_trip.smallest().unwrap_or_default() / 4;
        (quarter * self.steps).min(round_trip.smoothed().unwrap_or_default())
    }
}

/// Whether the first was sent after the second, both given by their time and end.
fn is_after(first: (Moment, u64), second: (Moment, u64)) -> bool {
    first > second
}
