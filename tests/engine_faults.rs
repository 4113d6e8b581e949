//! Paths that lose, double and reorder packets; full devices and queues; clocks that jump.

mod world;

use std::time::Duration;

use http::Request;
use proptest::prelude::*;
use vpce::engine::Port;
use world::far_side::Behaviour;
use world::raw::Tcp;
use world::{Faults, World, invoke, payload};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const ADDRESSES: [&str; 3] = ["10.0.1.10", "2001:db8:1234:1a01::a", "192.168.10.10"];

/// One request with each path of `faults`; the answer is what was sent.
fn echo_through(faults: Faults, seed: u64, address: &str, len: usize) -> World {
    // Patience, so that it is the path that is tested and not the time-outs.
    let mut world = World::with(|topology| {
        let settings = &mut topology.settings;
        settings.tcp_handshake_timeout = 5 * MINUTE;
        settings.tls_handshake_timeout = 5 * MINUTE;
        settings.http_head_timeout = 5 * MINUTE;
        settings.http_body_timeout = 5 * MINUTE;
        settings.http_rate_grace = 5 * MINUTE;
    });
    world.seed(seed);
    world.faults = faults;
    let client = world.connect_from(address, 50_000);
    let sent = payload(len);
    let reply = world.call(client, invoke(&sent));
    assert_eq!(reply.status, 200, "{faults:?} {seed} {address}");
    assert!(reply.body == sent, "{faults:?} {seed} {address}: the payload changed on its way");
    for (code, count) in [("TCP_ESTABLISHED", 1), ("TLS_HANDSHAKE", 1), ("HTTP_REQUEST", 1), ("INVOCATION_ANSWERED", 1)]
    {
        assert_eq!(world.count(code), count, "{code} {faults:?} {seed} {address}");
    }
    world
}

#[test]
fn an_invocation_gets_through_whatever_the_path_does_and_leaves_nothing_behind() {
    let faults = [
        Faults { loss: 50, ..Faults::default() },
        Faults { loss: 200, ..Faults::default() },
        Faults { duplication: 500, ..Faults::default() },
        Faults { reordering: 500, ..Faults::default() },
        Faults { loss: 100, duplication: 100, reordering: 200 },
    ];
    for (index, faults) in faults.into_iter().enumerate() {
        for address in ADDRESSES {
            for seed in 0..4 {
                echo_through(faults, seed * 10 + index as u64, address, 300).wind_down();
            }
        }
    }
}

#[test]
fn six_megabytes_get_through_both_ways_and_leave_nothing_behind() {
    let faults = [
        Faults::default(),
        Faults { loss: 10, ..Faults::default() },
        Faults { loss: 5, duplication: 20, reordering: 50 },
    ];
    for (faults, address) in
        faults.into_iter().zip(ADDRESSES).chain([(faults[1], ADDRESSES[1]), (faults[2], ADDRESSES[0])])
    {
        echo_through(faults, 7, address, 6_291_456).wind_down();
    }
}

#[test]
fn a_window_update_overtaken_by_an_older_one_does_not_stall_an_upload() {
    let faults = Faults { loss: 79, duplication: 94, reordering: 250 };
    echo_through(faults, 2_002_891_755_869_047_044, ADDRESSES[0], 130_473).wind_down();
}

#[test]
fn an_answer_whose_last_segment_is_lost_again_and_again_is_not_idle() {
    let faults = Faults { loss: 195, duplication: 220, reordering: 109 };
    echo_through(faults, 8_272_723_626_074_842_569, ADDRESSES[0], 163_196).wind_down();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_mixture_of_faults_delays_an_invocation_at_most(
        loss in 0..250_u64, duplication in 0..300_u64, reordering in 0..600_u64, seed: u64, len in 2..200_000_usize, v6: bool
    ) {
        let address = ADDRESSES[usize::from(v6)];
        echo_through(Faults { loss, duplication, reordering }, seed, address, len).wind_down();
    }
}

