//! What a packet costs before anything is decided about it.

mod allocations;
mod support;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use vpce::packet::{Segmenter, VirtioHeader, checksum, clamp_mss, parse};

fn parsing(c: &mut Criterion) {
    for (name, bytes) in [("tcp4", support::tcp4(1, 40_000, false, 200)), ("tcp6", support::tcp6(200))] {
        c.bench_function(&format!("packet/parse/{name}"), |b| b.iter(|| parse(black_box(&bytes)).is_ok()));
        allocations::report(&format!("packet/parse/{name}"), || (), |()| parse(&bytes).is_ok());
    }
}

fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("packet/checksum");
    for payload in [200, 1460, 65_000] {
        let mut bytes = support::tcp4(1, 40_000, false, payload);
        let meta = *parse(&bytes).expect("a packet").meta();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("verify/{payload}"), |b| {
            b.iter(|| checksum::verify_transport(black_box(&bytes), &meta));
        });
        group.bench_function(format!("fill/{payload}"), |b| {
            b.iter(|| checksum::fill_transport(black_box(&mut bytes), &meta));
        });
    }
}

fn changes(c: &mut Criterion) {
    let syn = support::tcp4(1, 40_000, true, 0);
    let meta = *parse(&syn).expect("a packet").meta();
    c.bench_function("packet/clamp_mss/syn", |b| {
        let state = VirtioHeader::default().checksum_state();
        b.iter_batched_ref(|| syn.clone(), |bytes| clamp_mss(bytes, &meta, state, 8365), BatchSize::SmallInput);
    });
}

fn segmentation(c: &mut Criterion) {
    let bytes = support::tcp4(1, 40_000, false, 64_240);
    let meta = *parse(&bytes).expect("a packet").meta();
    let header = VirtioHeader::for_tcp(&meta, Some(1460));
    let mut buffer = vec![0; 1500];
    let mut group = c.benchmark_group("packet/segment");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut cut = || {
        let mut segmenter = Segmenter::new(&bytes, &meta, &header).expect("a super-segment");
        while let Ok(Some(len)) = segmenter.emit_next(&mut buffer) {
            black_box(&buffer[..len]);
        }
    };
    group.bench_function("64240_to_1460", |b| b.iter(&mut cut));
    allocations::report("packet/segment/64240_to_1460", || (), |()| cut());
}

criterion_group!(benches, parsing, checksums, changes, segmentation);
criterion_main!(benches);
