//! A method and a target, `POST /2015-03-31/functions/NAME/invocations?Qualifier=1`: routed, and the name taken apart as
//! AWS's own pattern would.
#![no_main]

use std::sync::LazyLock;

use http::Method;
use libfuzzer_sys::fuzz_target;
use regex::Regex;
use vpce::lambda::error::Violations;
use vpce::lambda::name::{FunctionName, NamedFunction, Scope};
use vpce::lambda::route::route;

/// `NamespacedFunctionName` of the service model (the digits of `\d` are ASCII there).
static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-[0-9]{1}:)?([0-9]{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";
    Regex::new(&format!("^(?:{pattern})$")).expect("the pattern is a regular expression")
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (method, target) = text.split_once(' ').unwrap_or(("POST", text));
    name(target);
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let Ok(route) = route(&method, path, query) else { return };
    let Some(function_name) = &route.function_name else { return };
    name(function_name);
    let scope = Scope { partition: "aws".into(), region: "us-east-2".into(), account: "123456789012".into() };
    if let Ok(named) = NamedFunction::resolve(function_name, route.qualifier.as_deref(), &scope, Violations::default())
    {
        match FunctionName::parse(&named.arn) {
            Some(again) => {
                assert_eq!((again.name, again.qualifier), (&*named.name, named.qualifier.as_deref()));
                assert_eq!((again.account, again.region), (Some(&*named.account), Some("us-east-2")));
            }
            // The pattern of qualifiers admits `$` anywhere, that of names does not.
            None => assert!(named.qualifier.is_some_and(|qualifier| qualifier.contains('$'))),
        }
    }
});

/// The hand-written parser and the pattern agree, but for ARNs, where AWS itself is stricter.
fn name(text: &str) {
    let (ours, theirs) = (FunctionName::parse(text).is_some(), PATTERN.is_match(text));
    assert!(!ours || theirs, "{text:?} does not match the pattern");
    assert!(ours || !theirs || text.starts_with("arn:"), "{text:?} matches the pattern");
}
