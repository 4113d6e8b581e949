//! An answer as it is read from a connection: its head, then its body. Knows HTTP and no connection.

use bytes::{Bytes, BytesMut};

use crate::http::chunked::{ChunkedDecoder, Piece, Trailers};
use crate::http::response_head::{FieldSpace, Framing, HEAD_MAX, ResponseHead};
use crate::lambda::{HostBody, HostError, HostResponse};

/// Heads of interim answers that are read before one.
const INTERIM_MAX: u8 = 16;

/// Reads the head. What was received in one piece is not copied.
#[derive(Default)]
pub(super) struct HeadReader {
    /// Of a head that came in pieces, what is there.
    partial: Vec<u8>,
    interim: u8,
}

/// What [`HeadReader::read`] found.
pub(super) enum HeadRead {
    /// The head is not complete.
    NeedMore,
    /// Read on: what was there was an interim answer, or the connection's buffer began anew in the middle.
    Again,
    /// The head; its body follows as it says, unless that was there as well.
    Head(HostResponse, BodyReader),
    Failed,
}

impl HeadReader {
    /// Whether nothing of an answer has come.
    pub(super) fn is_untouched(&self) -> bool {
        self.partial.is_empty() && self.interim == 0
    }

    /// Looks at what was received; returns how much of it is used up.
    pub(super) fn read(&mut self, received: &[u8]) -> (usize, HeadRead) {
        if self.partial.is_empty() {
            return self.parse(received, 0);
        }
        // Never more than a head: what follows stays where it is.
        let known = self.partial.len();
        let end = head_end(&self.partial, received);
        let taken = end.unwrap_or(received.len()).min(HEAD_MAX.saturating_sub(known));
        self.partial.extend_from_slice(&received[..taken]);
        if end.is_none() && self.partial.len() < HEAD_MAX {
            return (taken, HeadRead::NeedMore);
        }
        let head = std::mem::take(&mut self.partial);
        match self.parse(&head, known) {
            // With its last line there a head is complete or wrong.
            (_, HeadRead::NeedMore) => (taken, HeadRead::Failed),
            (_, read) => (taken, read),
        }
    }

    /// Reads the head at the beginning of `bytes`, of which `known` were used up before.
    fn parse(&mut self, bytes: &[u8], known: usize) -> (usize, HeadRead) {
        let mut space = FieldSpace::new();
        let head = match ResponseHead::parse(bytes, &mut space) {
            Ok(Some(head)) => head,
            Ok(None) => {
                self.partial.extend_from_slice(bytes);
                return (bytes.len(), HeadRead::NeedMore);
            }
            Err(_) => return (0, HeadRead::Failed),
        };
        let used = head.len.saturating_sub(known);
        if head.is_interim() {
            self.interim += 1;
            // Nobody asked for another protocol.
            let is_welcome = self.interim <= INTERIM_MAX && head.status != 101;
            return (used, if is_welcome { HeadRead::Again } else { HeadRead::Failed });
        }
        let mut reader = BodyReader { framing: Left::from(head.framing), persists: head.persists };
        let whole = reader.take_whole(&bytes[head.len..]);
        let used = used + whole.as_ref().map_or(0, Bytes::len);
        let response = HostResponse::new(head.status, &head, HostBody::Full(whole.unwrap_or_default()));
        (used, HeadRead::Head(response, reader))
    }
}

/// How many bytes of `received` complete the head that began with `partial`, if they do.
fn head_end(partial: &[u8], received: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    const ACROSS: usize = END.len() - 1;
    // The end may lie across both.
    let tail = &partial[partial.len().saturating_sub(ACROSS)..];
    let lead = &received[..received.len().min(ACROSS)];
    let mut joined = [0; 2 * ACROSS];
    joined[..tail.len()].copy_from_slice(tail);
    joined[tail.len()..][..lead.len()].copy_from_slice(lead);
    let place = |bytes: &[u8]| bytes.windows(END.len()).position(|window| window == END).map(|at| at + END.len());
    place(&joined).map(|at| at - tail.len()).or_else(|| place(received))
}

/// What of a body is still to come.
enum Left {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
}

