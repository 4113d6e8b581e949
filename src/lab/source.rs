//! Where a topology comes from: a name that is built in, or a file. Every command reads its topology here, so that a fault
//! is met, and looks, the same wherever it is.
//!
//! Policy documents are judged too, once the topology itself is sound: one in a file is shown with that file, one written
//! into the topology at its place there.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::config::{self, Faults, PolicyText, Topology};
use crate::edge::{Fault, OrFault};
use crate::policy::{self, ParseOptions, Policy, PolicyKind};

/// The topology of `vpce lab up` without a word more.
pub const DEFAULT: &str = "quickstart";

/// Largest file that is read, bytes. Topologies and policies have smaller limits of their own; this one is for files that
/// never end.
const FILE_LIMIT: u64 = 16 << 20;

/// A checked topology and how another process finds it again.
#[derive(Clone, Debug)]
pub struct Source {
    /// The built-in name, or the absolute path of the file.
    pub origin: String,
    /// What it says.
    pub topology: Topology,
}

/// Why there is no topology.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(Fault),
    /// It can, but what it says is wrong: the topology, or else some of its policies. Never empty.
    #[error("{}", .0.iter().map(Faults::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Faults>),
}

/// Reads and checks the topology that `word` stands for, with its policies: a built-in name first, else a path. `lenient`
/// accepts a bare ARN as a policy's principal, which AWS refuses but people paste.
///
/// # Errors
/// [`SourceError`].
pub fn load(word: &str, lenient: bool) -> Result<Source, SourceError> {
    let (origin, text, checked) = match config::builtin(word) {
        Some(builtin) => (word.to_owned(), builtin.text.to_owned(), builtin.check()),
        None => {
            let (origin, text) = read_topology(word).map_err(|fault| {
                let built_in = config::BUILTIN_NAMES.join(", ");
                let remedy = format!("name a TOML file, or a built-in topology: {built_in}");
                let place = if word.is_empty() { "an empty name" } else { word };
                SourceError::Unreadable(fault.at(place).remedy(remedy))
            })?;
            let checked = config::check(&text, word, &|path| read(path));
            (origin, text, checked)
        }
    };
    let topology = checked.map_err(|faults| SourceError::Faults(vec![faults]))?;
    let faults = policy_faults(&topology, word, &text, lenient);
    if faults.is_empty() { Ok(Source { origin, topology }) } else { Err(SourceError::Faults(faults)) }
}

/// The file's absolute path, and its text.
fn read_topology(word: &str) -> Result<(String, String), Fault> {
    let cannot = || "cannot read the topology";
    let bytes = read(Path::new(word)).or_fault(cannot)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Fault::new(format!("cannot read the topology: it is no UTF-8 text, byte {at} is wrong"))
    })?;
    let path = std::path::absolute(word).or_fault(cannot)?;
    let origin = path.to_str().ok_or_else(|| Fault::new("the path of the topology is no UTF-8 text"))?;
    Ok((origin.to_owned(), text))
}

/// A whole file, unless it is too large to be one that was meant.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = File::open(path)?.take(FILE_LIMIT + 1).read_to_end(&mut bytes)?;
    let is_whole = u64::try_from(length).is_ok_and(|length| length <= FILE_LIMIT);
    if is_whole { Ok(bytes) } else { Err(io::ErrorKind::FileTooLarge.into()) }
}

/// The policy documents of a topology that AWS would refuse.
fn policy_faults(topology: &Topology, origin: &str, text: &str, lenient: bool) -> Vec<Faults> {
    let endpoint =
        topology.endpoints.iter().flat_map(|endpoint| &endpoint.policy).map(|policy| (PolicyKind::Endpoint, policy));
    let identities = topology.identities.iter().flat_map(|who| &who.policies);
    let functions = topology.functions.iter().filter_map(|function| function.policy.as_ref());
    let documents = endpoint
        .chain(identities.map(|policy| (PolicyKind::Identity, policy)))
        .chain(functions.map(|policy| (PolicyKind::Resource, policy)));
    let mut texts: Vec<Faults> = Vec::new();
    for (kind, policy) in documents {
        let parse =
            |lenient| Policy::parse_with(kind, &policy.text, ParseOptions { lenient }).err().unwrap_or_default();
        let mut found = parse(lenient);
        if found.is_empty() {
            continue;
        }
        let grave = if lenient { Vec::new() } else { parse(true) };
        for fault in found.iter_mut().filter(|fault| !lenient && !grave.contains(fault)) {
            let help = fault.help.take().map_or_else(String::new, |help| format!("{help} "));
            fault.help = Some(help + "(`--lenient` accepts it)");
        }
        let faults = placed(policy, found, origin, text);
        // What several name is told once, and everything of one file together.
        match texts.iter_mut().find(|known| known.origin == faults.origin) {
            Some(known) => {
                let news: Vec<_> = faults.list.into_iter().filter(|fault| !known.list.contains(fault)).collect();
                known.list.extend(news);
            }
            None => texts.push(faults),
        }
    }
    texts
}

