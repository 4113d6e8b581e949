//! Why a packet was denied, in terms of the rule that came nearest to allowing it.

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::rules::{ResolvedRule, RuleIndex, SecurityGroupRules};
use super::subject::{RuleDirection, Subject};
use crate::config::{PortRange, Traffic};
use crate::packet::Protocol;

/// The field of a rule that a packet failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Field {
    /// Source address, of an ingress rule.
    Source,
    /// Destination address, of an egress rule.
    Destination,
    /// Destination port.
    Port,
    /// ICMP type or code.
    IcmpType,
    /// Protocol.
    Protocol,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Port => "port",
            Self::IcmpType => "icmp type",
            Self::Protocol => "protocol",
        })
    }
}

/// The rule that came nearest, and the field that failed; of several, the one that says most.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NearestMiss {
    /// The rule.
    pub rule: RuleIndex,
    /// What failed.
    pub field: Field,
    /// `sg-1a2b3c4d sgr-1 allows tcp/443 from 10.0.1.0/24, but the source is 10.0.9.10`.
    pub text: String,
}

impl SecurityGroupRules {
    /// The rule that came nearest to allowing a packet that none allows; `None` if there are no rules at all.
    ///
    /// Nearest is who fails in fewest fields; among those, who fails in the address rather than in the port, and in the port
    /// rather than in the protocol; among those, whose prefix shares the most bits with the address. This walks all rules:
    /// it is for showing, not for deciding.
    pub fn explain(&self, direction: RuleDirection, subject: &Subject) -> Option<NearestMiss> {
        let peer = subject.peer(direction);
        let by_distance = self.rules(direction).iter().enumerate().map(|(index, rule)| {
            let failed = failed_fields(rule, direction, subject);
            let shared = rule.prefixes.iter().map(|prefix| shared_bits(prefix, peer)).max().unwrap_or(0);
            let gravest = failed[1].or(failed[0]);
            ((failed.iter().flatten().count(), gravest, Reverse(shared), index), rule)
        });
        let ((_, field, _, index), rule) = by_distance.min_by_key(|(distance, _)| *distance)?;
        let field = field?;
        let preposition = match direction {
            RuleDirection::Ingress => "from",
            RuleDirection::Egress => "to",
        };
        let text = format!(
            "{} allows {} {preposition} {}, but the {field} is {}",
            rule.name,
            show(&rule.traffic),
            rule.peer,
            actual(field, subject, peer),
        );
        Some(NearestMiss { rule: RuleIndex(index as u16), field, text })
    }
}

/// The address, and what is above it; the second is the graver.
fn failed_fields(rule: &ResolvedRule, direction: RuleDirection, subject: &Subject) -> [Option<Field>; 2] {
    let peer = subject.peer(direction);
    let address = match direction {
        RuleDirection::Ingress => Field::Source,
        RuleDirection::Egress => Field::Destination,
    };
    let above = match rule.traffic {
        _ if !subject.is_of_protocol(&rule.traffic) => Some(Field::Protocol),
        _ if subject.is_of_traffic(&rule.traffic) => None,
        Traffic::Icmp { .. } | Traffic::Icmpv6 { .. } => Some(Field::IcmpType),
        _ => Some(Field::Port),
    };
    let is_admitted = rule.prefixes.iter().any(|prefix| prefix.contains(&peer));
    [(!is_admitted).then_some(address), above]
}

fn shared_bits(prefix: &IpNet, address: IpAddr) -> u32 {
    match (prefix, address) {
        (IpNet::V4(net), IpAddr::V4(a)) => {
            (net.network().to_bits() ^ a.to_bits()).leading_zeros().min(u32::from(net.prefix_len()))
        }
        (IpNet::V6(net), IpAddr::V6(a)) => {
            (net.network().to_bits() ^ a.to_bits()).leading_zeros().min(u32::from(net.prefix_len()))
        }
        _ => 0,
    }
}

