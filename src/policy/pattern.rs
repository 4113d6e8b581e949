//! Patterns: what stands in `Action`, `Resource` and string conditions, compiled once.
//!
//! `*` matches any run of characters, `?` any one character. In an ARN each colon-separated segment is matched apart: there
//! a `*` inside a segment stays in it. Policy variables are part of a pattern but never a source of wildcards: what a
//! variable holds is compared literally, and a pattern whose variable has no value matches nothing.
//! Sources: IAM User Guide, `reference_policies_elements_resource`, `reference_policies_elements_condition_operators`,
//! `reference_policies_variables`.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;

use super::context::{Key, Request, Values};
use super::fault::Faults;
use super::json::shorten;

/// A compiled pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Pattern {
    /// `*`: everything.
    Any,
    /// No wildcard and no variable in it.
    Exact(Box<str>),
    /// Anything else.
    Tokens { tokens: Box<[Token]>, has_variables: bool },
}

/// One piece of a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    Literal(Box<str>),
    /// `?`, or in an ARN segment any character but a colon.
    One {
        confined: bool,
    },
    /// `*`, or inside an ARN segment a run without a colon.
    Many {
        confined: bool,
    },
    /// `${key}` or `${key, 'default'}`. Confined: a value with a colon would forge an ARN segment, so it matches nothing.
    Variable {
        key: Key,
        default: Option<Box<str>>,
        confined: bool,
    },
}

/// A token with its variable resolved.
#[derive(Clone, Copy)]
enum Piece<'p> {
    Literal(&'p str),
    One { confined: bool },
    Many { confined: bool },
}

impl Pattern {
    /// Whether `text` matches. `fold` ignores the case of ASCII letters.
    #[inline]
    pub(super) fn matches(&self, text: &str, fold: bool, request: &Request<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) if fold => exact.eq_ignore_ascii_case(text),
            Self::Exact(exact) => **exact == *text,
            Self::Tokens { tokens, has_variables: false } => {
                let piece = |i: usize| match &tokens[i] {
                    Token::Literal(literal) => Piece::Literal(literal),
                    Token::Many { confined } => Piece::Many { confined: *confined },
                    Token::One { confined } => Piece::One { confined: *confined },
                    Token::Variable { .. } => Piece::Literal(""),
                };
                glob(tokens.len(), piece, text, fold)
            }
            Self::Tokens { tokens, .. } => matches_resolved(tokens, text, fold, request),
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        let tokens: &[Token] = match self {
            Self::Tokens { tokens, .. } => tokens,
            Self::Any | Self::Exact(_) => &[],
        };
        tokens.iter().filter_map(|token| match token {
            Token::Variable { key, .. } => Some(key),
            _ => None,
        })
    }

    fn new(tokens: Vec<Token>) -> Self {
        match tokens.as_slice() {
            [] => Self::Exact("".into()),
            [Token::Many { confined: false }] => Self::Any,
            [Token::Literal(literal)] => Self::Exact(literal.clone()),
            _ => {
                let has_variables = tokens.iter().any(|token| matches!(token, Token::Variable { .. }));
                Self::Tokens { tokens: tokens.into(), has_variables }
            }
        }
    }
}

/// A variable has a value if its key holds exactly one: multivalued keys cannot be variables.
fn resolve<'a>(key: &Key, default: Option<&'a str>, request: &Request<'a>) -> Option<Cow<'a, str>> {
    let value = match request.lookup(key) {
        Values::One(value) => Some(value.text()).filter(|text| !text.is_empty()),
        Values::Absent | Values::Many(_) => None,
    };
    value.or_else(|| default.map(Cow::Borrowed))
}

