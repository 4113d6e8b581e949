//! Interface endpoints, their interfaces, and what is recorded beside them.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// An interface endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its VPC.
    pub vpc: String,
    /// The eight characters behind the id in its DNS names.
    pub dns_token: String,
    /// Where it is between creation and deletion.
    pub state: EndpointState,
    /// Its interfaces, one per zone, in the order in which they were made.
    pub interfaces: Vec<String>,
    /// The groups that its interfaces are in.
    pub security_groups: Vec<String>,
    /// Whether the service's public name leads to it in the VPC.
    pub private_dns: bool,
    /// The policy as it was given; `None` is full access.
    pub policy: Option<String>,
    /// Which addresses its interfaces have.
    pub ip_address_type: IpAddressType,
    /// Which records its names have.
    pub dns_record_ip_type: DnsRecordIpType,
    /// When it was made, milliseconds since the epoch.
    pub created: u64,
}

/// The state of an endpoint whose service accepts by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EndpointState {
    /// The data plane does not have it yet, or not in its latest form.
    Pending,
    /// In force.
    Available,
    /// The data plane still has it.
    Deleting,
}

impl EndpointState {
    /// As it stands on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Deleting => "deleting",
        }
    }
}

/// `IpAddressType` of an endpoint. `ipv6` alone needs IPv6-only subnets, which no lab has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum IpAddressType {
    /// IPv4 alone.
    Ipv4,
    /// Both.
    Dualstack,
}

impl IpAddressType {
    /// As it stands on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Dualstack => "dualstack",
        }
    }
}

/// `DnsOptions.DnsRecordIpType` of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DnsRecordIpType {
    /// A records.
    Ipv4,
    /// Both.
    Dualstack,
    /// AAAA records.
    Ipv6,
    /// What the service asks for.
    ServiceDefined,
}

impl DnsRecordIpType {
    /// As it stands on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Dualstack => "dualstack",
            Self::Ipv6 => "ipv6",
            Self::ServiceDefined => "service-defined",
        }
    }
}

/// A network interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Interface {
    /// Its subnet.
    pub subnet: String,
    /// Its private address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// The groups it is in.
    pub security_groups: Vec<String>,
    /// Whose it is.
    pub owner: InterfaceOwner,
}

/// Whose interface it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum InterfaceOwner {
    /// An endpoint's, by its identifier.
    Endpoint(String),
    /// A machine's of the lab, by its name.
    Host(String),
    /// The resolver's inbound endpoint's.
    InboundResolver,
}

/// A flow log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlowLog {
    /// `vpc-…`, `subnet-…` or `eni-…`.
    pub resource: String,
    /// `ACCEPT`, `REJECT` or `ALL`.
    pub traffic_type: String,
    /// `cloud-watch-logs`, `s3` or `kinesis-data-firehose`.
    pub destination_type: String,
    /// An ARN.
    pub destination: Option<String>,
    /// CloudWatch's log group.
    pub log_group: Option<String>,
    /// The role that writes.
    pub role: Option<String>,
    /// Fields as `${name}`, with a space between two.
    pub format: String,
    /// Seconds: 60 or 600.
    pub aggregation: u32,
    /// When it was made, milliseconds since the epoch.
    pub created: u64,
}

/// What a client token stands for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientToken {
    /// SHA-256 of the parameters, in hexadecimal.
    pub parameters: String,
    /// What was created then.
    pub resources: Vec<String>,
    /// When, milliseconds since the epoch.
    pub created: u64,
}
