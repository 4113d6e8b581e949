use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::config::{NetworkAcl, NetworkAclEntry, Topology, Unanswered};
use crate::flow::Direction;
use crate::packet::testing::{self as packets, CLIENT4, PacketSpec};
use crate::packet::{Protocol, TcpFlags, mss_option, parse};
use crate::security_group::testing::{parse_traffic, rule, topology};
use crate::time::UnixTime;

mod boundary;

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const SYN_ACK: TcpFlags = SYN.union(ACK);
const FIN_ACK: TcpFlags = TcpFlags::FIN.union(ACK);
const ONPREM: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 10);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 10);

/// The quickstart's rules: tcp/443 from the subnet and from on-premises.
fn quickstart() -> Topology {
    let mut topology = topology();
    topology.security_groups[0].ingress = vec![
        rule("sgr-app", "tcp/443", "10.0.1.0/24"),
        rule("sgr-onprem", "tcp/443", "192.168.10.0/24"),
        rule("sgr-six", "tcp/443", "fd00::/56"),
    ];
    topology
}

fn open_to_all() -> Topology {
    let mut topology = topology();
    topology.security_groups[0].ingress = vec![rule("sgr-4", "all", "0.0.0.0/0"), rule("sgr-6", "all", "::/0")];
    topology
}

/// A stage, its counters and a clock.
struct World {
    stage: EniStage<u32>,
    counters: Counters,
    now: Now,
    epoch: u64,
}

impl World {
    fn new(topology: &Topology) -> Self {
        let now = Now { mono: Moment::from_millis(5), unix: UnixTime::from_secs(6000) };
        let snapshot = Arc::new(EniSnapshot::compile(topology, 1));
        let stage = EniStage::new(snapshot, FlowSeed([3, 4]), FlowLogSettings::default(), now);
        Self { stage, counters: Counters::default(), now, epoch: 1 }
    }

    fn update(&mut self, topology: &Topology) {
        self.epoch += 1;
        let snapshot = Arc::new(EniSnapshot::compile(topology, self.epoch));
        assert!(self.stage.update(snapshot, self.now).is_empty(), "every eni is still there");
    }

    fn wait(&mut self, secs: u64) {
        self.now = self.now.after(Duration::from_secs(secs));
    }

    fn ingress(&mut self, spec: &PacketSpec) -> Ingress {
        let is_onprem = !spec.v6 && spec.src4.octets()[0] == 192;
        self.ingress_from(if is_onprem { Origin::Tunnel } else { Origin::Vpc }, spec)
    }

    fn ingress_from(&mut self, origin: Origin, spec: &PacketSpec) -> Ingress {
        self.ingress_with(origin, &mut spec.build(), &VirtioHeader::default())
    }

    fn ingress_with(&mut self, origin: Origin, bytes: &mut [u8], header: &VirtioHeader) -> Ingress {
        let meta = *parse(bytes).unwrap().meta();
        self.stage.ingress(origin, EniPacket { bytes, meta: &meta, header }, self.now, &self.counters)
    }

    fn egress(&mut self, flow: FlowId, spec: &PacketSpec) -> Egress {
        let mut bytes = spec.clone().reply().build();
        let meta = *parse(&bytes).unwrap().meta();
        let packet = EniPacket { bytes: &mut bytes, meta: &meta, header: &VirtioHeader::default() };
        self.stage.egress(flow, packet, self.now, &self.counters)
    }

    /// Opens a flow with its first packet.
    fn open(&mut self, spec: &PacketSpec) -> FlowId {
        match self.ingress(&spec.clone().with_flags(SYN)) {
            Ingress::Deliver { flow, first: true } => flow,
            other => panic!("not opened: {other:?}, {:?}", self.denials()),
        }
    }

