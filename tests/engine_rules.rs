//! Security groups, network ACLs and policies in the engine: what counts when, and flows that end and begin.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly")]

mod world;

use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::IpNet;
use vpce::config::{NetworkAcl, NetworkAclEntry, Peer, PolicyText, PortRange, Topology, Traffic, Unanswered};
use vpce::engine::Port;
use vpce::packet::{TcpFlags, parse};
use world::raw::{Tcp, ping, udp};
use world::{World, invoke};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const APP: &str = "10.0.1.10";
const ON_PREMISES: &str = "192.168.10.10";

fn syn(world: &World, from: &str) -> Vec<u8> {
    let from: std::net::SocketAddr = from.parse().unwrap();
    Tcp { from, to: world.eni(from.ip()), flags: "S", sequence: 7, acknowledgement: 0, payload: b"" }.build()
}

#[test]
fn a_denied_syn_leaves_nothing_but_a_count() {
    for address in ["10.0.9.10", "2001:db8:1234:1a09::a"] {
        let mut world = World::quickstart();
        let client = world.connect_from(address, 50_000);
        world.run_for(10 * SECOND);
        assert!(!world.clients[client].is_connected());
        let tries = world.count("ENI_SG_RULES_MISMATCH");
        assert!(tries >= 3, "the client keeps trying, for it hears nothing");
        assert_eq!(world.count("PACKETS_TX"), 0);
        assert_eq!((world.engine.load(), world.engine.flows(), world.engine.sockets()), ([0, 0, 0], [0, 0], 0));
        assert_eq!(world.count("FLOW_CREATED"), 0);
        let denials = world.engine.denials();
        assert_eq!(denials.len(), 1, "{denials:?}");
    }
}

#[test]
fn a_revoked_rule_stops_new_connections_and_leaves_those_that_are_there() {
    for address in [APP, ON_PREMISES, "2001:db8:1234:1a01::a"] {
        let mut world = World::quickstart();
        let live = world.connected(address, 50_000);
        assert_eq!(world.call(live, invoke(b"1")).status, 200);
        world.update(2, |topology| topology.security_groups.iter_mut().for_each(|group| group.ingress.clear()));
        assert_eq!(world.call(live, invoke(b"2")).body, b"2");
        assert_eq!(world.count("FLOW_REJUDGED"), 1);
        let new = world.connect_from(address, 50_001);
        world.run_for(20 * SECOND);
        assert!(!world.clients[new].is_connected());
        assert!(world.count("ENI_SG_RULES_MISMATCH") >= 3);
        assert_eq!(world.call(live, invoke(b"3")).body, b"3", "and it goes on");
        // A group that lets them in again does so at once.
        world.update(3, |topology| topology.security_groups = world::quickstart(|_| {}).security_groups);
        assert_eq!(world.call(new, invoke(b"4")).body, b"4");
        world.wind_down();
    }
}

fn acl(topology: &mut Topology, allow: bool) {
    let entry = |number, cidr: &str, allow| {
        let cidr = cidr.parse().unwrap();
        NetworkAclEntry { number, traffic: Traffic::All, cidr, allow }
    };
    let entries = vec![entry(100, "192.168.10.0/24", allow), entry(200, "0.0.0.0/0", true)];
    let acl = NetworkAcl { id: "acl-1".to_owned(), ingress: entries, egress: vec![entry(100, "0.0.0.0/0", true)] };
    topology.network_acls = vec![acl];
    topology.subnets[0].network_acl = Some(0);
}

#[test]
fn a_network_acl_counts_at_once_for_connections_that_are_there() {
    let mut world = World::quickstart();
    let (far, near) = (world.connected(ON_PREMISES, 50_000), world.connected(APP, 50_000));
    world.update(2, |topology| acl(topology, false));
    world.request(far, invoke(b"1"));
    world.run_for(4 * SECOND);
    assert!(world.clients[far].reply().is_none());
    assert!(world.count("SUBNET_ACL_RESTRICTION") >= 2);
    assert_eq!(world.call(near, invoke(b"2")).status, 200, "inside the subnet it has no say");
    // Lifted, the client's own retransmission gets through.
    world.update(3, |topology| acl(topology, true));
    assert_eq!(world.reply(far).body, b"1");
    world.wind_down();
}

