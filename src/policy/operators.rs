//! Condition blocks, compiled: operators by name, values by the operator's type, and what endpoint policies forbid.
//!
//! Sources: IAM User Guide, `reference_policies_elements_condition_operators`; AWS PrivateLink Guide, `vpc-endpoints-access`.

use std::net::IpAddr;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

use super::condition::{Comparison, Condition, Quantifier, Test, boolean};
use super::context::{Key, Value};
use super::fault::Faults;
use super::json::{Json, Node, shorten};
use super::pattern::{self, Pattern, Syntax};
use super::value::{Decimal, parse_date};
use super::{PolicyKind, principal};

/// The families of operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Family {
    /// Exact strings, and whether their case is ignored.
    Equals {
        fold: bool,
    },
    Like,
    Arn,
    Number(Comparison),
    Date(Comparison),
    Bool,
    Binary,
    Address,
    Null,
}

/// An operator's name, taken apart.
struct Operator {
    quantifier: Quantifier,
    family: Family,
    negated: bool,
    if_exists: bool,
}

const OPERATORS: [(&str, Family, bool); 27] = [
    ("StringEquals", Family::Equals { fold: false }, false),
    ("StringNotEquals", Family::Equals { fold: false }, true),
    ("StringEqualsIgnoreCase", Family::Equals { fold: true }, false),
    ("StringNotEqualsIgnoreCase", Family::Equals { fold: true }, true),
    ("StringLike", Family::Like, false),
    ("StringNotLike", Family::Like, true),
    ("NumericEquals", Family::Number(Comparison::Equals), false),
    ("NumericNotEquals", Family::Number(Comparison::Equals), true),
    ("NumericLessThan", Family::Number(Comparison::LessThan), false),
    ("NumericLessThanEquals", Family::Number(Comparison::LessThanEquals), false),
    ("NumericGreaterThan", Family::Number(Comparison::GreaterThan), false),
    ("NumericGreaterThanEquals", Family::Number(Comparison::GreaterThanEquals), false),
    ("DateEquals", Family::Date(Comparison::Equals), false),
    ("DateNotEquals", Family::Date(Comparison::Equals), true),
    ("DateLessThan", Family::Date(Comparison::LessThan), false),
    ("DateLessThanEquals", Family::Date(Comparison::LessThanEquals), false),
    ("DateGreaterThan", Family::Date(Comparison::GreaterThan), false),
    ("DateGreaterThanEquals", Family::Date(Comparison::GreaterThanEquals), false),
    ("Bool", Family::Bool, false),
    ("BinaryEquals", Family::Binary, false),
    ("IpAddress", Family::Address, false),
    ("NotIpAddress", Family::Address, true),
    // "The ArnEquals and ArnLike condition operators behave identically."
    ("ArnEquals", Family::Arn, false),
    ("ArnLike", Family::Arn, false),
    ("ArnNotEquals", Family::Arn, true),
    ("ArnNotLike", Family::Arn, true),
    ("Null", Family::Null, false),
];

impl Operator {
    /// Takes `ForAnyValue:StringLikeIfExists` apart; the error is advice.
    fn parse(name: &str) -> Result<Self, String> {
        let (quantifier, rest) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Quantifier::All, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
            Some(_) => return Err("the prefixes are ForAllValues: and ForAnyValue:".into()),
            None => (Quantifier::One, name),
        };
        let (base, if_exists) = match rest.strip_suffix("IfExists") {
            Some(base) => (base, true),
            None => (rest, false),
        };
        let Some(&(_, family, negated)) = OPERATORS.iter().find(|(known, ..)| *known == base) else {
            let close = OPERATORS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(base));
            return Err(match close {
                Some((known, ..)) => format!("did you mean {known}? operator names are case sensitive"),
                None => "see IAM User Guide, condition operators".into(),
            });
        };
        if family == Family::Null && (if_exists || quantifier != Quantifier::One) {
            return Err("Null takes neither IfExists nor ForAllValues: or ForAnyValue:".into());
        }
        Ok(Self { quantifier, family, negated, if_exists })
    }
}

