//! Parsing policies, and deciding by them.

mod allocations;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vpce::policy::{Caller, Context, DecisionCache, Policies, Policy, PolicyKind, Request, authorize};

const BLOG: &str = include_str!("../netns/policies/blog-mended.json");
const VERSION_1: &str = "arn:aws:lambda:us-east-2:123456789012:function:my-function:1";
const MY_USER: Caller<'_> = Caller {
    arn: "arn:aws:iam::123412341234:user/MyUser",
    account: "123412341234",
    user_id: None,
    username: Some("MyUser"),
    role_arn: None,
};

/// 100 statements with conditions, of which the last alone allows: as much as the 20,480 characters of an endpoint policy
/// hold.
fn hundred() -> String {
    let statement = |n: usize| {
        let function = if n == 99 { "my-function:1".to_owned() } else { format!("t{n}-*") };
        let condition = r#"{"StringEquals":{"aws:SourceVpc":"vpc-ec43eb89"},"Bool":{"aws:SecureTransport":"true"}}"#;
        let resource = format!("arn:aws:lambda:*:*:function:{function}");
        format!(
            r#"{{"Effect":"Allow","Principal":"*","Action":"lambda:*","Resource":"{resource}","Condition":{condition}}}"#
        )
    };
    let statements: Vec<String> = (0..100).map(statement).collect();
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","))
}

fn decide(c: &mut Criterion) {
    let parse = |kind, text: &str| Policy::parse(kind, text).expect("a good policy");
    let resource = parse(
        PolicyKind::Resource,
        r#"{"Statement": {"Effect": "Allow", "Principal": {"AWS": "123412341234"}, "Action": "lambda:InvokeFunction",
            "Resource": "arn:aws:lambda:us-east-2:123456789012:function:my-function:1"}}"#,
    );
    let identity =
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}}"#;
    let identity = [parse(PolicyKind::Identity, identity)];
    let context = Context {
        source_vpc: Some("vpc-ec43eb89"),
        vpc_source_ip: Some([10, 0, 1, 10].into()),
        secure_transport: true,
        ..Context::default()
    };
    let request = Request { caller: MY_USER, action: "lambda:InvokeFunction", resource: VERSION_1, context: &context };
    let denied = Request { resource: "arn:aws:lambda:us-east-2:123456789012:function:hello", ..request };
    let mut group = c.benchmark_group("policy/authorize");
    group.throughput(Throughput::Elements(1));
    for (name, endpoint, request, allowed) in [
        ("full_access", Policy::full_access(), request, true),
        ("blog_allow", parse(PolicyKind::Endpoint, BLOG), request, true),
        ("blog_deny", parse(PolicyKind::Endpoint, BLOG), denied, false),
        ("100_statements_with_conditions", parse(PolicyKind::Endpoint, &hundred()), request, true),
    ] {
        let policies = Policies { endpoint: &endpoint, identity: &identity, resource: Some(&resource) };
        assert_eq!(authorize(&policies, &request).is_ok(), allowed, "{name}");
        group.bench_function(name, |b| b.iter(|| authorize(black_box(&policies), black_box(&request)).is_ok()));
        allocations::report(&format!("policy/authorize/{name}"), || (), |()| authorize(&policies, &request).is_ok());
        let mut cache = DecisionCache::default();
        let mut remembered = || cache.authorize(Some(0), black_box(&policies), black_box(&request)).0.is_ok();
        assert_eq!((remembered(), remembered()), (allowed, allowed), "{name}");
        group.bench_function(format!("{name}_cached"), |b| b.iter(&mut remembered));
        allocations::report(&format!("policy/authorize/{name}_cached"), || (), |()| remembered());
    }
}

fn parsing(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy/parse");
    let hundred = hundred();
    for (name, text) in [("blog", BLOG), ("100_statements_with_conditions", &*hundred)] {
        let kind = PolicyKind::Endpoint;
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| Policy::parse(kind, black_box(text)).is_ok()));
        allocations::report(&format!("policy/parse/{name}"), || (), |()| Policy::parse(kind, text).is_ok());
    }
}

criterion_group!(benches, decide, parsing);
criterion_main!(benches);
