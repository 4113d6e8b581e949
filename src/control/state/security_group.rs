//! Security groups and their rules, as the API words them.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// A security group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its name: unique in the VPC, whatever its case.
    pub name: String,
    /// What its maker said of it.
    pub description: String,
    /// Its VPC.
    pub vpc: String,
    /// Rules of both directions, in the order in which they were made.
    pub rules: Vec<SecurityGroupRule>,
}

impl SecurityGroup {
    /// Whether it is its VPC's default group: that alone has the name.
    pub fn is_default(&self) -> bool {
        self.name == "default"
    }

    /// The rules of one direction.
    pub fn direction(&self, egress: bool) -> impl Iterator<Item = &SecurityGroupRule> {
        self.rules.iter().filter(move |rule| rule.egress == egress)
    }
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    /// `sgr-…`.
    pub id: String,
    /// Away from the interface.
    pub egress: bool,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, another protocol's number, or `-1` for all.
    pub protocol: String,
    /// First port, or ICMP type; -1 where there is none or any.
    pub from_port: i32,
    /// Last port, or ICMP code; -1 where there is none or any.
    pub to_port: i32,
    /// The other side.
    pub peer: Peer,
    /// Free text.
    pub description: Option<String>,
}

impl SecurityGroupRule {
    /// Whether both let the same pass: all but identifier and description.
    pub fn is_same(&self, other: &Self) -> bool {
        let key = |rule: &Self| (rule.egress, rule.protocol.clone(), rule.from_port, rule.to_port, rule.peer.clone());
        key(self) == key(other)
    }

    /// Whether it says anything of ports, or of types and codes.
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol.as_str(), "tcp" | "udp" | "icmp" | "icmpv6")
    }
}

/// The other side of a rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Peer {
    /// An IPv4 range.
    Ipv4(Ipv4Net),
    /// An IPv6 range.
    Ipv6(Ipv6Net),
    /// `pl-…`.
    PrefixList(String),
    /// `sg-…`: whoever has an interface in that group.
    Group(String),
}

impl From<IpNet> for Peer {
    fn from(net: IpNet) -> Self {
        match net {
            IpNet::V4(net) => Self::Ipv4(net),
            IpNet::V6(net) => Self::Ipv6(net),
        }
    }
}
