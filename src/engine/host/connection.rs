//! One connection to the function host: TCP below, hyper's client above.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::{HostPool, SILENCE};
use crate::engine::client::LINGER;
use crate::engine::ready::TaskWaker;
use crate::tcp::{Connection, State};
use crate::time::Moment;

/// How often a host is probed while a request is out.
const PROBE_EVERY: Duration = Duration::from_secs(1);

type Driver = http1::Connection<HostIo, Full<Bytes>>;

/// A connection shared by the engine, hyper and whoever has a request on it.
pub(in crate::engine) struct Wire {
    pub(in crate::engine) tcp: RefCell<Connection>,
    /// Bytes written since a request was given to it.
    written: Cell<usize>,
    /// The host reset it and had acknowledged none of them: it knows nothing of the request.
    pub(super) untouched: Cell<bool>,
}

pub(super) type SharedTcp = Rc<Wire>;
/// The right to send a request on one connection.
pub(super) struct Sender {
    pub(super) requests: http1::SendRequest<Full<Bytes>>,
    pub(super) tcp: SharedTcp,
}

impl Sender {
    pub(super) fn watch(&self, watch: bool) {
        let (timeout, probe) = if watch { (Some(SILENCE), Some(PROBE_EVERY)) } else { (None, None) };
        self.tcp.tcp.borrow_mut().set_liveness(timeout, probe);
        self.tcp.written.set(0);
    }
}

/// One connection, as the engine drives it.
pub(in crate::engine) struct HostConnection {
    pub(in crate::engine) tcp: SharedTcp,
    pub(in crate::engine) ready: Arc<TaskWaker>,
    pub(in crate::engine) local_port: u16,
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
    pub(in crate::engine) fn new(
        tcp: Connection,
        local_port: u16,
        attempt: u64,
        ready: Arc<TaskWaker>,
        pool: HostPool,
    ) -> Self {
        let mut tcp = tcp;
        tcp.set_liveness(Some(SILENCE), None);
        let tcp = Rc::new(Wire { tcp: RefCell::new(tcp), written: Cell::new(0), untouched: Cell::new(false) });
        let mut connection =
            Self { tcp, ready, local_port, driver: None, unopened: None, attempt, closing_since: None, pool };
        connection.start_http();
        connection
    }

    /// Moves HTTP as far as TCP allows. Call before egress.
    pub(in crate::engine) fn drive(&mut self, now: Moment) {
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
    pub(in crate::engine) fn was_reset(&self, unacknowledged: usize) {
        self.tcp.untouched.set(unacknowledged >= self.tcp.written.get());
        let idle = std::mem::take(&mut self.pool.pool.borrow_mut().idle);
        drop(idle);
    }

    /// When the connection is ended if the host does not close it.
    pub(in crate::engine) fn deadline(&self) -> Option<Moment> {
        self.closing_since.map(|since| since + LINGER)
    }

    /// Whether it is over and may be forgotten. Ask after egress.
    pub(in crate::engine) fn is_over(&self) -> bool {
        self.tcp.tcp.borrow().is_over()
    }

    /// Takes it apart once it is over.
    pub(in crate::engine) fn into_tcp(self) -> Option<Connection> {
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
