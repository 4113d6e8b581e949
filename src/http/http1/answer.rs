//! Answers on the wire: head, framing, body.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::Body;

use super::Exchange;
use crate::http::fields::put_decimal;
use crate::http::message::Response;
use crate::http::open::OpenBody;
use crate::http::{Activity, BoxError, SharedSession};

/// Pieces of a body up to this length are copied behind what stands before them, so that they share a TLS record: as much as
/// one holds (RFC 8446 §5.1).
const JOIN_MAX: usize = 16 * 1024;
/// Room for a head and a short body: answers of this service have four or five fields.
const HEAD_EXPECTED: usize = 1_024;

/// What is written and not yet taken by the session: first `out`, then `piece`.
#[derive(Default)]
pub(super) struct Writer {
    out: Vec<u8>,
    written: usize,
    piece: Bytes,
    framing: Framing,
    awaits_body: bool,
}

/// How the client knows the end of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Framing {
    /// By its length, which the body keeps to; or it has none.
    #[default]
    Plain,
    /// By the last chunk. Whether the line end of a chunk is still to be written.
    Chunked { owes_line_end: bool },
    /// The body is left out: an answer to HEAD, 204 or 304.
    Omitted,
}

impl Writer {
    /// A head was written and its body not asked for yet.
    pub(super) const fn awaits_body(&self) -> bool {
        self.awaits_body
    }

    /// Hands the session what it takes. Returns whether that was everything.
    pub(super) fn flush(&mut self, session: &SharedSession, activity: &Activity) -> bool {
        if self.out.is_empty() && self.piece.is_empty() {
            return true;
        }
        let mut session = session.borrow_mut();
        loop {
            let bytes = if self.written < self.out.len() { &self.out[self.written..] } else { &self.piece[..] };
            if bytes.is_empty() {
                break;
            }
            // A session that failed takes nothing, and its connection is ended by whoever saw it fail.
            let taken = session.write(bytes).unwrap_or(0);
            if taken == 0 {
                activity.write_blocked();
                return false;
            }
            activity.wrote(taken);
            if self.written < self.out.len() {
                self.written += taken;
            } else {
                self.piece = self.piece.slice(taken..);
            }
        }
        // An idle connection holds no buffer: there may be thousands.
        (self.out, self.written) = (Vec::new(), 0);
        self.piece = Bytes::new();
        true
    }

    /// Writes the head of an answer. Returns its body, and whether the connection goes on after it.
    pub(super) fn begin<B: Body<Data = Bytes>>(
        &mut self,
        response: Response<B>,
        request: Exchange,
        may_persist: bool,
    ) -> (B, bool) {
        let Response { status, fields, body } = response;
        let has_body = !matches!(status, 100..=199 | 204 | 304);
        let length = body.size_hint().exact();
        self.out.reserve(HEAD_EXPECTED);
        self.status_line(status);
        self.out.extend_from_slice(fields.lines());
        let mut persists = may_persist;
        self.framing = match (has_body, length) {
            (false, _) => Framing::Omitted,
            (true, Some(length)) => {
                self.number("Content-Length: ", length);
                if request.is_head { Framing::Omitted } else { Framing::Plain }
            }
            (true, None) if request.is_1_1 => {
                self.out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                if request.is_head { Framing::Omitted } else { Framing::Chunked { owes_line_end: false } }
            }
            // HTTP/1.0 knows no chunks: the connection's end is the answer's.
            (true, None) => {
                persists = false;
                if request.is_head { Framing::Omitted } else { Framing::Plain }
            }
        };
        let connection: &[u8] = if persists { b"Connection: keep-alive\r\n\r\n" } else { b"Connection: close\r\n\r\n" };
        self.out.extend_from_slice(connection);
        self.awaits_body = true;
        (body, persists)
    }

    /// Answers a request that cannot be read.
    pub(super) fn refuse(&mut self, status: u16) {
        self.status_line(status);
        self.out.extend_from_slice(b"Content-Length: 0\r\nConnection: close\r\n\r\n");
    }

    /// Takes the next piece of the body. `false` is its end. Call when everything before was taken.
    pub(super) fn poll_body<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin>(
        &mut self,
        body: &mut OpenBody<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, ()>> {
        self.awaits_body = false;
        if self.framing == Framing::Omitted {
            return Poll::Ready(Ok(false));
        }
        let Some(frame) = std::task::ready!(Pin::new(body).poll_frame(cx)) else {
            if let Framing::Chunked { owes_line_end } = self.framing {
                self.out.extend_from_slice(if owes_line_end { b"\r\n0\r\n\r\n" } else { b"0\r\n\r\n" });
            }
            return Poll::Ready(Ok(false));
        };
        let Ok(data) = frame.map_err(|_| ())?.into_data() else { return Poll::Ready(Ok(true)) };
        if data.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if let Framing::Chunked { owes_line_end } = &mut self.framing {
            let before: &[u8] = if std::mem::replace(owes_line_end, true) { b"\r\n" } else { b"" };
            self.out.extend_from_slice(before);
            // Writing to a Vec cannot fail.
            write!(self.out, "{:x}\r\n", data.len()).unwrap_or_default();
        }
        let joined = if self.out.is_empty() { 0 } else { JOIN_MAX.saturating_sub(self.out.len()).min(data.len()) };
        self.out.extend_from_slice(&data[..joined]);
        self.piece = data.slice(joined..);
        Poll::Ready(Ok(true))
    }

    fn status_line(&mut self, status: u16) {
        if status == 200 {
            self.out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
            return;
        }
        let phrase =
            StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown");
        write!(self.out, "HTTP/1.1 {status} {phrase}\r\n").unwrap_or_default();
    }

    fn number(&mut self, name: &str, number: u64) {
        self.out.extend_from_slice(name.as_bytes());
        put_decimal(&mut self.out, number);
        self.out.extend_from_slice(b"\r\n");
    }
}
