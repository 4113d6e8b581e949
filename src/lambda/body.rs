//! Bodies: collecting one within a limit, and the body of an answer.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};

use super::access::{AccessLog, AccessRecord};
use super::error::ApiError;
use super::event_stream::{self, InvokeComplete};
use super::host::{HostBody, HostError, HostResponse, LogType, StreamEnd};
use crate::time::{Moment, TurnClock};
use crate::verdict::Counters;

/// Largest streamed answer, bytes: 200 MB (Lambda quotas).
pub const STREAM_MAX: u64 = 209_715_200;

/// Why a body could not be collected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CollectError<E> {
    /// It is longer than the limit: at least this long.
    TooLarge(u64),
    /// There was no room for it.
    NoRoom,
    /// It broke off.
    Body(E),
}

/// Who has a say in what [`collect`] keeps, and sees it.
pub(crate) trait Keeper {
    /// Whether `bytes` in all may be kept. Asked with the announced length first, then as the body grows.
    fn may_keep(&mut self, bytes: usize) -> bool;
    /// The next piece that is kept.
    fn keep(&mut self, piece: &[u8]);
    /// Nothing is kept any more.
    fn let_go(&mut self);
}

/// Whatever the limit allows.
impl Keeper for () {
    fn may_keep(&mut self, _: usize) -> bool {
        true
    }

    fn keep(&mut self, _: &[u8]) {}

    fn let_go(&mut self) {}
}

/// Collects a body of at most `limit` bytes, if the keeper allows it. A body of one piece is not copied. For one of several, the
/// place of all that was announced and allowed is set aside with the second, so that it never moves; its pages become memory as
/// they are written. Of a body that is not kept, up to `limit` and `discard` bytes are read and thrown
/// away, because a client that is still sending when the connection closes may never see its answer.
pub(crate) async fn collect<B>(
    body: B,
    limit: usize,
    discard: u64,
    keeper: &mut impl Keeper,
) -> Result<Bytes, CollectError<B::Error>>
where
    B: Body<Data = Bytes>,
{
    let limit = limit as u64;
    let announced = body.size_hint().lower();
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    let mut len = 0;
    // A body that is announced as too long is not kept from its first byte on.
    let mut is_kept = announced <= limit && keeper.may_keep(announced as usize);
    while is_kept || len <= limit.saturating_add(discard) && discard > 0 {
        let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await else { break };
        let Ok(data) = frame.map_err(CollectError::Body)?.into_data() else { continue };
        len += data.len() as u64;
        is_kept = is_kept && len <= limit && keeper.may_keep(len as usize);
        if !is_kept {
            (first, joined) = (Bytes::new(), BytesMut::new());
            keeper.let_go();
            continue;
        }
        keeper.keep(&data);
        if first.is_empty() {
            first = data;
        } else {
            if joined.is_empty() {
                joined.reserve((announced as usize).max(first.len() + data.len()));
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&data);
        }
    }
    if len.max(announced) > limit {
        return Err(CollectError::TooLarge(len.max(announced)));
    }
    if !is_kept {
        return Err(CollectError::NoRoom);
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// The body of an answer: whole, or an event stream made from the host's answer as it comes. It asks the host for more
/// only when it is asked itself, so that a slow client slows the host down. It cannot fail: what goes wrong on the host's
/// side is said inside the stream.
#[derive(Debug)]
pub struct ResponseBody(Inner);

#[derive(Debug)]
enum Inner {
    Full(Bytes),
    Stream(Box<EventStreamBody>),
}

impl ResponseBody {
    /// A whole body.
    pub const fn full(bytes: Bytes) -> Self {
        Self(Inner::Full(bytes))
    }

    pub(crate) fn stream(host: HostResponse, log_type: LogType, finish: Finish) -> Self {
        let HostResponse { body, log_result, .. } = host;
        let out = BytesMut::new();
        let stream = EventStreamBody { body, log_result, log_type, out, payload_len: 0, is_done: false, finish };
        Self(Inner::Stream(Box::new(stream)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().0 {
            Inner::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Stream(stream) => stream.poll(cx).map(|data| data.map(|data| Ok(Frame::data(data)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Full(bytes) => bytes.is_empty(),
            Inner::Stream(stream) => stream.is_done && stream.out.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(_) => SizeHint::default(),
        }
    }
}

struct EventStreamBody {
    body: HostBody,
    /// From the head of the host's answer; trailers win.
    log_result: Option<HeaderValue>,
    log_type: LogType,
    out: BytesMut,
    payload_len: u64,
    is_done: bool,
    finish: Finish,
}

impl std::fmt::Debug for EventStreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStreamBody").field("payload_len", &self.payload_len).finish_non_exhaustive()
    }
}

impl EventStreamBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if !self.out.is_empty() {
                self.finish.record.bytes_tx += self.out.len() as u64;
                return Poll::Ready(Some(self.out.split().freeze()));
            }
            if self.is_done {
                return Poll::Ready(None);
            }
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.payload(&data),
                    Err(frame) => {
                        let end = frame.into_trailers().map(|t| StreamEnd::from_trailers(&t)).unwrap_or_default();
                        self.complete(end);
                    }
                },
                Some(Err(error)) => self.broken(error),
                None => self.complete(StreamEnd::default()),
            }
        }
    }

    fn payload(&mut self, data: &[u8]) {
        self.payload_len += data.len() as u64;
        if self.payload_len <= STREAM_MAX {
            return event_stream::emit_payload(&mut self.out, data);
        }
        let details = format!(
            r#"{{"errorMessage":"Response payload size exceeded maximum allowed payload size ({STREAM_MAX} bytes).","errorType":"Function.ResponseSizeTooLarge"}}"#
        );
        self.complete(StreamEnd {
            error: Some("Function.ResponseSizeTooLarge".to_owned()),
            details: Some(details),
            log_result: None,
        });
    }

    fn complete(&mut self, end: StreamEnd) {
        self.is_done = true;
        self.body = HostBody::Full(Bytes::new());
        self.finish.record.is_function_error = end.error.is_some();
        let log = end.log_result.or_else(|| self.log_result.take()).filter(|_| self.log_type == LogType::Tail);
        let complete = InvokeComplete {
            error_code: end.error,
            error_details: end.details,
            log_result: log.and_then(|log| log.to_str().ok().map(str::to_owned)),
        };
        event_stream::emit_complete(&mut self.out, &complete);
    }

    fn broken(&mut self, error: HostError) {
        self.is_done = true;
        self.body = HostBody::Full(Bytes::new());
        let error = ApiError::service(&sentence(error));
        self.finish.record.error_code = Some(error.code);
        self.finish.record.reason = Some(error.reason);
        Counters::deny(&self.finish.ledger.counters, error.reason);
        event_stream::emit_exception(&mut self.out, error.code, &error.body);
    }
}

/// An error as a sentence for the caller.
pub(crate) fn sentence(error: HostError) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}

/// Hands the record of a request to the log when its answer is over, or given up by the client.
pub(crate) struct Finish {
    pub(crate) record: AccessRecord,
    pub(crate) started: Moment,
    pub(crate) ledger: Rc<Ledger>,
}

/// What a request that ends is noted with.
pub(crate) struct Ledger {
    pub(crate) clock: Rc<TurnClock>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) log: Rc<dyn AccessLog>,
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.record.duration = self.ledger.clock.now().mono.since(self.started);
        self.ledger.log.record(&self.record);
    }
}