#[test]
fn a_network_acl_is_asked_for_replies_as_well() {
    let mut world = World::quickstart();
    let far = world.connected(ON_PREMISES, 50_000);
    world.update(2, |topology| {
        acl(topology, true);
        topology.network_acls[0].egress.clear();
    });
    world.request(far, invoke(b"1"));
    world.run_for(4 * SECOND);
    assert_eq!(
        (world.clients[far].received_total, world.far.invoked),
        (0, 1),
        "it came in, its answer does not get out"
    );
    world.update(3, |topology| acl(topology, true));
    assert_eq!(world.reply(far).body, b"1");
    world.wind_down();
}

/// The stranger's subnet gets an ACL, and the security group lets everybody in.
fn strangers_acl(topology: &mut Topology, ingress: Vec<NetworkAclEntry>, egress: Vec<NetworkAclEntry>) {
    for rule in &mut topology.security_groups[0].ingress {
        rule.peer = match &rule.peer {
            Peer::Cidr(IpNet::V4(_)) => Peer::Cidr("0.0.0.0/0".parse().unwrap()),
            _ => Peer::Cidr("::/0".parse().unwrap()),
        };
    }
    topology.network_acls = vec![NetworkAcl { id: "acl-stranger".to_owned(), ingress, egress }];
    topology.subnets[1].network_acl = Some(0);
}

fn entry(number: u16, ports: [u16; 2], cidr: &str, allow: bool) -> NetworkAclEntry {
    let traffic = Traffic::Tcp(PortRange { from: ports[0], to: ports[1] });
    NetworkAclEntry { number, traffic, cidr: cidr.parse().unwrap(), allow }
}

const EPHEMERAL: [u16; 2] = [1_024, 65_535];
const ALL: [u16; 2] = [0, 65_535];

#[test]
fn the_acl_of_a_clients_own_subnet_is_asked_on_its_packets_way_and_on_the_replies() {
    for (address, all) in [("10.0.9.10", "0.0.0.0/0"), ("2001:db8:1234:1a09::a", "::/0")] {
        for (denies_egress, text) in [
            (true, "acl-stranger egress entry 90 denies it at subnet-cdcdcdcd"),
            (false, "acl-stranger ingress entry 90 denies it at subnet-cdcdcdcd"),
        ] {
            let pass = || vec![entry(100, ALL, all, true)];
            let mut world = World::with(|topology| strangers_acl(topology, pass(), pass()));
            let live = world.connected(address, 50_000);
            assert_eq!(world.call(live, invoke(b"1")).status, 200);
            let near = world.connected(APP, 50_000);
            world.update(2, |topology| {
                let deny = |ports| vec![entry(90, ports, all, false), entry(100, ALL, all, true)];
                let acl = &mut topology.network_acls[0];
                if denies_egress {
                    acl.egress = deny([443, 443]);
                } else {
                    acl.ingress = deny(EPHEMERAL);
                }
            });
            // A connection that is there stops, and a new one does not come to be.
            world.request(live, invoke(b"2"));
            let new = world.connect_from(address, 50_001);
            world.run_for(4 * SECOND);
            assert!(world.clients[live].reply().is_none() && !world.clients[new].is_connected(), "{address} {text}");
            assert!(world.count("SUBNET_ACL_RESTRICTION") >= 3, "{address} {text}");
            assert_eq!(world.far.invoked, if denies_egress { 1 } else { 2 }, "{address} {text}");
            let denials = world.engine.denials();
            assert!(denials.iter().all(|denial| denial.text == text && denial.eni.is_some()), "{denials:?}");
            assert_eq!(world.call(near, invoke(b"3")).status, 200, "from another subnet nothing has changed");
            world.update(3, |topology| {
                (topology.network_acls[0].ingress, topology.network_acls[0].egress) = (pass(), pass())
            });
            assert_eq!(world.reply(live).body, b"2");
            assert_eq!(world.call(new, invoke(b"4")).body, b"4");
            world.wind_down();
        }
    }
}

