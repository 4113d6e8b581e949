//! The network ACL of a subnet: stateless, numbered, the first entry that fits decides.

use std::fmt;
use std::net::IpAddr;

use super::subject::{RuleDirection, Subject};
use crate::config::{NetworkAcl, NetworkAclEntry, Subnet, Topology};

/// The entry that decided.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AclEntry {
    /// The one with this number.
    Number(u16),
    /// The implicit last one, which denies. AWS shows it as `*`.
    Last,
    /// None: the packet stays inside the subnet, which ACLs do not see.
    SameSubnet,
}

impl fmt::Display for AclEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Last => f.write_str("*"),
            Self::SameSubnet => f.write_str("-"),
        }
    }
}

/// What the ACL says, and by which entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AclDecision {
    /// It may pass.
    Allow(AclEntry),
    /// It may not.
    Deny(AclEntry),
}

/// The rules at the boundary of one subnet. Forty entries at most, walked in order.
#[derive(Clone, Debug)]
pub struct NetworkAclRules {
    id: String,
    subnet: Subnet,
    ingress: Vec<NetworkAclEntry>,
    egress: Vec<NetworkAclEntry>,
    is_default: bool,
}

/// The number of the default ACL's only entry, which allows all.
const DEFAULT_NUMBER: u16 = 100;

impl NetworkAclRules {
    /// The ACL of subnet number `subnet`; the default ACL, which allows all, if it has none.
    ///
    /// # Panics
    /// If there is no such subnet.
    pub fn compile(topology: &Topology, subnet: usize) -> Self {
        let subnet = topology.subnets[subnet].clone();
        let sorted = |entries: &[NetworkAclEntry]| {
            let mut entries = entries.to_vec();
            entries.sort_by_key(|entry| entry.number);
            entries
        };
        match subnet.network_acl.map(|index| &topology.network_acls[index]) {
            Some(NetworkAcl { id, ingress, egress }) => {
                Self { id: id.clone(), subnet, ingress: sorted(ingress), egress: sorted(egress), is_default: false }
            }
            None => {
                Self { id: "default".to_owned(), subnet, ingress: Vec::new(), egress: Vec::new(), is_default: true }
            }
        }
    }

    /// `acl-…`, or `default`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a packet to or from `peer` crosses the subnet's boundary.
    #[inline]
    pub fn is_crossed_by(&self, peer: IpAddr) -> bool {
        !self.subnet.contains(peer)
    }

    /// Whether the packet may cross. Replies are judged like any other packet: there is no state.
    #[inline]
    pub fn evaluate(&self, direction: RuleDirection, subject: &Subject) -> AclDecision {
        if self.is_default {
            return AclDecision::Allow(AclEntry::Number(DEFAULT_NUMBER));
        }
        let peer = subject.peer(direction);
        if !self.is_crossed_by(peer) {
            return AclDecision::Allow(AclEntry::SameSubnet);
        }
        let entries = match direction {
            RuleDirection::Ingress => &self.ingress,
            RuleDirection::Egress => &self.egress,
        };
        let decides = |entry: &&NetworkAclEntry| entry.cidr.contains(&peer) && subject.is_of_traffic(&entry.traffic);
        match entries.iter().find(decides) {
            Some(entry) if entry.allow => AclDecision::Allow(AclEntry::Number(entry.number)),
            Some(entry) => AclDecision::Deny(AclEntry::Number(entry.number)),
            None => AclDecision::Deny(AclEntry::Last),
        }
    }

