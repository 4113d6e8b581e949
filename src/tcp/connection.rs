//! One TCP connection: a socket set of one.

use std::time::Duration;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::Socket;
pub use smoltcp::socket::tcp::State;

use super::recovery::Recovery;
use super::{Class, smoltcp_duration};

/// How often a stalled sender asks for the window.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// A connection, owned by whoever serves it; [`super::TcpStage`] moves its packets.
pub struct Connection {
    pub(super) set: SocketSet<'static>,
    pub(super) class: Class,
    /// The MSS that segments on the wire must keep to, where it differs from what smoltcp was told; 0 where it does not.
    pub(super) real_mss: u16,
    /// What [`Connection::set_liveness`] was told.
    keep_alive: Option<Duration>,
    /// Whether a stalled sender is being helped out, see [`Connection::mend_stall`].
    is_probing: bool,
    /// The sender above smoltcp, where packets may be lost.
    pub(super) recovery: Option<Box<Recovery>>,
    /// See [`Connection::take_made_room`].
    pub(super) made_room: bool,
    /// Bytes received and sent, as far as they went through the buffers.
    pub(super) moved: usize,
    handle: SocketHandle,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("class", &self.class).field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(set: SocketSet<'static>, class: Class, recovery: Option<Box<Recovery>>) -> Self {
        #[expect(clippy::expect_used, reason = "every set is made with one socket and keeps it")]
        let handle = set.iter().next().map(|(handle, _)| handle).expect("a set holds its one socket");
        let mut connection = Self {
            set,
            class,
            real_mss: 0,
            keep_alive: None,
            is_probing: false,
            recovery,
            made_room: false,
            moved: 0,
            handle,
        };
        connection.set_liveness(None, None);
        connection
    }

    /// The state of RFC 9293 §3.3.2.
    pub fn state(&self) -> State {
        self.set.get::<Socket<'_>>(self.handle).state()
    }

    /// Whether the handshake is over and neither side has reset.
    pub fn is_established(&self) -> bool {
        !matches!(self.state(), State::Closed | State::Listen | State::SynSent | State::SynReceived)
    }

    /// Whether nothing more can happen: closed, only waiting for old segments to die, or reset before it was established,
    /// when a server's socket listens again (RFC 9293 §3.10.7.4). Ask only after the client's first segment.
    pub fn is_over(&self) -> bool {
        matches!(self.state(), State::Closed | State::TimeWait | State::Listen)
    }

    /// Whether received data waits.
    pub fn can_recv(&self) -> bool {
        self.set.get::<Socket<'_>>(self.handle).can_recv()
    }

    /// Whether the other side may still send: false after its FIN was reached, and after a reset.
    pub fn may_recv(&self) -> bool {
        self.set.get::<Socket<'_>>(self.handle).may_recv()
    }

    /// Hands the longest contiguous piece of received data to `take`, which returns how much it used.
    /// `None` when the connection will never receive again.
    pub fn recv(&mut self, take: impl FnOnce(&mut [u8]) -> usize) -> Option<usize> {
        let outcome = self.socket().recv(|data| {
            let used = take(data).min(data.len());
            (used, used)
        });
        // Both errors, finished and invalid state, mean that nothing will come.
        self.moved = self.moved.saturating_add(*outcome.as_ref().unwrap_or(&0));
        outcome.ok()
    }

    /// Queues data to send; returns how much fitted, 0 also when the connection cannot send.
    pub fn send(&mut self, data: &[u8]) -> usize {
        let sent = self.socket().send_slice(data).unwrap_or(0);
        self.moved = self.moved.saturating_add(sent);
        sent
    }

    /// Whether sending alone has made room for more since this was last asked: there will be no packet to say so.
    pub fn take_made_room(&mut self) -> bool {
        std::mem::take(&mut self.made_room)
    }

    /// Bytes that were sent and not yet acknowledged, or not yet sent.
    pub fn unacknowledged(&self) -> usize {
        self.queued() + self.recovery.as_ref().map_or(0, |recovery| recovery.hidden())
    }

    /// Bytes that smoltcp holds.
    pub(super) fn queued(&self) -> usize {
        self.set.get::<Socket<'_>>(self.handle).send_queue()
    }

    /// Sends FIN after what is queued.
    pub fn close(&mut self) {
        self.socket().close();
    }

    /// Sends RST with the next egress.
    pub fn abort(&mut self) {
        self.socket().abort();
    }

    /// Gives up when the other side is silent for `timeout`; probes it every `keep_alive`.
    pub fn set_liveness(&mut self, timeout: Option<Duration>, keep_alive: Option<Duration>) {
        (self.keep_alive, self.is_probing) = (keep_alive, false);
        let socket = self.socket();
        socket.set_timeout(timeout.map(smoltcp_duration));
        socket.set_keep_alive(keep_alive.map(smoltcp_duration));
    }

    /// Helps a sender out that smoltcp 0.14.0 leaves without a timer: when a retransmission falls due while the window is
    /// zero, its timer is stopped and no window probe started. That happens when acknowledgements are reordered, because
    /// smoltcp takes the window of an older one (RFC 9293 §3.10.7.4 compares SND.WL1 and SND.WL2). A keep-alive asks for the
    /// window as a probe does. `is_stalled` says that the connection waits for nothing but packets. Returns whether a timer
    /// was changed.
    pub(super) fn mend_stall(&mut self, is_stalled: bool) -> bool {
        let has_data = self.queued() > 0 && self.is_established();
        if is_stalled && has_data && !self.is_probing {
            self.is_probing = true;
            self.socket().set_keep_alive(Some(smoltcp_duration(PROBE_EVERY)));
            true
        } else if self.is_probing && !has_data {
            self.is_probing = false;
            let keep_alive = self.keep_alive.map(smoltcp_duration);
            self.socket().set_keep_alive(keep_alive);
            true
        } else {
            false
        }
    }

    pub(super) fn socket(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }
}