#[test]
fn a_changed_policy_decides_the_next_request_on_the_same_connection() {
    let mut world = World::quickstart();
    let client = world.connected(APP, 50_000);
    assert_eq!(world.call(client, invoke(b"1")).status, 200);
    assert_eq!(world.call(client, invoke(b"1")).status, 200);
    assert_eq!((world.count("POLICY_DECISION_MADE"), world.count("POLICY_DECISION_KEPT")), (1, 1));
    let deny = r#"{"Statement":[{"Effect":"Deny","Principal":"*","Action":"lambda:*","Resource":"*"}]}"#;
    world.update(2, |topology| {
        topology.endpoints[0].policy = Some(PolicyText { origin: "test".to_owned(), text: deny.to_owned() });
    });
    assert_eq!(world.call(client, invoke(b"2")).status, 403);
    assert_eq!(world.call(client, invoke(b"2")).status, 403);
    assert_eq!(world.count("ENDPOINT_POLICY_DENY"), 2);
    world.update(3, |topology| topology.endpoints[0].policy = None);
    assert_eq!(world.call(client, invoke(b"3")).status, 200);
    // What was decided under one snapshot is not remembered under the next.
    assert_eq!((world.count("POLICY_DECISION_MADE"), world.count("POLICY_DECISION_KEPT")), (3, 2));
    assert_eq!((world.count("TLS_HANDSHAKE"), world.far.invoked), (1, 3));
    world.wind_down();
}

#[test]
fn a_flow_that_is_silent_for_350_seconds_is_forgotten_and_its_late_packet_treated_as_set() {
    for (late, address) in [(Unanswered::Drop, APP), (Unanswered::Reset, APP), (Unanswered::Reset, ON_PREMISES)] {
        let mut world = World::with(|topology| {
            topology.settings.http_idle_timeout = Duration::from_secs(6_000);
            topology.settings.late_packet = late;
        });
        let client = world.connected(address, 50_000);
        // Each packet begins the time anew.
        for _ in 0..3 {
            world.run_for(Duration::from_secs(349));
            assert_eq!(world.call(client, invoke(b"1")).status, 200);
        }
        world.run_for(Duration::from_secs(351));
        assert_eq!((world.count("FLOW_EXPIRED"), world.engine.load()[0], world.engine.flows()[0]), (1, 0, 1));
        let sent = world.count("PACKETS_TX") + world.count("FRAMES_TX");
        world.request(client, invoke(b"2"));
        world.run_for(5 * SECOND);
        assert!(world.count("FLOW_IDLE_EXPIRED") >= 1);
        assert_eq!(world.clients[client].is_closed(), late == Unanswered::Reset, "{late:?} {address}");
        if late == Unanswered::Drop {
            assert_eq!(world.count("PACKETS_TX") + world.count("FRAMES_TX"), sent, "not a word");
        }
        world.wind_down();
    }
}

#[test]
fn a_five_tuple_can_be_used_again_as_soon_as_its_connection_is_over() {
    for address in [APP, ON_PREMISES] {
        let mut world = World::quickstart();
        for round in 0..20_u32 {
            let client = world.connected(address, 50_000);
            assert_eq!(world.call(client, invoke(round.to_string().as_bytes())).body, round.to_string().into_bytes());
            match round % 3 {
                // The client first, the client rudely, the endpoint first.
                0 => world.clients[client].close(),
                1 => world.clients[client].reset(),
                _ => {
                    assert!(world.run_until(2 * MINUTE, |world| world.clients[client].peer_closed));
                    world.clients[client].close();
                }
            }
            world.settle();
            assert_eq!((world.engine.load()[0], world.engine.flows()[0]), (0, 1), "{round}");
        }
        assert_eq!((world.count("FLOW_CREATED"), world.count("FLOW_RECYCLED")), (20, 19));
        world.wind_down();
    }
}

#[test]
fn what_is_no_tcp_to_443_gets_no_answer_or_a_reset_where_that_is_set() {
    for setting in [Unanswered::Drop, Unanswered::Reset] {
        let mut world = World::with(|topology| {
            topology.settings.other_port = setting;
            topology.security_groups[0].ingress[0].traffic = Traffic::All;
        });
        let eni = world.eni(APP.parse().unwrap());
        let from = "10.0.1.10:50000".parse().unwrap();
        world.inject(Port::Eni(0), &ping(APP.parse().unwrap(), eni.ip()));
        world.inject(Port::Eni(0), &udp(from, eni, 64, b"?"));
        let to = format!("{}:80", eni.ip()).parse().unwrap();
        world
            .inject(Port::Eni(0), &Tcp { from, to, flags: "S", sequence: 7, acknowledgement: 0, payload: b"" }.build());
        world.run_for(SECOND);
        for code in ["ENI_ICMP_IGNORED", "ENI_PROTOCOL_UNSUPPORTED", "ENI_PORT_CLOSED"] {
            assert_eq!(world.count(code), 1, "{code}");
        }
        let resets: Vec<_> = world.unclaimed.iter().map(|(_, buffer)| *parse(&buffer[10..]).unwrap().meta()).collect();
        assert_eq!(resets.len(), usize::from(setting == Unanswered::Reset));
        assert!(
            resets.iter().all(|reset| reset.tcp_flags().contains(TcpFlags::RST) && reset.tcp_acknowledgement() == 8)
        );
        assert_eq!((world.engine.load()[0], world.engine.flows()[0]), (0, 0));
    }
}

