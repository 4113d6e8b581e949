//! Network ACLs on the way between an eni and a host in another subnet.

use super::*;
use crate::config::Subnet;
use crate::packet::FiveTuple;
use crate::security_group::Subject;

/// The eni's subnet and the stranger's, `subnet-9`; the quickstart's rules. Each subnet has an ACL of its own, and each way of
/// each of them is closed to what a connection needs of it, or open: the stranger's subnet's egress, the eni's ingress, its
/// egress, the stranger's ingress.
pub(super) fn two_subnets(closed: [bool; 4]) -> Topology {
    let entries = |traffic: &str, closed: bool| {
        let entry = |number, traffic: &str, allow| NetworkAclEntry {
            number,
            traffic: parse_traffic(traffic),
            cidr: "0.0.0.0/0".parse().unwrap(),
            allow,
        };
        vec![entry(90, traffic, !closed), entry(100, "all", true)]
    };
    let acl = |id: &str, (ingress, ingress_closed): (&str, bool), (egress, egress_closed): (&str, bool)| NetworkAcl {
        id: id.to_owned(),
        ingress: entries(ingress, ingress_closed),
        egress: entries(egress, egress_closed),
    };
    let [host_egress, eni_ingress, eni_egress, host_ingress] = closed;
    let (service, ephemeral) = ("tcp/1-1023", "tcp/1024-65535");
    let mut topology = quickstart();
    topology.network_acls = vec![
        acl("acl-eni", (service, eni_ingress), (ephemeral, eni_egress)),
        acl("acl-host", (ephemeral, host_ingress), (service, host_egress)),
    ];
    topology.subnets[0].network_acl = Some(0);
    topology.subnets.push(Subnet {
        id: "subnet-9".to_owned(),
        cidr: "10.0.9.0/24".parse().unwrap(),
        cidr6: None,
        zone: "us-east-2a".to_owned(),
        network_acl: Some(1),
    });
    topology
}

/// The same with a security group that lets everybody in.
fn open(closed: [bool; 4]) -> Topology {
    let mut topology = two_subnets(closed);
    topology.security_groups = open_to_all().security_groups;
    topology
}

const ALL_OPEN: [bool; 4] = [false; 4];
const HOST_EGRESS: [bool; 4] = [true, false, false, false];
const HOST_INGRESS: [bool; 4] = [false, false, false, true];

const TO_ENI: &str = "10.0.9.10 10.0.1.5 40000 443 6 1 40";
const FROM_ENI: &str = "10.0.1.5 10.0.9.10 443 40000 6 1 40";

#[test]
fn four_rule_lists_lie_between_an_eni_and_a_host_elsewhere_and_the_flow_log_tells_what_the_eni_saw() {
    let at = |acl: &str| vec![format!("SUBNET_ACL_RESTRICTION {acl}")];
    let accepted = |line: &str| format!("{line} ACCEPT OK");
    let rejected = |line: &str| format!("{line} REJECT OK");
    let nothing = || vec!["- - - - - - - - NODATA".to_owned()];
    // What is closed; whether the SYN arrives and its answer goes out; the denial; the flow log.
    for (closed, opens, answers, denials, log) in [
        (ALL_OPEN, true, true, vec![], vec![accepted(TO_ENI), accepted(FROM_ENI)]),
        // It never got to the eni.
        (HOST_EGRESS, false, false, at("acl-host egress entry 90 denies it at subnet-9"), nothing()),
        (
            [false, true, false, false],
            false,
            false,
            at("acl-eni ingress entry 90 denies it at subnet-1"),
            vec![rejected(TO_ENI)],
        ),
        ([true, true, false, false], false, false, at("acl-host egress entry 90 denies it at subnet-9"), nothing()),
        (
            [false, false, true, false],
            true,
            false,
            at("acl-eni egress entry 90 denies it at subnet-1"),
            vec![accepted(TO_ENI), rejected(FROM_ENI)],
        ),
        // The eni let it out.
        (
            HOST_INGRESS,
            true,
            false,
            at("acl-host ingress entry 90 denies it at subnet-9"),
            vec![accepted(TO_ENI), accepted(FROM_ENI)],
        ),
        (
            [false, false, true, true],
            true,
            false,
            at("acl-eni egress entry 90 denies it at subnet-1"),
            vec![accepted(TO_ENI), rejected(FROM_ENI)],
        ),
    ] {
        let mut world = World::new(&open(closed));
        let client = from(STRANGER);
        match world.ingress(&client.clone().with_flags(SYN)) {
            Ingress::Deliver { flow, first: true } if opens => {
                let answer = world.egress(flow, &client.with_flags(SYN_ACK));
                let wants = if answers { Egress::Send(Origin::Vpc) } else { Egress::Drop(Reason::NetworkAclDeny) };
                assert_eq!(answer, wants, "{closed:?}");
            }
            other => assert_eq!((other, opens), (Ingress::Drop(Reason::NetworkAclDeny), false), "{closed:?}"),
        }
        assert_eq!(world.counters.reason(Reason::NetworkAclDeny), u64::from(!answers), "{closed:?}");
        assert_eq!(world.denials(), denials, "{closed:?}");
        assert!(world.stage.denials().all(|denial| denial.eni.as_deref() == Some("eni-1")));
        assert_eq!(world.log(), log, "{closed:?}");
    }
}

