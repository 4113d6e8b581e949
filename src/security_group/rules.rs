//! The union of an eni's security groups, compiled.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::intervals::{Intervals, Key, RULES_MAX, Span, lowest_common};
use super::subject::{RuleDirection, Subject};
use crate::config::{Peer, SecurityGroupRule, Site, Topology, Traffic};
use crate::packet::{Addresses, Protocol};

/// A rule's place in the union, ingress and egress apart: by group as the eni lists them, then as the group lists them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleIndex(pub u16);

/// What the rules say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Decision {
    /// This rule allows it, the first of those that do.
    Allow(RuleIndex),
    /// No rule allows it.
    Deny,
}

/// How people know a rule.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RuleName {
    /// `sg-1a2b3c4d`.
    pub group: String,
    /// `sgr-…`.
    pub rule: String,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.group, self.rule)
    }
}

/// A rule with its peer resolved to prefixes.
#[derive(Clone, Debug)]
pub(super) struct ResolvedRule {
    pub(super) name: RuleName,
    pub(super) traffic: Traffic,
    pub(super) prefixes: Vec<IpNet>,
    /// How the peer is written: a CIDR, `pl-…` or `sg-…`.
    pub(super) peer: String,
}

/// The compiled union of an eni's security groups. Made once per change of the rules.
#[derive(Debug)]
pub struct SecurityGroupRules {
    ingress: RuleSet,
    egress: RuleSet,
}

impl SecurityGroupRules {
    /// Compiles the union of these groups (indices into [`Topology::security_groups`]).
    ///
    /// # Panics
    /// If the groups have more than 4,096 rules one way: the configuration allows 1,000.
    pub fn compile(topology: &Topology, groups: &[usize]) -> Self {
        let mut unique: Vec<usize> = Vec::with_capacity(groups.len());
        for group in groups {
            if !unique.contains(group) {
                unique.push(*group);
            }
        }
        let resolve = |rules: fn(&Topology, usize) -> &[SecurityGroupRule]| {
            let rules = unique.iter().flat_map(|&group| rules(topology, group).iter().map(move |rule| (group, rule)));
            RuleSet::compile(rules.map(|(group, rule)| resolve(topology, group, rule)).collect())
        };
        Self {
            ingress: resolve(|topology, group| &topology.security_groups[group].ingress),
            egress: resolve(|topology, group| &topology.security_groups[group].egress),
        }
    }

    /// Whether any rule allows it, and which.
    #[inline]
    pub fn evaluate(&self, direction: RuleDirection, subject: &Subject) -> Decision {
        self.set(direction).evaluate(direction, subject)
    }

    /// How people know the rule; `None` if there is no such rule.
    pub fn name(&self, direction: RuleDirection, rule: RuleIndex) -> Option<&RuleName> {
        self.rule(direction, rule).map(|rule| &rule.name)
    }

    /// Rules in one direction.
    pub fn len(&self, direction: RuleDirection) -> usize {
        self.set(direction).rules.len()
    }

    pub(super) fn rule(&self, direction: RuleDirection, rule: RuleIndex) -> Option<&ResolvedRule> {
        self.rules(direction).get(usize::from(rule.0))
    }

    pub(super) fn rules(&self, direction: RuleDirection) -> &[ResolvedRule] {
        &self.set(direction).rules
    }

    const fn set(&self, direction: RuleDirection) -> &RuleSet {
        match direction {
            RuleDirection::Ingress => &self.ingress,
            RuleDirection::Egress => &self.egress,
        }
    }
}

/// The rules of one direction. Traffic is keyed by what its protocol offers: a port, an ICMP type and code, or the protocol's
/// number.
#[derive(Debug)]
struct RuleSet {
    rules: Vec<ResolvedRule>,
    tcp: Intervals<u16>,
    udp: Intervals<u16>,
    icmp: Intervals<u16>,
    icmpv6: Intervals<u16>,
    protocols: Intervals<u16>,
    peers4: Intervals<u32>,
    peers6: Intervals<u128>,
}

