//! One connection to the function host: the engine moves its packets and what is left of a request, the invocation that
//! has it reads the answer from TCP's receive buffer itself.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::{HostPool, SILENCE};
use crate::engine::client::LINGER;
use crate::engine::ready::Ready;
use crate::tcp::{Connection, State};
use crate::time::Moment;

/// How often a host is probed while a request is out.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long the acknowledgement of an answer may wait for the next request.
pub(in crate::engine) const ACK_WITHIN: Duration = Duration::from_millis(1);

/// A connection shared by the engine and whoever has a request on it.
pub(in crate::engine) struct Wire {
    pub(in crate::engine) tcp: RefCell<Connection>,
    ready: Rc<Ready>,
    /// What TCP's send buffer had no room for.
    unsent: RefCell<Unsent>,
    /// Bytes written since a request was given to it.
    written: Cell<usize>,
    /// The host reset it and had acknowledged none of them: it knows nothing of the request.
    was_untouched: Cell<bool>,
    /// A request was given to it, whose answer has not been read.
    is_lent: Cell<bool>,
    /// It carries no more requests.
    is_done: Cell<bool>,
    /// Who reads it, while it waits.
    reader: RefCell<Waker>,
    is_awaited: Cell<bool>,
    /// When the reader gives up.
    give_up: Cell<Moment>,
}

/// The rest of a request.
#[derive(Default)]
struct Unsent {
    head: Vec<u8>,
    body: Bytes,
}

impl Unsent {
    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    /// Sends what there is room for, and returns how much that was.
    fn send(&mut self, tcp: &mut Connection) -> usize {
        let mut sent = 0;
        if !self.head.is_empty() {
            sent = tcp.send(&self.head);
            self.head.drain(..sent);
        }
        if self.head.is_empty() && !self.body.is_empty() {
            let of_body = tcp.send(&self.body);
            // A body that is all out is let go of.
            self.body = if of_body == self.body.len() { Bytes::new() } else { self.body.slice(of_body..) };
            sent += of_body;
        }
        sent
    }
}

impl Wire {
    fn send_rest(&self, tcp: &mut Connection) {
        let mut unsent = self.unsent.borrow_mut();
        if !unsent.is_empty() {
            self.written.set(self.written.get() + unsent.send(tcp));
        }
    }

    /// Whether there is something to read, or nothing to come. A host that closes its side before it has heard of the request
    /// has not: it will refuse the request with a RST.
    fn has_news(&self, tcp: &Connection) -> bool {
        let is_at_end =
            !tcp.may_recv() && (tcp.state() == State::Closed || tcp.is_established() && !self.is_unheard(tcp));
        tcp.can_recv() || is_at_end
    }

    fn is_unheard(&self, tcp: &Connection) -> bool {
        self.is_lent.get() && tcp.unacknowledged() >= self.written.get()
    }
}

pub(super) type SharedTcp = Rc<Wire>;

/// Why there is nothing to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// There may be more.
    None,
    /// The host closed its side.
    Finished,
    /// Reset, or given up.
    Broken,
}

/// The right to send one request at a time on a connection. Dropped, it ends the connection.
pub(super) struct Lease(pub(super) SharedTcp);

impl Lease {
    /// Whether a request can be sent now. What the host says unasked, and its FIN, make an idle connection unusable.
    pub(super) fn is_usable(&self) -> bool {
        let tcp = self.0.tcp.borrow();
        !self.0.is_done.get() && tcp.state() == State::Established && !tcp.can_recv()
    }

    /// Writes a request. What does not fit now follows as the host takes it.
    pub(super) fn send(&self, head: &[u8], body: &Bytes, give_up: Moment) {
        let wire = &*self.0;
        let mut tcp = wire.tcp.borrow_mut();
        tcp.set_liveness(Some(SILENCE), Some(PROBE_EVERY));
        wire.give_up.set(give_up);
        wire.is_lent.set(true);
        let of_head = tcp.send(head);
        let of_body = if of_head == head.len() { tcp.send(body) } else { 0 };
        // A body that is all out is not held on to.
        *wire.unsent.borrow_mut() = Unsent { head: head[of_head..].to_vec(), body: body.slice(of_body..) };
        wire.written.set(of_head + of_body);
        wire.ready.mark();
    }

    pub(super) fn can_recv(&self) -> bool {
        self.0.tcp.borrow().can_recv()
    }

    /// Hands what was received to `read`, which returns how much of it it used; `false` if there is nothing now. Whoever
    /// takes much asks [`Lease::took`] to tell the host.
    pub(super) fn recv(&self, read: impl FnOnce(&[u8]) -> usize) -> bool {
        let mut tcp = self.0.tcp.borrow_mut();
        tcp.can_recv() && tcp.recv(|bytes| read(bytes)).is_some()
    }

    /// Has the host learn that there is room again.
    pub(super) fn took(&self) {
        self.0.ready.mark();
    }

    /// Whether anything can still come.
    pub(super) fn end(&self) -> End {
        let tcp = self.0.tcp.borrow();
        match tcp.state() {
            State::Closed => End::Broken,
            _ if tcp.may_recv() => End::None,
            _ => End::Finished,
        }
    }

    /// Whether the host has acknowledged nothing of the request: what it says then is no answer to it.
    pub(super) fn is_unheard(&self) -> bool {
        self.0.is_unheard(&self.0.tcp.borrow())
    }

    /// Whether the host cannot have seen any of the request, ever.
    pub(super) fn was_untouched(&self) -> bool {
        self.0.was_untouched.get() || self.0.written.get() == 0
    }

