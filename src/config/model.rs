//! The checked configuration: whoever holds one of these types holds something that makes sense.
//!
//! Built only by [`super::check()`], from TOML. Addresses lie in their subnets, references resolve, ranges are ordered.
//! Order in every list is the order of the file.

mod path;
mod settings;
mod workload;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use path::{PathDirection, PathProfile};
pub use settings::{EndpointSettings, Unanswered};
pub use workload::{Code, Function, Identity};

/// A whole lab: the VPC, the endpoint in it, the tunnel, and the on-premises side.
#[derive(Clone, Debug, Serialize)]
pub struct Topology {
    /// The lab's name, `quickstart`; lower-case letters, digits and hyphens.
    pub name: String,
    /// `us-east-2`.
    pub region: String,
    /// `aws`, `aws-cn`, `aws-us-gov` or `aws-eusc`, derived from the region.
    pub partition: String,
    /// Twelve digits: the account of the VPC and of the functions.
    pub account: String,
    /// The VPC.
    pub vpc: Vpc,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Its network ACLs. A subnet without one has the default ACL: allow all.
    pub network_acls: Vec<NetworkAcl>,
    /// Customer-managed prefix lists.
    pub prefix_lists: Vec<PrefixList>,
    /// Its security groups.
    pub security_groups: Vec<SecurityGroup>,
    /// Interface endpoints for the service: one in a file, any number once the API was used.
    pub endpoints: Vec<Endpoint>,
    /// Behaviour of all of them, with AWS's values as defaults.
    pub settings: EndpointSettings,
    /// The VPC's resolver.
    pub resolver: Resolver,
    /// Machines, in the VPC and on-premises, each a network namespace of the lab.
    pub hosts: Vec<Host>,
    /// The far side of the tunnel.
    pub on_premises: OnPremises,
    /// The tunnel.
    pub tunnel: Tunnel,
    /// Path profiles by name: the built-in `lan`, `vpn`, `dx`, and the file's own.
    pub paths: Vec<PathProfile>,
    /// Who may sign requests.
    pub identities: Vec<Identity>,
    /// The functions on the function host.
    pub functions: Vec<Function>,
}

impl Topology {
    /// The enis of all endpoints, each with its endpoint.
    pub fn enis(&self) -> impl Iterator<Item = (&Endpoint, &Eni)> + Clone {
        self.endpoints.iter().flat_map(|endpoint| endpoint.enis.iter().map(move |eni| (endpoint, eni)))
    }

    /// The eni in this slot.
    pub fn eni(&self, slot: usize) -> Option<&Eni> {
        self.enis().map(|(_, eni)| eni).find(|eni| usize::from(eni.slot) == slot)
    }

    /// How long a table by slots has to be.
    pub fn eni_slots(&self) -> usize {
        self.enis().map(|(_, eni)| usize::from(eni.slot) + 1).max().unwrap_or(0)
    }

    /// The endpoint whose private DNS names lead to it inside the VPC; there is one at most.
    pub fn private_dns_endpoint(&self) -> Option<&Endpoint> {
        let is_possible = self.vpc.dns_support && self.vpc.dns_hostnames;
        self.endpoints.iter().find(|endpoint| is_possible && endpoint.private_dns)
    }
}

/// The VPC.
#[derive(Clone, Debug, Serialize)]
pub struct Vpc {
    /// `vpc-ec43eb89`.
    pub id: String,
    /// Its IPv4 range.
    pub cidr: Ipv4Net,
    /// Its IPv6 range.
    pub cidr6: Option<Ipv6Net>,
    /// `enableDnsSupport`: whether the resolver at VPC+2 answers at all.
    pub dns_support: bool,
    /// `enableDnsHostnames`: needed, with `dns_support`, for private DNS.
    pub dns_hostnames: bool,
}

impl Vpc {
    /// The resolver's address: the base of the VPC's range plus two.
    pub fn resolver(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()) + 2)
    }
}

