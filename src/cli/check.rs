//! `vpce check`: all faults of a configuration at once.

use std::process::ExitCode;

use clap::Args;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};

use super::output::{self, Failure, Output};
use crate::config::Faults;

/// Check a topology: all its faults at once, with line and column
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpce check netns/quickstart.toml\n  vpce check -o json my-lab.toml")]
pub(super) struct Arguments {
    /// A TOML file, or the name of a built-in topology (`quickstart`).
    config: String,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode, Failure> {
    let source = super::load(&arguments.config)?;
    match output {
        Output::Text => output::print(&format!("{}: no faults\n", arguments.config)),
        Output::Json => {
            let topology = serde_json::to_value(&source.topology).unwrap_or_default();
            output::print_json(&json!({ "origin": source.origin, "faults": [], "topology": topology }));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The faults as JSON.
pub(super) fn as_json(faults: &Faults) -> Value {
    let list = faults.list.iter().map(
        |fault| json!({ "line": fault.line, "column": fault.column, "message": fault.message, "help": fault.help }),
    );
    json!({ "origin": faults.origin, "faults": list.collect::<Vec<_>>() })
}

/// The faults with the lines they are in, for people.
pub(super) fn render(faults: &Faults) -> String {
    let colour = supports_colour();
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme);
    let source = NamedSource::new(&faults.origin, faults.text.clone());
    let mut text = String::new();
    for fault in &faults.list {
        let shown = Shown {
            message: &fault.message,
            help: fault.help.as_deref(),
            label: LabeledSpan::at(fault.span.clone(), "here"),
            source: &source,
        };
        if handler.render_report(&mut text, &shown).is_err() {
            return format!("{faults}\n");
        }
    }
    let count = faults.list.len();
    text + &format!("error: {count} fault{} in {}\n", if count == 1 { "" } else { "s" }, faults.origin)
}

fn supports_colour() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// One fault as miette wants it.
#[derive(Debug)]
struct Shown<'a> {
    message: &'a str,
    help: Option<&'a str>,
    label: LabeledSpan,
    source: &'a NamedSource<String>,
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help(&self) -> Option<Box<dyn std::fmt::Display + '_>> {
        self.help.map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.label.clone())))
    }
}