    /// Opens a flow and finishes the handshake.
    fn establish(&mut self, spec: &PacketSpec) -> FlowId {
        let flow = self.open(spec);
        let syn_ack = PacketSpec { sequence: 500, acknowledgement: 1001, ..spec.clone().with_flags(SYN_ACK) };
        assert!(matches!(self.egress(flow, &syn_ack), Egress::Send(_)));
        let ack = PacketSpec { sequence: 1001, acknowledgement: 501, ..spec.clone() };
        assert_eq!(self.ingress(&ack), Ingress::Deliver { flow, first: false });
        flow
    }

    fn close(&mut self, flow: FlowId, spec: &PacketSpec) {
        let spec = PacketSpec { payload: vec![], ..spec.clone() };
        let fin = PacketSpec { sequence: 1001, acknowledgement: 501, ..spec.clone().with_flags(FIN_ACK) };
        self.ingress(&fin);
        let fin = PacketSpec { sequence: 501, acknowledgement: 1002, ..spec.clone().with_flags(FIN_ACK) };
        self.egress(flow, &fin);
        let ack = PacketSpec { sequence: 1002, acknowledgement: 502, ..spec };
        assert_eq!(self.ingress(&ack), Ingress::Deliver { flow, first: false });
    }

    fn denials(&self) -> Vec<String> {
        self.stage.denials().map(|denial| format!("{} {}", denial.reason.code(), denial.text)).collect()
    }

    fn counted(&self) -> Vec<(&'static str, u64)> {
        self.counters.nonzero().into_iter().map(|(_, code, count)| (code, count)).collect()
    }

    fn ended(&mut self) -> Vec<(EndCause, Option<u32>)> {
        std::iter::from_fn(|| self.stage.poll_ended(self.now, &self.counters)).map(|e| (e.cause, e.user)).collect()
    }

