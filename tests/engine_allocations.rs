//! What the engine allocates: nothing for a packet that carries nothing new, and a bounded number of times for an invocation.
#![expect(unsafe_code, reason = "a global allocator that counts can only be written so")]

mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use vpce::engine::Port;
use world::{World, invoke};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, that is from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: `pointer` came from `alloc` above, that is from `System`, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations() -> usize {
    ALLOCATIONS.with(Cell::get)
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

/// 62 were measured: head and its headers, signature, policies, catalogue, the host's request and answer, record.
const PER_INVOCATION: usize = 75;

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
