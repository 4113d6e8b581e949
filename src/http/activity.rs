//! What a connection is doing, for its time-outs.

use std::cell::Cell;
use std::time::Duration;

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
}

/// The state of one connection as its bytes and requests tell it. Single-threaded.
#[derive(Debug, Default)]
pub struct Activity {
    now: Cell<Moment>,
    open_requests: Cell<u32>,
    open_bodies: Cell<u32>,
    head_since: Cell<Option<Moment>>,
    idle_since: Cell<Moment>,
    last_read: Cell<Moment>,
    blocked_since: Cell<Option<Moment>>,
    /// Answers of which the client has yet to take what there is.
    answers_due: Cell<u32>,
    last_write: Cell<Moment>,
}

/// A write this large carries more of an answer than pongs and acknowledged settings, bytes.
const ANSWER_WRITE: usize = 256;

impl Activity {
    /// A connection whose handshake ended at `now`.
    pub fn new(now: Moment) -> Self {
        let activity = Self::default();
        activity.now.set(now);
        activity.idle_since.set(now);
        activity.last_read.set(now);
        activity
    }

    /// Tells the time of this turn.
    pub fn set_now(&self, now: Moment) {
        self.now.set(now);
    }

    /// When the connection is to be ended if nothing changes, and why.
    pub fn deadline(&self, alpn: Alpn, limits: &Limits) -> Option<(Moment, Reason)> {
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

    pub(super) fn write_blocked(&self) {
        if self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(self.now.get()));
        }
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.blocked_since.set(None);
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
    }

    /// The client has taken what there was of an answer.
    pub(super) fn answer_taken(&self) {
        self.answers_due.set(self.answers_due.get().saturating_sub(1));
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
    }

    pub(super) fn body_closed(&self) {
        self.open_bodies.set(self.open_bodies.get().saturating_sub(1));
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
    };

    fn at(secs: u64) -> Moment {
        Moment::from_millis(secs * 1_000)
    }

    #[test]
    fn each_state_has_its_own_deadline() {
        let activity = Activity::new(at(0));
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), Some((at(60), Reason::HttpIdleTimeout)));
        activity.set_now(at(5));
        activity.read();
        activity.set_now(at(6));
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
        activity.set_now(at(8));
        activity.read();
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), Some((at(38), Reason::HttpBodyTimeout)));
        activity.body_closed();
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), None, "the function may take its time");
        activity.write_blocked();
        activity.set_now(at(9));
        activity.write_blocked();
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), Some((at(38), Reason::HttpBodyTimeout)));
        activity.wrote(1);
        activity.answer_due();
        activity.set_now(at(12));
        activity.wrote(17);
        assert_eq!(activity.deadline(Alpn::Http2, &LIMITS), Some((at(39), Reason::HttpBodyTimeout)), "a pong");
        activity.wrote(1_000);
        assert_eq!(activity.deadline(Alpn::Http2, &LIMITS), Some((at(42), Reason::HttpBodyTimeout)));
        activity.answer_taken();
        assert_eq!(activity.deadline(Alpn::Http2, &LIMITS), None, "the function has not written more");
        activity.request_closed();
        assert_eq!(activity.deadline(Alpn::Http1, &LIMITS), Some((at(72), Reason::HttpIdleTimeout)));
        activity.set_now(at(20));
        activity.wrote(1_000);
        assert_eq!(activity.deadline(Alpn::Http2, &LIMITS), Some((at(80), Reason::HttpIdleTimeout)));
    }
}