/// Compiles condition blocks.
pub(super) struct Compiler<'f, 't> {
    pub(super) kind: PolicyKind,
    /// The document's version knows policy variables.
    pub(super) variables: bool,
    pub(super) faults: &'f mut Faults<'t>,
}

impl Compiler<'_, '_> {
    /// Compiles the value of `Condition`.
    pub(super) fn block(&mut self, node: &Node<'_>) -> Box<[Condition]> {
        let mut conditions = Vec::new();
        let Json::Object(operators) = &node.json else {
            self.faults.add(&node.span, format!("Condition is {}; an object belongs there", node.json.kind()));
            return Box::default();
        };
        for member in operators {
            let operator = match Operator::parse(&member.name) {
                Ok(operator) => operator,
                Err(help) => {
                    let message = format!("unknown condition operator \"{}\"", shorten(&member.name));
                    self.faults.help(&member.name_span, message, help);
                    continue;
                }
            };
            let Json::Object(keys) = &member.value.json else {
                let message = format!(
                    "{} is {}; an object of condition keys belongs there",
                    member.name,
                    member.value.json.kind()
                );
                self.faults.add(&member.value.span, message);
                continue;
            };
            for key in keys {
                if !is_key_name(&key.name) {
                    let message = format!("\"{}\" is not a condition key", shorten(&key.name));
                    self.faults.help(&key.name_span, message, "keys look like aws:SourceVpce or lambda:FunctionArn");
                    continue;
                }
                let name = Key::new(&key.name);
                if self.kind == PolicyKind::Endpoint && name.is_system_identifier() {
                    self.system_identifier(&name, &operator, key.value.span.clone());
                }
                let test = self.test(&operator, &name, &key.value);
                let Operator { quantifier, negated, if_exists, .. } = operator;
                conditions.push(Condition { quantifier, if_exists, negated, key: name, test });
            }
        }
        conditions.into()
    }

    fn system_identifier(&mut self, key: &Key, operator: &Operator, span: Range<usize>) {
        if matches!(operator.family, Family::Number(_)) {
            let message = format!("an endpoint policy cannot compare {} with a numeric operator", key.name());
            self.faults.help(&span, message, "use StringEquals");
        }
    }

    fn test(&mut self, operator: &Operator, key: &Key, node: &Node<'_>) -> Test {
        let syntax = |wildcards| Syntax { wildcards, variables: self.variables };
        match operator.family {
            Family::Equals { fold } => {
                let syntax = syntax(false);
                Test::Text { patterns: self.patterns(node, key, false, syntax, pattern::string), fold }
            }
            Family::Like => {
                let syntax = syntax(true);
                Test::Text { patterns: self.patterns(node, key, true, syntax, pattern::string), fold: false }
            }
            Family::Arn => {
                let syntax = syntax(true);
                Test::Text { patterns: self.patterns(node, key, false, syntax, pattern::arn), fold: false }
            }
            Family::Number(comparison) => {
                Test::Number(comparison, self.values(node, key, "a number such as 10 or 2.5", Decimal::parse))
            }
            Family::Date(comparison) => {
                let wanted = "a date such as 2026-11-23T00:00:00Z, or seconds since 1970";
                Test::Date(comparison, self.values(node, key, wanted, parse_date))
            }
            Family::Bool => Test::Bool(self.values(node, key, "true or false", |text| boolean(Value::Text(text)))),
            Family::Null => Test::Null(self.values(node, key, "true or false", |text| boolean(Value::Text(text)))),
            Family::Binary => {
                let decode = |text: &str| STANDARD.decode(text).ok().map(Vec::into_boxed_slice);
                Test::Binary(self.values(node, key, "base64", decode))
            }
            Family::Address => {
                let wanted = "an address or a range such as 10.0.1.0/24";
                Test::Address(self.values(node, key, wanted, |text| {
                    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
                }))
            }
        }
    }

