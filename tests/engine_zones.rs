//! A zone lost, in the engine: its eni falls silent, names lead to the others, and what lives long enough goes on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly")]

mod world;

use std::time::Duration;

use vpce::config::Topology;
use vpce::engine::EniLoad;
use world::{NAME, World, invoke};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const APP: &str = "10.0.1.10";
const EVERYWHERE: [&str; 3] = [APP, "2001:db8:1234:1a01::a", "192.168.10.10"];
const REGIONAL: &str = "vpce-0123456789abcdef0-lj2wisx3.lambda.us-east-2.vpce.amazonaws.com";
const ZONAL: &str = "vpce-0123456789abcdef0-lj2wisx3-us-east-2a.lambda.us-east-2.vpce.amazonaws.com";
const A: &str = "10.0.1.100";
const B: &str = "10.0.9.100";

/// The quickstart with an eni in a second zone.
fn two_zones(topology: &mut Topology) {
    topology.subnets[1].zone = "us-east-2b".to_owned();
    let mut eni = topology.endpoints[0].enis[0].clone();
    (eni.slot, eni.id, eni.subnet) = (1, "eni-b".to_owned(), 1);
    (eni.ipv4, eni.ipv6) = (B.parse().unwrap(), Some("2001:db8:1234:1a09::64".parse().unwrap()));
    topology.endpoints[0].enis.push(eni);
}

fn world() -> World {
    World::with(two_zones)
}

/// What an eni carries: connections, requests in flight.
fn load(world: &World, eni: usize) -> (usize, usize) {
    let EniLoad { connections, in_flight } = world.engine.eni_load()[eni];
    (connections, in_flight)
}

#[test]
fn an_eni_that_is_down_is_silent_both_ways_and_its_connections_go_on_when_it_is_back() {
    for address in EVERYWHERE {
        let mut world = world();
        let (live, idle) = (world.connected(address, 50_000), world.connected(address, 50_001));
        world.settle();
        assert_eq!((load(&world, 0), load(&world, 1)), ((2, 0), (0, 0)));
        world.far.delay = 3 * SECOND;
        world.request(live, invoke(b"1"));
        world.run_for(SECOND);
        assert_eq!(load(&world, 0), (2, 1), "{address}: one waits for its answer");

        world.engine.set_eni_health(0, false);
        let (received, sent) = (world.clients[live].received_total, world.count("FLOW_HIT"));
        world.request(idle, invoke(b"2"));
        let new = world.connect_from(address, 50_002);
        world.run_for(9 * SECOND);
        assert_eq!((world.far.invoked, world.far.answered), (1, 1), "what had arrived runs to its end");
        assert_eq!((world.clients[live].received_total, world.count("FLOW_HIT")), (received, sent));
        assert!(world.clients[idle].reply().is_none() && !world.clients[new].is_connected());
        assert!(![live, idle, new].iter().any(|&client| world.clients[client].is_closed()), "nobody is told");
        assert_eq!(load(&world, 0), (2, 1), "the answer went nowhere, so it is still in flight");
        let eni = world.topology.endpoints[0].enis[0].id.clone();
        let denials = world.engine.denials();
        assert!(!denials.is_empty() && denials.iter().all(|denial| denial.eni.as_deref() == Some(&eni)));
        assert!(
            world.count("ENI_DOWN") > denials.iter().map(|denial| denial.packets).sum(),
            "answers are counted, too"
        );

        // The other one serves meanwhile.
        world.far.delay = Duration::ZERO;
        let elsewhere = world.connect_to(1, address, 50_003);
        assert_eq!(world.call(elsewhere, invoke(b"3")).body, b"3", "{address}");

        world.engine.set_eni_health(0, true);
        assert_eq!(world.reply(live).body, b"1", "{address}");
        assert_eq!(world.reply(idle).body, b"2", "{address}");
        assert_eq!(world.call(new, invoke(b"4")).body, b"4", "{address}");
        assert_eq!(world.count("TLS_HANDSHAKE"), 4, "nobody had to connect anew");
        world.wind_down();
    }
}

