//! The lab's network: one namespace per machine, cables between them, addresses and routes.
//!
//! `vpce` is the VPC's router. Each machine of the VPC has a cable to it and nothing else; the router answers ARP for
//! every address, so machines reach an eni in their own subnet as if it lay beside them. Like the VPC's mapping service it
//! knows every machine's link address and never asks. Its kernel forwards but does not speak: no ICMP errors, no resets.
//!
//! `services` has one cable to the router as well, and the address at which other services' APIs are. It lies outside the VPC, as
//! they do.
//!
//! `cgw` is the customer's router. It owns the on-premises addresses of router, DNS forwarder and function host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{CUSTOMER_GATEWAY, ROUTER, SERVICES};
use crate::config::{Host, Site, Topology};
use crate::edge::Fault;
use crate::edge::namespace::NetworkNamespace;
use crate::edge::netlink::{self, MacAddress, Netlink, VethEnd, Via};

/// MTU inside a VPC, bytes (AWS, "Network MTU for your EC2 instance": jumbo frames).
pub const VPC_MTU: u32 = 9001;

/// MTU of the on-premises network, bytes: Ethernet's.
pub const ON_PREMISES_MTU: u32 = 1500;

/// MTU of the cable that carries the tunnel, bytes: above every path profile's, so that the profile decides.
pub const OUTSIDE_MTU: u32 = 9100;

/// Name of a machine's interface.
pub const HOST_INTERFACE: &str = "eth0";

/// Name of the router's end of the cable to Amazon's own network.
const SERVICES_INTERFACE: &str = "services";

/// Name of both ends of the cable that carries the tunnel.
pub const OUTSIDE_INTERFACE: &str = "outside";

/// The VPC router's IPv6 address on every machine's cable. EC2 announces a link-local router as well.
pub const ROUTER_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The namespaces of a lab.
#[derive(Debug)]
pub struct Network {
    /// The VPC router.
    pub router: NetworkNamespace,
    /// The customer gateway.
    pub customer_gateway: NetworkNamespace,
    /// Amazon's own network.
    pub services: NetworkNamespace,
    /// The machines, in the topology's order.
    pub hosts: Vec<NetworkNamespace>,
}

impl Network {
    /// Builds it. The calling thread, which must be the only one, is in the router's namespace afterwards.
    ///
    /// # Errors
    /// When the kernel refuses a namespace, a cable, an address or a setting; the fault names it.
    pub fn build(topology: &Topology) -> Result<Self, Fault> {
        let hosts = topology.hosts.iter().map(|_| NetworkNamespace::create()).collect::<Result<Vec<_>, _>>()?;
        let customer_gateway = NetworkNamespace::create()?;
        let services = NetworkNamespace::create()?;
        let router = NetworkNamespace::create()?;
        let network = Self { router, customer_gateway, services, hosts };
        network.set_up_router(topology).map_err(|fault| fault.at(format!("namespace {ROUTER}")))?;
        network.set_up_customer_gateway(topology).map_err(|fault| fault.at(format!("namespace {CUSTOMER_GATEWAY}")))?;
        for (host, namespace) in topology.hosts.iter().zip(&network.hosts) {
            set_up_host(topology, host, namespace).map_err(|fault| fault.at(format!("namespace {}", host.name)))?;
        }
        network.set_up_services(topology).map_err(|fault| fault.at(format!("namespace {SERVICES}")))?;
        network.router.enter()?;
        Ok(network)
    }

    /// The namespace called `name`: a host's, [`ROUTER`] or [`CUSTOMER_GATEWAY`].
    pub fn find(&self, topology: &Topology, name: &str) -> Option<&NetworkNamespace> {
        if let Some(index) = topology.hosts.iter().position(|host| host.name == name) {
            return self.hosts.get(index);
        }
        match name {
            ROUTER => Some(&self.router),
            SERVICES => Some(&self.services),
            CUSTOMER_GATEWAY => Some(&self.customer_gateway),
            _ => None,
        }
    }

