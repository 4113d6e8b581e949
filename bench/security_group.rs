//! What a walk over compiled rules costs: a thousand rules shall cost at most twice what ten do.

mod allocations;
mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use vpce::packet::{FiveTuple, parse};
use vpce::security_group::{Decision, RuleDirection, SecurityGroupRules, Subject};

fn with_port(subject: &Subject, dst_port: u16) -> Subject {
    Subject { tuple: FiveTuple { dst_port, ..subject.tuple }, ..*subject }
}

fn evaluation(c: &mut Criterion) {
    let subjects: Vec<Subject> = (0..1024)
        .map(|n| Subject::of(parse(&support::tcp4(n * 61, 40_000, true, 0)).expect("a packet").meta()))
        .collect();
    let denied: Vec<Subject> = subjects.iter().map(|subject| with_port(subject, 80)).collect();
    let mut group = c.benchmark_group("security_group/evaluate");
    for count in [1, 10, 100, 1_000] {
        let rules = SecurityGroupRules::compile(&support::topology(support::rules(count)), &[0]);
        assert!(matches!(rules.evaluate(RuleDirection::Ingress, &subjects[0]), Decision::Allow(_)));
        assert_eq!(rules.evaluate(RuleDirection::Ingress, &denied[0]), Decision::Deny);
        let mut at = 0;
        group.bench_function(format!("allowed_by_last_of/{count}"), |b| {
            b.iter(|| {
                at = (at + 1) % subjects.len();
                rules.evaluate(RuleDirection::Ingress, black_box(&subjects[at]))
            });
        });
        group.bench_function(format!("denied_by_all_of/{count}"), |b| {
            b.iter(|| {
                at = (at + 1) % subjects.len();
                rules.evaluate(RuleDirection::Ingress, black_box(&denied[at]))
            });
        });
        allocations::report(
            &format!("security_group/evaluate/{count}"),
            || (),
            |()| rules.evaluate(RuleDirection::Ingress, &subjects[0]),
        );
    }
    // Where the rule stands does not matter, as its place among the compiled intervals is not its place in the group.
    for count in [10, 100, 1_000] {
        for (name, place) in [("first", 0), ("middle", count / 2)] {
            let topology = support::topology(support::rules_admitting_at(place, count));
            let rules = SecurityGroupRules::compile(&topology, &[0]);
            assert!(matches!(rules.evaluate(RuleDirection::Ingress, &subjects[0]), Decision::Allow(_)));
            let mut at = 0;
            group.bench_function(format!("allowed_by_{name}_of/{count}"), |b| {
                b.iter(|| {
                    at = (at + 1) % subjects.len();
                    rules.evaluate(RuleDirection::Ingress, black_box(&subjects[at]))
                });
            });
        }
    }
    let rules = SecurityGroupRules::compile(&support::topology(support::rules(1_000)), &[0]);
    group.bench_function("explain/1000", |b| b.iter(|| rules.explain(RuleDirection::Ingress, black_box(&denied[0]))));
}

criterion_group!(benches, evaluation);
criterion_main!(benches);
