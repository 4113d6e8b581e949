//! Faults: what is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::ops::Range;

/// One thing wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Bytes of the text that are wrong.
    pub span: Range<usize>,
    /// Line of the span's start, from 1.
    pub line: usize,
    /// Column of the span's start in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Fault {
    /// A fault of `text` at these of its bytes. The span is cut to the text and to character boundaries.
    pub fn new(text: &str, span: Range<usize>, message: String, help: Option<String>) -> Self {
        let span = clamp(text, span);
        let (line, column) = position(text, span.start);
        Self { span, line, column, message, help }
    }
}

/// Everything wrong with a configuration, in the order of the text. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults {
    /// The file the text came from, as its reader names it.
    pub origin: String,
    /// The text itself, for whoever shows excerpts.
    pub text: String,
    /// The faults, by position.
    pub list: Vec<Fault>,
}

/// A fault before its position is known in lines and columns.
#[derive(Debug)]
pub(super) struct RawFault {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Faults {
    pub(super) fn new(origin: &str, text: &str, mut raw: Vec<RawFault>) -> Self {
        raw.sort_by(|a, b| (a.span.start, a.span.end, &a.message).cmp(&(b.span.start, b.span.end, &b.message)));
        raw.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        let list = raw.into_iter().map(|fault| Fault::new(text, fault.span, fault.message, fault.help)).collect();
        Self { origin: origin.to_owned(), text: text.to_owned(), list }
    }
}

impl fmt::Display for Faults {
    /// One line per fault, `origin:line:column: message`, and its help indented below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.list.iter().enumerate() {
            if i != 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{}:{}: {}", self.origin, fault.line, fault.column, fault.message)?;
            if let Some(help) = &fault.help {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The span cut to the text and to character boundaries, so that nobody who slices by it can panic.
fn clamp(text: &str, span: Range<usize>) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

/// Line and column of a byte offset that is a character boundary, both from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_spans_never_split_one() {
        let text = "a = 1\nü = \"”\"";
        let raw = vec![RawFault { span: 12..999, message: "odd".to_owned(), help: Some("mend it".to_owned()) }];
        let faults = Faults::new("x.toml", text, raw);
        let fault = &faults.list[0];
        assert_eq!((fault.line, fault.column), (2, 6));
        assert_eq!(&text[fault.span.clone()], "”\"");
        assert_eq!(faults.to_string(), "x.toml:2:6: odd\n  help: mend it");
    }
}
