//! `Condition`, evaluated.
//!
//! A condition block is an AND over operators and over the keys of each operator; the values of one key are an OR, or a NOR
//! for a negated operator. Sources: IAM User Guide, `reference_policies_elements_condition_operators`,
//! `reference_policies_condition-logic-multiple-context-keys-or-values`,
//! `reference_policies_condition-single-vs-multi-valued-context-keys`.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

use super::context::{Key, Request, Value, Values};
use super::pattern::Pattern;
use super::value::{Decimal, parse_date};

/// One operator applied to one key.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Condition {
    pub(super) quantifier: Quantifier,
    /// An absent key makes it true.
    pub(super) if_exists: bool,
    /// `…Not…`: none of the values may match.
    pub(super) negated: bool,
    pub(super) key: Key,
    pub(super) test: Test,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Quantifier {
    /// No prefix: a key with one value.
    One,
    /// `ForAllValues:`
    All,
    /// `ForAnyValue:`
    Any,
}

/// How a number or date must compare to the one in the policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Comparison {
    Equals,
    LessThan,
    LessThanEquals,
    GreaterThan,
    GreaterThanEquals,
}

impl Comparison {
    fn holds<T: PartialOrd>(self, value: &T, written: &T) -> bool {
        match self {
            Self::Equals => value == written,
            Self::LessThan => value < written,
            Self::LessThanEquals => value <= written,
            Self::GreaterThan => value > written,
            Self::GreaterThanEquals => value >= written,
        }
    }
}

/// What is compared, with the policy's values.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Test {
    Text {
        patterns: Box<[Pattern]>,
        fold: bool,
    },
    Number(Comparison, Box<[Decimal]>),
    Date(Comparison, Box<[i128]>),
    Bool(Box<[bool]>),
    Binary(Box<[Box<[u8]>]>),
    Address(Box<[IpNet]>),
    /// Whether the key must be absent.
    Null(Box<[bool]>),
}

impl Condition {
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        let patterns: &[Pattern] = match &self.test {
            Test::Text { patterns, .. } => patterns,
            _ => &[],
        };
        std::iter::once(&self.key).chain(patterns.iter().flat_map(Pattern::keys))
    }

    /// Whether the condition holds.
    pub(super) fn holds(&self, request: &Request<'_>) -> bool {
        let values = request.lookup(&self.key);
        if let Test::Null(wanted) = &self.test {
            return wanted.contains(&(values == Values::Absent));
        }
        if values == Values::Absent {
            return self.if_exists
                || match self.quantifier {
                    Quantifier::One => self.negated,
                    Quantifier::All => true,
                    Quantifier::Any => false,
                };
        }
        let matches = |value: Value<'_>| self.test.matches(value, request);
        match self.quantifier {
            Quantifier::One => values.iter().any(matches) != self.negated,
            // "… or if the context key value resolves to a null dataset, such as an empty string"
            Quantifier::All => values.iter().all(|v| v == Value::Text("") || matches(v) != self.negated),
            Quantifier::Any => values.iter().any(|v| v != Value::Text("") && matches(v) != self.negated),
        }
    }
}

impl Test {
    /// Whether one value of the request matches any value of the policy.
    fn matches(&self, value: Value<'_>, request: &Request<'_>) -> bool {
        match self {
            Self::Text { patterns, fold } => {
                let text = value.text();
                patterns.iter().any(|pattern| pattern.matches(&text, *fold, request))
            }
            Self::Number(comparison, numbers) => {
                number(value).is_some_and(|value| numbers.iter().any(|written| comparison.holds(&value, written)))
            }
            Self::Date(comparison, dates) => {
                date(value).is_some_and(|value| dates.iter().any(|written| comparison.holds(&value, written)))
            }
            Self::Bool(wanted) => boolean(value).is_some_and(|value| wanted.contains(&value)),
            Self::Binary(wanted) => {
                let text = value.text();
                wanted.iter().any(|bytes| **bytes == *text.as_bytes() || STANDARD.encode(bytes) == *text)
            }
            Self::Address(networks) => {
                address(value).is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
            }
            Self::Null(_) => false,
        }
    }
}

fn number(value: Value<'_>) -> Option<Decimal> {
    match value {
        Value::Text(text) => Decimal::parse(text),
        Value::Epoch(time) | Value::Time(time) => Some(Decimal::from_secs(time.secs())),
        Value::Bool(_) | Value::Address(_) => None,
    }
}

/// Whole seconds for the clock: that is how `aws:CurrentTime` is written.
fn date(value: Value<'_>) -> Option<i128> {
    match value {
        Value::Text(text) => parse_date(text),
        Value::Epoch(time) | Value::Time(time) => Some(i128::from(time.secs()) * 1_000_000_000),
        Value::Bool(_) | Value::Address(_) => None,
    }
}

pub(super) fn boolean(value: Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(value),
        Value::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn address(value: Value<'_>) -> Option<IpAddr> {
    match value {
        Value::Address(address) => Some(address),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}
