//! What a request asks and what an answer says, for either version of HTTP: flat, in the order and the bytes of the wire.
//!
//! A head is one piece of memory and places in it. Looking a field up compares a handful of names, which costs less than
//! hashing them all first, and nothing is allocated for a name or a value.

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, request};
use smallvec::SmallVec;

use super::fields::is_field_value;

/// A request's method, target and fields. Names are in lower case, values are as they came, without the blanks around them.
#[derive(Clone, Debug)]
pub struct RequestHead {
    bytes: Box<[u8]>,
    method: Method,
    version: Version,
    path: Span,
    query: Option<Span>,
    authority: Option<Span>,
    fields: SmallVec<[Field; 16]>,
}

/// A place in the bytes of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Heads are at most [`Limits::head`](super::Limits) long: far below 4 GiB.
    pub(super) const fn new(range: Range<usize>) -> Self {
        Self { start: range.start as u32, end: range.end as u32 }
    }

    pub(super) const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A field's name and value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: Span,
    pub(super) value: Span,
}

/// The pieces of a head that was parsed from `bytes`. Everything but values is visible ASCII.
pub(super) struct Pieces {
    pub(super) bytes: Box<[u8]>,
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    pub(super) authority: Option<Span>,
    pub(super) fields: SmallVec<[Field; 16]>,
}

impl From<Pieces> for RequestHead {
    fn from(pieces: Pieces) -> Self {
        let Pieces { bytes, method, version, path, query, authority, fields } = pieces;
        Self { bytes, method, version, path, query, authority, fields }
    }
}

impl RequestHead {
    /// The head of a request of HTTP/2.
    pub fn from_parts(parts: &request::Parts) -> Self {
        let mut bytes = Vec::with_capacity(512);
        let mut keep = |text: &[u8]| {
            let start = bytes.len();
            bytes.extend_from_slice(text);
            Span::new(start..bytes.len())
        };
        let path = keep(parts.uri.path().as_bytes());
        let query = parts.uri.query().map(|query| keep(query.as_bytes()));
        let authority = parts.uri.authority().map(|authority| keep(authority.as_str().as_bytes()));
        let fields = parts.headers.iter();
        let fields = fields
            .map(|(name, value)| Field { name: keep(name.as_str().as_bytes()), value: keep(value.as_bytes()) })
            .collect();
        let (method, version) = (parts.method.clone(), parts.version);
        Pieces { bytes: bytes.into(), method, version, path, query, authority, fields }.into()
    }

    /// The method.
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The version of HTTP.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The path as on the wire.
    pub fn path(&self) -> &str {
        self.ascii(self.path)
    }

    /// The same as bytes.
    pub fn path_bytes(&self) -> &[u8] {
        self.slice(self.path)
    }

    /// The query as on the wire, without the `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|query| self.ascii(query))
    }

    /// `:authority`, or the host of a target in absolute form (RFC 9112 §3.2.2).
    pub fn authority(&self) -> Option<&str> {
        self.authority.map(|authority| self.ascii(authority))
    }

    /// The first value of the field of this lower-case name.
    #[inline]
    pub fn field<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        self.fields.iter().find(|field| self.is_named(field, name)).map(|field| self.slice(field.value))
    }

    /// The first value of the field of this lower-case name, if it is visible ASCII, blanks and tabs.
    pub fn text<'a>(&'a self, name: &str) -> Option<&'a str> {
        let is_text = |value: &&[u8]| value.iter().fold(true, |fits, &c| fits & matches!(c, b' '..=b'~' | b'\t'));
        self.field(name).filter(is_text).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All values of the field of this lower-case name, in their order.
    #[inline]
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(|field| self.is_named(field, name)).map(|field| self.slice(field.value))
    }

    /// All fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (self.slice(field.name), self.slice(field.value)))
    }

    #[inline]
    fn is_named(&self, field: &Field, name: &str) -> bool {
        (field.name.end - field.name.start) as usize == name.len() && self.slice(field.name) == name.as_bytes()
    }

    fn slice(&self, span: Span) -> &[u8] {
        self.bytes.get(span.range()).unwrap_or_default()
    }

    fn ascii(&self, span: Span) -> &str {
        std::str::from_utf8(self.slice(span)).unwrap_or_default()
    }
}

/// An answer: status, fields, and a body of whatever kind.
#[derive(Clone, Debug)]
pub struct Response<B> {
    /// The status code.
    pub status: u16,
    /// Its fields, but for those that say how the body is framed: these are the connection's.
    pub fields: Fields,
    /// The body.
    pub body: B,
}

impl<B> Response<B> {
    /// The same with another body.
    pub fn map<C>(self, make: impl FnOnce(B) -> C) -> Response<C> {
        Response { status: self.status, fields: self.fields, body: make(self.body) }
    }
}

/// The fields of an answer, as HTTP/1.1 writes them: a line each, in AWS's casing.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// No fields, with room for what an answer usually has.
    pub fn with_room() -> Self {
        Self(Vec::with_capacity(512))
    }

    /// Adds a field. A value that could not stand in a line is left out: none can come from a request or a function that was
    /// not checked before.
    pub fn push(&mut self, name: &'static str, value: &str) {
        self.push_bytes(name, value.as_bytes());
    }

    /// Adds a field.
    pub fn push_bytes(&mut self, name: &'static str, value: &[u8]) {
        if is_field_value(value) {
            self.0.reserve(name.len() + value.len() + 4);
            self.0.extend_from_slice(name.as_bytes());
            self.0.extend_from_slice(b": ");
            self.0.extend_from_slice(value);
            self.0.extend_from_slice(b"\r\n");
        }
    }

    /// The lines, each with its CRLF.
    pub fn lines(&self) -> &[u8] {
        &self.0
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.split(|&c| c == b'\n').filter_map(|line| {
            let line = line.strip_suffix(b"\r")?;
            let colon = line.iter().position(|&c| c == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii_start()))
        })
    }

    /// For HTTP/2, which has its own way of writing them.
    pub fn to_map(&self) -> HeaderMap {
        let fields = self.iter();
        fields
            .filter_map(|(name, value)| {
                Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_http2_keeps_its_parts() {
        let request = http::Request::post("https://lambda.test/a%20b?c=d&e")
            .header("X-One", "1")
            .header("x-two", HeaderValue::from_bytes(b"\xff").unwrap())
            .header("x-one", "2")
            .body(())
            .unwrap();
        let head = RequestHead::from_parts(&request.into_parts().0);
        assert_eq!((head.method(), head.path(), head.query()), (&Method::POST, "/a%20b", Some("c=d&e")));
        assert_eq!(head.authority(), Some("lambda.test"));
        assert_eq!(head.values("x-one").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(
            (head.field("x-two"), head.text("x-two"), head.text("x-one")),
            (Some(&b"\xff"[..]), None, Some("1"))
        );
        assert_eq!(head.field("x-three"), None);
        assert_eq!(head.fields().count(), 3);
    }

    #[test]
    fn a_value_that_would_end_its_line_is_left_out() {
        let mut fields = Fields::default();
        fields.push("Content-Type", "text/plain");
        fields.push("X-Bad", "a\r\nX-Injected: b");
        fields.push("x-Colons", "a: b:c");
        assert_eq!(fields.lines(), b"Content-Type: text/plain\r\nx-Colons: a: b:c\r\n");
        assert_eq!(fields.iter().nth(1), Some((&b"x-Colons"[..], &b"a: b:c"[..])));
        assert_eq!(fields.to_map()["content-type"], "text/plain");
        assert_eq!(fields.to_map().len(), 2);
    }
}
