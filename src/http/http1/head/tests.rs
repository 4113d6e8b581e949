//! What is a head, what is none, and what two readers could read differently.

use super::*;

const LIMIT: usize = 64 * 1024;

fn parsed(text: &str) -> Result<Complete, u16> {
    match parse(text.as_bytes(), LIMIT) {
        Parsed::Complete(complete) => Ok(*complete),
        Parsed::Malformed(status) => Err(status),
        Parsed::Partial => panic!("not all there: {text:?}"),
    }
}

fn head_of(fields: &str) -> Result<Complete, u16> {
    parsed(&format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n"))
}

#[test]
fn a_head_is_taken_apart_where_it_stands() {
    let text = "POST /2015-03-31/functions/echo/invocations?Qualifier=%24LATEST HTTP/1.1\r\nHost: lambda.test\r\n\
                X-Amz-Date: 20261123T000000Z\r\nx-empty:\r\nX-Two:   b\t \r\nx-two: \u{fc}\r\nContent-Length: 12\r\n\r\nafter it";
    let Complete { head, len, framing, persists, expects_continue } = parsed(text).unwrap();
    assert_eq!(&text[len..], "after it");
    assert_eq!((framing, persists, expects_continue), (Framing::Length(12), true, false));
    assert_eq!((head.method(), head.version()), (&Method::POST, Version::HTTP_11));
    assert_eq!(head.path(), "/2015-03-31/functions/echo/invocations");
    assert_eq!((head.query(), head.authority()), (Some("Qualifier=%24LATEST"), None));
    let fields: Vec<_> = head.fields().collect();
    let expected: [(&[u8], &[u8]); 6] = [
        (b"host", b"lambda.test"),
        (b"x-amz-date", b"20261123T000000Z"),
        (b"x-empty", b""),
        (b"x-two", b"b"),
        (b"x-two", "\u{fc}".as_bytes()),
        (b"content-length", b"12"),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn a_head_is_partial_until_its_last_byte() {
    let text = "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
    for end in 0..text.len() {
        assert!(matches!(parse(&text.as_bytes()[..end], LIMIT), Parsed::Partial), "{end}");
    }
    assert_eq!(parsed(text).unwrap().len, text.len());
}

#[test]
fn a_head_over_its_limit_is_431() {
    let text = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "b".repeat(500));
    let of = |limit| match parse(text.as_bytes(), limit) {
        Parsed::Malformed(status) => status,
        Parsed::Complete(_) => 200,
        Parsed::Partial => 0,
    };
    assert_eq!((of(text.len()), of(text.len() - 1), of(100)), (200, 431, 431));
    assert!(matches!(parse(&text.as_bytes()[..50], 100), Parsed::Partial));
    let many = "A: b\r\n".repeat(FIELD_LIMIT);
    assert_eq!(head_of(&many).unwrap_err(), 431);
    assert_eq!(head_of(&many[6..]).unwrap().head.fields().count(), FIELD_LIMIT);
}

#[test]
fn the_end_of_a_body_is_known_or_the_request_refused() {
    let table: &[(&str, Result<Framing, u16>)] = &[
        ("", Ok(Framing::Length(0))),
        ("Content-Length: 0\r\n", Ok(Framing::Length(0))),
        ("content-length: 18446744073709551615\r\n", Ok(Framing::Length(u64::MAX))),
        ("Content-Length: 00012\r\n", Ok(Framing::Length(12))),
        ("Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked)),
        ("transfer-encoding: CHUNKED\r\n", Ok(Framing::Chunked)),
        ("Content-Length: 18446744073709551616\r\n", Err(400)),
        ("Content-Length: +1\r\n", Err(400)),
        ("Content-Length: -1\r\n", Err(400)),
        ("Content-Length: 1_0\r\n", Err(400)),
        ("Content-Length: 0x10\r\n", Err(400)),
        ("Content-Length: 1 2\r\n", Err(400)),
        ("Content-Length: 5, 5\r\n", Err(400)),
        ("Content-Length: \r\n", Err(400)),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Err(400)),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Err(400)),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(400)),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Err(400)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(400)),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", Err(400)),
        ("Transfer-Encoding: gzip, chunked\r\n", Err(501)),
        ("Transfer-Encoding: chunked, identity\r\n", Err(501)),
        ("Transfer-Encoding: xchunked\r\n", Err(501)),
        ("Transfer-Encoding: \"chunked\"\r\n", Err(501)),
        ("Transfer-Encoding: chunked;a=b\r\n", Err(501)),
        ("Transfer-Encoding:\r\n", Err(501)),
        ("Transfer-Encoding: \u{b}chunked\r\n", Err(400)),
        ("Transfer-Encoding : chunked\r\n", Err(400)),
        (" Transfer-Encoding: chunked\r\n", Err(400)),
        ("A: b\r\n Content-Length: 5\r\n", Err(400)),
        ("A: b\n Transfer-Encoding: chunked\r\n", Err(400)),
        ("A: b\nContent-Length: 5\r\n", Err(400)),
        ("A: b\rContent-Length: 5\r\n", Err(400)),
        ("A: b\0c\r\n", Err(400)),
        ("A\0: b\r\n", Err(400)),
        (": b\r\n", Err(400)),
        ("A b: c\r\n", Err(400)),
        ("no colon\r\n", Err(400)),
        ("Host: h\r\n", Err(400)),
        ("Host: other\r\n", Err(400)),
    ];
    for (fields, expected) in table {
        assert_eq!(head_of(fields).map(|complete| complete.framing), *expected, "{fields:?}");
    }
}

