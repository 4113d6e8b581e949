//! The head of an answer over HTTP/1.1, as a client reads it: status, fields, and how long the body is.
//!
//! Parsed by httparse, which is lenient where RFC 9112 permits it; here it is not. What two readers could take for bodies of
//! different lengths is refused (RFC 9112 §6.3): a length given twice or beside a coding, a coding other than `chunked`,
//! lines that end in a bare LF. Nothing is copied.
//!
//! Limits: [`HEAD_MAX`], [`FIELDS_MAX`].

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

use super::fields::FieldsByName;
use super::strict;

/// Bytes of a head at most: room for a log's tail four times over.
pub const HEAD_MAX: usize = 32 * 1024;
/// Fields of a head at most.
pub const FIELDS_MAX: usize = 100;

/// How long a body is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Framing {
    /// So many bytes; none for a status that has no body.
    Length(u64),
    /// As its chunks say.
    Chunked,
    /// All that comes before the connection ends.
    UntilClose,
}

/// Why a head cannot be read. Its connection cannot be used any more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP/1.
    #[error("the head is not HTTP/1")]
    Syntax,
    /// A line that ends in a bare LF.
    #[error("a line of the head does not end in CR LF")]
    LineEnd,
    /// Longer than the limits.
    #[error("the head has more than {FIELDS_MAX} fields or {HEAD_MAX} bytes")]
    TooLarge,
    /// More than one length, or one that is none, or a coding that is not supported.
    #[error("the head does not say unmistakably how long the body is")]
    Framing,
}

/// Room for the fields of one head.
pub struct FieldSpace<'b>([MaybeUninit<Header<'b>>; FIELDS_MAX]);

impl FieldSpace<'_> {
    /// Room that nothing was written to yet.
    #[inline]
    pub const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; FIELDS_MAX])
    }
}

impl Default for FieldSpace<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for FieldSpace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FieldSpace")
    }
}

/// The head of an answer.
#[derive(Debug)]
pub struct ResponseHead<'h, 'b> {
    /// From 100 to 999.
    pub status: u16,
    /// What follows the head.
    pub framing: Framing,
    /// Whether the connection may be used again after the body.
    pub persists: bool,
    /// Bytes of the head, its empty line included.
    pub len: usize,
    is_http_11: bool,
    fields: &'h [Header<'b>],
}

impl<'h, 'b> ResponseHead<'h, 'b> {
    /// Reads the head at the beginning of `bytes`; `None` if it is not complete yet.
    ///
    /// # Errors
    /// [`HeadError`], as soon as it is certain.
    pub fn parse(bytes: &'b [u8], space: &'h mut FieldSpace<'b>) -> Result<Option<Self>, HeadError> {
        if bytes.first().is_some_and(|first| *first != b'H') {
            // httparse would skip empty lines.
            return Err(HeadError::Syntax);
        }
        let mut response = Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut space.0);
        let len = match parsed {
            Ok(Status::Complete(len)) if len <= HEAD_MAX => len,
            Ok(Status::Partial) if bytes.len() < HEAD_MAX => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
            Err(_) => return Err(HeadError::Syntax),
        };
        if !strict::lines_end_in_crlf(&bytes[..len], response.headers.iter().map(|field| field.name)) {
            return Err(HeadError::LineEnd);
        }
        let status = response.code.filter(|code| *code >= 100).ok_or(HeadError::Syntax)?;
        let is_http_11 = response.version == Some(1);
        let framing = Framing::UntilClose;
        let mut head = Self { status, framing, persists: is_http_11, len, is_http_11, fields: response.headers };
        head.read_framing()?;
        Ok(Some(head))
    }

    /// Whether another head follows this one (RFC 9110 §15.2).
    pub const fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// Names and values, in order, as they came.
    pub fn fields(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.fields.iter().map(|field| (field.name, field.value))
    }

    /// RFC 9112 §6.3, and §9.3 for what becomes of the connection.
    fn read_framing(&mut self) -> Result<(), HeadError> {
        let (mut length, mut is_chunked) = (None, false);
        for &Header { name, value } in self.fields {
            match name.len() {
                10 if name.eq_ignore_ascii_case("connection") => {
                    let mut options = value.split(|byte| *byte == b',');
                    let closes = options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
                    self.persists &= !closes;
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    let earlier = length.replace(strict::decimal(value.trim_ascii()).ok_or(HeadError::Framing)?);
                    if earlier.is_some() {
                        return Err(HeadError::Framing);
                    }
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    if is_chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                        return Err(HeadError::Framing);
                    }
                    is_chunked = true;
                }
                _ => {}
            }
        }
        let has_no_body = self.is_interim() || matches!(self.status, 204 | 304);
        self.framing = match (length, is_chunked) {
            (Some(_), true) => return Err(HeadError::Framing),
            _ if has_no_body => {
                // Where the host thinks of a body nevertheless, what follows would be mistaken for the next answer.
                self.persists &= !is_chunked && length.unwrap_or(0) == 0;
                Framing::Length(0)
            }
            (Some(length), false) => Framing::Length(length),
            // HTTP/1.0 has no codings: whoever says so does not know what it says (RFC 9112 §6.1).
            (None, true) if !self.is_http_11 => return Err(HeadError::Framing),
            (None, true) => Framing::Chunked,
            (None, false) => {
                self.persists = false;
                Framing::UntilClose
            }
        };
        Ok(())
    }
}

impl FieldsByName for ResponseHead<'_, '_> {
    #[inline]
    fn field(&self, name: &str) -> Option<&[u8]> {
        let found = self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(found.value.trim_ascii())
    }
}

#[cfg(test)]
mod tests;
