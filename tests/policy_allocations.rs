//! Deciding a request allocates nothing in the common case: full access, exact ARNs, wildcards, conditions on text.

mod counting;

use vpce::policy::{Caller, Context, Policies, Policy, PolicyKind, Request, authorize};

fn allocations(run: impl FnOnce()) -> u64 {
    let before = counting::made().0;
    run();
    counting::made().0 - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_decision_allocates_nothing() {
    let parse = |kind, text| Policy::parse(kind, text).expect("the policies of this test are good");
    let full_access = Policy::full_access();
    let endpoint = parse(
        PolicyKind::Endpoint,
        r#"{"Version": "2012-10-17", "Statement": [
            {"Sid": "One", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123412341234:user/MyUser"},
             "Action": "lambda:InvokeFunction", "Resource": "arn:aws:lambda:us-east-2:123456789012:function:my-function:1",
             "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-ec43eb89"}, "Bool": {"aws:SecureTransport": "true"}}},
            {"Effect": "Deny", "NotPrincipal": {"AWS": ["123412341234", "arn:aws:iam::123412341234:user/MyUser"]},
             "Action": "*", "Resource": "*"}]}"#,
    );
    let identity = [parse(
        PolicyKind::Identity,
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "lambda:Invoke*",
            "Resource": "arn:aws:lambda:*:*:function:my-function:${aws:PrincipalTag/version, '1'}",
            "Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/${aws:username}"},
                          "DateGreaterThan": {"aws:CurrentTime": "1969-01-01"}}}}"#,
    )];
    let resource = parse(
        PolicyKind::Resource,
        r#"{"Statement": {"Effect": "Allow", "Principal": {"AWS": "123412341234"}, "Action": "lambda:InvokeFunction",
            "Resource": "arn:aws:lambda:us-east-2:123456789012:function:my-function:1"}}"#,
    );
    let caller = Caller {
        arn: "arn:aws:iam::123412341234:user/MyUser",
        account: "123412341234",
        user_id: None,
        username: Some("MyUser"),
        role_arn: None,
    };
    let context = Context { source_vpc: Some("vpc-ec43eb89"), secure_transport: true, ..Context::default() };
    let version_1 = "arn:aws:lambda:us-east-2:123456789012:function:my-function:1";
    let request = Request { caller, action: "lambda:InvokeFunction", resource: version_1, context: &context };
    for endpoint in [&full_access, &endpoint] {
        let policies = Policies { endpoint, identity: &identity, resource: Some(&resource) };
        let mut permit = None;
        assert_eq!(allocations(|| permit = authorize(&policies, &request).ok()), 0);
        assert!(permit.is_some());
        let hello = Request { resource: "arn:aws:lambda:us-east-2:123456789012:function:hello", ..request };
        let mut denial = None;
        assert_eq!(allocations(|| denial = authorize(&policies, &hello).err()), 0);
        assert!(denial.is_some());
    }
}
