//! A request while it is open: from its head to the last byte of its answer.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Activity;

/// An answer is handed on in pieces of this size: what was given counts as taken by the client.
const PIECE: usize = 64 * 1024;

/// The body of an answer. The request is open until the last of it was taken: a function may stream for a quarter of an
/// hour, and pause.
pub(super) struct OpenBody<B> {
    body: B,
    /// Of a frame that is longer than a piece.
    rest: Bytes,
    open: Option<OpenRequest>,
    /// Whether the client has yet to take what there is: more is asked for only when it has.
    is_due: bool,
}

impl<B: Body<Data = Bytes>> OpenBody<B> {
    pub(super) fn new(body: B, open: Option<OpenRequest>) -> Self {
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

pub(super) struct OpenRequest(Rc<Activity>);

impl OpenRequest {
    pub(super) fn new(activity: &Rc<Activity>) -> Self {
        activity.request_opened();
        Self(Rc::clone(activity))
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.request_closed();
    }
}