impl RuleSet {
    fn compile(rules: Vec<ResolvedRule>) -> Self {
        assert!(rules.len() <= RULES_MAX, "{} security-group rules on one eni, {RULES_MAX} are possible", rules.len());
        let of = |protocol: Protocol| traffic_index(&rules, protocol);
        Self {
            tcp: of(Protocol::TCP),
            udp: of(Protocol::UDP),
            icmp: of(Protocol::ICMP),
            icmpv6: of(Protocol::ICMPV6),
            protocols: protocol_index(&rules),
            peers4: peer_index(&rules, |prefix| match prefix {
                IpNet::V4(net) => Some((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(_) => None,
            }),
            peers6: peer_index(&rules, |prefix| match prefix {
                IpNet::V4(_) => None,
                IpNet::V6(net) => Some((net.network().to_bits(), net.broadcast().to_bits())),
            }),
            rules,
        }
    }

    #[inline]
    fn evaluate(&self, direction: RuleDirection, subject: &Subject) -> Decision {
        let tuple = &subject.tuple;
        let by_traffic = match (tuple.protocol, subject.icmp) {
            (Protocol::TCP, _) => self.tcp.rules_at(tuple.dst_port),
            (Protocol::UDP, _) => self.udp.rules_at(tuple.dst_port),
            (Protocol::ICMP, Some(icmp)) => self.icmp.rules_at(icmp_key(icmp)),
            (Protocol::ICMPV6, Some(icmp)) => self.icmpv6.rules_at(icmp_key(icmp)),
            (protocol, _) => self.protocols.rules_at(u16::from(protocol.0)),
        };
        let by_peer = match (tuple.addresses, direction) {
            (Addresses::V4 { src, .. }, RuleDirection::Ingress) => self.peers4.rules_at(src.to_bits()),
            (Addresses::V4 { dst, .. }, RuleDirection::Egress) => self.peers4.rules_at(dst.to_bits()),
            (Addresses::V6 { src, .. }, RuleDirection::Ingress) => self.peers6.rules_at(src.to_bits()),
            (Addresses::V6 { dst, .. }, RuleDirection::Egress) => self.peers6.rules_at(dst.to_bits()),
        };
        lowest_common(by_traffic, by_peer).map_or(Decision::Deny, |rule| Decision::Allow(RuleIndex(rule as u16)))
    }
}

const fn icmp_key((icmp_type, icmp_code): (u8, u8)) -> u16 {
    u16::from_be_bytes([icmp_type, icmp_code])
}

/// The rules about one protocol with ports or types, by port or by type and code.
fn traffic_index(rules: &[ResolvedRule], protocol: Protocol) -> Intervals<u16> {
    let spans = rules.iter().enumerate().filter_map(|(index, rule)| {
        let (of, first, last) = match rule.traffic {
            Traffic::All => (protocol, 0, u16::MAX),
            Traffic::Protocol(number) => (Protocol(number), 0, u16::MAX),
            Traffic::Tcp(ports) => (Protocol::TCP, ports.from, ports.to),
            Traffic::Udp(ports) => (Protocol::UDP, ports.from, ports.to),
            Traffic::Icmp { icmp_type, icmp_code } => {
                let (first, last) = icmp_span(icmp_type, icmp_code);
                (Protocol::ICMP, first, last)
            }
            Traffic::Icmpv6 { icmp_type, icmp_code } => {
                let (first, last) = icmp_span(icmp_type, icmp_code);
                (Protocol::ICMPV6, first, last)
            }
        };
        (of == protocol).then_some((first, last, index))
    });
    Intervals::new(rules.len(), &spans.collect::<Vec<_>>())
}

/// A code counts only with a type, as in EC2's API.
const fn icmp_span(icmp_type: Option<u8>, icmp_code: Option<u8>) -> (u16, u16) {
    match (icmp_type, icmp_code) {
        (None, _) => (0, u16::MAX),
        (Some(t), None) => (icmp_key((t, 0)), icmp_key((t, u8::MAX))),
        (Some(t), Some(c)) => (icmp_key((t, c)), icmp_key((t, c))),
    }
}

/// The rules about all of a protocol, by its number; also for ICMP of the other family, which has no type that is known.
fn protocol_index(rules: &[ResolvedRule]) -> Intervals<u16> {
    let spans = rules.iter().enumerate().filter_map(|(index, rule)| {
        let one = |protocol: Protocol| (u16::from(protocol.0), u16::from(protocol.0));
        let (first, last) = match rule.traffic {
            Traffic::All => (0, u16::from(u8::MAX)),
            Traffic::Protocol(number) => one(Protocol(number)),
            Traffic::Icmp { icmp_type: None, .. } => one(Protocol::ICMP),
            Traffic::Icmpv6 { icmp_type: None, .. } => one(Protocol::ICMPV6),
            Traffic::Tcp(_) | Traffic::Udp(_) | Traffic::Icmp { .. } | Traffic::Icmpv6 { .. } => return None,
        };
        Some((first, last, index))
    });
    Intervals::new(rules.len(), &spans.collect::<Vec<_>>())
}

fn peer_index<K: Key>(rules: &[ResolvedRule], range: impl Fn(&IpNet) -> Option<(K, K)>) -> Intervals<K> {
    let spans: Vec<Span<K>> = rules
        .iter()
        .enumerate()
        .flat_map(|(index, rule)| {
            let range = &range;
            rule.prefixes.iter().filter_map(move |prefix| range(prefix).map(|(first, last)| (first, last, index)))
        })
        .collect();
    Intervals::new(rules.len(), &spans)
}

fn resolve(topology: &Topology, group: usize, rule: &SecurityGroupRule) -> ResolvedRule {
    let (prefixes, peer) = match rule.peer {
        Peer::Cidr(cidr) => (vec![cidr.trunc()], cidr.trunc().to_string()),
        Peer::PrefixList(index) => {
            let list = &topology.prefix_lists[index];
            (list.entries.iter().map(IpNet::trunc).collect(), list.id.clone())
        }
        Peer::SecurityGroup(index) => (members(topology, index), topology.security_groups[index].id.clone()),
    };
    let name = RuleName { group: topology.security_groups[group].id.clone(), rule: rule.id.clone() };
    ResolvedRule { name, traffic: rule.traffic, prefixes, peer }
}

/// The private addresses of the interfaces that carry a group: enis of endpoints and machines in the VPC, never those
/// on-premises, whatever the file says of them.
fn members(topology: &Topology, group: usize) -> Vec<IpNet> {
    let enis = topology.enis().map(|(_, eni)| eni).filter(|eni| eni.security_groups.contains(&group));
    let enis = enis.map(|eni| (eni.ipv4, eni.ipv6));
    let hosts = topology.hosts.iter().filter(|host| match host.site {
        Site::Subnet(_) => host.security_groups.contains(&group),
        Site::OnPremises => false,
    });
    let hosts = hosts.map(|host| (host.ipv4, host.ipv6));
    let addresses = enis.chain(hosts).flat_map(|(v4, v6)| [Some(IpAddr::V4(v4)), v6.map(IpAddr::V6)]);
    addresses.flatten().map(IpNet::from).collect()
}

#[cfg(test)]
pub(crate) mod tests;
