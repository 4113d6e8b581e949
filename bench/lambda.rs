//! The Lambda API's own work: paths, names, ids, and whether a payload is JSON.

mod allocations;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::Method;
use vpce::config::builtin;
use vpce::lambda::Catalog;
use vpce::lambda::error::Violations;
use vpce::lambda::ids::IdGenerator;
use vpce::lambda::name::{NamedFunction, Scope};
use vpce::lambda::payload::check;
use vpce::lambda::route::route;
use vpce::time::UnixTime;

const NOW: UnixTime = UnixTime::from_secs(1_795_448_280);
const PATH: &str = "/2015-03-31/functions/hello/invocations";
/// 128 bytes as a shop sends them.
const ORDER: &[u8] = br#"{"orderId":"5f1c2a","customer":{"name":"J. Doe","tier":3},"items":[{"sku":"A-1","n":2},{"sku":"B-7","n":1}],"express":true}     "#;

fn naming(c: &mut Criterion) {
    let topology = builtin("quickstart").and_then(|topology| topology.check().ok()).expect("a good topology");
    let catalog = Catalog::new(&topology, NOW, |_| None);
    let scope: &Scope = catalog.scope();
    let name = || NamedFunction::resolve(black_box("hello"), None, scope, Violations::default()).expect("a good name");
    let named = name();
    let mut ids = IdGenerator::new([3; 32]);
    let mut group = c.benchmark_group("lambda");
    group.bench_function("route/invoke", |b| b.iter(|| route(&Method::POST, black_box(PATH), None).is_ok()));
    group.bench_function("name/resolve", |b| b.iter(name));
    group.bench_function("catalog/resolve", |b| b.iter(|| catalog.resolve(black_box(&named))));
    group.bench_function("ids/request_and_trace", |b| b.iter(|| (ids.request_id(), ids.trace(NOW))));
    let trace = ids.trace(NOW);
    group.bench_function("ids/trace_texts", |b| b.iter(|| (black_box(&trace).to_runtime(), trace.to_response())));
    group.finish();
    allocations::report("lambda/route/invoke", || (), |()| route(&Method::POST, PATH, None).is_ok());
    allocations::report("lambda/name/resolve", || (), |()| name());
    allocations::report("lambda/catalog/resolve", || (), |()| catalog.resolve(&named));
    allocations::report("lambda/ids/request_and_trace", || (), |()| (ids.request_id(), ids.trace(NOW)));
}

fn payloads(c: &mut Criterion) {
    let mut pretty = String::from("[\n");
    while pretty.len() < 6 << 20 {
        pretty.push_str("    {\n        \"name\": \"somebody\",\n        \"value\": 12345.678,\n        \"flags\": [true, null]\n    },\n");
    }
    pretty.push_str("    1\n]");
    let string = |text: &str, len: usize| format!("\"{}\"", text.repeat(len / text.len()));
    let mut group = c.benchmark_group("lambda/payload");
    for (name, payload) in [
        ("128_object", ORDER.to_vec()),
        ("128_string", string("x", 126).into_bytes()),
        ("6MB_string", string("x", 6 << 20).into_bytes()),
        ("6MB_japanese", string("日本語", 6 << 20).into_bytes()),
        ("6MB_indented_objects", pretty.into_bytes()),
    ] {
        assert_eq!(check(&payload), Ok(()), "{name}");
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(name, |b| b.iter(|| check(black_box(&payload)).is_ok()));
        allocations::report(&format!("lambda/payload/{name}"), || (), |()| check(&payload).is_ok());
    }
}

criterion_group!(benches, naming, payloads);
criterion_main!(benches);
