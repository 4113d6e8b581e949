//! What is wrong with a policy document, where, and how to mend it.

use std::fmt;
use std::ops::Range;

/// So many faults are reported for one document; a text that is not a policy at all would otherwise list every character.
const FAULT_LIMIT: usize = 32;

/// One thing that is wrong with a policy document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Line of the first offending character, from 1.
    pub line: usize,
    /// Column of that character, from 1, in characters (not bytes).
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    /// The offending part of the text, in bytes.
    pub span: Range<usize>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, " (help: {help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// Collects the faults of one document. Faults of the JSON come first, then those of the policy, each by position: a
/// reader mends the text before its meaning.
pub(super) struct Faults<'t> {
    text: &'t str,
    syntax: Vec<Fault>,
    meaning: Vec<Fault>,
}

impl<'t> Faults<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, syntax: Vec::new(), meaning: Vec::new() }
    }

    /// The text is not JSON at `span`.
    pub(super) fn syntax(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        if self.syntax.len() < FAULT_LIMIT {
            let fault = self.fault(span, message.into(), help);
            self.syntax.push(fault);
        }
    }

    /// The document is no policy of its kind because of what stands at `span`.
    pub(super) fn add(&mut self, span: &Range<usize>, message: impl Into<String>) {
        self.add_with(span, message, None);
    }

    /// As [`Self::add`], with advice.
    pub(super) fn help(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.add_with(span, message, Some(help.into()));
    }

    fn add_with(&mut self, span: &Range<usize>, message: impl Into<String>, help: Option<String>) {
        if self.meaning.len() < FAULT_LIMIT {
            let fault = self.fault(span.clone(), message.into(), help);
            self.meaning.push(fault);
        }
    }

    fn fault(&self, span: Range<usize>, message: String, help: Option<String>) -> Fault {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Fault { line, column, message, help, span }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.syntax.is_empty() && self.meaning.is_empty()
    }

    pub(super) fn into_list(mut self) -> Vec<Fault> {
        self.syntax.sort_by_key(|fault| fault.span.start);
        self.meaning.sort_by_key(|fault| fault.span.start);
        self.syntax.append(&mut self.meaning);
        self.syntax.truncate(FAULT_LIMIT);
        self.syntax
    }
}
