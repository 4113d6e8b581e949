//! What a connection is doing, for its time-outs.

use std::cell::Cell;
use std::time::Duration;

use super::{MinimumRate, Pace};
use crate::time::Moment;
use crate::tls::Alpn;
use crate::verdict::Reason;

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Request line and headers, bytes.
    pub head: usize,
    /// From a head's first byte to its last.
    pub head_timeout: Duration,
    /// Longest silence while a request's body is due, or while the client takes nothing of an answer that is there.
    pub body_timeout: Duration,
    /// Longest time between requests.
    pub idle_timeout: Duration,
    /// Of bodies that the client sends and answers that it takes.
    pub rate: MinimumRate,
}

/// The state of one connection as its bytes and requests tell it. Single-threaded.
#[derive(Debug)]
pub struct Activity {
    now: Cell<Moment>,
    rate: Cell<MinimumRate>,
    open_requests: Cell<u32>,
    open_bodies: Cell<u32>,
    head_since: Cell<Option<Moment>>,
    idle_since: Cell<Moment>,
    last_read: Cell<Moment>,
    blocked_since: Cell<Option<Moment>>,
    /// Answers of which the client has yet to take what there is.
    answers_due: Cell<u32>,
    last_write: Cell<Moment>,
    /// Of the bodies that are due. One for all streams of a connection: they share its path.
    upload: Pace,
    /// Of the answers that are due, as far as hyper's buffers: HTTP/2 windows that stay shut show nowhere else.
    download: Pace,
}

/// A write this large carries more of an answer than pongs and acknowledged settings, bytes.
const ANSWER_WRITE: usize = 256;

impl Activity {
    /// A connection whose handshake ended at `now`.
    pub fn new(now: Moment, limits: &Limits) -> Self {
        Self {
            now: Cell::new(now),
            rate: Cell::new(limits.rate),
            open_requests: Cell::default(),
            open_bodies: Cell::default(),
            head_since: Cell::default(),
            idle_since: Cell::new(now),
            last_read: Cell::new(now),
            blocked_since: Cell::default(),
            answers_due: Cell::default(),
            last_write: Cell::default(),
            upload: Pace::default(),
            download: Pace::default(),
        }
    }

    /// Tells the time of this turn, and the limits in force.
    pub fn begin_turn(&self, now: Moment, limits: &Limits) {
        self.now.set(now);
        self.rate.set(limits.rate);
    }

