//! What rules look at, and how a rule's traffic is matched.

use std::net::IpAddr;

use crate::config::Traffic;
use crate::packet::{FiveTuple, PacketMeta, Protocol};

/// Toward the interface or away from it, as in security-group APIs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RuleDirection {
    /// Toward the interface; rules name the source.
    Ingress,
    /// Away from it; rules name the destination.
    Egress,
}

/// What rules look at in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Subject {
    /// The five-tuple. Rules' ports are destination ports.
    pub tuple: FiveTuple,
    /// ICMP or ICMPv6 type and code.
    pub icmp: Option<(u8, u8)>,
}

impl Subject {
    /// The subject that a packet is.
    #[inline]
    pub const fn of(packet: &PacketMeta) -> Self {
        Self { tuple: packet.tuple(), icmp: packet.icmp() }
    }

    /// What rules see of the replies.
    #[inline]
    #[must_use]
    pub const fn replies(&self) -> Self {
        Self { tuple: self.tuple.reversed(), icmp: None }
    }

    /// The address that a rule's CIDR is about.
    #[inline]
    pub const fn peer(&self, direction: RuleDirection) -> IpAddr {
        match direction {
            RuleDirection::Ingress => self.tuple.src(),
            RuleDirection::Egress => self.tuple.dst(),
        }
    }

    /// Whether a rule with this traffic is about packets of this protocol, ports and types aside.
    pub(super) fn is_of_protocol(&self, traffic: &Traffic) -> bool {
        let protocol = self.tuple.protocol;
        match *traffic {
            Traffic::All => true,
            Traffic::Tcp(_) => protocol == Protocol::TCP,
            Traffic::Udp(_) => protocol == Protocol::UDP,
            Traffic::Icmp { .. } => protocol == Protocol::ICMP,
            Traffic::Icmpv6 { .. } => protocol == Protocol::ICMPV6,
            Traffic::Protocol(number) => protocol == Protocol(number),
        }
    }

    /// Whether a rule with this traffic is about this packet, addresses aside.
    pub(super) fn is_of_traffic(&self, traffic: &Traffic) -> bool {
        let port = self.tuple.dst_port;
        self.is_of_protocol(traffic)
            && match *traffic {
                Traffic::All | Traffic::Protocol(_) => true,
                Traffic::Tcp(ports) | Traffic::Udp(ports) => ports.contains(port),
                Traffic::Icmp { icmp_type, icmp_code } | Traffic::Icmpv6 { icmp_type, icmp_code } => {
                    let fits = |(t, c): (u8, u8)| icmp_type.is_none_or(|n| n == t) && icmp_code.is_none_or(|n| n == c);
                    // ICMP of the other family has no type that is known: only a rule for all of it is about it.
                    self.icmp.map_or_else(|| icmp_type.is_none(), fits)
                }
            }
    }
}