/// Faults of a policy as faults of the text that a person edits: the topology if the document stands in it word for word.
fn placed(policy: &PolicyText, found: Vec<policy::Fault>, topology: &str, text: &str) -> Faults {
    let (origin, whole, start) = match quoted(text, &policy.text) {
        Some(start) => (topology, text, start),
        None => (policy.origin.as_str(), policy.text.as_str(), 0),
    };
    let list = found.into_iter().map(|fault| {
        let span = start + fault.span.start..start + fault.span.end;
        config::Fault::new(whole, span, fault.message, fault.help)
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

/// Makes the path profile called `name` the tunnel's.
///
/// # Errors
/// When the topology has none of that name.
pub fn use_path(topology: &mut Topology, name: &str) -> Result<(), Fault> {
    let known: Vec<&str> = topology.paths.iter().map(|path| path.name.as_str()).collect();
    if !known.contains(&name) {
        return Err(Fault::new(format!("no path profile {name:?}")).remedy(format!("use one of: {}", known.join(", "))));
    }
    name.clone_into(&mut topology.tunnel.path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = include_str!("../../netns/policies/blog-as-printed.json");
    const WITH_POLICY_FILE: &str = "[vpc]\ncidr = \"10.0.0.0/16\"\n[[subnet]]\ncidr = \"10.0.1.0/24\"\n[endpoint]\npolicy_file = \"policy.json\"\n";

    /// A folder with `lab.toml` and `policy.json`, and the path of the former.
    fn folder(topology: &str, policy: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("lab.toml"), topology).expect("written");
        std::fs::write(folder.path().join("policy.json"), policy).expect("written");
        let path = folder.path().join("lab.toml").display().to_string();
        (folder, path)
    }

    fn faults(word: &str, lenient: bool) -> Vec<Faults> {
        match load(word, lenient) {
            Err(SourceError::Faults(faults)) => faults,
            other => panic!("{word} is wrong: {other:?}"),
        }
    }

    #[test]
    fn a_built_in_topology_is_found_by_name_and_a_missing_file_says_what_to_name() {
        assert_eq!(load(DEFAULT, false).expect("built in").topology.name, "quickstart");
        let Err(SourceError::Unreadable(fault)) = load("/no/such.toml", false) else { panic!("unreadable") };
        assert_eq!(fault.place.as_deref(), Some("/no/such.toml"));
        assert!(fault.remedy.is_some_and(|remedy| remedy.ends_with("quickstart, blog")));
    }

    #[test]
    fn a_file_that_never_ends_is_refused() {
        let Err(SourceError::Unreadable(fault)) = load("/dev/zero", false) else { panic!("unreadable") };
        assert!(fault.what.contains("file too large"), "{fault}");
    }

    #[test]
    fn the_reference_is_sound_with_its_policies() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/netns/reference.toml");
        load(path, false).unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn the_policy_as_printed_is_refused_where_the_quote_is_wrong_and_mended_but_bare_only_if_lenient() {
        let (folder, path) = folder(WITH_POLICY_FILE, PRINTED);
        let shown = load(&path, true).expect_err("not even lenient").to_string();
        assert!(shown.contains("policy.json:10:77:") && shown.contains("U+201D"), "{shown}");

        std::fs::write(folder.path().join("policy.json"), PRINTED.replace('\u{201d}', "\"")).expect("mended");
        let shown = load(&path, false).expect_err("a bare principal").to_string();
        assert!(shown.contains("policy.json:4:26:"), "{shown}");
        assert!(shown.contains(r#"{"AWS": "arn:aws:iam::123412341234:user/MyUser"}"#), "{shown}");
        assert!(shown.ends_with("(`--lenient` accepts it)"), "{shown}");
        load(&path, true).expect("lenient");
    }

    #[test]
    fn a_policy_written_into_the_topology_is_marked_there_and_told_once_with_the_others() {
        let text = "[vpc]\ncidr = \"10.0.0.0/16\"\n[[subnet]]\ncidr = \"10.0.1.0/24\"\n[endpoint]\npolicy = '''\n{ \"Statement\": [\n  { \"Effect\": \"Alow\", \"Principal\": \"*\", \"Action\": \"*\", \"Resource\": \"*\" } ] }'''\n[[identity]]\nname = \"nobody\"\npolicy = \"no\"\n";
        let (_folder, path) = folder(text, "");
        let texts = faults(&path, false);
        let places: Vec<_> =
            texts.iter().flat_map(|t| t.list.iter().map(|f| (t.origin.as_str(), f.line, f.column))).collect();
        assert_eq!(places[0], (path.as_str(), 8, 15), "{texts:?}");
        assert_eq!(places[1].1, 11, "{texts:?}");
        assert_eq!(texts.len(), 1);
    }

    #[test]
    fn a_path_profile_must_exist() {
        let mut topology = load(DEFAULT, false).expect("built in").topology;
        use_path(&mut topology, "vpn").expect("known");
        assert_eq!(topology.tunnel.path, "vpn");
        use_path(&mut topology, "pigeon").expect_err("unknown");
    }
}
