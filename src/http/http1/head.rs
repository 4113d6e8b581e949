//! A request's head: from the bytes of the wire to a [`RequestHead`] and how the body is framed, or a refusal.
//!
//! httparse finds the parts. What it leaves open, and what lets two readers of the same bytes see different requests, is
//! refused here (RFC 9112 §2.2, §3.2, §5, §6): lines that end in a bare line feed, several lengths, a length beside a
//! transfer coding, codings other than chunked, targets and hosts that are none.

use std::mem::MaybeUninit;

use http::{Method, Version};
use httparse::{Header, Request, Status};

use crate::http::message::{Field, Pieces, RequestHead, Span};
use crate::http::strict;

/// Most fields of a head.
pub(super) const FIELD_LIMIT: usize = 100;

/// What the bytes are, so far.
#[derive(Debug)]
pub(super) enum Parsed {
    /// A head that takes this many bytes.
    Complete(Box<Complete>),
    /// The beginning of one.
    Partial,
    /// None, and the status to say so with.
    Malformed(u16),
}

/// A head and how the connection is to go on.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) head: RequestHead,
    pub(super) len: usize,
    pub(super) framing: Framing,
    /// Whether the client wants to use the connection again (RFC 9112 §9.3).
    pub(super) persists: bool,
    /// Whether it waits for 100 (Continue) before it sends the body (RFC 9110 §10.1.1).
    pub(super) expects_continue: bool,
}

/// How a body's end is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the chunk of no length.
    Chunked,
}

const BAD_REQUEST: u16 = 400;
pub(super) const TOO_LARGE: u16 = 431;
const NOT_IMPLEMENTED: u16 = 501;
const VERSION_NOT_SUPPORTED: u16 = 505;

/// Parses the head at the beginning of `bytes`, of at most `limit` bytes.
pub(super) fn parse(bytes: &[u8], limit: usize) -> Parsed {
    let window = &bytes[..bytes.len().min(limit)];
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELD_LIMIT];
    let mut request = Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(window, &mut headers) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) if bytes.len() < limit => return Parsed::Partial,
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Parsed::Malformed(TOO_LARGE),
        Err(httparse::Error::Version) => return Parsed::Malformed(VERSION_NOT_SUPPORTED),
        Err(_) => return Parsed::Malformed(BAD_REQUEST),
    };
    complete(window, len, &request).map_or_else(Parsed::Malformed, |complete| Parsed::Complete(Box::new(complete)))
}

fn complete(bytes: &[u8], len: usize, request: &Request<'_, '_>) -> Result<Complete, u16> {
    let place = |part: &[u8]| strict::place(bytes, part);
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| BAD_REQUEST)?;
    let version = if request.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    if !strict::lines_end_in_crlf(&bytes[..len], request.headers.iter().map(|header| header.name)) {
        return Err(BAD_REQUEST);
    }
    let mut own: Box<[u8]> = bytes[..len].into();
    let mut framing = FramingFields::default();
    let mut fields = smallvec::SmallVec::new();
    for header in &*request.headers {
        let name = place(header.name.as_bytes());
        own[name.clone()].make_ascii_lowercase();
        framing.see(&own[name.clone()], header.value)?;
        fields.push(Field { name: Span::new(name), value: Span::new(place(header.value)) });
    }
    let target = Target::parse(target, place(target.as_bytes()).start, &method)?;
    let is_1_1 = version == Version::HTTP_11;
    // RFC 9112 §3.2: a request of HTTP/1.1 has exactly one Host field.
    if framing.hosts > 1 || is_1_1 && framing.hosts == 0 {
        return Err(BAD_REQUEST);
    }
    let persists = !framing.wants_close && (is_1_1 || framing.wants_keep_alive);
    let expects_continue = framing.expects_continue && is_1_1;
    let framing = framing.resolve(is_1_1)?;
    let Target { path, query, authority } = target;
    let head = Pieces { bytes: own, method, version, path, query, authority, fields }.into();
    Ok(Complete { head, len, framing, persists, expects_continue })
}

/// The fields that say where a request ends and what becomes of its connection.
#[derive(Default)]
struct FramingFields {
    length: Option<u64>,
    codings: usize,
    is_chunked: bool,
    hosts: usize,
    wants_close: bool,
    wants_keep_alive: bool,
    expects_continue: bool,
}

impl FramingFields {
    fn see(&mut self, name: &[u8], value: &[u8]) -> Result<(), u16> {
        match name {
            b"content-length" => {
                // A list of equal lengths may be taken for one (RFC 9110 §8.6), but no client has a reason to send it.
                if self.length.is_some() {
                    return Err(BAD_REQUEST);
                }
                self.length = Some(strict::decimal(value).ok_or(BAD_REQUEST)?);
            }
            b"transfer-encoding" => {
                self.codings += 1;
                self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
            }
            b"host" => self.hosts += 1,
            b"connection" => {
                for option in value.split(|&c| c == b',').map(<[u8]>::trim_ascii) {
                    self.wants_close |= option.eq_ignore_ascii_case(b"close");
                    self.wants_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            b"expect" => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112 §6.1 and §6.3, at their strictest.
    fn resolve(&self, is_1_1: bool) -> Result<Framing, u16> {
        match (self.codings, self.length) {
            (0, length) => Ok(Framing::Length(length.unwrap_or(0))),
            (_, Some(_)) => Err(BAD_REQUEST),
            (1, None) if is_1_1 && self.is_chunked => Ok(Framing::Chunked),
            (1, None) if is_1_1 => Err(NOT_IMPLEMENTED),
            _ => Err(BAD_REQUEST),
        }
    }
}

/// A request's target (RFC 9112 §3.2).
struct Target {
    path: Span,
    query: Option<Span>,
    authority: Option<Span>,
}

impl Target {
    /// `start` is where `target` stands in the head.
    fn parse(target: &str, start: usize, method: &Method) -> Result<Self, u16> {
        if !target.bytes().all(|c| c.is_ascii_graphic()) || target.contains('#') {
            return Err(BAD_REQUEST);
        }
        let authority = match target.as_bytes() {
            [b'/', ..] => None,
            b"*" if *method == Method::OPTIONS => None,
            _ => Some(Self::authority(target).ok_or(BAD_REQUEST)?),
        };
        let path = authority.as_ref().map_or(0, |authority| authority.end);
        let question = target[path..].find('?').map(|at| path + at);
        let span = |range: std::ops::Range<usize>| Span::new(start + range.start..start + range.end);
        Ok(Self {
            path: span(path..question.unwrap_or(target.len())),
            query: question.map(|at| span(at + 1..target.len())),
            authority: authority.map(span),
        })
    }

    /// Where the host stands in a target of absolute form.
    fn authority(target: &str) -> Option<std::ops::Range<usize>> {
        let start = ["https://", "http://"].into_iter().find_map(|scheme| {
            target.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).map(|_| scheme.len())
        })?;
        let len = target[start..].find(['/', '?']).unwrap_or(target.len() - start);
        (len > 0).then(|| start..start + len)
    }
}

#[cfg(test)]
mod tests;
