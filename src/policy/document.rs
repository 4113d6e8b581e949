//! Documents: from JSON text to a compiled [`Policy`], or everything that is wrong with it.
//!
//! Source: IAM User Guide, `reference_policies_grammar` and `reference_policies_elements`.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::PolicyKind;
use super::compiled::{Patterns, Policy, Statement};
use super::fault::{Fault, Faults};
use super::json::{self, Json, Member, Node, shorten};
use super::operators;
use super::pattern::{self, Pattern};
use super::principal::{self, Principals};

/// The text that EC2 gives back for an endpoint whose policy was never set (PrivateLink guide, `vpc-endpoints-access`).
pub const FULL_ACCESS_DOCUMENT: &str = "{\n  \"Statement\": [\n    {\n      \"Action\": \"*\", \n      \"Effect\": \"Allow\", \n      \"Principal\": \"*\", \n      \"Resource\": \"*\"\n    }\n  ]\n}";

/// Endpoint policies: 20,480 characters including white space (AWS PrivateLink quotas). Lambda's resource policies: 20 KB.
const SIZE_LIMIT: usize = 20_480;
/// Identity policies: the largest of IAM's quotas (all inline policies of a role), which do not count white space.
const IDENTITY_SIZE_LIMIT: usize = 10_240;
/// No document of any kind is read if it is longer than this, white space or not. Bytes.
const TEXT_LIMIT: usize = 128 * 1024;

/// How forgiving the parser is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ParseOptions {
    /// Take a bare ARN or account for a principal (`"Principal": "arn:…"`) as if it were written `{"AWS": "arn:…"}`.
    pub lenient: bool,
}

impl Policy {
    /// Parses and compiles `text` as a policy of this kind, strictly.
    ///
    /// # Errors
    /// Every fault of the document: those of the JSON first, then those of the policy, each by position.
    pub fn parse(kind: PolicyKind, text: &str) -> Result<Self, Vec<Fault>> {
        Self::parse_with(kind, text, ParseOptions::default())
    }

    /// As [`Self::parse`], as forgiving as `options` say.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_with(kind: PolicyKind, text: &str, options: ParseOptions) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::new(text);
        check_size(kind, text, &mut faults);
        let mut statements = Vec::new();
        if text.len() <= TEXT_LIMIT
            && let Some(document) = json::read(text, &mut faults)
        {
            let mut compiler = Compiler { kind, options, variables: false, sids: HashSet::new(), faults: &mut faults };
            statements = compiler.document(&document);
        }
        if !faults.is_empty() {
            return Err(faults.into_list());
        }
        Ok(Self::of(kind, statements))
    }
}

fn check_size(kind: PolicyKind, text: &str, faults: &mut Faults<'_>) {
    let (what, size, limit) = match kind {
        PolicyKind::Endpoint => ("characters including white space", text.chars().count(), SIZE_LIMIT),
        PolicyKind::Resource => ("bytes", text.len(), SIZE_LIMIT),
        PolicyKind::Identity => {
            let size = text.chars().filter(|c| !c.is_whitespace()).count();
            ("characters without white space", size, IDENTITY_SIZE_LIMIT)
        }
    };
    let end = text.len()..text.len();
    if size > limit {
        faults.add(&end, format!("{size} {what}: {} policies have at most {limit}", kind.adjective()));
    } else if text.len() > TEXT_LIMIT {
        faults.add(&end, format!("{} bytes: a document has at most {TEXT_LIMIT}", text.len()));
    }
}

struct Compiler<'f, 't> {
    kind: PolicyKind,
    options: ParseOptions,
    /// The document's version knows policy variables.
    variables: bool,
    sids: HashSet<String>,
    faults: &'f mut Faults<'t>,
}

const DOCUMENT_ELEMENTS: [&str; 3] = ["Version", "Id", "Statement"];
const STATEMENT_ELEMENTS: [&str; 9] =
    ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];

