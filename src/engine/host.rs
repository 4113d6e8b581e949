//! HTTP connections to the function host, through the tunnel: a bounded pool of keep-alive connections.
//!
//! An invocation takes a connection for itself (HTTP/1.1 has one request at a time) and gives it back when its answer has
//! been read. Futures ask the pool; the engine opens connections when the pool wants more and tells it what became of them.
//! While a request is out the connection is probed, so that a dead tunnel ends it within [`SILENCE`]; an idle one is left
//! alone. A request that hyper hands back unsent (the host closed an idle connection) goes out again on another.

mod connection;
mod line;
mod ports;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

pub(super) use self::connection::HostConnection;
use self::connection::{Sender, SharedTcp};
use self::line::{Pool, Ticket};
pub(super) use self::ports::PortTable;
use super::timers::Timers;
use crate::time::Moment;

/// Connections to the function host per worker.
pub(super) const CONNECTION_LIMIT: usize = 256;
/// Invocations that may be out or wait for a connection, per worker.
const PENDING_LIMIT: usize = 4_096;
/// How long the host may be silent on TCP's level while a request is out, and during the handshake.
const SILENCE: Duration = Duration::from_secs(4);
/// How often a request that was not sent is tried on another connection.
const ATTEMPTS: usize = 3;

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
