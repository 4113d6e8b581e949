//! One client's connection to an eni: TCP below, TLS and HTTP above, on one thread without hand-over.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use http_body::Body;

use super::ready::Ready;
use crate::config::EndpointSettings;
use crate::flow::FlowId;
use crate::http::{
    Activity, Connection as HttpConnection, Handler, Limits, MinimumRate, Pace, Progress, SharedSession,
};
use crate::tcp::{Connection, Leg, State};
use crate::time::Moment;
use crate::tls::{HandshakeKind, ServerSetup, Session};
use crate::verdict::{Counters, Event, Reason};

/// Rounds of receive, serve, send that one connection may take before the others have their turn.
const ROUNDS: usize = 32;
/// How long the other side may take to close its side of a connection that we closed.
pub(super) const LINGER: Duration = Duration::from_secs(10);
/// How long the acknowledgement of a request may wait for the answer to carry it (RFC 9293 §3.8.6.3 allows half a second).
const ACK_WITHIN: Duration = Duration::from_millis(10);

/// Limits and time-outs of client connections, from the endpoint's settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLimits {
    tcp_handshake: Duration,
    tls_handshake: Duration,
    http: Limits,
}

impl From<&EndpointSettings> for ClientLimits {
    fn from(settings: &EndpointSettings) -> Self {
        Self {
            tcp_handshake: settings.tcp_handshake_timeout,
            tls_handshake: settings.tls_handshake_timeout,
            http: Limits {
                head: settings.http_head_limit,
                head_timeout: settings.http_head_timeout,
                body_timeout: settings.http_body_timeout,
                idle_timeout: settings.http_idle_timeout,
                rate: MinimumRate { bytes: settings.http_minimum_rate, grace: settings.http_rate_grace },
            },
        }
    }
}

/// How far a connection has come.
enum Phase<B: Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static> {
    /// SYN seen, ACK awaited.
    TcpHandshake { since: Moment },
    /// Established, TLS handshake under way.
    TlsHandshake { since: Moment },
    /// Serving requests.
    Http(Box<HttpConnection<B>>),
    /// What is queued goes out, then FIN.
    Closing { since: Moment },
    /// Only a RST goes out.
    Aborted,
}

/// A client's connection.
pub(super) struct Client<
    B: Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static,
> {
    pub(super) tcp: Connection,
    pub(super) flow: FlowId,
    pub(super) leg: Leg,
    pub(super) ready: Rc<Ready>,
    session: SharedSession,
    phase: Phase<B>,
    handler: Handler<B>,
    saw_eof: bool,
    taking: Taking,
    /// Since when an acknowledgement waits.
    ack_held: Option<Moment>,
}

/// How the client takes what is sent to it.
struct Taking {
    /// When it last took something.
    last: Moment,
    /// Bytes that TCP had for it then.
    left: usize,
    pace: Pace,
}

impl Taking {
    /// TCP was given `sent` bytes more and has `left`; `is_due` says whether there is something for the client at all.
    fn note(&mut self, sent: usize, left: usize, is_due: bool, now: Moment, rate: &MinimumRate) {
        if is_due {
            self.pace.begin(now);
            self.pace.progress((self.left + sent).saturating_sub(left), now, rate);
        } else {
            self.pace.end();
        }
        if sent > 0 || left < self.left {
            self.last = now;
        }
        self.left = left;
    }
}

impl<B: Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static> Client<B> {
    /// A connection whose SYN has been allowed.
    pub(super) fn new(
        tcp: Connection,
        flow: FlowId,
        leg: Leg,
        ready: Rc<Ready>,
        setup: &ServerSetup,
        handler: Handler<B>,
        now: Moment,
    ) -> Self {
        let session = Rc::new(RefCell::new(Session::new(setup)));
        let phase = Phase::TcpHandshake { since: now };
        let taking = Taking { last: now, left: 0, pace: Pace::default() };
        Self { tcp, flow, leg, ready, session, phase, handler, saw_eof: false, taking, ack_held: None }
    }

