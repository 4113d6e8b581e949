//! VPCs and what divides and routes them.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// A VPC.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vpc {
    /// Its IPv4 range.
    pub cidr: Ipv4Net,
    /// Its IPv6 range.
    pub cidr6: Option<Ipv6Net>,
    /// Whether it is the account's default VPC. A lab's never is.
    pub is_default: bool,
    /// `enableDnsSupport`.
    pub dns_support: bool,
    /// `enableDnsHostnames`.
    pub dns_hostnames: bool,
    /// `enableNetworkAddressUsageMetrics`, which only a describe shows.
    pub address_usage_metrics: bool,
}

/// A subnet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subnet {
    /// Its VPC.
    pub vpc: String,
    /// Inside the VPC's range.
    pub cidr: Ipv4Net,
    /// Inside the VPC's IPv6 range, /64.
    pub cidr6: Option<Ipv6Net>,
    /// `us-east-2a`.
    pub zone: String,
    /// The ACL at its boundary.
    pub network_acl: String,
    /// `aclassoc-…`: the association of the two, new with every replacement.
    pub network_acl_association: String,
}

/// An availability zone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Zone {
    /// `use2-az1`.
    pub id: String,
}

/// A route table. Labs have one, the VPC's main table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RouteTable {
    /// Its VPC.
    pub vpc: String,
    /// `rtbassoc-…`: the association that makes it the main table.
    pub main_association: String,
    /// Routes; `local` is the VPC's own.
    pub routes: Vec<Route>,
}

/// One route.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// `local` or `vgw-…`.
    pub gateway: String,
    /// Whether the gateway propagated it.
    pub propagated: bool,
}

/// A network ACL.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetworkAcl {
    /// Its VPC.
    pub vpc: String,
    /// Whether it is the VPC's default ACL.
    pub is_default: bool,
    /// By direction (ingress first) and number.
    pub entries: Vec<NetworkAclEntry>,
}

impl NetworkAcl {
    /// What a VPC's default ACL holds until somebody changes it: entry 100 allows all, and 101 all of IPv6.
    pub fn default_entries(ipv6: bool) -> Vec<NetworkAclEntry> {
        let anywhere = [Some((100, IpNet::V4(Ipv4Net::default()))), ipv6.then(|| (101, IpNet::V6(Ipv6Net::default())))];
        let both = [false, true].into_iter().flat_map(|egress| {
            anywhere.into_iter().flatten().map(move |(number, cidr)| NetworkAclEntry {
                number,
                egress,
                protocol: "-1".to_owned(),
                cidr,
                allow: true,
                ports: None,
                icmp: None,
            })
        });
        both.collect()
    }

    /// Puts an entry in its place.
    pub(in crate::control) fn insert(&mut self, entry: NetworkAclEntry) {
        self.entries.push(entry);
        self.entries.sort_by_key(|entry| (entry.egress, entry.number));
    }
}

/// One entry of a network ACL, as the API words it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetworkAclEntry {
    /// 1 to 32766.
    pub number: u16,
    /// Out of the subnet.
    pub egress: bool,
    /// The protocol's number, `-1` for all.
    pub protocol: String,
    /// Source when entering, destination when leaving.
    pub cidr: IpNet,
    /// Whether it allows.
    pub allow: bool,
    /// First and last port of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// Type and code of ICMP and ICMPv6; -1 is any.
    pub icmp: Option<(i16, i16)>,
}

/// A customer-managed prefix list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PrefixList {
    /// Its name.
    pub name: String,
    /// So many entries it may have; a security-group rule with it counts as many.
    pub max_entries: u32,
    /// Counted up with every change.
    pub version: u64,
    /// Its prefixes.
    pub entries: Vec<PrefixListEntry>,
}

/// One prefix of a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PrefixListEntry {
    /// The range.
    pub cidr: IpNet,
    /// Free text.
    pub description: Option<String>,
}
