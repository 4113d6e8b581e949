//! HTTP connections to the function host, through the tunnel: a bounded pool of keep-alive connections.
//!
//! An invocation takes a connection for itself (HTTP/1.1 has one request at a time) and gives it back when its answer has
//! been read. Futures ask the pool; the engine opens connections when the pool wants more and tells it what became of them.
//! While a request is out the connection is probed, so that a dead tunnel ends it within [`SILENCE`]; an idle one is left
//! alone. A request that hyper hands back unsent (the host closed an idle connection) goes out again on another.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::client::LINGER;
use super::ready::TaskWaker;
use super::timers::Timers;
use crate::tcp::{Connection, State};
use crate::time::Moment;

/// Connections to the function host per worker.
pub(super) const CONNECTION_LIMIT: usize = 256;
/// Invocations that may be out or wait for a connection, per worker.
const PENDING_LIMIT: usize = 4_096;
/// How long the host may be silent on TCP's level while a request is out, and during the handshake.
const SILENCE: Duration = Duration::from_secs(4);
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How often a request that was not sent is tried on another connection.
const ATTEMPTS: usize = 3;

/// A connection shared by the engine, hyper and whoever has a request on it.
pub(super) struct Wire {
    pub(super) tcp: RefCell<Connection>,
    /// Bytes written since a request was given to it.
    written: Cell<usize>,
    /// The host reset it and had acknowledged none of them: it knows nothing of the request.
    untouched: Cell<bool>,
}

type SharedTcp = Rc<Wire>;
type Driver = http1::Connection<HostIo, Full<Bytes>>;

/// Why the function host gave no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HostFailure {
    /// No connection to it could be made.
    Unreachable,
    /// The connection broke while the request was out.
    Broken,
    /// No answer in time.
    TimedOut,
    /// Too many invocations are out already.
    TooManyPending,
}

/// The pool, shared by the engine and the invocations' futures.
#[derive(Clone)]
pub(super) struct HostPool {
    pool: Rc<RefCell<Pool>>,
    timers: Timers,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Sender>,
    /// Invocations in line for a connection. One that gave up leaves a dead entry until it is its turn.
    waiting: VecDeque<Weak<Ticket>>,
    /// Those in line, without the dead.
    in_line: usize,
    /// Connections that exist, in whatever state.
    live: usize,
    /// Connections the engine has yet to begin.
    wanted: usize,
    /// Connections wanted or begun that have not opened.
    opening: usize,
    /// Connections begun since ever.
    begun: u64,
    pending: usize,
}

impl Pool {
    /// Hands a connection to the first in line. Handed over and not offered, so that nobody who comes later takes it.
    fn give(&mut self, sender: Sender) {
        match self.next_in_line() {
            Some(ticket) => {
                ticket.sender.replace(Some(sender));
                ticket.wake();
            }
            None => self.idle.push(sender),
        }
    }

    fn next_in_line(&mut self) -> Option<Rc<Ticket>> {
        while let Some(ticket) = self.waiting.pop_front() {
            if let Some(ticket) = ticket.upgrade() {
                ticket.queued.set(false);
                self.in_line -= 1;
                return Some(ticket);
            }
        }
        None
    }

    /// Puts a ticket in line unless it stands there. Whoever was handed a dead connection keeps its place.
    fn wait(&mut self, ticket: &Rc<Ticket>, waker: &Waker) {
        ticket.waker.borrow_mut().clone_from(waker);
        if ticket.queued.replace(true) {
            return;
        }
        if self.waiting.len() >= 2 * PENDING_LIMIT {
            self.waiting.retain(|ticket| ticket.strong_count() > 0);
        }
        self.in_line += 1;
        match ticket.had_one.get() {
            true => self.waiting.push_front(Rc::downgrade(ticket)),
            false => self.waiting.push_back(Rc::downgrade(ticket)),
        }
        self.want_enough();
    }

    /// Has as many connections begun as there are invocations in line, within the limit.
    fn want_enough(&mut self) {
        while self.opening < self.in_line && self.live + self.wanted < CONNECTION_LIMIT {
            self.wanted += 1;
            self.opening += 1;
        }
    }

    /// Everybody in line who waited while this attempt was made gives up: the next would fail as well.
    fn fail(&mut self, attempt: u64) {
        let mut rest = VecDeque::new();
        while let Some(ticket) = self.next_in_line() {
            if ticket.since < attempt {
                ticket.failed.set(true);
                ticket.wake();
            } else {
                ticket.queued.set(true);
                rest.push_back(Rc::downgrade(&ticket));
            }
        }
        self.in_line = rest.len();
        self.waiting = rest;
    }
}

