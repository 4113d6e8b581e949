//! Function names: plain, partial ARN, full ARN, with or without a qualifier.
//!
//! The grammar is the `NamespacedFunctionName` pattern of the service model, matched as a regular expression would: each
//! optional part is taken if the rest then still matches. Where AWS's recorded answers are stricter than its pattern, the
//! answers win: a name that starts with `arn:` needs region and account. Odd and recorded: an ARN that ends in `function`
//! is a function of that name.

use std::rc::Rc;

use super::error::{ApiError, Violations};

/// Longest `FunctionName`, characters (service model).
const NAME_MAX: usize = 256;
/// Longest `Qualifier`, characters (service model).
const QUALIFIER_MAX: usize = 128;
/// The pattern as AWS prints it.
const NAME_PATTERN: &str = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";
/// The pattern as AWS prints it.
const QUALIFIER_PATTERN: &str = r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+";

/// The unpublished version, which an unqualified name stands for.
pub const LATEST: &str = "$LATEST";

/// A function name taken apart. Parts that were not given are `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FunctionName<'a> {
    /// `aws`; only from an ARN.
    pub partition: Option<&'a str>,
    /// `us-east-2`.
    pub region: Option<&'a str>,
    /// Twelve digits.
    pub account: Option<&'a str>,
    /// The name itself.
    pub name: &'a str,
    /// Version or alias.
    pub qualifier: Option<&'a str>,
}

impl<'a> FunctionName<'a> {
    /// Takes a percent-decoded name apart; `None` if it does not match the pattern.
    pub fn parse(raw: &'a str) -> Option<Self> {
        // The longest form has eight parts: arn:aws:lambda:region:account:function:name:qualifier.
        let mut parts = [""; 8];
        let mut len = 0;
        for part in raw.split(':') {
            *parts.get_mut(len)? = part;
            len += 1;
        }
        let parts = parts.get(..len)?;
        match parts {
            ["arn", partition, "lambda", rest @ ..] if is_partition(partition) => {
                let found = Self::namespaced(rest)?;
                (found.region.is_some() && found.account.is_some())
                    .then_some(Self { partition: Some(partition).copied().filter(|p| !p.is_empty()), ..found })
            }
            _ => Self::namespaced(parts),
        }
    }

