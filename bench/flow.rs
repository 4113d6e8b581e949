//! What a flow costs: to be found, to be made, to time out, and what of it grows with the number of flows.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod allocations;
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::Packets;
use vpce::flow::{Direction, FlowLimits, FlowSeed, FlowTable, FlowTimeouts, Observed, TimerWheel};
use vpce::packet::{FiveTuple, PacketMeta, parse};
use vpce::time::Moment;

const SEED: FlowSeed = FlowSeed([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
/// Flows made, or timed out, between two looks at the clock.
const BATCH: u32 = 1_024;
/// Visits all flows in no order that a cache could guess, as it has no factor in common with their numbers.
const STRIDE: usize = 7919;

fn meta(bytes: &[u8]) -> PacketMeta {
    *parse(bytes).expect("a packet").meta()
}

/// A table of established connections that outlive every bench, and those who come and go beside them.
struct Bench {
    table: FlowTable<(), ()>,
    count: u32,
    now: Moment,
    syns: Packets,
    newest: u32,
}

impl Bench {
    fn new(count: u32) -> Self {
        let limits = FlowLimits { flows: count + 2 * BATCH, half_open: count + 2 * BATCH };
        let timeouts = FlowTimeouts { tcp: Duration::from_secs(1 << 32), ..FlowTimeouts::default() };
        let mut table = FlowTable::new(limits, timeouts, SEED);
        let mut syns = Packets::like(support::tcp4(0, 0, true, 0));
        let mut answers = Packets::like(support::reply4(true, 0));
        let mut segments = Packets::like(support::tcp4(0, 0, false, 0));
        let now = Moment::default();
        for n in 0..count {
            let flow = table.open(&meta(syns.of_flow(n)), (), 1, now).expect("room").id;
            table.observe(flow, Direction::Reply, &meta(answers.reply_of_flow(n)), now);
            let observed = table.observe(flow, Direction::Original, &meta(segments.of_flow(n)), now);
            assert_eq!(observed, Observed::Established);
        }
        Self { table, count, now, syns, newest: count }
    }

    /// First packets of flows that are not there.
    fn newcomers(&mut self, number: u32) -> Vec<PacketMeta> {
        let next = |_| {
            // Many batches pass before a five-tuple comes again.
            self.newest = if self.newest == self.count + 64 * BATCH { self.count } else { self.newest } + 1;
            meta(self.syns.of_flow(self.newest))
        };
        (0..number).map(next).collect()
    }

    fn insert(&mut self, newcomers: &[PacketMeta]) {
        for newcomer in newcomers {
            black_box(self.table.open(newcomer, (), 1, self.now).expect("room"));
        }
    }

    /// Lets the handshakes of newcomers take too long.
    fn expire(&mut self) -> u32 {
        self.now += FlowTimeouts::default().tcp_half_open;
        let mut expired = 0;
        while self.table.poll_expired(self.now, &mut { u32::MAX }).is_some() {
            expired += 1;
        }
        expired
    }

    /// Batches of flows come and go; what `is_timed` says of it counts.
    fn come_and_go(&mut self, times: u64, [making, ending]: [bool; 2]) -> Duration {
        let (mut left, mut taken) = (times, Duration::ZERO);
        while left > 0 {
            let number = u32::try_from(left).unwrap_or(u32::MAX).min(BATCH);
            let newcomers = self.newcomers(number);
            let start = Instant::now();
            self.insert(&newcomers);
            let made = Instant::now();
            assert_eq!(self.expire(), number);
            taken += if making { made - start } else { Duration::ZERO };
            taken += if ending { made.elapsed() } else { Duration::ZERO };
            left -= u64::from(number);
        }
        taken
    }
}

fn finding(c: &mut Criterion) {
    for &count in support::flow_counts() {
        let mut bench = Bench::new(count);
        let tuples: Vec<FiveTuple> = (0..count).map(|n| meta(bench.syns.of_flow(n)).tuple()).collect();
        let strangers: Vec<FiveTuple> = bench.newcomers(BATCH).iter().map(PacketMeta::tuple).collect();
        let table = &bench.table;
        let mut at = 0;
        let mut next = |tuples: &[FiveTuple]| {
            at = (at + STRIDE) % tuples.len();
            tuples[at]
        };
        let mut group = c.benchmark_group("flow/find");
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("hit/{count}"), |b| {
            b.iter(|| table.find(black_box(&next(&tuples))).expect("known"));
        });
        group.bench_function(format!("miss/{count}"), |b| {
            b.iter(|| assert!(table.find(black_box(&next(&strangers))).is_none()));
        });
        group.finish();
        allocations::report(&format!("flow/find/hit/{count}"), || (), |()| table.find(&tuples[0]));
        allocations::report(&format!("flow/find/miss/{count}"), || (), |()| table.find(&strangers[0]));
    }
}

fn making(c: &mut Criterion) {
    for &count in support::flow_counts() {
        let mut bench = Bench::new(count);
        // Nobody pays for a place that was never used before.
        bench.come_and_go(u64::from(BATCH), [true; 2]);
        let mut group = c.benchmark_group("flow");
        // Far more than what is timed goes on around it.
        group.throughput(Throughput::Elements(1)).sample_size(20).measurement_time(Duration::from_secs(2));
        group.bench_function(format!("insert/{count}"), |b| b.iter_custom(|n| bench.come_and_go(n, [true, false])));
        group.bench_function(format!("expire/{count}"), |b| b.iter_custom(|n| bench.come_and_go(n, [false, true])));
        group.finish();
        let newcomers = bench.newcomers(BATCH);
        let mut newcomer = newcomers.chunks(1).cycle();
        allocations::report(
            &format!("flow/insert_and_expire/{count}"),
            || newcomer.next().expect("for ever"),
            |newcomer| {
                bench.insert(newcomer);
                bench.expire()
            },
        );
    }
}

fn timers(c: &mut Criterion) {
    let mut wheel = TimerWheel::with_capacity(50_000);
    let mut now = Moment::default();
    for key in 0..50_000 {
        wheel.schedule(key, now + Duration::from_millis(u64::from(key) * 7));
    }
    let mut key = 0;
    c.bench_function("flow/wheel/move_one_of_50000", |b| {
        b.iter(|| {
            key = (key + STRIDE as u32) % 50_000;
            now += Duration::from_micros(1);
            wheel.schedule(key, now + Duration::from_secs(350));
        });
    });
}

criterion_group!(benches, finding, making, timers);
criterion_main!(benches);