    /// Serves whatever can be served now.
    pub(super) fn drive(&mut self, now: Moment, limits: &ClientLimits, counters: &Counters) {
        if self.is_over() {
            // What it sent before it went away is nobody's any more.
            return;
        }
        self.follow_tcp(now, counters);
        let (mut rounds, mut sent) = (0, 0);
        loop {
            let mut moved = self.receive(now, limits, counters);
            // What was read makes room for more.
            moved |= self.serve(now, limits, counters);
            let bytes = self.send();
            (moved, sent) = (moved | (bytes > 0), sent + bytes);
            rounds += 1;
            // What moved made way for more, where there is more: in TCP's buffer, or in HTTP's hands.
            if !moved || !self.has_unread() && (bytes == 0 || !self.is_write_blocked()) {
                break;
            }
            if rounds == ROUNDS {
                self.ready.mark();
                break;
            }
        }
        self.close_when_done();
        if let Phase::Http(http) = &self.phase
            && http.activity().open_requests() == 0
        {
            self.session.borrow_mut().rest();
        }
        let (left, is_due) = (self.tcp.unacknowledged(), self.is_due());
        self.taking.note(sent, left, is_due, now, &limits.http.rate);
    }

    /// Until when there is no need to emit anything: a whole request is being served, and what is due for it is its
    /// acknowledgement alone. A packet for itself would cost the client as much as the answer does.
    pub(super) fn hold_acknowledgement(&mut self, now: Moment) -> Option<Moment> {
        let is_served = match &self.phase {
            Phase::Http(http) => {
                http.activity().is_serving() && self.tcp.state() == State::Established && !self.is_due()
            }
            _ => false,
        };
        let until = *self.ack_held.get_or_insert(now) + ACK_WITHIN;
        if is_served && now < until {
            return Some(until);
        }
        self.ack_held = None;
        None
    }

    /// Whether the connection is over and may be forgotten. Ask after egress.
    pub(super) fn is_over(&self) -> bool {
        self.tcp.is_over()
    }

    /// When to end the connection if nothing happens, and why.
    pub(super) fn deadline(&self, limits: &ClientLimits) -> Option<(Moment, Option<Reason>)> {
        match &self.phase {
            Phase::TcpHandshake { since } => Some((*since + limits.tcp_handshake, Some(Reason::TcpHandshakeTimeout))),
            Phase::TlsHandshake { since } => Some((*since + limits.tls_handshake, Some(Reason::TlsHandshakeTimeout))),
            Phase::Http(http) => {
                let due = http.activity().deadline(http.alpn(), &limits.http);
                let due = match (due, self.patience(limits)) {
                    // HTTP is done with an answer that the client has not taken yet: that is no idleness.
                    (Some((at, Reason::HttpIdleTimeout)), Some(until)) if until > at => {
                        Some((until, Reason::HttpBodyTimeout))
                    }
                    (due, _) => due,
                };
                self.or_too_slow(due.map(|(at, reason)| (at, Some(reason))), limits)
            }
            Phase::Closing { since } => {
                self.or_too_slow(Some((self.patience(limits).unwrap_or(*since + LINGER), None)), limits)
            }
            Phase::Aborted => None,
        }
    }