#[test]
fn an_invocation_crosses_a_tunnel_that_loses_frames() {
    for profile in ["vpn", "dx"] {
        let mut world = World::with(|topology| {
            topology.tunnel.path = profile.to_owned();
            let path = topology.paths.iter_mut().find(|path| path.name == profile).unwrap();
            path.to_customer.loss = 0.02;
            path.to_aws.loss = 0.02;
        });
        let client = world.connect_from(ADDRESSES[0], 50_000);
        for len in [100, 500_000] {
            let sent = payload(len);
            let reply = world.call(client, invoke(&sent));
            assert!(
                reply.status == 200 && reply.body == sent,
                "{profile} {len}: {} {}",
                reply.status,
                reply.body.len()
            );
        }
        assert!(world.count("TUNNEL_LOSS") > 0, "{profile}");
        world.wind_down();
    }
}

#[test]
fn a_lost_last_acknowledgement_is_given_again() {
    for address in ADDRESSES {
        let mut world = World::quickstart();
        let client = world.connected(address, 50_000);
        // The endpoint closes first: it is the one that has to answer the client's last FIN.
        assert!(world.run_until(5 * MINUTE, |world| world.clients[client].peer_closed));
        world.clients[client].close();
        // The FIN leaves; everything that comes back is lost.
        world.faults.loss = 1_000;
        let packets = world.clients[client].poll(world.now.mono);
        world.faults.loss = 0;
        packets.into_iter().for_each(|packet| world.depart(packet));
        world.faults.loss = 1_000;
        world.settle();
        world.faults.loss = 0;
        assert!(world.engine.load()[0] == 0 && !world.clients[client].is_closed(), "only the client still waits");
        assert!(world.run_until(MINUTE, |world| world.clients[client].is_closed()), "{address}");
        assert_eq!(world.count("FLOW_CLOSED"), 1, "{address}");
    }
}

#[test]
fn a_full_device_delays_everything_and_loses_nothing() {
    for address in &ADDRESSES[..2] {
        let mut world = World::quickstart();
        let sent = payload(2_000_000);
        let client = world.connected(address, 50_000);
        world.request(client, invoke(&sent));
        let mut reply = None;
        // Full half of the time, in the middle of whatever happens.
        for turn in 0..200_000_u32 {
            world.devices().full = turn % 7 < 4;
            if !world.step() {
                let next = world.engine.next_deadline().unwrap();
                world.advance(next.since(world.now.mono).max(Duration::from_millis(1)));
            }
            reply = world.clients[client].reply();
            if reply.is_some() {
                break;
            }
        }
        let reply = reply.expect("an answer");
        assert!(reply.status == 200 && reply.body == sent);
        assert!(world.devices().refused > 10, "the device was full now and then");
        assert_eq!(world.count("DEVICE_FULL"), 0);
        world.devices().full = false;
        world.wind_down();
    }
}

#[test]
fn a_device_that_stays_full_is_offered_packets_again_soon_and_holds_few() {
    let mut world = World::quickstart();
    let client = world.connected(ADDRESSES[0], 50_000);
    world.devices().full = true;
    world.request(client, invoke(b"1"));
    world.settle();
    let soon = world.engine.next_deadline().unwrap();
    assert!(soon > world.now.mono && soon <= world.now.mono + Duration::from_millis(1), "{soon:?}");
    // A flood of queries, each of which is answered: the answers do not pile up.
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06lambda\x09us-east-2\x09amazonaws\x03com\x00\x00\x01\x00\x01";
    for port in 0..1_000 {
        let from = format!("10.0.1.10:{}", 1_024 + port).parse().unwrap();
        world.inject(Port::Router, &world::raw::udp(from, "10.0.0.2:53".parse().unwrap(), 64, query));
    }
    world.settle();
    let refused = world.count("DEVICE_FULL");
    assert!((700..1_000).contains(&refused), "{refused}");
    world.devices().full = false;
    assert_eq!(world.reply(client).status, 200);
    assert_eq!(world.unclaimed.len() as u64 + refused, 1_000, "each answer arrived or was counted");
    world.wind_down();
}