    fn patterns(
        &mut self,
        node: &Node<'_>,
        key: &Key,
        like: bool,
        syntax: Syntax,
        compile: fn(&str, &Range<usize>, Syntax, &mut Faults<'_>) -> Pattern,
    ) -> Box<[Pattern]> {
        let mut patterns = Vec::new();
        let endpoint = self.kind == PolicyKind::Endpoint;
        each_text(node, key, self.faults, |text, span, faults| {
            if endpoint && syntax.variables {
                // `${*}` is a character, not a wildcard.
                endpoint_restrictions(&text.replace("${*}", "${}").replace("${?}", "${}"), span, key, like, faults);
            } else if endpoint {
                endpoint_restrictions(text, span, key, like, faults);
            }
            patterns.push(compile(text, span, syntax, faults));
        });
        patterns.into()
    }

    fn values<T>(&mut self, node: &Node<'_>, key: &Key, wanted: &str, parse: impl Fn(&str) -> Option<T>) -> Box<[T]> {
        let mut values = Vec::new();
        each_text(node, key, self.faults, |text, span, faults| match parse(text) {
            Some(value) => values.push(value),
            None => faults.add(span, format!("\"{}\" for {} is not {wanted}", shorten(text), key.name())),
        });
        values.into()
    }
}

/// The considerations of the AWS PrivateLink Guide, `vpc-endpoints-access`. `like` is a string operator with wildcards.
fn endpoint_restrictions(text: &str, span: &Range<usize>, key: &Key, like: bool, faults: &mut Faults<'_>) {
    if key.is_system_identifier() && text.contains(['*', '?']) {
        let message = format!("an endpoint policy cannot use wildcards with {}", key.name());
        faults.help(span, message, "list the identifiers in full");
    } else if like && !wildcards_have_company(text) {
        let message =
            format!("\"{}\" needs at least six consecutive characters before or after each wildcard", shorten(text));
        faults.help(span, message, "an endpoint policy's string operators want more text, or no wildcard");
    } else if text.starts_with("arn:") {
        account_field(text, span, faults);
    }
}

/// "The account portion of the ARN can include an account ID or a wildcard character, but not both."
pub(super) fn account_field(arn: &str, span: &Range<usize>, faults: &mut Faults<'_>) {
    let account = pattern::arn_fields(arn, true).get(4).copied().unwrap_or_default();
    let mixed = account.contains(['*', '?']) && account.contains(|c: char| c.is_ascii_digit());
    if mixed {
        let message = format!("the account in this ARN is part number, part wildcard: \"{}\"", shorten(account));
        faults.help(span, message, "an endpoint policy wants twelve digits or *");
    }
}

fn wildcards_have_company(text: &str) -> bool {
    const COMPANY: usize = 6;
    let is_wildcard = |c: char| matches!(c, '*' | '?');
    let runs: Vec<usize> = text.split(is_wildcard).map(|run| run.chars().count()).collect();
    runs.windows(2).all(|around| around.iter().any(|&len| len >= COMPANY))
}

fn is_key_name(name: &str) -> bool {
    let (service, key) = name.split_once(':').unwrap_or_default();
    !service.is_empty() && !key.is_empty() && !service.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Calls `each` for every value of a key: strings, and numbers and booleans as their text.
fn each_text<'f>(
    node: &Node<'_>,
    key: &Key,
    faults: &mut Faults<'f>,
    mut each: impl FnMut(&str, &Range<usize>, &mut Faults<'f>),
) {
    let mut one = |node: &Node<'_>, faults: &mut Faults<'f>| match &node.json {
        Json::String(text) => each(text, &node.span, faults),
        Json::Number(text) => each(text, &node.span, faults),
        Json::Bool(value) => each(if *value { "true" } else { "false" }, &node.span, faults),
        other => {
            let message =
                format!("{} is compared with {}; a string, number or boolean belongs there", key.name(), other.kind());
            faults.add(&node.span, message);
        }
    };
    match &node.json {
        Json::Array(items) if items.is_empty() => {
            faults.add(&node.span, format!("{} is compared with an empty list", key.name()));
        }
        Json::Array(items) => items.iter().for_each(|item| one(item, faults)),
        _ => one(node, faults),
    }
}

/// Whether `text` may be the account of an ARN in `Resource` (`aws` owns the managed policies).
pub(super) fn is_account_field(text: &str) -> bool {
    matches!(text, "" | "aws") || text.contains(['*', '?']) || principal::is_account(text)
}
