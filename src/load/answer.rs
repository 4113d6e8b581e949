//! Answers: HTTP/1.1, strictly, and only what invocations use. Each is compared with what was expected while it arrives.
//!
//! Status line, headers, and a body whose length stands in `Content-Length`. Anything else (chunks, a missing or repeated
//! length, a line that is no header) is a wrong answer, and so is a function's error: a server that is fast at being wrong
//! is not measured.

use thiserror::Error;

use crate::onprem::built_in::{PERIOD, pattern};

/// Longest head that is read, bytes.
pub const HEAD_LIMIT: usize = 16 << 10;

/// How much of an unexpected answer is shown, bytes.
const SHOWN: usize = 300;

/// What is to be answered.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A JSON string of this many bytes, quotes included, whose content is [`pattern`].
    Pattern(usize),
    /// A body of any content: of this length, if one is known.
    Length(Option<usize>),
}

/// A wrong answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Wrong {
    /// No HTTP/1.1, or not as strict as is asked for here.
    #[error("the answer is not understood: {0}")]
    Malformed(&'static str),
    /// Not 200.
    #[error("the answer has status {status}: {body}")]
    Status {
        /// The status.
        status: u16,
        /// How the body begins.
        body: String,
    },
    /// `X-Amz-Function-Error` is set.
    #[error("the answer is a function's error: {0}")]
    FunctionError(String),
    /// Longer or shorter than expected.
    #[error("the answer's body has {got} bytes instead of {wanted}")]
    Length {
        /// What came.
        got: usize,
        /// What was expected.
        wanted: usize,
    },
    /// Not what was expected, from this offset on.
    #[error("the answer's body is not what was expected, from byte {0} on")]
    Body(usize),
}

/// An answer that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Complete {
    /// Bytes of its body.
    pub body: usize,
    /// The server said that it closes the connection.
    pub closes: bool,
}

/// One answer, as it arrives.
#[derive(Debug, Default)]
pub struct Answer {
    head: Vec<u8>,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    length: usize,
    arrived: usize,
    closes: bool,
    /// What is wrong with the head; the body's beginning is shown with it.
    wrong: Option<Wrong>,
    shown: Vec<u8>,
}

impl Answer {
    /// Takes the next bytes. `Some` when the answer is over: none may follow.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn feed(&mut self, bytes: &[u8], expected: Expected<'_>) -> Result<Option<Complete>, Wrong> {
        let mut rest = bytes;
        if self.body.is_none() {
            let (head, length) = if self.head.is_empty()
                && let Some(end) = end_of_head(bytes)
            {
                (&bytes[..end], end)
            } else {
                let before = self.head.len();
                self.head.extend_from_slice(bytes);
                let Some(end) = end_of_head(&self.head) else {
                    let fits = self.head.len() <= HEAD_LIMIT;
                    return if fits { Ok(None) } else { Err(Wrong::Malformed("its head does not end")) };
                };
                (&self.head[..end], end - before)
            };
            let body = Body::of(parse_head(head)?, expected)?;
            self.body = Some(body);
            self.head.clear();
            rest = &bytes[length..];
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        body.take(rest, expected)?;
        if body.arrived < body.length {
            return Ok(None);
        }
        let complete = Complete { body: body.length, closes: body.closes };
        self.body = None;
        Ok(Some(complete))
    }

    /// Whether part of an answer has arrived.
    pub fn has_begun(&self) -> bool {
        self.body.is_some() || !self.head.is_empty()
    }
}

impl Body {
    fn of(head: Head<'_>, expected: Expected<'_>) -> Result<Self, Wrong> {
        let wanted = match expected {
            Expected::Bytes(bytes) => Some(bytes.len()),
            Expected::Pattern(length) => Some(length),
            Expected::Length(length) => length,
        };
        let wrong = if head.status != 200 {
            Some(Wrong::Status { status: head.status, body: String::new() })
        } else if let Some(error) = head.function_error {
            Some(Wrong::FunctionError(error.to_owned()))
        } else {
            let other = wanted.filter(|wanted| *wanted != head.length);
            other.map(|wanted| Wrong::Length { got: head.length, wanted })
        };
        Ok(Self { length: head.length, arrived: 0, closes: head.closes, wrong, shown: Vec::new() })
    }

