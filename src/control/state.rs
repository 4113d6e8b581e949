//! Everything that the API can change, by identifier.

mod endpoint;
mod network;
mod security_group;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use endpoint::{
    ClientToken, DnsRecordIpType, Endpoint, EndpointState, FlowLog, Interface, InterfaceOwner, IpAddressType,
};
pub use network::{NetworkAcl, NetworkAclEntry, PrefixList, PrefixListEntry, Route, RouteTable, Subnet, Vpc, Zone};
pub use security_group::{Peer, SecurityGroup, SecurityGroupRule};

/// AWS keeps so many addresses at the base of a subnet, and the last one.
const RESERVED_AT_BASE: u32 = 4;

/// Key and value of the tags of one resource.
pub type Tags = BTreeMap<String, String>;

/// Everything that the API can change. Maps go by identifier.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The account that owns all of it. Callers of other accounts see nothing of it.
    pub account: String,
    /// The service that endpoints lead to.
    pub service: Service,
    /// The zone of machines' private names, `us-east-2.compute.internal`.
    pub compute_zone: String,
    /// VPCs.
    pub vpcs: BTreeMap<String, Vpc>,
    /// Subnets.
    pub subnets: BTreeMap<String, Subnet>,
    /// Availability zones by name, `us-east-2a`.
    pub zones: BTreeMap<String, Zone>,
    /// Route tables.
    pub route_tables: BTreeMap<String, RouteTable>,
    /// Network ACLs, the VPC's default one among them.
    pub network_acls: BTreeMap<String, NetworkAcl>,
    /// Customer-managed prefix lists.
    pub prefix_lists: BTreeMap<String, PrefixList>,
    /// Security groups, the VPC's default one among them.
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// Interface endpoints.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Network interfaces: endpoints', and those that hosts and the resolver have.
    pub interfaces: BTreeMap<String, Interface>,
    /// Flow logs.
    pub flow_logs: BTreeMap<String, FlowLog>,
    /// Tags by resource.
    pub tags: BTreeMap<String, Tags>,
    /// What was created under a client token, by action and token.
    pub client_tokens: BTreeMap<String, ClientToken>,
}

/// The endpoint service of this Region, Lambda.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Service {
    /// `com.amazonaws.us-east-2.lambda`.
    pub name: String,
    /// The API's host name, `lambda.us-east-2.amazonaws.com`, which people take for the service's name.
    pub host: String,
    /// The zone of endpoints' own names, `lambda.us-east-2.vpce.amazonaws.com`.
    pub endpoint_zone: String,
    /// The names that private DNS covers, `host` first.
    pub private_dns_names: Vec<String>,
}

impl State {
    /// Whether what the API cannot change is as in `other`: account, VPC, subnets and the machines in them.
    pub fn is_of_same_lab(&self, other: &Self) -> bool {
        let ranges = |state: &Self| -> Vec<_> {
            let vpcs = state.vpcs.iter().map(|(id, vpc)| (id.clone(), vpc.cidr, vpc.cidr6, String::new()));
            let subnet =
                |(id, subnet): (&String, &Subnet)| (id.clone(), subnet.cidr, subnet.cidr6, subnet.zone.clone());
            vpcs.chain(state.subnets.iter().map(subnet)).collect()
        };
        let machines = |state: &Self| -> Vec<_> {
            let all = state.interfaces.values();
            let own = all.filter(|interface| !matches!(interface.owner, InterfaceOwner::Endpoint(_)));
            own.map(|interface| (interface.owner.clone(), interface.ipv4, interface.ipv6)).collect()
        };
        self.account == other.account
            && self.service == other.service
            && ranges(self) == ranges(other)
            && machines(self) == machines(other)
    }

    /// Whether every endpoint is what it is to be: none is pending or being deleted.
    pub fn is_settled(&self) -> bool {
        self.endpoints.values().all(|endpoint| endpoint.state == EndpointState::Available)
    }

    /// The data plane has all of it in force: pending endpoints are available, those that were being deleted are gone with their
    /// interfaces.
    pub fn settle(&mut self) {
        let deleting =
            |(id, endpoint): (&String, &Endpoint)| (endpoint.state == EndpointState::Deleting).then(|| id.clone());
        for id in self.endpoints.iter().filter_map(deleting).collect::<Vec<_>>() {
            self.remove_endpoint(&id);
        }
        self.endpoints.values_mut().for_each(|endpoint| endpoint.state = EndpointState::Available);
    }

