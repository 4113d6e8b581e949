//! The network ACL of a subnet: stateless, numbered, the first entry that fits decides.

use std::fmt;

use super::subject::{RuleDirection, Subject};
use crate::config::{NetworkAcl, NetworkAclEntry, Subnet};

/// The entry that decided.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AclEntry(u16);

impl AclEntry {
    /// The implicit last one, which denies. AWS shows it as `*`.
    pub const LAST: Self = Self(u16::MAX);

    /// The one with this number, 1 to 32766.
    pub const fn number(number: u16) -> Self {
        Self(number)
    }
}

impl fmt::Display for AclEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::LAST { f.write_str("*") } else { write!(f, "{}", self.0) }
    }
}

/// What one ACL says, and by which entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum AclDecision {
    /// It may pass.
    Allow(AclEntry),
    /// It may not.
    Deny(AclEntry),
}

/// The ACL of one subnet that has not the default one. Forty entries at most, walked in order.
#[derive(Clone, Debug)]
pub(super) struct NetworkAclRules {
    id: String,
    subnet: String,
    ingress: Vec<NetworkAclEntry>,
    egress: Vec<NetworkAclEntry>,
}

impl NetworkAclRules {
    /// `acl` at the boundary of `subnet`.
    pub(super) fn compile(acl: &NetworkAcl, subnet: &Subnet) -> Self {
        let sorted = |entries: &[NetworkAclEntry]| {
            let mut entries = entries.to_vec();
            entries.sort_by_key(|entry| entry.number);
            entries
        };
        let (ingress, egress) = (sorted(&acl.ingress), sorted(&acl.egress));
        Self { id: acl.id.clone(), subnet: subnet.id.clone(), ingress, egress }
    }

    /// Whether a packet may cross the subnet's boundary. Replies are judged like any other packet: there is no state.
    pub(super) fn evaluate(&self, direction: RuleDirection, subject: &Subject) -> AclDecision {
        let peer = subject.peer(direction);
        let entries = match direction {
            RuleDirection::Ingress => &self.ingress,
            RuleDirection::Egress => &self.egress,
        };
        let decides = |entry: &&NetworkAclEntry| entry.cidr.contains(&peer) && subject.is_of_traffic(&entry.traffic);
        match entries.iter().find(decides) {
            Some(entry) if entry.allow => AclDecision::Allow(AclEntry::number(entry.number)),
            Some(entry) => AclDecision::Deny(AclEntry::number(entry.number)),
            None => AclDecision::Deny(AclEntry::LAST),
        }
    }

    /// A denial in words: `acl-1 ingress entry 90 denies it at subnet-1`.
    pub(super) fn explain(&self, direction: RuleDirection, entry: AclEntry) -> String {
        let direction = match direction {
            RuleDirection::Ingress => "ingress",
            RuleDirection::Egress => "egress",
        };
        format!("{} {direction} entry {entry} denies it at {}", self.id, self.subnet)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::{icmp, parse_traffic, reply, tcp, topology};
    use super::*;
    use crate::packet::Protocol;

    fn entry(number: u16, traffic: &str, cidr: &str, allow: bool) -> NetworkAclEntry {
        NetworkAclEntry { number, traffic: parse_traffic(traffic), cidr: cidr.parse().unwrap(), allow }
    }

    fn rules(ingress: Vec<NetworkAclEntry>, egress: Vec<NetworkAclEntry>) -> NetworkAclRules {
        let acl = NetworkAcl { id: "acl-1".to_owned(), ingress, egress };
        NetworkAclRules::compile(&acl, &topology().subnets[0])
    }

    const fn allow(number: u16) -> AclDecision {
        AclDecision::Allow(AclEntry::number(number))
    }

    const fn deny(number: u16) -> AclDecision {
        AclDecision::Deny(AclEntry::number(number))
    }

    const DENY_LAST: AclDecision = AclDecision::Deny(AclEntry::LAST);

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
        assert_eq!(ingress(tcp("10.0.9.7", 443)), allow(90));
        assert_eq!(ingress(tcp("10.0.9.8", 443)), deny(100));
        assert_eq!(ingress(tcp("10.0.9.8", 80)), allow(200));
        assert_eq!(ingress(icmp("8.8.8.8", 8, 0)), allow(200));
        assert_eq!(ingress(tcp("2001:db8::1", 443)), allow(300));
        assert_eq!(ingress(tcp("2001:db8::1", 80)), DENY_LAST);
        // Replies need their ephemeral ports allowed.
        let away = |port| acl.evaluate(RuleDirection::Egress, &reply("10.0.9.7", port));
        assert_eq!((away(40_000), away(1023)), (allow(100), DENY_LAST));
        assert_eq!(acl.explain(RuleDirection::Egress, AclEntry::LAST), "acl-1 egress entry * denies it at subnet-1");
    }

    #[test]
    fn an_empty_acl_denies() {
        let none = rules(vec![], vec![]);
        assert_eq!(none.evaluate(RuleDirection::Ingress, &tcp("10.0.9.7", 443)), DENY_LAST);
        assert_eq!(none.evaluate(RuleDirection::Egress, &reply("10.0.9.7", 40_000)), DENY_LAST);
    }

    #[test]
    fn udp_and_other_protocols_are_told_apart() {
        let acl = rules(vec![entry(1, "udp/443", "0.0.0.0/0", true), entry(2, "proto/47", "0.0.0.0/0", true)], vec![]);
        let of = |protocol| {
            let mut subject = tcp("10.0.9.7", 443);
            subject.tuple.protocol = protocol;
            acl.evaluate(RuleDirection::Ingress, &subject)
        };
        assert_eq!(of(Protocol::UDP), allow(1));
        assert_eq!(of(Protocol(47)), allow(2));
        assert_eq!(of(Protocol::TCP), DENY_LAST);
    }
}
