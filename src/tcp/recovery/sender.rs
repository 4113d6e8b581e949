//! The sender: what is lost, what is sent again, how much may be under way, and when to look. Knows offsets and time, no
//! packets.
//!
//! Losses are found by RACK and probed for at the tail (RFC 8985). How much may be under way is [`Cubic`]'s to say, which is
//! told of those losses alone that are no chance ([`Chance`]); how much of it may leave at once is bounded by what arrives.

use std::ops::Range;
use std::time::Duration;

use super::Tally;
use super::chance::Chance;
use super::cubic::{Cubic, INITIAL_SEGMENTS};
use super::rack::Rack;
use super::rtt::RoundTrip;
use super::scoreboard::{Fate, Judgement, Scoreboard, Sent};
use crate::time::Moment;

/// How long a receiver may keep the acknowledgement of a single segment to itself: Linux's shortest delay. RFC 8985 §7.2
/// allows for more; a probe that comes too early costs one segment.
const ACKNOWLEDGEMENT_DELAY: Duration = Duration::from_millis(40);
/// A probe waits this long at least (RFC 8985 §7.2, as Linux).
const PROBE_MIN: Duration = Duration::from_millis(2);
/// Segments that may leave at once, without anything that arrives. Beyond them, twice as much as arrives, as a window needs
/// that doubles with each round trip: so what a filled hole makes room for does not leave as one burst.
const BURST_SEGMENTS: u64 = INITIAL_SEGMENTS;

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledgement<'a> {
    /// Everything below has arrived. Not below what was acknowledged before, nor above what was sent.
    pub(super) una: u64,
    /// What arrived above it, inside what was sent.
    pub(super) blocks: &'a [Range<u64>],
    /// It reports a duplicate.
    pub(super) is_duplicate_report: bool,
    /// It acknowledges nothing new and carries nothing.
    pub(super) is_repeated: bool,
}

#[derive(Debug)]
pub(super) struct Sender {
    board: Scoreboard,
    rack: Rack,
    cubic: Cubic,
    chance: Chance,
    round_trip: RoundTrip,
    /// Something was lost; until this is acknowledged.
    recovers_until: Option<u64>,
    pub(super) una: u64,
    pub(super) nxt: u64,
    mss: u64,
    has_sack: bool,
    /// Repeated acknowledgements in a row of a receiver without SACK.
    repeated: u64,
    /// Since when the time-out runs, and the wait for a probe.
    timeout_since: Moment,
    probe_since: Moment,
    /// When what is merely late counts as lost.
    late_at: Option<Moment>,
    /// A probe was sent when this was the end, and nothing above it is acknowledged yet.
    probed: Option<u64>,
    /// One segment goes out whatever the window says: the first of a recovery, or a probe.
    owes_segment: bool,
    owes_probe: bool,
    last_sent: Moment,
    /// Bytes that may leave before something arrives.
    credit: u64,
    has_rested: bool,
    /// The most that was under way in this round trip and in the last one, and where this one ends.
    peaks: (u64, u64),
    peak_until: u64,
}

impl Sender {
    /// A sender whose first byte has offset `start`, with segments of `mss` bytes and an empty scoreboard.
    pub(super) fn new(board: Scoreboard, start: u64, mss: u64, has_sack: bool) -> Self {
        Self {
            board,
            rack: Rack::default(),
            cubic: Cubic::new(mss),
            chance: Chance::default(),
            round_trip: RoundTrip::default(),
            recovers_until: None,
            una: start,
            nxt: start,
            mss,
            has_sack,
            repeated: 0,
            timeout_since: Moment::default(),
            probe_since: Moment::default(),
            late_at: None,
            probed: None,
            owes_segment: false,
            owes_probe: false,
            last_sent: Moment::default(),
            credit: BURST_SEGMENTS * mss,
            has_rested: false,
            peaks: (0, 0),
            peak_until: start,
        }
    }

    pub(super) fn mss(&self) -> u64 {
        self.mss
    }

    pub(super) fn is_idle(&self) -> bool {
        self.board.is_empty()
    }

    /// Takes a measurement of the round trip.
    pub(super) fn measure(&mut self, sample: Duration) {
        self.round_trip.measure(sample);
        self.chance.measured(sample);
    }

    /// Forgets what is under way.
    pub(super) fn stop(&mut self) {
        self.board.clear();
        (self.late_at, self.owes_probe, self.owes_segment, self.una) = (None, false, false, self.nxt);
    }