    fn remove_endpoint(&mut self, id: &str) {
        let interfaces = self.endpoints.remove(id).map(|endpoint| endpoint.interfaces).unwrap_or_default();
        self.tags.remove(id);
        for interface in interfaces {
            self.remove_interface(&interface);
        }
    }

    /// Removes an interface with its tags and flow logs, as AWS does.
    pub(super) fn remove_interface(&mut self, id: &str) {
        self.interfaces.remove(id);
        self.tags.remove(id);
        let logs = self.flow_logs.iter().filter(|(_, log)| log.resource == id);
        for log in logs.map(|(log, _)| log.clone()).collect::<Vec<_>>() {
            self.flow_logs.remove(&log);
            self.tags.remove(&log);
        }
    }

    /// The tags of a resource.
    pub(super) fn tags_of(&self, resource: &str) -> impl Iterator<Item = (&String, &String)> {
        self.tags.get(resource).into_iter().flatten()
    }

    /// The VPC's default security group.
    pub(super) fn default_group(&self, vpc: &str) -> Option<&str> {
        let found = self.security_groups.iter().find(|(_, group)| group.vpc == vpc && group.is_default());
        found.map(|(id, _)| id.as_str())
    }

    /// The interfaces of an endpoint, in the order in which they were made.
    pub(super) fn interfaces_of<'s>(
        &'s self,
        endpoint: &'s Endpoint,
    ) -> impl Iterator<Item = (&'s str, &'s Interface)> {
        endpoint.interfaces.iter().filter_map(|id| Some((id.as_str(), self.interfaces.get(id)?)))
    }

    /// The lowest free IPv4 address of a subnet.
    pub(super) fn free_ipv4(&self, subnet: &str, cidr: Ipv4Net) -> Option<Ipv4Addr> {
        let taken: BTreeSet<_> = self.in_subnet(subnet).map(|interface| interface.ipv4).collect();
        let first = u32::from(cidr.network()).checked_add(RESERVED_AT_BASE)?;
        (first..u32::from(cidr.broadcast())).map(Ipv4Addr::from).find(|address| !taken.contains(address))
    }

    /// The lowest free IPv6 address of a subnet that is not nearer to its base than `ipv4` to that of its range.
    pub(super) fn free_ipv6(&self, subnet: &str, cidr: Ipv4Net, cidr6: Ipv6Net, ipv4: Ipv4Addr) -> Option<Ipv6Addr> {
        let taken: BTreeSet<_> = self.in_subnet(subnet).filter_map(|interface| interface.ipv6).collect();
        let offset = u32::from(ipv4).saturating_sub(u32::from(cidr.network())).max(RESERVED_AT_BASE);
        let first = u128::from(cidr6.network()).checked_add(u128::from(offset))?;
        let last = u128::from(cidr6.broadcast());
        (first..last).take(1 << 17).map(Ipv6Addr::from).find(|address| !taken.contains(address))
    }

    /// The addresses of a subnet that nobody has: without AWS's five.
    pub(super) fn available_addresses(&self, subnet: &str, cidr: Ipv4Net) -> usize {
        let size = 1_usize << (32 - u32::from(cidr.prefix_len())).min(31);
        let taken: BTreeSet<_> = self.in_subnet(subnet).map(|interface| interface.ipv4).collect();
        size.saturating_sub(5 + taken.len())
    }

    /// Whether an address of a subnet is AWS's own: the first four and the last.
    pub(super) fn is_reserved(cidr: Ipv4Net, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).saturating_sub(u32::from(cidr.network()));
        offset < RESERVED_AT_BASE || address == cidr.broadcast()
    }

    /// The same for IPv6.
    pub(super) fn is_reserved6(cidr: Ipv6Net, address: Ipv6Addr) -> bool {
        let offset = u128::from(address).saturating_sub(u128::from(cidr.network()));
        offset < u128::from(RESERVED_AT_BASE) || address == cidr.broadcast()
    }

    fn in_subnet<'s>(&'s self, subnet: &'s str) -> impl Iterator<Item = &'s Interface> {
        self.interfaces.values().filter(move |interface| interface.subnet == subnet)
    }
}