fn matches_resolved(tokens: &[Token], text: &str, fold: bool, request: &Request<'_>) -> bool {
    let mut values: SmallVec<[Option<Cow<'_, str>>; 8]> = SmallVec::new();
    for token in tokens {
        values.push(match token {
            Token::Variable { key, default, confined } => {
                let Some(value) = resolve(key, default.as_deref(), request) else { return false };
                if *confined && value.contains(':') {
                    return false;
                }
                Some(value)
            }
            _ => None,
        });
    }
    let piece = |i: usize| match &tokens[i] {
        Token::Literal(literal) => Piece::Literal(literal),
        Token::Many { confined } => Piece::Many { confined: *confined },
        Token::One { confined } => Piece::One { confined: *confined },
        Token::Variable { .. } => Piece::Literal(values[i].as_deref().unwrap_or_default()),
    };
    glob(tokens.len(), piece, text, fold)
}

/// Matches all of `text` against `count` pieces.
///
/// Only the latest wildcard of each sort is ever widened. For a free `*` that is the classic argument: what an earlier one
/// could take, the later one can take too. A confined `*` cannot pass a colon, so the free one before it must be able to
/// move on; of two confined ones the later suffices, since both stop at the same colon. Time is at most
/// text² · pattern, and text · pattern without confined wildcards.
fn glob<'p>(count: usize, piece: impl Fn(usize) -> Piece<'p>, text: &str, fold: bool) -> bool {
    let bytes = text.as_bytes();
    let (mut p, mut t) = (0, 0);
    let mut free: Option<(usize, usize)> = None;
    let mut confined: Option<(usize, usize)> = None;
    loop {
        if p == count {
            if t == bytes.len() {
                return true;
            }
        } else {
            match piece(p) {
                Piece::Many { confined: false } => {
                    p += 1;
                    if p == count {
                        return true;
                    }
                    (free, confined) = (Some((p, t)), None);
                    continue;
                }
                Piece::Many { confined: true } => {
                    p += 1;
                    confined = Some((p, t));
                    continue;
                }
                Piece::One { confined: stays } => {
                    if t < bytes.len() && !(stays && bytes[t] == b':') {
                        (p, t) = (p + 1, t + char_len(bytes[t]));
                        continue;
                    }
                }
                Piece::Literal(literal) => {
                    let end = t + literal.len();
                    let here = bytes.get(t..end);
                    let same = |here: &[u8]| {
                        if fold { here.eq_ignore_ascii_case(literal.as_bytes()) } else { here == literal.as_bytes() }
                    };
                    if here.is_some_and(same) {
                        (p, t) = (p + 1, end);
                        continue;
                    }
                }
            }
        }
        if let Some((next, at)) = confined
            && at < bytes.len()
            && bytes[at] != b':'
        {
            (p, t) = (next, at + char_len(bytes[at]));
            confined = Some((p, t));
        } else if let Some((next, at)) = free
            && at < bytes.len()
        {
            (p, t) = (next, at + char_len(bytes[at]));
            (free, confined) = (Some((p, t)), None);
        } else {
            return false;
        }
    }
}

/// Bytes of the character that starts with `first`.
const fn char_len(first: u8) -> usize {
    match first {
        0..0x80 => 1,
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    }
}

/// How a text becomes a pattern.
#[derive(Clone, Copy)]
pub(super) struct Syntax {
    /// `*` and `?` are wildcards.
    pub(super) wildcards: bool,
    /// `${…}` is a variable: the document's version is 2012-10-17.
    pub(super) variables: bool,
}

/// What a wildcard may match, by where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Anything.
    Free,
    /// One of the first five fields of an ARN in a condition: never a colon.
    Segment,
    /// A segment of a `Resource`: never a colon, but a `*` that ends it reaches beyond ("can expand to match beyond the colon
    /// boundaries").
    Resource,
}

/// An action: `*`, or `service:Name` with wildcards.
pub(super) fn action(text: &str) -> Pattern {
    let syntax = Syntax { wildcards: true, variables: false };
    Pattern::new(tokens(text, Reach::Free, syntax).unwrap_or_default())
}

/// A string in a condition.
pub(super) fn string(text: &str, span: &Range<usize>, syntax: Syntax, faults: &mut Faults<'_>) -> Pattern {
    compile(text, span, Reach::Free, syntax, faults)
}