/// Six zones, the most a Region has, with two addresses each.
fn six_enis(topology: &mut Topology) {
    for n in 1..6_u8 {
        let mut eni = topology.endpoints[0].enis[0].clone();
        (eni.slot, eni.id) = (u16::from(n), format!("eni-{n}"));
        eni.ipv4 = [10, 0, 1, 100 + n].into();
        eni.ipv6 = eni.ipv6.map(|address| Ipv6Addr::from(u128::from(address) + u128::from(n)));
        topology.endpoints[0].enis.push(eni);
    }
}

#[test]
fn every_eni_of_six_serves_both_families_and_the_tunnel() {
    let mut world = World::with(six_enis);
    for eni in 0..6 {
        for address in [APP, "2001:db8:1234:1a01::a", ON_PREMISES] {
            let client = world.connect_to(eni, address, 50_000);
            let reply = world.call(client, invoke(b"1"));
            assert_eq!(reply.status, 200, "{eni} {address}");
        }
    }
    world.wind_down();
}

#[test]
fn an_eni_answers_only_for_its_own_address() {
    let mut world = World::with(six_enis);
    let packet = syn(&world, "10.0.1.10:50000");
    world.inject(Port::Eni(1), &packet);
    world.inject(Port::Router, &packet);
    world.settle();
    assert_eq!((world.count("CANNOT_ROUTE"), world.count("FLOW_CREATED"), world.unclaimed.len()), (2, 0, 0));
    world.inject(Port::Eni(0), &packet);
    world.settle();
    assert_eq!((world.count("FLOW_CREATED"), world.unclaimed.len()), (1, 1));
    assert_eq!(world.unclaimed[0].0, Port::Eni(0));
}

#[test]
fn a_full_flow_table_refuses_new_connections_and_keeps_the_old() {
    let mut world = World::with(|topology| {
        topology.settings.flow_limit = 50;
        topology.settings.half_open_limit = 50;
    });
    let clients: Vec<_> = (0..49).map(|n| world.connected(APP, 40_000 + n)).collect();
    // Connections to the function host take sockets of the same number.
    assert_eq!(world.call(clients[0], invoke(b"1")).status, 200);
    let refused: Vec<_> = (0..5).map(|n| world.connect_from(APP, 50_000 + n)).collect();
    world.run_for(2 * SECOND);
    assert!(
        world.count("FLOW_LIMIT") + world.count("TCP_SOCKET_LIMIT") >= 4,
        "{:?}",
        world.engine.counters().nonzero()
    );
    for &client in &clients {
        assert_eq!(world.call(client, invoke(b"2")).status, 200);
    }
    for &client in &clients {
        world.clients[client].close();
    }
    // Room again: those who kept trying get in.
    for client in refused {
        assert_eq!(world.call(client, invoke(b"3")).status, 200);
    }
    world.wind_down();
}

#[test]
fn the_records_of_a_window_with_many_flows_take_several_turns_and_none_is_lost() {
    const STRANGERS: usize = 3_000;
    let mut world = World::quickstart();
    for port in 0..STRANGERS {
        let packet = syn(&world, &format!("10.0.9.10:{}", 1_024 + port));
        world.inject(Port::Eni(0), &packet);
    }
    world.settle();
    assert_eq!(world.count("ENI_SG_RULES_MISMATCH"), STRANGERS as u64);
    assert!(world.engine.take_flow_records().is_empty(), "the window is open");
    world.advance(MINUTE);
    let (mut records, mut turns) = (0, 0);
    while records < STRANGERS {
        assert!(world.engine.next_deadline() <= Some(world.now.mono), "there is more to do at once");
        world.step();
        let told = world.engine.take_flow_records();
        assert!((1..=1_024).contains(&told.len()), "{}", told.len());
        (records, turns) = (records + told.len(), turns + 1);
    }
    assert_eq!(turns, 3);
    world.step();
    assert!(world.engine.next_deadline() > Some(world.now.mono), "and then it rests");
}