    /// Has the task of `cx` woken when there is something to read, nothing more can come, or it is time to give up.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        self.0.reader.borrow_mut().clone_from(cx.waker());
        // The engine arms the timer when it drives the connection.
        if !self.0.is_awaited.replace(true) {
            self.0.ready.mark();
        }
    }

    /// Ends the request whose answer has been read. Returns the lease if the connection can carry another.
    pub(super) fn complete(self) -> Option<Self> {
        self.0.is_awaited.set(false);
        let is_usable = self.0.unsent.borrow().is_empty() && self.is_usable();
        is_usable.then(|| {
            self.0.is_lent.set(false);
            // An idle host is not probed.
            self.0.tcp.borrow_mut().set_liveness(None, None);
            self
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.is_done.set(true);
        self.0.is_awaited.set(false);
        self.0.unsent.take();
        self.0.ready.mark();
    }
}

/// One connection, as the engine drives it.
pub(in crate::engine) struct HostConnection {
    pub(in crate::engine) tcp: SharedTcp,
    pub(in crate::engine) ready: Rc<Ready>,
    pub(in crate::engine) local_port: u16,
    /// Held back until TCP is established.
    unopened: Option<Lease>,
    attempt: u64,
    /// When HTTP ended: the host gets [`LINGER`] to close its side.
    closing_since: Option<Moment>,
    pool: HostPool,
}

impl HostConnection {
    /// A connection whose SYN is about to go out.
    pub(in crate::engine) fn new(
        mut tcp: Connection,
        local_port: u16,
        attempt: u64,
        ready: Rc<Ready>,
        pool: HostPool,
    ) -> Self {
        tcp.set_liveness(Some(SILENCE), None);
        let tcp = Rc::new(Wire {
            tcp: RefCell::new(tcp),
            ready: Rc::clone(&ready),
            unsent: RefCell::default(),
            written: Cell::new(0),
            was_untouched: Cell::new(false),
            is_lent: Cell::new(false),
            is_done: Cell::new(false),
            reader: RefCell::new(Waker::noop().clone()),
            is_awaited: Cell::new(false),
            give_up: Cell::new(Moment::NEVER),
        });
        let unopened = Some(Lease(Rc::clone(&tcp)));
        Self { tcp, ready, local_port, unopened, attempt, closing_since: None, pool }
    }

    /// Sends more of the request if there is room, and wakes the reader if there is something for it. Call before egress.
    ///
    /// Returns whether egress should wait for [`ACK_WITHIN`] or the next call: the reader that was woken may have read the
    /// whole answer, and the next request then carries the acknowledgement. A reader that waits for more has it sent at once.
    pub(in crate::engine) fn drive(&mut self, now: Moment) -> bool {
        let mut was_woken = false;
        let wire = &*self.tcp;
        let mut tcp = wire.tcp.borrow_mut();
        if let Some(lease) = self.unopened.take_if(|_| tcp.is_established()) {
            tcp.set_liveness(None, None);
            self.pool.opened(lease);
        }
        wire.send_rest(&mut tcp);
        if self.closing_since.is_some() {
            // Nobody reads it any more, but the host's FIN stands behind it.
            tcp.recv(|bytes| bytes.len());
        } else if wire.is_awaited.get() {
            if wire.has_news(&tcp) || wire.give_up.get() <= now {
                wire.is_awaited.set(false);
                wire.reader.borrow().wake_by_ref();
                was_woken = true;
            }
        } else if !wire.is_lent.get() && self.unopened.is_none() && wire.has_news(&tcp) {
            // Nobody asked for anything.
            self.pool.retire(&self.tcp);
        }
        if wire.is_done.get() && self.closing_since.is_none() {
            self.closing_since = Some(now);
            tcp.close();
        }
        // A host that hangs does not close its side, and would keep the connection's place for ever.
        if self.closing_since.is_some_and(|since| since + LINGER <= now) {
            tcp.abort();
        }
        was_woken && tcp.state() == State::Established && tcp.unacknowledged() == 0
    }

    /// Takes notice of a RST of the host's, after which `unacknowledged` bytes were left. A host that was restarted knows
    /// none of its connections any more: those that are idle go too, before each of them costs an invocation.
    pub(in crate::engine) fn was_reset(&self, unacknowledged: usize) {
        self.tcp.was_untouched.set(unacknowledged >= self.tcp.written.get());
        let idle = std::mem::take(&mut self.pool.pool.borrow_mut().idle);
        drop(idle);
    }

    /// When to drive it if nothing arrives: its reader gives up, or the host does not close its side.
    pub(in crate::engine) fn deadline(&self) -> Option<Moment> {
        let linger = self.closing_since.map(|since| since + LINGER);
        let give_up = self.tcp.is_awaited.get().then(|| self.tcp.give_up.get());
        linger.or(give_up).filter(|at| *at != Moment::NEVER)
    }

    /// Whether it is over and may be forgotten. Ask after egress.
    pub(in crate::engine) fn is_over(&self) -> bool {
        self.tcp.tcp.borrow().is_over()
    }

    /// Takes it apart once it is over.
    pub(in crate::engine) fn into_tcp(self) -> Option<Connection> {
        let Self { tcp, unopened, attempt, pool, .. } = self;
        let opened = unopened.is_none();
        drop(unopened);
        if opened {
            pool.closed();
        } else {
            pool.failed(attempt);
        }
        // An answer that is still read holds the connection; its socket is then not reused.
        Rc::into_inner(tcp).map(|wire| wire.tcp.into_inner())
    }
}
