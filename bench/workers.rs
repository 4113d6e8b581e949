//! Two workers against one: whether work grows with them, as nothing is shared.
//!
//! Each worker is a thread with an engine, clients and a far side of its own, in memory: 64 connections, invocations of 128
//! bytes. One alone and two together take turns, so that what else happens to the machine happens to both. Not criterion's:
//! what counts is a ratio of runs that lie side by side.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench reads the clock and tells what it found")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on fails loudly")]

/// As in the program.
#[global_allocator]
static ALLOCATOR: vpce::edge::memory::Allocator = vpce::edge::memory::Allocator;

#[path = "../tests/world/mod.rs"]
mod world;

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use vpce::load::machine::thread_time;
use world::{World, invoke, payload};

const CONNECTIONS: u16 = 64;

/// What one worker did in one run.
#[derive(Clone, Copy, Default)]
struct Done {
    invocations: u64,
    wall: Duration,
    processor: Duration,
}

impl Done {
    fn per_second(self) -> f64 {
        self.invocations as f64 / self.wall.as_secs_f64()
    }

    fn per_processor_second(self) -> f64 {
        self.invocations as f64 / self.processor.as_secs_f64()
    }
}

struct Worker {
    world: World,
    clients: Vec<usize>,
    sent: Vec<u8>,
}

impl Worker {
    fn new() -> Self {
        let mut world = World::quickstart();
        let clients = (0..CONNECTIONS).map(|n| world.connected("10.0.1.10", 40_000 + n)).collect();
        Self { world, clients, sent: payload(128) }
    }

    /// One invocation over each connection, all under way together.
    fn round(&mut self) {
        for &client in &self.clients {
            self.world.request(client, invoke(&self.sent));
        }
        self.world.settle();
        for &client in &self.clients {
            let reply = self.world.clients[client].reply().expect("an answer");
            assert!(reply.status == 200 && reply.body == self.sent);
        }
        self.world.records.borrow_mut().clear();
        self.world.advance(Duration::from_micros(20));
    }

    fn run(&mut self, length: Duration) -> Done {
        let (start, processor, mut invocations) = (Instant::now(), thread_time(), 0);
        while start.elapsed() < length {
            self.round();
            invocations += u64::from(CONNECTIONS);
        }
        Done { invocations, wall: start.elapsed(), processor: thread_time() - processor }
    }
}

/// Runs in turn with one worker and with two; returns what was done: in each, by each.
fn runs(times: usize, length: Duration) -> Vec<[Vec<Done>; 2]> {
    let barrier = Arc::new(Barrier::new(2));
    let worker = |number: usize| {
        let barrier = Arc::clone(&barrier);
        move || {
            let mut worker = Worker::new();
            worker.run(length / 4);
            let mut done = Vec::new();
            for _ in 0..times {
                barrier.wait();
                done.push((number == 0).then(|| worker.run(length)));
                barrier.wait();
                done.push(Some(worker.run(length)));
            }
            done
        }
    };
    let other = std::thread::spawn(worker(1));
    let (first, second) = (worker(0)(), other.join().unwrap());
    let of_run = |at: usize| [first[at], second[at]].into_iter().flatten().collect();
    (0..times).map(|time| [of_run(2 * time), of_run(2 * time + 1)]).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = arguments.iter().filter(|argument| !argument.starts_with('-')).all(|name| "workers".contains(&**name));
    if !wanted || arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let is_measured = arguments.iter().any(|argument| argument == "--bench");
    let (times, length) = if is_measured { (15, Duration::from_millis(500)) } else { (1, Duration::from_millis(1)) };
    let runs = runs(times, length);
    let total = |done: &[Done], of: fn(Done) -> f64| done.iter().map(|done| of(*done)).sum::<f64>();
    let by_wall: Vec<[f64; 2]> = runs.iter().map(|run| [0, 1].map(|n| total(&run[n], Done::per_second))).collect();
    let by_processor: Vec<[f64; 2]> =
        runs.iter().map(|run| [0, 1].map(|n| total(&run[n], Done::per_processor_second))).collect();
    println!("one thread does all of it: engine, clients and far side");
    for (name, runs) in [("second", by_wall), ("processor second, added up", by_processor)] {
        let [one, two] = [0, 1].map(|n| median(runs.iter().map(|run| run[n]).collect()));
        let mut ratios: Vec<f64> = runs.iter().map(|run| run[1] / run[0]).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "workers/invocations per {name}: one worker {one:.0}, two workers {two:.0}, ratio {:.2} ({:.2} to {:.2}, {times} pairs)",
            ratios[ratios.len() / 2],
            ratios[0],
            ratios[ratios.len() - 1],
        );
    }
}
