//! Sealing and opening frames of the tunnel, by the inner packet's length.

mod allocations;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use vpce::tunnel::esp::{InboundSa, OutboundSa, frame_len};
use vpce::tunnel::keys::SaKeys;

/// A small answer, a full frame on a 1,500-byte path, and the endpoint's MTU.
const LENGTHS: [usize; 3] = [200, 1400, 8400];

fn keys() -> SaKeys {
    SaKeys::new(0x1001, [7; 32], [9; 4]).expect("not reserved")
}

fn inner(len: usize) -> Vec<u8> {
    let mut packet = vec![0x5a; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(len).expect("a packet's length").to_be_bytes());
    packet
}

fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("esp/seal");
    for len in LENGTHS {
        let (mut sa, inner, mut frame) = (OutboundSa::new(&keys()), inner(len), vec![0; frame_len(len)]);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(len.to_string(), |b| b.iter(|| sa.seal(black_box(&inner), &mut frame).expect("sealed")));
        allocations::report(&format!("esp/seal/{len}"), || (), |()| sa.seal(&inner, &mut frame));
    }
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("esp/open");
    for len in LENGTHS {
        let (mut outbound, mut inbound, inner) = (OutboundSa::new(&keys()), InboundSa::new(&keys(), 1024), inner(len));
        let mut next = || {
            let mut frame = vec![0; frame_len(len)];
            outbound.seal(&inner, &mut frame).expect("sealed");
            frame
        };
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(len.to_string(), |b| {
            b.iter_batched_ref(&mut next, |frame| inbound.open(frame).expect("genuine").len(), BatchSize::SmallInput);
        });
        allocations::report(&format!("esp/open/{len}"), &mut next, |frame| {
            inbound.open(frame).map(|inner| inner.len())
        });
    }
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
