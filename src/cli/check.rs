//! `vpce check CONFIG`: all faults of a configuration at once.
//!
//! Policy documents are checked too: one in a file is shown with that file, one written into the topology at its place there.
//! They are judged once the topology is sound.
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

use crate::config::{self, Fault, Faults, PolicyText, Topology};
use crate::policy::{ParseOptions, Policy, PolicyKind};

/// Exit code for wrong usage or a wrong configuration.
const WRONG_CONFIGURATION: u8 = 2;

/// Arguments of `vpce check`.
#[derive(clap::Args, Clone, Debug)]
pub struct CheckArgs {
    /// A topology file, or the name of a built-in one: quickstart, blog
    pub config: String,
    /// Accept a bare ARN as a policy's principal, which AWS refuses
    #[arg(long)]
    pub lenient: bool,
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
    /// It was read and is wrong: the topology, or else some of its policy documents. Never empty.
    Faults(Vec<Faults>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { config, source } => {
                write!(f, "cannot read {config}: {source} (built-in topologies: {})", config::BUILTIN_NAMES.join(", "))
            }
            Self::Faults(texts) => {
                let texts: Vec<_> = texts.iter().map(Faults::to_string).collect();
                f.write_str(&texts.join("\n"))
            }
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
            Self::Faults(texts) => texts.iter().try_for_each(|faults| show(faults, out, style)),
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

/// Reads and checks a topology and its policies: a file, or a built-in one by its name where no such file exists.
/// `lenient` accepts a bare ARN as a policy's principal.
///
/// # Errors
/// The file cannot be read, or is wrong.
pub fn load(config: &str, lenient: bool) -> Result<Topology, LoadError> {
    let (text, checked) = match config::builtin(config).filter(|_| !Path::new(config).exists()) {
        Some(builtin) => (builtin.text.to_owned(), builtin.check()),
        None => {
            let text = read(config).map_err(|source| LoadError::Unreadable { config: config.to_owned(), source })?;
            let checked = config::check(&text, config, &|path| std::fs::read(path));
            (text, checked)
        }
    };
    let topology = checked.map_err(|faults| LoadError::Faults(vec![faults]))?;
    let faults = policy_faults(&topology, config, &text, lenient);
    if faults.is_empty() { Ok(topology) } else { Err(LoadError::Faults(faults)) }
}

fn read(config: &str) -> io::Result<String> {
    String::from_utf8(std::fs::read(config)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8 text: byte {at} is wrong"))
    })
}

/// The policy documents of a topology that AWS would refuse.
fn policy_faults(topology: &Topology, config: &str, text: &str, lenient: bool) -> Vec<Faults> {
    let endpoint = topology.endpoint.policy.iter().map(|policy| (PolicyKind::Endpoint, policy));
    let identities = topology.identities.iter().flat_map(|who| &who.policies);
    let functions = topology.functions.iter().filter_map(|function| function.policy.as_ref());
    let documents = endpoint
        .chain(identities.map(|policy| (PolicyKind::Identity, policy)))
        .chain(functions.map(|policy| (PolicyKind::Resource, policy)));
    let mut texts: Vec<Faults> = Vec::new();
    for (kind, policy) in documents {
        let Err(found) = Policy::parse_with(kind, &policy.text, ParseOptions { lenient }) else { continue };
        let faults = placed(policy, found, config, text);
        // What several name is told once, and everything of one file together.
        match texts.iter_mut().find(|known| known.origin == faults.origin) {
            Some(known) => known
                .list
                .extend(faults.list.into_iter().filter(|fault| !known.list.contains(fault)).collect::<Vec<_>>()),
            None => texts.push(faults),
        }
    }
    texts
}

/// Faults of a policy as faults of the text that a person edits: the topology if the document stands in it word for word.
fn placed(policy: &PolicyText, found: Vec<crate::policy::Fault>, config: &str, text: &str) -> Faults {
    let (origin, whole, start) = match quoted(text, &policy.text) {
        Some(start) => (config, text, start),
        None => (policy.origin.as_str(), policy.text.as_str(), 0),
    };
    let list = found.into_iter().map(|fault| {
        let span = start + fault.span.start..start + fault.span.end;
        Fault::new(whole, span, fault.message, fault.help)
    });
    Faults { origin: origin.to_owned(), text: whole.to_owned(), list: list.collect() }
}

/// Where `value` stands in TOML text as the whole of a string without escapes.
fn quoted(text: &str, value: &str) -> Option<usize> {
    const QUOTES: [char; 2] = ['"', '\''];
    let mut places = text.match_indices(value).filter(|(start, _)| {
        // A line break behind the opening quotes is not part of the string.
        let before = text[..*start].strip_suffix('\n').unwrap_or(&text[..*start]);
        before.ends_with(QUOTES) && text[start + value.len()..].starts_with(QUOTES)
    });
    places.next().map(|(start, _)| start)
}

/// Runs `vpce check`. With `json`, one object on standard output says all; otherwise faults go to standard error and a
/// summary of a sound configuration to standard output.
///
/// # Errors
/// Standard output or standard error cannot be written.
pub fn run(args: &CheckArgs, json: bool) -> io::Result<ExitCode> {
    let loaded = load(&args.config, args.lenient);
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
        Err(LoadError::Faults(texts)) => {
            let faults =
                |text: &Faults| text.list.iter().map(|fault| fault_json(&text.origin, fault)).collect::<Vec<_>>();
            let list: Vec<_> = texts.iter().flat_map(faults).collect();
            json!({ "config": config, "ok": false, "faults": list })
        }
        Err(error @ LoadError::Unreadable { .. }) => {
            json!({ "config": config, "ok": false, "faults": [{ "message": error.to_string() }] })
        }
    }
}

