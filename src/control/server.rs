//! The APIs over HTTP: with TLS at their names inside the lab, without at a loopback port of the machine outside.
//!
//! One thread and one request at a time: what it changes is one state, and a change is in force when its answer goes out.
//!
//! Limits: [`CONNECTION_LIMIT`] connections, [`BODY_LIMIT`] bytes of a request, [`HEAD_PATIENCE`] for its head and
//! [`BODY_PATIENCE`] for its body.

#![expect(clippy::disallowed_types, reason = "the control plane has sockets of its own")]

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::TcpListener;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::ec2::BODY_LIMIT;
use crate::edge::{Fault, OrFault, sys};
use crate::time::UnixTime;
use crate::tls::{LabCa, provider};

/// Connections at the same time; more wait.
const CONNECTION_LIMIT: usize = 64;
/// How long a head may take, and how long a connection may idle.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Answers requests, and does what falls due between them.
pub trait Apis {
    /// One request, whole.
    fn call(&mut self, head: &http::request::Parts, body: &[u8]) -> Response<Full<Bytes>>;

    /// Does what is due, and says in how long something will be.
    fn poll(&mut self) -> Option<Duration>;
}

/// Where to listen.
#[derive(Debug)]
pub struct Listeners {
    /// Plain HTTP.
    pub outside: TcpListener,
    /// HTTPS.
    pub inside: TcpListener,
}

impl Listeners {
    /// Sockets that another process left open for this one, by their numbers. To be called before anything else is opened.
    ///
    /// # Errors
    /// When they are not there.
    pub fn inherited(outside: RawFd, inside: RawFd) -> Result<Self, Fault> {
        let take = |fd| sys::inherited_fd(fd).map(TcpListener::from).or_fault(|| "the APIs' sockets are not there");
        Ok(Self { outside: take(outside)?, inside: take(inside)? })
    }
}

/// A certificate of the lab's authority for these names.
///
/// # Errors
/// When the authority cannot issue it.
pub fn tls(ca: &LabCa, names: Vec<String>, now: UnixTime) -> Result<ServerConfig, Fault> {
    let failed = || "the APIs have no certificate";
    let (chain, key) = ca.issue(names, now).or_fault(failed)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).or_fault(failed)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).or_fault(failed)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Serves until the process ends, on a thread of its own, on which `apis` is made. Returns once that is done.
///
/// # Errors
/// When the thread or its runtime cannot be started, or `apis` says so.
pub fn start<A: Apis + 'static>(
    listeners: Listeners,
    tls: ServerConfig,
    apis: impl FnOnce() -> Result<A, Fault> + Send + 'static,
) -> Result<(), Fault> {
    let failed = || "cannot start the control plane";
    let Listeners { outside, inside } = listeners;
    outside.set_nonblocking(true).and_then(|()| inside.set_nonblocking(true)).or_fault(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().or_fault(failed)?;
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("apis".to_owned())
        .spawn(move || {
            let apis = match apis() {
                Ok(apis) => apis,
                Err(fault) => return drop(tx.send(Err(fault))),
            };
            let served = LocalSet::new().block_on(&runtime, async {
                let listen = |listener| tokio::net::TcpListener::from_std(listener);
                let server = Rc::new(Server { apis: RefCell::new(apis), changed: Notify::new() });
                drop(tx.send(Ok(())));
                spawn_local(Rc::clone(&server).keep_time());
                let tls = TlsAcceptor::from(Arc::new(tls));
                tokio::try_join!(
                    Rc::clone(&server).serve(listen(outside)?, None),
                    Rc::clone(&server).serve(listen(inside)?, Some(tls))
                )
                .map(drop)
            });
            if let Err(error) = served {
                // The lab notices the process, not a thread.
                tracing::error!(%error, "the control plane stopped");
                std::process::abort();
            }
        })
        .or_fault(failed)?;
    rx.recv().or_fault(failed)?
}

struct Server<A> {
    apis: RefCell<A>,
    /// After each request something else may be due.
    changed: Notify,
}

impl<A: Apis + 'static> Server<A> {
    async fn keep_time(self: Rc<Self>) {
        loop {
            let due = self.apis.borrow_mut().poll();
            match due {
                Some(due) => drop(timeout(due, self.changed.notified()).await),
                None => self.changed.notified().await,
            }
        }
    }

    async fn serve(self: Rc<Self>, listener: tokio::net::TcpListener, tls: Option<TlsAcceptor>) -> std::io::Result<()> {
        let limit = Arc::new(Semaphore::new(CONNECTION_LIMIT));
        loop {
            let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return Ok(()) };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // Of one connection, or of a moment without descriptors.
                Err(error) => {
                    tracing::warn!(%error, "a connection to the APIs was lost");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (server, tls) = (Rc::clone(&self), tls.clone());
            spawn_local(async move {
                match tls {
                    None => server.converse(stream, permit).await,
                    Some(tls) => match timeout(HEAD_PATIENCE, tls.accept(stream)).await {
                        Ok(Ok(stream)) => server.converse(stream, permit).await,
                        Ok(Err(error)) => tracing::debug!(%error, "no TLS with a client of the APIs"),
                        Err(_) => {}
                    },
                }
            });
        }
    }

    async fn converse(self: Rc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, _: OwnedSemaphorePermit) {
        let service = hyper::service::service_fn(|request| {
            let server = Rc::clone(&self);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the APIs broke");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = match timeout(BODY_PATIENCE, Limited::new(body, BODY_LIMIT).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return plain(StatusCode::PAYLOAD_TOO_LARGE),
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT),
        };
        let answer = self.apis.borrow_mut().call(&head, &body);
        self.changed.notify_one();
        answer
    }
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
