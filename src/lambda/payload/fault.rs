//! The words for what is wrong with a payload, and its place.

use super::{Checker, Open};

const REDACTED: &str = "[Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: ";

/// What is wrong; `at` is the offset whose line and column are printed.
pub(super) struct Fault {
    pub(super) text: String,
    pub(super) at: usize,
}

impl Checker<'_> {
    /// A complaint about the byte just consumed.
    pub(super) fn unexpected(&self, b: u8, comment: &str) -> Fault {
        self.unexpected_char(char::from(b), comment)
    }

    pub(super) fn unexpected_char(&self, c: char, comment: &str) -> Fault {
        Fault { text: format!("Unexpected character ({}): {comment}", describe(c)), at: self.at - 1 }
    }

    pub(super) fn unexpected_in_number(&self, b: u8, comment: &str) -> Fault {
        let text = format!("Unexpected character ({}) in numeric value: {comment}", describe(char::from(b)));
        Fault { text, at: self.at - 1 }
    }

    pub(super) fn end(&self, place: &str) -> Fault {
        self.here(format!("Unexpected end-of-input{place}"))
    }

    pub(super) fn end_between(&self, innermost: Open) -> Fault {
        self.end(&format!(" within/between {} entries", innermost.kind()))
    }

    pub(super) fn end_inside(&self, innermost: Open) -> Fault {
        let start = self.location(innermost.at);
        self.end(&format!(": expected close marker for {} (start marker at {start})", innermost.kind()))
    }

    pub(super) fn mismatched_end(&self, found: u8) -> Fault {
        let expected = if found == b'}' { ']' } else { '}' };
        let (kind, start) = match self.open.last() {
            Some(open) => (open.kind(), self.location(open.at)),
            None => ("root", format!("{REDACTED}1, column: 0]")),
        };
        let found = char::from(found);
        let text = format!("Unexpected close marker '{found}': expected '{expected}' (for {kind} starting at {start})");
        Fault { text, at: self.at - 1 }
    }

    pub(super) fn here(&self, text: String) -> Fault {
        Fault { text, at: self.at }
    }

    /// Line and column of an offset, counted only when something is wrong.
    pub(super) fn location(&self, at: usize) -> String {
        let before = self.bytes.get(..at).unwrap_or(self.bytes);
        let mut line = 1;
        let mut line_start = 0;
        for (n, &b) in before.iter().enumerate() {
            let ends_line = b == b'\n' || b == b'\r' && before.get(n + 1) != Some(&b'\n');
            if ends_line {
                line += 1;
                line_start = n + 1;
            }
        }
        format!("{REDACTED}{line}, column: {}]", at - line_start + 1)
    }
}

/// Java's idea of a character that may stand in a word, near enough.
pub(super) fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '\u{a2}'..='\u{a5}')
}

/// A character as the parser writes it.
pub(super) fn describe(c: char) -> String {
    let code = u32::from(c);
    match c {
        _ if c.is_control() => format!("(CTRL-CHAR, code {code})"),
        _ if code > 0xff => format!("'{c}' (code {code} / 0x{code:x})"),
        _ => format!("'{c}' (code {code})"),
    }
}
