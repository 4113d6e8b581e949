//! Reads a parsed TOML document key by key and goes on after every fault.
//!
//! serde would stop at the first value of a wrong type; here each wrong value becomes a fault with its span and reads as
//! absent, so one run reports all of them. A [`Section`] knows which keys were asked for and, when dropped, reports every
//! other one with the closest known spelling. What is asked for *is* the format: nothing else lists its keys.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::RawFault;

/// A value and the bytes it was read from.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> At<T> {
    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), span: self.span }
    }
}

/// Collects the faults of one document.
#[derive(Debug, Default)]
pub(super) struct Reader {
    faults: RefCell<Vec<RawFault>>,
    /// Every key of the format that was asked for, and every one that was there, as `section.key`.
    #[cfg(test)]
    pub(super) coverage: RefCell<(std::collections::BTreeSet<String>, std::collections::BTreeSet<String>)>,
}

impl Reader {
    pub(super) fn fault(&self, span: &Range<usize>, message: impl Into<String>) {
        self.push(span, message.into(), None);
    }

    pub(super) fn fault_with_help(&self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.push(span, message.into(), Some(help.into()));
    }

    fn push(&self, span: &Range<usize>, message: String, help: Option<String>) {
        self.faults.borrow_mut().push(RawFault { span: span.clone(), message, help });
    }

    pub(super) fn into_faults(self) -> Vec<RawFault> {
        self.faults.into_inner()
    }
}

/// One table of the document, or the absence of an optional one.
#[derive(Debug)]
pub(super) struct Section<'r> {
    pub(super) reader: &'r Reader,
    table: Option<&'r DeTable<'r>>,
    /// What faults about the whole table point at: its header or braces.
    pub(super) span: Range<usize>,
    /// What messages call it: `endpoint`, `subnet`.
    pub(super) path: String,
    asked: RefCell<Vec<String>>,
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.take();
        for key in table.keys() {
            let name: &str = key.get_ref();
            if asked.iter().any(|known| known == name) {
                continue;
            }
            let place =
                if self.path.is_empty() { "at the top level".to_owned() } else { format!("in `{}`", self.path) };
            let message = format!("unknown key `{name}` {place}");
            let known = asked.iter().map(String::as_str);
            match closest(name, known.clone()) {
                Some(near) => self.reader.fault_with_help(&key.span(), message, format!("did you mean `{near}`?")),
                None => {
                    let mut names: Vec<_> = known.map(|name| format!("`{name}`")).collect();
                    names.sort_unstable();
                    self.reader.fault_with_help(&key.span(), message, format!("known keys: {}", names.join(", ")));
                }
            }
        }
    }
}

impl<'r> Section<'r> {
    pub(super) fn new(reader: &'r Reader, table: Option<&'r DeTable<'r>>, span: Range<usize>, path: String) -> Self {
        Self { reader, table, span, path, asked: RefCell::default() }
    }

    fn ask(&self, key: &str) {
        self.asked.borrow_mut().push(key.to_owned());
        #[cfg(test)]
        {
            let name = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
            let present = self.table.is_some_and(|table| table.contains_key(key));
            let mut coverage = self.reader.coverage.borrow_mut();
            if present {
                coverage.1.insert(name.clone());
            }
            coverage.0.insert(name);
        }
    }

    /// Every key of the table with its span, in the order of the text, all of them counted as known: for tables whose
    /// keys are names that the file chooses.
    pub(super) fn names(&self) -> Vec<At<String>> {
        let mut names: Vec<_> = self
            .table
            .into_iter()
            .flat_map(|table| table.keys())
            .map(|key| At { value: key.get_ref().to_string(), span: key.span() })
            .collect();
        names.sort_by_key(|name| name.span.start);
        self.asked.borrow_mut().extend(names.iter().map(|name| name.value.clone()));
        names
    }

    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The span of a key's name, or of the section when the key is not there.
    pub(super) fn key_span(&self, key: &str) -> Range<usize> {
        self.table.and_then(|table| table.get_key_value(key)).map_or_else(|| self.span.clone(), |(name, _)| name.span())
    }

    pub(super) fn value(&self, key: &str) -> Option<&'r Spanned<DeValue<'r>>> {
        self.ask(key);
        self.table?.get(key)
    }

    pub(super) fn fault(&self, span: &Range<usize>, message: impl Into<String>) {
        self.reader.fault(span, message);
    }

    pub(super) fn fault_with_help(&self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.reader.fault_with_help(span, message, help);
    }

    fn wrong_type(&self, key: &str, found: &Spanned<DeValue<'_>>, wanted: &str) {
        let kind = found.get_ref().type_str();
        self.fault(&found.span(), format!("{} is {kind}, not {wanted}", self.name(key)));
    }

