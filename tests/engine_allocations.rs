//! What the engine allocates: nothing for a packet that carries nothing new, and a bounded number of times for an invocation.
mod counting;
mod world;

use vpce::engine::Port;
use world::{World, invoke};

fn allocations() -> usize {
    usize::try_from(counting::made().0).unwrap_or(usize::MAX)
}

/// Runs `what` and returns the allocations inside the engine.
fn measured(world: &mut World, what: impl FnOnce(&mut World)) -> usize {
    world.measure(allocations);
    what(world);
    world.measured()
}

#[test]
fn the_meter_counts_the_engine_and_not_the_world() {
    let mut world = World::quickstart();
    assert!(measured(&mut world, |world| assert_eq!(world.connected("10.0.1.10", 50_000), 0)) > 100);
    world.run_for(std::time::Duration::from_millis(100));
    assert_eq!(measured(&mut world, |world| (0..100).for_each(|_| drop(vec![0; world.clients.len()]))), 0);
}

#[test]
fn an_acknowledgement_that_brings_nothing_new_costs_no_allocation() {
    for address in ["10.0.1.10", "2001:db8:1234:1a01::a"] {
        let mut world = World::quickstart();
        let client = world.connected(address, 50_000);
        assert_eq!(world.call(client, invoke(b"1")).status, 200);
        let packet = world.clients[client].acknowledgement();
        let rounds = |world: &mut World| {
            for _ in 0..1_000 {
                world.inject_buffer(Port::Eni(0), packet.clone());
                world.step();
            }
        };
        // Queues reach their size.
        rounds(&mut world);
        let hits = world.count("FLOW_HIT");
        assert_eq!(measured(&mut world, rounds), 0, "{address}");
        assert_eq!(world.count("FLOW_HIT") - hits, 1_000, "each was let in on the fast path");
        assert_eq!(world.call(client, invoke(b"2")).status, 200, "and belonged to the connection");
    }
}

/// 8 were measured: the head, its future, the bodies there and back, the answer's fields, what rustls keeps of records.
const PER_INVOCATION: usize = 12;

#[test]
fn an_invocation_costs_a_bounded_number_of_allocations() {
    let mut world = World::quickstart();
    let client = world.connected("10.0.1.10", 50_000);
    let rounds = |world: &mut World| {
        for n in 0..100_u32 {
            assert_eq!(world.call(client, invoke(format!("[{n}]").as_bytes())).status, 200);
        }
    };
    rounds(&mut world);
    let (first, second) = (measured(&mut world, rounds), measured(&mut world, rounds));
    println!("allocations per invocation: {}, {}", first / 100, second / 100);
    assert!(first / 100 <= PER_INVOCATION, "{first} for 100");
    assert!(second <= first + first / 10, "{first}, then {second}: it does not grow");
}