/// An invocation's place in the line for a connection.
struct Ticket {
    waker: RefCell<Waker>,
    queued: Cell<bool>,
    /// A connection handed over.
    sender: RefCell<Option<Sender>>,
    had_one: Cell<bool>,
    /// Connections begun before it came.
    since: u64,
    failed: Cell<bool>,
    pool: Rc<RefCell<Pool>>,
}

impl Ticket {
    fn new(pool: &Rc<RefCell<Pool>>) -> Rc<Self> {
        Rc::new(Self {
            waker: RefCell::new(Waker::noop().clone()),
            queued: Cell::new(false),
            sender: RefCell::default(),
            had_one: Cell::new(false),
            since: pool.borrow().begun,
            failed: Cell::new(false),
            pool: Rc::clone(pool),
        })
    }

    fn wake(&self) {
        self.waker.borrow().wake_by_ref();
    }

    /// The connection that was handed over, if one was.
    fn take(&self) -> Option<Sender> {
        let sender = self.sender.take();
        self.had_one.set(self.had_one.get() || sender.is_some());
        sender
    }
}

impl Drop for Ticket {
    /// Whoever leaves with a connection in hand passes it on.
    fn drop(&mut self) {
        let mut pool = self.pool.borrow_mut();
        if self.queued.get() {
            pool.in_line -= 1;
        }
        if let Some(sender) = self.sender.take() {
            pool.give(sender);
        }
    }
}

/// The right to send a request on one connection.
struct Sender {
    requests: http1::SendRequest<Full<Bytes>>,
    tcp: SharedTcp,
}

impl Sender {
    fn watch(&self, watch: bool) {
        let (timeout, probe) = if watch { (Some(SILENCE), Some(PROBE_EVERY)) } else { (None, None) };
        self.tcp.tcp.borrow_mut().set_liveness(timeout, probe);
        self.tcp.written.set(0);
    }
}

impl HostPool {
    pub(super) fn new(timers: Timers) -> Self {
        Self { pool: Rc::default(), timers }
    }

    /// Sends a request and waits for the head of its answer, until `deadline`. `request` makes it, again if it has to be
    /// sent again.
    pub(super) async fn send(
        &self,
        request: impl Fn() -> Request<Full<Bytes>>,
        deadline: Moment,
    ) -> Result<Response<HostBody>, HostFailure> {
        let _pending = Pending::admit(&self.pool)?;
        let attempt = pin!(self.attempt(request));
        match select(attempt, self.timers.at(deadline)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(HostFailure::TimedOut),
        }
    }

    /// How many connections the engine should begin now.
    pub(super) fn take_wanted(&self) -> usize {
        let mut pool = self.pool.borrow_mut();
        let wanted = std::mem::take(&mut pool.wanted);
        pool.live += wanted;
        wanted
    }

    /// Numbers a connection that is begun.
    pub(super) fn begin(&self) -> u64 {
        let mut pool = self.pool.borrow_mut();
        pool.begun += 1;
        pool.begun
    }

    /// Invocations that are out or wait.
    pub(super) fn pending(&self) -> usize {
        self.pool.borrow().pending
    }

    fn opened(&self, sender: Sender) {
        sender.watch(false);
        let mut pool = self.pool.borrow_mut();
        pool.opening = pool.opening.saturating_sub(1);
        pool.give(sender);
    }

    fn give_back(&self, sender: Sender) {
        self.pool.borrow_mut().give(sender);
    }

    /// Takes a connection that can carry no more requests from the idle ones.
    fn retire(&self, tcp: &SharedTcp) {
        let mut pool = self.pool.borrow_mut();
        if let Some(at) = pool.idle.iter().position(|sender| Rc::ptr_eq(&sender.tcp, tcp)) {
            let sender = pool.idle.swap_remove(at);
            drop(pool);
            drop(sender);
        }
    }

    /// A connection is gone: there is room for another.
    fn closed(&self) {
        let mut pool = self.pool.borrow_mut();
        pool.live = pool.live.saturating_sub(1);
        pool.want_enough();
    }

    /// A connection never opened. Whoever waited while it was tried gives up.
    pub(super) fn failed(&self, attempt: u64) {
        let mut pool = self.pool.borrow_mut();
        pool.opening = pool.opening.saturating_sub(1);
        pool.fail(attempt);
        drop(pool);
        self.closed();
    }

