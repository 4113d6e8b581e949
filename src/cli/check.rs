//! `vpce check CONFIG`: all faults of a configuration at once.
//!
//! Also the one way in which every other command gets its topology ([`load`]) and shows what is wrong with it
//! ([`LoadError::show`]), so that a fault looks the same wherever it is met.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents,
};
use serde_json::json;

use crate::config::{self, Fault, Faults, Topology};

/// Exit code for wrong usage or a wrong configuration.
const WRONG_CONFIGURATION: u8 = 2;

/// Arguments of `vpce check`.
#[derive(clap::Args, Clone, Debug)]
pub struct CheckArgs {
    /// A topology file, or the name of a built-in one: quickstart, blog
    pub config: String,
}

/// Why there is no topology.
#[derive(Debug)]
pub enum LoadError {
    /// The file could not be read.
    Unreadable {
        /// As given.
        config: String,
        /// What the system says.
        source: io::Error,
    },
    /// It was read and is wrong.
    Faults(Box<Faults>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { config, source } => {
                write!(f, "cannot read {config}: {source} (built-in topologies: {})", config::BUILTIN_NAMES.join(", "))
            }
            Self::Faults(faults) => faults.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Faults(_) => None,
        }
    }
}

impl LoadError {
    /// Shows it to a person, with excerpts of the text and a mark under what is wrong.
    pub fn show(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        match self {
            Self::Unreadable { .. } => writeln!(out, "error: {self}"),
            Self::Faults(faults) => show(faults, out, style),
        }
    }
}

/// Whether output is for a terminal that shows colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// No escape sequences.
    Plain,
    /// ANSI colours.
    Colour,
}

impl Style {
    /// What standard error can show. `NO_COLOR` (no-color.org) is honoured.
    pub fn of_stderr() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && io::stderr().is_terminal() { Self::Colour } else { Self::Plain }
    }
}

/// Reads and checks a topology: a file, or a built-in one by its name where no such file exists.
///
/// # Errors
/// The file cannot be read, or is wrong.
pub fn load(config: &str) -> Result<Topology, LoadError> {
    if let Some(builtin) = config::builtin(config).filter(|_| !Path::new(config).exists()) {
        return builtin.check().map_err(|faults| LoadError::Faults(Box::new(faults)));
    }
    let unreadable = |source| LoadError::Unreadable { config: config.to_owned(), source };
    let bytes = std::fs::read(config).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        unreadable(io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8 text: byte {at} is wrong")))
    })?;
    config::check(&text, config, &|path| std::fs::read(path)).map_err(|faults| LoadError::Faults(Box::new(faults)))
}

/// Runs `vpce check`. With `json`, one object on standard output says all; otherwise faults go to standard error and a
/// summary of a sound configuration to standard output.
///
/// # Errors
/// Standard output or standard error cannot be written.
pub fn run(args: &CheckArgs, json: bool) -> io::Result<ExitCode> {
    let loaded = load(&args.config);
    let code = if loaded.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(WRONG_CONFIGURATION) };
    if json {
        writeln!(io::stdout().lock(), "{:#}", as_json(&args.config, &loaded))?;
        return Ok(code);
    }
    match &loaded {
        Ok(topology) => writeln!(io::stdout().lock(), "{}", summary(&args.config, topology))?,
        Err(error) => error.show(&mut io::stderr().lock(), Style::of_stderr())?,
    }
    Ok(code)
}

fn summary(config: &str, topology: &Topology) -> String {
    let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    let parts = [
        count(topology.subnets.len(), "subnet"),
        count(topology.endpoint.enis.len(), "eni"),
        count(topology.hosts.len(), "host"),
        count(topology.functions.len(), "function"),
    ];
    format!("{config}: no faults; {} in {} has {}", topology.name, topology.region, parts.join(", "))
}

fn as_json(config: &str, loaded: &Result<Topology, LoadError>) -> serde_json::Value {
    match loaded {
        Ok(topology) => json!({ "config": config, "ok": true, "faults": [], "topology": topology }),
        Err(LoadError::Faults(faults)) => {
            let list: Vec<_> = faults.list.iter().map(fault_json).collect();
            json!({ "config": config, "ok": false, "faults": list })
        }
        Err(error @ LoadError::Unreadable { .. }) => {
            json!({ "config": config, "ok": false, "faults": [{ "message": error.to_string() }] })
        }
    }
}

