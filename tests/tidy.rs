//! What the house rules say and no compiler checks: size, layering, words, links. Reads the source tree, runs nothing of it.
//!
//! That every key of the configuration stands in `netns/reference.toml` is tested where keys are read: `src/config/tests.rs`.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a Rust file may have, tests included.
const FILE_LINES: usize = 800;
/// Lines above its `#[cfg(test)]`.
const CODE_LINES: usize = 450;

/// Files that are longer, and how long they (or the code in those under `src`) may be. These numbers only ever get smaller.
const LONG_FILES: [(&str, usize); 1] = [("src/onprem/runtime_api.rs", 470)];

/// Pairs of modules in which the first knows the second although it stands below it. All on the edge: the endpoint process
/// hands its counters and logs to `observe` and describes functions by their code. No pair may be added.
const UPWARD: [(&str, &str); 3] = [("edge", "observe"), ("edge", "onprem"), ("onprem", "observe")];

#[derive(Debug)]
struct Source {
    /// Relative to the package's folder.
    name: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.name.ends_with(".rs")
    }

    fn is_markdown(&self) -> bool {
        self.name.ends_with(".md")
    }

    /// Code of the library and program, as opposed to tests, benches and fuzz targets.
    fn is_product(&self) -> bool {
        let is_test = self.name.ends_with("/tests.rs") || self.name.contains("/tests/");
        self.is_rust() && self.name.starts_with("src/") && !is_test
    }

    /// The lines above the tests, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        numbered.take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
    }

    /// The same without comments, string literals left in.
    fn statements(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
    }

    /// The module of the library it belongs to: `flow` for `src/flow/table.rs`.
    fn module(&self) -> Option<&str> {
        let path = self.name.strip_prefix("src/")?;
        Some(path.split('/').next()?.trim_end_matches(".rs"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file that people write here; not what tools make, nor what others published.
fn sources() -> Vec<Source> {
    const SKIPPED: [&str; 8] = [".git", "target", "corpus", "artifacts", "seeds", ".venv", "__pycache__", "data"];
    const KINDS: [&str; 8] = ["rs", "md", "toml", "py", "sh", "json", "yml", "html"];
    let (mut folders, mut found) = (vec![root().to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
            if entry.file_type().unwrap().is_dir() {
                if !SKIPPED.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if KINDS.contains(&kind) || ["justfile", "run", "install-clients"].contains(&name.as_str()) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push(Source { name, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(found.iter().filter(|source| source.is_product()).count() > 100, "the source tree was found");
    found
}

fn source(name: &str) -> Source {
    Source { name: name.to_owned(), text: fs::read_to_string(root().join(name)).unwrap() }
}

/// Fails with every finding at once.
#[track_caller]
fn none(rule: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{rule}\n  {}\n", findings.join("\n  "));
}

/// Whether `word` stands in `text` with no letter, digit or underscore beside it.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

#[test]
fn files_are_short() {
    let mut findings = Vec::new();
    let long: BTreeMap<_, _> = LONG_FILES.into();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let all = source.text.lines().count();
        let code = if source.is_product() { source.code().count() } else { all };
        let usual = if source.is_product() { CODE_LINES } else { FILE_LINES };
        let limit = long.get(source.name.as_str()).copied().unwrap_or(usual);
        if code > limit {
            findings.push(format!("{}: {code} lines of code, at most {limit}", source.name));
        } else if limit > usual && code <= usual {
            findings.push(format!("{}: short enough now, take it off LONG_FILES", source.name));
        } else if all > FILE_LINES.max(limit) {
            findings.push(format!("{}: {all} lines, at most {FILE_LINES}", source.name));
        }
    }
    none("split a file by ideas", findings);
}

#[test]
fn every_module_says_what_it_is() {
    let findings = sources()
        .iter()
        .filter(|source| source.is_rust() && !source.name.ends_with("/tests.rs") && !source.text.starts_with("//! "))
        .map(|source| source.name.clone())
        .collect();
    none("the first line is `//! ` and the module's purpose", findings);
}

#[test]
fn nothing_is_left_undone_or_switched_off_in_silence() {
    // In pieces, so that this file may be checked as well.
    let forbidden =
        [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("#[ign", "ore"), concat!("FIX", "ME")];
    // What other tests start as a process of its own is a test in form only.
    let helper = concat!("#[ign", "ore = \"run by other tests");
    let open = concat!("TO", "DO");
    // Papers that are not part of the tree.
    let elsewhere = concat!("(fac", "ts ");
    let mut findings = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let at = format!("{}:{}", source.name, number + 1);
            if source.is_rust() {
                let found = forbidden.iter().filter(|word| line.contains(**word) && !line.contains(helper));
                findings.extend(found.map(|word| format!("{at}: {word}")));
            }
            if line.contains(elsewhere) {
                findings.push(format!("{at}: cites what readers do not have"));
            }
            if has_word(line, open) && !line.contains(&format!("{open}(#")) {
                findings.push(format!("{at}: {open} without the number of an issue"));
            }
        }
    }
    none("finish it, or open an issue and name it", findings);
}

#[test]
fn white_space_is_what_it_seems() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust() || source.is_markdown()) {
        for (number, line) in source.text.lines().enumerate() {
            if line.ends_with([' ', '\t']) || (source.is_rust() && line.contains('\t')) {
                findings.push(format!("{}:{}", source.name, number + 1));
            }
        }
        if !source.text.is_empty() && !source.text.ends_with('\n') {
            findings.push(format!("{}: no end of line at the end", source.name));
        }
    }
    none("no trailing white space, no tabs", findings);
}

#[test]
fn no_file_names_a_folder_of_somebodys_machine() {
    let folders = [concat!("/wo", "rk/"), concat!("/tmp/", "wt"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];
    let mut findings = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let named = folders.iter().filter(|folder| line.contains(**folder));
            findings.extend(named.map(|folder| format!("{}:{}: {folder}", source.name, number + 1)));
        }
    }
    none("the project is the same on every machine", findings);
}

/// The library's modules in the order of lib.rs, which is the order in which a packet meets them.
fn modules() -> Vec<String> {
    let lib = source("src/lib.rs");
    let declared = lib.text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let modules: Vec<_> = declared.map(str::to_owned).collect();
    assert!(modules.len() >= 20, "{modules:?}");
    modules
}

#[test]
fn a_module_knows_those_above_it_only() {
    let modules = modules();
    let place = |name: &str| modules.iter().position(|module| module == name);
    let (mut findings, mut used) = (Vec::new(), BTreeSet::new());
    for source in sources().iter().filter(|source| source.is_product()) {
        let Some((module, own)) = source.module().and_then(|module| Some((module, place(module)?))) else { continue };
        for (number, line) in source.statements() {
            for after in line.split("crate::").skip(1) {
                let named: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                match place(&named) {
                    Some(other) if other > own && UPWARD.contains(&(module, named.as_str())) => {
                        used.insert((module.to_owned(), named));
                    }
                    Some(other) if other > own => {
                        findings.push(format!("{}:{number}: {module} knows {named}", source.name));
                    }
                    _ => {}
                }
            }
        }
    }
    let stale = UPWARD.iter().filter(|(from, to)| !used.contains(&((*from).to_owned(), (*to).to_owned())));
    findings.extend(stale.map(|pair| format!("{pair:?} is gone: take it off UPWARD")));
    none("a stage never knows a later one; move what both need up", findings);
}

#[test]
fn unsafe_code_stays_on_the_edge() {
    let findings = sources()
        .iter()
        .filter(|source| source.is_product() && !source.name.starts_with("src/edge/"))
        .flat_map(|source| {
            let lines =
                source.statements().filter(|(_, line)| has_word(line, "unsafe") || line.contains("unsafe_code"));
            lines.map(|(number, _)| format!("{}:{number}", source.name)).collect::<Vec<_>>()
        })
        .collect();
    none("unsafe code belongs under src/edge", findings);
}

/// Names of the stages, from verdict.rs, in order.
fn stages() -> Vec<String> {
    let verdict = source("src/verdict.rs");
    let body = verdict.text.split("pub const fn name(self)").nth(1).unwrap().split("\n    }\n").next().unwrap();
    let stages: Vec<_> = body.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(stages.first().map(String::as_str), Some("packet"));
    stages
}

#[test]
fn stages_modules_and_chapters_have_the_same_names_in_the_same_order() {
    let stages = stages();
    let of_stages = |names: Vec<String>| names.into_iter().filter(|name| stages.contains(name)).collect::<Vec<_>>();
    assert_eq!(of_stages(modules()), stages, "modules of lib.rs and stages of verdict.rs");
    let architecture = source("ARCHITECTURE.md");
    let headings = architecture.text.lines().filter(|line| line.starts_with('#'));
    let headings = headings.map(|line| line.trim_start_matches('#').trim().trim_matches('`').to_owned()).collect();
    assert_eq!(of_stages(headings), stages, "headings of ARCHITECTURE.md");
    for stage in stages {
        assert!(root().join("src").join(&stage).is_dir(), "src/{stage}/");
    }
}

#[test]
fn whatever_can_be_counted_is_counted_somewhere() {
    let verdict = source("src/verdict.rs");
    let product: Vec<_> = sources().into_iter().filter(|s| s.is_product() && s.name != "src/verdict.rs").collect();
    let mut uncounted = Vec::new();
    for kind in ["Event", "Reason"] {
        let body = verdict.text.split(&format!("    {kind} {{\n")).nth(1).unwrap().split("\n    }\n").next().unwrap();
        for line in body.lines().filter(|line| line.ends_with("\"),")) {
            let variant = format!("{kind}::{}", line.trim().split(' ').next().unwrap());
            if !product.iter().any(|source| source.statements().any(|(_, line)| has_word(line, &variant))) {
                uncounted.push(variant);
            }
        }
    }
    assert!(uncounted.is_empty(), "count it where it happens, or take it out of verdict.rs: {uncounted:?}");
}

/// The anchor that a heading gets when it is rendered.
fn slug(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Anchors of a Markdown text: its headings, and what `<a id="…">` names.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| slug(line.trim_start_matches('#')));
    let named = text.split("<a id=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
    headings.chain(named).collect()
}

/// What is wrong with a link to `target` from a file in `folder`, if anything is.
fn broken(folder: &Path, whole: &str, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file: PathBuf = folder.join(path);
    if !path.is_empty() && !file.exists() {
        return Some(format!("no file {path}"));
    }
    let text = if path.is_empty() { whole.to_owned() } else { fs::read_to_string(&file).unwrap_or_default() };
    let anchor = anchor.filter(|_| path.is_empty() || path.ends_with(".md"))?;
    (!anchors(&text).contains(anchor)).then(|| format!("no #{anchor} in {path}"))
}

#[test]
fn links_lead_somewhere() {
    let mut findings = Vec::new();
    for source in sources() {
        let folder = root().join(&source.name).parent().unwrap().to_path_buf();
        for (number, line) in source.text.lines().enumerate() {
            let at = |problem| format!("{}:{}: {problem}", source.name, number + 1);
            if source.is_markdown() {
                let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
                let local = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
                findings.extend(local.filter_map(|target| broken(&folder, &source.text, target)).map(at));
            } else {
                // Code names documents from the package's folder: `docs/fidelity.md#mtu`.
                let is_part = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '#' | '-' | '_');
                let named = line.match_indices("docs/").filter(|(at, _)| !line[..*at].ends_with(is_part));
                let targets = named.map(|(at, _)| line[at..].split(|c| !is_part(c)).next().unwrap_or_default());
                let targets =
                    targets.map(|target| target.trim_end_matches('.')).filter(|target| target.contains(".md"));
                findings.extend(targets.filter_map(|target| broken(root(), "", target)).map(at));
            }
        }
    }
    none("mend the link", findings);
}

#[test]
fn what_aws_leaves_open_is_in_the_fidelity_table() {
    let fidelity = source("docs/fidelity.md").text;
    let reference = source("netns/reference.toml").text;
    let open = reference.lines().filter(|line| line.contains("[?]") && line.contains(" = "));
    let keys: Vec<_> = open.filter_map(|line| line.split_once(" = ").map(|(key, _)| key.trim())).collect();
    assert!(keys.contains(&"other_port"), "{keys:?}");
    let missing = keys.into_iter().filter(|key| !fidelity.contains(&format!("{key}`"))).map(str::to_owned).collect();
    none("netns/reference.toml marks it [?]: docs/fidelity.md must say what was chosen, and why", missing);
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = source("Cargo.toml").text;
    let reasons = source("docs/decisions/0001-dependencies.md").text;
    let rust: Vec<_> = sources().into_iter().filter(|source| source.is_rust()).collect();
    let mut section = "";
    let mut findings = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let Some((name, _)) = line.split_once(" = ").filter(|_| section.ends_with("dependencies]")) else { continue };
        if !reasons.contains(&format!("`{name}`")) {
            findings.push(format!("{name}: docs/decisions/0001-dependencies.md does not say why it is needed"));
        }
        let in_code = name.replace('-', "_");
        if !rust.iter().any(|source| source.statements().any(|(_, line)| has_word(line, &in_code))) {
            findings.push(format!("{name}: no line of code names it"));
        }
    }
    assert!(manifest.contains("[dependencies]") && manifest.contains("[dev-dependencies]"));
    none("a dependency is used, and somebody can say why", findings);
}