#[test]
fn a_line_that_ends_in_a_bare_line_feed_is_refused() {
    for text in [
        "GET / HTTP/1.1\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "GET / HTTP/1.1\r\nHost: h\n\n",
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
    ] {
        assert_eq!(parsed(text).unwrap_err(), 400, "{text:?}");
    }
}

#[test]
fn targets_are_of_one_of_three_forms() {
    type Parts<'a> = (&'a str, Option<&'a str>, Option<&'a str>);
    let table: &[(&str, Result<Parts<'_>, u16>)] = &[
        ("GET /", Ok(("/", None, None))),
        ("GET /a?", Ok(("/a", Some(""), None))),
        ("GET /a?b?c=%20", Ok(("/a", Some("b?c=%20"), None))),
        ("GET //h/a", Ok(("//h/a", None, None))),
        ("GET http://h:443/a?b", Ok(("/a", Some("b"), Some("h:443")))),
        ("GET HTTPS://h", Ok(("", None, Some("h")))),
        ("GET https://h?b", Ok(("", Some("b"), Some("h")))),
        ("OPTIONS *", Ok(("*", None, None))),
        ("GET *", Err(400)),
        ("GET https://", Err(400)),
        ("GET https:///a", Err(400)),
        ("GET ftp://h/a", Err(400)),
        ("GET h:443", Err(400)),
        ("CONNECT h:443", Err(400)),
        ("GET a", Err(400)),
        ("GET /a#b", Err(400)),
        ("GET /\u{e9}", Err(400)),
    ];
    for (line, expected) in table {
        let found = parsed(&format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let found = found.as_ref().map(|complete| {
            let head = &complete.head;
            (head.path(), head.query(), head.authority())
        });
        assert_eq!(found, expected.as_ref().map(|parts| *parts), "{line}");
    }
}

#[test]
fn a_connection_goes_on_as_version_and_fields_say() {
    let table = [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: TE, Close\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
    ];
    for (version, fields, expected) in table {
        let found = parsed(&format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n")).unwrap();
        assert_eq!(found.persists, expected, "{version} {fields:?}");
    }
    assert_eq!(parsed("GET / HTTP/1.0\r\n\r\n").unwrap().head.version(), Version::HTTP_10);
    assert_eq!(parsed("GET / HTTP/1.1\r\n\r\n").unwrap_err(), 400, "no Host");
    assert_eq!(parsed("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap_err(), 400);
    assert_eq!(parsed("GET / HTTP/2.0\r\nHost: h\r\n\r\n").unwrap_err(), 505);
    assert!(head_of("Expect: 100-Continue\r\n").unwrap().expects_continue);
    assert!(!parsed("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").unwrap().expects_continue);
}