    fn log(&mut self) -> Vec<String> {
        self.wait(60);
        let records = std::iter::from_fn(|| self.stage.poll_records(self.now));
        // Without version, account, eni, start and end.
        let short = |line: String| {
            line.split(' ')
                .enumerate()
                .filter(|(n, _)| ![0, 1, 2, 10, 11].contains(n))
                .map(|(_, w)| w.to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        records.map(|record| short(record.to_string())).collect()
    }
}

fn client(payload: &[u8]) -> PacketSpec {
    PacketSpec::tcp4(payload)
}

fn from(src4: Ipv4Addr) -> PacketSpec {
    PacketSpec { src4, ..PacketSpec::tcp4(b"") }
}

#[test]
fn a_connection_passes_both_ways_and_rules_are_walked_once() {
    for (spec, origin, rule) in [
        (client(b""), Origin::Vpc, "sg-1 sgr-app"),
        (from(ONPREM), Origin::Tunnel, "sg-1 sgr-onprem"),
        (PacketSpec::tcp6(b""), Origin::Vpc, "sg-1 sgr-six"),
    ] {
        let mut world = World::new(&quickstart());
        let flow = world.establish(&spec);
        assert_eq!(world.egress(flow, &PacketSpec { sequence: 501, ..spec.clone() }), Egress::Send(origin));
        assert_eq!(world.stage.rule_of(flow).unwrap().to_string(), rule);
        world.close(flow, &spec);
        assert_eq!(
            world.counted(),
            [("FLOW_HIT", 3), ("FLOW_MISS", 1), ("FLOW_CREATED", 1), ("FLOW_CLOSED", 1), ("RULE_WALK", 1)]
        );
        assert!(world.denials().is_empty());
    }
}

#[test]
fn a_stranger_is_dropped_and_told_nothing_but_the_denial_names_rule_and_field() {
    let mut world = World::new(&quickstart());
    let dropped = Ingress::Drop(Reason::SecurityGroupMismatch);
    for _ in 0..3 {
        assert_eq!(world.ingress(&from(STRANGER).with_flags(SYN)), dropped);
    }
    assert_eq!(world.ingress(&from(STRANGER)), dropped, "whatever its flags");
    assert_eq!(
        world.denials(),
        ["ENI_SG_RULES_MISMATCH sg-1 sgr-app allows tcp/443 from 10.0.1.0/24, but the source is 10.0.9.10"]
    );
    let denial = world.stage.denials().next().unwrap();
    assert_eq!((denial.packets, denial.eni.as_deref()), (4, Some("eni-1")));
    assert_eq!(world.counted(), [("FLOW_MISS", 4), ("RULE_WALK", 4), ("ENI_SG_RULES_MISMATCH", 4)]);
    assert_eq!(world.log(), ["10.0.9.10 10.0.1.5 40000 443 6 4 160 REJECT OK"]);
}

#[test]
fn only_packets_for_the_enis_from_where_routes_lead_are_taken() {
    let all = open_to_all();
    let syn = client(b"").with_flags(SYN);
    let other = Ipv4Addr::new(10, 0, 1, 6);
    for (name, origin, spec, taken) in [
        ("for the eni", Origin::Vpc, syn.clone(), true),
        ("for another", Origin::Vpc, PacketSpec { dst4: other, ..syn.clone() }, false),
        ("from the eni itself", Origin::Vpc, PacketSpec { src4: packets::ENI4, ..syn.clone() }, false),
        ("from everybody", Origin::Vpc, PacketSpec { src4: Ipv4Addr::new(224, 0, 0, 1), ..syn.clone() }, false),
        ("from nobody", Origin::Vpc, PacketSpec { src4: Ipv4Addr::UNSPECIFIED, ..syn.clone() }, false),
        ("from the Internet", Origin::Vpc, PacketSpec { src4: Ipv4Addr::new(8, 8, 8, 8), ..syn.clone() }, false),
        ("on-premises through the tunnel", Origin::Tunnel, PacketSpec { src4: ONPREM, ..syn.clone() }, true),
        ("on-premises forged in the VPC", Origin::Vpc, PacketSpec { src4: ONPREM, ..syn.clone() }, false),
        ("the VPC forged on-premises", Origin::Tunnel, syn.clone(), false),
        ("the tunnel's inside", Origin::Tunnel, PacketSpec { src4: Ipv4Addr::new(169, 254, 10, 2), ..syn }, true),
        ("IPv6", Origin::Vpc, PacketSpec::tcp6(b"").with_flags(SYN), true),
        (
            "IPv6 for another",
            Origin::Vpc,
            PacketSpec { dst6: packets::CLIENT6, ..PacketSpec::tcp6(b"").with_flags(SYN) },
            false,
        ),
    ] {
        let mut world = World::new(&all);
        let ingress = world.ingress_from(origin, &spec);
        assert_eq!(matches!(ingress, Ingress::Deliver { .. }), taken, "{name}");
        assert!(taken || ingress == Ingress::Drop(Reason::CannotRoute), "{name}: {ingress:?}");
        assert_eq!(world.counters.reason(Reason::CannotRoute), u64::from(!taken), "{name}");
    }
    // Nobody joins a flow from the other side.
    let mut world = World::new(&all);
    world.establish(&client(b""));
    assert_eq!(world.ingress_from(Origin::Tunnel, &client(b"x")), Ingress::Drop(Reason::CannotRoute));
}

#[test]
fn an_eni_that_is_down_lets_nothing_through_and_keeps_its_flows_until_they_time_out() {
    let mut world = World::new(&quickstart());
    let flow = world.establish(&client(b""));
    world.log();
    world.stage.set_health(0, false);
    assert!(world.stage.is_down(flow));
    for spec in [client(b"more"), client(b"").with_flags(SYN), client(b"").with_flags(TcpFlags::RST)] {
        assert_eq!(world.ingress(&spec), Ingress::Drop(Reason::EniDown));
        assert_eq!(world.egress(flow, &spec), Egress::Drop(Reason::EniDown));
    }
    let stranger = PacketSpec { src4: STRANGER, ..client(b"").with_flags(SYN) };
    assert_eq!(world.ingress(&stranger), Ingress::Drop(Reason::EniDown), "no rule is asked");
    assert_eq!((world.counters.reason(Reason::EniDown), world.counters.event(Event::RuleWalk)), (7, 1));
    assert_eq!(world.denials(), ["ENI_DOWN the eni is out of service"; 2]);
    assert_eq!(world.log(), ["- - - - - - - - NODATA"], "flow logs say nothing of it");
    world.update(&quickstart());
    assert_eq!(world.ingress(&client(b"more")), Ingress::Drop(Reason::EniDown));
    world.stage.set_health(0, true);
    assert!(!world.stage.is_down(flow));
    assert_eq!(world.ingress(&client(b"more")), Ingress::Deliver { flow, first: false }, "not even the RST was seen");
    // What is dropped keeps no flow alive.
    world.stage.set_health(0, false);
    world.wait(300);
    world.ingress(&client(b"more"));
    world.egress(flow, &client(b""));
    world.wait(50);
    world.ended();
    world.stage.set_health(0, true);
    assert_eq!(world.ingress(&client(b"late")), Ingress::Drop(Reason::FlowIdleExpired));
}

#[test]
fn larger_packets_than_the_mtu_are_dropped_and_super_segments_count_by_their_segments() {
    let mut world = World::new(&quickstart());
    let flow = world.establish(&client(b""));
    let delivered = Ingress::Deliver { flow, first: false };
    let too_large = Ingress::Drop(Reason::MtuExceeded);
    assert_eq!(world.ingress(&client(&[0; 8460])), delivered);
    assert_eq!(world.ingress(&client(&[0; 8461])), too_large);
    let mut bytes = client(&[0; 60_000]).build();
    let meta = *parse(&bytes).unwrap().meta();
    assert_eq!(world.ingress_with(Origin::Vpc, &mut bytes, &packets::gso(&meta, 8460)), delivered);
    assert_eq!(world.ingress_with(Origin::Vpc, &mut bytes, &packets::gso(&meta, 8461)), too_large);
    assert_eq!(world.counters.reason(Reason::MtuExceeded), 2);
}

/// AWS: "Interface endpoints do not respond to ping requests", and an API's endpoint serves HTTPS alone.
#[test]
fn what_the_rules_allow_but_the_endpoint_does_not_serve_is_dropped_for_its_own_reason() {
    let other_port = PacketSpec { dst_port: 80, ..client(b"") };
    for (name, spec, reason) in [
        ("ping", PacketSpec::ping4(b"x"), Reason::IcmpIgnored),
        ("ping over IPv6", PacketSpec::ping6(b"x"), Reason::IcmpIgnored),
        ("UDP", PacketSpec::udp4(b"x"), Reason::ProtocolUnsupported),
        ("GRE", PacketSpec { protocol: Protocol(47), ..client(b"") }, Reason::ProtocolUnsupported),
        ("another port", other_port.with_flags(SYN), Reason::PortClosed),
        ("the middle of a connection", client(b"x"), Reason::FlowUnknown),
        ("a stray RST", client(b"").with_flags(TcpFlags::RST), Reason::FlowUnknown),
        ("an impossible SYN", client(b"").with_flags(SYN.union(TcpFlags::FIN)), Reason::FlowUnknown),
    ] {
        let mut allowing = World::new(&open_to_all());
        assert_eq!(allowing.ingress(&spec), Ingress::Drop(reason), "{name}");
        assert_eq!(allowing.counters.reason(reason), 1, "{name}");
        assert_eq!(allowing.log().len(), 1);
        // Who is not let in at all is told apart.
        let mut denying = World::new(&topology());
        assert_eq!(denying.ingress(&spec), Ingress::Drop(Reason::SecurityGroupMismatch), "{name}");
        assert!(denying.log()[0].ends_with("REJECT OK"), "{name}");
    }
}

#[test]
fn another_port_answers_with_a_reset_if_the_setting_says_so() {
    let mut topology = open_to_all();
    topology.settings.other_port = Unanswered::Reset;
    let mut world = World::new(&topology);
    let other_port = PacketSpec { dst_port: 80, ..client(b"") };
    assert_eq!(world.ingress(&other_port.clone().with_flags(SYN)), Ingress::Reset(Reason::PortClosed));
    assert_eq!(world.ingress(&other_port.with_flags(TcpFlags::RST)), Ingress::Drop(Reason::PortClosed));
    assert_eq!(world.ingress(&PacketSpec::udp4(b"")), Ingress::Drop(Reason::ProtocolUnsupported));
    assert_eq!(
        world.log(),
        [
            "10.0.1.10 10.0.1.5 40000 80 6 2 80 ACCEPT OK",
            "10.0.1.5 10.0.1.10 80 40000 6 1 40 ACCEPT OK",
            "10.0.1.10 10.0.1.5 40000 443 17 1 28 ACCEPT OK"
        ]
    );
}

#[test]
fn stragglers_after_the_close_are_rejected_and_a_new_connection_is_not() {
    let mut world = World::new(&quickstart());
    let flow = world.establish(&client(b""));
    *world.stage.user_mut(flow).unwrap() = Some(7);
    world.close(flow, &client(b""));
    assert_eq!(world.ingress(&client(b"late")), Ingress::Drop(Reason::FlowClosed));
    assert_eq!(world.egress(flow, &client(b"").with_flags(SYN)), Egress::Drop(Reason::FlowClosed));
    let again = world.open(&client(b""));
    assert_ne!(again, flow);
    assert_eq!(world.ended(), [(EndCause::Closed, Some(7))]);
    assert_eq!(world.counters.event(Event::FlowRecycled), 1);
    assert_eq!(
        world.log(),
        [
            "10.0.1.10 10.0.1.5 40000 443 6 5 200 ACCEPT OK",
            "10.0.1.5 10.0.1.10 443 40000 6 2 80 ACCEPT OK",
            "10.0.1.10 10.0.1.5 40000 443 6 1 44 REJECT OK",
        ]
    );
}

#[test]
fn a_silent_flow_ends_after_350_seconds_and_its_late_packets_meet_the_setting() {
    for (setting, late) in [
        (Unanswered::Drop, Ingress::Drop(Reason::FlowIdleExpired)),
        (Unanswered::Reset, Ingress::Reset(Reason::FlowIdleExpired)),
    ] {
        let mut topology = quickstart();
        topology.settings.late_packet = setting;
        let mut world = World::new(&topology);
        let flow = world.establish(&client(b""));
        *world.stage.user_mut(flow).unwrap() = Some(9);
        world.wait(349);
        assert!(world.ended().is_empty());
        assert_eq!(world.ingress(&client(b"")), Ingress::Deliver { flow, first: false });
        world.wait(350);
        assert_eq!(world.ended(), [(EndCause::Idle, Some(9))]);
        assert_eq!(world.ingress(&client(b"late")), late);
        assert_eq!(world.egress(flow, &client(b"")), Egress::Drop(Reason::FlowIdleExpired));
        assert_eq!(world.counters.reason(Reason::FlowIdleExpired), 2);
        assert_eq!(world.counters.event(Event::FlowExpired), 1);
        assert_ne!(world.open(&client(b"")), flow);
    }
}

#[test]
fn limits_on_flows_and_half_open_connections_hold() {
    let mut topology = quickstart();
    (topology.settings.flow_limit, topology.settings.half_open_limit) = (3, 2);
    let mut world = World::new(&topology);
    let port = |src_port| PacketSpec { src_port, ..client(b"") };
    world.open(&port(1));
    world.open(&port(2));
    assert_eq!(world.ingress(&port(3).with_flags(SYN)), Ingress::Drop(Reason::HalfOpenLimit));
    world.wait(10);
    assert_eq!(world.ended(), [(EndCause::HalfOpen, None), (EndCause::HalfOpen, None)]);
    for n in 1..=3 {
        world.establish(&port(n));
    }
    assert_eq!(world.ingress(&port(4).with_flags(SYN)), Ingress::Drop(Reason::FlowLimit));
    assert_eq!(world.denials().last().unwrap(), "FLOW_LIMIT the flow table is full");
}

#[test]
fn the_mss_is_clamped_both_ways() {
    let mss_of = |bytes: &[u8]| mss_option(bytes, parse(bytes).unwrap().meta()).unwrap();
    for (spec, mss_max) in [(client(b""), 8365), (PacketSpec::tcp6(b""), 8345)] {
        let mut world = World::new(&quickstart());
        let options = vec![2, 4, 0x23, 0x01]; // 8961
        let mut syn = PacketSpec { options: options.clone(), ..spec.clone().with_flags(SYN) }.build();
        let Ingress::Deliver { flow, .. } = world.ingress_with(Origin::Vpc, &mut syn, &VirtioHeader::default()) else {
            panic!("not opened")
        };
        let mut syn_ack = PacketSpec { options, ..spec.with_flags(SYN_ACK) }.reply().build();
        let meta = *parse(&syn_ack).unwrap().meta();
        let packet = EniPacket { bytes: &mut syn_ack, meta: &meta, header: &VirtioHeader::default() };
        assert_eq!(world.stage.egress(flow, packet, world.now, &world.counters), Egress::Send(Origin::Vpc));
        assert_eq!((mss_of(&syn), mss_of(&syn_ack)), (mss_max, mss_max));
        assert_eq!(world.counters.event(Event::MssClamped), 2);
    }
}

#[test]
fn a_revoked_rule_stops_new_flows_but_not_tracked_ones() {
    let mut world = World::new(&quickstart());
    let flow = world.establish(&client(b""));
    world.update(&topology());
    assert_eq!(world.ingress(&client(b"more")), Ingress::Deliver { flow, first: false });
    assert_eq!(world.egress(flow, &client(b"")), Egress::Send(Origin::Vpc));
    assert!(world.stage.rule_of(flow).is_none());
    assert_eq!(world.counters.event(Event::FlowRejudged), 1);
    let other = PacketSpec { src_port: 5, ..client(b"").with_flags(SYN) };
    assert_eq!(world.ingress(&other), Ingress::Drop(Reason::SecurityGroupMismatch));
    assert_eq!(world.denials(), ["ENI_SG_RULES_MISMATCH its security groups have no rules"]);
    world.update(&quickstart());
    world.ingress(&client(b"more"));
    assert_eq!(world.stage.rule_of(flow).unwrap().to_string(), "sg-1 sgr-app");
}

/// The quickstart with an ACL on the eni's subnet that admits on-premises one way or both.
fn with_acl(ingress: bool, egress: bool) -> Topology {
    let entry = |traffic: &str, allow| NetworkAclEntry {
        number: 100,
        traffic: parse_traffic(traffic),
        cidr: "192.168.10.0/24".parse().unwrap(),
        allow,
    };
    let mut topology = quickstart();
    topology.network_acls = vec![NetworkAcl {
        id: "acl-1".to_owned(),
        ingress: vec![entry("tcp/443", ingress)],
        egress: vec![entry("tcp/1024-65535", egress)],
    }];
    topology.subnets[0].network_acl = Some(0);
    topology
}

#[test]
fn network_acls_count_at_once_and_in_both_directions_but_not_inside_the_subnet() {
    let mut world = World::new(&with_acl(true, true));
    let (local, far) = (client(b""), from(ONPREM));
    let (local_flow, far_flow) = (world.establish(&local), world.establish(&far));
    world.update(&with_acl(false, true));
    assert_eq!(world.ingress(&far), Ingress::Drop(Reason::NetworkAclDeny));
    assert_eq!(world.egress(far_flow, &far), Egress::Send(Origin::Tunnel));
    world.update(&with_acl(true, false));
    assert_eq!(world.ingress(&far), Ingress::Deliver { flow: far_flow, first: false });
    assert_eq!(world.egress(far_flow, &far), Egress::Drop(Reason::NetworkAclDeny));
    assert_eq!(world.ingress(&local), Ingress::Deliver { flow: local_flow, first: false });
    assert_eq!(world.egress(local_flow, &local), Egress::Send(Origin::Vpc));
    assert_eq!(
        world.denials(),
        [
            "SUBNET_ACL_RESTRICTION acl-1 ingress entry 100 denies it at subnet-1",
            "SUBNET_ACL_RESTRICTION acl-1 egress entry 100 denies it at subnet-1"
        ]
    );
    assert_eq!(world.counters.reason(Reason::NetworkAclDeny), 2);
}

/// AWS, "Flow log record examples", security group and network ACL rules: ACCEPT for the request, REJECT for the reply.
#[test]
fn a_reply_that_the_acl_blocks_is_logged_as_rejected() {
    let mut world = World::new(&with_acl(true, false));
    let flow = world.open(&from(ONPREM));
    let syn_ack = from(ONPREM).with_flags(SYN_ACK);
    assert_eq!(world.egress(flow, &syn_ack), Egress::Drop(Reason::NetworkAclDeny));
    assert_eq!(
        world.log(),
        ["192.168.10.10 10.0.1.5 40000 443 6 1 40 ACCEPT OK", "10.0.1.5 192.168.10.10 443 40000 6 1 40 REJECT OK"]
    );
}

#[test]
fn super_segments_are_logged_as_the_packets_they_stand_for() {
    let mut world = World::new(&quickstart());
    world.open(&client(b""));
    let mut bytes = client(&[0; 3000]).build();
    let meta = *parse(&bytes).unwrap().meta();
    world.ingress_with(Origin::Vpc, &mut bytes, &packets::gso(&meta, 1460));
    assert_eq!(world.log(), ["10.0.1.10 10.0.1.5 40000 443 6 4 3160 ACCEPT OK"]);
    assert_eq!(world.log(), ["- - - - - - - - NODATA"]);
}

#[test]
fn the_next_deadline_is_that_of_flows_or_of_the_flow_log() {
    let mut world = World::new(&quickstart());
    assert_eq!(world.stage.next_deadline(world.now), Some(world.now.mono + Duration::from_secs(60)));
    world.wait(55);
    world.open(&client(b""));
    assert!(world.stage.next_deadline(world.now) <= Some(world.now.mono + Duration::from_secs(5)));
}

proptest! {
    /// Whatever comes is delivered or counted under exactly one reason, and the tables stay within their limits.
    #[test]
    fn every_packet_has_one_outcome_and_one_counter(
        steps in prop::collection::vec((0usize..6, 0u16..4, any::<u8>(), 0u8..4, any::<bool>(), 0u64..400), 1..80),
        closed in prop::array::uniform4(prop::bool::weighted(0.2)),
    ) {
        let mut topology = boundary::two_subnets(closed);
        topology.security_groups[0].ingress.push(rule("sgr-stranger", "tcp/443", "10.0.9.0/24"));
        (topology.settings.flow_limit, topology.settings.half_open_limit) = (3, 2);
        topology.settings.late_packet = Unanswered::Reset;
        let mut world = World::new(&topology);
        let mut dropped = 0;
        for (kind, src_port, flags, source, is_egress, wait) in steps {
            let src4 = [CLIENT4, ONPREM, STRANGER, packets::ENI4][usize::from(source)];
            let spec = PacketSpec { src4, src_port, flags: TcpFlags(flags), ..packets::every_kind()[kind].clone() };
            let found = world.stage.flows.find(&parse(&spec.build()).unwrap().tuple());
            let is_dropped = match found {
                Some((flow, Direction::Original)) if is_egress => matches!(world.egress(flow, &spec), Egress::Drop(_)),
                _ => !matches!(world.ingress(&spec), Ingress::Deliver { .. }),
            };
            dropped += u64::from(is_dropped);
            let counted: u64 = Reason::ALL.iter().map(|reason| world.counters.reason(*reason)).sum();
            prop_assert_eq!(counted, dropped);
            prop_assert!(world.stage.flows.len() <= 3 && world.stage.flows.half_open_len() <= 2);
            prop_assert!(world.stage.denials().count() <= DENIALS_MAX);
            world.wait(wait / 40);
            world.ended();
            while world.stage.poll_records(world.now).is_some() {}
        }
    }
}
