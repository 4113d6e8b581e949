//! `Filter.N`: names that a call knows, values with wildcards.

use super::error::Ec2Error;
use super::request::Request;
use crate::control::State;

/// Values of all filters of one request (EC2 API Reference, Filter: 200).
const VALUES: usize = 200;
/// Bytes of one value.
const VALUE_BYTES: usize = 255;

/// The filters of a request; what passes all of them is shown.
#[derive(Debug)]
pub(super) struct Filters<'r>(Vec<(&'r str, Vec<&'r str>)>);

impl<'r> Filters<'r> {
    /// Reads them. `tag:KEY` and `tag-key` are known everywhere.
    pub(super) fn read(request: &'r Request, known: &[&str]) -> Result<Self, Ec2Error> {
        let mut filters = Vec::new();
        let mut count = 0;
        for filter in request.fields().structures("Filter")? {
            let name = filter.required("Name")?;
            if !(known.contains(&name) || name == "tag-key" || name.strip_prefix("tag:").is_some_and(|k| !k.is_empty()))
            {
                return Err(Ec2Error::value(format!("The filter '{name}' is invalid")));
            }
            let values = filter.list("Value")?;
            if values.is_empty() {
                return Err(Ec2Error::value(format!("The filter '{name}' has no value")));
            }
            if values.iter().any(|value| value.len() > VALUE_BYTES) {
                let message = format!("A value of the filter '{name}' is longer than {VALUE_BYTES} characters");
                return Err(Ec2Error::value(message));
            }
            count += values.len();
            filters.push((name, values));
        }
        if count > VALUES {
            let message = format!("The maximum number of filter values is {VALUES}");
            return Err(Ec2Error::new("FilterLimitExceeded", message));
        }
        Ok(Self(filters))
    }

    /// Whether something passes: of each filter, one of its values fits one of what `values` gives for its name.
    pub(super) fn pass(&self, state: &State, id: &str, values: impl Fn(&str) -> Vec<String>) -> bool {
        self.0.iter().all(|(name, patterns)| {
            let fits = |value: &str| patterns.iter().any(|pattern| matches(pattern, value));
            match name.strip_prefix("tag:") {
                Some(key) => state.tags_of(id).any(|(own, value)| own == key && fits(value)),
                None if *name == "tag-key" => state.tags_of(id).any(|(own, _)| fits(own)),
                None => values(name).iter().any(|value| fits(value)),
            }
        })
    }
}

/// `*` is any number of characters, `?` is one, a backslash takes the next as it is. Case counts.
pub(super) fn matches(pattern: &str, value: &str) -> bool {
    if !pattern.contains(['*', '?', '\\']) {
        return pattern == value;
    }
    #[derive(Clone, Copy, PartialEq)]
    enum Part {
        Any,
        One,
        Just(char),
    }
    let mut parts = Vec::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::Just(characters.next().unwrap_or('\\')),
            c => Part::Just(c),
        });
    }
    let value: Vec<char> = value.chars().collect();
    // The usual walk: on a mismatch, the latest `*` takes one character more.
    let (mut p, mut v, mut star) = (0, 0, None);
    while v < value.len() {
        match parts.get(p) {
            Some(Part::Any) => {
                star = Some((p, v));
                p += 1;
            }
            Some(Part::One) => (p, v) = (p + 1, v + 1),
            Some(Part::Just(c)) if *c == value[v] => (p, v) = (p + 1, v + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, v) = (at + 1, from + 1);
            }
        }
    }
    parts[p..].iter().all(|part| *part == Part::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_wildcards() {
        for (pattern, value, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*a*b*c", "xxaxxbxxbxxc", true),
            ("A*", "abc", false),
        ] {
            assert_eq!(matches(pattern, value), expected, "{pattern} {value}");
        }
    }
}
