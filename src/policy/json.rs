//! A JSON reader (RFC 8259) that knows where everything stands.
//!
//! Policies are pasted from web pages and word processors, so what people get wrong is mended for the purpose of reading on:
//! a typographic quote, a no-break space or a trailing comma is a fault, but the faults behind it are found as well.
//! Depth is limited, memory is bounded by the text, and nothing is copied that has no escape in it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use super::characters::{closes, describe, is_quote};
use super::fault::Faults;

/// A policy is at most seven levels deep.
const DEPTH_LIMIT: usize = 16;

/// A value and the bytes it was read from.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) span: Range<usize>,
    pub(super) json: Json<'t>,
}

/// A JSON value. Numbers keep their text: a policy compares decimals, not binary fractions.
#[derive(Debug)]
pub(super) enum Json<'t> {
    Null,
    Bool(bool),
    Number(&'t str),
    String(Cow<'t, str>),
    Array(Vec<Node<'t>>),
    Object(Vec<Member<'t>>),
}

impl Json<'_> {
    /// For messages: `a string`, `an object`, …
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// One name and value of an object.
#[derive(Debug)]
pub(super) struct Member<'t> {
    pub(super) name: Cow<'t, str>,
    pub(super) name_span: Range<usize>,
    pub(super) value: Node<'t>,
}

/// The fault was reported and nothing sensible can be read behind it.
struct Lost;

/// Reads the whole of `text`, which must be one value. `None` if reading had to stop; the reason is then in `faults`.
pub(super) fn read<'t>(text: &'t str, faults: &mut Faults<'t>) -> Option<Node<'t>> {
    let mut reader = Reader { text, at: 0, depth: 0, suspect: None, faults };
    let node = reader.value().ok()?;
    reader.skip_space();
    if reader.at < text.len() {
        reader.unexpected("the end of the document");
    }
    Some(node)
}

struct Reader<'t, 'f> {
    text: &'t str,
    at: usize,
    depth: usize,
    /// A typographic quote inside the string read last: if the text makes no sense behind that string, this is why.
    suspect: Option<usize>,
    faults: &'f mut Faults<'t>,
}

impl<'t> Reader<'t, '_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip_space(&mut self) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | '\r' => {}
                _ if c.is_whitespace() || matches!(c, '\u{200B}' | '\u{FEFF}') => {
                    let span = self.at..self.at + c.len_utf8();
                    let message = format!("{} is not white space in JSON", describe(c));
                    self.faults.syntax(span, message, Some("delete it or write a plain space".into()));
                }
                _ => return,
            }
            self.at += c.len_utf8();
        }
    }

    fn value(&mut self) -> Result<Node<'t>, Lost> {
        self.skip_space();
        let start = self.at;
        let json = match self.peek() {
            Some('{') => self.nested(Self::object)?,
            Some('[') => self.nested(Self::array)?,
            Some(c) if is_quote(c) => Json::String(self.string()?),
            Some('-' | '0'..='9') => self.number()?,
            Some(c) if c.is_ascii_alphabetic() => self.word()?,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Node { span: start..self.at, json })
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Json<'t>, Lost>) -> Result<Json<'t>, Lost> {
        if self.depth == DEPTH_LIMIT {
            let message = format!("nested more than {DEPTH_LIMIT} levels deep");
            self.faults.syntax(self.at..self.at + 1, message, None);
            return Err(Lost);
        }
        self.depth += 1;
        self.at += 1;
        let json = inner(self);
        self.depth -= 1;
        json
    }

    fn array(&mut self) -> Result<Json<'t>, Lost> {
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() != Some(']') {
            loop {
                items.push(self.value()?);
                if !self.comma(']', "',' or ']'")? {
                    break;
                }
            }
        }
        self.at += 1;
        Ok(Json::Array(items))
    }

    fn object(&mut self) -> Result<Json<'t>, Lost> {
        let mut members: Vec<Member<'t>> = Vec::new();
        let mut names: HashSet<Cow<'t, str>> = HashSet::new();
        self.skip_space();
        if self.peek() != Some('}') {
            loop {
                self.skip_space();
                let start = self.at;
                let name = match self.peek() {
                    Some(c) if is_quote(c) => self.string()?,
                    _ => return Err(self.unexpected("a name in quotes")),
                };
                let name_span = start..self.at;
                self.skip_space();
                if self.peek() != Some(':') {
                    return Err(self.unexpected("':'"));
                }
                self.at += 1;
                let value = self.value()?;
                if names.insert(name.clone()) {
                    members.push(Member { name, name_span, value });
                } else {
                    self.faults.add(&name_span, format!("\"{}\" stands twice in the same object", shorten(&name)));
                }
                if !self.comma('}', "',' or '}'")? {
                    break;
                }
            }
        }
        self.at += 1;
        Ok(Json::Object(members))
    }

    /// After an element: whether another follows. Leaves the closing bracket to the caller.
    fn comma(&mut self, close: char, wanted: &str) -> Result<bool, Lost> {
        self.skip_space();
        match self.peek() {
            Some(c) if c == close => Ok(false),
            Some(',') => {
                let comma = self.at;
                self.at += 1;
                self.skip_space();
                if self.peek() == Some(close) {
                    let message = format!("a comma before '{close}'");
                    self.faults.syntax(comma..comma + 1, message, Some("delete the comma".into()));
                    return Ok(false);
                }
                Ok(true)
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    fn word(&mut self) -> Result<Json<'t>, Lost> {
        let rest = &self.text[self.at..];
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let json = match &rest[..len] {
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            "null" => Json::Null,
            word => {
                let message = format!("{} is not a JSON value", shorten(word));
                self.faults.syntax(self.at..self.at + len, message, Some("put strings in straight quotes".into()));
                return Err(Lost);
            }
        };
        self.at += len;
        Ok(json)
    }

    fn number(&mut self) -> Result<Json<'t>, Lost> {
        let rest = &self.text[self.at..];
        let len = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let text = &rest[..len];
        if !is_number(text) {
            let message = format!("{} is not a number as JSON writes it", shorten(text));
            self.faults.syntax(self.at..self.at + len, message, None);
        }
        self.at += len;
        Ok(Json::Number(text))
    }

    /// Reads a string whose opening quote, straight or not, is next.
    fn string(&mut self) -> Result<Cow<'t, str>, Lost> {
        let open = self.peek().unwrap_or('"');
        let start = self.at;
        self.at += open.len_utf8();
        self.suspect = None;
        if open != '"' {
            self.wrong_quote(start, open, "open");
        }
        let body = self.at;
        let mut built: Option<String> = None;
        let mut suspect: Option<(usize, usize)> = None;
        loop {
            let here = self.at;
            let Some(c) = self.peek().filter(|&c| c >= ' ') else {
                return self.unclosed(start, body, built, suspect);
            };
            self.at += c.len_utf8();
            if c == '"' || (open != '"' && closes(open, c)) {
                if c != '"' {
                    self.wrong_quote(here, c, "close");
                }
                self.suspect = suspect.map(|(at, _)| at);
                return Ok(built.map_or_else(|| Cow::Borrowed(&self.text[body..here]), Cow::Owned));
            }
            if c == '\\' {
                let so_far = built.get_or_insert_with(|| self.text[body..here].to_owned());
                let escaped = unescape(&self.text[self.at..]);
                so_far.push(escaped.map_or('\u{FFFD}', |(c, _)| c));
                if let Some((_, len)) = escaped {
                    self.at += len;
                } else {
                    let message = "an escape that JSON does not know";
                    self.faults.syntax(here..self.at, message, Some("write a backslash as \\\\".into()));
                }
                continue;
            }
            if suspect.is_none() && c != '\'' && is_quote(c) {
                suspect = Some((here, built.as_ref().map_or(here - body, String::len)));
            }
            if let Some(text) = &mut built {
                text.push(c);
            }
        }
    }

    /// The line or the text ended inside a string: a typographic quote in it is taken for the closing one.
    fn unclosed(
        &mut self,
        start: usize,
        body: usize,
        built: Option<String>,
        suspect: Option<(usize, usize)>,
    ) -> Result<Cow<'t, str>, Lost> {
        let Some((at, len)) = suspect else {
            let message = match self.peek() {
                Some('\n' | '\r') | None => "this string is not closed on its line".to_owned(),
                Some(c) => format!("{} cannot stand in a JSON string", describe(c)),
            };
            self.faults.syntax(start..self.at, message, Some("close it with \"".into()));
            return Err(Lost);
        };
        let quote = self.text[at..].chars().next().unwrap_or('"');
        self.wrong_quote(at, quote, "close");
        self.at = at + quote.len_utf8();
        Ok(match built {
            Some(mut text) => {
                text.truncate(len);
                Cow::Owned(text)
            }
            None => Cow::Borrowed(&self.text[body..at]),
        })
    }

    fn wrong_quote(&mut self, at: usize, quote: char, doing: &str) {
        let sort = if quote == '\'' { "single" } else { "typographic" };
        let message = format!("{} stands where a straight quote must {doing} the string", describe(quote));
        let help = format!("a {sort} quote: replace it by \"");
        self.faults.syntax(at..at + quote.len_utf8(), message, Some(help));
    }

    fn unexpected(&mut self, wanted: &str) -> Lost {
        if let Some(at) = self.suspect.take() {
            let quote = self.text[at..].chars().next().unwrap_or('"');
            self.wrong_quote(at, quote, "close");
        } else if let Some(c) = self.peek() {
            let span = self.at..self.at + c.len_utf8();
            self.faults.syntax(span, format!("{} where {wanted} is expected", describe(c)), None);
        } else {
            let end = self.text.len();
            self.faults.syntax(end..end, format!("the document ends where {wanted} is expected"), None);
        }
        Lost
    }
}

/// A piece of the document for a message, cut at 80 characters.
pub(super) fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The character that the escape behind a backslash stands for, and how many bytes it takes.
fn unescape(rest: &str) -> Option<(char, usize)> {
    let c = match rest.as_bytes().first()? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{C}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unescape_unicode(rest),
        _ => return None,
    };
    Some((c, 1))
}

fn unescape_unicode(rest: &str) -> Option<(char, usize)> {
    let unit = |from: usize| {
        let digits = rest.get(from..from + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(1)?;
    if let Some(c) = char::from_u32(u32::from(first)) {
        return Some((c, 5));
    }
    if rest.get(5..7) != Some("\\u") {
        return None;
    }
    let pair = [first, unit(7)?];
    let c = char::decode_utf16(pair).next()?.ok()?;
    Some((c, 11))
}

/// RFC 8259 section 6.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (text, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && digits(fraction) && digits(exponent)
}
