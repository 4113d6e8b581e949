//! Endpoints that come and go while the engine runs: names, packets, policies and connections follow, and nothing of one
//! endpoint is another's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly")]

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use vpce::config::{Endpoint, PolicyText, Topology};
use world::{NAME, World, invoke};

const APP: &str = "10.0.1.10";
const EVERYWHERE: [&str; 3] = [APP, "2001:db8:1234:1a01::a", "192.168.10.10"];
/// Only this endpoint may be used, says the policy.
const THROUGH_SECOND: &str = r#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*",
    "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-2"}}}]}"#;
const DENIES: &str = r#"{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}]}"#;

/// An endpoint in the second subnet, with an eni in slot 1.
fn second(topology: &Topology, policy: &str) -> Endpoint {
    let mut endpoint = topology.endpoints[0].clone();
    (endpoint.id, endpoint.private_dns) = ("vpce-2".to_owned(), false);
    endpoint.policy = Some(PolicyText { origin: "test".to_owned(), text: policy.to_owned() });
    let eni = &mut endpoint.enis[0];
    (eni.slot, eni.id, eni.subnet) = (1, "eni-2".to_owned(), 1);
    (eni.ipv4, eni.ipv6) = ("10.0.9.100".parse().unwrap(), Some("2001:db8:1234:1a09::64".parse().unwrap()));
    endpoint
}

#[test]
fn a_new_endpoint_answers_by_its_own_policy_beside_the_first() {
    for address in EVERYWHERE {
        let mut world = World::quickstart();
        let first = world.connected(address, 50_000);
        assert_eq!(world.call(first, invoke(b"1")).status, 200);
        let local: SocketAddr = SocketAddr::new(address.parse().unwrap(), 50_001);
        let remote = if local.is_ipv4() { "10.0.9.100:443" } else { "[2001:db8:1234:1a09::64]:443" };
        let before = world.connect_address(remote.parse().unwrap(), local, b"http/1.1");
        world.run_for(Duration::from_secs(3));
        assert!(!world.clients[before].is_connected(), "nobody is there yet");
        for (epoch, policy, status) in [(2, THROUGH_SECOND, 200), (3, DENIES, 403)] {
            world.update(epoch, |topology| {
                topology.endpoints.truncate(1);
                let endpoint = second(topology, policy);
                topology.endpoints.push(endpoint);
            });
            let port = 50_001 + u16::try_from(epoch).unwrap();
            let other = world.connect_to(1, address, port);
            for _ in 0..2 {
                // Asked in turn: no decision of one is given to the other.
                assert_eq!(world.call(other, invoke(b"2")).status, status, "{address} {policy}");
                assert_eq!(world.call(first, invoke(b"1")).status, 200, "{address}");
            }
        }
        world.wind_down();
    }
}

#[test]
fn a_deleted_endpoint_is_gone_from_the_wire_and_its_connections_with_it() {
    for address in EVERYWHERE {
        let mut world = World::quickstart();
        let [idle, busy] = [50_000, 50_001].map(|port| world.connected(address, port));
        world.far.delay = Duration::from_secs(2);
        world.request(busy, invoke(b"1"));
        world.run_for(Duration::from_secs(1));
        assert_eq!((world.engine.load()[0], world.far.invoked), (2, 1));

        let endpoint = world.topology.endpoints[0].clone();
        world.update(2, |topology| topology.endpoints.clear());
        assert_eq!(world.engine.load()[0], 0, "{address}: connections end with their eni");
        let received = world.clients[busy].received_total;
        world.request(idle, invoke(b"2"));
        world.run_for(Duration::from_secs(9));
        assert_eq!(world.clients[busy].received_total, received, "not a byte more, not even a reset");
        assert!(![idle, busy].iter().any(|&client| world.clients[client].is_closed()), "{address}: nobody is told");
        // Out of the tunnel they go to the VPC's kernel, as for any address of it.
        assert!(world.count("CANNOT_ROUTE") > 0 || !world.unclaimed.is_empty(), "{address}");
        assert_eq!(world.far.invoked, 1, "{address}");

        // Another one takes its address, in a slot of its own.
        world.far.delay = Duration::ZERO;
        world.update(3, |topology| {
            let mut endpoint = endpoint.clone();
            (endpoint.id, endpoint.enis[0].id, endpoint.enis[0].slot) = ("vpce-3".to_owned(), "eni-3".to_owned(), 1);
            topology.endpoints.push(endpoint);
        });
        let new = world.connected(address, 50_002);
        assert_eq!(world.call(new, invoke(b"3")).body, b"3", "{address}");
        assert_eq!(world.engine.load()[0], 1, "{address}");
    }
}

#[test]
fn names_follow_endpoints() {
    let mut world = World::quickstart();
    let name = |topology: &Topology, at: usize| topology.endpoint_host(&topology.endpoints[at]);
    let first = name(&world.topology, 0);
    assert_eq!([NAME, &first].map(|name| world.resolve(name)), [["10.0.1.100"], ["10.0.1.100"]]);
    world.update(2, |topology| {
        let endpoint = second(topology, THROUGH_SECOND);
        topology.endpoints.push(endpoint);
    });
    let other = name(&world.topology, 1);
    assert_eq!(world.resolve(&other), ["10.0.9.100"]);
    assert_eq!(world.resolve(NAME), ["10.0.1.100"], "private DNS is the first one's");
    world.update(3, |topology| drop(topology.endpoints.remove(0)));
    assert!(world.resolve(&first).is_empty());
    assert_eq!(world.resolve(NAME), ["192.0.2.1"], "the public address, to which no route leads");
    assert_eq!(world.resolve(&other), ["10.0.9.100"]);
    world.update(4, |topology| topology.endpoints[0].private_dns = true);
    assert_eq!(world.resolve(NAME), ["10.0.9.100"]);
}