/// The VPC's resolver, which listens at [`Vpc::resolver`] and at 169.254.169.253.
#[derive(Clone, Debug, Serialize)]
pub struct Resolver {
    /// Address of its inbound endpoint in one of the subnets: where on-premises forwarders send what they ask of the VPC.
    pub inbound_endpoint: Option<Ipv4Addr>,
    /// Time to live of the endpoint's records. AWS does not document it; 60 s is commonly seen.
    pub ttl: Duration,
    /// Queries answered per second and source interface; more are dropped. AWS: 1024.
    pub packets_per_second: u32,
    /// Whether private DNS covers `lambda.<region>.api.aws` too. AWS does not document it.
    pub private_dns_api_aws: bool,
    /// What the service's public name resolves to where private DNS does not apply: a documentation address, which leads
    /// nowhere.
    pub public_address: Ipv4Addr,
    /// The same for IPv6.
    pub public_address6: Ipv6Addr,
    /// Where the APIs of other services are, EC2's for one: a documentation address, too, to which the VPC has a route.
    pub api_address: Ipv4Addr,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            inbound_endpoint: None,
            ttl: Duration::from_secs(60),
            packets_per_second: 1024,
            private_dns_api_aws: true,
            // RFC 5737 and RFC 3849.
            public_address: Ipv4Addr::new(192, 0, 2, 1),
            public_address6: Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1),
            api_address: Ipv4Addr::new(192, 0, 2, 2),
        }
    }
}

/// A subnet: one range in one availability zone.
#[derive(Clone, Debug, Serialize)]
pub struct Subnet {
    /// `subnet-abababab`.
    pub id: String,
    /// Inside the VPC's range.
    pub cidr: Ipv4Net,
    /// Inside the VPC's IPv6 range, /64.
    pub cidr6: Option<Ipv6Net>,
    /// `us-east-2a`.
    pub zone: String,
    /// Index into [`Topology::network_acls`]; `None` for the default ACL.
    pub network_acl: Option<usize>,
}

impl Subnet {
    /// Whether `address` belongs to this subnet.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => self.cidr.contains(&a),
            IpAddr::V6(a) => self.cidr6.is_some_and(|net| net.contains(&a)),
        }
    }

    /// The VPC router's IPv4 address in this subnet: its base plus one.
    pub fn router(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()) + 1)
    }
}

/// An inclusive range of TCP or UDP ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
pub struct PortRange {
    /// First port.
    pub from: u16,
    /// Last port, not below the first.
    pub to: u16,
}

impl PortRange {
    /// Whether `port` lies in the range.
    pub const fn contains(self, port: u16) -> bool {
        self.from <= port && port <= self.to
    }
}

/// What a rule applies to, above the addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// `-1`: every protocol and port.
    All,
    /// TCP to these ports.
    Tcp(PortRange),
    /// UDP to these ports.
    Udp(PortRange),
    /// ICMP of this type and code; `None` is any.
    Icmp {
        /// Message type.
        icmp_type: Option<u8>,
        /// Message code; only with a type.
        icmp_code: Option<u8>,
    },
    /// ICMPv6 of this type and code; `None` is any.
    Icmpv6 {
        /// Message type.
        icmp_type: Option<u8>,
        /// Message code; only with a type.
        icmp_code: Option<u8>,
    },
    /// Another IP protocol, all of it.
    Protocol(u8),
}

/// The other side of a security-group rule.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// A range of addresses of either family.
    Cidr(IpNet),
    /// Index into [`Topology::prefix_lists`].
    PrefixList(usize),
    /// Index into [`Topology::security_groups`]: the private addresses of the enis in that group.
    SecurityGroup(usize),
}

/// One security-group rule. There are only allowing ones.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SecurityGroupRule {
    /// `sgr-…`, from the file or derived from its place in it.
    pub id: String,
    /// Protocol and ports.
    pub traffic: Traffic,
    /// Source of an ingress rule, destination of an egress rule.
    pub peer: Peer,
    /// Free text.
    pub description: Option<String>,
}

/// A security group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SecurityGroup {
    /// `sg-1a2b3c4d`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Toward the interface. None: nothing may enter.
    pub ingress: Vec<SecurityGroupRule>,
    /// Away from the interface.
    pub egress: Vec<SecurityGroupRule>,
}

/// A named list of prefixes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PrefixList {
    /// `pl-…`.
    pub id: String,
    /// Its prefixes, of either family.
    pub entries: Vec<IpNet>,
}

/// A network ACL: stateless, numbered, first match decides, the implicit last rule denies.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NetworkAcl {
    /// `acl-…`.
    pub id: String,
    /// Into the subnet, by ascending number.
    pub ingress: Vec<NetworkAclEntry>,
    /// Out of the subnet, by ascending number.
    pub egress: Vec<NetworkAclEntry>,
}

