//! The state that a topology describes: what the file says is what the API shows.
//!
//! What AWS has and the file does not is made up, the same in every run: route table, default ACL, associations.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::ec2::id::{ACL_ASSOCIATION, INTERFACE, NETWORK_ACL, ROUTE_TABLE};
use super::state::*;
use crate::config::{self, Site, Topology, Traffic, zone_id};
use crate::time::UnixTime;

/// Zones of a Region that a lab shows even if no subnet lies there.
const ZONES: [char; 3] = ['a', 'b', 'c'];

impl State {
    /// The state that a topology describes. Identifiers are kept.
    pub fn from_topology(topology: &Topology, now: UnixTime) -> Self {
        let mut state = Self {
            account: topology.account.clone(),
            service: service(topology),
            compute_zone: topology.compute_zone(),
            ..Self::default()
        };
        let vpc = &topology.vpc;
        state.vpcs.insert(
            vpc.id.clone(),
            Vpc {
                cidr: vpc.cidr,
                cidr6: vpc.cidr6,
                is_default: false,
                dns_support: vpc.dns_support,
                dns_hostnames: vpc.dns_hostnames,
                address_usage_metrics: false,
            },
        );
        state.seed_network_acls(topology);
        state.seed_subnets(topology);
        state.seed_routes(topology);
        for list in &topology.prefix_lists {
            let entries = list.entries.iter().map(|cidr| PrefixListEntry { cidr: *cidr, description: None }).collect();
            let max_entries = u32::try_from(list.entries.len()).unwrap_or(u32::MAX);
            let seeded = PrefixList { name: list.id.clone(), max_entries, version: 1, entries };
            state.prefix_lists.insert(list.id.clone(), seeded);
        }
        for group in &topology.security_groups {
            state.security_groups.insert(group.id.clone(), security_group(topology, group));
        }
        for endpoint in &topology.endpoints {
            state.seed_endpoint(topology, endpoint, now);
        }
        state.seed_other_interfaces(topology);
        state
    }

    fn seed_network_acls(&mut self, topology: &Topology) {
        let vpc = &topology.vpc;
        let default = NetworkAcl {
            vpc: vpc.id.clone(),
            is_default: true,
            entries: NetworkAcl::default_entries(vpc.cidr6.is_some()),
        };
        self.network_acls.insert(default_acl(topology), default);
        for acl in &topology.network_acls {
            let mut seeded = NetworkAcl { vpc: vpc.id.clone(), is_default: false, entries: Vec::new() };
            for (egress, entries) in [(false, &acl.ingress), (true, &acl.egress)] {
                for entry in entries {
                    seeded.insert(acl_entry(egress, entry));
                }
            }
            self.network_acls.insert(acl.id.clone(), seeded);
        }
    }

    fn seed_subnets(&mut self, topology: &Topology) {
        let usual = ZONES.map(|letter| format!("{}{letter}", topology.region));
        for name in usual.into_iter().chain(topology.subnets.iter().map(|subnet| subnet.zone.clone())) {
            let id = zone_id(&name);
            self.zones.insert(name, Zone { id });
        }
        for subnet in &topology.subnets {
            let own = subnet.network_acl.and_then(|index| topology.network_acls.get(index)).map(|acl| acl.id.clone());
            let seeded = Subnet {
                vpc: topology.vpc.id.clone(),
                cidr: subnet.cidr,
                cidr6: subnet.cidr6,
                zone: subnet.zone.clone(),
                network_acl: own.unwrap_or_else(|| default_acl(topology)),
                network_acl_association: ACL_ASSOCIATION.derived(&[&subnet.id]),
            };
            self.subnets.insert(subnet.id.clone(), seeded);
        }
    }

