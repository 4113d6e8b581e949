//! One request and its answer on one connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use super::HostPool;
use super::answer::{BodyReader, HeadRead, HeadReader};
use super::connection::{End, Lease};
use crate::http::chunked::Trailers;
use crate::lambda::host::ResponseMode;
use crate::lambda::respond::RESPONSE_MAX;
use crate::lambda::{HostBody, HostError, HostRequest, HostResponse};
use crate::time::Moment;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The host has seen nothing of the request: it can be sent again.
    Unseen,
    /// It cannot.
    Final(HostError),
}

/// A request that is out.
pub(super) struct Exchange {
    /// Gone once the answer has it.
    lease: Option<Lease>,
    reader: HeadReader,
    give_up: Moment,
    /// Whether the body is wanted as a whole.
    is_buffered: bool,
}

impl Exchange {
    /// Sends a request, whose head is made in `scratch`.
    pub(super) fn begin(lease: Lease, request: &HostRequest, authority: &str, scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        request.emit_head(authority, scratch);
        lease.send(scratch, request.body(), request.give_up);
        let is_buffered = request.response_mode == ResponseMode::Buffered;
        Self { lease: Some(lease), reader: HeadReader::default(), give_up: request.give_up, is_buffered }
    }

    /// The head of the answer, and its body if that is there.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, pool: &HostPool) -> Poll<Result<HostResponse, Failure>> {
        let Some(lease) = self.lease.as_ref() else { return Poll::Pending };
        loop {
            let mut read = HeadRead::NeedMore;
            if self.reader.is_untouched() && lease.is_unheard() && lease.can_recv() {
                // Said before the request was heard: whatever it is, it is not the answer.
                return self.failed(HostError::Malformed);
            }
            let was_there = lease.recv(|received| {
                let used;
                (used, read) = self.reader.read(received);
                used
            });
            match read {
                HeadRead::Head(response, body) => return Poll::Ready(Ok(self.answered(response, body, pool))),
                HeadRead::Failed => return self.failed(HostError::Malformed),
                HeadRead::NeedMore | HeadRead::Again if was_there => {}
                HeadRead::NeedMore | HeadRead::Again => break,
            }
        }
        let is_untouched = self.reader.is_untouched();
        match lease.end() {
            End::Broken if is_untouched && lease.was_untouched() => {
                self.lease = None;
                Poll::Ready(Err(Failure::Unseen))
            }
            End::Finished if is_untouched && lease.is_unheard() => self.wait(cx, pool),
            End::Broken | End::Finished => self.failed(HostError::Interrupted),
            End::None => self.wait(cx, pool),
        }
    }

    fn wait(&mut self, cx: &Context<'_>, pool: &HostPool) -> Poll<Result<HostResponse, Failure>> {
        if pool.now() >= self.give_up {
            return self.failed(HostError::TimedOut);
        }
        if let Some(lease) = &self.lease {
            lease.wait(cx);
        }
        Poll::Pending
    }

    fn failed(&mut self, error: HostError) -> Poll<Result<HostResponse, Failure>> {
        self.lease = None;
        Poll::Ready(Err(Failure::Final(error)))
    }

    fn answered(&mut self, mut response: HostResponse, reader: BodyReader, pool: &HostPool) -> HostResponse {
        let Some(lease) = self.lease.take() else { return response };
        if reader.is_end() {
            pool.put_back(lease, reader.persists());
            return response;
        }
        // More than a function may answer with is not gathered: whoever reads it decides what to do.
        let is_whole = self.is_buffered && reader.left().is_some_and(|left| left <= RESPONSE_MAX as u64);
        // As much address space as is announced; its pages become memory as they are written.
        let gathered = BytesMut::with_capacity(reader.left().filter(|_| is_whole).unwrap_or(0) as usize);
        let (give_up, pool) = (self.give_up, pool.clone());
        let body = AnswerBody { lease: Some(lease), reader, is_whole, gathered, give_up, pool };
        response.body = HostBody::Stream(Box::pin(body));
        response
    }
}

/// A body that was not all there with its head. Read to its end it gives the connection back; dropped before, it ends the
/// connection. It reads no more than it is asked for: what it leaves in TCP's buffer closes the window toward the host.
struct AnswerBody {
    /// Gone at the end.
    lease: Option<Lease>,
    reader: BodyReader,
    /// Whether all of it is to be one piece.
    is_whole: bool,
    gathered: BytesMut,
    give_up: Moment,
    pool: HostPool,
}

impl AnswerBody {
    fn poll_piece(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HostError>>> {
        loop {
            let Some(lease) = &self.lease else { return Poll::Ready(None) };
            let (mut failed, mut used) = (None, 0);
            let was_there = lease.recv(|received| {
                used = self.reader.read(received, &mut self.gathered).unwrap_or_else(|error| {
                    failed = Some(error);
                    0
                });
                used
            });
            if used > 0 {
                lease.took();
            }
            if let Some(error) = failed {
                return self.failed(error);
            }
            if self.reader.is_end() || !was_there && self.ended_with_connection() {
                return Poll::Ready(self.complete());
            }
            if !self.gathered.is_empty() && !self.is_whole {
                return Poll::Ready(Some(Ok(Frame::data(self.gathered.split().freeze()))));
            }
            if !was_there {
                return self.wait(cx);
            }
        }
    }

    fn ended_with_connection(&self) -> bool {
        self.reader.ends_with_connection() && self.lease.as_ref().is_some_and(|lease| lease.end() == End::Finished)
    }

    fn wait(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HostError>>> {
        let Some(lease) = &self.lease else { return Poll::Ready(None) };
        if lease.end() != End::None {
            return self.failed(HostError::Interrupted);
        }
        if self.pool.now() >= self.give_up {
            return self.failed(HostError::TimedOut);
        }
        lease.wait(cx);
        Poll::Pending
    }

    fn failed(&mut self, error: HostError) -> Poll<Option<Result<Frame<Bytes>, HostError>>> {
        self.lease = None;
        Poll::Ready(Some(Err(error)))
    }

    /// Gives the connection back; what is left of the body is its last piece, or its trailers are.
    fn complete(&mut self) -> Option<Result<Frame<Bytes>, HostError>> {
        if !self.gathered.is_empty() {
            let data = Frame::data(self.gathered.split().freeze());
            if self.reader.trailers().is_none() {
                self.put_back();
            }
            return Some(Ok(data));
        }
        self.put_back();
        self.reader.trailers().map(|trailers| Ok(Frame::trailers(map(trailers))))
    }

    fn put_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.pool.put_back(lease, self.reader.persists());
        }
    }
}

/// Trailers as the body's readers want them.
fn map(trailers: &Trailers) -> HeaderMap {
    let fields = trailers
        .iter()
        .filter_map(|(name, value)| Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?)));
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        // The first counts, as everywhere.
        map.entry(name).or_insert(value);
    }
    map
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = HostError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HostError>>> {
        self.get_mut().poll_piece(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.reader.left().map_or_else(SizeHint::default, |left| {
            SizeHint::with_exact(left.saturating_add(self.gathered.len() as u64))
        })
    }
}
