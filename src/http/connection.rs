//! One HTTP connection over a TLS session, in the version that was agreed on.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;

use bytes::Bytes;
use http_body::Body;

use super::http1::Http1;
use super::http2::Http2;
use super::{Activity, Limits, RequestBody, RequestHead, Response, SharedSession};
use crate::tls::Alpn;
use crate::verdict::Reason;

/// An answer on its way.
pub(super) type Answer<B> = Pin<Box<dyn Future<Output = Response<B>>>>;

/// Serves one request.
pub type Handler<B> = Rc<dyn Fn(RequestHead, RequestBody) -> Answer<B>>;

/// Why an answer's body broke off.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whether a connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It does.
    Open,
    /// It ended; with a reason if not in good order.
    Finished(Option<Reason>),
}

/// An HTTP connection over a session.
pub struct Connection<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static> {
    protocol: Protocol<B>,
    activity: Rc<Activity>,
}

enum Protocol<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static> {
    Http1(Http1<B>),
    Http2(Http2<B>),
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static> std::fmt::Debug for Connection<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("alpn", &self.alpn())
            .field("activity", &self.activity)
            .finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static> Connection<B> {
    /// Starts HTTP on an established session.
    pub fn new(
        session: SharedSession,
        alpn: Alpn,
        activity: Rc<Activity>,
        limits: &Limits,
        handler: Handler<B>,
    ) -> Self {
        let own = Rc::clone(&activity);
        let protocol = match alpn {
            Alpn::Http1 => Protocol::Http1(Http1::new(session, own, limits.head, handler)),
            Alpn::Http2 => Protocol::Http2(Http2::new(session, own, limits.head, handler)),
        };
        Self { protocol, activity }
    }

    /// Goes on as far as the session's bytes and the handlers allow.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Progress {
        match &mut self.protocol {
            Protocol::Http1(connection) => connection.poll(cx),
            Protocol::Http2(connection) => connection.poll(cx),
        }
    }

    /// The protocol.
    pub const fn alpn(&self) -> Alpn {
        match self.protocol {
            Protocol::Http1(_) => Alpn::Http1,
            Protocol::Http2(_) => Alpn::Http2,
        }
    }

    /// What the connection is doing.
    pub const fn activity(&self) -> &Rc<Activity> {
        &self.activity
    }
}
