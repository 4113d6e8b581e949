//! A policy of any kind: the first byte chooses kind and leniency, the rest is the document. Every fault has a place in
//! it, and what was parsed can judge.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vpce::policy::{Caller, Context, ParseOptions, Policies, Policy, PolicyKind, Request, authorize};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let kind = [PolicyKind::Endpoint, PolicyKind::Identity, PolicyKind::Resource][usize::from(choice >> 1) % 3];
    match Policy::parse_with(kind, text, ParseOptions { lenient: choice & 1 == 1 }) {
        Err(faults) => {
            assert!(!faults.is_empty(), "a refusal has a reason");
            assert!(faults.iter().all(|fault| !fault.to_string().is_empty()));
        }
        Ok(policy) => judge(kind, &policy),
    }
});

fn judge(kind: PolicyKind, policy: &Policy) {
    let full_access = Policy::full_access();
    let identity = if kind == PolicyKind::Identity { std::slice::from_ref(policy) } else { &[] };
    let endpoint = if kind == PolicyKind::Endpoint { policy } else { &full_access };
    let resource = (kind == PolicyKind::Resource).then_some(policy);
    let policies = Policies { endpoint, identity, resource };
    let context = Context {
        source_vpc: Some("vpc-ec43eb89"),
        vpc_source_ip: Some([10, 0, 1, 10].into()),
        secure_transport: true,
        user_agent: Some(""),
        extra: &[("aws:PrincipalTag/team", &["*", "ä"])],
        ..Context::default()
    };
    let user = Caller {
        arn: "arn:aws:iam::123456789012:user/Admin",
        account: "123456789012",
        user_id: None,
        username: Some("Admin"),
        role_arn: None,
    };
    let root = Caller { arn: "arn:aws:iam::123456789012:root", username: None, ..user };
    for caller in [user, root] {
        let resource = "arn:aws:lambda:us-east-2:123456789012:function:hello";
        let request = Request { caller, action: "lambda:InvokeFunction", resource, context: &context };
        match authorize(&policies, &request) {
            Ok(permit) => assert!(permit.grounds().count() > 0 || permit.by_root(), "somebody allowed it"),
            Err(denial) => assert!(denial.message(&request).contains("not authorized")),
        }
    }
}