    /// `section.key`, as messages name it.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { format!("`{key}`") } else { format!("`{}.{key}`", self.path) }
    }

    /// Reports that a key is needed and absent.
    pub(super) fn missing(&self, key: &str, help: &str) {
        self.fault_with_help(&self.span, format!("{} is missing", self.name(key)), help);
    }

    pub(super) fn string(&self, key: &str) -> Option<At<&'r str>> {
        let found = self.value(key)?;
        match found.get_ref() {
            DeValue::String(text) => Some(At { value: text, span: found.span() }),
            _ => {
                self.wrong_type(key, found, "a string");
                None
            }
        }
    }

    /// A string that `parse` understands; its error completes "`key` …".
    pub(super) fn parsed<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<At<T>> {
        let At { value, span } = self.string(key)?;
        match parse(value) {
            Ok(value) => Some(At { value, span }),
            Err(problem) => {
                self.fault(&span, format!("{} {problem}", self.name(key)));
                None
            }
        }
    }

    pub(super) fn boolean(&self, key: &str) -> Option<At<bool>> {
        let found = self.value(key)?;
        match found.get_ref() {
            DeValue::Boolean(value) => Some(At { value: *value, span: found.span() }),
            _ => {
                self.wrong_type(key, found, "true or false");
                None
            }
        }
    }

    /// A whole number in a range that fits `T`.
    pub(super) fn integer<T: TryFrom<i64>>(&self, key: &str, range: std::ops::RangeInclusive<i64>) -> Option<At<T>> {
        let found = self.value(key)?;
        self.integer_at(&self.name(key), found, range)
    }

    /// The same for a value already in hand.
    pub(super) fn integer_at<T: TryFrom<i64>>(
        &self,
        name: &str,
        found: &Spanned<DeValue<'_>>,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<At<T>> {
        let span = found.span();
        let DeValue::Integer(digits) = found.get_ref() else {
            self.fault(&span, format!("{name} is {}, not a whole number", found.get_ref().type_str()));
            return None;
        };
        let value = i64::from_str_radix(digits.as_str(), digits.radix()).ok().filter(|value| range.contains(value));
        let Some(value) = value.and_then(|value| T::try_from(value).ok()) else {
            self.fault(&span, format!("{name} is {digits}, outside {} to {}", range.start(), range.end()));
            return None;
        };
        Some(At { value, span })
    }

    /// A list of strings; absent reads as empty.
    pub(super) fn strings(&self, key: &str) -> Vec<At<&'r str>> {
        let Some(found) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = found.get_ref() else {
            self.wrong_type(key, found, "a list of strings");
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => strings.push(At { value: &**text, span: item.span() }),
                other => {
                    let message = format!("{} holds {}, not only strings", self.name(key), other.type_str());
                    self.fault(&item.span(), message);
                }
            }
        }
        strings
    }

    /// The items of a list, of any type; absent reads as empty.
    pub(super) fn items(&self, key: &str) -> Vec<&'r Spanned<DeValue<'r>>> {
        let Some(found) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = found.get_ref() else {
            self.wrong_type(key, found, "a list");
            return Vec::new();
        };
        items.iter().collect()
    }

    /// A table inside this one; absent reads as one without keys.
    pub(super) fn section(&self, key: &str) -> Self {
        let path = self.join(key);
        let found = self.value(key);
        match found.map(|found| (found.get_ref(), found)) {
            Some((DeValue::Table(table), found)) => Self::new(self.reader, Some(table), found.span(), path),
            Some((_, found)) => {
                self.wrong_type(key, found, &format!("a table: write [{path}]"));
                Self::new(self.reader, None, found.span(), path)
            }
            None => Self::new(self.reader, None, self.span.clone(), path),
        }
    }

    /// A list of tables inside this one; absent reads as empty.
    pub(super) fn sections(&self, key: &str) -> Vec<Self> {
        let path = self.join(key);
        let Some(found) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = found.get_ref() else {
            self.wrong_type(key, found, &format!("a list of tables: write [[{path}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Self::new(self.reader, Some(table), item.span(), path.clone()));
                }
                other => {
                    self.fault(&item.span(), format!("`{path}` holds {}, not only tables", other.type_str()));
                }
            }
        }
        sections
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// The known name nearest to `name`, if it is near enough to be what was meant.
pub(super) fn closest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let limit = (name.chars().count() / 3).max(1);
    known.map(|near| (distance(name, near), near)).filter(|(far, _)| *far <= limit).min().map(|(_, near)| near)
}

/// Edits between two names (insert, remove, replace, swap neighbours), cut off at long names, which nobody mistypes.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let known = ["private_dns", "policy", "policy_file", "eni"];
        assert_eq!(closest("privat_dns", known.into_iter()), Some("private_dns"));
        assert_eq!(closest("pirvate_dns", known.into_iter()), Some("private_dns"));
        assert_eq!(closest("cidr", known.into_iter()), None);
    }
}
