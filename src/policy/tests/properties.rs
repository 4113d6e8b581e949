//! Properties: the evaluator against naive oracles, and no text that makes the parser panic.

use proptest::prelude::*;

use super::super::Value;
use super::*;

/// Wildcards by trying everything.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
        Some(('?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
        Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..]),
    }
}

/// The same for `Resource`: inside a segment neither wildcard takes a colon; a `*` that ends one takes all.
fn naive_resource(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => {
            let mut after = rest;
            while let Some(('*', more)) = after.split_first() {
                after = more;
            }
            let free = after.first().is_none_or(|&c| c == ':');
            let reach = if free { text.len() } else { text.iter().position(|&c| c == ':').unwrap_or(text.len()) };
            (0..=reach).any(|taken| naive_resource(after, &text[taken..]))
        }
        Some(('?', rest)) => text.first().is_some_and(|&c| c != ':') && naive_resource(rest, &text[1..]),
        Some((c, rest)) => text.first() == Some(c) && naive_resource(rest, &text[1..]),
    }
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// Small pieces, so that documents of them get far into the parser.
fn policy_like() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let pieces = prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"", "\u{201C}", "\u{201D}", "'", "\\", "\\u12", "\n", " ", "\u{A0}", "1.5e", "true", "null",
        "\"Statement\":", "\"Version\":", "\"2012-10-17\"", "\"Effect\":", "\"Allow\"", "\"Principal\":", "\"*\"", "{\"AWS\":",
        "\"Action\":", "\"Resource\":", "\"arn:aws:lambda:*:*:function:${aws:username, 'x'}\"", "\"Condition\":", "{\"StringLike\":",
        "{\"ForAnyValue:ArnLikeIfExists\":", "\"aws:SourceVpc\":", "\"arn:aws:iam::${aws:PrincipalAccount}:*\"", "{\"DateLessThan\":",
        "\"2026-11-23T00:00:00Z\"", "\"${", "}\"", "ä", "😀",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

fn statement(allow: bool, action: &str, resource: &str) -> String {
    let effect = if allow { "Allow" } else { "Deny" };
    format!(
        r#"{{"Effect": "{effect}", "Action": "lambda:{action}", "Resource": "arn:aws:lambda:r:123456789012:{resource}"}}"#
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn string_like_agrees_with_the_oracle(pattern in "[ab*?ä]{0,7}", text in "[abä*]{0,9}") {
        let block = format!(r#"{{"StringLike": {{"a:b": "{pattern}"}}}}"#);
        let allow = format!(r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {block}}}"#);
        let values = [text.as_str()];
        let extra = [("a:b", values.as_slice())];
        let context = Context { extra: &extra, ..CONTEXT };
        let asked = Request { context: &context, ..request(ALICE, INVOKE, FUNCTION) };
        prop_assert_eq!(allowed_by(&[identity(&allow)], &asked), naive(&chars(&pattern), &chars(&text)));
    }

    #[test]
    fn a_variable_is_compared_literally(value in "[ab*?]{1,4}", text in "[ab*?]{0,6}", around in "[ab]{0,1}") {
        let block = format!(r#"{{"StringLike": {{"a:b": "{around}${{a:v}}"}}}}"#);
        let allow = format!(r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {block}}}"#);
        let (values, variable) = ([text.as_str()], [value.as_str()]);
        let extra = [("a:b", values.as_slice()), ("a:v", variable.as_slice())];
        let context = Context { extra: &extra, ..CONTEXT };
        let asked = Request { context: &context, ..request(ALICE, INVOKE, FUNCTION) };
        prop_assert_eq!(asked.values("A:V").iter().next(), Some(Value::Text(&value)));
        prop_assert_eq!(allowed_by(&[identity(&allow)], &asked), format!("{around}{value}") == text);
    }

    #[test]
    fn resources_agree_with_the_oracle(pattern in "[ab:*?]{0,8}", text in "[ab:]{0,9}") {
        let resource = format!("arn:aws:lambda:r:123456789012:{text}");
        let written = format!("arn:aws:lambda:r:123456789012:{pattern}");
        let policies = [identity(&statement(true, "*", &pattern))];
        let outcome = allowed_by(&policies, &request(ALICE, INVOKE, &resource));
        prop_assert_eq!(outcome, naive_resource(&chars(&written), &chars(&resource)));
    }

    #[test]
    fn a_matching_deny_decides_and_otherwise_a_matching_allow_wherever_they_stand(
        statements in prop::collection::vec((any::<bool>(), "[AB*?]{1,2}", "[ab*?]{1,2}"), 1..6),
        split in 0_usize..6, action in "[AB]{1,2}", resource in "[ab]{1,2}",
    ) {
        let texts: Vec<_> = statements.iter().map(|(allow, a, r)| statement(*allow, a, r)).collect();
        let (first, second) = texts.split_at(split.min(texts.len()));
        let halves = [first, second].into_iter().filter(|half| !half.is_empty());
        let policies: Vec<_> = halves.map(|half| identity(&format!("[{}]", half.join(",")))).collect();
        let matching = |allow: bool| statements.iter().any(|(allows, a, r)| {
            *allows == allow && naive(&chars(a), &chars(&action)) && naive(&chars(r), &chars(&resource))
        });
        let (action, resource) = (format!("lambda:{action}"), format!("arn:aws:lambda:r:123456789012:{resource}"));
        let outcome = allowed_by(&policies, &request(ALICE, &action, &resource));
        prop_assert_eq!(outcome, matching(true) && !matching(false));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in prop_oneof![".{0,60}", policy_like()], lenient in any::<bool>()) {
        for kind in [PolicyKind::Endpoint, PolicyKind::Identity, PolicyKind::Resource] {
            match Policy::parse_with(kind, &text, super::super::ParseOptions { lenient }) {
                Ok(good) => prop_assert!(good.statement_count() > 0),
                Err(faults) => {
                    prop_assert!(!faults.is_empty());
                    for fault in faults {
                        prop_assert!(fault.line >= 1 && fault.column >= 1);
                        prop_assert!(text.get(fault.span.clone()).is_some(), "{} in {:?}", fault, text);
                    }
                }
            }
        }
    }

    #[test]
    fn what_serde_json_refuses_is_refused(text in policy_like()) {
        if serde_json::from_str::<serde_json::Value>(&text).is_err() {
            prop_assert!(Policy::parse(PolicyKind::Identity, &text).is_err());
        }
    }
}