fn fault_json(origin: &str, fault: &Fault) -> serde_json::Value {
    json!({
        "origin": origin,
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

    const ALLOW: &str = r#"{ "Statement": [{ "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*" }] }"#;
    const PRINTED: &str = include_str!("../../netns/policies/blog-as-printed.json");

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
        let error = load(&path, false).unwrap_err();
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
    fn the_reference_is_sound_with_its_policies() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/netns/reference.toml");
        load(path, false).unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn json_has_every_fault_and_of_a_sound_configuration_the_topology() {
        let folder = folder(&[("wrong.toml", WRONG)]);
        let path = folder.path().join("wrong.toml").display().to_string();
        let value = as_json(&path, &load(&path, false));
        assert_eq!(value["ok"], false);
        let places: Vec<_> = value["faults"].as_array().unwrap().iter().map(|f| (&f["line"], &f["column"])).collect();
        assert_eq!(places, [(&json!(1), &json!(10)), (&json!(4), &json!(1))]);

        let sound = as_json("quickstart", &load("quickstart", false));
        assert_eq!(
            (&sound["ok"], &sound["topology"]["endpoint"]["enis"][0]["ipv4"]),
            (&json!(true), &json!("10.0.1.100"))
        );
    }

    #[test]
    fn files_are_found_beside_the_configuration() {
        let text = "[vpc]\ncidr = \"10.0.0.0/16\"\n[[subnet]]\ncidr = \"10.0.1.0/24\"\n[endpoint]\npolicy_file = \"policy.json\"\n";
        let folder = folder(&[("lab.toml", text), ("policy.json", ALLOW)]);
        let topology = load(&folder.path().join("lab.toml").display().to_string(), false).unwrap();
        assert_eq!(topology.name, "lab");
        assert_eq!(topology.endpoint.policy.unwrap().text, ALLOW);
    }

    #[test]
    fn a_file_that_is_not_there_is_a_wrong_configuration_and_names_the_built_in_ones() {
        let args = CheckArgs { config: "/nowhere/lab.toml".to_owned(), lenient: false };
        assert_eq!(run(&args, true).unwrap(), ExitCode::from(2));
        let message = load(&args.config, false).unwrap_err().to_string();
        assert!(message.contains("/nowhere/lab.toml") && message.contains("quickstart"), "{message}");
        assert_eq!(run(&CheckArgs { config: "blog".to_owned(), lenient: false }, false).unwrap(), ExitCode::SUCCESS);
    }

    #[test]
    fn the_policy_as_printed_is_refused_where_the_quote_is_wrong_and_mended_but_bare_only_if_lenient() {
        let text = "[vpc]\ncidr = \"10.0.0.0/16\"\n[[subnet]]\ncidr = \"10.0.1.0/24\"\n[endpoint]\npolicy_file = \"policy.json\"\n";
        let folder = folder(&[("lab.toml", text), ("policy.json", PRINTED)]);
        let path = folder.path().join("lab.toml").display().to_string();
        let shown = load(&path, false).unwrap_err().to_string();
        assert!(shown.contains("policy.json:10:") && shown.contains("U+201D"), "{shown}");

        std::fs::write(folder.path().join("policy.json"), PRINTED.replace('\u{201d}', "\"")).unwrap();
        let shown = load(&path, false).unwrap_err().to_string();
        assert!(shown.contains("policy.json:4:") && shown.contains("Principal"), "{shown}");
        assert_eq!(load(&path, true).unwrap().endpoint.policy.unwrap().text.len(), PRINTED.len() - 2);
    }

    #[test]
    fn a_policy_written_into_the_topology_is_marked_there() {
        let text = "[vpc]\ncidr = \"10.0.0.0/16\"\n[[subnet]]\ncidr = \"10.0.1.0/24\"\n[endpoint]\npolicy = '''\n{ \"Statement\": [\n  { \"Effect\": \"Alow\", \"Principal\": \"*\", \"Action\": \"*\", \"Resource\": \"*\" } ] }'''\n[[identity]]\nname = \"nobody\"\npolicy = \"no\"\n";
        let folder = folder(&[("lab.toml", text)]);
        let path = folder.path().join("lab.toml").display().to_string();
        let Err(LoadError::Faults(texts)) = load(&path, false) else { panic!("it is wrong") };
        let places: Vec<_> =
            texts.iter().flat_map(|t| t.list.iter().map(|f| (t.origin.as_str(), f.line, f.column))).collect();
        assert_eq!(places[0], (path.as_str(), 8, 15), "{texts:?}");
        assert_eq!(places[1].1, 11, "{texts:?}");
        assert_eq!(texts.len(), 1);
    }
}
