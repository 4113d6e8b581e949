//! The sender: what is lost, what is sent again, how much may be under way, and when to look. Knows offsets and time, no
//! packets.
//!
//! Losses are found by RACK and probed for at the tail (RFC 8985); what is under way shrinks by proportional rate reduction
//! (RFC 6937) to what CUBIC leaves. A loss that a duplicate's report (RFC 2883) shows to have been none is undone (RFC 3708).

use std::ops::Range;
use std::time::Duration;

use super::Tally;
use super::cubic::{Before, Cubic};
use super::rack::Rack;
use super::rtt::RoundTrip;
use super::scoreboard::{Fate, Judgement, Scoreboard, Sent};
use crate::time::Moment;

/// How long a receiver may keep the acknowledgement of a single segment to itself: Linux's shortest delay. RFC 8985 §7.2
/// allows for more; a probe that comes too early costs one segment.
const ACKNOWLEDGEMENT_DELAY: Duration = Duration::from_millis(40);
/// A probe waits this long at least (RFC 8985 §7.2, as Linux).
const PROBE_MIN: Duration = Duration::from_millis(2);

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

#[derive(Clone, Copy, Debug)]
enum Phase {
    Open,
    /// Something was lost; until `point` is acknowledged.
    Recovery {
        point: u64,
        flight: u64,
        delivered: u64,
        out: u64,
    },
    /// A time-out passed; until `point` is acknowledged.
    Timeout {
        point: u64,
    },
}

/// What to go back to if all that was sent again turns out to have arrived twice.
#[derive(Clone, Copy, Debug)]
struct Undo {
    before: Before,
    again: u32,
}

#[derive(Debug)]
pub(super) struct Sender {
    board: Scoreboard,
    rack: Rack,
    cubic: Cubic,
    round_trip: RoundTrip,
    phase: Phase,
    undo: Option<Undo>,
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
}

impl Sender {
    /// A sender whose first byte has offset `start`, with segments of `mss` bytes and an empty scoreboard.
    pub(super) fn new(board: Scoreboard, start: u64, mss: u64, has_sack: bool) -> Self {
        Self {
            board,
            rack: Rack::default(),
            cubic: Cubic::new(mss),
            round_trip: RoundTrip::default(),
            phase: Phase::Open,
            undo: None,
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
        }
    }

    pub(super) fn mss(&self) -> u64 {
        self.mss
    }

    pub(super) fn is_idle(&self) -> bool {
        self.board.is_empty()
    }

    /// Takes a measurement of the handshake.
    pub(super) fn measure(&mut self, sample: Duration) {
        self.round_trip.measure(sample);
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
        self.cubic.window().saturating_sub(self.flying()) / self.mss * self.mss
    }

    /// Notes new data, sent at `now`.
    #[inline]
    pub(super) fn sent(&mut self, end: u64, has_fin: bool, now: Moment) {
        if self.board.is_empty() {
            self.timeout_since = now;
        }
        (self.probe_since, self.last_sent) = (now, now);
        self.board.push(Sent { start: self.nxt, end, has_fin, fate: Fate::Flying, again: false, at: now });
        self.count_out(end - self.nxt);
        self.nxt = end;
    }

    /// Something beyond what was sent was taken by the receiver: the byte of a window probe.
    pub(super) fn skip_to(&mut self, offset: u64) {
        debug_assert!(self.board.is_empty(), "windows are probed when nothing is under way");
        (self.una, self.nxt) = (offset, offset);
    }

    /// Takes an acknowledgement.
    pub(super) fn acknowledge(&mut self, ack: Acknowledgement<'_>, now: Moment, tally: &mut Tally) {
        let (before, was_flying) = (self.una, self.flying());
        let Self { board, rack, round_trip, .. } = self;
        let (mut delivered, mut newest) = (0, None);
        let mut arrived = |sent: &Sent, rack: &mut Rack| {
            delivered += sent.end - sent.start;
            rack.delivered(sent, now, round_trip);
            if !sent.again {
                newest = newest.max(Some(sent.at));
            }
        };
        board.advance(ack.una, |sent| arrived(sent, rack));
        board.sack(ack.blocks, |sent| {
            tally.selective += 1;
            arrived(sent, rack);
        });
        if let Some(at) = newest {
            self.round_trip.measure(now.since(at));
        }
        self.una = ack.una;
        if ack.una > before {
            self.round_trip.progress();
            (self.timeout_since, self.probe_since, self.repeated) = (now, now, 0);
        } else if delivered > 0 {
            self.probe_since = now;
        }
        if ack.is_duplicate_report {
            self.take_duplicate_report(tally);
        }
        self.judge_probe(&ack, before);
        self.leave_phase();
        self.find_losses(&ack, ack.una > before, now);
        self.adjust_window(delivered, was_flying, ack.una > before, now);
    }