    async fn attempt(&self, make: impl Fn() -> Request<Full<Bytes>>) -> Result<Response<HostBody>, HostFailure> {
        let mut unsent = None;
        for _ in 0..ATTEMPTS {
            let mut sender = self.acquire().await?;
            sender.watch(true);
            match sender.requests.try_send_request(unsent.take().unwrap_or_else(&make)).await {
                Ok(response) => {
                    return Ok(response.map(|incoming| HostBody::new(incoming, sender, self.clone())));
                }
                Err(mut error) => {
                    unsent = error.take_message();
                    if unsent.is_none() && !sender.tcp.untouched.get() {
                        return Err(HostFailure::Broken);
                    }
                }
            }
        }
        Err(HostFailure::Unreachable)
    }

    /// A sender that is ready, from the pool or by a new connection.
    async fn acquire(&self) -> Result<Sender, HostFailure> {
        let ticket = Ticket::new(&self.pool);
        let mut held: Option<Sender> = None;
        poll_fn(|cx| {
            loop {
                let sender = held.take().or_else(|| ticket.take());
                // A connection is idle only while nobody is in line.
                let Some(mut sender) = sender.or_else(|| self.pool.borrow_mut().idle.pop()) else {
                    if ticket.failed.get() {
                        return Poll::Ready(Err(HostFailure::Unreachable));
                    }
                    self.pool.borrow_mut().wait(&ticket, cx.waker());
                    return Poll::Pending;
                };
                match sender.requests.poll_ready(cx) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Ok(sender)),
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => {
                        held = Some(sender);
                        return Poll::Pending;
                    }
                }
            }
        })
        .await
    }
}

/// Counts an invocation while it is out.
struct Pending(Rc<RefCell<Pool>>);

impl Pending {
    fn admit(pool: &Rc<RefCell<Pool>>) -> Result<Self, HostFailure> {
        let mut inner = pool.borrow_mut();
        if inner.pending >= PENDING_LIMIT {
            return Err(HostFailure::TooManyPending);
        }
        inner.pending += 1;
        drop(inner);
        Ok(Self(Rc::clone(pool)))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut pool = self.0.borrow_mut();
        pool.pending = pool.pending.saturating_sub(1);
    }
}

/// The body of the host's answer. Read to its end it gives the connection back; dropped before, it ends the connection.
pub(super) struct HostBody {
    incoming: Incoming,
    sender: Option<Sender>,
    pool: HostPool,
}

impl HostBody {
    fn new(incoming: Incoming, sender: Sender, pool: HostPool) -> Self {
        let mut body = Self { incoming, sender: Some(sender), pool };
        body.give_back_at_end();
        body
    }

    fn give_back_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.complete();
        }
    }

    fn complete(&mut self) {
        if let Some(sender) = self.sender.take() {
            sender.watch(false);
            self.pool.give_back(sender);
        }
    }
}

impl Body for HostBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => this.complete(),
            Poll::Ready(Some(Ok(_))) => this.give_back_at_end(),
            Poll::Ready(Some(Err(_))) => this.sender = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// One connection, as the engine drives it.
pub(super) struct HostConnection {
    pub(super) tcp: SharedTcp,
    pub(super) ready: Arc<TaskWaker>,
    pub(super) local_port: u16,
    driver: Option<Pin<Box<Driver>>>,
    /// Held back until TCP is established.
    unopened: Option<Sender>,
    attempt: u64,
    /// When HTTP ended: the host gets [`LINGER`] to close its side.
    closing_since: Option<Moment>,
    pool: HostPool,
}

impl HostConnection {
    /// A connection whose SYN is about to go out.
    pub(super) fn new(tcp: Connection, local_port: u16, attempt: u64, ready: Arc<TaskWaker>, pool: HostPool) -> Self {
        let mut tcp = tcp;
        tcp.set_liveness(Some(SILENCE), None);
        let tcp = Rc::new(Wire { tcp: RefCell::new(tcp), written: Cell::new(0), untouched: Cell::new(false) });
        let mut connection =
            Self { tcp, ready, local_port, driver: None, unopened: None, attempt, closing_since: None, pool };
        connection.start_http();
        connection
    }

