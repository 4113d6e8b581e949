//! Whether a payload is JSON, and if not, what AWS says about it.
//!
//! One pass, no values built: memory is one word per open bracket, and nesting ends at [`DEPTH_MAX`], the limit of the
//! parser that AWS's answers betray (Jackson, reading UTF-8 bytes). Texts for a character where a value should stand and
//! for invalid UTF-8 are recorded AWS answers; the others follow the same parser's published texts and are approximations,
//! above all in their columns. Stricter than that parser: surrogates and over-long forms in UTF-8 are refused, so that an
//! accepted payload is valid UTF-8; a second value after the first is refused too.

mod fault;
mod scan;

use smallvec::SmallVec;

use self::fault::{Fault, describe, is_identifier};

/// Deepest nesting of arrays and objects.
pub const DEPTH_MAX: usize = 1000;

const VALUES: &str = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')";
/// Bytes at the beginning of a string that are looked at one by one.
const SHORT: usize = 16;
/// Longest token repeated in a message, characters.
const TOKEN_MAX: usize = 256;

/// Checks that `payload` is one JSON value.
///
/// # Errors
/// The parser's message with its location, to follow "Could not parse payload into json: ".
pub fn check(payload: &[u8]) -> Result<(), String> {
    let mut checker = Checker { bytes: payload, at: 0, open: SmallVec::new() };
    checker.document().map_err(|fault| {
        let place = checker.location(fault.at);
        format!("{}\n at {place}", fault.text)
    })
}

/// An open bracket: where it stands, whether it is `{`, and whether nothing stood in it so far.
#[derive(Clone, Copy)]
struct Open {
    at: usize,
    is_object: bool,
    is_empty: bool,
}

impl Open {
    const fn kind(self) -> &'static str {
        if self.is_object { "Object" } else { "Array" }
    }
}

struct Checker<'a> {
    bytes: &'a [u8],
    at: usize,
    open: SmallVec<[Open; 16]>,
}

