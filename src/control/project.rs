//! From the state back to a topology: what the data plane has to take over.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::state::*;
use crate::config::{self, DnsRecords, Eni, PolicyText, PortRange, Site, Topology, Traffic};

/// The topology that `state` makes of `base`: its DNS attributes, prefix lists, security groups, network ACLs and endpoints.
///
/// What the API cannot change comes from `base`. What `base` has keeps its place in every list, and what is new follows by
/// identifier. Endpoints that are being deleted take no part.
pub fn project(state: &State, base: &Topology) -> Topology {
    let mut topology = base.clone();
    if let Some(vpc) = state.vpcs.get(&base.vpc.id) {
        topology.vpc.dns_support = vpc.dns_support;
        topology.vpc.dns_hostnames = vpc.dns_hostnames;
    }
    let lists = order(base.prefix_lists.iter().map(|list| &list.id), &state.prefix_lists);
    topology.prefix_lists = lists
        .iter()
        .map(|(id, list)| config::PrefixList {
            id: (*id).to_owned(),
            entries: list.entries.iter().map(|entry| entry.cidr).collect(),
        })
        .collect();
    let groups = order(base.security_groups.iter().map(|group| &group.id), &state.security_groups);
    let places = Places {
        groups: groups.iter().enumerate().map(|(place, (id, _))| (*id, place)).collect(),
        lists: lists.iter().enumerate().map(|(place, (id, _))| (*id, place)).collect(),
        subnets: base.subnets.iter().enumerate().map(|(place, subnet)| (subnet.id.as_str(), place)).collect(),
    };
    topology.security_groups = groups.iter().map(|(id, group)| places.security_group(id, group)).collect();
    network_acls(state, base, &mut topology);
    hosts(state, &places, &mut topology);
    topology.endpoints = endpoints(state, base, &places);
    topology
}

/// What is in `map`: first that which `known` names, in its order, then the rest.
fn order<'s, T>(known: impl Iterator<Item = &'s String>, map: &'s BTreeMap<String, T>) -> Vec<(&'s str, &'s T)> {
    let mut ordered: Vec<(&str, &T)> = known.filter_map(|id| Some((id.as_str(), map.get(id)?))).collect();
    let kept = ordered.len();
    for (id, value) in map {
        if !ordered[..kept].iter().any(|(own, _)| *own == id) {
            ordered.push((id, value));
        }
    }
    ordered
}

/// Where in the topology's lists each identifier is.
struct Places<'s> {
    groups: BTreeMap<&'s str, usize>,
    lists: BTreeMap<&'s str, usize>,
    subnets: BTreeMap<&'s str, usize>,
}

impl Places<'_> {
    fn indices(&self, groups: &[String]) -> Vec<usize> {
        groups.iter().filter_map(|group| self.groups.get(group.as_str()).copied()).collect()
    }

    fn security_group(&self, id: &str, group: &SecurityGroup) -> config::SecurityGroup {
        let rules = |egress| group.direction(egress).filter_map(|rule| self.rule(rule)).collect();
        config::SecurityGroup {
            id: id.to_owned(),
            name: group.name.clone(),
            ingress: rules(false),
            egress: rules(true),
        }
    }

    fn rule(&self, rule: &SecurityGroupRule) -> Option<config::SecurityGroupRule> {
        let peer = match &rule.peer {
            Peer::Ipv4(net) => config::Peer::Cidr(IpNet::V4(*net)),
            Peer::Ipv6(net) => config::Peer::Cidr(IpNet::V6(*net)),
            Peer::PrefixList(id) => config::Peer::PrefixList(*self.lists.get(id.as_str())?),
            Peer::Group(id) => config::Peer::SecurityGroup(*self.groups.get(id.as_str())?),
        };
        let traffic = traffic(&rule.protocol, rule.from_port, rule.to_port)?;
        Some(config::SecurityGroupRule { id: rule.id.clone(), traffic, peer, description: rule.description.clone() })
    }
}

/// Traffic from the API's words. None: they make no sense, which the API does not let in.
fn traffic(protocol: &str, from: i32, to: i32) -> Option<Traffic> {
    let ports = || Some(PortRange { from: u16::try_from(from).ok()?, to: u16::try_from(to).ok()? });
    let (icmp_type, icmp_code) = (u8::try_from(from).ok(), u8::try_from(to).ok());
    Some(match protocol {
        "-1" => Traffic::All,
        "tcp" | "6" => Traffic::Tcp(ports()?),
        "udp" | "17" => Traffic::Udp(ports()?),
        "icmp" | "1" => Traffic::Icmp { icmp_type, icmp_code },
        "icmpv6" | "58" => Traffic::Icmpv6 { icmp_type, icmp_code },
        number => Traffic::Protocol(number.parse().ok()?),
    })
}

