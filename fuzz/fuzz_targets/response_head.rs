//! What a function host answers: a head is complete at its last byte and not before, whatever stands behind it; and what makes
//! a body's length doubtful is never let through.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vpce::http::FieldsByName as _;
use vpce::http::response_head::{FieldSpace, Framing, HEAD_MAX, HeadError, ResponseHead};

fuzz_target!(|data: &[u8]| {
    let Ok(Some((len, framing, _))) = parse(data) else { return };
    assert!(len <= HEAD_MAX && data[..len].ends_with(b"\r\n\r\n"));
    assert_eq!(parse(&data[..len]), parse(data));
    for end in 0..len {
        assert_eq!(parse(&data[..end]), Ok(None), "{end}");
    }
    let mut space = FieldSpace::new();
    let head = ResponseHead::parse(data, &mut space).expect("parsed").expect("complete");
    let count = |name: &str| head.fields().filter(|(found, _)| found.eq_ignore_ascii_case(name)).count();
    let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
    assert!(lengths + codings <= 1, "one of them says how long the body is");
    match framing {
        Framing::Chunked => assert_eq!(codings, 1),
        Framing::Length(len) if len > 0 => {
            let value = head.field("Content-Length").expect("a length");
            assert_eq!(std::str::from_utf8(value).expect("digits").parse(), Ok(len));
        }
        Framing::Length(_) => {}
        Framing::UntilClose => assert!(lengths + codings == 0 && !head.persists),
    }
    assert!(!data[..len].windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r'));
});

/// Length, framing, status.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Framing, u16)>, HeadError> {
    let mut space = FieldSpace::new();
    Ok(ResponseHead::parse(bytes, &mut space)?.map(|head| (head.len, head.framing, head.status)))
}
