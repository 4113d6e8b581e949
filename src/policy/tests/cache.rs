//! Remembered decisions are those that would be made.

use proptest::prelude::*;

use super::super::{DECISIONS_MAX, DecisionCache};
use super::*;

/// Conditions over every sort of key, and some over none.
const CONDITIONS: [&str; 13] = [
    "{}",
    r#"{"StringEquals": {"aws:SourceVpc": "vpc-1"}}"#,
    r#"{"StringEquals": {"aws:SourceVpce": "vpce-1"}}"#,
    r#"{"StringNotEquals": {"aws:SourceVpcArn": "arn:1"}}"#,
    r#"{"StringEquals": {"aws:VpceAccount": "123456789012"}}"#,
    r#"{"IpAddress": {"aws:VpcSourceIp": "10.0.1.0/24"}}"#,
    r#"{"DateGreaterThan": {"aws:CurrentTime": "2015-08-30T00:00:00Z"}}"#,
    r#"{"Bool": {"aws:SecureTransport": "true"}}"#,
    r#"{"StringLike": {"aws:UserAgent": "*Python*"}}"#,
    r#"{"StringEquals": {"aws:RequestedRegion": "us-east-2"}}"#,
    r#"{"StringLike": {"lambda:FunctionArn": "*:my-function"}}"#,
    r#"{"StringEquals": {"aws:PrincipalTag/team": "my-function"}}"#,
    r#"{"StringLike": {"aws:PrincipalArn": "*/${aws:username}"}}"#,
];
const CALLERS: [Caller<'_>; 5] = [ALICE, BOB, SESSION, ROOT, MY_USER];
const RESOURCES: [&str; 4] = [FUNCTION, VERSION_1, HELLO, "*"];
const ACTIONS: [&str; 3] = [INVOKE, "lambda:GetFunction", "lambda:invokefunction"];

fn statement(with_principal: bool) -> impl Strategy<Value = String> {
    let principal = prop::sample::select(vec![
        r#""*""#,
        r#"{"AWS": "123456789012"}"#,
        r#"{"AWS": "arn:aws:iam::123456789012:user/Alice"}"#,
        r#"{"AWS": "123412341234"}"#,
    ]);
    let action = prop::sample::select(vec!["*", "lambda:Invoke*", "lambda:GetFunction"]);
    let resource = prop::sample::select(vec!["*", FUNCTION, HELLO, "arn:aws:lambda:*:*:function:my*"]);
    let condition = prop::sample::select(CONDITIONS.to_vec());
    (prop::bool::weighted(0.8), principal, action, resource, condition).prop_map(
        move |(allow, principal, action, resource, condition)| {
            let effect = if allow { "Allow" } else { "Deny" };
            let principal = if with_principal { format!(r#""Principal": {principal},"#) } else { String::new() };
            format!(
                r#"{{"Effect": "{effect}", {principal} "Action": "{action}", "Resource": "{resource}", "Condition": {condition}}}"#
            )
        },
    )
}

fn document(kind: PolicyKind) -> impl Strategy<Value = Policy> {
    prop::collection::vec(statement(kind != PolicyKind::Identity), 1..3).prop_map(move |statements| {
        policy(kind, &format!(r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#, statements.join(",")))
    })
}

/// The policies of one snapshot: the endpoint's, each caller's, each function's.
#[derive(Clone, Debug)]
struct Snapshot {
    endpoint: Policy,
    identities: Vec<Vec<Policy>>,
    functions: Vec<Option<Policy>>,
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let identities = prop::collection::vec(prop::collection::vec(document(PolicyKind::Identity), 0..3), CALLERS.len());
    let functions = prop::collection::vec(prop::option::of(document(PolicyKind::Resource)), 2);
    let endpoint = prop_oneof![Just(Policy::full_access()), document(PolicyKind::Endpoint)];
    (endpoint, identities, functions).prop_map(|(endpoint, identities, functions)| Snapshot {
        endpoint,
        identities,
        functions,
    })
}

fn contexts() -> impl Strategy<Value = Context<'static>> {
    let text = |values: [&'static str; 2]| prop::option::of(prop::sample::select(values.to_vec()));
    let address = prop::sample::select(vec![
        None,
        Some(IpAddr::from([10, 0, 1, 10])),
        Some(IpAddr::from([10, 0, 9, 10])),
        Some(IpAddr::V6(Ipv4Addr::new(10, 0, 1, 10).to_ipv6_mapped())),
    ]);
    let texts = (text(["vpce-1", "vpce-2"]), text(["vpc-1", "vpc-2"]), text(["arn:1", "arn:2"]));
    let more = (text(["123456789012", "123412341234"]), text(["us-east-2", "us-east-1"]), text([FUNCTION, HELLO]));
    (texts, more, address, 0_u64..2, any::<bool>(), text(["Python", "Go"]), any::<bool>()).prop_map(
        |(texts, more, address, day, secure_transport, user_agent, has_extra)| Context {
            source_vpce: texts.0,
            source_vpc: texts.1,
            source_vpc_arn: texts.2,
            vpce_account: more.0,
            requested_region: more.1,
            function_arn: more.2,
            vpc_source_ip: address,
            current_time: UnixTime::from_secs(CONTEXT.current_time.secs() - day * 86_400),
            secure_transport,
            user_agent,
            extra: if has_extra { CONTEXT.extra } else { &[] },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_remembered_decision_is_the_one_that_would_be_made(
        epochs in prop::collection::vec(
            (
                snapshot(),
                prop::collection::vec((0..CALLERS.len(), 0..ACTIONS.len(), 0..RESOURCES.len(), 0..3_usize, contexts()), 1..40),
            ),
            1..3,
        ),
    ) {
        let mut cache = DecisionCache::default();
        for (snapshot, requests) in epochs {
            cache.clear();
            for _ in 0..2 {
                for (caller, action, resource, function, context) in &requests {
                    let function = Some(*function).filter(|function| *function < snapshot.functions.len());
                    let policies = Policies {
                        endpoint: &snapshot.endpoint,
                        identity: &snapshot.identities[*caller],
                        resource: function.and_then(|function| snapshot.functions[function].as_ref()),
                    };
                    let request = Request {
                        caller: CALLERS[*caller],
                        action: ACTIONS[*action],
                        resource: RESOURCES[*resource],
                        context,
                    };
                    let made = authorize(&policies, &request);
                    let (decision, _) = cache.authorize(function, &policies, &request);
                    prop_assert_eq!(&decision, &made, "{:?} {:?}", policies, request);
                    let message = |decision: Result<_, super::super::Denial>| decision.err().map(|d| d.message(&request));
                    prop_assert_eq!(message(decision), message(made));
                }
            }
        }
    }
}

/// Whether the second of two requests under these identity policies needs no decision of its own.
fn is_kept(statement: &str, first: &Request<'_>, second: &Request<'_>) -> bool {
    let (endpoint, identity) = (Policy::full_access(), [identity(statement)]);
    let policies = Policies { endpoint: &endpoint, identity: &identity, resource: None };
    let mut cache = DecisionCache::default();
    assert!(!cache.authorize(None, &policies, first).1, "the first is never remembered");
    cache.authorize(None, &policies, second).1
}

#[test]
fn decisions_are_kept_apart_by_what_they_depend_on_and_by_nothing_else() {
    let plain = Context { extra: &[], ..CONTEXT };
    let later = Context { current_time: UnixTime::from_secs(1_500_000_000), ..plain };
    let elsewhere = Context { vpc_source_ip: Some([10, 0, 9, 9].into()), ..plain };
    let agent = Context { user_agent: Some("other"), ..plain };
    let vpc = Context { source_vpc: Some("vpc-2"), ..plain };
    let function_arn = Context { function_arn: Some(HELLO), ..plain };
    let contexts = [&plain, &later, &elsewhere, &agent, &vpc, &function_arn, &CONTEXT];
    for (condition, kept) in [
        (CONDITIONS[0], [true; 7]),
        (CONDITIONS[12], [true; 7]),
        (CONDITIONS[1], [true, true, true, true, false, true, true]),
        (CONDITIONS[5], [true, true, false, true, true, true, true]),
        (CONDITIONS[10], [true, true, true, true, true, false, true]),
        (CONDITIONS[11], [true, true, true, true, true, true, false]),
        (CONDITIONS[6], [false; 7]),
        (CONDITIONS[8], [false; 7]),
    ] {
        let statement = format!(r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {condition}}}"#);
        let ask = |context| Request { context, ..request(ALICE, INVOKE, FUNCTION) };
        let found = contexts.map(|context| is_kept(&statement, &ask(&plain), &ask(context)));
        assert_eq!(found, kept, "{condition}");
    }
    let anything = r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#;
    let first = Request { context: &plain, ..request(ALICE, INVOKE, FUNCTION) };
    for other in [
        Request { caller: BOB, ..first },
        Request { action: "lambda:GetFunction", ..first },
        Request { resource: VERSION_1, ..first },
    ] {
        assert!(!is_kept(anything, &first, &other), "{other:?}");
    }
}

#[test]
fn a_denial_that_is_remembered_has_its_own_words() {
    let (endpoint, mut cache) = (Policy::full_access(), DecisionCache::default());
    let policies = Policies { endpoint: &endpoint, identity: &[], resource: None };
    for _ in 0..2 {
        for caller in [ALICE, BOB] {
            let request = request(caller, INVOKE, HELLO);
            let denial = cache.authorize(None, &policies, &request).0.unwrap_err();
            let expected = format!(
                "User: {} is not authorized to perform: {INVOKE} on resource: {HELLO} because no identity-based policy \
                 allows the {INVOKE} action",
                caller.arn
            );
            assert_eq!(denial.message(&request), expected);
        }
    }
}

#[test]
fn the_cache_of_decisions_is_bounded_and_can_be_cleared() {
    let (endpoint, mut cache) = (Policy::full_access(), DecisionCache::default());
    let policies = Policies { endpoint: &endpoint, identity: &[], resource: None };
    for n in 0..=DECISIONS_MAX {
        let resource = format!("{FUNCTION}{n}");
        assert!(!cache.authorize(None, &policies, &request(ALICE, INVOKE, &resource)).1);
        assert!(cache.len() <= DECISIONS_MAX);
    }
    assert_eq!(cache.len(), 1);
    cache.clear();
    assert!(cache.is_empty());
}