    /// The scoreboard's memory, for another connection.
    pub(super) fn into_board(self) -> Scoreboard {
        self.board
    }

    /// Bytes of new data that may be sent now: whole segments.
    #[inline]
    pub(super) fn allowance(&self) -> u64 {
        if self.board.lost() > 0 || self.board.is_full() {
            return 0;
        }
        self.room().min(self.credit) / self.mss * self.mss
    }

    /// Everything that may be sent now is: what is left of the credit lapses with the next acknowledgement.
    pub(super) fn rest(&mut self) {
        self.has_rested = true;
    }

    /// Notes new data, sent at `now`.
    #[inline]
    pub(super) fn sent(&mut self, end: u64, has_fin: bool, now: Moment) {
        if self.board.is_empty() {
            self.timeout_since = now;
            self.credit = self.credit.max(BURST_SEGMENTS * self.mss);
        }
        (self.probe_since, self.last_sent) = (now, now);
        self.board.push(Sent { start: self.nxt, end, has_fin, fate: Fate::Flying, again: false, at: now, run: 0 });
        self.credit = self.credit.saturating_sub(end - self.nxt);
        self.nxt = end;
        self.peaks.0 = self.peaks.0.max(self.board.flying());
    }

    /// Something beyond what was sent was taken by the receiver: the byte of a window probe.
    pub(super) fn skip_to(&mut self, offset: u64) {
        debug_assert!(self.board.is_empty(), "windows are probed when nothing is under way");
        (self.una, self.nxt) = (offset, offset);
    }

    /// Takes an acknowledgement.
    pub(super) fn acknowledge(&mut self, ack: Acknowledgement<'_>, now: Moment, tally: &mut Tally) {
        let before = self.una;
        let Self { board, rack, round_trip, .. } = self;
        let (mut bytes, mut measured) = (0, None);
        let mut arrived = |sent: &Sent, rack: &mut Rack| {
            bytes += sent.end - sent.start;
            rack.delivered(sent, now, round_trip);
            if !sent.again {
                measured = measured.max(Some(sent.at));
            }
        };
        board.advance(ack.una, |sent| arrived(sent, rack));
        board.sack(ack.blocks, |sent| {
            tally.selective += 1;
            arrived(sent, rack);
        });
        if let Some(at) = measured {
            self.measure(now.since(at));
        }
        self.una = ack.una;
        if ack.una > before {
            self.round_trip.progress();
            (self.timeout_since, self.probe_since, self.repeated) = (now, now, 0);
        } else if bytes > 0 {
            self.probe_since = now;
        }
        if ack.is_duplicate_report {
            tally.spurious += 1;
            self.rack.duplicate(self.una, self.nxt);
        }
        self.probed = self.probed.filter(|end| self.una < *end);
        if self.recovers_until.is_some_and(|point| self.una >= point) {
            self.rack.recovered();
            self.recovers_until = None;
        }
        if self.una >= self.peak_until {
            (self.peaks, self.peak_until) = ((self.board.flying(), self.peaks.0), self.nxt);
        }
        let lost = self.find_losses(&ack, ack.una > before, now);
        if std::mem::take(&mut self.has_rested) {
            self.credit = self.credit.min(BURST_SEGMENTS * self.mss);
        }
        self.credit += 2 * bytes;
        let round = (self.una, self.nxt);
        if self.chance.judge((bytes, lost), round, self.round_trip.smallest(), self.mss) {
            self.cubic.lost();
        } else if bytes > 0 && self.is_limit() {
            self.cubic.acknowledged(bytes, now, self.round_trip.smoothed().unwrap_or_default());
        }
    }

    /// Does what time alone brings about. Call before sending.
    pub(super) fn advance_time(&mut self, now: Moment, tally: &mut Tally) {
        if self.board.is_empty() {
            return self.restart_if_stale(now);
        }
        if self.late_at.is_some_and(|at| at <= now) {
            self.detect(now);
        }
        if self.timeout_at() <= now {
            self.time_out(now, tally);
        } else if self.probe_at().is_some_and(|at| at <= now) {
            (self.owes_probe, self.probed, self.timeout_since) = (true, Some(self.nxt), now);
        }
    }

    /// Nothing was sent for a time-out's length: begins with a small window again.
    pub(super) fn restart_if_stale(&mut self, now: Moment) {
        if self.board.is_empty() && now.since(self.last_sent) > self.round_trip.timeout() {
            self.cubic.restart();
            self.last_sent = now;
        }
    }