    /// Does what time alone brings about. Call before sending.
    pub(super) fn advance_time(&mut self, now: Moment, tally: &mut Tally) {
        if self.board.is_empty() {
            return self.restart_if_stale(now);
        }
        if self.late_at.is_some_and(|at| at <= now) {
            self.detect(now);
            self.adjust_window(0, 0, false, now);
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
        let room = self.cubic.window().saturating_sub(self.flying());
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
        if let Some(undo) = &mut self.undo {
            undo.again += 1;
        }
        self.count_out(sent.end - sent.start);
        Some(sent)
    }

    /// Bytes under way. A receiver without SACK says with each repetition that something arrived.
    fn flying(&self) -> u64 {
        self.board.flying().saturating_sub(self.repeated * self.mss)
    }

    fn count_out(&mut self, bytes: u64) {
        if let Phase::Recovery { out, .. } = &mut self.phase {
            *out += bytes;
        }
    }

    fn timeout_at(&self) -> Moment {
        self.timeout_since + self.round_trip.timeout()
    }

    /// When to send the last segment again because nothing is heard of it (RFC 8985 §7.2).
    fn probe_at(&self) -> Option<Moment> {
        if self.probed.is_some() || !self.has_sack || !matches!(self.phase, Phase::Open) {
            return None;
        }
        let mut wait = (self.round_trip.smoothed()? * 2).max(PROBE_MIN);
        if self.nxt - self.una <= self.mss {
            wait += ACKNOWLEDGEMENT_DELAY;
        }
        Some(self.probe_since + wait)
    }

    fn take_duplicate_report(&mut self, tally: &mut Tally) {
        tally.spurious += 1;
        self.rack.duplicate(self.una, self.nxt);
        let Some(undo) = &mut self.undo else { return };
        undo.again = undo.again.saturating_sub(1);
        if undo.again == 0 {
            self.cubic.undo(undo.before);
            (self.undo, self.phase) = (None, Phase::Open);
        }
    }

    /// Whether a probe repaired a loss that nobody would know of otherwise (RFC 8985 §7.4).
    fn judge_probe(&mut self, ack: &Acknowledgement<'_>, before: u64) {
        let Some(end) = self.probed else { return };
        if ack.una < end {
            return;
        }
        let is_repeated = ack.una == before && ack.is_repeated;
        if ack.is_duplicate_report || is_repeated {
            self.probed = None;
        } else if ack.una > end {
            self.probed = None;
            if matches!(self.phase, Phase::Open) {
                self.cubic.lost();
                self.cubic.set_window(self.cubic.threshold());
            }
        }
    }

    fn leave_phase(&mut self) {
        match self.phase {
            Phase::Recovery { point, .. } if self.una >= point => {
                self.cubic.set_window(self.cubic.threshold());
                self.rack.recovered();
                self.phase = Phase::Open;
            }
            Phase::Timeout { point } if self.una >= point => self.phase = Phase::Open,
            _ => {}
        }
    }

    fn find_losses(&mut self, ack: &Acknowledgement<'_>, is_forward: bool, now: Moment) {
        const REPETITIONS: u64 = 3;
        if !self.has_sack {
            // RFC 6582: three repetitions, and then every acknowledgement that is not the last, name the next loss.
            let is_recovering = !matches!(self.phase, Phase::Open);
            if ack.is_repeated && !self.board.is_empty() {
                self.repeated += 1;
            }
            if self.repeated == REPETITIONS && !is_recovering || is_recovering && is_forward {
                let una = self.una;
                let first = |sent: &Sent| if sent.start == una { Judgement::Lost } else { Judgement::Enough };
                if self.board.mark_lost(first) {
                    self.enter_recovery();
                }
            }
        }
        self.detect(now);
    }

    fn detect(&mut self, now: Moment) {
        let is_recovering = !matches!(self.phase, Phase::Open);
        let (found, late_at) = self.rack.detect(&mut self.board, now, &self.round_trip, is_recovering, self.mss);
        self.late_at = late_at;
        if found {
            self.enter_recovery();
        }
    }

    fn enter_recovery(&mut self) {
        if matches!(self.phase, Phase::Open) {
            self.undo = Some(Undo { before: self.cubic.lost(), again: 0 });
            self.phase = Phase::Recovery { point: self.nxt, flight: self.nxt - self.una, delivered: 0, out: 0 };
            self.owes_segment = true;
        }
    }

    fn time_out(&mut self, now: Moment, tally: &mut Tally) {
        tally.timeouts += 1;
        self.round_trip.back_off();
        if self.board.first().is_some_and(|sent| sent.fate == Fate::Sacked) {
            self.board.renege();
        }
        self.board.mark_lost(|_| Judgement::Lost);
        // One time-out after another is one event.
        if !matches!(self.phase, Phase::Timeout { .. }) {
            self.undo = Some(Undo { before: self.cubic.timed_out(), again: 0 });
        }
        self.cubic.set_window(self.mss);
        self.phase = Phase::Timeout { point: self.nxt };
        (self.owes_segment, self.owes_probe, self.late_at, self.repeated) = (true, false, None, 0);
        (self.timeout_since, self.probed) = (now, None);
    }

    fn adjust_window(&mut self, delivered: u64, was_flying: u64, is_forward: bool, now: Moment) {
        if let Phase::Recovery { flight, delivered: all, out, .. } = &mut self.phase {
            *all += delivered;
            let (all, out, flight) = (*all, *out, (*flight).max(1));
            let (flying, threshold) = (self.flying(), self.cubic.threshold());
            let more = if flying > threshold {
                (u128::from(all) * u128::from(threshold)).div_ceil(u128::from(flight)) as u64
            } else {
                let limit = all.max(out + delivered) + if is_forward { self.mss } else { 0 };
                limit.min(out + (threshold - flying))
            };
            self.cubic.set_window(flying + more.saturating_sub(out));
            return;
        }
        // An application that sends little must not make the window grow (RFC 7661).
        let window = self.cubic.window();
        let is_limit = was_flying + 2 * self.mss > window || self.cubic.is_slow_start() && was_flying * 2 > window;
        if delivered > 0 && is_limit {
            self.cubic.acknowledged(delivered, now, self.round_trip.smoothed().unwrap_or_default());
        }
    }
}