#[test]
fn the_readme_names_every_command() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_vpce")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    // A description that is too long goes on in lines that are further in.
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names = names.filter(|name| !matches!(*name, "" | "help"));
    let readme = source("README.md").text;
    let missing: Vec<_> = names.filter(|name| !readme.contains(&format!("`vpce {name}"))).map(str::to_owned).collect();
    none("the README's table of commands lacks it", missing);
}

#[test]
fn the_checks_find_what_they_look_for() {
    assert!(has_word("let x = Event::FlowHit;", "Event::FlowHit") && !has_word("Event::FlowHits", "Event::FlowHit"));
    assert_eq!(slug(" The life of a packet"), "the-life-of-a-packet");
    let text = "# A title\n\n<a id=\"mtu\"></a>\n";
    assert_eq!((broken(root(), text, "#a-title"), broken(root(), text, "#mtu")), (None, None));
    assert!(broken(root(), text, "#absent").is_some());
    assert!(broken(root(), text, "no-such-file.md").is_some());
    assert_eq!(broken(root(), text, "Cargo.toml"), None);
    let source = Source { name: "src/flow/x.rs".into(), text: "a // b\n#[cfg(test)]\nmod tests {}\n".into() };
    assert_eq!((source.module(), source.is_product()), (Some("flow"), true));
    assert_eq!(source.statements().collect::<Vec<_>>(), [(1, "a ")]);
}