    fn set_up_router(&self, topology: &Topology) -> Result<(), Fault> {
        self.router.enter()?;
        netlink::become_router()?;
        let netlink = Netlink::open()?;
        netlink.up(netlink.link("lo")?)?;
        let tunnel = &topology.tunnel;
        // Before anything can be asked: from here on the kernel only speaks through the tunnel.
        netlink.silence(&[tunnel.customer_outside])?;
        let (here, there) = (outside_mac(tunnel.aws_outside), outside_mac(tunnel.customer_outside));
        let ends = [here, there].map(|mac| VethEnd { name: OUTSIDE_INTERFACE, mac });
        netlink.add_veth(ends[0], ends[1], &self.customer_gateway, OUTSIDE_MTU)?;
        set_up_outside(&netlink, tunnel.aws_outside, tunnel.customer_outside, there)?;
        for (index, host) in topology.hosts.iter().enumerate() {
            let Site::Subnet(subnet) = host.site else { continue };
            let router = topology.subnets[subnet].router();
            let name = router_interface(index, &host.name);
            connect(&netlink, &name, (host.ipv4, host.ipv6), &self.hosts[index], VPC_MTU, Some(router))?;
        }
        let api = topology.resolver.api_address;
        connect(&netlink, SERVICES_INTERFACE, (api, None), &self.services, VPC_MTU, None)
    }

    /// One address, and everything by the cable to the VPC's router, whose link address is known.
    fn set_up_services(&self, topology: &Topology) -> Result<(), Fault> {
        self.services.enter()?;
        netlink::become_host()?;
        let netlink = Netlink::open()?;
        netlink.up(netlink.link("lo")?)?;
        let link = netlink.link(HOST_INTERFACE)?;
        let (own, router) = (topology.resolver.api_address, topology.vpc.resolver());
        netlink.add_address(link, own.into(), 32)?;
        netlink.up(link)?;
        netlink.add_neighbour(link, router.into(), router_mac(own))?;
        netlink.add_route(Ipv4Net::default().into(), Via::Router(router.into(), link))
    }

    fn set_up_customer_gateway(&self, topology: &Topology) -> Result<(), Fault> {
        self.customer_gateway.enter()?;
        netlink::become_router()?;
        let netlink = Netlink::open()?;
        let loopback = netlink.link("lo")?;
        netlink.up(loopback)?;
        for address in own_on_premises_addresses(topology) {
            netlink.add_address(loopback, address, if address.is_ipv4() { 32 } else { 128 })?;
        }
        let tunnel = &topology.tunnel;
        let peer = outside_mac(tunnel.aws_outside);
        set_up_outside(&netlink, tunnel.customer_outside, tunnel.aws_outside, peer)?;
        for (index, host) in topology.hosts.iter().enumerate() {
            if host.site == Site::OnPremises {
                let name = router_interface(index, &host.name);
                connect(&netlink, &name, (host.ipv4, host.ipv6), &self.hosts[index], ON_PREMISES_MTU, None)?;
            }
        }
        Ok(())
    }
}

