//! One HTTP connection: hyper's state machine for the agreed protocol, and the requests it has open.

use std::cell::RefCell;
use std::convert::Infallible;
use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;

use super::io::SessionIo;
use super::{Activity, Limits, RequestBody, SharedSession};
use crate::tls::Alpn;
use crate::verdict::Reason;

/// HTTP/2 streams that a client may have open at the same time.
pub const STREAM_LIMIT: u32 = 128;
/// Flow-control credit of one HTTP/2 stream and of one connection, bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// An answer is handed to hyper in pieces of this size: what it was given counts as taken by the client.
const PIECE: usize = 64 * 1024;

type Answer<B> = Pin<Box<dyn Future<Output = Response<B>>>>;

/// Serves one request.
pub type Handler<B> = Rc<dyn Fn(Request<RequestBody>) -> Answer<B>>;

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
    alpn: Alpn,
    activity: Rc<Activity>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Http1<B> = http1::Connection<SessionIo, Serve<B>>;
type Http2<B> = http2::Connection<SessionIo, Serve<B>, Streams>;

enum Protocol<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static> {
    Http1(Pin<Box<Http1<B>>>),
    Http2 { connection: Pin<Box<Http2<B>>>, streams: Streams, running: FuturesUnordered<Stream> },
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static> std::fmt::Debug for Connection<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("alpn", &self.alpn).field("activity", &self.activity).finish_non_exhaustive()
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
        let io = SessionIo::new(session, Rc::clone(&activity));
        let service = Serve { handler, activity: Rc::clone(&activity) };
        let protocol = match alpn {
            Alpn::Http1 => {
                let connection = http1::Builder::new()
                    .max_buf_size(limits.head.max(8_192))
                    .header_read_timeout(None)
                    .auto_date_header(false)
                    .serve_connection(io, service);
                Protocol::Http1(Box::pin(connection))
            }
            Alpn::Http2 => {
                let streams = Streams::default();
                let connection = http2::Builder::new(streams.clone())
                    .max_concurrent_streams(STREAM_LIMIT)
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
                    .auto_date_header(false)
                    .serve_connection(io, service);
                Protocol::Http2 { connection: Box::pin(connection), streams, running: FuturesUnordered::new() }
            }
        };
        Self { protocol, alpn, activity }
    }

    /// Goes on as far as the session's bytes and the handlers allow.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Progress {
        let polled = match &mut self.protocol {
            Protocol::Http1(connection) => connection.as_mut().poll(cx),
            Protocol::Http2 { connection, streams, running } => poll_http2(connection, streams, running, cx),
        };
        match polled {
            Poll::Pending => Progress::Open,
            Poll::Ready(Ok(())) => Progress::Finished(None),
            Poll::Ready(Err(error)) => Progress::Finished(reason(&error)),
        }
    }

    /// The protocol.
    pub fn alpn(&self) -> Alpn {
        self.alpn
    }

    /// What the connection is doing.
    pub fn activity(&self) -> &Rc<Activity> {
        &self.activity
    }
}

/// A stream that ends may let the connection go on, and the connection may open streams: until neither changes.
fn poll_http2<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static>(
    connection: &mut Pin<Box<Http2<B>>>,
    streams: &Streams,
    running: &mut FuturesUnordered<Stream>,
    cx: &mut Context<'_>,
) -> Poll<hyper::Result<()>> {
    loop {
        let polled = connection.as_mut().poll(cx);
        if polled.is_ready() {
            return polled;
        }
        let opened = streams.take(running);
        let mut ended = false;
        while let Poll::Ready(Some(())) = running.poll_next_unpin(cx) {
            ended = true;
        }
        if !opened && !ended {
            return Poll::Pending;
        }
    }
}

fn reason(error: &hyper::Error) -> Option<Reason> {
    if error.is_parse_too_large() {
        Some(Reason::HttpHeadTooLarge)
    } else if error.is_parse() || is_http2_fault(error) {
        Some(Reason::HttpMalformed)
    } else {
        // The client went away: its right.
        None
    }
}

/// Whether we ended an HTTP/2 connection for what the client sent.
fn is_http2_fault(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            return error.is_go_away() && error.is_library();
        }
        source = cause.source();
    }
    false
}

/// hyper's service: the handler, with the request counted as open while it runs.
struct Serve<B> {
    handler: Handler<B>,
    activity: Rc<Activity>,
}

impl<B: Body<Data = Bytes> + 'static> Service<Request<Incoming>> for Serve<B> {
    type Response = Response<OpenBody<B>>;
    type Error = Infallible;
    type Future = Serving<B>;

    fn call(&self, request: Request<Incoming>) -> Serving<B> {
        let open = OpenRequest::new(&self.activity);
        let request = request.map(|incoming| RequestBody::new(incoming, &self.activity));
        Serving { answer: (self.handler)(request), open: Some(open) }
    }
}

struct Serving<B> {
    answer: Answer<B>,
    open: Option<OpenRequest>,
}

impl<B: Body<Data = Bytes>> Future for Serving<B> {
    type Output = Result<Response<OpenBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let response = std::task::ready!(this.answer.as_mut().poll(cx));
        let open = this.open.take();
        Poll::Ready(Ok(response.map(|body| OpenBody::new(body, open))))
    }
}

/// The body of an answer. The request is open until the last of it was taken: a function may stream for a quarter of an
/// hour, and pause.
struct OpenBody<B> {
    body: B,
    /// Of a frame that is longer than a piece.
    rest: Bytes,
    open: Option<OpenRequest>,
    /// Whether the client has yet to take what there is: hyper asks for more only when it has.
    is_due: bool,
}

impl<B: Body<Data = Bytes>> OpenBody<B> {
    fn new(body: B, open: Option<OpenRequest>) -> Self {
        let is_empty = body.is_end_stream();
        let mut body = Self { body, rest: Bytes::new(), open, is_due: false };
        body.set_due(!is_empty);
        body
    }
}

impl<B> OpenBody<B> {
    fn set_due(&mut self, is_due: bool) {
        if let Some(OpenRequest(activity)) = self.open.as_ref().filter(|_| self.is_due != is_due) {
            if is_due {
                activity.answer_due()
            } else {
                activity.answer_taken()
            }
            self.is_due = is_due;
        }
    }
}

impl<B> Drop for OpenBody<B> {
    fn drop(&mut self) {
        self.set_due(false);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for OpenBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            let mut polled = Pin::new(&mut this.body).poll_frame(cx);
            this.set_due(matches!(polled, Poll::Ready(Some(Ok(_)))));
            if let Poll::Ready(Some(Ok(frame))) = &mut polled
                && let Some(data) = frame.data_mut().filter(|data| data.len() > PIECE)
            {
                this.rest = data.split_off(PIECE);
            }
            return polled;
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

struct OpenRequest(Rc<Activity>);

impl OpenRequest {
    fn new(activity: &Rc<Activity>) -> Self {
        activity.request_opened();
        Self(Rc::clone(activity))
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.request_closed();
    }
}

type Stream = Pin<Box<dyn Future<Output = ()>>>;

/// Where hyper puts the futures of HTTP/2 streams. Bounded by [`STREAM_LIMIT`].
#[derive(Clone, Default)]
struct Streams(Rc<RefCell<Vec<Stream>>>);

impl Streams {
    fn take(&self, running: &mut FuturesUnordered<Stream>) -> bool {
        let mut opened = self.0.borrow_mut();
        let any = !opened.is_empty();
        running.extend(opened.drain(..));
        any
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.borrow_mut().push(Box::pin(stream));
    }
}
