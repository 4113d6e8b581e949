//! `Principal` and `NotPrincipal`.
//!
//! Source: IAM User Guide, `reference_policies_elements_principal` and `reference_policies_elements_notprincipal`.

use std::ops::Range;

use super::context::Caller;
use super::fault::Faults;
use super::json::{Json, Node, shorten};

/// Whom a statement applies to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Principals {
    /// The identity that the policy is attached to: identity policies name nobody.
    Attached,
    /// `Principal`.
    Only(Box<[Named]>),
    /// `NotPrincipal`.
    AllBut(Box<[Named]>),
}

/// One entry of a principal map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Named {
    /// `*`.
    Anyone,
    /// An account, by its number or its root ARN.
    Account(Box<str>),
    /// A user, role, role session or federated session.
    Arn(Box<str>),
    /// A service, an identity provider or an S3 canonical user: valid, and never one of our callers.
    Elsewhere,
}

/// How a caller is meant by a statement's principals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Meant {
    /// Not at all.
    No,
    /// As a member of a named account: authority is delegated to the account, whose identity policies decide.
    ByAccount,
    /// By name, as anyone, or as the identity that the policy is attached to.
    Directly,
}

impl Principals {
    #[inline]
    pub(super) fn mean(&self, caller: &Caller<'_>) -> Meant {
        match self {
            Self::Attached => Meant::Directly,
            Self::Only(named) => named.iter().map(|one| one.means(caller)).max().unwrap_or(Meant::No),
            Self::AllBut(named) if all_named(named, caller) => Meant::No,
            Self::AllBut(_) => Meant::Directly,
        }
    }
}

impl Named {
    fn means(&self, caller: &Caller<'_>) -> Meant {
        match self {
            Self::Anyone => Meant::Directly,
            Self::Account(id) if **id != *caller.account => Meant::No,
            Self::Account(_) if caller.is_root() => Meant::Directly,
            Self::Account(_) => Meant::ByAccount,
            Self::Arn(arn) if **arn == *caller.arn || Some(&**arn) == caller.role_arn => Meant::Directly,
            Self::Arn(_) | Self::Elsewhere => Meant::No,
        }
    }
}

/// `NotPrincipal` spares a caller only if it lists everything the caller is: the user and its account, or the role session,
/// its role and their account ("you must also specify the account ARN", `reference_policies_elements_notprincipal`).
fn all_named(named: &[Named], caller: &Caller<'_>) -> bool {
    let lists_arn = |wanted: &str| named.iter().any(|one| matches!(one, Named::Arn(arn) if **arn == *wanted));
    let lists_account = named.iter().any(|one| matches!(one, Named::Account(id) if **id == *caller.account));
    let anyone = named.contains(&Named::Anyone);
    anyone || (lists_account && (caller.is_root() || lists_arn(caller.arn)) && caller.role_arn.is_none_or(lists_arn))
}

/// Reads the value of `Principal` or `NotPrincipal` (`element`).
pub(super) fn parse(node: &Node<'_>, element: &str, lenient: bool, faults: &mut Faults<'_>) -> Box<[Named]> {
    let mut named = Vec::new();
    match &node.json {
        Json::String(text) if text == "*" => named.push(Named::Anyone),
        Json::String(text) if lenient => named.extend(aws(text, &node.span, faults)),
        Json::String(text) => {
            let message = format!("{element} is a bare string; IAM wants \"*\" or a map from the kind of principal");
            faults.help(&node.span, message, format!("write \"{element}\": {{\"AWS\": \"{}\"}}", shorten(text)));
        }
        Json::Object(members) if !members.is_empty() => {
            for member in members {
                let read = match &*member.name {
                    "AWS" => aws,
                    "Service" | "Federated" | "CanonicalUser" => elsewhere,
                    other => {
                        let message = format!("\"{}\" is not a kind of principal", shorten(other));
                        faults.help(
                            &member.name_span,
                            message,
                            "the kinds are AWS, Service, Federated and CanonicalUser",
                        );
                        continue;
                    }
                };
                strings(&member.value, &member.name, faults, |text, span, faults| {
                    named.extend(read(text, span, faults))
                });
            }
        }
        Json::Object(_) => faults.add(&node.span, format!("{element} names nobody")),
        other => {
            let message = format!("{element} is {}; IAM wants \"*\" or a map from the kind of principal", other.kind());
            faults.help(&node.span, message, format!("write \"{element}\": {{\"AWS\": [\"arn:aws:iam::…\"]}}"));
        }
    }
    named.into()
}

fn elsewhere(text: &str, span: &Range<usize>, faults: &mut Faults<'_>) -> Option<Named> {
    if text.is_empty() || text.contains(['*', '?']) {
        faults.add(span, "services, providers and canonical users are named in full, without wildcards");
        return None;
    }
    Some(Named::Elsewhere)
}

fn aws(text: &str, span: &Range<usize>, faults: &mut Faults<'_>) -> Option<Named> {
    if text == "*" {
        return Some(Named::Anyone);
    }
    if is_account(text) {
        return Some(Named::Account(text.into()));
    }
    if text.contains(['*', '?']) {
        let message = format!("a wildcard cannot match part of a principal: \"{}\"", shorten(text));
        let help = "use Principal \"*\" and a Condition with ArnLike on aws:PrincipalArn";
        faults.help(span, message, help);
        return None;
    }
    if let Some(named) = principal_arn(text) {
        return Some(named);
    }
    let message = format!("\"{}\" is not a principal", shorten(text));
    let help = "name an account (twelve digits), its root, a user, a role or a role session by its ARN, or \"*\"";
    faults.help(span, message, help);
    None
}

fn principal_arn(text: &str) -> Option<Named> {
    let mut fields = text.splitn(6, ':');
    let mut next = || fields.next();
    let (arn, partition, service, region, account, resource) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let partition_ok = partition.starts_with("aws") && partition.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if arn != "arn" || !partition_ok || !region.is_empty() || !is_account(account) {
        return None;
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-/".contains(c);
    let (kind, name) = match resource.split_once('/') {
        Some((kind, name)) if !name.is_empty() && !name.ends_with('/') && name.chars().all(is_name) => (kind, name),
        Some(_) => return None,
        None => (resource, ""),
    };
    match (service, kind, name) {
        ("iam", "root", "") => Some(Named::Account(account.into())),
        ("iam", "user" | "role", name) if !name.is_empty() => Some(Named::Arn(text.into())),
        ("sts", "assumed-role", name) if name.contains('/') => Some(Named::Arn(text.into())),
        ("sts", "federated-user", name) if !name.is_empty() => Some(Named::Arn(text.into())),
        _ => None,
    }
}

/// Whether `text` is an account number.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Calls `each` for a string, or for every string of a list that has at least one.
pub(super) fn strings<'f>(
    node: &Node<'_>,
    element: &str,
    faults: &mut Faults<'f>,
    mut each: impl FnMut(&str, &Range<usize>, &mut Faults<'f>),
) {
    match &node.json {
        Json::String(text) => each(text, &node.span, faults),
        Json::Array(items) if items.is_empty() => faults.add(&node.span, format!("{element} is an empty list")),
        Json::Array(items) => {
            for item in items {
                match &item.json {
                    Json::String(text) => each(text, &item.span, faults),
                    other => faults.add(&item.span, format!("{element} lists {} where a string belongs", other.kind())),
                }
            }
        }
        other => {
            let message = format!("{element} is {}; a string or a list of strings belongs there", other.kind());
            faults.add(&node.span, message);
        }
    }
}
