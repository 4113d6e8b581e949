//! Puts the sections together: text in, a checked [`Topology`] or every fault out.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::address::Taken;
use super::endpoint::Surroundings;
use super::fault::{Faults, RawFault};
use super::model::*;
use super::reader::{At, Reader, Section, closest};
use super::{endpoint, network, path, region, site, workload};

/// Largest text that is read at all.
const TEXT_BYTES: usize = 4 << 20;

/// Reads and checks a topology.
///
/// `origin` names the text in messages; when it is a path, files that the text mentions are looked for beside it. `files`
/// reads one of them: the core opens none itself.
///
/// # Errors
/// Everything that is wrong, not only the first thing. Text that is not TOML is reported as far as the parser can tell;
/// its meaning is then not checked.
pub fn check(text: &str, origin: &str, files: &dyn Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Topology, Faults> {
    let reader = Reader::default();
    let topology = read(&reader, text, origin, files);
    match topology {
        Ok(topology) => {
            let faults = reader.into_faults();
            if faults.is_empty() { Ok(topology) } else { Err(Faults::new(origin, text, faults)) }
        }
        Err(syntax) => Err(Faults::new(origin, text, syntax)),
    }
}

/// The same, with the faults left in `reader`; `Err` is for text that is not TOML.
pub(super) fn read(
    reader: &Reader,
    text: &str,
    origin: &str,
    files: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Topology, Vec<RawFault>> {
    if text.len() > TEXT_BYTES {
        let message = format!("the text has more than {TEXT_BYTES} bytes");
        return Err(vec![RawFault { span: 0..0, message, help: None }]);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let raw = |error: &toml::de::Error| RawFault {
            span: error.span().unwrap_or(0..0),
            message: error.message().trim().to_owned(),
            help: None,
        };
        return Err(errors.iter().map(raw).collect());
    }
    let files = Files { reader, directory: Path::new(origin).parent().unwrap_or_else(|| Path::new("")), load: files };
    let root = Section::new(reader, Some(document.get_ref()), 0..0, String::new());
    Ok(topology(&root, origin, &files))
}

fn topology(root: &Section<'_>, origin: &str, files: &Files<'_>) -> Topology {
    let name = root.parsed("name", |text| {
        let sound = sanitized(text) == text && text.len() <= 32;
        if sound {
            Ok(text.to_owned())
        } else {
            Err(format!("is \"{text}\", not a lab's name: a-z, 0-9 and -, at most 32"))
        }
    });
    let name = name.map_or_else(|| stem(origin), |at| at.value);
    let region = root.parsed("region", |text| match region::partition(text) {
        Ok(partition) => Ok((text.to_owned(), partition)),
        Err(Some(near)) => Err(format!("is \"{text}\", not a region with Lambda: did you mean \"{near}\"?")),
        Err(None) => Err(format!("is \"{text}\", not a region with Lambda, such as \"us-east-2\"")),
    });
    let (region, partition) = match region {
        Some(region) => (Some(region.value.0), region.value.1),
        None if root.has("region") => (None, "aws"),
        None => (Some("us-east-2".to_owned()), "aws"),
    };
    let account = root.parsed("account", |text| {
        let sound = workload::is_account(text);
        if sound {
            Ok(text.to_owned())
        } else {
            Err(format!("is \"{text}\", not an account: twelve digits, in quotes"))
        }
    });
    let account = account.map_or_else(|| "123456789012".to_owned(), |at| at.value);

    let mut names = Names::new(&name);
    let mut taken = Taken::default();

    let vpc_section = root.section("vpc");
    if !vpc_section.is_present() && !root.has("vpc") {
        root.missing("vpc", "add a [vpc] with its `cidr`");
    }
    // Absent, its own missing keys are not news.
    let (vpc, vpc_ranges) =
        if vpc_section.is_present() { network::vpc(&vpc_section, &mut names) } else { absent_vpc(&mut names) };
    let network_acls = network::network_acls(&root.sections("network_acl"), &mut names);
    let prefix_lists = network::prefix_lists(&root.sections("prefix_list"), &mut names);
    let subnets = network::subnets(root, vpc_ranges, region.as_deref(), &mut names);
    let groups = root.sections("security_group");
    let security_groups = network::security_groups(&groups, &prefix_lists, vpc.cidr6.is_some(), &mut names);
    if let Some(resolver) = vpc_ranges.v4.map(|_| vpc.resolver()) {
        // It may lie inside the first subnet, whose third address is reserved anyway.
        taken.claim(root.reader, resolver.into(), "the VPC's resolver", &vpc_section.span);
    }

    let around = Surroundings { vpc: &vpc, subnets: &subnets, files };
    let resolver = endpoint::resolver(&root.section("resolver"), &subnets, &mut taken);
    let (on_premises, on_premises_ranges) = site::on_premises(&root.section("on_premises"), vpc_ranges, &mut taken);
    let hosts = site::hosts(&root.sections("host"), &subnets, on_premises_ranges, &mut names, &mut taken);
    let endpoint_section = root.section("endpoint");
    let (endpoint, settings) = endpoint::endpoint(&endpoint_section, &around, &mut names, &mut taken);
    let paths = path::paths(&root.section("path"));
    let tunnel = site::tunnel(&root.section("tunnel"), &paths, vpc_ranges, on_premises_ranges);
    let identities = workload::identities(&root.sections("identity"), &account, partition, files);
    let functions = workload::functions(&root.sections("function"), files);

    Topology {
        name,
        region: region.unwrap_or_default(),
        partition: partition.to_owned(),
        account,
        vpc,
        subnets: subnets.into_iter().map(|(subnet, _)| subnet).collect(),
        network_acls,
        prefix_lists,
        security_groups,
        endpoints: vec![endpoint],
        settings,
        resolver,
        hosts,
        on_premises,
        tunnel,
        paths,
        identities,
        functions,
    }
}

fn absent_vpc(names: &mut Names) -> (Vpc, network::Ranges) {
    let id = names.derive("vpc", 0);
    names.push("vpc", &id);
    let vpc = Vpc { id, cidr: Default::default(), cidr6: None, dns_support: true, dns_hostnames: true };
    (vpc, network::Ranges::default())
}

/// The lab's name when the file gives none: the file's own, made to fit.
fn stem(origin: &str) -> String {
    let stem =
        Path::new(origin).file_stem().map(|stem| stem.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let mut name = sanitized(&stem);
    name.truncate(32);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "lab".to_owned() } else { name.to_owned() }
}

/// Only lower-case letters, digits and inner hyphens.
fn sanitized(text: &str) -> String {
    let kept: String =
        text.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
    kept.trim_matches('-').to_owned()
}

/// Files that the text mentions.
pub(super) struct Files<'a> {
    reader: &'a Reader,
    directory: &'a Path,
    load: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

impl Files<'_> {
    /// A path as the text gives it, seen from the text's own place.
    pub(super) fn locate(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// The text of a file; a fault at its mention when it cannot be read.
    pub(super) fn text(&self, section: &Section<'_>, mention: &At<&str>) -> Option<String> {
        let path = self.locate(Path::new(mention.value));
        match (self.load)(&path).map(String::from_utf8) {
            Ok(Ok(text)) => Some(text),
            Ok(Err(error)) => {
                let at = error.utf8_error().valid_up_to();
                section.fault(&mention.span, format!("{} is not UTF-8 text: byte {at} is wrong", path.display()));
                None
            }
            Err(error) => {
                self.reader.fault_with_help(
                    &mention.span,
                    format!("cannot read {}: {error}", path.display()),
                    "paths are seen from the folder of the configuration",
                );
                None
            }
        }
    }
}

/// Policy documents of a section: `policy` holds the JSON itself, `policy_file` names files; either may be a list.
/// What the documents say is for the policy stage to judge.
pub(super) fn policy_texts(section: &Section<'_>, origin: &str, files: &Files<'_>) -> Vec<PolicyText> {
    let texts = one_or_more(section, "policy");
    let single = texts.len() == 1;
    let written = texts.into_iter().enumerate().map(|(index, at)| {
        let origin = if single { origin.to_owned() } else { format!("{origin} ({})", index + 1) };
        PolicyText { origin, text: at.value.to_owned() }
    });
    let mut policies: Vec<_> = written.collect();
    for mention in one_or_more(section, "policy_file") {
        if let Some(text) = files.text(section, &mention) {
            let origin = files.locate(Path::new(mention.value)).display().to_string();
            policies.push(PolicyText { origin, text });
        }
    }
    policies
}

/// A string, or a list of strings.
fn one_or_more<'r>(section: &Section<'r>, key: &str) -> Vec<At<&'r str>> {
    match section.value(key).map(|found| found.get_ref()) {
        Some(DeValue::Array(_)) => section.strings(key),
        _ => section.string(key).into_iter().collect(),
    }
}

