//! The function host well and ill: silent, refusing, gone, restarted, slow; and Event invocations.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly")]

mod world;

use std::time::Duration;

use http::Request;
use world::far_side::Behaviour;
use world::http2::Http2;
use world::{INVOKE, Reply, World, invoke, payload};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const APP: &str = "10.0.1.10";

/// Invokes, and returns the answer and how long it took.
fn timed(world: &mut World, client: usize) -> (Reply, Duration) {
    let start = world.now.mono;
    let reply = world.call(client, invoke(b"1"));
    (reply, world.now.mono.since(start))
}

fn assert_service_exception(reply: &Reply) {
    let text = String::from_utf8_lossy(&reply.body);
    assert_eq!(
        (reply.status, &reply.headers["x-amzn-errortype"]),
        (500, &"ServiceException".parse().unwrap()),
        "{text}"
    );
}

#[test]
fn a_silent_host_is_waited_for_as_long_as_the_function_may_run_and_no_longer() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.far.behaviour = Behaviour::Silent;
    let timeout = world.topology.functions.iter().find(|function| function.name == "echo").unwrap().timeout;
    let (reply, took) = timed(&mut world, client);
    assert_service_exception(&reply);
    assert!((timeout..=timeout + 16 * SECOND).contains(&took), "{took:?}");
    assert_eq!(world.count("LAMBDA_HOST_UNAVAILABLE"), 1);
    world.far.behaviour = Behaviour::Echo;
    assert_eq!(timed(&mut world, client).0.status, 200);
    world.wind_down();
}

#[test]
fn a_host_that_hangs_does_not_keep_its_connections_for_ever() {
    let mut world = World::quickstart();
    world.far.behaviour = Behaviour::Silent;
    // More than the pool has connections, two rounds of them.
    for round in 0..2 {
        let clients: Vec<_> = (0..300).map(|n| world.connect_from(APP, 40_000 + round * 1_000 + n)).collect();
        for &client in &clients {
            world.request(client, invoke(b"1"));
        }
        for &client in &clients {
            assert_service_exception(&world.reply(client));
            world.clients[client].close();
        }
    }
    world.run_for(20 * SECOND);
    assert_eq!(world.engine.load(), [0, 0, 0], "{:?}", world.engine);
    world.far.behaviour = Behaviour::Echo;
    let client = world.connect_from(APP, 50_000);
    assert_eq!(timed(&mut world, client).0.status, 200);
    world.wind_down();
}

#[test]
fn a_refusing_host_fails_invocations_at_once_until_it_accepts_again() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.far.behaviour = Behaviour::Refuse;
    for _ in 0..3 {
        let (reply, took) = timed(&mut world, client);
        assert_service_exception(&reply);
        assert!(took < SECOND, "{took:?}");
    }
    world.far.behaviour = Behaviour::Echo;
    assert_eq!(timed(&mut world, client).0.status, 200);
    assert_eq!(world.count("TCP_ESTABLISHED"), 1, "the client's connection is still the first");
    world.wind_down();
}

#[test]
fn a_dead_tunnel_fails_invocations_within_seconds_and_recovers_by_itself() {
    // With no connection yet, and with idle ones.
    for warm in [false, true] {
        let mut world = World::quickstart();
        let clients: Vec<_> = (0..20).map(|n| world.connected(APP, 50_000 + n)).collect();
        if warm {
            for &client in &clients {
                world.request(client, invoke(b"1"));
            }
            for &client in &clients {
                assert_eq!(world.reply(client).status, 200);
            }
        }
        world.far.behaviour = Behaviour::Dead;
        let start = world.now.mono;
        for &client in &clients {
            world.request(client, invoke(b"1"));
        }
        for &client in &clients {
            assert_service_exception(&world.reply(client));
        }
        let took = world.now.mono.since(start);
        assert!((3 * SECOND..10 * SECOND).contains(&took), "{took:?}");
        world.far.behaviour = Behaviour::Echo;
        for &client in &clients {
            assert_eq!(timed(&mut world, client).0.status, 200, "warm: {warm}");
        }
        world.wind_down();
    }
}

#[test]
fn an_attempt_begun_before_an_invocation_does_not_fail_it() {
    let mut world = World::with(|topology| {
        topology.tunnel.path = "vpn".to_owned();
        let path = topology.paths.iter_mut().find(|path| path.name == "vpn").unwrap();
        path.to_aws.delay = Duration::from_millis(300);
    });
    let (early, late) = (world.connected(APP, 50_000), world.connected(APP, 50_001));
    world.far.behaviour = Behaviour::Dead;
    world.request(early, invoke(b"1"));
    world.run_for(Duration::from_millis(3_900));
    // The tunnel is back; while the second invocation's SYN is answered, the first one's attempt is given up.
    world.far.behaviour = Behaviour::Echo;
    world.request(late, invoke(b"2"));
    assert_service_exception(&world.reply(early));
    assert!(world.clients[late].received.is_empty());
    let reply = world.reply(late);
    assert_eq!((reply.status, &reply.body[..]), (200, &b"2"[..]));
    world.wind_down();
}