#[test]
fn the_acl_of_another_hosts_subnet_is_nothing_to_those_who_are_elsewhere() {
    let mut world = World::new(&open([true, false, false, true]));
    for (spec, origin) in [(client(b""), Origin::Vpc), (from(ONPREM), Origin::Tunnel)] {
        let flow = world.establish(&spec);
        assert_eq!(world.egress(flow, &PacketSpec { sequence: 501, ..spec }), Egress::Send(origin));
    }
    assert!(world.denials().is_empty());
}

#[test]
fn a_changed_acl_of_a_clients_subnet_counts_at_a_flows_next_packet() {
    let mut world = World::new(&open(ALL_OPEN));
    let client = from(STRANGER);
    let flow = world.establish(&client);
    let (passes, denied) = (Ingress::Deliver { flow, first: false }, Reason::NetworkAclDeny);
    world.update(&open(HOST_EGRESS));
    assert_eq!(world.ingress(&client), Ingress::Drop(denied));
    assert_eq!(world.egress(flow, &client), Egress::Send(Origin::Vpc));
    world.update(&open(HOST_INGRESS));
    assert_eq!(world.ingress(&client), passes);
    assert_eq!(world.egress(flow, &client), Egress::Drop(denied));
    world.update(&open([false, true, false, false]));
    assert_eq!(world.ingress(&client), Ingress::Drop(denied));
    world.update(&open(ALL_OPEN));
    assert_eq!(world.ingress(&client), passes);
    assert_eq!(world.egress(flow, &client), Egress::Send(Origin::Vpc));
    assert_eq!(world.counters.event(Event::FlowRejudged), 4);
    assert_eq!(
        world.denials(),
        [
            "SUBNET_ACL_RESTRICTION acl-host egress entry 90 denies it at subnet-9",
            "SUBNET_ACL_RESTRICTION acl-host ingress entry 90 denies it at subnet-9",
            "SUBNET_ACL_RESTRICTION acl-eni ingress entry 90 denies it at subnet-1",
        ],
        "each named by itself, though the same packet met two of them"
    );
}

#[test]
fn a_reply_that_the_hosts_subnet_denies_has_left_the_eni_and_is_tracked() {
    let client = PacketSpec { sequence: 501, acknowledgement: 1001, ..from(STRANGER) };
    // Closed only now: a connection is there.
    let late = |closed| {
        let mut world = World::new(&open(ALL_OPEN));
        let flow = world.establish(&from(STRANGER));
        world.update(&open(closed));
        let reset = world.egress(flow, &client.clone().with_flags(TcpFlags::RST.union(ACK)));
        assert_eq!(reset, Egress::Drop(Reason::NetworkAclDeny));
        (world, flow)
    };
    let (mut world, flow) = late(HOST_INGRESS);
    assert_eq!(world.counters.event(Event::FlowClosed), 1);
    // The flow is over: what else comes of it does not get out of the eni, and no ACL is to blame.
    assert_eq!(world.egress(flow, &client), Egress::Drop(Reason::FlowClosed));
    assert_eq!(world.counters.reason(Reason::NetworkAclDeny), 1);
    // What the eni's own subnet keeps in was never sent.
    let (world, _) = late([false, false, true, false]);
    assert_eq!(world.counters.event(Event::FlowClosed), 0);
}

#[test]
fn a_reset_that_an_acl_denies_is_not_sent_and_is_logged_where_it_got_to() {
    for (closed, outcome, action) in [
        (ALL_OPEN, Ingress::Reset(Reason::PortClosed), "ACCEPT"),
        (HOST_INGRESS, Ingress::Drop(Reason::PortClosed), "ACCEPT"),
        ([false, false, true, false], Ingress::Drop(Reason::PortClosed), "REJECT"),
    ] {
        let mut topology = open(closed);
        topology.settings.other_port = Unanswered::Reset;
        let mut world = World::new(&topology);
        assert_eq!(world.ingress(&PacketSpec { dst_port: 80, ..from(STRANGER) }.with_flags(SYN)), outcome);
        assert_eq!(world.log()[1], format!("10.0.1.5 10.0.9.10 80 40000 6 1 40 {action} OK"));
    }
}

#[test]
fn what_is_for_no_eni_is_judged_by_the_acls_on_its_way_and_logged_nowhere() {
    let mut world = World::new(&open(HOST_EGRESS));
    let tuple = FiveTuple::v4((STRANGER, 40_000), (ONPREM, 80), Protocol::TCP);
    let mut passes = |tuple| {
        let subject = Subject { tuple, icmp: None };
        world.stage.lets_pass(&subject, world.now, &world.counters)
    };
    assert!(!passes(tuple));
    assert!(passes(tuple.reversed()), "no state: its ephemeral port is open");
    assert!(passes(FiveTuple { protocol: Protocol::UDP, ..tuple }));
    assert!(passes(FiveTuple::v4((CLIENT4, 40_000), (ONPREM, 80), Protocol::TCP)));
    assert_eq!(world.counters.reason(Reason::NetworkAclDeny), 1);
    assert_eq!(world.denials(), ["SUBNET_ACL_RESTRICTION acl-host egress entry 90 denies it at subnet-9"]);
    assert_eq!(world.stage.denials().next().unwrap().eni, None);
    assert_eq!(world.log(), ["- - - - - - - - NODATA"]);
}