    fn namespaced(parts: &[&'a str]) -> Option<Self> {
        if let [region, rest @ ..] = parts
            && is_region(region)
            && let Some(found) = Self::in_account(rest)
        {
            return Some(Self { region: Some(region), ..found });
        }
        Self::in_account(parts)
    }

    fn in_account(parts: &[&'a str]) -> Option<Self> {
        if let [account, rest @ ..] = parts
            && account.len() == 12
            && account.bytes().all(|b| b.is_ascii_digit())
            && let Some(found) = Self::local(rest)
        {
            return Some(Self { account: Some(account), ..found });
        }
        Self::local(parts)
    }

    fn local(parts: &[&'a str]) -> Option<Self> {
        if let ["function", rest @ ..] = parts
            && let Some(found) = Self::bare(rest)
        {
            return Some(found);
        }
        Self::bare(parts)
    }

    fn bare(parts: &[&'a str]) -> Option<Self> {
        let (name, qualifier) = match parts {
            [name] => (name, None),
            [name, qualifier] if is_name_qualifier(qualifier) => (name, Some(*qualifier)),
            _ => return None,
        };
        let is_name = !name.is_empty() && name.bytes().all(|b| is_word(b) || b == b'.');
        is_name.then_some(Self { partition: None, region: None, account: None, name, qualifier })
    }
}

/// Where an endpoint stands: what a name leaves out is taken from here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// `aws`.
    pub partition: String,
    /// `us-east-2`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

/// A function as the caller named it, valid and complete; whether it exists is not known yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedFunction {
    /// The account, the caller's own choice or the endpoint's.
    pub account: String,
    /// The name.
    pub name: String,
    /// The qualifier, from the name or the query.
    pub qualifier: Option<String>,
    /// The ARN as invoked: with a qualifier only if the caller gave one. Policies see this one.
    pub arn: Rc<str>,
}

impl NamedFunction {
    /// Validates `name` and `qualifier` as given, adding what is wrong to `violations`, which are reported before
    /// anything this finds itself.
    ///
    /// # Errors
    /// `ValidationException`, the ARN of another region, or two qualifiers that differ.
    pub fn resolve(
        name: &str,
        qualifier: Option<&str>,
        scope: &Scope,
        violations: Violations,
    ) -> Result<Self, ApiError> {
        let mut found = Violations::default();
        if let Some(qualifier) = qualifier {
            check_qualifier(qualifier, &mut found);
        }
        let parsed = FunctionName::parse(name);
        if parsed.is_none() {
            found.pattern(name, "functionName", NAME_PATTERN);
        }
        if name.len() > NAME_MAX && name.chars().count() > NAME_MAX {
            found.too_long(name, "functionName", NAME_MAX);
        }
        found.extend(violations);
        found.check()?;
        let Some(parsed) = parsed else { return Err(ApiError::unknown_operation()) };
        if let Some(region) = parsed.region
            && region != scope.region
        {
            return Err(ApiError::other_region(region, &scope.region));
        }
        if let (Some(a), Some(b)) = (parsed.qualifier, qualifier)
            && a != b
        {
            return Err(ApiError::qualifier_mismatch());
        }
        let account = parsed.account.unwrap_or(&scope.account);
        let partition = parsed.partition.unwrap_or(&scope.partition);
        let qualifier = parsed.qualifier.or(qualifier);
        let parts = ["arn:", partition, ":lambda:", &scope.region, ":", account, ":function:", parsed.name];
        let arn = match qualifier {
            None => parts.concat(),
            Some(qualifier) => [&parts[..], &[":", qualifier]].concat().concat(),
        };
        Ok(Self {
            account: account.to_owned(),
            name: parsed.name.to_owned(),
            qualifier: qualifier.map(str::to_owned),
            arn: arn.into(),
        })
    }
}

/// A function's ARN as Invoke names it in "Function not found": with `:$LATEST` if it has no qualifier.
pub fn with_qualifier(arn: &str) -> String {
    // arn:aws:lambda:region:account:function:name
    let is_qualified = arn.split(':').count() > 7;
    if is_qualified { arn.to_owned() } else { format!("{arn}:{LATEST}") }
}

fn check_qualifier(qualifier: &str, violations: &mut Violations) {
    let fits = matches!(qualifier, LATEST | "$LATEST.PUBLISHED")
        || !qualifier.is_empty() && qualifier.bytes().all(|b| is_word(b) || b == b'$');
    if !fits {
        violations.pattern(qualifier, "qualifier", QUALIFIER_PATTERN);
    }
    if qualifier.is_empty() {
        violations.empty("qualifier");
    }
    if qualifier.chars().count() > QUALIFIER_MAX {
        violations.too_long(qualifier, "qualifier", QUALIFIER_MAX);
    }
}

/// `[a-zA-Z0-9-_]`.
const fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

/// `(aws[a-zA-Z-]*)?`.
fn is_partition(text: &str) -> bool {
    match text.strip_prefix("aws") {
        Some(rest) => rest.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-'),
        None => text.is_empty(),
    }
}

/// `\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+`.
fn is_name_qualifier(text: &str) -> bool {
    matches!(text, LATEST | "$LATEST.PUBLISHED") || !text.is_empty() && text.bytes().all(is_word)
}

/// `(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}`.
fn is_region(text: &str) -> bool {
    let lower = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let is_iso =
        |part: &str| part.strip_prefix("iso").is_some_and(|tail| tail.is_empty() || tail.len() == 1 && lower(tail));
    let text = text.strip_prefix("eusc-").unwrap_or(text);
    let mut parts = text.split('-');
    let (Some(country), Some(mut place), Some(mut number)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    if let Some(last) = parts.next() {
        if place != "gov" && !is_iso(place) {
            return false;
        }
        (place, number) = (number, last);
    }
    parts.next().is_none()
        && country.len() == 2
        && lower(country)
        && lower(place)
        && number.len() == 1
        && number.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
mod tests;