    fn take(&mut self, bytes: &[u8], expected: Expected<'_>) -> Result<(), Wrong> {
        let at = self.arrived;
        self.arrived += bytes.len();
        if let Some(wrong) = &self.wrong {
            let room = SHOWN - self.shown.len().min(SHOWN);
            self.shown.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if self.arrived < self.length.min(SHOWN) {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&self.shown).into_owned();
            return Err(match wrong {
                Wrong::Status { status, .. } => Wrong::Status { status: *status, body: text },
                Wrong::FunctionError(kind) => Wrong::FunctionError(format!("{kind}: {text}")),
                other => other.clone(),
            });
        }
        if self.arrived > self.length {
            return Err(Wrong::Malformed("bytes follow its end"));
        }
        let is_right = |bytes: &[u8], at: usize| match expected {
            // The head's length was compared: the range exists.
            Expected::Bytes(whole) => whole.get(at..at + bytes.len()) == Some(bytes),
            Expected::Pattern(_) => is_pattern(bytes, at, self.length),
            Expected::Length(_) => true,
        };
        if is_right(bytes, at) {
            return Ok(());
        }
        let first = (0..bytes.len()).find(|i| !is_right(&bytes[*i..=*i], at + i));
        Err(Wrong::Body(at + first.unwrap_or(0)))
    }
}

/// What is used of a head.
#[derive(Debug)]
struct Head<'a> {
    status: u16,
    length: usize,
    closes: bool,
    function_error: Option<&'a str>,
}

/// Where the head ends: behind its empty line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = bytes[from..].iter().position(|&c| c == b'\n') {
        let end = from + found + 1;
        if bytes[..end].ends_with(b"\r\n\r\n") {
            return Some(end);
        }
        from = end;
    }
    None
}

fn parse_head(head: &[u8]) -> Result<Head<'_>, Wrong> {
    let text = std::str::from_utf8(head).map_err(|_| Wrong::Malformed("its head is no text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|rest| rest.get(..3).filter(|_| matches!(rest.as_bytes().get(3), None | Some(b' '))));
    let status = status.filter(|digits| digits.bytes().all(|c| c.is_ascii_digit())).and_then(|d| d.parse().ok());
    let status: u16 = status.ok_or(Wrong::Malformed("its first line is no status of HTTP/1.1"))?;
    let (mut length, mut closes, mut function_error) = (None, false, None);
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(Wrong::Malformed("a line of its head is no header"))?;
        if name.is_empty() || name.bytes().any(|c| c <= b' ' || c == 127) {
            return Err(Wrong::Malformed("a header's name is none"));
        }
        let value = value.trim_matches([' ', '\t']);
        match name.len() {
            14 if name.eq_ignore_ascii_case("content-length") => {
                let digits = Some(value).filter(|value| !value.is_empty() && value.bytes().all(|c| c.is_ascii_digit()));
                let number = digits.and_then(|digits| digits.parse().ok());
                if length.is_some() || number.is_none() {
                    return Err(Wrong::Malformed("its Content-Length is repeated or no number"));
                }
                length = number;
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                return Err(Wrong::Malformed("it comes in chunks"));
            }
            10 if name.eq_ignore_ascii_case("connection") => closes |= value.eq_ignore_ascii_case("close"),
            20 if name.eq_ignore_ascii_case("x-amz-function-error") => function_error = Some(value),
            _ => {}
        }
    }
    let length = length.ok_or(Wrong::Malformed("it has no Content-Length"))?;
    Ok(Head { status, length, closes, function_error })
}