/// An ARN in a condition: six fields, each matched apart; the sixth holds the rest, colons and all.
pub(super) fn arn(text: &str, span: &Range<usize>, syntax: Syntax, faults: &mut Faults<'_>) -> Pattern {
    if text == "*" {
        return Pattern::Any;
    }
    let fields = arn_fields(text, syntax.variables);
    if fields.len() < 6 || fields[0] != "arn" {
        let message = format!("\"{}\" is not an ARN of six fields", shorten(text));
        faults.help(span, message, "write arn:partition:service:region:account:resource, or *");
        return Pattern::new(Vec::new());
    }
    let (head, resource) = text.split_at(text.len() - fields[5].len());
    let mut all = Vec::new();
    for (part, reach) in [(head, Reach::Segment), (resource, Reach::Free)] {
        match tokens(part, reach, syntax) {
            Ok(tokens) => all.extend(tokens),
            Err(fault) => faults.add(span, fault),
        }
    }
    Pattern::new(all)
}

/// An ARN in `Resource` or `NotResource`. Shape and fields were checked by the caller.
pub(super) fn resource(text: &str, span: &Range<usize>, variables: bool, faults: &mut Faults<'_>) -> Pattern {
    compile(text, span, Reach::Resource, Syntax { wildcards: true, variables }, faults)
}

fn compile(text: &str, span: &Range<usize>, reach: Reach, syntax: Syntax, faults: &mut Faults<'_>) -> Pattern {
    match tokens(text, reach, syntax) {
        Ok(tokens) => Pattern::new(tokens),
        Err(fault) => {
            faults.add(span, fault);
            Pattern::new(Vec::new())
        }
    }
}

/// The up to six fields of an ARN. A colon inside `${…}` belongs to the variable.
pub(super) fn arn_fields(text: &str, variables: bool) -> SmallVec<[&str; 6]> {
    let mut fields = SmallVec::new();
    let (mut start, mut at) = (0, 0);
    while fields.len() < 5 && at < text.len() {
        if variables && text[at..].starts_with("${") {
            at += text[at..].find('}').map_or(text.len() - at, |close| close + 1);
            continue;
        }
        if text.as_bytes()[at] == b':' {
            fields.push(&text[start..at]);
            start = at + 1;
        }
        at += char_len(text.as_bytes()[at]);
    }
    fields.push(&text[start..]);
    fields
}

fn tokens(text: &str, reach: Reach, syntax: Syntax) -> Result<Vec<Token>, String> {
    let confined = reach != Reach::Free;
    let mut tokens = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let token = match c {
            '*' if syntax.wildcards => {
                rest = rest.trim_start_matches('*');
                let ends_segment = reach == Reach::Resource && (rest.is_empty() || rest.starts_with(':'));
                Token::Many { confined: confined && !ends_segment }
            }
            '?' if syntax.wildcards => {
                rest = &rest[1..];
                Token::One { confined }
            }
            '$' if syntax.variables && rest.starts_with("${") => {
                let Some(close) = rest.find('}') else {
                    return Err("a policy variable without its closing brace".into());
                };
                let name = &rest[2..close];
                rest = &rest[close + 1..];
                if matches!(name, "*" | "?" | "$") {
                    literal.push_str(name);
                    continue;
                }
                variable(name, reach == Reach::Segment)?
            }
            c => {
                literal.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        if !literal.is_empty() {
            tokens.push(Token::Literal(std::mem::take(&mut literal).into()));
        }
        tokens.push(token);
    }
    if !literal.is_empty() {
        tokens.push(Token::Literal(literal.into()));
    }
    Ok(tokens)
}

/// What stands between the braces. Errors as IAM Access Analyzer's policy checks word the same faults.
fn variable(text: &str, confined: bool) -> Result<Token, String> {
    let (name, default) = match text.split_once(',') {
        Some((name, default)) => {
            let default = default.trim_start().strip_prefix('\'').and_then(|default| default.strip_suffix('\''));
            let Some(default) = default else {
                return Err(format!("the default value in ${{{}}} must stand in single quotes", shorten(text)));
            };
            (name, Some(default.into()))
        }
        None => (text, None),
    };
    if name.is_empty() {
        return Err("an empty policy variable".into());
    }
    if name.contains(char::is_whitespace) {
        return Err(format!("a space in the policy variable ${{{}}}", shorten(text)));
    }
    if !name.contains(':') {
        return Err(format!("the policy variable ${{{}}} does not name a condition key", shorten(text)));
    }
    Ok(Token::Variable { key: Key::new(name), default, confined })
}