    /// The main route table: the VPC's own ranges, and the data centre's by the virtual private gateway.
    fn seed_routes(&mut self, topology: &Topology) {
        let (vpc, site) = (&topology.vpc, &topology.on_premises);
        let gateway = derived("vgw", &vpc.id);
        let local = [Some(IpNet::V4(vpc.cidr)), vpc.cidr6.map(IpNet::V6)].into_iter().flatten();
        let local = local.map(|destination| Route { destination, gateway: "local".to_owned(), propagated: false });
        let distant = [Some(IpNet::V4(site.cidr)), site.cidr6.map(IpNet::V6)].into_iter().flatten();
        let distant = distant.map(|destination| Route { destination, gateway: gateway.clone(), propagated: true });
        let table = RouteTable {
            vpc: vpc.id.clone(),
            main_association: derived("rtbassoc", &vpc.id),
            routes: local.chain(distant).collect(),
        };
        self.route_tables.insert(ROUTE_TABLE.derived(&[&vpc.id]), table);
    }

    fn seed_endpoint(&mut self, topology: &Topology, endpoint: &config::Endpoint, now: UnixTime) {
        let mut groups: Vec<String> = Vec::new();
        for eni in &endpoint.enis {
            let owner = InterfaceOwner::Endpoint(endpoint.id.clone());
            let own =
                self.seed_interface(topology, &eni.id, eni.subnet, (eni.ipv4, eni.ipv6), &eni.security_groups, owner);
            groups.extend(own.into_iter().filter(|group| !groups.contains(group)).collect::<Vec<_>>());
        }
        let dualstack = endpoint.enis.iter().any(|eni| eni.ipv6.is_some());
        let (ip_address_type, dns_record_ip_type) = if dualstack {
            (IpAddressType::Dualstack, DnsRecordIpType::Dualstack)
        } else {
            (IpAddressType::Ipv4, DnsRecordIpType::Ipv4)
        };
        let seeded = Endpoint {
            vpc: topology.vpc.id.clone(),
            dns_token: endpoint.dns_token.clone(),
            state: EndpointState::Available,
            interfaces: endpoint.enis.iter().map(|eni| eni.id.clone()).collect(),
            security_groups: groups,
            private_dns: endpoint.private_dns,
            policy: endpoint.policy.as_ref().map(|policy| policy.text.clone()),
            ip_address_type,
            dns_record_ip_type,
            created: now.millis(),
        };
        self.endpoints.insert(endpoint.id.clone(), seeded);
    }

    /// Machines and the resolver's inbound endpoint have interfaces too: their addresses are taken.
    fn seed_other_interfaces(&mut self, topology: &Topology) {
        for host in &topology.hosts {
            let Site::Subnet(subnet) = host.site else { continue };
            let id = INTERFACE.derived(&["host", &topology.vpc.id, &host.name]);
            let owner = InterfaceOwner::Host(host.name.clone());
            self.seed_interface(topology, &id, subnet, (host.ipv4, host.ipv6), &host.security_groups, owner);
        }
        if let Some(address) = topology.resolver.inbound_endpoint
            && let Some(subnet) = topology.subnets.iter().position(|subnet| subnet.cidr.contains(&address))
        {
            let id = INTERFACE.derived(&["inbound resolver", &topology.vpc.id]);
            self.seed_interface(topology, &id, subnet, (address, None), &[], InterfaceOwner::InboundResolver);
        }
    }

    fn seed_interface(
        &mut self,
        topology: &Topology,
        id: &str,
        subnet: usize,
        (ipv4, ipv6): (Ipv4Addr, Option<Ipv6Addr>),
        groups: &[usize],
        owner: InterfaceOwner,
    ) -> Vec<String> {
        let subnet = topology.subnets.get(subnet).map(|subnet| subnet.id.clone()).unwrap_or_default();
        let groups = groups.iter().filter_map(|index| topology.security_groups.get(*index));
        let security_groups: Vec<String> = groups.map(|group| group.id.clone()).collect();
        let interface = Interface { subnet, ipv4, ipv6, security_groups: security_groups.clone(), owner };
        self.interfaces.insert(id.to_owned(), interface);
        security_groups
    }
}

