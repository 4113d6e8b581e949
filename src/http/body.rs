//! A request's body, which tells the connection's activity when it is complete.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::Activity;

/// The body of a request that is being served.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    /// Gone once the body is complete.
    activity: Option<Rc<Activity>>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, activity: &Rc<Activity>) -> Self {
        let due = !incoming.is_end_stream();
        if due {
            activity.body_opened();
        }
        Self { incoming, activity: due.then(|| Rc::clone(activity)) }
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
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.incoming).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(activity)) = (&polled, &this.activity) {
            activity.body_received(frame.data_ref().map_or(0, Bytes::len));
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || this.incoming.is_end_stream() {
            this.complete();
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