#[test]
fn names_lead_to_healthy_enis_to_all_if_there_is_none_and_a_zones_own_name_to_its_eni() {
    let mut world = world();
    for (healthy, found) in [
        ([true, true], &[A, B][..]),
        ([false, true], &[B]),
        ([true, false], &[A]),
        ([false, false], &[A, B]),
        ([true, true], &[A, B]),
    ] {
        world.engine.set_eni_health(0, healthy[0]);
        world.engine.set_eni_health(1, healthy[1]);
        for name in [NAME, REGIONAL] {
            assert_eq!(world.resolve(name), found, "{name} {healthy:?}");
        }
        assert_eq!(world.resolve(ZONAL), [A], "{healthy:?}");
        assert_eq!(world.resolve(&ZONAL.replace("us-east-2a.", "us-east-2b.")), [B], "{healthy:?}");
    }
}

#[test]
fn new_rules_do_not_mend_an_eni() {
    let mut world = world();
    let live = world.connected(APP, 50_000);
    world.engine.set_eni_health(0, false);
    world.update(2, |topology| topology.settings.mss_clamp = 1_000);
    assert_eq!(world.engine.eni_health().down().collect::<Vec<_>>(), [0]);
    assert_eq!(world.resolve(NAME), [B]);
    world.request(live, invoke(b"1"));
    world.run_for(3 * SECOND);
    assert!(world.far.invoked == 0 && world.count("ENI_DOWN") > 0);
    world.engine.set_eni_health(0, true);
    assert_eq!(world.reply(live).body, b"1");
    world.wind_down();
}

#[test]
fn a_connection_that_times_out_meanwhile_is_gone_and_its_five_tuple_can_be_used_again() {
    for address in EVERYWHERE {
        let mut world = world();
        let (busy, idle) = (world.connected(address, 50_000), world.connected(address, 50_001));
        world.far.delay = SECOND;
        world.request(busy, invoke(b"1"));
        world.run_for(SECOND / 2);
        world.engine.set_eni_health(0, false);
        // Longer than a client may take nothing of its answer, and than it may send no request; shorter than a flow lives.
        world.run_for(5 * MINUTE);
        assert_eq!((world.engine.load()[0], load(&world, 0)), (0, (0, 0)), "{address}");
        world.engine.set_eni_health(0, true);
        let sent = world.count("PACKETS_TX") + world.count("FRAMES_TX");
        world.request(idle, invoke(b"2"));
        world.run_for(5 * SECOND);
        assert_eq!(world.count("FLOW_CLOSED"), 2, "{address}: {:?}", world.engine.counters().nonzero());
        assert_eq!(world.count("PACKETS_TX") + world.count("FRAMES_TX"), sent, "{address}: not a word");
        assert!(world.clients[idle].reply().is_none() && !world.clients[idle].is_closed());
        for client in [busy, idle] {
            world.clients[client].reset();
        }
        world.settle();
        world.clients.clear();
        let again = world.connected(address, 50_000);
        assert_eq!(world.call(again, invoke(b"3")).body, b"3", "{address}");
        world.wind_down();
    }
}

#[test]
fn clients_that_try_again_lose_no_more_than_was_in_flight() {
    let mut world = world();
    let clients: Vec<_> = (0..40).map(|n| world.connect_to(usize::from(n % 2), APP, 50_000 + n)).collect();
    for &client in &clients {
        assert_eq!(world.call(client, invoke(b"1")).status, 200);
    }
    // Every third asks something that takes a while.
    world.far.delay = 5 * SECOND;
    for &client in clients.iter().step_by(3) {
        world.request(client, invoke(b"2"));
    }
    world.run_for(SECOND);
    let (connections, in_flight) = load(&world, 0);
    assert_eq!((connections, in_flight, load(&world, 1)), (20, 7, (20, 7)));
    world.engine.set_eni_health(0, false);
    world.run_for(20 * SECOND);
    let lost = clients.iter().step_by(3).filter(|&&client| world.clients[client].reply().is_none()).count();
    assert_eq!(lost, in_flight);
    // Their second try, by the name.
    assert_eq!(world.resolve(NAME), [B]);
    world.far.delay = Duration::ZERO;
    for n in 0..lost as u16 {
        let second = world.connect_to(1, APP, 51_000 + n);
        assert_eq!(world.call(second, invoke(b"2")).status, 200);
    }
    world.engine.set_eni_health(0, true);
    world.wind_down();
}