impl<'t> Compiler<'_, 't> {
    fn document(&mut self, document: &Node<'t>) -> Vec<Statement> {
        let Json::Object(members) = &document.json else {
            self.faults.add(&document.span, format!("a policy is an object, not {}", document.json.kind()));
            return Vec::new();
        };
        self.unknown_elements(members, &DOCUMENT_ELEMENTS, "a policy");
        self.version(find(members, "Version"));
        if let Some(id) = find(members, "Id")
            && !matches!(id.json, Json::String(_))
        {
            self.faults.add(&id.span, format!("Id is {}; a string belongs there", id.json.kind()));
        }
        match find(members, "Statement").map(|node| (node, &node.json)) {
            Some((node, Json::Object(_))) => vec![self.statement(node)],
            Some((node, Json::Array(nodes))) => {
                if nodes.is_empty() {
                    self.faults.add(&node.span, "a policy without a statement");
                }
                nodes.iter().map(|node| self.statement(node)).collect()
            }
            Some((node, other)) => {
                self.faults
                    .add(&node.span, format!("Statement is {}; an object or a list belongs there", other.kind()));
                Vec::new()
            }
            None => {
                self.faults.add(&document.span, "a policy without a Statement");
                Vec::new()
            }
        }
    }

    /// Only 2012-10-17 knows policy variables; without a version a document is of 2008-10-17.
    fn version(&mut self, node: Option<&Node<'t>>) {
        match node.map(|node| (node, &node.json)) {
            None => {}
            Some((_, Json::String(version))) if version == "2012-10-17" => self.variables = true,
            Some((_, Json::String(version))) if version == "2008-10-17" => {}
            Some((node, _)) => {
                let message = "an unknown Version; it is the date of the policy language, not of this policy";
                self.faults.help(
                    &node.span,
                    message,
                    "write \"2012-10-17\" (or \"2008-10-17\", which has no variables)",
                );
            }
        }
    }

    fn statement(&mut self, node: &Node<'t>) -> Statement {
        let empty: &[Member<'t>] = &[];
        let members = match &node.json {
            Json::Object(members) => members.as_slice(),
            other => {
                self.faults.add(&node.span, format!("a statement is an object, not {}", other.kind()));
                empty
            }
        };
        if matches!(node.json, Json::Object(_)) {
            self.unknown_elements(members, &STATEMENT_ELEMENTS, "a statement");
            self.required(members, &node.span);
        }
        let allow = self.effect(find(members, "Effect"));
        let variables = self.variables;
        let conditions = find(members, "Condition")
            .map(|node| operators::Compiler { kind: self.kind, variables, faults: self.faults }.block(node));
        Statement {
            sid: self.sid(find(members, "Sid")),
            allow,
            principals: self.principals(members, allow),
            actions: self.patterns(members, "Action", "NotAction", action),
            resources: self.patterns(members, "Resource", "NotResource", resource),
            conditions: conditions.unwrap_or_default(),
        }
    }

    fn unknown_elements(&mut self, members: &[Member<'t>], known: &[&str], of: &str) {
        for member in members {
            let name = &*member.name;
            if known.contains(&name) {
                continue;
            }
            let message = format!("\"{}\" is not an element of {of}", shorten(name));
            let singular = name.strip_suffix(['s', 'S']).unwrap_or(name);
            let close = known.iter().find(|k| k.eq_ignore_ascii_case(name) || k.eq_ignore_ascii_case(singular));
            match close {
                Some(close) => self.faults.help(&member.name_span, message, format!("did you mean \"{close}\"?")),
                None => self.faults.help(&member.name_span, message, format!("the elements are {}", known.join(", "))),
            }
        }
    }

    /// Elements that must be there, and pairs of which one excludes the other.
    fn required(&mut self, members: &[Member<'t>], span: &Range<usize>) {
        // A statement may be long; a fault about the whole of it points at its opening brace.
        let open = span.start..span.start + 1;
        if find(members, "Effect").is_none() {
            self.faults.help(&open, "a statement without Effect", "add \"Effect\": \"Allow\" or \"Deny\"");
        }
        for (element, not) in [("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource")] {
            let (this, other) = (member(members, element), member(members, not));
            if let (Some(_), Some(other)) = (this, other) {
                self.faults.add(&other.name_span, format!("{element} and {not} exclude each other"));
            }
            let attached = element == "Principal" && self.kind == PolicyKind::Identity;
            if attached {
                for member in [this, other].into_iter().flatten() {
                    let message =
                        format!("{} in an identity policy: it applies to whom it is attached to", member.name);
                    self.faults.help(&member.name_span, message, "delete it");
                }
            } else if this.is_none() && other.is_none() {
                let message = format!("a statement of {} policy without {element}", self.kind.article());
                let help = match element {
                    "Principal" => {
                        "say whom it applies to: \"Principal\": \"*\", or {\"AWS\": \"arn:aws:iam::…\"}".into()
                    }
                    _ => format!("add \"{element}\""),
                };
                self.faults.help(&open, message, help);
            }
        }
    }

    fn effect(&mut self, node: Option<&Node<'t>>) -> bool {
        let Some(node) = node else { return false };
        match &node.json {
            Json::String(effect) if effect == "Allow" => true,
            Json::String(effect) if effect == "Deny" => false,
            _ => {
                self.faults.help(&node.span, "an unknown Effect", "write \"Allow\" or \"Deny\"; case matters");
                false
            }
        }
    }

    /// An empty Sid is none. IAM takes letters and digits alone; services are freer in what is attached to their resources.
    fn sid(&mut self, node: Option<&Node<'t>>) -> Option<Arc<str>> {
        let node = node?;
        let Json::String(sid) = &node.json else {
            self.faults.add(&node.span, format!("Sid is {}; a string belongs there", node.json.kind()));
            return None;
        };
        if sid.is_empty() {
            return None;
        }
        if self.kind == PolicyKind::Identity && !sid.bytes().all(|b| b.is_ascii_alphanumeric()) {
            self.faults.add(&node.span, "the Sid of an identity policy has only letters and digits");
        }
        if !self.sids.insert(sid.to_string()) {
            self.faults.add(&node.span, format!("the Sid \"{}\" was given to an earlier statement", shorten(sid)));
        }
        Some(Arc::from(&**sid))
    }

    fn principals(&mut self, members: &[Member<'t>], allow: bool) -> Principals {
        if self.kind == PolicyKind::Identity {
            return Principals::Attached;
        }
        let lenient = self.options.lenient;
        if let Some(node) = find(members, "Principal") {
            return Principals::Only(principal::parse(node, "Principal", lenient, self.faults));
        }
        let Some(member) = member(members, "NotPrincipal") else { return Principals::Only(Box::default()) };
        if allow {
            let message = "NotPrincipal with Allow would allow everyone else, strangers included";
            self.faults.help(&member.name_span, message, "use NotPrincipal with Deny only");
        }
        Principals::AllBut(principal::parse(&member.value, "NotPrincipal", lenient, self.faults))
    }

    fn patterns(
        &mut self,
        members: &[Member<'t>],
        element: &str,
        not: &str,
        compile: fn(&Text<'_>, &mut Faults<'t>) -> Option<Pattern>,
    ) -> Patterns {
        let (kind, variables) = (self.kind, self.variables);
        let mut any_of = Vec::new();
        let (name, node) = match (find(members, element), find(members, not)) {
            (Some(node), _) => (element, Some(node)),
            (None, node) => (not, node),
        };
        if let Some(node) = node {
            principal::strings(node, name, self.faults, |text, span, faults| {
                any_of.extend(compile(&Text { text, span, kind, variables }, faults));
            });
        }
        Patterns { negated: name == not && node.is_some(), any_of: any_of.into() }
    }
}

/// A string of an `Action` or `Resource`, and what its meaning depends on.
struct Text<'a> {
    text: &'a str,
    span: &'a Range<usize>,
    kind: PolicyKind,
    variables: bool,
}

fn member<'n, 't>(members: &'n [Member<'t>], name: &str) -> Option<&'n Member<'t>> {
    members.iter().find(|member| member.name == name)
}

fn find<'n, 't>(members: &'n [Member<'t>], name: &str) -> Option<&'n Node<'t>> {
    member(members, name).map(|member| &member.value)
}

fn action(text: &Text<'_>, faults: &mut Faults<'_>) -> Option<Pattern> {
    let &Text { text, span, .. } = text;
    if matches!(text, "*" | "*:*") {
        return Some(Pattern::Any);
    }
    let is_service = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_name = |c: char| c.is_ascii_alphanumeric() || "*?-_".contains(c);
    let (service, name) = text.split_once(':').unwrap_or_default();
    if service.is_empty() || name.is_empty() || !service.chars().all(is_service) || !name.chars().all(is_name) {
        let message = format!("\"{}\" is not an action", shorten(text));
        faults.help(span, message, "actions look like lambda:InvokeFunction or lambda:Get*; * is all of them");
        return None;
    }
    Some(pattern::action(text))
}

fn resource(text: &Text<'_>, faults: &mut Faults<'_>) -> Option<Pattern> {
    let &Text { text, span, kind, variables } = text;
    if text == "*" {
        return Some(Pattern::Any);
    }
    let fields = pattern::arn_fields(text, variables);
    let field = |i: usize| fields.get(i).copied().unwrap_or_default();
    // A region that ends in * reaches beyond its colon, so that what looks like the account need not be.
    let (partition, service, account) = (field(1), field(2), field(4));
    let head = &text[..text.len() - field(5).len()];
    let shown = shorten(text);
    let fault = if field(0) != "arn" {
        Some((format!("\"{shown}\" is neither an ARN nor *"), "write arn:aws:lambda:region:account:function:name"))
    } else if variables && head.contains("${") {
        Some((
            format!("\"{shown}\" has a variable before its fifth colon"),
            "variables stand in the last field of an ARN",
        ))
    } else if !partition.starts_with("aws") || partition.contains(['*', '?']) {
        Some((format!("\"{shown}\" names no partition"), "the partitions are aws, aws-cn, aws-us-gov …"))
    } else if service.contains(['*', '?']) {
        Some((format!("\"{shown}\" has a wildcard for the service"), "name the service: arn:aws:lambda:…"))
    } else if !field(3).ends_with('*') && !operators::is_account_field(account) {
        Some((format!("\"{shown}\" names no account"), "an account has twelve digits; * is any"))
    } else if fields.len() < 6 && kind != PolicyKind::Identity && !text.ends_with('*') {
        Some((
            format!("\"{shown}\" is an ARN with fewer than six fields"),
            "write arn:partition:service:region:account:resource",
        ))
    } else {
        None
    };
    if let Some((message, help)) = fault {
        faults.help(span, message, help);
        return None;
    }
    if kind == PolicyKind::Endpoint {
        operators::account_field(text, span, faults);
    }
    // "When you specify an incomplete ARN … in an identity-based policy, AWS automatically completes the ARN by adding
    // wildcard characters (*) to all missing fields" (reference-arns).
    let completed = match kind {
        PolicyKind::Identity => format!("{text}{}", ":*".repeat(6 - fields.len())),
        PolicyKind::Endpoint | PolicyKind::Resource => text.to_owned(),
    };
    Some(pattern::resource(&completed, span, variables, faults))
}