/// The default ACL takes part only where it is no longer what it was, because a subnet without one has that.
fn network_acls(state: &State, base: &Topology, topology: &mut Topology) {
    let untouched = |acl: &NetworkAcl| {
        let ipv6 = state.vpcs.get(&acl.vpc).is_some_and(|vpc| vpc.cidr6.is_some());
        acl.is_default && acl.entries == NetworkAcl::default_entries(ipv6)
    };
    let acls = order(base.network_acls.iter().map(|acl| &acl.id), &state.network_acls);
    let acls: Vec<_> = acls.into_iter().filter(|(_, acl)| !untouched(acl)).collect();
    topology.network_acls = acls
        .iter()
        .map(|(id, acl)| {
            let entries = |egress| acl.entries.iter().filter(move |entry| entry.egress == egress);
            let entries = |egress| entries(egress).filter_map(acl_entry).collect();
            config::NetworkAcl { id: (*id).to_owned(), ingress: entries(false), egress: entries(true) }
        })
        .collect();
    for subnet in &mut topology.subnets {
        let own = state.subnets.get(&subnet.id).map(|subnet| subnet.network_acl.as_str());
        subnet.network_acl = own.and_then(|own| acls.iter().position(|(id, _)| *id == own));
    }
}

fn acl_entry(entry: &NetworkAclEntry) -> Option<config::NetworkAclEntry> {
    let (from, to) = match (entry.ports, entry.icmp) {
        (Some((from, to)), _) => (from.into(), to.into()),
        (None, Some((icmp_type, code))) => (icmp_type.into(), code.into()),
        (None, None) => (-1, -1),
    };
    let traffic = traffic(&entry.protocol, from, to)?;
    Some(config::NetworkAclEntry { number: entry.number, traffic, cidr: entry.cidr, allow: entry.allow })
}

/// Hosts name their groups by place.
fn hosts(state: &State, places: &Places<'_>, topology: &mut Topology) {
    for host in topology.hosts.iter_mut().filter(|host| matches!(host.site, Site::Subnet(_))) {
        let own = InterfaceOwner::Host(host.name.clone());
        if let Some(interface) = state.interfaces.values().find(|interface| interface.owner == own) {
            host.security_groups = places.indices(&interface.security_groups);
        }
    }
}

fn endpoints(state: &State, base: &Topology, places: &Places<'_>) -> Vec<config::Endpoint> {
    let ordered = order(base.endpoints.iter().map(|endpoint| &endpoint.id), &state.endpoints);
    let living = ordered.into_iter().filter(|(_, endpoint)| endpoint.state != EndpointState::Deleting);
    let projected = living.map(|(id, endpoint)| config::Endpoint {
        id: id.to_owned(),
        dns_token: endpoint.dns_token.clone(),
        enis: state.interfaces_of(endpoint).filter_map(|(id, interface)| eni(places, id, interface)).collect(),
        private_dns: endpoint.private_dns,
        dns_records: match endpoint.dns_record_ip_type {
            DnsRecordIpType::Ipv4 => DnsRecords::Ipv4,
            DnsRecordIpType::Ipv6 => DnsRecords::Ipv6,
            // What a service defines is not known of Lambda: all that there is.
            DnsRecordIpType::Dualstack | DnsRecordIpType::ServiceDefined => DnsRecords::Dualstack,
        },
        policy: endpoint.policy.as_ref().map(|text| policy(base, id, text)),
    });
    projected.collect()
}

fn eni(places: &Places<'_>, id: &str, interface: &Interface) -> Option<Eni> {
    Some(Eni {
        // The data plane numbers enis.
        slot: 0,
        id: id.to_owned(),
        subnet: *places.subnets.get(interface.subnet.as_str())?,
        ipv4: interface.ipv4,
        ipv6: interface.ipv6,
        security_groups: places.indices(&interface.security_groups),
    })
}

/// A policy that is still the file's keeps its origin.
fn policy(base: &Topology, id: &str, text: &str) -> PolicyText {
    let files = base.endpoints.iter().find(|endpoint| endpoint.id == id).and_then(|endpoint| endpoint.policy.as_ref());
    let own = files.filter(|policy| policy.text == text);
    own.cloned().unwrap_or_else(|| PolicyText { origin: format!("policy of {id}"), text: text.to_owned() })
}
