use super::*;

/// Status, framing, whether the connection persists.
type Read = (u16, Framing, bool);

#[track_caller]
fn parse(bytes: &[u8]) -> Result<Option<Read>, HeadError> {
    let mut space = FieldSpace::new();
    let head = ResponseHead::parse(bytes, &mut space)?;
    Ok(head.map(|head| {
        assert_eq!(head.len, bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4);
        (head.status, head.framing, head.persists)
    }))
}

#[test]
fn a_head_says_how_long_its_body_is_and_what_becomes_of_the_connection() {
    use Framing::{Chunked, Length, UntilClose};
    let table: &[(&str, Read)] = &[
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", (200, Length(5), true)),
        ("HTTP/1.1 200\r\ncontent-length:5\r\n\r\n", (200, Length(5), true)),
        ("HTTP/1.1 200 \r\nCONTENT-LENGTH: \t005 \t\r\n\r\n", (200, Length(5), true)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", (200, Length(u64::MAX), true)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", (200, Chunked, true)),
        ("HTTP/1.1 200 OK\r\n\r\n", (200, UntilClose, false)),
        ("HTTP/1.1 999 Odd\r\n\r\n", (999, UntilClose, false)),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", (200, Length(5), false)),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", (200, Length(5), false)),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", (200, Length(0), false)),
        ("HTTP/1.1 200 OK\r\nConnection: a, CLOSE ,b\r\nContent-Length: 0\r\n\r\n", (200, Length(0), false)),
        ("HTTP/1.1 200 OK\r\nConnection: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", (200, Length(0), false)),
        ("HTTP/1.1 200 OK\r\nConnection: closed\r\nContent-Length: 0\r\n\r\n", (200, Length(0), true)),
        ("HTTP/1.1 100 Continue\r\n\r\n", (100, Length(0), true)),
        ("HTTP/1.1 204 No Content\r\n\r\n", (204, Length(0), true)),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", (204, Length(0), true)),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", (204, Length(0), false)),
        ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", (304, Length(0), false)),
    ];
    for (head, expected) in table {
        assert_eq!(parse(head.as_bytes()), Ok(Some(*expected)), "{head:?}");
        assert_eq!(parse(format!("{head}\nHTTP").as_bytes()), Ok(Some(*expected)), "what follows does not matter");
        for end in 0..head.len() {
            assert_eq!(parse(&head.as_bytes()[..end]), Ok(None), "{:?}", &head[..end]);
        }
    }
}

#[test]
fn what_two_readers_could_read_in_different_ways_is_refused() {
    use HeadError::{Framing, LineEnd, Syntax};
    let with = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
    let table: &[(String, HeadError)] = &[
        (with("Content-Length: 5\r\nContent-Length: 6"), Framing),
        (with("Content-Length: 5\r\ncontent-length: 5"), Framing),
        (with("Content-Length: 5, 5"), Framing),
        (with("Content-Length: +5"), Framing),
        (with("Content-Length: -5"), Framing),
        (with("Content-Length: 0x5"), Framing),
        (with("Content-Length: 5 5"), Framing),
        (with("Content-Length: 5a"), Framing),
        (with("Content-Length: 5.0"), Framing),
        (with("Content-Length: \u{665}"), Framing),
        (with("Content-Length:"), Framing),
        (with("Content-Length: 18446744073709551616"), Framing),
        (with("Content-Length: 99999999999999999999999"), Framing),
        (with("Transfer-Encoding: chunked\r\nContent-Length: 5"), Framing),
        (with("Content-Length: 5\r\nTransfer-Encoding: chunked"), Framing),
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Framing),
        (with("Transfer-Encoding: gzip, chunked"), Framing),
        (with("Transfer-Encoding: chunked, identity"), Framing),
        (with("Transfer-Encoding: identity"), Framing),
        (with("Transfer-Encoding: xchunked"), Framing),
        (with("Transfer-Encoding: \"chunked\""), Framing),
        (with("Transfer-Encoding:"), Framing),
        (with("Content-Length: 5").replace("200 OK", "204 x\r\nTransfer-Encoding: chunked"), Framing),
        (with("Transfer-Encoding: chunked").replace("1.1", "1.0"), Framing),
        (with("Content-Length : 5"), Syntax),
        (with("Content-Length: 5\r\n folded: 6"), Syntax),
        (with(" Content-Length: 5"), Syntax),
        (with("Content-Length\r\n"), Syntax),
        (with(": 5"), Syntax),
        (with("a: b\0c"), Syntax),
        (with("a: b\rc: d"), Syntax),
        (with("a\u{e9}: b"), Syntax),
        (with("a: b").replace("\r\n", "\n"), LineEnd),
        ("HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n".to_owned(), LineEnd),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\n".to_owned(), LineEnd),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\n".to_owned(), LineEnd),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".to_owned(), Syntax),
        ("\nHTTP/1.1 200 OK\r\n\r\n".to_owned(), Syntax),
        ("HTTP/2 200\r\n\r\n".to_owned(), Syntax),
        ("HTTP/1.2 200 OK\r\n\r\n".to_owned(), Syntax),
        ("http/1.1 200 OK\r\n\r\n".to_owned(), Syntax),
        ("HTTP/1.1 2000 OK\r\n\r\n".to_owned(), Syntax),
        ("HTTP/1.1 20 OK\r\n\r\n".to_owned(), Syntax),
        ("HTTP/1.1 099 OK\r\n\r\n".to_owned(), Syntax),
        ("HTTP/1.1 +20 OK\r\n\r\n".to_owned(), Syntax),
        ("HTTP/1.1  200 OK\r\n\r\n".to_owned(), Syntax),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), Syntax),
        ("{\"a\":1}".to_owned(), Syntax),
        ("\u{0}".to_owned(), Syntax),
    ];
    for (head, error) in table {
        assert_eq!(parse(head.as_bytes()), Err(*error), "{head:?}");
    }
}

#[test]
fn limits_are_kept_to_the_byte() {
    let long = |len: usize| {
        let rest = "HTTP/1.1 200 OK\r\na: \r\n\r\n".len();
        format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(len - rest))
    };
    assert!(parse(long(HEAD_MAX).as_bytes()).unwrap().is_some());
    assert_eq!(parse(long(HEAD_MAX + 1).as_bytes()), Err(HeadError::TooLarge));
    assert_eq!(parse(&long(HEAD_MAX + 10).as_bytes()[..HEAD_MAX - 1]), Ok(None));
    assert_eq!(parse(&long(HEAD_MAX + 10).as_bytes()[..HEAD_MAX]), Err(HeadError::TooLarge));
    let many = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert!(parse(many(FIELDS_MAX).as_bytes()).unwrap().is_some());
    assert_eq!(parse(many(FIELDS_MAX + 1).as_bytes()), Err(HeadError::TooLarge));
}

#[test]
fn fields_are_found_by_name_whatever_its_case_and_the_first_counts() {
    let mut space = FieldSpace::new();
    let bytes = b"HTTP/1.1 200 OK\r\nX-One: \t1 \t\r\nx-one: 2\r\nx-on: 3\r\nempty:\r\n\r\n";
    let head = ResponseHead::parse(bytes, &mut space).unwrap().unwrap();
    assert_eq!((head.field("x-ONE"), head.field("X-On"), head.field("x")), (Some(&b"1"[..]), Some(&b"3"[..]), None));
    assert_eq!(head.field("empty"), Some(&b""[..]));
    assert_eq!(head.fields().map(|(name, _)| name).collect::<Vec<_>>(), ["X-One", "x-one", "x-on", "empty"]);
}
