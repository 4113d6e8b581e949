//! What control hands the workers: the enis' rules, compiled once for all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Origin;
use crate::config::{EndpointSettings, Topology};
use crate::packet::Addresses;
use crate::security_group::{NetworkAcls, SecurityGroupRules};

/// One eni's addresses and rules.
#[derive(Debug)]
pub struct EniRules {
    /// Its number ([`crate::config::Eni::slot`]).
    pub slot: u16,
    /// `eni-…`.
    pub id: Arc<str>,
    /// Its private address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Its groups.
    pub security_groups: SecurityGroupRules,
    /// Index of its subnet in the topology.
    pub subnet: usize,
}

/// All enis of the endpoint at one epoch. Immutable; a change makes another.
#[derive(Debug)]
pub struct EniSnapshot {
    /// The number of changes before this one.
    pub epoch: u64,
    /// The account in flow-log records.
    pub account: Arc<str>,
    /// Of all endpoints, in the order of the configuration.
    pub enis: Vec<EniRules>,
    /// The endpoint's settings.
    pub settings: EndpointSettings,
    /// The ACLs of all the VPC's subnets: a packet to an eni crosses its sender's subnet's boundary first.
    pub network_acls: NetworkAcls,
    /// The VPC's ranges.
    vpc: Vec<IpNet>,
    /// Ranges behind the customer gateway: the on-premises network's and the tunnel's inside.
    on_premises: Vec<IpNet>,
}

impl EniSnapshot {
    /// Compiles the rules of all enis of the endpoint.
    pub fn compile(topology: &Topology, epoch: u64) -> Self {
        let enis = topology.enis().map(|(_, eni)| EniRules {
            slot: eni.slot,
            id: eni.id.as_str().into(),
            ipv4: eni.ipv4,
            ipv6: eni.ipv6,
            security_groups: SecurityGroupRules::compile(topology, &eni.security_groups),
            subnet: eni.subnet,
        });
        Self {
            epoch,
            account: topology.account.as_str().into(),
            enis: enis.collect(),
            settings: topology.settings.clone(),
            network_acls: NetworkAcls::compile(topology),
            vpc: ranges(topology.vpc.cidr, topology.vpc.cidr6),
            on_premises: {
                let mut ranges = ranges(topology.on_premises.cidr, topology.on_premises.cidr6);
                ranges.push(topology.tunnel.inside_cidr.into());
                ranges
            },
        }
    }

    /// The eni that a packet is for: source/destination check.
    #[inline]
    pub(super) fn destination(&self, addresses: Addresses) -> Option<u16> {
        let eni = match addresses {
            Addresses::V4 { dst, .. } => self.enis.iter().find(|eni| eni.ipv4 == dst),
            Addresses::V6 { dst, .. } => self.enis.iter().find(|eni| eni.ipv6 == Some(dst)),
        };
        eni.map(|eni| eni.slot)
    }

    /// The eni in this slot, if there is one.
    pub fn eni(&self, slot: usize) -> Option<&EniRules> {
        self.enis.iter().find(|eni| usize::from(eni.slot) == slot)
    }

    /// How long a table by slots has to be.
    pub fn slots(&self) -> usize {
        self.enis.iter().map(|eni| usize::from(eni.slot) + 1).max().unwrap_or(0)
    }

    /// Where the VPC's routes lead for `address`: the VPC itself, the customer gateway, or nowhere. A source that does not lead
    /// back by the way its packet came is forged: on AWS the replies would go to the real owner, here as well nobody gains by it.
    pub(super) fn route(&self, address: IpAddr) -> Option<Origin> {
        let is_ours = self.enis.iter().any(|eni| match address {
            IpAddr::V4(address) => eni.ipv4 == address,
            IpAddr::V6(address) => eni.ipv6 == Some(address),
        });
        let leads_to = |ranges: &[IpNet]| ranges.iter().any(|range| range.contains(&address));
        if is_ours {
            None
        } else if leads_to(&self.vpc) {
            Some(Origin::Vpc)
        } else if leads_to(&self.on_premises) {
            Some(Origin::Tunnel)
        } else {
            None
        }
    }

    /// Largest MSS let through: the setting is for IPv4, whose header is 20 bytes shorter.
    pub(super) const fn mss_max(&self, is_v6: bool) -> u16 {
        if is_v6 { self.settings.mss_clamp.saturating_sub(20) } else { self.settings.mss_clamp }
    }
}

fn ranges(ipv4: Ipv4Net, ipv6: Option<Ipv6Net>) -> Vec<IpNet> {
    std::iter::once(IpNet::V4(ipv4)).chain(ipv6.map(IpNet::V6)).collect()
}
