//! The canonical request: what both sides hash.

use smallvec::SmallVec;

use super::authorization::SignedHeaders;
use super::head::RequestHead;

/// Buffers that a verifier keeps from one request to the next.
#[derive(Default)]
pub(super) struct Scratch {
    canonical: Vec<u8>,
    query: Vec<u8>,
    /// The last path that was its own canonical form: most likely the next one too.
    plain_path: Vec<u8>,
}

/// Buffers that grew over this are given back after the request.
const SCRATCH_KEPT_BYTES: usize = 64 * 1024;

impl Scratch {
    /// The canonical request up to and including the newline before the payload hash.
    pub(super) fn canonical_request(&mut self, head: &RequestHead<'_>, signed: &SignedHeaders<'_>) -> &[u8] {
        self.canonical.clear();
        let out = &mut self.canonical;
        request_line(out, &mut self.query, &mut self.plain_path, head);
        for name in signed.names() {
            out.extend_from_slice(name.as_bytes());
            out.push(b':');
            canonical_header(out, head, name);
            out.push(b'\n');
        }
        out.push(b'\n');
        for (i, name) in signed.names().iter().enumerate() {
            if i > 0 {
                out.push(b';');
            }
            out.extend_from_slice(name.as_bytes());
        }
        out.push(b'\n');
        out
    }

    /// The canonical request of a head whose names and their places are known: the same as [`Self::canonical_request`].
    #[inline]
    pub(super) fn canonical_known<'h>(
        &mut self,
        out: &mut Vec<u8>,
        head: &RequestHead<'_>,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        list: &[u8],
    ) {
        request_line(out, &mut self.query, &mut self.plain_path, head);
        for (name_and_colon, value) in headers {
            out.extend_from_slice(name_and_colon);
            canonical_value(out, value);
            out.push(b'\n');
        }
        out.push(b'\n');
        out.extend_from_slice(list);
        out.push(b'\n');
    }

    /// Gives back what an unusually large request needed.
    pub(super) fn trim(&mut self) {
        for buffer in [&mut self.canonical, &mut self.query, &mut self.plain_path] {
            if buffer.capacity() > SCRATCH_KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
    }
}

/// Method, path and query, a line each.
fn request_line(out: &mut Vec<u8>, query: &mut Vec<u8>, plain_path: &mut Vec<u8>, head: &RequestHead<'_>) {
    let path = head.path();
    out.extend_from_slice(head.method().as_bytes());
    out.push(b'\n');
    if !path.is_empty() && *path == **plain_path {
        out.extend_from_slice(path);
    } else {
        let start = out.len();
        canonical_path(out, path);
        if out[start..] == *path {
            plain_path.clear();
            plain_path.extend_from_slice(path);
        }
    }
    out.push(b'\n');
    canonical_query(out, query, head.query());
    out.push(b'\n');
}

/// Whether a path is its own canonical form: it begins with a slash, no two slashes stand together, no segment begins with
/// a dot, and all else stands for itself.
fn is_canonical(path: &[u8]) -> bool {
    let mut after_slash = false;
    let plain = path.iter().all(|&c| {
        let fits = if c == b'/' { !after_slash } else { is_unreserved(c) && !(after_slash && c == b'.') };
        after_slash = c == b'/';
        fits
    });
    plain && path.first() == Some(&b'/')
}

/// The path with dot segments and empty segments resolved, every byte but unreserved ones and `/` percent-encoded. It
/// arrives encoded once and is encoded again, `%3A` to `%253A`: all services but S3 sign it so.
fn canonical_path(out: &mut Vec<u8>, path: &[u8]) {
    if is_canonical(path) {
        out.extend_from_slice(path);
        return;
    }
    let start = out.len();
    // Where each segment begins, at its slash.
    let mut segments = SmallVec::<[usize; 16]>::new();
    for segment in path.split(|&c| c == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => out.truncate(segments.pop().unwrap_or(start)),
            _ => {
                segments.push(out.len());
                out.push(b'/');
                percent_encode(out, segment);
            }
        }
    }
    // botocore's reading: a trailing slash stays, but `/a/.` and `/a/b/..` end without one.
    if segments.is_empty() || path.ends_with(b"/") {
        out.push(b'/');
    }
}

/// The parameters sorted by encoded name, then by encoded value. `X-Amz-Signature` cannot sign itself.
fn canonical_query(out: &mut Vec<u8>, scratch: &mut Vec<u8>, query: &[u8]) {
    if query.is_empty() {
        return;
    }
    scratch.clear();
    let mut pairs = SmallVec::<[(usize, usize, usize); 16]>::new();
    for (name, value) in query_pairs(query) {
        let start = scratch.len();
        recode(scratch, name);
        let middle = scratch.len();
        if &scratch[start..middle] == b"X-Amz-Signature" {
            scratch.truncate(start);
            continue;
        }
        recode(scratch, value);
        pairs.push((start, middle, scratch.len()));
    }
    let key = |&(start, middle, end): &(usize, usize, usize)| (&scratch[start..middle], &scratch[middle..end]);
    pairs.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    for (i, pair) in pairs.iter().enumerate() {
        let (name, value) = key(pair);
        if i > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// Names and values as on the wire. Without an equal sign the value is empty; between two `&&` there is no parameter.
pub(super) fn query_pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&c| c == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let equals = pair.iter().position(|&c| c == b'=');
        equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]))
    })
}