fn fault_json(fault: &Fault) -> serde_json::Value {
    json!({
        "line": fault.line,
        "column": fault.column,
        "start": fault.span.start,
        "end": fault.span.end,
        "message": fault.message,
        "help": fault.help,
    })
}

fn show(faults: &Faults, out: &mut dyn Write, style: Style) -> io::Result<()> {
    let theme = match style {
        Style::Plain => GraphicalTheme::unicode_nocolor(),
        Style::Colour => GraphicalTheme::unicode(),
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(120);
    let text = Text { origin: &faults.origin, text: &faults.text };
    for fault in &faults.list {
        let mut shown = String::new();
        let report = Report { fault, text: &text };
        // A report that cannot be drawn is still told.
        if handler.render_report(&mut shown, &report).is_err() {
            shown = format!("{}:{}:{}: {}\n", faults.origin, fault.line, fault.column, fault.message);
        }
        writeln!(out, "{shown}")?;
    }
    let n = faults.list.len();
    writeln!(out, "{}: {n} fault{}", faults.origin, if n == 1 { "" } else { "s" })
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

    const WRONG: &str =
        "region = \"us-east-22\"\n[vpc]\ncidr = \"10.0.0.0/16\"\ncdir = 1\n[[subnet]]\ncidr = \"10.0.1.0/24\"\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn every_fault_is_shown_with_its_line_and_help_and_without_escapes() {
        let folder = folder(&[("wrong.toml", WRONG)]);
        let path = folder.path().join("wrong.toml").display().to_string();
        let error = load(&path).unwrap_err();
        let mut shown = Vec::new();
        error.show(&mut shown, Style::Plain).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        for part in [":1:10]", "us-east-22", "did you mean", "cdir = 1", ":4:1]", "2 faults"] {
            assert!(shown.contains(part), "{part} is not in:\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown}");
        let mut coloured = Vec::new();
        error.show(&mut coloured, Style::Colour).unwrap();
        assert!(coloured.contains(&0x1b));
    }

    #[test]
    fn json_has_every_fault_and_of_a_sound_configuration_the_topology() {
        let folder = folder(&[("wrong.toml", WRONG)]);
        let path = folder.path().join("wrong.toml").display().to_string();
        let value = as_json(&path, &load(&path));
        assert_eq!(value["ok"], false);
        let places: Vec<_> = value["faults"].as_array().unwrap().iter().map(|f| (&f["line"], &f["column"])).collect();
        assert_eq!(places, [(&json!(1), &json!(10)), (&json!(4), &json!(1))]);

        let sound = as_json("quickstart", &load("quickstart"));
        assert_eq!(
            (&sound["ok"], &sound["topology"]["endpoint"]["enis"][0]["ipv4"]),
            (&json!(true), &json!("10.0.1.100"))
        );
    }

    #[test]
    fn files_are_found_beside_the_configuration() {
        let text = "[vpc]\ncidr = \"10.0.0.0/16\"\n[[subnet]]\ncidr = \"10.0.1.0/24\"\n[endpoint]\npolicy_file = \"policy.json\"\n";
        let folder = folder(&[("lab.toml", text), ("policy.json", "{}")]);
        let topology = load(&folder.path().join("lab.toml").display().to_string()).unwrap();
        assert_eq!(topology.name, "lab");
        assert_eq!(topology.endpoint.policy.unwrap().text, "{}");
    }

    #[test]
    fn a_file_that_is_not_there_is_a_wrong_configuration_and_names_the_built_in_ones() {
        let args = CheckArgs { config: "/nowhere/lab.toml".to_owned() };
        assert_eq!(run(&args, true).unwrap(), ExitCode::from(2));
        let message = load(&args.config).unwrap_err().to_string();
        assert!(message.contains("/nowhere/lab.toml") && message.contains("quickstart"), "{message}");
        assert_eq!(run(&CheckArgs { config: "blog".to_owned() }, false).unwrap(), ExitCode::SUCCESS);
    }
}