impl From<Framing> for Left {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Length(len) => Self::Length(len),
            Framing::Chunked => Self::Chunked(Box::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

/// Reads a body.
pub(super) struct BodyReader {
    framing: Left,
    persists: bool,
}

impl BodyReader {
    /// Whether the connection may carry another request after this answer.
    pub(super) const fn persists(&self) -> bool {
        self.persists
    }

    /// Whether all of the body was read.
    pub(super) fn is_end(&self) -> bool {
        match &self.framing {
            Left::Length(left) => *left == 0,
            Left::Chunked(decoder) => decoder.is_end(),
            Left::UntilClose => false,
        }
    }

    /// Whether the end of the connection is the body's end.
    pub(super) const fn ends_with_connection(&self) -> bool {
        matches!(self.framing, Left::UntilClose)
    }

    /// Bytes still to come, if that is known.
    pub(super) const fn left(&self) -> Option<u64> {
        match &self.framing {
            Left::Length(left) => Some(*left),
            Left::Chunked(_) | Left::UntilClose => None,
        }
    }

    /// The fields after a body in chunks, once it was read.
    pub(super) fn trailers(&self) -> Option<&Trailers> {
        match &self.framing {
            Left::Chunked(decoder) => Some(decoder.trailers()).filter(|trailers| !trailers.is_empty()),
            Left::Length(_) | Left::UntilClose => None,
        }
    }

    /// The body, if it is of known length and all there.
    fn take_whole(&mut self, bytes: &[u8]) -> Option<Bytes> {
        let Left::Length(left) = &mut self.framing else { return None };
        let whole = bytes.get(..usize::try_from(*left).ok()?)?;
        *left = 0;
        Some(Bytes::copy_from_slice(whole))
    }

    /// Appends what is data of the received bytes to `out`; returns how many of them are used up.
    pub(super) fn read(&mut self, received: &[u8], out: &mut BytesMut) -> Result<usize, HostError> {
        match &mut self.framing {
            Left::Length(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(received.len());
                *left -= len as u64;
                out.extend_from_slice(&received[..len]);
                Ok(len)
            }
            Left::UntilClose => {
                out.extend_from_slice(received);
                Ok(received.len())
            }
            Left::Chunked(decoder) => {
                let mut used = 0;
                loop {
                    let input = &received[used..];
                    let decoded = decoder.decode(input).map_err(|_| HostError::Malformed)?;
                    used += decoded.consumed;
                    match decoded.piece {
                        Piece::Data(range) => out.extend_from_slice(&input[range]),
                        Piece::NeedMore | Piece::End => return Ok(used),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Amz-Function-Error: Unhandled\r\n\
        Content-Length: 4\r\n\r\ntrueHTTP";

    /// Reads from a buffer that shows `pieces` one after another, as a ring does. Returns what is left unread.
    fn read(pieces: &[&[u8]]) -> Option<(HostResponse, BodyReader, Vec<u8>)> {
        let mut reader = HeadReader::default();
        for (index, piece) in pieces.iter().enumerate() {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (used, read) = reader.read(rest);
                rest = &rest[used..];
                match read {
                    HeadRead::Head(response, body) => {
                        let left = [&[rest], &pieces[index + 1..]].concat().concat();
                        return Some((response, body, left));
                    }
                    HeadRead::Failed => return None,
                    HeadRead::NeedMore => assert!(rest.is_empty(), "all of it is taken"),
                    HeadRead::Again => {}
                }
            }
        }
        None
    }

    fn response_body(response: &HostResponse) -> Bytes {
        match &response.body {
            HostBody::Full(bytes) => bytes.clone(),
            HostBody::Stream(_) => Bytes::new(),
        }
    }

    #[test]
    fn a_head_is_read_however_it_is_cut_and_what_follows_is_left() {
        for first in 0..SAID.len() {
            for second in first..SAID.len() {
                let (response, mut reader, left) =
                    read(&[&SAID[..first], &SAID[first..second], &SAID[second..]]).unwrap();
                assert_eq!((response.status, response.function_error.is_some()), (200, true), "{first} {second}");
                let mut out = BytesMut::new();
                if !reader.is_end() {
                    assert_eq!(reader.read(&left, &mut out), Ok(4));
                    assert_eq!((&out[..], &left[4..]), (&b"true"[..], &b"HTTP"[..]), "{first} {second}");
                } else {
                    // It was there in one piece with its head.
                    assert_eq!((&response_body(&response)[..], &left[..]), (&b"true"[..], &b"HTTP"[..]));
                }
                assert!(reader.is_end() && reader.persists());
            }
        }
    }

    #[test]
    fn a_head_that_is_wrong_is_refused_however_it_is_cut() {
        for wrong in
            ["HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\ntrue", "HTTP/1.1 101 On\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"]
        {
            for cut in 0..wrong.len() {
                let (first, second) = wrong.as_bytes().split_at(cut);
                assert!(read(&[first, second]).is_none(), "{wrong:?} {cut}");
            }
        }
    }
}