/// All values of a header, comma between them, blanks trimmed and inner runs of them folded into one space.
fn canonical_header(out: &mut Vec<u8>, head: &RequestHead<'_>, name: &str) {
    let mut first = true;
    head.for_each(name, |value| {
        if !first {
            out.push(b',');
        }
        first = false;
        canonical_value(out, value);
    });
}

/// One value, blanks trimmed and folded.
#[inline]
fn canonical_value(out: &mut Vec<u8>, value: &[u8]) {
    // Most values have no blank at all. No early exit, so that the search is one over vectors.
    if !value.iter().fold(false, |found, &c| found | (c <= b' ')) {
        out.extend_from_slice(value);
        return;
    }
    let words = value.split(|c| c.is_ascii_whitespace()).filter(|word| !word.is_empty());
    for (i, word) in words.enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// Whether a byte stands for itself, RFC 3986 section 2.3.
const UNRESERVED: [bool; 256] = {
    let mut table = [false; 256];
    let mut c = 0;
    while c < 256 {
        table[c] = (c as u8).is_ascii_alphanumeric() || matches!(c as u8, b'-' | b'.' | b'_' | b'~');
        c += 1;
    }
    table
};

#[inline]
const fn is_unreserved(c: u8) -> bool {
    UNRESERVED[c as usize]
}

const UPPER_HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `bytes` with all but unreserved ones percent-encoded.
fn percent_encode(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&c| !is_unreserved(c)) {
        let c = rest[at];
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'%', UPPER_HEX[usize::from(c >> 4)], UPPER_HEX[usize::from(c & 15)]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends `bytes` percent-decoded and encoded again, so that `%3a`, `%3A` and `:` come out the same. A `+` is a plus,
/// and a `%` without two digits a percent sign.
fn recode(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().all(|&c| is_unreserved(c)) {
        out.extend_from_slice(bytes);
    } else {
        percent_encoding::percent_decode(bytes).for_each(|c| percent_encode(out, &[c]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> String {
        let mut out = b"x".to_vec();
        canonical_path(&mut out, path.as_bytes());
        String::from_utf8(out.split_off(1)).unwrap()
    }

    fn query(query: &str) -> String {
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        canonical_query(&mut out, &mut scratch, query.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn paths_are_normalised_and_encoded_once_more() {
        for (wire, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/./", "/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("//example//", "/example/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/b/..", "/a"),
            ("/a/b/../", "/a/"),
            ("/a/.", "/a"),
            ("/.hidden/..data", "/.hidden/..data"),
            ("/%2e%2e/a", "/%252e%252e/a"),
            ("/functions/arn%3Aaws%3Alambda/invocations", "/functions/arn%253Aaws%253Alambda/invocations"),
            ("/functions/arn:aws:lambda/invocations", "/functions/arn%3Aaws%3Alambda/invocations"),
            ("/a b$c", "/a%20b%24c"),
            ("/\u{1234}", "/%E1%88%B4"),
        ] {
            assert_eq!(path(wire), canonical, "{wire}");
        }
    }

    #[test]
    fn parameters_are_recoded_and_sorted_by_name_then_value() {
        for (wire, canonical) in [
            ("", ""),
            ("a", "a="),
            ("a=", "a="),
            ("&&a=1&", "a=1"),
            ("=1", "=1"),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1&a=", "a=&a=1&a=2"),
            ("Param-3=Value3&Param=Value2&%E1%88%B4=Value1", "%E1%88%B4=Value1&Param=Value2&Param-3=Value3"),
            ("Qualifier=%24LATEST", "Qualifier=%24LATEST"),
            ("Qualifier=$LATEST", "Qualifier=%24LATEST"),
            ("a=%3a%3A:", "a=%3A%3A%3A"),
            ("a=1+2%202", "a=1%2B2%202"),
            ("a=b=c", "a=b%3Dc"),
            ("a=%zz%", "a=%25zz%25"),
            ("X-Amz-Signature=00&a=1", "a=1"),
        ] {
            assert_eq!(query(wire), canonical, "{wire}");
        }
    }

    #[test]
    fn header_values_are_trimmed_folded_and_joined() {
        let headers: &[(&str, &[u8])] =
            &[("a", b"  x   y\t z "), ("a", b""), ("b", b"1"), ("a", b"one\n   two"), ("a", b"\xff  \xfe")];
        let head = RequestHead::new("GET", b"/", b"", headers.iter().copied());
        let mut out = Vec::new();
        canonical_header(&mut out, &head, "a");
        assert_eq!(out, b"x y z,,one two,\xff \xfe");
    }

    #[test]
    fn a_path_is_written_alike_whatever_path_came_before() {
        let (mut scratch, signed) = (Scratch::default(), SignedHeaders::parse("host").unwrap());
        for path in ["/a/b", "/a/b", "/a/b/../c", "/a/b", "/a//b", "", "/", "/a/%3A", "/a/b/"] {
            let head = RequestHead::new("GET", path.as_bytes(), b"", []);
            let alone = Scratch::default().canonical_request(&head, &signed).to_vec();
            assert_eq!(scratch.canonical_request(&head, &signed), alone, "{path}");
        }
    }

    #[test]
    fn buffers_of_a_huge_request_are_given_back() {
        let mut scratch = Scratch::default();
        let path = vec![b':'; 100_000];
        let signed = SignedHeaders::parse("host").unwrap();
        assert!(scratch.canonical_request(&RequestHead::new("GET", &path, &path, []), &signed).len() > 600_000);
        scratch.trim();
        assert_eq!((scratch.canonical.capacity(), scratch.query.capacity(), scratch.plain_path.capacity()), (0, 0, 0));
    }
}
