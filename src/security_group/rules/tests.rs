use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::*;
use crate::packet::FiveTuple;

/// A VPC with one subnet, one eni at 10.0.1.5 in group 0 (`sg-1`), and nothing else.
pub(crate) fn topology() -> Topology {
    let group = |id: &str| SecurityGroup { id: id.to_owned(), name: id.to_owned(), ingress: vec![], egress: vec![] };
    Topology {
        resolver: Resolver::default(),
        name: "test".to_owned(),
        region: "us-east-2".to_owned(),
        partition: "aws".to_owned(),
        account: "123456789012".to_owned(),
        vpc: Vpc {
            id: "vpc-1".to_owned(),
            cidr: "10.0.0.0/16".parse().unwrap(),
            cidr6: Some("fd00::/56".parse().unwrap()),
            dns_support: true,
            dns_hostnames: true,
        },
        subnets: vec![Subnet {
            id: "subnet-1".to_owned(),
            cidr: "10.0.1.0/24".parse().unwrap(),
            cidr6: Some("fd00:0:0:1::/64".parse().unwrap()),
            zone: "us-east-2a".to_owned(),
            network_acl: None,
        }],
        network_acls: vec![],
        prefix_lists: vec![],
        security_groups: vec![group("sg-1"), group("sg-2")],
        endpoints: vec![Endpoint {
            id: "vpce-1".to_owned(),
            dns_token: "abcdefgh".to_owned(),
            enis: vec![Eni {
                slot: 0,
                id: "eni-1".to_owned(),
                subnet: 0,
                ipv4: Ipv4Addr::new(10, 0, 1, 5),
                ipv6: Some(Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 5)),
                security_groups: vec![0],
            }],
            private_dns: true,
            dns_records: DnsRecords::default(),
            policy: None,
        }],
        settings: EndpointSettings::default(),
        hosts: vec![],
        on_premises: OnPremises {
            cidr: "192.168.10.0/24".parse().unwrap(),
            cidr6: None,
            router: Ipv4Addr::new(192, 168, 10, 1),
            router6: None,
            dns_forwarder: Ipv4Addr::new(192, 168, 10, 2),
            function_host: "192.168.10.20:8080".parse().unwrap(),
            external_function_host: false,
        },
        tunnel: Tunnel {
            aws_outside: Ipv4Addr::new(203, 0, 113, 1),
            customer_outside: Ipv4Addr::new(198, 51, 100, 1),
            port: 4500,
            inside_cidr: "169.254.10.0/30".parse().unwrap(),
            replay_window: 1024,
            path: "lan".to_owned(),
        },
        paths: vec![PathProfile {
            name: "lan".to_owned(),
            mtu: 1500,
            to_customer: PathDirection { delay: Duration::ZERO, ..PathDirection::default() },
            to_aws: PathDirection::default(),
        }],
        identities: vec![],
        functions: vec![],
    }
}

/// `all`, `tcp/443`, `udp/1-2`, `icmp`, `icmp/8`, `icmp/3/4`, `proto/47`.
pub(crate) fn parse_traffic(text: &str) -> Traffic {
    let mut parts = text.split('/');
    let protocol = parts.next().unwrap();
    let numbers: Vec<&str> = parts.collect();
    let byte = |at: usize| numbers.get(at).map(|n| n.parse().unwrap());
    let ports = || {
        let (from, to) = numbers[0].split_once('-').unwrap_or((numbers[0], numbers[0]));
        PortRange { from: from.parse().unwrap(), to: to.parse().unwrap() }
    };
    match protocol {
        "all" => Traffic::All,
        "tcp" => Traffic::Tcp(ports()),
        "udp" => Traffic::Udp(ports()),
        "icmp" => Traffic::Icmp { icmp_type: byte(0), icmp_code: byte(1) },
        "icmpv6" => Traffic::Icmpv6 { icmp_type: byte(0), icmp_code: byte(1) },
        _ => Traffic::Protocol(byte(0).unwrap()),
    }
}

pub(crate) fn rule(id: &str, traffic: &str, cidr: &str) -> SecurityGroupRule {
    peer_rule(id, traffic, Peer::Cidr(cidr.parse().unwrap()))
}

fn peer_rule(id: &str, traffic: &str, peer: Peer) -> SecurityGroupRule {
    SecurityGroupRule { id: id.to_owned(), traffic: parse_traffic(traffic), peer, description: None }
}

pub(crate) fn compile(ingress: Vec<SecurityGroupRule>, egress: Vec<SecurityGroupRule>) -> SecurityGroupRules {
    let mut topology = topology();
    (topology.security_groups[0].ingress, topology.security_groups[0].egress) = (ingress, egress);
    SecurityGroupRules::compile(&topology, &topology.endpoints[0].enis[0].security_groups)
}

