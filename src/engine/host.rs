//! HTTP/1.1 connections to the function host, through the tunnel: a bounded pool of keep-alive connections.
//!
//! An invocation takes a connection for itself (HTTP/1.1 has one request at a time) and gives it back when its answer has
//! been read. The invocation's future writes its request into TCP's send buffer and reads the answer out of the receive
//! buffer itself ([`exchange`], [`answer`]); the engine moves packets, sends what did not fit, and wakes it. It opens
//! connections when the pool wants more and tells it what became of them.
//!
//! While a request is out the connection is probed, so that a dead tunnel ends it within [`SILENCE`]; an idle one is left
//! alone. A request of which the host saw nothing (it closed an idle connection) goes out again on another. A connection is
//! used again only if both sides agree where the answer ended: nothing was said before it, after it, or in between.

mod answer;
mod connection;
mod exchange;
mod line;
mod ports;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

pub(super) use self::connection::{ACK_WITHIN, HostConnection};
use self::connection::{Lease, SharedTcp};
use self::exchange::{Exchange, Failure};
use self::line::{Pool, Ticket};
pub(super) use self::ports::PortTable;
use super::timers::Timers;
use crate::lambda::{FunctionHost, HostError, HostRequest, HostResponse};
use crate::time::Moment;

/// Connections to the function host per worker.
pub(super) const CONNECTION_LIMIT: usize = 256;
/// Invocations that may be out or wait for a connection, per worker.
const PENDING_LIMIT: usize = 4_096;
/// How long the host may be silent on TCP's level while a request is out, and during the handshake.
const SILENCE: Duration = Duration::from_secs(4);
/// How often a request that was not seen is tried on another connection.
const ATTEMPTS: usize = 3;

/// The function host behind the tunnel.
pub(super) struct TunnelHost {
    pool: HostPool,
    /// Its address and port, as a request names it.
    authority: String,
    /// Where heads are made.
    scratch: RefCell<Vec<u8>>,
}

impl TunnelHost {
    pub(super) fn new(pool: HostPool, host: SocketAddr) -> Self {
        Self { pool, authority: host.to_string(), scratch: RefCell::default() }
    }
}

impl FunctionHost for TunnelHost {
    async fn invoke(&self, request: &HostRequest) -> Result<HostResponse, HostError> {
        let pool = &self.pool;
        let _pending = Pending::admit(&pool.pool)?;
        for _ in 0..ATTEMPTS {
            let lease = match pool.take_idle() {
                Some(lease) => lease,
                None => pool.wait_in_line(request.give_up).await?,
            };
            let mut exchange = Exchange::begin(lease, request, &self.authority, &mut self.scratch.borrow_mut());
            match poll_fn(|cx| exchange.poll(cx, pool)).await {
                Ok(response) => return Ok(response),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Unseen) => {}
            }
        }
        Err(HostError::Unreachable)
    }
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

    /// This turn's time.
    fn now(&self) -> Moment {
        self.timers.now()
    }

    fn opened(&self, lease: Lease) {
        let mut pool = self.pool.borrow_mut();
        pool.opening = pool.opening.saturating_sub(1);
        pool.give(lease);
    }

    /// Takes back the connection of an answer that was read, or ends it if `persists` or its state forbid its use.
    fn put_back(&self, lease: Lease, persists: bool) {
        let lease = if persists { lease.complete() } else { None };
        if let Some(lease) = lease {
            self.pool.borrow_mut().give(lease);
        }
    }

    /// Takes a connection that can carry no more requests from the idle ones.
    fn retire(&self, tcp: &SharedTcp) {
        let mut pool = self.pool.borrow_mut();
        if let Some(at) = pool.idle.iter().position(|lease| Rc::ptr_eq(&lease.0, tcp)) {
            pool.idle.swap_remove(at);
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

    /// An idle connection that is ready. There is one only while nobody is in line.
    fn take_idle(&self) -> Option<Lease> {
        loop {
            let lease = self.pool.borrow_mut().idle.pop()?;
            if lease.is_usable() {
                return Some(lease);
            }
        }
    }

    /// The next connection that is given back or opened.
    async fn wait_in_line(&self, give_up: Moment) -> Result<Lease, HostError> {
        let ticket = Ticket::new(&self.pool);
        let mut deadline = pin!(self.timers.at(give_up));
        poll_fn(|cx| {
            while let Some(lease) = ticket.take().or_else(|| self.pool.borrow_mut().idle.pop()) {
                if lease.is_usable() {
                    return Poll::Ready(Ok(lease));
                }
            }
            if ticket.failed.get() {
                return Poll::Ready(Err(HostError::Unreachable));
            }
            self.pool.borrow_mut().wait(&ticket, cx.waker());
            deadline.as_mut().poll(cx).map(|()| Err(HostError::TimedOut))
        })
        .await
    }
}

/// Counts an invocation while it is out.
struct Pending<'a>(&'a RefCell<Pool>);

impl<'a> Pending<'a> {
    fn admit(pool: &'a RefCell<Pool>) -> Result<Self, HostError> {
        let mut inner = pool.borrow_mut();
        if inner.pending >= PENDING_LIMIT {
            return Err(HostError::TooManyPending);
        }
        inner.pending += 1;
        drop(inner);
        Ok(Self(pool))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut pool = self.0.borrow_mut();
        pool.pending = pool.pending.saturating_sub(1);
    }
}
