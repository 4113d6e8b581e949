//! Tests of the policy evaluator. Every row of the tables names the AWS document that its expected outcome comes from;
//! pages without a guide's name are from the IAM User Guide.

mod authorize_table;
mod blog;
mod cache;
mod condition_table;
mod element_table;
mod fault_table;
mod properties;

use std::net::{IpAddr, Ipv4Addr};

use super::{Caller, Context, Fault, Policies, Policy, PolicyKind, Request, authorize};
use crate::time::UnixTime;

const FUNCTION: &str = "arn:aws:lambda:us-east-2:123456789012:function:my-function";
const VERSION_1: &str = "arn:aws:lambda:us-east-2:123456789012:function:my-function:1";
const HELLO: &str = "arn:aws:lambda:us-east-2:123456789012:function:hello";
const INVOKE: &str = "lambda:InvokeFunction";

/// A user in the functions' account.
const ALICE: Caller<'_> = Caller {
    arn: "arn:aws:iam::123456789012:user/Alice",
    account: "123456789012",
    user_id: Some("AIDAALICE"),
    username: Some("Alice"),
    role_arn: None,
};
/// Another user there.
const BOB: Caller<'_> =
    Caller { arn: "arn:aws:iam::123456789012:user/Bob", user_id: Some("AIDABOB"), username: Some("Bob"), ..ALICE };
/// A role session there.
const SESSION: Caller<'_> = Caller {
    arn: "arn:aws:sts::123456789012:assumed-role/Deployer/ci",
    account: "123456789012",
    user_id: Some("AROADEPLOYER:ci"),
    username: None,
    role_arn: Some("arn:aws:iam::123456789012:role/Deployer"),
};
/// The root user there.
const ROOT: Caller<'_> =
    Caller { arn: "arn:aws:iam::123456789012:root", user_id: None, username: None, role_arn: None, ..ALICE };
/// The blog's user, in another account.
const MY_USER: Caller<'_> = Caller {
    arn: "arn:aws:iam::123412341234:user/MyUser",
    account: "123412341234",
    user_id: Some("AIDAMYUSER"),
    username: Some("MyUser"),
    role_arn: None,
};

/// A request through the quickstart endpoint, at 2015-08-30T12:36:00Z.
const CONTEXT: Context<'_> = Context {
    source_vpce: Some("vpce-0123456789abcdef0"),
    source_vpc: Some("vpc-ec43eb89"),
    source_vpc_arn: Some("arn:aws:ec2:us-east-2:123456789012:vpc/vpc-ec43eb89"),
    vpce_account: Some("123456789012"),
    vpc_source_ip: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 1, 10))),
    current_time: UnixTime::from_secs(1_440_938_160),
    secure_transport: true,
    user_agent: Some("aws-cli/2.0 Python/3.13"),
    requested_region: Some("us-east-2"),
    function_arn: Some(FUNCTION),
    extra: &[
        ("aws:PrincipalTag/team", &["my-function"]),
        ("aws:PrincipalTag/star", &["*"]),
        ("aws:PrincipalTag/empty", &[""]),
        ("aws:PrincipalTag/level", &["7"]),
        ("aws:PrincipalTag/blob", &["QmluYXJ5VmFsdWVJbkJhc2U2NA=="]),
        ("aws:TagKeys", &["cost", "owner"]),
        ("aws:RequestTag/none", &[]),
        ("aws:SourceArn", &["arn:aws:sns:us-east-2:123456789012:topic:with:colons"]),
    ],
};

const fn request<'a>(caller: Caller<'a>, action: &'a str, resource: &'a str) -> Request<'a> {
    Request { caller, action, resource, context: &CONTEXT }
}

/// Parses a policy that must be good.
fn policy(kind: PolicyKind, text: &str) -> Policy {
    Policy::parse(kind, text).unwrap_or_else(|faults| panic!("{text}\n{}", list(&faults)))
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

/// An identity policy of one statement, of the current version.
fn identity(statement: &str) -> Policy {
    policy(PolicyKind::Identity, &format!(r#"{{"Version": "2012-10-17", "Statement": {statement}}}"#))
}

/// Whether these identity policies alone allow the request, through an endpoint with full access.
fn allowed_by(identity: &[Policy], request: &Request<'_>) -> bool {
    let endpoint = Policy::full_access();
    authorize(&Policies { endpoint: &endpoint, identity, resource: None }, request).is_ok()
}