    /// A denial in words: `acl-1 ingress entry 90 denies it`.
    pub fn explain(&self, direction: RuleDirection, entry: AclEntry) -> String {
        let direction = match direction {
            RuleDirection::Ingress => "ingress",
            RuleDirection::Egress => "egress",
        };
        format!("{} {direction} entry {entry} denies it", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::{icmp, parse_traffic, reply, tcp, topology};
    use super::*;
    use crate::packet::Protocol;
    use AclEntry::{Last, Number, SameSubnet};

    fn entry(number: u16, traffic: &str, cidr: &str, allow: bool) -> NetworkAclEntry {
        NetworkAclEntry { number, traffic: parse_traffic(traffic), cidr: cidr.parse().unwrap(), allow }
    }

    fn rules(ingress: Vec<NetworkAclEntry>, egress: Vec<NetworkAclEntry>) -> NetworkAclRules {
        let mut topology = topology();
        topology.network_acls = vec![NetworkAcl { id: "acl-1".to_owned(), ingress, egress }];
        topology.subnets[0].network_acl = Some(0);
        NetworkAclRules::compile(&topology, 0)
    }

    #[test]
    fn the_first_entry_that_fits_decides_by_number() {
        let acl = rules(
            vec![
                entry(200, "all", "0.0.0.0/0", true),
                entry(100, "tcp/443", "10.0.9.0/24", false),
                entry(90, "tcp/443", "10.0.9.7/32", true),
                entry(300, "tcp/443", "::/0", true),
            ],
            vec![entry(100, "tcp/1024-65535", "0.0.0.0/0", true)],
        );
        let ingress = |subject| acl.evaluate(RuleDirection::Ingress, &subject);
        assert_eq!(ingress(tcp("10.0.9.7", 443)), AclDecision::Allow(Number(90)));
        assert_eq!(ingress(tcp("10.0.9.8", 443)), AclDecision::Deny(Number(100)));
        assert_eq!(ingress(tcp("10.0.9.8", 80)), AclDecision::Allow(Number(200)));
        assert_eq!(ingress(icmp("8.8.8.8", 8, 0)), AclDecision::Allow(Number(200)));
        assert_eq!(ingress(tcp("2001:db8::1", 443)), AclDecision::Allow(Number(300)));
        assert_eq!(ingress(tcp("2001:db8::1", 80)), AclDecision::Deny(Last));
        // Replies need their ephemeral ports allowed.
        let away = |port| acl.evaluate(RuleDirection::Egress, &reply("10.0.9.7", port));
        assert_eq!((away(40_000), away(1023)), (AclDecision::Allow(Number(100)), AclDecision::Deny(Last)));
        assert_eq!(acl.explain(RuleDirection::Egress, Last), "acl-1 egress entry * denies it");
    }

    #[test]
    fn an_empty_acl_denies_and_the_default_one_allows() {
        let none = rules(vec![], vec![]);
        assert_eq!(none.evaluate(RuleDirection::Ingress, &tcp("10.0.9.7", 443)), AclDecision::Deny(Last));
        let default = NetworkAclRules::compile(&topology(), 0);
        assert_eq!(default.id(), "default");
        assert_eq!(default.evaluate(RuleDirection::Ingress, &tcp("10.0.9.7", 443)), AclDecision::Allow(Number(100)));
    }

    #[test]
    fn inside_the_subnet_no_acl_is_asked() {
        let none = rules(vec![], vec![]);
        assert_eq!(none.evaluate(RuleDirection::Ingress, &tcp("10.0.1.10", 443)), AclDecision::Allow(SameSubnet));
        assert_eq!(none.evaluate(RuleDirection::Egress, &reply("10.0.1.10", 40_000)), AclDecision::Allow(SameSubnet));
    }

    #[test]
    fn udp_and_other_protocols_are_told_apart() {
        let acl = rules(vec![entry(1, "udp/443", "0.0.0.0/0", true), entry(2, "proto/47", "0.0.0.0/0", true)], vec![]);
        let of = |protocol| {
            let mut subject = tcp("10.0.9.7", 443);
            subject.tuple.protocol = protocol;
            acl.evaluate(RuleDirection::Ingress, &subject)
        };
        assert_eq!(of(Protocol::UDP), AclDecision::Allow(Number(1)));
        assert_eq!(of(Protocol(47)), AclDecision::Allow(Number(2)));
        assert_eq!(of(Protocol::TCP), AclDecision::Deny(Last));
    }
}