impl Checker<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        if self.bytes.starts_with(b"\xef\xbb\xbf") {
            self.at = 3;
        }
        let Some(first) = self.skip_space()? else {
            return Err(self.here("No content to map due to end-of-input".into()));
        };
        self.value(first)?;
        while let Some(innermost) = self.open.last_mut() {
            let before = *innermost;
            innermost.is_empty = false;
            self.next_entry(before)?;
        }
        match self.skip_space()? {
            None => Ok(()),
            Some(c @ (b']' | b'}')) => {
                self.at += 1;
                Err(self.mismatched_end(c))
            }
            Some(_) => Err(self.here(
                "Trailing token found after value: not allowed as per `DeserializationFeature.FAIL_ON_TRAILING_TOKENS`"
                    .into(),
            )),
        }
    }

    /// From just after `{`, `[` or a value inside them: to after the next value or the closing bracket.
    fn next_entry(&mut self, innermost: Open) -> Result<(), Fault> {
        let mut next = self.skip_space()?.ok_or_else(|| self.end_inside(innermost))?;
        if matches!(next, b'}' | b']') {
            self.at += 1;
            if (next == b'}') != innermost.is_object {
                return Err(self.mismatched_end(next));
            }
            self.open.pop();
            return Ok(());
        }
        if !innermost.is_empty {
            if next != b',' {
                self.at += 1;
                let comment = format!("was expecting comma to separate {} entries", innermost.kind());
                return Err(self.unexpected(next, &comment));
            }
            self.at += 1;
            next = self.skip_space()?.ok_or_else(|| self.end_between(innermost))?;
        }
        if innermost.is_object {
            self.name(next)?;
            next = self.skip_space()?.ok_or_else(|| self.end_between(innermost))?;
            if next != b':' {
                self.at += 1;
                return Err(self.unexpected(next, "was expecting a colon to separate field name and value"));
            }
            self.at += 1;
            next = self.skip_space()?.ok_or_else(|| self.end_between(innermost))?;
        }
        self.value(next)
    }

    /// At the first byte of a value, which is `first`.
    fn value(&mut self, first: u8) -> Result<(), Fault> {
        let start = self.at;
        self.at += 1;
        match first {
            b'{' | b'[' => {
                if self.open.len() == DEPTH_MAX {
                    return Err(self.here(format!(
                        "Document nesting depth ({}) exceeds the maximum allowed ({DEPTH_MAX}, from \
                         `StreamReadConstraints.getMaxNestingDepth()`)",
                        DEPTH_MAX + 1
                    )));
                }
                self.open.push(Open { at: start, is_object: first == b'{', is_empty: true });
                Ok(())
            }
            b'"' => self.string("string value", " in VALUE_STRING"),
            b'-' | b'0'..=b'9' => self.number(first),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b',' | b'}' | b']' => Err(self.unexpected(first, "expected a value")),
            _ if is_identifier(char::from(first)) && !first.is_ascii_digit() => {
                Err(self.unrecognized(String::from(char::from(first))))
            }
            _ => Err(self.unexpected(first, &format!("expected a valid value {VALUES}"))),
        }
    }

    fn name(&mut self, first: u8) -> Result<(), Fault> {
        self.at += 1;
        if first == b'"' {
            return self.string("name", " in field name");
        }
        let c = self.decode_for_error(first)?;
        Err(self.unexpected_char(c, "was expecting double-quote to start field name"))
    }

    /// After the opening quote: to after the closing one.
    fn string(&mut self, what: &str, at_end: &str) -> Result<(), Fault> {
        let start = self.at;
        loop {
            let Some(&b) = self.bytes.get(self.at) else { return Err(self.end(at_end)) };
            self.at += 1;
            match b {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                0..=0x1f => {
                    let text = format!(
                        "Illegal unquoted character ({}): has to be escaped using backslash to be included in {what}",
                        describe(char::from(b))
                    );
                    return Err(Fault { text, at: self.at - 1 });
                }
                // The ends of names and other short strings are foreseen by the processor; a word's arithmetic is waited for.
                0x20..=0x7f if self.at - start < SHORT => {}
                0x20..=0x7f => self.at += scan::plain(self.bytes.get(self.at..).unwrap_or_default()),
                _ => self.multi_byte(b)?,
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let Some(&b) = self.bytes.get(self.at) else { return Err(self.end(" in character escape sequence")) };
        self.at += 1;
        match b {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    let Some(&digit) = self.bytes.get(self.at) else {
                        return Err(self.end(" in character escape sequence"));
                    };
                    self.at += 1;
                    if !digit.is_ascii_hexdigit() {
                        return Err(self.unexpected(digit, "expected a hex-digit for character escape sequence"));
                    }
                }
                Ok(())
            }
            _ => {
                let c = self.decode_for_error(b)?;
                Err(Fault { text: format!("Unrecognized character escape {}", describe(c)), at: self.at - 1 })
            }
        }
    }

    /// After the lead byte of a character beyond ASCII. The ranges are those of RFC 3629 section 4.
    fn multi_byte(&mut self, lead: u8) -> Result<(), Fault> {
        let (low, high, more) = match lead {
            0xc2..=0xdf => (0x80, 0xbf, 0),
            0xe0 => (0xa0, 0xbf, 1),
            0xed => (0x80, 0x9f, 1),
            0xe1..=0xef => (0x80, 0xbf, 1),
            0xf0 => (0x90, 0xbf, 2),
            0xf1..=0xf3 => (0x80, 0xbf, 2),
            0xf4 => (0x80, 0x8f, 2),
            _ => return Err(self.here(format!("Invalid UTF-8 start byte 0x{lead:x}"))),
        };
        let mut range = low..=high;
        for _ in 0..=more {
            let Some(&b) = self.bytes.get(self.at) else { return Err(self.end(" in VALUE_STRING")) };
            self.at += 1;
            if !range.contains(&b) {
                return Err(self.here(format!("Invalid UTF-8 middle byte 0x{b:x}")));
            }
            range = 0x80..=0xbf;
        }
        Ok(())
    }

    /// After the first byte of a number.
    fn number(&mut self, first: u8) -> Result<(), Fault> {
        let mut digit = first;
        if first == b'-' {
            let Some(&b) = self.bytes.get(self.at) else { return Err(self.end(" in a Number value")) };
            self.at += 1;
            if !b.is_ascii_digit() {
                let comment = "expected digit (0-9) to follow minus sign, for valid numeric value";
                return Err(self.unexpected_in_number(b, comment));
            }
            digit = b;
        }
        if digit == b'0' {
            if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                self.at += 1;
                return Err(self.here("Invalid numeric value: Leading zeroes not allowed".into()));
            }
        } else {
            self.digits();
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits("Decimal point not followed by a digit")?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits("Exponent indicator not followed by a digit")?;
        }
        match self.bytes.get(self.at) {
            Some(&b) if self.open.is_empty() && !matches!(b, b' ' | b'\t' | b'\r' | b'\n') => {
                self.at += 1;
                Err(self.unexpected(b, "Expected space separating root-level values"))
            }
            _ => Ok(()),
        }
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, or: &str) -> Result<(), Fault> {
        match self.bytes.get(self.at) {
            None => Err(self.end(" in a Number value")),
            Some(b) if b.is_ascii_digit() => {
                self.digits();
                Ok(())
            }
            Some(&b) => {
                self.at += 1;
                Err(self.unexpected_in_number(b, or))
            }
        }
    }

    /// After the first byte of `true`, `false` or `null`.
    fn literal(&mut self, word: &str) -> Result<(), Fault> {
        for (n, expected) in word.bytes().enumerate().skip(1) {
            if self.bytes.get(self.at) != Some(&expected) {
                return Err(self.unrecognized(word[..n].to_owned()));
            }
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(&b) if is_identifier(char::from(b)) => Err(self.unrecognized(word.to_owned())),
            _ => Ok(()),
        }
    }

    /// Skips white space; the byte after it is not consumed.
    fn skip_space(&mut self) -> Result<Option<u8>, Fault> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(&b @ 0..0x20) => {
                    let text = format!(
                        "Illegal character ({}): only regular white space (\\r, \\n, \\t) is allowed between tokens",
                        describe(char::from(b))
                    );
                    return Err(Fault { text, at: self.at });
                }
                other => return Ok(other.copied()),
            }
        }
    }

    /// Reads on to the end of what looks like a word.
    fn unrecognized(&mut self, mut token: String) -> Fault {
        while let Some(&b) = self.bytes.get(self.at) {
            self.at += 1;
            let c = match self.decode_for_error(b) {
                Ok(c) => c,
                Err(fault) => return fault,
            };
            if !is_identifier(c) {
                break;
            }
            token.push(c);
            if token.chars().count() >= TOKEN_MAX {
                token.push_str("...");
                break;
            }
        }
        self.here(format!("Unrecognized token '{token}': was expecting {VALUES}"))
    }

    /// The character whose lead byte `first` was just consumed.
    fn decode_for_error(&mut self, first: u8) -> Result<char, Fault> {
        if first < 0x80 {
            return Ok(char::from(first));
        }
        let start = self.at - 1;
        self.multi_byte(first)?;
        let c = self.bytes.get(start..self.at).and_then(|bytes| std::str::from_utf8(bytes).ok()?.chars().next());
        Ok(c.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

#[cfg(test)]
mod tests;