#[test]
fn a_full_tunnel_queue_delays_invocations_and_loses_none() {
    let mut world = World::with(|topology| {
        topology.tunnel.path = "vpn".to_owned();
        // What the queue in front of the socket holds is all there is.
        for path in &mut topology.paths {
            path.to_customer.rate_bps = None;
            path.to_customer.rate_pps = None;
            path.to_customer.queue_bytes = 0;
            path.to_customer.delay = Duration::ZERO;
            path.to_customer.jitter = Duration::ZERO;
        }
    });
    let sent = payload(400_000);
    let clients: Vec<_> = (0..20).map(|n| world.connected(ADDRESSES[0], 50_000 + n)).collect();
    for &client in &clients {
        world.request(client, invoke(&sent));
    }
    // The socket takes nothing for a while.
    let mut fullest = 0;
    for turn in 0..4_000 {
        world.engine.begin_turn(world.now);
        let before = world.engine.tunnel().queued_frames();
        fullest = fullest.max(before);
        world.step_without_socket(turn % 10 != 0);
        world.advance(Duration::from_micros(50));
    }
    for &client in &clients {
        let reply = world.reply(client);
        assert!(reply.status == 200 && reply.body == sent);
    }
    assert!(fullest > 500, "{fullest} frames at most: the queue was never full");
    assert_eq!(world.count("TUNNEL_QUEUE_FULL"), 0);
    world.wind_down();
}

#[test]
fn a_wall_clock_that_jumps_matters_to_signatures_alone() {
    let mut world = World::quickstart();
    let client = world.connected(ADDRESSES[0], 50_000);
    let start = world.now.unix;
    for (hours, forward) in [(5, true), (9, false), (4, true)] {
        let by = HOUR * hours;
        world.now.unix = match forward {
            true => world.now.unix + by,
            false => vpce::time::UnixTime::from_nanos(world.now.unix.nanos() - by.as_nanos() as u64),
        };
        world.settle();
        // Signed by the same clock, then by one that did not jump.
        assert_eq!(world.call(client, invoke(b"1")).status, 200);
        if world.now.unix.secs().abs_diff(start.secs()) > 600 {
            world.clients[client].request("Admin", start, invoke(b"1"));
            assert_eq!(world.reply(client).status, 403);
        }
    }
    assert_eq!(world.count("SIGNATURE_EXPIRED"), 2);
    assert_eq!(
        (world.count("TLS_HANDSHAKE"), world.count("FLOW_CREATED")),
        (1, 1),
        "the connection is still the first"
    );
    world.wind_down();
}

#[test]
fn an_hour_that_passes_at_once_ends_everything_in_its_order() {
    let mut world = World::quickstart();
    let idle = world.connected(ADDRESSES[0], 50_000);
    let waiting = world.connected(ADDRESSES[0], 50_001);
    world.far.behaviour = Behaviour::Silent;
    world.request(waiting, invoke(b"1"));
    world.clients[idle].write(b"POST /2015-03-31/functions/echo/invocations HTTP/1.1\r\n");
    let (from, to) = ("10.0.1.10:50002".parse().unwrap(), world.eni("10.0.1.10".parse().unwrap()));
    let syn = Tcp { from, to, flags: "S", sequence: 7, acknowledgement: 0, payload: b"" };
    world.inject(Port::Eni(0), &syn.build());
    world.settle();
    assert_eq!(world.engine.load()[0], 3);
    world.advance(HOUR);
    world.run_for(5 * MINUTE);
    assert_eq!(world.count("HTTP_HEAD_TIMEOUT"), 1);
    assert_eq!(world.count("TCP_HANDSHAKE_TIMEOUT"), 1);
    assert_eq!(world.engine.load()[0], 0, "{:?}", world.engine.counters().nonzero());
    // And it goes on as if nothing had been.
    world.far.behaviour = Behaviour::Echo;
    let client = world.connect_from(ADDRESSES[0], 50_003);
    assert_eq!(world.call(client, Request::post(world::INVOKE).body(&b"2"[..]).unwrap()).body, b"2");
    world.wind_down();
}