fn subject(src: &str, protocol: Protocol, port: u16, icmp: Option<(u8, u8)>) -> Subject {
    let src: IpAddr = src.parse().unwrap();
    let dst: IpAddr = if src.is_ipv6() { "fd00:0:0:1::5" } else { "10.0.1.5" }.parse().unwrap();
    let src_port = if icmp.is_some() { 0 } else { 40_000 };
    Subject { tuple: FiveTuple::between((src, src_port).into(), (dst, port).into(), protocol).unwrap(), icmp }
}

/// A TCP packet from `src` to the eni.
pub(crate) fn tcp(src: &str, port: u16) -> Subject {
    subject(src, Protocol::TCP, port, None)
}

/// A TCP packet from the eni to port `port` of `dst`.
pub(crate) fn reply(dst: &str, port: u16) -> Subject {
    let mut subject = tcp(dst, port);
    subject.tuple.addresses = subject.tuple.reversed().addresses;
    (subject.tuple.src_port, subject.tuple.dst_port) = (443, port);
    subject
}

/// An ICMP message from `src` to the eni.
pub(crate) fn icmp(src: &str, icmp_type: u8, icmp_code: u8) -> Subject {
    let protocol = if src.contains(':') { Protocol::ICMPV6 } else { Protocol::ICMP };
    subject(src, protocol, 0, Some((icmp_type, icmp_code)))
}

fn allowed_by(rules: &SecurityGroupRules, subject: &Subject) -> Option<String> {
    match rules.evaluate(RuleDirection::Ingress, subject) {
        Decision::Allow(rule) => Some(rules.name(RuleDirection::Ingress, rule).unwrap().to_string()),
        Decision::Deny => None,
    }
}

/// AWS, "Security group rules": the fields of a rule and what they admit.
#[test]
fn each_kind_of_rule_admits_what_it_says_and_no_more() {
    let rows: &[(&str, &str, Subject, bool)] = &[
        ("tcp/443", "10.0.1.0/24", tcp("10.0.1.10", 443), true),
        ("tcp/443", "10.0.1.0/24", tcp("10.0.1.255", 443), true),
        ("tcp/443", "10.0.1.0/24", tcp("10.0.2.0", 443), false),
        ("tcp/443", "10.0.1.0/24", tcp("10.0.1.10", 444), false),
        ("tcp/443", "10.0.1.77/24", tcp("10.0.1.10", 443), true), // made canonical, as EC2 does
        ("tcp/443", "10.0.1.0/24", subject("10.0.1.10", Protocol::UDP, 443, None), false),
        ("tcp/1000-2000", "0.0.0.0/0", tcp("8.8.8.8", 1000), true),
        ("tcp/1000-2000", "0.0.0.0/0", tcp("8.8.8.8", 2001), false),
        ("tcp/443", "0.0.0.0/0", tcp("2001:db8::1", 443), false),
        ("tcp/443", "::/0", tcp("2001:db8::1", 443), true),
        ("tcp/443", "::/0", tcp("10.0.1.1", 443), false),
        ("all", "10.0.0.0/8", icmp("10.9.9.9", 8, 0), true),
        ("all", "10.0.0.0/8", subject("10.9.9.9", Protocol(47), 0, None), true),
        ("all", "10.0.0.0/8", tcp("11.0.0.0", 1), false),
        ("icmp", "0.0.0.0/0", icmp("8.8.8.8", 13, 7), true),
        ("icmp/8", "0.0.0.0/0", icmp("8.8.8.8", 8, 9), true),
        ("icmp/8", "0.0.0.0/0", icmp("8.8.8.8", 9, 8), false),
        ("icmp/3/4", "0.0.0.0/0", icmp("8.8.8.8", 3, 4), true),
        ("icmp/3/4", "0.0.0.0/0", icmp("8.8.8.8", 3, 3), false),
        ("icmp", "::/0", icmp("2001:db8::1", 128, 0), false),
        ("icmpv6/128", "::/0", icmp("2001:db8::1", 128, 0), true),
        ("proto/47", "0.0.0.0/0", subject("8.8.8.8", Protocol(47), 0, None), true),
        ("proto/47", "0.0.0.0/0", subject("8.8.8.8", Protocol(50), 0, None), false),
        ("proto/6", "0.0.0.0/0", tcp("8.8.8.8", 5), true), // a number other than by name: all ports
    ];
    for (traffic, cidr, packet, expected) in rows {
        let rules = compile(vec![rule("sgr-1", traffic, cidr)], vec![]);
        assert_eq!(allowed_by(&rules, packet).is_some(), *expected, "{traffic} from {cidr}: {packet:?}");
        let outward = compile(vec![], vec![rule("sgr-1", traffic, cidr)]);
        assert_eq!(allowed_by(&outward, packet), None, "an egress rule admits nothing inward");
        let mut away = *packet;
        (away.tuple.addresses, away.tuple.dst_port) = (packet.tuple.reversed().addresses, packet.tuple.dst_port);
        let decision = outward.evaluate(RuleDirection::Egress, &away);
        assert_eq!(decision != Decision::Deny, *expected, "egress {traffic} to {cidr}");
    }
}

