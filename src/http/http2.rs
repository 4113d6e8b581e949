//! HTTP/2 (RFC 9113), by hyper, whose connection and streams are futures that the worker polls.

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
use http::{Request, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::Service;

use super::io::SessionIo;
use super::open::{OpenBody, OpenRequest};
use super::{Activity, Answer, BoxError, Handler, Progress, RequestBody, RequestHead, SharedSession};
use crate::verdict::Reason;

/// Streams that a client may have open at the same time.
pub const STREAM_LIMIT: u32 = 128;
/// Flow-control credit of one stream and of one connection, bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

type Driver<B> = http2::Connection<SessionIo, Serve<B>, Streams>;

/// One client's connection.
pub(super) struct Http2<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static> {
    driver: Pin<Box<Driver<B>>>,
    streams: Streams,
    running: FuturesUnordered<Stream>,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static> Http2<B> {
    pub(super) fn new(session: SharedSession, activity: Rc<Activity>, head_limit: usize, handler: Handler<B>) -> Self {
        let io = SessionIo::new(session, Rc::clone(&activity));
        let streams = Streams::default();
        let driver = http2::Builder::new(streams.clone())
            .max_concurrent_streams(STREAM_LIMIT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(head_limit).unwrap_or(u32::MAX))
            .auto_date_header(false)
            .serve_connection(io, Serve { handler, activity });
        Self { driver: Box::pin(driver), streams, running: FuturesUnordered::new() }
    }

    /// Goes on as far as the session's bytes and the handlers allow. A stream that ends may let the connection go on, and the
    /// connection may open streams: until neither changes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Progress {
        loop {
            if let Poll::Ready(ended) = self.driver.as_mut().poll(cx) {
                return Progress::Finished(ended.err().and_then(|error| reason(&error)));
            }
            let opened = self.streams.take(&mut self.running);
            let mut ended = false;
            while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {
                ended = true;
            }
            if !opened && !ended {
                return Progress::Open;
            }
        }
    }
}

fn reason(error: &hyper::Error) -> Option<Reason> {
    if error.is_parse_too_large() {
        Some(Reason::HttpHeadTooLarge)
    } else if error.is_parse() || is_fault(error) {
        Some(Reason::HttpMalformed)
    } else {
        // The client went away: its right.
        None
    }
}

/// Whether we ended the connection for what the client sent.
fn is_fault(error: &hyper::Error) -> bool {
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
    type Response = http::Response<OpenBody<B>>;
    type Error = Infallible;
    type Future = Serving<B>;

    fn call(&self, request: Request<Incoming>) -> Serving<B> {
        let open = OpenRequest::new(&self.activity);
        let (parts, incoming) = request.into_parts();
        let body = RequestBody::http2(incoming, &self.activity);
        Serving { answer: (self.handler)(RequestHead::from_parts(&parts), body), open: Some(open) }
    }
}

struct Serving<B> {
    answer: Answer<B>,
    open: Option<OpenRequest>,
}

impl<B: Body<Data = Bytes>> Future for Serving<B> {
    type Output = Result<http::Response<OpenBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answer = std::task::ready!(this.answer.as_mut().poll(cx));
        let mut response = http::Response::new(OpenBody::new(answer.body, this.open.take()));
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = answer.fields.to_map();
        Poll::Ready(Ok(response))
    }
}

type Stream = Pin<Box<dyn Future<Output = ()>>>;

/// Where hyper puts the futures of streams. Bounded by [`STREAM_LIMIT`].
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
