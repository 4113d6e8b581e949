//! The part of a request that a signature covers, apart from its body.

use http::header::HOST;
use http::{HeaderMap, request};

/// Method, target and headers, exactly as they came over the wire.
///
/// Nothing in it is decoded or normalised: that is the canonical request's business, and doing it twice breaks
/// signatures.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    method: &'a str,
    path: &'a [u8],
    query: &'a [u8],
    authority: Option<&'a str>,
    headers: Headers<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Headers<'a> {
    Map(&'a HeaderMap),
    List(&'a [(&'a str, &'a [u8])]),
}

impl<'a> RequestHead<'a> {
    /// A head out of its pieces: the path and the query as on the wire, without the `?`, and headers in their order with
    /// lower-case names; a repeated header is a repeated entry.
    pub const fn new(method: &'a str, path: &'a [u8], query: &'a [u8], headers: &'a [(&'a str, &'a [u8])]) -> Self {
        Self { method, path, query, authority: None, headers: Headers::List(headers) }
    }

    /// The head of a request as hyper hands it over. [`http::Uri`] keeps the path as it was sent. Over HTTP/2 there is
    /// no Host header; `:authority` stands in for it.
    pub fn from_parts(parts: &'a request::Parts) -> Self {
        Self {
            method: parts.method.as_str(),
            path: parts.uri.path().as_bytes(),
            query: parts.uri.query().unwrap_or_default().as_bytes(),
            authority: parts.uri.authority().map(http::uri::Authority::as_str),
            headers: Headers::Map(&parts.headers),
        }
    }

    /// The method, `POST`.
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// The path as on the wire.
    pub const fn path(&self) -> &'a [u8] {
        self.path
    }

    /// The query as on the wire; empty if there is none.
    pub const fn query(&self) -> &'a [u8] {
        self.query
    }

    /// The first value of the header of this lower-case name.
    pub(super) fn first(&self, name: &str) -> Option<&'a [u8]> {
        match self.headers {
            Headers::Map(map) => map.get(name).map(http::HeaderValue::as_bytes),
            Headers::List(list) => list.iter().find(|(n, _)| *n == name).map(|(_, value)| *value),
        }
    }

    /// Calls `each` with every value of the header of this lower-case name, in order. `host` and `:authority` stand in
    /// for each other: which of them exists depends on the version of HTTP, and either may be signed.
    pub(super) fn for_each(&self, name: &str, mut each: impl FnMut(&'a [u8])) {
        match self.headers {
            Headers::Map(map) if name == ":authority" || (name == "host" && !map.contains_key(HOST)) => {
                let host = || map.get(HOST).map(http::HeaderValue::as_bytes);
                if let Some(value) = self.authority.map(str::as_bytes).or_else(host) {
                    each(value);
                }
            }
            Headers::Map(map) => map.get_all(name).iter().for_each(|value| each(value.as_bytes())),
            Headers::List(list) => list.iter().filter(|(n, _)| *n == name).for_each(|(_, value)| each(value)),
        }
    }

    /// The first header name that `wanted` picks.
    pub(super) fn find_name(&self, mut wanted: impl FnMut(&str) -> bool) -> Option<&'a str> {
        match self.headers {
            Headers::Map(map) => map.keys().map(http::HeaderName::as_str).find(|name| wanted(name)),
            Headers::List(list) => list.iter().map(|(name, _)| *name).find(|name| wanted(name)),
        }
    }

    /// Whether there is a Host header or `:authority`.
    pub(super) fn has_host(&self) -> bool {
        self.authority.is_some() || self.first("host").is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(head: &RequestHead<'_>, name: &str) -> Vec<String> {
        let mut out = Vec::new();
        head.for_each(name, |value| out.push(String::from_utf8_lossy(value).into_owned()));
        out
    }

    #[test]
    fn hyper_parts_keep_wire_path_and_repeated_headers() {
        let request = http::Request::post("/a//b/../arn%3Aaws?Qualifier=%24LATEST")
            .header("host", "example.com")
            .header("my-header", "2")
            .header("my-header", "1")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let head = RequestHead::from_parts(&parts);
        assert_eq!(
            (head.method(), head.path(), head.query()),
            ("POST", &b"/a//b/../arn%3Aaws"[..], &b"Qualifier=%24LATEST"[..])
        );
        assert_eq!(values(&head, "my-header"), ["2", "1"]);
        assert_eq!(values(&head, "host"), ["example.com"]);
        assert_eq!(values(&head, ":authority"), ["example.com"]);
        assert_eq!(values(&head, "no such header"), [""; 0]);
    }

    #[test]
    fn authority_stands_in_for_host_over_http2() {
        let (parts, ()) = http::Request::get("https://example.com:8443/x").body(()).unwrap().into_parts();
        let head = RequestHead::from_parts(&parts);
        assert_eq!(values(&head, "host"), ["example.com:8443"]);
        assert!(head.has_host());
    }

    #[test]
    fn a_host_header_counts_before_the_authority() {
        let request = http::Request::get("https://example.com/x").header("host", "other.example.com").body(()).unwrap();
        let (parts, ()) = request.into_parts();
        let head = RequestHead::from_parts(&parts);
        assert_eq!(values(&head, "host"), ["other.example.com"]);
        assert_eq!(values(&head, ":authority"), ["example.com"]);
    }
}