#[test]
fn a_connection_that_the_host_closed_between_requests_costs_nothing() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.far.behaviour = Behaviour::CloseAfter(SECOND);
    for round in 1..=5 {
        assert_eq!(timed(&mut world, client).0.status, 200);
        assert_eq!(world.far.accepted, round);
        world.run_for(5 * SECOND);
        assert_eq!(world.engine.load(), [1, 0, 0], "its place is free again");
    }
    world.wind_down();
}

#[test]
fn a_restarted_host_costs_no_invocation() {
    let mut world = World::quickstart();
    let clients: Vec<_> = (0..40).map(|n| world.connected(APP, 50_000 + n)).collect();
    world.far.delay = SECOND;
    for &client in &clients {
        world.request(client, invoke(b"1"));
    }
    for &client in &clients {
        assert_eq!(world.reply(client).status, 200);
    }
    assert_eq!((world.far.connections(), world.far.invoked), (40, 40));
    world.far.restart();
    for &client in &clients {
        assert_eq!(timed(&mut world, client).0.status, 200);
    }
    assert_eq!(world.far.invoked, 80, "none ran twice");
    world.wind_down();
}

#[test]
fn a_host_that_breaks_off_fails_one_invocation_and_is_not_asked_twice() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    world.far.behaviour = Behaviour::BreakOff;
    assert_service_exception(&world.call(client, invoke(&payload(10_000))));
    assert_eq!(world.far.invoked, 1);
    world.far.behaviour = Behaviour::Echo;
    assert_eq!(timed(&mut world, client).0.status, 200);
    world.wind_down();
}

#[test]
fn more_invocations_than_connections_wait_their_turn() {
    let mut world = World::quickstart();
    world.far.delay = SECOND;
    let clients: Vec<_> = (0..700).map(|n| world.connect_from(APP, 40_000 + n)).collect();
    let start = world.now.mono;
    for (n, &client) in clients.iter().enumerate() {
        world.request(client, invoke(n.to_string().as_bytes()));
    }
    for (n, &client) in clients.iter().enumerate() {
        let reply = world.reply(client);
        assert_eq!((reply.status, reply.body), (200, n.to_string().into_bytes()));
    }
    assert_eq!(world.far.accepted, 256);
    let took = world.now.mono.since(start);
    assert!(took < 4 * SECOND, "three rounds of a second each, not {took:?}: connections are handed on at once");
    world.wind_down();
}