/// Identifiers by kind, in the order of the file, so that references become indices.
#[derive(Debug)]
pub(super) struct Names {
    lab: String,
    ids: HashMap<&'static str, Vec<String>>,
    /// Index of the VPC's default security group.
    pub(super) default_group: usize,
}

impl Names {
    fn new(lab: &str) -> Self {
        Self { lab: lab.to_owned(), ids: HashMap::new(), default_group: 0 }
    }

    /// Reads an identifier `kind-…` or derives one; a wrong or repeated one is a fault. It is noted either way, so that
    /// references to it are not faults too.
    pub(super) fn id(&mut self, section: &Section<'_>, key: &str, kind: &'static str, index: usize) -> String {
        let Some(At { value, span }) = section.string(key) else {
            let derived = self.derive(kind, index);
            self.push(kind, &derived);
            return derived;
        };
        let hex = value.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
        let digits = hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !digits || !(hex.len() == 8 || hex.len() == 17) {
            section.fault(&span, format!("{} is \"{value}\", not `{kind}-` and 8 or 17 of 0-9 a-f", section.name(key)));
        }
        if self.find(kind, value).is_some() {
            section.fault(&span, format!("{value} is given twice"));
        }
        self.push(kind, value);
        value.to_owned()
    }

    pub(super) fn push(&mut self, kind: &'static str, id: &str) {
        self.ids.entry(kind).or_default().push(id.to_owned());
    }

