//! What both readers of heads are strict about, beyond httparse: an answer's and a request's.

use std::ops::Range;

/// Where `part` stands in `whole`, of which it is a piece.
pub(super) fn place(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

/// Whether every line of a head ends in CR LF. RFC 9112 §2.2 lets a recipient take a bare LF for a line's end; one that does
/// sees lines where others see none. `names` are the fields' names, where they stand in `head`: each begins a line.
pub(super) fn lines_end_in_crlf<'a>(head: &[u8], mut names: impl Iterator<Item = &'a str>) -> bool {
    let begins_line = |name: &str| {
        let start = place(head, name.as_bytes()).start;
        start >= 2 && head.get(start - 2..start) == Some(b"\r\n")
    };
    head.ends_with(b"\r\n\r\n") && names.all(begins_line)
}

/// A length: digits and nothing else (RFC 9110 §8.6).
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}