    /// When the connection is to be ended if nothing changes, and why.
    pub fn deadline(&self, alpn: Alpn, limits: &Limits) -> Option<(Moment, Reason)> {
        let paces = [&self.upload, &self.download].map(|pace| pace.deadline(&limits.rate));
        let slow = paces.into_iter().flatten().min().map(|at| (at, Reason::HttpTooSlow));
        let silent = self.silence_deadline(alpn, limits);
        [silent, slow].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn silence_deadline(&self, alpn: Alpn, limits: &Limits) -> Option<(Moment, Reason)> {
        if let Some(since) = self.blocked_since.get() {
            return Some((since + limits.body_timeout, Reason::HttpBodyTimeout));
        }
        if self.open_bodies.get() > 0 {
            return Some((self.last_read.get() + limits.body_timeout, Reason::HttpBodyTimeout));
        }
        if self.answers_due.get() > 0 {
            return Some((self.last_write.get() + limits.body_timeout, Reason::HttpBodyTimeout));
        }
        if self.open_requests.get() > 0 {
            return None;
        }
        // Over HTTP/2 bytes outside a request are pings and window updates as well, so silence is counted from the last
        // request, which no trickle of frames extends.
        match (alpn, self.head_since.get()) {
            (Alpn::Http1, Some(since)) => Some((since + limits.head_timeout, Reason::HttpHeadTimeout)),
            _ => Some((self.idle_since.get() + limits.idle_timeout, Reason::HttpIdleTimeout)),
        }
    }

    /// Whether a request is being served that has come whole, and nothing of its answer is there.
    pub fn is_serving(&self) -> bool {
        self.open_requests.get() > 0 && self.open_bodies.get() == 0 && self.answers_due.get() == 0
    }

    /// Requests that have no answer yet.
    pub fn open_requests(&self) -> u32 {
        self.open_requests.get()
    }

    pub(super) fn read(&self) {
        self.last_read.set(self.now.get());
        if self.open_requests.get() == 0 && self.head_since.get().is_none() {
            self.head_since.set(Some(self.now.get()));
        }
    }

    /// Whether there is something to write that the session had no room for.
    pub fn is_write_blocked(&self) -> bool {
        self.blocked_since.get().is_some()
    }

    pub(super) fn write_blocked(&self) {
        if self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(self.now.get()));
        }
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.blocked_since.set(None);
        self.download.progress(bytes, self.now.get(), &self.rate.get());
        if bytes >= ANSWER_WRITE {
            // hyper may hold a whole answer that counts as given: while the client takes it, the connection is not idle.
            self.last_write.set(self.now.get());
            self.idle_since.set(self.now.get());
        }
    }

    /// There is more of an answer than the client has taken.
    pub(super) fn answer_due(&self) {
        self.answers_due.set(self.answers_due.get() + 1);
        self.last_write.set(self.now.get());
        self.download.begin(self.now.get());
    }

    /// The client has taken what there was of an answer.
    pub(super) fn answer_taken(&self) {
        self.answers_due.set(self.answers_due.get().saturating_sub(1));
        if self.answers_due.get() == 0 {
            self.download.end();
        }
    }

    pub(super) fn request_opened(&self) {
        self.head_since.set(None);
        self.open_requests.set(self.open_requests.get() + 1);
    }

    pub(super) fn request_closed(&self) {
        self.open_requests.set(self.open_requests.get().saturating_sub(1));
        self.idle_since.set(self.now.get());
    }

    pub(super) fn body_opened(&self) {
        self.open_bodies.set(self.open_bodies.get() + 1);
        self.last_read.set(self.now.get());
        self.upload.begin(self.now.get());
    }

    pub(super) fn body_received(&self, bytes: usize) {
        self.upload.progress(bytes, self.now.get(), &self.rate.get());
    }

    pub(super) fn body_closed(&self) {
        self.open_bodies.set(self.open_bodies.get().saturating_sub(1));
        if self.open_bodies.get() == 0 {
            self.upload.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        head: 1 << 20,
        head_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(60),
        rate: MinimumRate { bytes: 100, grace: Duration::from_secs(50) },
    };

    fn at(secs: u64) -> Moment {
        Moment::from_millis(secs * 1_000)
    }

    #[test]
    fn each_state_has_its_own_deadline() {
        let activity = Activity::new(at(0), &LIMITS);
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), Some((at(60), Reason::HttpIdleTimeout)));
        activity.begin_turn(at(5), &LIMITS);
        activity.read();
        activity.begin_turn(at(6), &LIMITS);
        activity.read();
        assert_eq!(
            activity.deadline(Alpn::Http1, &LIMITS),
            Some((at(15), Reason::HttpHeadTimeout)),
            "first byte counts"
        );
        assert_eq!(
            activity.deadline(Alpn::Http2, &LIMITS),
            Some((at(60), Reason::HttpIdleTimeout)),
            "a ping is no head"
        );
        activity.request_opened();
        activity.body_opened();
        activity.begin_turn(at(8), &LIMITS);
        activity.read();
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), Some((at(38), Reason::HttpBodyTimeout)));
        activity.body_closed();
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), None, "the function may take its time");
        activity.write_blocked();
        activity.begin_turn(at(9), &LIMITS);
        activity.write_blocked();
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), Some((at(38), Reason::HttpBodyTimeout)));
        activity.wrote(1);
        activity.answer_due();
        activity.begin_turn(at(12), &LIMITS);
        activity.wrote(17);
        assert_eq!(activity.deadline(Alpn::Http2, &LIMITS), Some((at(39), Reason::HttpBodyTimeout)), "a pong");
        activity.wrote(1_000);
        assert_eq!(activity.deadline(Alpn::Http2, &LIMITS), Some((at(42), Reason::HttpBodyTimeout)));
        activity.answer_taken();
        assert_eq!(activity.deadline(Alpn::Http2, &LIMITS), None, "the function has not written more");
        activity.request_closed();
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), Some((at(72), Reason::HttpIdleTimeout)));
        activity.begin_turn(at(20), &LIMITS);
        activity.wrote(1_000);
        assert_eq!(activity.deadline(Alpn::Http2, &LIMITS), Some((at(80), Reason::HttpIdleTimeout)));
    }
    #[test]
    fn a_trickle_in_either_direction_ends_by_the_minimum_rate() {
        let slow = |secs| Some((at(secs), Reason::HttpTooSlow));
        let activity = Activity::new(at(0), &LIMITS);
        activity.begin_turn(at(5), &LIMITS);
        activity.request_opened();
        activity.body_opened();
        for secs in [25, 45] {
            activity.begin_turn(at(secs), &LIMITS);
            activity.read();
            activity.body_received(100);
        }
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), slow(57), "50 s of grace, 2 s for 200 bytes");
        activity.body_received(4_000);
        assert_eq!(
            activity.deadline(Alpn::Http1, &LIMITS),
            Some((at(75), Reason::HttpBodyTimeout)),
            "silence is earlier"
        );
        activity.body_closed();
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), None, "the function may take its time");
        activity.begin_turn(at(600), &LIMITS);
        activity.answer_due();
        for secs in [620, 640] {
            activity.begin_turn(at(secs), &LIMITS);
            activity.wrote(300);
        }
        assert_eq!(activity.deadline(Alpn::Http2, &LIMITS), slow(656), "6 s for 600 bytes");
        activity.answer_taken();
        assert_eq!(activity.deadline(Alpn::Http2, &LIMITS), None, "the function has not written more");
    }
}
