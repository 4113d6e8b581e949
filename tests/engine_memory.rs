//! What an idle connection holds in memory: two buffers of TCP's, of which it costs only what was written, and little else.
mod counting;
mod world;

use std::time::Duration;

use world::http2::Http2;
use world::{World, invoke, payload};

/// TCP's buffers of one connection, bytes.
const BUFFERS: usize = 2 * 65_536;

fn held() -> usize {
    counting::held().0
}

fn zeroed() -> usize {
    counting::held().1
}

/// What the engine allocates for each of some connections, and keeps once `serve` has served a request and they are idle;
/// without TCP's buffers.
fn kept(alpn: &[u8], read: fn() -> usize, mut serve: impl FnMut(&mut World, usize)) -> usize {
    const WARM: u16 = 8;
    const CONNECTIONS: u16 = 100;
    let mut world = World::quickstart();
    let mut open = |world: &mut World, port| {
        let client = world.connect_with("10.0.1.10", port, alpn);
        assert!(world.run_until(Duration::from_secs(60), |world| !world.clients[client].tls.is_handshaking()));
        serve(world, client);
        // The world's own list of what was logged.
        world.records.borrow_mut().truncate(0);
    };
    // Queues, tables and connections to the function host reach their size.
    (0..WARM).for_each(|port| open(&mut world, 50_000 + port));
    world.measure(read);
    (0..CONNECTIONS).for_each(|port| open(&mut world, 51_000 + port));
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.engine.load()[0], usize::from(WARM + CONNECTIONS), "all are open");
    let each = world.measured() / usize::from(CONNECTIONS);
    each.checked_sub(BUFFERS).expect("each connection has its buffers")
}

fn small(world: &mut World, client: usize) {
    assert_eq!(world.call(client, invoke(b"[1]")).status, 200);
}

/// 8,900 were measured, 9,200 after much: 4,096 of them rustls reads into; the rest is its session, TCP's socket, what HTTP
/// knows, the client.
const HTTP1: usize = 9_800;

#[test]
fn an_idle_connection_holds_little_beside_its_buffers() {
    let each = kept(b"http/1.1", held, small);
    assert!(each <= HTTP1, "{each}");
}

#[test]
fn a_connection_that_carried_much_holds_no_more_once_it_is_idle() {
    let each = kept(b"http/1.1", held, |world, client| {
        assert_eq!(world.call(client, invoke(&payload(300_000))).status, 200);
    });
    assert!(each <= HTTP1, "{each}");
}

/// 45,400 were measured: 28,672 are what h2 reads, writes and decodes headers with.
const HTTP2: usize = 47_000;

#[test]
fn an_idle_http2_connection_holds_what_h2_does_and_little_more() {
    let mut clients = Vec::new();
    let each = kept(b"h2", held, |world, client| {
        let http2 = Http2::new(client, 65_535);
        let answer = http2.request(world, invoke(b"[1]"));
        assert!(world.run_until(Duration::from_secs(60), |world| {
            http2.pump(world);
            answer.borrow().is_some()
        }));
        clients.push(http2);
    });
    assert!(each <= HTTP2, "{each}");
}

#[test]
fn buffers_are_asked_for_as_zeros_so_that_nobody_writes_them_for_nothing() {
    // `edge/memory.rs` hands such blocks out untouched.
    let each = kept(b"http/1.1", zeroed, small);
    assert!(each < 1_024, "nothing else is: {each}");
}