fn service(topology: &Topology) -> Service {
    let host = topology.service_host();
    let dualstack = topology.resolver.private_dns_api_aws.then(|| topology.service_host_dualstack());
    Service {
        name: format!("com.amazonaws.{}.lambda", topology.region),
        endpoint_zone: topology.endpoint_zone(),
        private_dns_names: std::iter::once(host.clone()).chain(dualstack).collect(),
        host,
    }
}

fn derived(prefix: &str, vpc: &str) -> String {
    use super::ec2::id::{hash, hex};
    format!("{prefix}-0{}", &hex(&hash(prefix, &[vpc]))[..16])
}

fn default_acl(topology: &Topology) -> String {
    NETWORK_ACL.derived(&["default", &topology.vpc.id])
}

/// Protocol and ports, or type and code, as the API words them.
pub(super) fn words(traffic: Traffic) -> (String, i32, i32) {
    let any = |value: Option<u8>| value.map_or(-1, i32::from);
    match traffic {
        Traffic::All => ("-1".to_owned(), -1, -1),
        Traffic::Tcp(ports) => ("tcp".to_owned(), ports.from.into(), ports.to.into()),
        Traffic::Udp(ports) => ("udp".to_owned(), ports.from.into(), ports.to.into()),
        Traffic::Icmp { icmp_type, icmp_code } => ("icmp".to_owned(), any(icmp_type), any(icmp_code)),
        Traffic::Icmpv6 { icmp_type, icmp_code } => ("icmpv6".to_owned(), any(icmp_type), any(icmp_code)),
        Traffic::Protocol(number) => (number.to_string(), -1, -1),
    }
}

fn security_group(topology: &Topology, group: &config::SecurityGroup) -> SecurityGroup {
    let rules = [(false, &group.ingress), (true, &group.egress)].into_iter().flat_map(|(egress, rules)| {
        rules.iter().map(move |rule| {
            let (protocol, from_port, to_port) = words(rule.traffic);
            let peer = match &rule.peer {
                config::Peer::Cidr(net) => Peer::from(*net),
                config::Peer::PrefixList(index) => {
                    Peer::PrefixList(topology.prefix_lists.get(*index).map(|list| list.id.clone()).unwrap_or_default())
                }
                config::Peer::SecurityGroup(index) => {
                    Peer::Group(topology.security_groups.get(*index).map(|group| group.id.clone()).unwrap_or_default())
                }
            };
            let description = rule.description.clone();
            SecurityGroupRule { id: rule.id.clone(), egress, protocol, from_port, to_port, peer, description }
        })
    });
    let description = if group.name == "default" { "default VPC security group" } else { group.name.as_str() };
    SecurityGroup {
        name: group.name.clone(),
        description: description.to_owned(),
        vpc: topology.vpc.id.clone(),
        rules: rules.collect(),
    }
}

fn acl_entry(egress: bool, entry: &config::NetworkAclEntry) -> NetworkAclEntry {
    let any = |value: Option<u8>| value.map_or(-1, i16::from);
    let (protocol, ports, icmp) = match entry.traffic {
        Traffic::All => ("-1".to_owned(), None, None),
        Traffic::Tcp(ports) => ("6".to_owned(), Some((ports.from, ports.to)), None),
        Traffic::Udp(ports) => ("17".to_owned(), Some((ports.from, ports.to)), None),
        Traffic::Icmp { icmp_type, icmp_code } => ("1".to_owned(), None, Some((any(icmp_type), any(icmp_code)))),
        Traffic::Icmpv6 { icmp_type, icmp_code } => ("58".to_owned(), None, Some((any(icmp_type), any(icmp_code)))),
        Traffic::Protocol(number) => (number.to_string(), None, None),
    };
    NetworkAclEntry { number: entry.number, egress, protocol, cidr: entry.cidr, allow: entry.allow, ports, icmp }
}