#[test]
fn an_empty_rule_list_denies() {
    let rules = compile(vec![], vec![]);
    assert_eq!((allowed_by(&rules, &tcp("10.0.1.10", 443)), rules.len(RuleDirection::Ingress)), (None, 0));
}

#[test]
fn groups_are_united_and_the_first_allowing_rule_is_named() {
    let mut topology = topology();
    topology.endpoints[0].enis[0].security_groups = vec![1, 0, 1];
    topology.security_groups[0].ingress = vec![rule("sgr-b", "tcp/443", "10.0.1.0/24")];
    topology.security_groups[1].ingress =
        vec![rule("sgr-a", "tcp/443", "192.168.0.0/16"), rule("sgr-c", "tcp/443", "10.0.0.0/8")];
    let rules = SecurityGroupRules::compile(&topology, &topology.endpoints[0].enis[0].security_groups);
    assert_eq!(allowed_by(&rules, &tcp("10.0.1.10", 443)).as_deref(), Some("sg-2 sgr-c"));
    assert_eq!(allowed_by(&rules, &tcp("192.168.10.10", 443)).as_deref(), Some("sg-2 sgr-a"));
    assert_eq!(rules.len(RuleDirection::Ingress), 3);
    topology.endpoints[0].enis[0].security_groups = vec![0];
    let rules = SecurityGroupRules::compile(&topology, &topology.endpoints[0].enis[0].security_groups);
    assert_eq!(allowed_by(&rules, &tcp("10.0.1.10", 443)).as_deref(), Some("sg-1 sgr-b"));
    assert_eq!(allowed_by(&rules, &tcp("192.168.10.10", 443)), None);
}

#[test]
fn a_prefix_list_admits_its_entries() {
    let mut topology = topology();
    let entries =
        ["10.0.1.0/24", "10.0.1.128/25", "192.168.10.0/24", "2001:db8::/32"].map(|e| e.parse().unwrap()).to_vec();
    topology.prefix_lists =
        vec![PrefixList { id: "pl-1".to_owned(), entries }, PrefixList { id: "pl-2".to_owned(), entries: vec![] }];
    let with = |list| {
        let mut topology = topology.clone();
        topology.security_groups[0].ingress = vec![peer_rule("sgr-1", "tcp/443", Peer::PrefixList(list))];
        SecurityGroupRules::compile(&topology, &topology.endpoints[0].enis[0].security_groups)
    };
    for (src, allowed) in [
        ("10.0.1.200", true),
        ("10.0.1.1", true),
        ("10.0.2.1", false),
        ("192.168.10.1", true),
        ("2001:db8::9", true),
        ("2001:db9::", false),
    ] {
        assert_eq!(allowed_by(&with(0), &tcp(src, 443)).is_some(), allowed, "{src}");
        assert_eq!(allowed_by(&with(1), &tcp(src, 443)), None, "an empty list admits nothing");
    }
    let miss = with(0).explain(RuleDirection::Ingress, &tcp("10.0.2.1", 443)).unwrap();
    assert_eq!(miss.text, "sg-1 sgr-1 allows tcp/443 from pl-1, but the source is 10.0.2.1");
}

#[test]
fn a_referenced_group_admits_the_private_addresses_in_it_but_nobody_on_premises() {
    let mut topology = topology();
    let host = |name: &str, site, ipv4: [u8; 4], ipv6: Option<&str>, groups: &[usize]| Host {
        name: name.to_owned(),
        site,
        ipv4: ipv4.into(),
        ipv6: ipv6.map(|a| a.parse().unwrap()),
        security_groups: groups.to_vec(),
    };
    topology.hosts = vec![
        host("app", Site::Subnet(0), [10, 0, 1, 10], Some("fd00:0:0:1::10"), &[1]),
        host("other", Site::Subnet(0), [10, 0, 1, 11], None, &[0]),
        host("far", Site::OnPremises, [192, 168, 10, 10], None, &[1]),
    ];
    topology.security_groups[0].ingress = vec![peer_rule("sgr-1", "tcp/443", Peer::SecurityGroup(1))];
    let rules = SecurityGroupRules::compile(&topology, &topology.endpoints[0].enis[0].security_groups);
    for (src, allowed) in
        [("10.0.1.10", true), ("fd00:0:0:1::10", true), ("10.0.1.11", false), ("192.168.10.10", false)]
    {
        assert_eq!(allowed_by(&rules, &tcp(src, 443)).is_some(), allowed, "{src}");
    }
    // A group that refers to itself, as the default group of a VPC does, admits the eni and its members.
    topology.security_groups[0].ingress = vec![peer_rule("sgr-1", "all", Peer::SecurityGroup(0))];
    let rules = SecurityGroupRules::compile(&topology, &topology.endpoints[0].enis[0].security_groups);
    for (src, allowed) in [("10.0.1.5", true), ("10.0.1.11", true), ("10.0.1.10", false)] {
        assert_eq!(allowed_by(&rules, &tcp(src, 443)).is_some(), allowed, "{src}");
    }
}