/// Whether `bytes` stand at `at` in a JSON string of `length` bytes whose content is [`pattern`].
fn is_pattern(bytes: &[u8], at: usize, length: usize) -> bool {
    static BLOCK: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| pattern().take(PERIOD).collect());
    let block: &[u8] = &BLOCK;
    let (mut rest, mut at) = (bytes, at);
    if at == 0
        && let Some((first, others)) = rest.split_first()
    {
        if *first != b'"' {
            return false;
        }
        (rest, at) = (others, 1);
    }
    let last = if at + rest.len() == length { rest.split_last() } else { None };
    if let Some((last, others)) = last {
        if *last != b'"' {
            return false;
        }
        rest = others;
    }
    while !rest.is_empty() {
        let offset = (at - 1) % PERIOD;
        let (piece, others) = rest.split_at(rest.len().min(PERIOD - offset));
        if block[offset..offset + piece.len()] != *piece {
            return false;
        }
        at += piece.len();
        rest = others;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the text in pieces of this size.
    fn fed(text: &str, size: usize, expected: Expected<'_>) -> Result<Option<Complete>, Wrong> {
        let mut answer = Answer::default();
        let mut last = None;
        for piece in text.as_bytes().chunks(size) {
            last = answer.feed(piece, expected)?;
        }
        Ok(last)
    }

    #[test]
    fn an_answer_is_read_however_it_is_cut() {
        let text =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 5\r\nConnection: close\r\n\r\nhello";
        for size in 1..=text.len() {
            let complete = fed(text, size, Expected::Bytes(b"hello")).expect("right");
            assert_eq!(complete, Some(Complete { body: 5, closes: true }), "pieces of {size}");
        }
        let empty = fed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 7, Expected::Length(None));
        assert_eq!(empty, Ok(Some(Complete { body: 0, closes: false })));
    }

    #[test]
    fn whatever_is_wrong_with_an_answer_is_told() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n";
        let malformed = |what| Wrong::Malformed(what);
        let cases = [
            (format!("{head}\r\nhellO"), Wrong::Body(4)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell".to_owned(), Wrong::Length { got: 4, wanted: 5 }),
            (
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(),
                Wrong::Status { status: 403, body: "no".to_owned() },
            ),
            (
                format!("{head}X-Amz-Function-Error: Unhandled\r\n\r\nhello"),
                Wrong::FunctionError("Unhandled: hello".to_owned()),
            ),
            (format!("{head}Content-Length: 5\r\n\r\n"), malformed("its Content-Length is repeated or no number")),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n".to_owned(),
                malformed("its Content-Length is repeated or no number"),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), malformed("it comes in chunks")),
            ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), malformed("it has no Content-Length")),
            ("HTTP/1.0 200 OK\r\n\r\n".to_owned(), malformed("its first line is no status of HTTP/1.1")),
            ("HTTP/1.1 2000 OK\r\n\r\n".to_owned(), malformed("its first line is no status of HTTP/1.1")),
            (format!("{head}nonsense\r\n\r\n"), malformed("a line of its head is no header")),
            (format!("{head}a name: x\r\n\r\n"), malformed("a header's name is none")),
        ];
        for (text, wrong) in cases {
            for size in [1, 3, text.len()] {
                assert_eq!(fed(&text, size, Expected::Bytes(b"hello")), Err(wrong.clone()), "{text:?} by {size}");
            }
        }
        let more = format!("{head}\r\nhello!");
        assert_eq!(fed(&more, more.len(), Expected::Bytes(b"hello")), Err(malformed("bytes follow its end")));
        let endless = "x".repeat(HEAD_LIMIT + 1);
        assert_eq!(fed(&endless, 1000, Expected::Length(None)), Err(malformed("its head does not end")));
    }

    #[test]
    fn a_patterned_body_is_compared_to_its_last_byte() {
        let length = 3 * PERIOD + 17;
        let content: String = pattern().take(length - 2).map(char::from).collect();
        let right = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n\"{content}\"");
        for size in [1, 1000, PERIOD, right.len()] {
            assert!(fed(&right, size, Expected::Pattern(length)).expect("right").is_some(), "pieces of {size}");
        }
        for at in [0, 1, PERIOD, PERIOD + 1, length - 2, length - 1] {
            let mut wrong = right.clone().into_bytes();
            let start = wrong.len() - length;
            wrong[start + at] = b'!';
            let wrong = String::from_utf8(wrong).expect("text");
            assert!(fed(&wrong, 999, Expected::Pattern(length)).is_err(), "byte {at} is wrong");
        }
    }
}