    /// The index of an identifier among its kind.
    pub(super) fn find(&self, kind: &str, id: &str) -> Option<usize> {
        self.ids.get(kind)?.iter().position(|known| known == id)
    }

    /// Reads an optional reference; one that leads nowhere is a fault.
    pub(super) fn reference(&self, section: &Section<'_>, key: &str, kind: &str) -> Option<usize> {
        let At { value, span } = section.string(key)?;
        let found = self.find(kind, value);
        if found.is_none() {
            self.unresolved(section, key, kind, value, &span);
        }
        found
    }

    pub(super) fn unresolved(&self, section: &Section<'_>, key: &str, kind: &str, id: &str, span: &Range<usize>) {
        let message = format!("{} names {id}, which does not exist", section.name(key));
        let known = self.ids.get(kind).into_iter().flatten().map(String::as_str);
        match closest(id, known.clone()) {
            Some(near) => section.fault_with_help(span, message, format!("did you mean {near}?")),
            None if known.clone().next().is_none() => section.fault(span, message),
            None => {
                section.fault_with_help(span, message, format!("there are {}", known.collect::<Vec<_>>().join(", ")))
            }
        }
    }

    /// An identifier that is the same in every run of the same lab.
    pub(super) fn derive(&self, kind: &str, index: usize) -> String {
        format!("{kind}-0{:016x}", self.hash(kind, index))
    }

    /// The eight characters behind the endpoint's id in its DNS names.
    pub(super) fn token(&self) -> String {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut hash = self.hash("token", 0);
        let next = std::iter::repeat_with(|| {
            let index = usize::try_from(hash % 36).unwrap_or(0);
            hash /= 36;
            char::from(ALPHABET[index])
        });
        next.take(8).collect()
    }

    /// FNV-1a of the lab's name, the kind and the place.
    fn hash(&self, kind: &str, index: usize) -> u64 {
        let bytes = self.lab.bytes().chain([0]).chain(kind.bytes()).chain(index.to_be_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}