/// The rules walked one by one: what the compiled form must agree with.
fn linear(rules: &SecurityGroupRules, direction: RuleDirection, subject: &Subject) -> Decision {
    let peer = subject.peer(direction);
    let allows = |rule: &ResolvedRule| {
        subject.is_of_traffic(&rule.traffic) && rule.prefixes.iter().any(|prefix| prefix.contains(&peer))
    };
    let found = rules.rules(direction).iter().position(allows);
    found.map_or(Decision::Deny, |index| Decision::Allow(RuleIndex(index as u16)))
}

fn any_traffic() -> impl Strategy<Value = Traffic> {
    let ports = || (0u16..12, 0u16..12).prop_map(|(a, b)| PortRange { from: a.min(b), to: a.max(b) });
    let icmp = || (prop::option::of(0u8..4), prop::option::of(0u8..4)).prop_map(|(t, c)| (t, t.and(c)));
    prop_oneof![
        Just(Traffic::All),
        ports().prop_map(Traffic::Tcp),
        ports().prop_map(Traffic::Udp),
        icmp().prop_map(|(icmp_type, icmp_code)| Traffic::Icmp { icmp_type, icmp_code }),
        icmp().prop_map(|(icmp_type, icmp_code)| Traffic::Icmpv6 { icmp_type, icmp_code }),
        prop::sample::select(vec![1u8, 6, 17, 47, 58]).prop_map(Traffic::Protocol),
    ]
}

/// Addresses and prefixes close together, so that they often meet.
fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u32..64).prop_map(|n| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n))),
        (0u128..64).prop_map(|n| IpAddr::V6(Ipv6Addr::from_bits((0xfd00 << 112) + n))),
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
    ]
}

fn any_prefix() -> impl Strategy<Value = IpNet> {
    (any_address(), 0u8..9).prop_map(|(address, host_bits)| {
        let full = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, if host_bits == 8 { 0 } else { full - host_bits }).unwrap()
    })
}

proptest! {
    #[test]
    fn compiled_rules_decide_as_rules_walked_one_by_one(
        rules in prop::collection::vec((any_traffic(), prop::collection::vec(any_prefix(), 0..4)), 0..90),
        packets in prop::collection::vec((any_address(), any_address(), prop::sample::select(vec![1u8, 6, 17, 47, 58]), 0u16..14, (0u8..5, 0u8..5)), 1..40),
    ) {
        let mut topology = topology();
        topology.prefix_lists = rules.iter().map(|(_, entries)| PrefixList { id: String::new(), entries: entries.clone() }).collect();
        let list: Vec<SecurityGroupRule> = rules.iter().enumerate().map(|(index, (traffic, _))| {
            SecurityGroupRule { id: index.to_string(), traffic: *traffic, peer: Peer::PrefixList(index), description: None }
        }).collect();
        (topology.security_groups[0].ingress, topology.security_groups[0].egress) = (list.clone(), list);
        let rules = SecurityGroupRules::compile(&topology, &topology.endpoints[0].enis[0].security_groups);
        for (src, dst, protocol, port, icmp) in packets {
            let Some(tuple) = FiveTuple::between((src, 0).into(), (dst, port).into(), Protocol(protocol)) else { continue };
            let icmp = (protocol == if src.is_ipv6() { 58 } else { 1 }).then_some(icmp);
            let subject = Subject { tuple, icmp };
            for direction in [RuleDirection::Ingress, RuleDirection::Egress] {
                let decision = rules.evaluate(direction, &subject);
                prop_assert_eq!(decision, linear(&rules, direction, &subject), "{:?}", subject);
                // A denial is explained by a rule that indeed fails in the field named.
                if decision == Decision::Deny && rules.len(direction) > 0 {
                    prop_assert!(rules.explain(direction, &subject).is_some());
                }
            }
        }
    }
}