    /// When [`Sender::advance_time`] has something to do.
    #[inline]
    pub(super) fn deadline(&self) -> Option<Moment> {
        if self.board.is_empty() {
            return None;
        }
        [Some(self.timeout_at()), self.probe_at(), self.late_at].into_iter().flatten().min()
    }

    /// The segment to send again now, if there is one. Ask until there is none.
    pub(super) fn poll_again(&mut self, now: Moment, tally: &mut Tally) -> Option<Sent> {
        if self.board.is_empty() {
            return None;
        }
        let room = self.room().min(self.credit);
        let fits = self.board.first_lost().is_some_and(|sent| sent.end - sent.start <= room);
        let sent = if self.board.lost() > 0 && (fits || self.owes_segment) {
            tally.again += 1;
            self.board.resend_first_lost(now)?
        } else if self.owes_probe {
            tally.probes += 1;
            self.board.resend_last(now)?
        } else {
            return None;
        };
        (self.owes_segment, self.owes_probe, self.last_sent) = (false, false, now);
        self.credit = self.credit.saturating_sub(sent.end - sent.start);
        Some(sent)
    }

    /// Bytes that the window has room for.
    fn room(&self) -> u64 {
        // A receiver without SACK says with each repetition that something arrived.
        let flying = self.board.flying().saturating_sub(self.repeated * self.mss);
        self.cubic.window().saturating_sub(flying)
    }

    /// Whether it is the window that limits what is under way: an application that sends little must not make it grow
    /// (RFC 7661). While it doubles, half of it counts, as in Linux.
    fn is_limit(&self) -> bool {
        let (window, peak) = (self.cubic.window(), self.peaks.0.max(self.peaks.1));
        peak + 2 * self.mss > window || self.cubic.is_slow_start() && peak * 2 > window
    }

    fn timeout_at(&self) -> Moment {
        self.timeout_since + self.round_trip.timeout()
    }

    /// When to send the last segment again because nothing is heard of it (RFC 8985 §7.2).
    fn probe_at(&self) -> Option<Moment> {
        if self.probed.is_some() || !self.has_sack || self.recovers_until.is_some() {
            return None;
        }
        let mut wait = (self.round_trip.smoothed()? * 2).max(PROBE_MIN);
        if self.nxt - self.una <= self.mss {
            wait += ACKNOWLEDGEMENT_DELAY;
        }
        Some(self.probe_since + wait)
    }

    /// Looks for losses; returns how many bytes were found.
    fn find_losses(&mut self, ack: &Acknowledgement<'_>, is_forward: bool, now: Moment) -> u64 {
        const REPETITIONS: u64 = 3;
        let before = self.board.lost();
        if !self.has_sack {
            // RFC 6582: three repetitions, and then every acknowledgement that is not the last, name the next loss.
            let is_recovering = self.recovers_until.is_some();
            if ack.is_repeated && !self.board.is_empty() {
                self.repeated += 1;
            }
            if self.repeated == REPETITIONS && !is_recovering || is_recovering && is_forward {
                let una = self.una;
                let first = |sent: &Sent| if sent.start == una { Judgement::Lost } else { Judgement::Enough };
                if self.board.mark_lost(first) {
                    self.begin_recovery();
                }
            }
        }
        self.detect(now);
        self.board.lost().saturating_sub(before)
    }

    fn detect(&mut self, now: Moment) {
        let is_recovering = self.recovers_until.is_some();
        let (found, late_at) = self.rack.detect(&mut self.board, now, &self.round_trip, is_recovering, self.mss);
        self.late_at = late_at;
        if found {
            self.begin_recovery();
        }
    }

    fn begin_recovery(&mut self) {
        if self.recovers_until.is_none() {
            (self.recovers_until, self.owes_segment) = (Some(self.nxt), true);
        }
    }

    fn time_out(&mut self, now: Moment, tally: &mut Tally) {
        tally.timeouts += 1;
        self.round_trip.back_off();
        if self.board.first().is_some_and(|sent| sent.fate == Fate::Sacked) {
            self.board.renege();
        }
        self.board.mark_lost(|_| Judgement::Lost);
        self.cubic.timed_out();
        (self.owes_segment, self.owes_probe, self.late_at, self.repeated) = (true, false, None, 0);
        (self.recovers_until, self.timeout_since, self.probed) = (Some(self.nxt), now, None);
    }
}
