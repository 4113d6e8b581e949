//! The part of a request that a signature covers, apart from its body.

use http::request;
use smallvec::SmallVec;

/// Method, target and headers, exactly as they came over the wire.
///
/// Nothing in it is decoded or normalised: that is the canonical request's business, and doing it twice breaks
/// signatures.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    method: &'a str,
    path: &'a [u8],
    query: &'a [u8],
    authority: Option<&'a str>,
    headers: Headers<'a>,
}

impl<'a> RequestHead<'a> {
    /// A head out of its pieces: the path and the query as on the wire, without the `?`, and headers in their order with
    /// lower-case names; a repeated header is a repeated entry.
    pub fn new(
        method: &'a str,
        path: &'a [u8],
        query: &'a [u8],
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.as_bytes(), value));
        Self { method, path, query, authority: None, headers: Headers::new(headers) }
    }

    /// The head of a request as hyper hands it over. [`http::Uri`] keeps the path as it was sent. Over HTTP/2 there is
    /// no Host header; `:authority` stands in for it.
    #[inline]
    pub fn from_parts(parts: &'a request::Parts) -> Self {
        Self {
            method: parts.method.as_str(),
            path: parts.uri.path().as_bytes(),
            query: parts.uri.query().unwrap_or_default().as_bytes(),
            authority: parts.uri.authority().map(http::uri::Authority::as_str),
            headers: Headers::new(
                parts.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())),
            ),
        }
    }

    /// The head of a request as it was parsed.
    pub fn of(head: &'a crate::http::RequestHead) -> Self {
        Self {
            method: head.method().as_str(),
            path: head.path_bytes(),
            query: head.query().unwrap_or_default().as_bytes(),
            authority: head.authority(),
            headers: Headers::new(head.fields()),
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

    /// The headers that speak of the signature itself, in one walk.
    #[inline]
    pub(super) fn notable(&self) -> Notable<'a> {
        let mut notable = Notable::default();
        for &(name, value) in &self.headers.entries {
            // Lengths first: of most headers nothing more is looked at.
            let slot = match name.len() {
                4 if name == b"date" => &mut notable.date,
                10 if name == b"x-amz-date" => &mut notable.amz_date,
                13 if name == b"authorization" => &mut notable.authorization,
                20 if name == b"x-amz-security-token" => &mut notable.token,
                20 if name == b"x-amz-content-sha256" => &mut notable.content_sha256,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        notable
    }

    /// Names and values, in their order unless there are too many: then there is `None`.
    #[inline]
    pub(super) fn entries(&self) -> Option<&[Entry<'a>]> {
        (!self.headers.is_sorted).then_some(&self.headers.entries)
    }

    /// `:authority` of HTTP/2.
    #[inline]
    pub(super) const fn authority(&self) -> Option<&'a str> {
        self.authority
    }

    /// Calls `each` with every value of the header of this lower-case name, in order. `host` and `:authority` stand in
    /// for each other: which of them exists depends on the version of HTTP, and either may be signed.
    #[inline]
    pub(super) fn for_each(&self, name: &str, mut each: impl FnMut(&'a [u8])) {
        let mut is_there = false;
        if name == ":authority" {
            is_there = self.authority.is_some();
            self.authority.iter().for_each(|authority| each(authority.as_bytes()));
        } else {
            for value in self.headers.values(name) {
                is_there = true;
                each(value);
            }
        }
        match name {
            ":authority" if !is_there => self.headers.values("host").for_each(each),
            "host" if !is_there => self.authority.iter().for_each(|authority| each(authority.as_bytes())),
            _ => {}
        }
    }

    /// The first header name that `wanted` picks.
    #[inline]
    pub(super) fn find_name(&self, mut wanted: impl FnMut(&[u8]) -> bool) -> Option<&'a [u8]> {
        self.headers.entries.iter().map(|(name, _)| *name).find(|name| wanted(name))
    }

    /// Whether there is a Host header or `:authority`.
    pub(super) fn has_host(&self) -> bool {
        self.authority.is_some() || self.headers.values("host").next().is_some()
    }
}

/// The first value of each header that says something about the signature.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Notable<'a> {
    pub(super) authorization: Option<&'a [u8]>,
    pub(super) amz_date: Option<&'a [u8]>,
    pub(super) date: Option<&'a [u8]>,
    pub(super) token: Option<&'a [u8]>,
    pub(super) content_sha256: Option<&'a [u8]>,
}

/// A header's name and value. Names are bytes: nothing asks whether they are text, and finding out costs more than comparing.
pub(super) type Entry<'a> = (&'a [u8], &'a [u8]);

/// Headers as pairs. A few are searched one by one, which beats hashing their names; many are sorted first, so that a
/// hostile head of thousands costs no quadratic time.
#[derive(Clone, Debug)]
struct Headers<'a> {
    entries: SmallVec<[Entry<'a>; FEW]>,
    is_sorted: bool,
}

/// Up to so many headers are searched one by one.
pub(super) const FEW: usize = 24;

impl<'a> Headers<'a> {
    #[inline]
    fn new(entries: impl IntoIterator<Item = Entry<'a>>) -> Self {
        // Filled where it stays: collecting would move it once more.
        let mut headers = Self { entries: SmallVec::new(), is_sorted: false };
        headers.entries.extend(entries);
        if headers.entries.len() > FEW {
            headers.is_sorted = true;
            // Stable: the order of a repeated header's values is part of the canonical request.
            headers.entries.sort_by_key(|&(name, _)| name);
        }
        headers
    }

    #[inline]
    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let name = name.as_bytes();
        let range = if self.is_sorted {
            let start = self.entries.partition_point(|&(n, _)| n < name);
            start..start + self.entries[start..].partition_point(|&(n, _)| n == name)
        } else {
            0..self.entries.len()
        };
        self.entries[range].iter().filter(move |&&(n, _)| n == name).map(|&(_, value)| value)
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
    fn many_headers_are_found_in_their_order_too() {
        let names: Vec<String> = (0..100).map(|n| format!("h{}", n * 7 % 50)).collect();
        let numbers: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let pairs = names.iter().zip(&numbers).map(|(name, value)| (name.as_str(), value.as_bytes()));
        let head = RequestHead::new("GET", b"/", b"", pairs);
        for n in 0..50 {
            assert_eq!(values(&head, &format!("h{}", n * 7 % 50)), [n.to_string(), (n + 50).to_string()]);
        }
        assert_eq!(values(&head, "h"), [""; 0]);
        assert_eq!(values(&head, "z"), [""; 0]);
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