#[test]
fn invocations_over_the_pending_limit_are_throttled_and_the_others_answered() {
    let mut world = World::quickstart();
    world.far.delay = 100 * Duration::from_millis(1);
    let connections: Vec<_> = (0..33)
        .map(|n| {
            let client = world.connect_with(APP, 50_000 + n, b"h2");
            Http2::new(client, 1 << 20)
        })
        .collect();
    let answers: Vec<_> =
        (0..33 * 128).map(|n| connections[n % 33].request(&world, invoke(n.to_string().as_bytes()))).collect();
    let done = world.run_until(5 * MINUTE, |world| {
        connections.iter().for_each(|connection| connection.pump(world));
        answers.iter().all(|answer| answer.borrow().is_some())
    });
    assert!(done, "{:?} {:?}", world.engine, world.engine.counters().nonzero());
    let (mut ok, mut throttled) = (0, 0);
    for (n, answer) in answers.iter().enumerate() {
        let answer = answer.borrow_mut().take().unwrap().unwrap();
        match answer.status().as_u16() {
            200 => {
                assert_eq!(answer.body(), &n.to_string());
                ok += 1;
            }
            429 => throttled += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((ok, throttled), (4_096, 128));
    assert_eq!(world.count("LAMBDA_THROTTLED"), 128);
    drop(connections);
    world.wind_down();
}

#[test]
fn a_streamed_answer_may_pause_for_longer_than_a_connection_may_be_idle() {
    let mut world = World::with(|topology| {
        topology.functions.iter_mut().find(|function| function.name == "echo").unwrap().timeout = 10 * MINUTE;
    });
    let client = world.connected(APP, 50_000);
    world.far.behaviour = Behaviour::Pause(2 * MINUTE);
    let path = INVOKE.replace("2015-03-31", "2021-11-15").replace("invocations", "response-streaming-invocations");
    world.request(client, Request::post(path).body(&b"1"[..]).unwrap());
    assert!(world.run_until(MINUTE, |world| contains(&world.clients[client].received, b"first")));
    let reply = world.reply(client);
    assert_eq!(reply.status, 200);
    assert!(contains(&reply.body, b"second") && contains(&reply.body, b"InvokeComplete"));
    assert_eq!(world.count("HTTP_IDLE_TIMEOUT"), 0);
    // After it, the connection is as idle as any other.
    assert!(world.run_until(2 * MINUTE, |world| world.clients[client].peer_closed));
    world.wind_down();
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[test]
fn event_invocations_are_delivered_and_function_errors_tried_again_after_one_and_two_minutes() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    let event = || Request::post(INVOKE).header("x-amz-invocation-type", "Event").body(&b"{}"[..]).unwrap();
    let reply = world.call(client, event());
    assert_eq!((reply.status, reply.body.len()), (202, 0));
    assert!(world.run_until(SECOND, |world| world.far.answered == 1));

    world.far.behaviour = Behaviour::Fail;
    let start = world.now.mono;
    assert_eq!(world.call(client, event()).status, 202);
    for (tries, after) in [(2, 0), (3, 60), (4, 180)] {
        assert!(world.run_until(4 * MINUTE, |world| world.far.answered == tries));
        assert_eq!(world.now.mono.since(start).as_secs(), after);
    }
    world.run_for(7 * 60 * MINUTE);
    assert_eq!(world.far.answered, 4, "no fourth try");
    assert_eq!((world.count("EVENT_RETRIED"), world.count("LAMBDA_EVENT_DROPPED")), (2, 1));

    // A host that is away is tried for as long as six hours.
    world.far.behaviour = Behaviour::Refuse;
    let client = world.connected(APP, 50_001);
    assert_eq!(world.call(client, event()).status, 202);
    world.run_for(3 * 60 * MINUTE);
    world.far.behaviour = Behaviour::Echo;
    assert!(world.run_until(6 * MINUTE, |world| world.far.answered == 5));
    world.wind_down();
}

#[test]
fn an_invocation_whose_caller_went_away_gives_its_connection_back() {
    let mut world = World::quickstart();
    world.far.delay = 10 * SECOND;
    let client = world.connected(APP, 50_000);
    world.request(client, invoke(b"1"));
    assert!(world.run_until(SECOND, |world| world.engine.load()[2] == 1 && world.far.invoked == 1));
    world.clients[client].reset();
    world.run_for(SECOND);
    assert_eq!((world.engine.load()[0], world.engine.load()[2]), (0, 0));
    assert_eq!(world.count("TCP_RESET_RX"), 1);
    world.run_for(20 * SECOND);
    assert_eq!(world.engine.load(), [0, 0, 0]);
    world.wind_down();
}

#[test]
fn slow_answers_keep_order_on_a_pipelined_connection() {
    let mut world = World::quickstart();
    world.far.delay = Duration::from_millis(50);
    let clients: Vec<_> = (0..100).map(|n| world.connect_from(APP, 50_000 + n)).collect();
    for n in 0..5_u32 {
        for &client in &clients {
            world.request(client, invoke(n.to_string().as_bytes()));
        }
    }
    for &client in &clients {
        for n in 0..5_u32 {
            let reply = world.reply(client);
            assert_eq!((reply.status, reply.body), (200, n.to_string().into_bytes()));
        }
    }
    assert_eq!(world.count("HTTP_REQUEST"), 500);
    world.wind_down();
}

#[test]
fn five_hundred_connections_with_five_requests_each_are_all_served() {
    let mut world = World::quickstart();
    let clients: Vec<_> = (0..500).map(|n| world.connect_from(APP, 40_000 + n)).collect();
    for round in 0..5_usize {
        for (n, &client) in clients.iter().enumerate() {
            world.request(client, invoke(format!("[{n},{round}]").as_bytes()));
        }
        // Half of them wait for the answer, the others send the next request at once.
        for (n, &client) in clients.iter().enumerate().filter(|(n, _)| n % 2 == 0) {
            assert_eq!(world.reply(client).body, format!("[{n},{round}]").into_bytes());
        }
    }
    for (n, &client) in clients.iter().enumerate().filter(|(n, _)| n % 2 == 1) {
        for round in 0..5_usize {
            assert_eq!(world.reply(client).body, format!("[{n},{round}]").into_bytes());
        }
    }
    for (code, count) in [
        ("TLS_HANDSHAKE", 500),
        ("HTTP_REQUEST", 2_500),
        ("SIGNATURE_VERIFIED", 2_500),
        ("POLICY_ALLOWED", 2_500),
        ("INVOCATION_SENT", 2_500),
        ("INVOCATION_ANSWERED", 2_500),
    ] {
        assert_eq!(world.count(code), count, "{code}");
    }
    assert_eq!(world.records.borrow().len(), 2_500);
    world.wind_down();
}

/// The window that the recovery shows at first once held less than a segment: heads and payloads of small requests were parted.
#[test]
fn the_first_request_of_a_connection_leaves_in_one_packet() {
    let mut world = World::quickstart();
    let client = world.connected("10.0.1.10", 50_000);
    let body = payload(400);
    assert_eq!(world.call(client, invoke(&body)).status, 200);
    // SYN, its acknowledgement, the request. The acknowledgement of the answer may ride on the next request.
    assert_eq!(world.far.frames(), 3);
    assert_eq!(world.far.invoked, 1);
}