fn actual(field: Field, subject: &Subject, peer: IpAddr) -> String {
    match (field, subject.icmp) {
        (Field::Source | Field::Destination, _) => peer.to_string(),
        (Field::Port, _) => subject.tuple.dst_port.to_string(),
        (Field::IcmpType, Some((icmp_type, icmp_code))) => format!("{icmp_type} code {icmp_code}"),
        (Field::IcmpType, None) => "unknown".to_owned(),
        (Field::Protocol, _) => subject.tuple.protocol.to_string(),
    }
}

/// Traffic as rules are written: `tcp/443`, `udp/1000-2000`, `icmp type 8`, `all traffic`.
pub fn show(traffic: &Traffic) -> String {
    let ports = |protocol: Protocol, ports: PortRange| match (ports.from, ports.to) {
        (0, u16::MAX) => format!("all {protocol}"),
        (from, to) if from == to => format!("{protocol}/{from}"),
        (from, to) => format!("{protocol}/{from}-{to}"),
    };
    let icmp = |protocol: Protocol, icmp_type: Option<u8>, icmp_code: Option<u8>| match (icmp_type, icmp_code) {
        (None, _) => format!("all {protocol}"),
        (Some(t), None) => format!("{protocol} type {t}"),
        (Some(t), Some(c)) => format!("{protocol} type {t} code {c}"),
    };
    match *traffic {
        Traffic::All => "all traffic".to_owned(),
        Traffic::Tcp(range) => ports(Protocol::TCP, range),
        Traffic::Udp(range) => ports(Protocol::UDP, range),
        Traffic::Icmp { icmp_type, icmp_code } => icmp(Protocol::ICMP, icmp_type, icmp_code),
        Traffic::Icmpv6 { icmp_type, icmp_code } => icmp(Protocol::ICMPV6, icmp_type, icmp_code),
        Traffic::Protocol(number) => format!("all {}", Protocol(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::{compile, icmp, reply, rule, tcp};
    use super::*;

    #[test]
    fn a_denial_names_the_nearest_rule_and_the_field_that_failed() {
        let rules = compile(
            vec![
                rule("sgr-app", "tcp/443", "10.0.1.0/24"),
                rule("sgr-onprem", "tcp/443", "192.168.10.0/24"),
                rule("sgr-dns", "udp/53", "10.0.0.0/8"),
                rule("sgr-ping", "icmp/8", "10.0.0.0/8"),
            ],
            vec![rule("sgr-out", "tcp/443", "10.0.1.0/24")],
        );
        for (subject, field, text) in [
            (
                tcp("10.0.9.10", 443),
                Field::Source,
                "sg-1 sgr-app allows tcp/443 from 10.0.1.0/24, but the source is 10.0.9.10",
            ),
            (
                tcp("192.168.99.1", 443),
                Field::Source,
                "sg-1 sgr-onprem allows tcp/443 from 192.168.10.0/24, but the source is 192.168.99.1",
            ),
            (
                tcp("192.168.10.1", 80),
                Field::Port,
                "sg-1 sgr-onprem allows tcp/443 from 192.168.10.0/24, but the port is 80",
            ),
            (
                icmp("10.1.1.1", 13, 0),
                Field::IcmpType,
                "sg-1 sgr-ping allows icmp type 8 from 10.0.0.0/8, but the icmp type is 13 code 0",
            ),
            // Fails in one field only with the rule for DNS: the protocol.
            (
                tcp("10.7.7.7", 53),
                Field::Protocol,
                "sg-1 sgr-dns allows udp/53 from 10.0.0.0/8, but the protocol is tcp",
            ),
        ] {
            let miss = rules.explain(RuleDirection::Ingress, &subject).unwrap();
            assert_eq!((miss.field, miss.text.as_str()), (field, text));
        }
        let away = reply("10.0.9.10", 443);
        let miss = rules.explain(RuleDirection::Egress, &away).unwrap();
        assert_eq!((miss.rule, miss.field), (RuleIndex(0), Field::Destination));
    }

    #[test]
    fn without_rules_there_is_none_to_name() {
        assert_eq!(compile(vec![], vec![]).explain(RuleDirection::Ingress, &tcp("10.0.1.1", 443)), None);
    }
}