    /// Moves HTTP as far as TCP allows. Call before egress.
    pub(super) fn drive(&mut self, now: Moment) {
        if self.tcp.tcp.borrow().is_established()
            && let Some(sender) = self.unopened.take()
        {
            self.pool.opened(sender);
        }
        let waker = self.ready.waker();
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            self.driver = None;
            self.closing_since = Some(now);
            self.pool.retire(&self.tcp);
            self.tcp.tcp.borrow_mut().close();
        }
        // A host that hangs does not close its side, and would keep the connection's place for ever.
        if self.deadline().is_some_and(|at| at <= now) {
            self.tcp.tcp.borrow_mut().abort();
        }
    }

    /// Takes notice of a RST of the host's, after which `unacknowledged` bytes were left. A host that was restarted knows
    /// none of its connections any more: those that are idle go too, before each of them costs an invocation.
    pub(super) fn was_reset(&self, unacknowledged: usize) {
        self.tcp.untouched.set(unacknowledged >= self.tcp.written.get());
        let idle = std::mem::take(&mut self.pool.pool.borrow_mut().idle);
        drop(idle);
    }

    /// When the connection is ended if the host does not close it.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.closing_since.map(|since| since + LINGER)
    }

    /// Whether it is over and may be forgotten. Ask after egress.
    pub(super) fn is_over(&self) -> bool {
        self.tcp.tcp.borrow().is_over()
    }

    /// Takes it apart once it is over.
    pub(super) fn into_tcp(self) -> Option<Connection> {
        let Self { tcp, driver, unopened, attempt, pool, .. } = self;
        let opened = unopened.is_none();
        drop(driver);
        drop(unopened);
        if opened {
            pool.closed()
        } else {
            pool.failed(attempt)
        }
        // An answer that is still read holds the connection; its socket is then not reused.
        Rc::into_inner(tcp).map(|wire| wire.tcp.into_inner())
    }

    fn start_http(&mut self) {
        let io = HostIo(Rc::clone(&self.tcp));
        let mut handshake = pin!(http1::Builder::new().handshake::<_, Full<Bytes>>(io));
        let waker = self.ready.waker();
        // hyper's handshake for HTTP/1.1 exchanges nothing: it is ready when first polled.
        if let Poll::Ready(Ok((requests, driver))) = handshake.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.driver = Some(Box::pin(driver));
            self.unopened = Some(Sender { requests, tcp: Rc::clone(&self.tcp) });
        }
    }
}

/// Local ports of connections to the function host. Workers share the address, so each has a range of its own.
#[derive(Debug)]
pub(super) struct PortTable {
    first: u16,
    /// Which connection holds `first + index`.
    slots: Vec<Option<u32>>,
    next: usize,
}

impl PortTable {
    /// Ports of the ephemeral range (RFC 6335 §6) that fall to one worker of so many.
    pub(super) fn new(worker: usize, workers: usize) -> Self {
        const FIRST: usize = 49_152;
        let count = (65_536 - FIRST) / workers.max(1);
        let first = u16::try_from(FIRST + count * worker).unwrap_or(u16::MAX);
        Self { first, slots: vec![None; count], next: 0 }
    }

    /// A port for the connection in `slot`. Ports are used in turn, so that an old connection's segments find none.
    pub(super) fn claim(&mut self, slot: usize) -> Option<u16> {
        for _ in 0..self.slots.len() {
            let index = self.next;
            self.next = (self.next + 1) % self.slots.len();
            if self.slots[index].is_none() {
                self.slots[index] = u32::try_from(slot).ok();
                return self.first.checked_add(u16::try_from(index).ok()?);
            }
        }
        None
    }

    pub(super) fn slot_of(&self, port: u16) -> Option<usize> {
        let index = usize::from(port.checked_sub(self.first)?);
        self.slots.get(index).copied().flatten().map(|slot| slot as usize)
    }

    pub(super) fn release(&mut self, port: u16) {
        if let Some(slot) = port.checked_sub(self.first).and_then(|index| self.slots.get_mut(usize::from(index))) {
            *slot = None;
        }
    }
}

/// hyper's view of a TCP connection. The engine polls the driver whenever the connection changed, so no wakers are kept.
struct HostIo(SharedTcp);

impl Read for HostIo {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut tcp = self.0.tcp.borrow_mut();
        if tcp.can_recv() {
            let room = buf.remaining();
            tcp.recv(|bytes| {
                let n = bytes.len().min(room);
                buf.put_slice(&bytes[..n]);
                n
            });
            return Poll::Ready(Ok(()));
        }
        match tcp.state() {
            State::SynSent | State::SynReceived | State::Listen => Poll::Pending,
            State::Closed => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            _ if tcp.may_recv() => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Write for HostIo {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut tcp = self.0.tcp.borrow_mut();
        match tcp.send(buf) {
            0 if !buf.is_empty() && tcp.state() == State::Closed => {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            0 if !buf.is_empty() => Poll::Pending,
            taken => {
                self.0.written.set(self.0.written.get() + taken);
                Poll::Ready(Ok(taken))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.tcp.borrow_mut().close();
        Poll::Ready(Ok(()))
    }
}
