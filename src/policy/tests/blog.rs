//! The sample policy of the blog post, exactly as printed, and what is wrong with it, one thing after the other.

use super::super::ParseOptions;
use super::*;

const PRINTED: &str = include_str!("../../../tests/data/policy/blog.json");

fn with_the_quote_mended() -> String {
    PRINTED.replace('\u{201D}', "\"")
}

fn fully_mended() -> String {
    let bare = "\"arn:aws:iam::123412341234:user/MyUser\"";
    with_the_quote_mended().replace(bare, &format!("{{\"AWS\": {bare}}}"))
}

#[test]
fn as_printed_it_is_refused_at_the_typographic_quote() {
    let faults = Policy::parse(PolicyKind::Endpoint, PRINTED).unwrap_err();
    let quote = &faults[0];
    assert_eq!((quote.line, quote.column), (10, 77), "{quote}");
    assert_eq!(&PRINTED[quote.span.clone()], "\u{201D}");
    assert!(quote.message.contains("U+201D (RIGHT DOUBLE QUOTATION MARK, \u{201D})"), "{quote}");
    assert_eq!(quote.help.as_deref(), Some("a typographic quote: replace it by \""));
}

#[test]
fn the_fault_behind_the_quote_is_reported_with_it() {
    let faults = Policy::parse(PolicyKind::Endpoint, PRINTED).unwrap_err();
    assert_eq!(faults.len(), 2, "{}", list(&faults));
    assert_eq!((faults[1].line, faults[1].column), (4, 26));
}

#[test]
fn with_the_quote_mended_its_bare_principal_is_refused_and_the_mended_form_is_shown() {
    let faults = Policy::parse(PolicyKind::Endpoint, &with_the_quote_mended()).unwrap_err();
    let [fault] = faults.as_slice() else { panic!("{}", list(&faults)) };
    assert_eq!((fault.line, fault.column), (4, 26), "{fault}");
    let help = r#"write "Principal": {"AWS": "arn:aws:iam::123412341234:user/MyUser"}"#;
    assert_eq!(fault.help.as_deref(), Some(help));
}

#[test]
fn lenient_takes_the_bare_principal_but_not_the_typographic_quote() {
    let lenient = ParseOptions { lenient: true };
    let mended = policy(PolicyKind::Endpoint, &fully_mended());
    let taken = Policy::parse_with(PolicyKind::Endpoint, &with_the_quote_mended(), lenient);
    assert_eq!(taken, Ok(mended));
    assert!(Policy::parse_with(PolicyKind::Endpoint, PRINTED, lenient).is_err());
}

#[test]
fn fully_mended_it_allows_my_user_version_1_and_no_more() {
    let endpoint = policy(PolicyKind::Endpoint, &fully_mended());
    let identity = [identity(r#"{"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}"#)];
    let open = r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "lambda:*", "Resource": "*"}}"#;
    let open = policy(PolicyKind::Resource, open);
    let policies = Policies { endpoint: &endpoint, identity: &identity, resource: Some(&open) };
    let version_2 = format!("{FUNCTION}:2");
    for (caller, action, resource, allowed) in [
        (MY_USER, INVOKE, VERSION_1, true),
        (MY_USER, INVOKE, FUNCTION, false),
        (MY_USER, INVOKE, &version_2, false),
        (MY_USER, INVOKE, HELLO, false),
        (MY_USER, "lambda:GetFunction", VERSION_1, false),
        (ALICE, INVOKE, VERSION_1, false),
        (ROOT, INVOKE, VERSION_1, false),
    ] {
        let outcome = authorize(&policies, &request(caller, action, resource));
        let denied_by = outcome.as_ref().err().map(|denial| denial.policy_type);
        let expected = (!allowed).then_some(PolicyKind::Endpoint);
        assert_eq!(denied_by, expected, "{} {action} {resource}", caller.arn);
    }
}

#[test]
fn fully_mended_it_still_needs_the_functions_resource_policy_because_my_user_is_a_stranger_there() {
    let endpoint = policy(PolicyKind::Endpoint, &fully_mended());
    let identity = [identity(r#"{"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}"#)];
    let policies = Policies { endpoint: &endpoint, identity: &identity, resource: None };
    let asked = request(MY_USER, INVOKE, VERSION_1);
    let denial = authorize(&policies, &asked).unwrap_err();
    assert_eq!(
        denial.message(&asked),
        "User: arn:aws:iam::123412341234:user/MyUser is not authorized to perform: lambda:InvokeFunction on resource: \
         arn:aws:lambda:us-east-2:123456789012:function:my-function:1 because no resource-based policy allows the \
         lambda:InvokeFunction action"
    );
}
