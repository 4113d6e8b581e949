//! Faults of a configuration: for people with the lines they are in and a mark under what is wrong, for programs as JSON.

use std::fmt;
use std::io::IsTerminal;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents,
};
use serde_json::{Value, json};

use crate::config::{Fault, Faults};

/// Columns that reports may fill.
const WIDTH: usize = 110;

/// Whether output is for a terminal that shows colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    /// No escape sequences.
    Plain,
    /// ANSI colours.
    Colour,
}

impl Style {
    /// What standard error can show. `NO_COLOR` (no-color.org) is honoured.
    pub(super) fn of_stderr() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && std::io::stderr().is_terminal() { Self::Colour } else { Self::Plain }
    }
}

/// The faults as a list of JSON objects.
pub(super) fn as_json(texts: &[Faults]) -> Value {
    let faults = texts.iter().flat_map(|faults| faults.list.iter().map(|fault| (&faults.origin, fault)));
    let list = faults.map(|(origin, fault)| {
        json!({
            "origin": origin,
            "line": fault.line,
            "column": fault.column,
            "start": fault.span.start,
            "end": fault.span.end,
            "message": fault.message,
            "help": fault.help,
        })
    });
    list.collect()
}

/// The faults for people, each text's with a last line that counts them.
pub(super) fn render(texts: &[Faults], style: Style) -> String {
    let theme = match style {
        Style::Plain => GraphicalTheme::unicode_nocolor(),
        Style::Colour => GraphicalTheme::unicode(),
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH);
    let mut shown = String::new();
    for faults in texts {
        let text = Text { origin: &faults.origin, text: &faults.text };
        for fault in &faults.list {
            // A report that cannot be drawn is still told.
            if handler.render_report(&mut shown, &Report { fault, text: &text }).is_err() {
                shown.push_str(&format!("{}:{}:{}: {}\n", faults.origin, fault.line, fault.column, fault.message));
            }
            shown.push('\n');
        }
        let count = faults.list.len();
        shown.push_str(&format!("error: {count} fault{} in {}\n", if count == 1 { "" } else { "s" }, faults.origin));
    }
    shown
}

/// One fault as miette draws it.
struct Report<'a> {
    fault: &'a Fault,
    text: &'a Text<'a>,
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault.message)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.fault.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        // Of a table that spans lines only its head is marked.
        let span = &self.fault.span;
        let marked = self.text.text.get(span.clone()).unwrap_or_default();
        let length = marked.lines().next().map_or(0, str::len);
        Some(Box::new(std::iter::once(LabeledSpan::new(None, span.start, length))))
    }
}

/// The text with its name. miette's own `NamedSource` wants to own it.
struct Text<'a> {
    origin: &'a str,
    text: &'a str,
}

impl SourceCode for Text<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.text.read_span(span, before, after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.origin.to_owned(),
            contents.data(),
            *contents.span(),
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong() -> Vec<Faults> {
        let text =
            "region = \"us-east-22\"\n[vpc]\ncidr = \"10.0.0.0/16\"\ncdir = 1\n[[subnet]]\ncidr = \"10.0.1.0/24\"\n";
        let refused = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        vec![crate::config::check(text, "wrong.toml", &refused).expect_err("it is wrong")]
    }

    #[test]
    fn every_fault_is_shown_with_its_line_and_help_and_coloured_only_if_wanted() {
        let shown = render(&wrong(), Style::Plain);
        for part in ["wrong.toml:1:10]", "us-east-22", "did you mean", "cdir = 1", ":4:1]", "error: 2 faults in wrong"]
        {
            assert!(shown.contains(part), "{part} is not in:\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert!(render(&wrong(), Style::Colour).contains('\u{1b}'));
    }

    #[test]
    fn json_has_every_fault_with_its_place() {
        let value = as_json(&wrong());
        let places: Vec<_> = value.as_array().expect("list").iter().map(|f| (&f["line"], &f["column"])).collect();
        assert_eq!(places, [(&json!(1), &json!(10)), (&json!(4), &json!(1))]);
    }
}