/// The on-premises addresses that the customer gateway's namespace owns: router, DNS forwarder and function host, unless
/// the latter is a machine of the lab.
fn own_on_premises_addresses(topology: &Topology) -> Vec<IpAddr> {
    let site = &topology.on_premises;
    let mut addresses = vec![IpAddr::V4(site.router)];
    addresses.extend(site.router6.map(IpAddr::V6));
    addresses.extend([IpAddr::V4(site.dns_forwarder), site.function_host.ip()]);
    let is_a_host = |address: &IpAddr| {
        topology
            .hosts
            .iter()
            .any(|host| IpAddr::V4(host.ipv4) == *address || host.ipv6.map(IpAddr::V6) == Some(*address))
    };
    addresses.retain(|address| !is_a_host(address));
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn set_up_outside(netlink: &Netlink, own: Ipv4Addr, peer: Ipv4Addr, peer_mac: MacAddress) -> Result<(), Fault> {
    let link = netlink.link(OUTSIDE_INTERFACE)?;
    netlink.add_address(link, own.into(), 32)?;
    netlink.up(link)?;
    netlink.add_neighbour(link, peer.into(), peer_mac)?;
    netlink.add_route(IpNet::from(IpAddr::V4(peer)), Via::Link(link))
}

/// The router's side of a machine's cable.
fn connect(
    netlink: &Netlink,
    name: &str,
    (ipv4, ipv6): (Ipv4Addr, Option<Ipv6Addr>),
    namespace: &NetworkNamespace,
    mtu: u32,
    router: Option<Ipv4Addr>,
) -> Result<(), Fault> {
    let (here, there) = (router_mac(ipv4), host_mac(ipv4));
    let ends = (VethEnd { name, mac: here }, VethEnd { name: HOST_INTERFACE, mac: there });
    netlink.add_veth(ends.0, ends.1, namespace, mtu)?;
    netlink::serve_hosts(name)?;
    let link = netlink.link(name)?;
    if let Some(router) = router {
        netlink.add_address(link, router.into(), 32)?;
    }
    netlink.up(link)?;
    for address in [Some(IpAddr::V4(ipv4)), ipv6.map(IpAddr::V6)].into_iter().flatten() {
        netlink.add_route(IpNet::from(address), Via::Link(link))?;
        netlink.add_neighbour(link, address, there)?;
    }
    if ipv6.is_some() {
        netlink.add_address(link, ROUTER_LINK_LOCAL.into(), 64)?;
    }
    Ok(())
}

/// A machine's own side: its address, its default routes.
fn set_up_host(topology: &Topology, host: &Host, namespace: &NetworkNamespace) -> Result<(), Fault> {
    namespace.enter()?;
    netlink::become_host()?;
    let netlink = Netlink::open()?;
    netlink.up(netlink.link("lo")?)?;
    let link = netlink.link(HOST_INTERFACE)?;
    let (range, router) = match host.site {
        Site::Subnet(subnet) => (topology.subnets[subnet].cidr, topology.subnets[subnet].router()),
        Site::OnPremises => (topology.on_premises.cidr, topology.on_premises.router),
    };
    netlink.add_address(link, host.ipv4.into(), range.prefix_len())?;
    netlink.up(link)?;
    netlink.add_route(Ipv4Net::default().into(), Via::Router(router.into(), link))?;
    if let Some(ipv6) = host.ipv6 {
        // As on EC2: no on-link prefix, everything goes to the router.
        netlink.add_address(link, ipv6.into(), 128)?;
        netlink.add_route(Ipv6Net::default().into(), Via::Router(ROUTER_LINK_LOCAL.into(), link))?;
    }
    Ok(())
}

/// Name of the router's end of a machine's cable: `to-app`. Names of interfaces have at most 15 bytes; a dot never occurs
/// in a host's name, so the short form cannot meet the long one.
fn router_interface(index: usize, host: &str) -> String {
    let name = format!("to-{host}");
    if name.len() <= 15 { name } else { format!("to.{index}") }
}

/// Link addresses are made from IP addresses, locally administered (IEEE 802, second bit): a capture is easy to read, and
/// both sides know each other's without asking.
fn host_mac(address: Ipv4Addr) -> MacAddress {
    let [a, b, c, d] = address.octets();
    [0x02, 0x00, a, b, c, d]
}

fn router_mac(address: Ipv4Addr) -> MacAddress {
    let [a, b, c, d] = address.octets();
    [0x02, 0x01, a, b, c, d]
}

fn outside_mac(address: Ipv4Addr) -> MacAddress {
    let [a, b, c, d] = address.octets();
    [0x02, 0x02, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_fit_and_differ_however_long_the_hosts_names_are() {
        assert_eq!(router_interface(0, "app"), "to-app");
        assert_eq!(router_interface(0, "twelve-chars"), "to-twelve-chars");
        assert_eq!(router_interface(7, "thirteen-char"), "to.7");
    }
}
