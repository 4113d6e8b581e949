//! Where a packet is going: the VPC's route tables as far as the endpoint's side of them is concerned.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::config::Topology;
use crate::dns::View;

/// The resolver's second address, the same in every VPC (VPC user guide, "DNS attributes for your VPC").
const LINK_LOCAL_RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);

/// What a destination address belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Destination {
    /// The eni in this slot.
    Eni(usize),
    /// The resolver, which answers in this view.
    Resolver(View),
    /// The Lambda service's own address inside the tunnel: answers of the function host.
    Service,
    /// A host on-premises, behind the tunnel.
    OnPremises,
    /// A host in the VPC.
    Vpc,
    /// No route leads there: the VPC has no internet gateway.
    Nowhere,
}

/// The routes, from one topology.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    /// Addresses, and the slot of the eni that has each.
    enis: Vec<(IpAddr, usize)>,
    resolver: Ipv4Addr,
    inbound_endpoint: Option<Ipv4Addr>,
    service: Ipv4Addr,
    vpc: Ipv4Net,
    vpc6: Option<Ipv6Net>,
    on_premises: Ipv4Net,
    on_premises6: Option<Ipv6Net>,
    gateway_inside: Ipv4Addr,
}

impl Routes {
    pub(super) fn new(topology: &Topology) -> Self {
        let addresses = topology.enis().flat_map(|(_, eni)| {
            let addresses = [Some(IpAddr::V4(eni.ipv4)), eni.ipv6.map(IpAddr::V6)];
            addresses.into_iter().flatten().map(move |address| (address, usize::from(eni.slot)))
        });
        Self {
            enis: addresses.collect(),
            resolver: topology.vpc.resolver(),
            inbound_endpoint: topology.resolver.inbound_endpoint,
            service: topology.tunnel.aws_inside(),
            vpc: topology.vpc.cidr,
            vpc6: topology.vpc.cidr6,
            on_premises: topology.on_premises.cidr,
            on_premises6: topology.on_premises.cidr6,
            gateway_inside: topology.tunnel.customer_inside(),
        }
    }

    /// Slot of the eni with this address.
    #[inline]
    pub(super) fn eni_of(&self, address: IpAddr) -> Option<usize> {
        self.enis.iter().find(|(eni, _)| *eni == address).map(|(_, slot)| *slot)
    }

    #[inline]
    pub(super) fn destination(&self, address: IpAddr) -> Destination {
        if let Some(eni) = self.eni_of(address) {
            return Destination::Eni(eni);
        }
        match address {
            IpAddr::V4(a) if a == self.service => Destination::Service,
            IpAddr::V4(a) if a == self.resolver || a == LINK_LOCAL_RESOLVER => Destination::Resolver(View::Vpc),
            IpAddr::V4(a) if Some(a) == self.inbound_endpoint => Destination::Resolver(View::OnPremises),
            IpAddr::V4(a) if self.on_premises.contains(&a) => Destination::OnPremises,
            IpAddr::V4(a) if self.vpc.contains(&a) => Destination::Vpc,
            IpAddr::V6(a) if self.on_premises6.is_some_and(|net| net.contains(&a)) => Destination::OnPremises,
            IpAddr::V6(a) if self.vpc6.is_some_and(|net| net.contains(&a)) => Destination::Vpc,
            _ => Destination::Nowhere,
        }
    }

    /// Whether a packet that came out of the tunnel may carry this source: the other end sends only for its own network.
    #[inline]
    pub(super) fn may_come_from_tunnel(&self, source: IpAddr) -> bool {
        matches!(self.destination(source), Destination::OnPremises) || source == IpAddr::V4(self.gateway_inside)
    }

    /// Whether a packet from the VPC may carry this source.
    #[inline]
    pub(super) fn may_come_from_vpc(&self, source: IpAddr) -> bool {
        matches!(self.destination(source), Destination::Vpc)
    }
}