    /// A deadline, or the earlier moment at which the client takes too slowly what is there for it.
    fn or_too_slow(
        &self,
        due: Option<(Moment, Option<Reason>)>,
        limits: &ClientLimits,
    ) -> Option<(Moment, Option<Reason>)> {
        let slow = self.taking.pace.deadline(&limits.http.rate).map(|at| (at, Some(Reason::HttpTooSlow)));
        [due, slow].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Whether there is something for the client that it has not taken.
    fn is_due(&self) -> bool {
        self.tcp.unacknowledged() > 0 || self.session.borrow().wants_emit()
    }

    /// Until when the client may take nothing of what is there for it; `None` if nothing is. Toward the VPC a lost segment is
    /// repeated after a second, two, four and so on, and the answer with it.
    fn patience(&self, limits: &ClientLimits) -> Option<Moment> {
        self.is_due().then(|| self.taking.last + limits.http.body_timeout)
    }

    /// Ends the connection because its deadline passed.
    pub(super) fn expire(&mut self, reason: Option<Reason>, now: Moment) {
        match (&self.phase, reason) {
            // Between requests there is nothing to lose: close in good order.
            (Phase::Http(_), Some(Reason::HttpIdleTimeout)) => self.close(now),
            _ => {
                self.phase = Phase::Aborted;
                self.tcp.abort();
            }
        }
        self.ready.mark();
    }

    /// Requests whose answer has not arrived in full: those that have none yet, and, when all were answered, one for what the
    /// client has not acknowledged.
    pub(super) fn in_flight(&self) -> usize {
        let Phase::Http(http) = &self.phase else { return 0 };
        let unanswered = http.activity().open_requests() as usize;
        unanswered.max(usize::from(self.is_due()))
    }

    /// Whether the TCP handshake is not finished.
    pub(super) fn is_half_open(&self) -> bool {
        matches!(self.phase, Phase::TcpHandshake { .. })
    }

    fn follow_tcp(&mut self, now: Moment, counters: &Counters) {
        if self.is_half_open() && self.tcp.is_established() {
            counters.count(Event::TcpEstablished);
            self.phase = Phase::TlsHandshake { since: now };
        }
    }

    /// Whether TCP has something that [`Self::receive`] has not seen: bytes, or their end.
    fn has_unread(&self) -> bool {
        self.tcp.can_recv() || self.is_at_unseen_end()
    }

    fn is_at_unseen_end(&self) -> bool {
        !self.saw_eof && self.tcp.is_established() && !self.tcp.may_recv()
    }

    /// Whether HTTP has something for the client that the session had no room for.
    fn is_write_blocked(&self) -> bool {
        matches!(&self.phase, Phase::Http(http) if http.activity().is_write_blocked())
    }

    fn receive(&mut self, now: Moment, limits: &ClientLimits, counters: &Counters) -> bool {
        if matches!(self.phase, Phase::Closing { .. }) {
            // Nobody reads it any more, but the client's FIN stands behind it.
            return self.tcp.recv(|bytes| bytes.len()).unwrap_or(0) > 0;
        }
        if self.tcp.can_recv() {
            let mut report = crate::tls::Ingest::default();
            let session = &self.session;
            let taken = self.tcp.recv(|bytes| {
                report = session.borrow_mut().ingest(bytes);
                report.taken
            });
            if let Some(kind) = report.handshake {
                counters.count(match kind {
                    HandshakeKind::Full => Event::TlsHandshake,
                    HandshakeKind::Resumed => Event::TlsResumed,
                });
                self.start_http(now, limits);
            }
            if let Some(reason) = report.failed {
                counters.deny(reason);
                self.phase = Phase::Closing { since: now };
            }
            return taken.unwrap_or(0) > 0 || report.failed.is_some();
        }
        if self.is_at_unseen_end() {
            self.saw_eof = true;
            self.session.borrow_mut().ingest_eof();
            if !matches!(self.phase, Phase::Http(_)) {
                self.phase = Phase::Closing { since: now };
            }
            return true;
        }
        false
    }

    fn start_http(&mut self, now: Moment, limits: &ClientLimits) {
        let alpn = self.session.borrow().alpn();
        let activity = Rc::new(Activity::new(now, &limits.http));
        let session = Rc::clone(&self.session);
        let http = HttpConnection::new(session, alpn, activity, &limits.http, Rc::clone(&self.handler));
        self.phase = Phase::Http(Box::new(http));
    }

    /// Returns whether anything was read.
    fn serve(&mut self, now: Moment, limits: &ClientLimits, counters: &Counters) -> bool {
        let Phase::Http(http) = &mut self.phase else { return false };
        http.activity().begin_turn(now, &limits.http);
        if let Progress::Finished(reason) = http.poll(&mut Context::from_waker(self.ready.waker())) {
            if let Some(reason) = reason {
                counters.deny(reason);
            }
            self.close(now);
        }
        self.session.borrow_mut().take_was_read()
    }

    fn send(&mut self) -> usize {
        let tcp = &mut self.tcp;
        self.session.borrow_mut().emit(&mut |records| tcp.send(records))
    }

    fn close(&mut self, now: Moment) {
        self.session.borrow_mut().close();
        self.phase = Phase::Closing { since: now };
    }

    fn close_when_done(&mut self) {
        if matches!(self.phase, Phase::Closing { .. }) && !self.session.borrow().wants_emit() {
            self.tcp.close();
        }
    }
}
