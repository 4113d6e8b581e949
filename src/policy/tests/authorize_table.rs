//! Decisions over endpoint, identity and resource policies together, and principals.

use super::super::{Ground, ParseOptions};
use super::*;
use crate::verdict::Reason;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Allow,
    Implicit(PolicyKind),
    Explicit(PolicyKind),
}
use Outcome::{Allow, Explicit, Implicit};
use PolicyKind::{Endpoint, Identity, Resource};

const YES: &str = r#"{"Effect":"Allow","Action":"lambda:*","Resource":"*"}"#;
const NO: &str = r#"{"Effect":"Deny","Action":"lambda:*","Resource":"*"}"#;
const NOTHING: &str = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;

fn decide(caller: Caller<'_>, endpoint: &Policy, identity: &[Policy], resource: Option<&Policy>) -> Outcome {
    match authorize(&Policies { endpoint, identity, resource }, &request(caller, INVOKE, FUNCTION)) {
        Ok(_) => Allow,
        Err(denial) if denial.explicit() => Explicit(denial.policy_type),
        Err(denial) => Implicit(denial.policy_type),
    }
}

/// A statement with a principal.
fn to(principal: &str, statement: &str) -> String {
    statement.replacen('{', &format!(r#"{{"Principal": {principal}, "#), 1)
}

/// Document, what is shown, caller, endpoint policy (a statement for anyone), identity policy, resource policy (for anyone),
/// outcome. An empty text: full access, none, none.
type Row = (&'static str, &'static str, Caller<'static>, &'static str, &'static str, &'static str, Outcome);

const ONE_ACCOUNT: &str = "reference_policies_evaluation-logic_policy-eval-basics";
const CROSS: &str = "reference_policies_evaluation-logic-cross-account";
const DENY: &str = "reference_policies_evaluation-logic_policy-eval-denyallow";
const PRIVATELINK: &str = "AWS PrivateLink Guide, vpc-endpoints-access";
const ORDER: &str = "our choice (troubleshoot_access-denied: only one policy type is named)";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    (ONE_ACCOUNT, "the identity policy alone suffices", ALICE, "", YES, "", Allow),
    (ONE_ACCOUNT, "the resource policy alone suffices", ALICE, "", "", YES, Allow),
    (ONE_ACCOUNT, "the resource policy alone suffices for a session", SESSION, "", "", YES, Allow),
    (ONE_ACCOUNT, "one allows, the other is silent", ALICE, "", YES, NOTHING, Allow),
    (ONE_ACCOUNT, "neither allows", ALICE, "", NOTHING, NOTHING, Implicit(Identity)),
    (DENY, "no policies at all", ALICE, "", "", "", Implicit(Identity)),
    (DENY, "an identity policy denies", ALICE, "", NO, YES, Explicit(Identity)),
    (DENY, "a resource policy denies", ALICE, "", YES, NO, Explicit(Resource)),
    (DENY, "the root user needs no identity policy", ROOT, "", "", "", Allow),
    (DENY, "the root user is denied by a resource policy", ROOT, "", "", NO, Explicit(Resource)),
    (CROSS, "identity policy alone", MY_USER, "", YES, "", Implicit(Resource)),
    (CROSS, "identity policy, silent resource policy", MY_USER, "", YES, NOTHING, Implicit(Resource)),
    (CROSS, "resource policy alone", MY_USER, "", "", YES, Implicit(Identity)),
    (CROSS, "both", MY_USER, "", YES, YES, Allow),
    (CROSS, "a resource policy denies", MY_USER, "", YES, NO, Explicit(Resource)),
    (CROSS, "an identity policy denies", MY_USER, "", NO, YES, Explicit(Identity)),
    (PRIVATELINK, "the endpoint policy is silent", ALICE, NOTHING, YES, YES, Implicit(Endpoint)),
    (PRIVATELINK, "the endpoint policy denies", ALICE, NO, YES, YES, Explicit(Endpoint)),
    (PRIVATELINK, "the endpoint policy grants nothing", ALICE, YES, "", "", Implicit(Identity)),
    (PRIVATELINK, "endpoint and identity allow", ALICE, YES, YES, "", Allow),
    (PRIVATELINK, "endpoint and resource allow", ALICE, YES, "", YES, Allow),
    (PRIVATELINK, "the root user meets the endpoint policy too", ROOT, NOTHING, "", "", Implicit(Endpoint)),
    (ORDER, "silent endpoint and identity: the endpoint is named", ALICE, NOTHING, "", "", Implicit(Endpoint)),
    (ORDER, "an explicit denial comes before an implicit one", ALICE, NOTHING, NO, "", Explicit(Identity)),
    (ORDER, "all deny: the endpoint is named", ALICE, NO, NO, NO, Explicit(Endpoint)),
    (ORDER, "identity and resource deny: the identity is named", ALICE, "", NO, NO, Explicit(Identity)),
    (ORDER, "cross-account, both silent: the identity is named", MY_USER, "", "", "", Implicit(Identity)),
];

#[test]
fn policies_are_combined_as_documented() {
    for &(document, shown, caller, endpoint, identities, resource, expected) in ROWS {
        let attached = |kind, statement: &str| {
            let statement = if kind == Identity { statement.to_owned() } else { to("\"*\"", statement) };
            policy(kind, &format!(r#"{{"Statement": [{statement}]}}"#))
        };
        let endpoint = if endpoint.is_empty() { Policy::full_access() } else { attached(Endpoint, endpoint) };
        let identity: Vec<_> =
            Some(identities).filter(|s| !s.is_empty()).map(|s| attached(Identity, s)).into_iter().collect();
        let resource = Some(resource).filter(|s| !s.is_empty()).map(|s| attached(Resource, s));
        assert_eq!(decide(caller, &endpoint, &identity, resource.as_ref()), expected, "{document}: {shown}");
    }
}

const PRINCIPAL: &str = "reference_policies_elements_principal";
const NOT_PRINCIPAL: &str = "reference_policies_elements_notprincipal";

/// Document, what is shown, principal of the endpoint policy's statement, callers that pass.
#[rustfmt::skip]
const PRINCIPALS: &[(&str, &str, &str, &[Caller<'static>])] = &[
    (PRINCIPAL, "anyone", r#""*""#, &[ALICE, BOB, SESSION, ROOT, MY_USER]),
    (PRINCIPAL, "anyone, as a map", r#"{"AWS": "*"}"#, &[ALICE, BOB, SESSION, ROOT, MY_USER]),
    (PRIVATELINK, "an account by its number: everyone in it", r#"{"AWS": "123456789012"}"#, &[ALICE, BOB, SESSION, ROOT]),
    (PRIVATELINK, "an account by its root: everyone in it", r#"{"AWS": "arn:aws:iam::123456789012:root"}"#, &[ALICE, BOB, SESSION, ROOT]),
    (PRINCIPAL, "a user", r#"{"AWS": "arn:aws:iam::123456789012:user/Alice"}"#, &[ALICE]),
    (PRINCIPAL, "names of users have case", r#"{"AWS": "arn:aws:iam::123456789012:user/alice"}"#, &[]),
    (PRINCIPAL, "a list is an OR", r#"{"AWS": ["arn:aws:iam::123456789012:user/Alice", "123412341234"]}"#, &[ALICE, MY_USER]),
    (PRINCIPAL, "a role means its sessions", r#"{"AWS": "arn:aws:iam::123456789012:role/Deployer"}"#, &[SESSION]),
    (PRINCIPAL, "a session", r#"{"AWS": "arn:aws:sts::123456789012:assumed-role/Deployer/ci"}"#, &[SESSION]),
    (PRINCIPAL, "another session of the role", r#"{"AWS": "arn:aws:sts::123456789012:assumed-role/Deployer/other"}"#, &[]),
    (PRINCIPAL, "two kinds in one map", r#"{"AWS": "arn:aws:iam::123456789012:user/Bob", "Service": "ecs.amazonaws.com"}"#, &[BOB]),
    (PRINCIPAL, "a service is none of our callers", r#"{"Service": ["events.amazonaws.com"]}"#, &[]),
    (PRINCIPAL, "a federated provider is none of our callers", r#"{"Federated": "accounts.google.com"}"#, &[]),
    (PRINCIPAL, "a canonical user is none of our callers", r#"{"CanonicalUser": "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"}"#, &[]),
];

#[test]
fn principals_mean_whom_they_are_documented_to_mean() {
    let identity = [identity(YES)];
    let resource = policy(Resource, &format!(r#"{{"Statement": {}}}"#, to("\"*\"", YES)));
    for &(document, shown, principal, passing) in PRINCIPALS {
        let endpoint = policy(Endpoint, &format!(r#"{{"Statement": {}}}"#, to(principal, YES)));
        for caller in [ALICE, BOB, SESSION, ROOT, MY_USER] {
            let expected = if passing.contains(&caller) { Allow } else { Implicit(Endpoint) };
            let outcome = decide(caller, &endpoint, &identity, Some(&resource));
            assert_eq!(outcome, expected, "{document}: {shown}: {}", caller.arn);
        }
    }
}

/// What is shown, `NotPrincipal` of a Deny behind an Allow for all, callers that it spares.
#[rustfmt::skip]
const NOT_PRINCIPALS: &[(&str, &str, &[Caller<'static>])] = &[
    ("user and account: spared", r#"{"AWS": ["arn:aws:iam::123456789012:user/Alice", "arn:aws:iam::123456789012:root"]}"#, &[ALICE, ROOT]),
    ("the user without its account: its account is denied, and so is the user", r#"{"AWS": "arn:aws:iam::123456789012:user/Alice"}"#, &[]),
    ("session, role and account: spared", r#"{"AWS": ["arn:aws:sts::123456789012:assumed-role/Deployer/ci", "arn:aws:iam::123456789012:role/Deployer", "123456789012"]}"#, &[SESSION, ROOT]),
    ("role and account without the session", r#"{"AWS": ["arn:aws:iam::123456789012:role/Deployer", "123456789012"]}"#, &[ROOT]),
    ("nobody of the others", r#"{"Service": "ecs.amazonaws.com"}"#, &[]),
    ("anyone", r#""*""#, &[ALICE, BOB, SESSION, ROOT, MY_USER]),
];

#[test]
fn not_principal_spares_only_who_is_listed_in_full() {
    let identity = [identity(YES)];
    for &(shown, principal, spared) in NOT_PRINCIPALS {
        let deny = NO.replacen('{', &format!(r#"{{"NotPrincipal": {principal}, "#), 1);
        let text = format!(r#"{{"Statement": [{}, {deny}]}}"#, to("\"*\"", YES));
        let resource = policy(Resource, &text);
        for caller in [ALICE, BOB, SESSION, ROOT, MY_USER] {
            let expected = if spared.contains(&caller) { Allow } else { Explicit(Resource) };
            let outcome = decide(caller, &Policy::full_access(), &identity, Some(&resource));
            assert_eq!(outcome, expected, "{NOT_PRINCIPAL}: {shown}: {}", caller.arn);
        }
    }
}

/// `reference_policies_elements_principal`: an account principal "delegates authority to the account".
#[test]
fn a_resource_policy_that_names_the_account_leaves_the_decision_to_its_identity_policies() {
    let resource = policy(Resource, &format!(r#"{{"Statement": {}}}"#, to(r#"{"AWS": "123456789012"}"#, YES)));
    let endpoint = Policy::full_access();
    assert_eq!(decide(ALICE, &endpoint, &[], Some(&resource)), Implicit(Identity));
    assert_eq!(decide(ALICE, &endpoint, &[identity(YES)], Some(&resource)), Allow);
    let both = format!(r#"{{"Statement": [{}, {}]}}"#, to(r#"{"AWS": "123456789012"}"#, YES), to("\"*\"", YES));
    assert_eq!(decide(ALICE, &endpoint, &[], Some(&policy(Resource, &both))), Allow);
}

#[test]
fn a_resource_policy_that_names_the_callers_account_suffices_across_accounts_beside_its_identity_policy() {
    let resource = policy(Resource, &format!(r#"{{"Statement": {}}}"#, to(r#"{"AWS": "123412341234"}"#, YES)));
    assert_eq!(decide(MY_USER, &Policy::full_access(), &[identity(YES)], Some(&resource)), Allow);
    assert_eq!(decide(MY_USER, &Policy::full_access(), &[], Some(&resource)), Implicit(Identity));
}

/// `troubleshoot_access-denied`, with the resource that most services add.
#[test]
fn denials_are_worded_as_aws_words_them() {
    let start = "User: arn:aws:iam::123456789012:user/Alice is not authorized to perform: lambda:InvokeFunction on resource: \
                 arn:aws:lambda:us-east-2:123456789012:function:my-function";
    let end = "policy allows the lambda:InvokeFunction action";
    for (policy_type, explicit, implicit, reason) in [
        (
            Endpoint,
            "with an explicit deny in a VPC endpoint policy",
            "because no VPC endpoint",
            Reason::EndpointPolicyDeny,
        ),
        (
            Identity,
            "with an explicit deny in an identity-based policy",
            "because no identity-based",
            Reason::IdentityPolicyDeny,
        ),
        (
            Resource,
            "with an explicit deny in a resource-based policy",
            "because no resource-based",
            Reason::ResourcePolicyDeny,
        ),
    ] {
        let mut denial = super::super::Denial { policy_type, denied_by: None };
        let asked = request(ALICE, INVOKE, FUNCTION);
        assert_eq!(denial.message(&asked), format!("{start} {implicit} {end}"));
        assert_eq!(denial.reason(), reason);
        denial.denied_by = Some(Ground { policy_type, policy: 0, statement: 0, sid: None });
        assert_eq!(denial.message(&asked), format!("{start} {explicit}"));
    }
}

#[test]
fn a_session_is_named_by_its_session_in_the_message() {
    let policies = Policies { endpoint: &Policy::full_access(), identity: &[], resource: None };
    let asked = request(SESSION, INVOKE, FUNCTION);
    let message = authorize(&policies, &asked).unwrap_err().message(&asked);
    assert!(
        message.starts_with("User: arn:aws:sts::123456789012:assumed-role/Deployer/ci is not authorized"),
        "{message}"
    );
}

#[test]
fn a_permit_and_a_denial_say_which_statement_decided() {
    let text = format!(r#"{{"Statement": [{NOTHING}, {}]}}"#, YES.replacen('{', r#"{"Sid": "Mine", "#, 1));
    let identity = [identity(NOTHING), policy(Identity, &text)];
    let resource = policy(Resource, &format!(r#"{{"Statement": {}}}"#, to("\"*\"", YES)));
    let endpoint = Policy::full_access();
    let policies = Policies { endpoint: &endpoint, identity: &identity, resource: Some(&resource) };
    let permit = authorize(&policies, &request(ALICE, INVOKE, FUNCTION)).unwrap();
    assert_eq!(
        permit.to_string(),
        "endpoint policy statement #0, identity policy 1 statement Mine, resource policy statement #0"
    );
    let text = format!(
        r#"{{"Statement": [{}, {}]}}"#,
        to("\"*\"", YES),
        to("\"*\"", &NO.replacen('{', r#"{"Sid": "stop!", "#, 1))
    );
    let resource = policy(Resource, &text);
    let policies = Policies { resource: Some(&resource), ..policies };
    let denial = authorize(&policies, &request(ALICE, INVOKE, FUNCTION)).unwrap_err();
    assert_eq!(denial.to_string(), "explicit deny by resource policy statement stop!");
}

#[test]
fn a_permit_says_when_being_root_stood_in_for_an_identity_policy() {
    let (endpoint, yes) = (Policy::full_access(), [identity(YES)]);
    let by_root = |caller, identity| {
        let policies = Policies { endpoint: &endpoint, identity, resource: None };
        authorize(&policies, &request(caller, INVOKE, FUNCTION)).unwrap().by_root()
    };
    assert!(by_root(ROOT, &[]));
    assert!(!by_root(ROOT, &yes));
    assert!(!by_root(ALICE, &yes));
}

#[test]
fn the_default_endpoint_policy_is_what_ec2_prints() {
    let printed = policy(Endpoint, super::super::FULL_ACCESS_DOCUMENT);
    assert_eq!(printed, Policy::full_access());
}

#[test]
fn lenient_changes_nothing_but_bare_principals() {
    let lenient = ParseOptions { lenient: true };
    let bare = format!(r#"{{"Statement": {}}}"#, to(r#""arn:aws:iam::123456789012:user/My*""#, YES));
    let faults = Policy::parse_with(Endpoint, &bare, lenient).unwrap_err();
    assert!(faults[0].message.contains("wildcard cannot match part of a principal"), "{}", list(&faults));
}
