//! A packet through parse, flow and verdict: of a known flow, and the first of a flow.
//!
//! Packets lie where a device would have put them, in bursts as the hot loop reads them; what makes them is not timed. The
//! clock is read twice per burst, about a nanosecond of each packet.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod allocations;
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::Packets;
use vpce::config::SecurityGroupRule;
use vpce::eni::{Egress, EniPacket, EniSnapshot, EniStage, FlowLogSettings, Ingress, Origin};
use vpce::flow::{FlowId, FlowSeed};
use vpce::packet::{VirtioHeader, parse_meta};
use vpce::time::{Moment, Now, UnixTime};
use vpce::verdict::Counters;

const SEED: FlowSeed = FlowSeed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
/// As many packets as the hot loop reads from a device before it looks elsewhere.
const BURST: usize = 64;
/// Visits all flows in no order that a cache could guess, as it has no factor in common with their numbers.
const STRIDE: u32 = 7919;
const HEADER: VirtioHeader = VirtioHeader {
    data_valid: true,
    needs_checksum: false,
    gso_type: vpce::packet::GsoType::None,
    ecn: false,
    header_len: 0,
    gso_size: 0,
    csum_start: 0,
    csum_offset: 0,
};

struct Bench {
    stage: EniStage<u32>,
    counters: Counters,
    now: Now,
    burst: Vec<Packets>,
    /// The next flow to have a packet.
    at: u32,
}

impl Bench {
    /// Room for `flows` flows, and for their records.
    fn new(rules: Vec<SecurityGroupRule>, flows: u32, packet: &[u8]) -> Self {
        let mut topology = support::topology(rules);
        let settings = &mut topology.settings;
        (settings.flow_limit, settings.half_open_limit) = (flows, flows);
        let now = Now { mono: Moment::from_millis(1), unix: UnixTime::from_secs(60) };
        let log = FlowLogSettings { record_limit: 2 * flows as usize, ..FlowLogSettings::default() };
        let snapshot = Arc::new(EniSnapshot::compile(&topology, 1));
        Self {
            stage: EniStage::new(snapshot, SEED, log, now),
            counters: Counters::default(),
            now,
            burst: vec![Packets::like(packet.to_vec()); BURST],
            at: 0,
        }
    }

    fn ingress(&mut self, bytes: &mut [u8]) -> Ingress {
        let meta = parse_meta(black_box(bytes)).expect("a packet");
        let packet = EniPacket { bytes, meta: &meta, header: &HEADER };
        self.stage.ingress(Origin::Vpc, packet, self.now, &self.counters)
    }

    fn egress(&mut self, flow: FlowId, bytes: &mut [u8]) -> Egress {
        let meta = parse_meta(black_box(bytes)).expect("a packet");
        let packet = EniPacket { bytes, meta: &meta, header: &HEADER };
        self.stage.egress(flow, packet, self.now, &self.counters)
    }

    /// Shakes hands for flows from 0 to `count`.
    fn establish(&mut self, count: u32) -> FlowId {
        let mut syns = Packets::like(support::tcp4(0, 0, true, 0));
        let mut answers = Packets::like(support::reply4(true, 0));
        let mut segments = Packets::like(support::tcp4(0, 0, false, 0));
        let mut last = None;
        for n in 0..count {
            let Ingress::Deliver { flow, first: true } = self.ingress(syns.of_flow(n)) else { panic!("not let in") };
            assert_eq!(self.egress(flow, answers.reply_of_flow(n)), Egress::Send(Origin::Vpc));
            assert_eq!(self.ingress(segments.of_flow(n)), Ingress::Deliver { flow, first: false });
            last = Some(flow);
        }
        assert_eq!(self.stage.flows().half_open_len(), 0);
        last.expect("one at least")
    }

