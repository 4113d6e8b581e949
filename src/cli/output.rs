//! What commands print, and how they fail.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::faults;
use crate::config::Faults;
use crate::edge::Fault;
use crate::edge::readiness::Readiness;
use crate::lab::source::SourceError;

/// How data is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A command that could not do its work.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    what: What,
}

#[derive(Debug)]
enum What {
    Fault(Fault),
    Configuration(Vec<Faults>),
}

impl Failure {
    /// Our failure: exit code 1.
    pub fn ours(fault: Fault) -> Self {
        Self::with_code(1, fault)
    }

    /// Wrong usage or configuration: exit code 2.
    pub fn usage(fault: Fault) -> Self {
        Self::with_code(2, fault)
    }

    /// With an exit code of its own.
    pub fn with_code(code: u8, fault: Fault) -> Self {
        Self { code, what: What::Fault(fault) }
    }

    /// A configuration that is wrong: exit code 2.
    pub fn configuration(faults: Vec<Faults>) -> Self {
        Self { code: 2, what: What::Configuration(faults) }
    }

    /// Tells the supervisor, if there is one, which shows it to whoever waits for the lab.
    pub(super) fn tell(self, readiness: Readiness) -> Self {
        let fault = match &self.what {
            What::Fault(fault) => fault.clone(),
            What::Configuration(faults) => Fault::new(SourceError::Faults(faults.clone()).to_string()),
        };
        // Without a supervisor it is shown here alone.
        _ = readiness.fail(&fault);
        self
    }

    /// Writes it to stderr and says the exit code.
    pub fn report(self, output: Output) -> ExitCode {
        let text = match (&self.what, output) {
            (What::Fault(fault), Output::Text) => format!("error: {fault}\n"),
            (What::Fault(fault), Output::Json) => format!("{}\n", json!({ "error": fault })),
            (What::Configuration(texts), Output::Text) => faults::render(texts, faults::Style::of_stderr()),
            (What::Configuration(texts), Output::Json) => {
                let what = json!({ "what": "the configuration is wrong", "remedy": "mend what `faults` lists" });
                format!("{}\n", json!({ "error": what, "faults": faults::as_json(texts) }))
            }
        };
        // Nobody is left to tell if this cannot be written.
        _ = io::stderr().write_all(text.as_bytes());
        ExitCode::from(self.code)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::ours(fault)
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Unreadable(fault) => Self::usage(fault),
            SourceError::Faults(faults) => Self::configuration(faults),
        }
    }
}

/// Writes data to stdout. A reader that has seen enough (`| head`) is no failure.
pub fn print(text: &str) {
    _ = io::stdout().write_all(text.as_bytes());
}

/// Writes a JSON value to stdout, one line per key.
pub fn print_json(value: &Value) {
    print(&format!("{value:#}\n"));
}

/// Lines up columns: each as wide as its widest cell, two spaces between, nothing behind the last.
pub fn table(indent: usize, rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_spaces() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["ccc".to_owned(), "d".to_owned()]];
        assert_eq!(table(2, &rows), "  a    bb\n  ccc  d\n");
    }
}
