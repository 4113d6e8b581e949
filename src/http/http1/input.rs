//! What a client has sent on an HTTP/1.1 connection and nobody has used: read from rustls where it lies, kept only where a
//! head ends in the middle of a piece.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;

use super::head::{self, Complete, Framing, Parsed};
use crate::http::body::BodyError;
use crate::http::chunked::{ChunkedDecoder, Decoded, Piece};
use crate::http::{Activity, SharedSession};

/// Shared by a connection, which reads heads, and the body of the request it serves.
pub(in crate::http) type SharedInput = Rc<RefCell<Input>>;

/// The client's bytes.
#[derive(Debug)]
pub(in crate::http) struct Input {
    session: SharedSession,
    activity: Rc<Activity>,
    /// Bytes taken from the session before the end of their head was there. Those before `used` are, those before `searched`
    /// hold no such end.
    kept: Vec<u8>,
    used: usize,
    searched: usize,
    body: BodyState,
    /// Whether the client waits to be asked for the body.
    owes_continue: bool,
}

/// What reading a head came to.
pub(super) enum NextHead {
    Complete(Box<Complete>),
    /// Not all of it is there.
    Pending,
    /// The client has ended the connection.
    Eof,
    /// The status to refuse it with.
    Malformed(u16),
}

/// Asks a client for the body it holds back.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Input {
    pub(super) fn new(session: SharedSession, activity: Rc<Activity>) -> Self {
        let (kept, body) = (Vec::new(), BodyState::Length(0));
        Self { session, activity, kept, used: 0, searched: 0, body, owes_continue: false }
    }

    /// Reads the next request's head, of at most `limit` bytes. A head that trickles in is parsed when its end is there, not
    /// with each piece.
    pub(super) fn next_head(&mut self, limit: usize) -> NextHead {
        loop {
            let kept = &self.kept[self.used..];
            let is_looked_at = kept.is_empty() || holds_end(&kept[self.searched.saturating_sub(2)..]);
            if !kept.is_empty() && (is_looked_at || kept.len() >= limit) {
                match head::parse(kept, limit) {
                    Parsed::Complete(complete) => {
                        self.used += complete.len;
                        return self.begin(complete);
                    }
                    Parsed::Malformed(status) => return NextHead::Malformed(status),
                    Parsed::Partial => {}
                }
            }
            self.searched = kept.len();
            let mut session = self.session.borrow_mut();
            let chunk = match session.chunk() {
                Ok(chunk @ [_, ..]) => chunk,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return NextHead::Pending,
                Ok([]) | Err(_) => return NextHead::Eof,
            };
            let mut len = chunk.len();
            if self.searched == 0 {
                match head::parse(chunk, limit) {
                    Parsed::Complete(complete) => {
                        session.consume(complete.len);
                        drop(session);
                        return self.begin(complete);
                    }
                    Parsed::Malformed(status) => return NextHead::Malformed(status),
                    Parsed::Partial => self.searched = len,
                }
            } else {
                len = len.min(limit);
            }
            self.kept.drain(..self.used);
            self.used = 0;
            self.kept.extend_from_slice(&chunk[..len]);
            session.consume(len);
            drop(session);
            self.activity.read();
        }
    }

    fn begin(&mut self, complete: Box<Complete>) -> NextHead {
        self.searched = 0;
        if self.used == self.kept.len() {
            // An idle connection holds no buffer.
            (self.kept, self.used) = (Vec::new(), 0);
        }
        self.body = match complete.framing {
            Framing::Length(len) => BodyState::Length(len),
            Framing::Chunked => BodyState::Chunked(ChunkedDecoder::default()),
        };
        self.owes_continue = complete.expects_continue && !self.is_body_complete();
        NextHead::Complete(complete)
    }

    /// Whether the body was read to its end.
    pub(in crate::http) fn is_body_complete(&self) -> bool {
        match &self.body {
            BodyState::Length(left) => *left == 0,
            BodyState::Chunked(decoder) => decoder.is_end(),
            BodyState::Broken => false,
        }
    }

    /// The length of what is left of the body, if it is known.
    pub(in crate::http) fn body_left(&self) -> Option<u64> {
        match &self.body {
            BodyState::Length(left) => Some(*left),
            BodyState::Chunked(_) | BodyState::Broken => None,
        }
    }

    /// Whether the client went away while its answer was awaited.
    pub(super) fn is_abandoned(&self) -> bool {
        self.is_body_complete() && self.used == self.kept.len() && matches!(self.session.borrow_mut().chunk(), Ok([]))
    }

    /// The next piece of the body.
    pub(in crate::http) fn poll_body(&mut self) -> Poll<Option<Result<Bytes, BodyError>>> {
        while !self.is_body_complete() {
            if self.used < self.kept.len() {
                let (used, piece) = self.body.take(&self.kept[self.used..]);
                self.used += used;
                if piece.is_some() {
                    return Poll::Ready(piece);
                }
                continue;
            }
            let mut session = self.session.borrow_mut();
            let chunk = match session.chunk() {
                Ok(chunk @ [_, ..]) => chunk,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if std::mem::take(&mut self.owes_continue) {
                        // Nothing else is being written: the answer comes after the body. What does not fit is not sent;
                        // a client waits for this only so long (RFC 9110 §10.1.1).
                        session.write(CONTINUE).unwrap_or_default();
                    }
                    return Poll::Pending;
                }
                Ok([]) | Err(_) => {
                    self.body = BodyState::Broken;
                    return Poll::Ready(Some(Err(BodyError::Incomplete)));
                }
            };
            let (used, piece) = self.body.take(chunk);
            session.consume(used);
            drop(session);
            self.owes_continue = false;
            self.activity.read();
            if piece.is_some() {
                return Poll::Ready(piece);
            }
        }
        Poll::Ready(None)
    }
}

/// Whether an empty line ends in `bytes`.
fn holds_end(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

/// How much of a body is still to come.
#[derive(Debug)]
enum BodyState {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(ChunkedDecoder),
    /// It cannot be known where it ends.
    Broken,
}

impl BodyState {
    /// Takes from `bytes` what belongs to the body: how many bytes were used, and a piece of it.
    fn take(&mut self, bytes: &[u8]) -> (usize, Option<Result<Bytes, BodyError>>) {
        match self {
            Self::Length(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= len as u64;
                (len, Some(Ok(Bytes::copy_from_slice(&bytes[..len]))))
            }
            Self::Chunked(decoder) => match decoder.decode(bytes) {
                Ok(Decoded { consumed, piece: Piece::Data(data) }) => {
                    (consumed, Some(Ok(Bytes::copy_from_slice(&bytes[data]))))
                }
                // Trailers of requests mean nothing to this service.
                Ok(Decoded { consumed, piece: Piece::NeedMore | Piece::End }) => (consumed, None),
                Err(_) => {
                    *self = Self::Broken;
                    (0, Some(Err(BodyError::Malformed)))
                }
            },
            Self::Broken => (0, Some(Err(BodyError::Malformed))),
        }
    }
}
