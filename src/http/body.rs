//! A request's body, which tells the connection's activity when it is complete.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

use super::Activity;
use super::http1::SharedInput;

/// Why a body ended before its end.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The client went away.
    #[error("the body broke off")]
    Incomplete,
    /// Its chunks are none.
    #[error("the body is not framed as announced")]
    Malformed,
    /// HTTP/2's.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

/// The body of a request that is being served.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    /// Gone once the body is complete.
    activity: Option<Rc<Activity>>,
}

#[derive(Debug)]
enum Source {
    Http1(SharedInput),
    Http2(Incoming),
}

impl RequestBody {
    pub(super) fn http1(input: SharedInput, activity: &Rc<Activity>) -> Self {
        let is_complete = input.borrow().is_body_complete();
        Self::new(Source::Http1(input), is_complete, activity)
    }

    pub(super) fn http2(incoming: Incoming, activity: &Rc<Activity>) -> Self {
        let is_complete = incoming.is_end_stream();
        Self::new(Source::Http2(incoming), is_complete, activity)
    }

    fn new(source: Source, is_complete: bool, activity: &Rc<Activity>) -> Self {
        if !is_complete {
            activity.body_opened();
        }
        Self { source, activity: (!is_complete).then(|| Rc::clone(activity)) }
    }

    fn complete(&mut self) {
        if let Some(activity) = self.activity.take() {
            activity.body_closed();
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.complete();
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = match &mut this.source {
            Source::Http1(input) => {
                input.borrow_mut().poll_body().map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
            Source::Http2(incoming) => {
                Pin::new(incoming).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::from)))
            }
        };
        if let (Poll::Ready(Some(Ok(frame))), Some(activity)) = (&polled, &this.activity) {
            activity.body_received(frame.data_ref().map_or(0, Bytes::len));
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || this.is_end_stream() {
            this.complete();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Http1(input) => input.borrow().is_body_complete(),
            Source::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Http1(input) => input.borrow().body_left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Http2(incoming) => incoming.size_hint(),
        }
    }
}