    /// Bursts of packets, one of each flow in its turn; afterwards `settle` clears up. What both make ready is not timed.
    fn bursts(&mut self, times: u64, flows: u32, is_first: bool, settle: fn(&mut Self)) -> Duration {
        let (mut left, mut taken, mut burst) = (times, Duration::ZERO, std::mem::take(&mut self.burst));
        while left > 0 {
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(BURST);
            for packet in &mut burst[..size] {
                self.at = (self.at + STRIDE) % flows;
                packet.of_flow(self.at);
            }
            let start = Instant::now();
            for packet in &mut burst[..size] {
                let verdict = self.ingress(packet.bytes());
                assert!(matches!(verdict, Ingress::Deliver { first, .. } if first == is_first));
            }
            taken += start.elapsed();
            settle(self);
            left -= size as u64;
        }
        self.burst = burst;
        taken
    }

    /// Lets the handshakes of all flows take too long, and time go on.
    fn forget(&mut self) {
        self.now = self.now.after(Duration::from_secs(11));
        while !self.stage.flows().is_empty() {
            while self.stage.poll_ended(self.now, &self.counters).is_some() {}
        }
        while self.stage.poll_records(self.now).is_some() {}
    }
}

fn known(c: &mut Criterion) {
    let segment = support::tcp4(0, 0, false, 100);
    let counts = [&[1][..], support::flow_counts()].concat();
    for count in counts {
        let mut bench = Bench::new(support::rules(10), count, &segment);
        let last = bench.establish(count);
        let mut group = c.benchmark_group("eni");
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("ingress/parse_and_known_flow/{count}"), |b| {
            b.iter_custom(|times| bench.bursts(times, count, false, |_| {}));
        });
        group.finish();
        let mut answer = Packets::like(support::reply4(false, 100));
        let bytes = answer.reply_of_flow(count - 1);
        if count == 1 {
            c.bench_function("eni/egress/parse_and_known_flow/1", |b| b.iter(|| bench.egress(last, bytes)));
        }
        allocations::report(
            &format!("eni/ingress/parse_and_known_flow/{count}"),
            || (),
            |()| bench.bursts(1, count, false, |_| {}),
        );
    }
}

fn first(c: &mut Criterion) {
    let syn = support::tcp4(0, 0, true, 0);
    for rules in [10, 100, 1_000] {
        let mut bench = Bench::new(support::rules(rules), 4_096, &syn);
        let mut group = c.benchmark_group("eni");
        group.throughput(Throughput::Elements(1)).sample_size(20).measurement_time(Duration::from_secs(2));
        group.bench_function(format!("ingress/parse_and_first_packet/{rules}_rules"), |b| {
            b.iter_custom(|times| bench.bursts(times, 1 << 20, true, Bench::forget));
        });
        group.finish();
        allocations::report(
            &format!("eni/ingress/parse_and_first_packet/{rules}_rules"),
            || (),
            |()| bench.bursts(1, 1 << 20, true, |_| {}),
        );
    }
}

/// The end of a flow log's window with many flows: all of their records are handed over.
fn window_end(c: &mut Criterion) {
    let flows = if support::is_measured() { 100_000 } else { 1_000 };
    let mut bench = Bench::new(support::rules(10), flows, &support::tcp4(0, 0, false, 100));
    bench.establish(flows);
    let mut group = c.benchmark_group("eni");
    group.throughput(Throughput::Elements(u64::from(flows))).sample_size(10);
    group.bench_function(format!("flow_log/records_of_{flows}_flows"), |b| {
        b.iter_custom(|times| {
            let one = |_| {
                bench.bursts(u64::from(flows), flows, false, |_| {});
                bench.now = bench.now.after(Duration::from_secs(60));
                let (start, mut records) = (Instant::now(), Vec::new());
                while let Some(record) = bench.stage.poll_records(bench.now) {
                    records.push(record);
                }
                let taken = start.elapsed();
                assert!(records.len() >= flows as usize);
                taken
            };
            (0..times).map(one).sum()
        });
    });
    group.finish();
}

criterion_group!(benches, known, first, window_end);
criterion_main!(benches);