/// One numbered entry of a network ACL.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NetworkAclEntry {
    /// 1 to 32766.
    pub number: u16,
    /// Protocol and ports.
    pub traffic: Traffic,
    /// Source when entering, destination when leaving.
    pub cidr: IpNet,
    /// Whether it allows.
    pub allow: bool,
}

/// An interface endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// `vpce-…`.
    pub id: String,
    /// The eight characters behind the id in its DNS names.
    pub dns_token: String,
    /// One per subnet.
    pub enis: Vec<Eni>,
    /// Whether the service's public name resolves to the enis inside the VPC.
    pub private_dns: bool,
    /// Which addresses of its enis its names have.
    pub dns_records: DnsRecords,
    /// The endpoint policy as written; `None` is full access.
    pub policy: Option<PolicyText>,
}

/// `DnsRecordIpType`: which addresses of an endpoint's enis its names have.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsRecords {
    /// A records.
    Ipv4,
    /// AAAA records.
    Ipv6,
    /// Both, as far as the enis have them.
    #[default]
    Dualstack,
}

/// A policy document and where it came from, for messages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyText {
    /// A file, or `endpoint.policy` for one written into the topology.
    pub origin: String,
    /// The JSON text.
    pub text: String,
}

/// An endpoint's interface in one subnet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Eni {
    /// Its number among all enis of the lab, whatever endpoint they belong to: its device's name and its place in tables.
    pub slot: u16,
    /// `eni-…`.
    pub id: String,
    /// Index into [`Topology::subnets`].
    pub subnet: usize,
    /// Its private address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Indices into [`Topology::security_groups`].
    pub security_groups: Vec<usize>,
}

impl Eni {
    /// Whether `address` is this interface's own.
    pub fn owns(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(a) => a == self.ipv4,
            IpAddr::V6(a) => Some(a) == self.ipv6,
        }
    }
}

/// Where a host stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// In the VPC, in this subnet (index into [`Topology::subnets`]).
    Subnet(usize),
    /// On-premises, behind the customer gateway.
    OnPremises,
}

/// A machine of the lab.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// `app`; the name `lab exec` takes.
    pub name: String,
    /// Where it stands.
    pub site: Site,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Indices into [`Topology::security_groups`], for rules that reference a group.
    pub security_groups: Vec<usize>,
}

/// The on-premises network.
#[derive(Clone, Debug, Serialize)]
pub struct OnPremises {
    /// Its IPv4 range, `192.168.10.0/24`.
    pub cidr: Ipv4Net,
    /// Its IPv6 range.
    pub cidr6: Option<Ipv6Net>,
    /// The customer gateway's address inside the range: the hosts' default router.
    pub router: Ipv4Addr,
    /// The customer gateway's IPv6 address inside the range.
    pub router6: Option<Ipv6Addr>,
    /// The DNS forwarder's address inside the range: what the hosts resolve through.
    pub dns_forwarder: Ipv4Addr,
    /// Where the function host listens.
    pub function_host: SocketAddr,
    /// Whether the function host is somebody else's server, which is then not started here.
    pub external_function_host: bool,
}

/// The IPsec tunnel between the endpoint and the customer gateway.
#[derive(Clone, Debug, Serialize)]
pub struct Tunnel {
    /// Outside address of the AWS side.
    pub aws_outside: Ipv4Addr,
    /// Outside address of the customer gateway.
    pub customer_outside: Ipv4Addr,
    /// UDP port of both ends (RFC 3948: 4500). Worker `n` uses `port + n`.
    pub port: u16,
    /// Inside /30 out of 169.254.0.0/16: its first address is AWS's, its second the customer gateway's.
    pub inside_cidr: Ipv4Net,
    /// Anti-replay window, packets: 64 to 2048.
    pub replay_window: u16,
    /// Name of the path profile in use.
    pub path: String,
}

impl Tunnel {
    /// The AWS side's inside address: the source of invocations.
    pub fn aws_inside(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.inside_cidr.network()) + 1)
    }

    /// The customer gateway's inside address.
    pub fn customer_inside(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.inside_cidr.network()) + 2)
    }
}
