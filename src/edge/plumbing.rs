//! What the endpoint and the customer gateway plug into their network namespaces: TUN devices and the routes to them.
//!
//! The namespace of the endpoint is the VPC's router. The kernel forwards between the machines of the VPC; everything
//! else goes through a TUN device to the engine, so that a packet which leads nowhere is seen and counted there:
//!
//! - one device per eni, `eni0`, `eni1`, … by its slot, for its addresses alone. It can come and go: when its last queue is
//!   closed, the kernel takes the device and its routes away;
//! - `vpc`, for what the router itself does: the resolver and its inbound endpoint, the way on-premises, and the default
//!   route.
//!
//! Their MTU is the largest there is: a packet over the endpoint's limit of 8,500 bytes is dropped silently by the engine;
//! with a smaller MTU the kernel would answer it with fragmentation-needed, which AWS never sends.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Fault;
use super::netlink::{Netlink, Via};
use super::tun::{self, TunDevice, TunMode};
use crate::config::{Eni, Topology};

/// MTU of the endpoint's devices, bytes.
pub const ENDPOINT_MTU: u32 = 65_535;

/// Interface name of the device for the router's functions.
pub const ROUTER_DEVICE: &str = "vpc";

/// Interface name of the customer gateway's device.
pub const CUSTOMER_GATEWAY_DEVICE: &str = "tunnel";

/// The endpoint's devices.
#[derive(Debug)]
pub struct EndpointDevices {
    /// One per eni, with its slot.
    pub enis: Vec<(u16, TunDevice)>,
    /// For everything that is not an eni's.
    pub vpc: TunDevice,
}

/// Interface name of the eni in this slot.
pub fn eni_device(slot: u16) -> String {
    format!("eni{slot}")
}

/// Opens, configures and routes to one eni's device, in the network namespace of the calling thread.
///
/// # Errors
/// See [`tun::open`] and [`Netlink`].
pub fn open_eni(netlink: &Netlink, eni: &Eni, mode: TunMode, queues: usize) -> Result<TunDevice, Fault> {
    let device = open(netlink, &eni_device(eni.slot), mode, queues, ENDPOINT_MTU, &[])?;
    route_eni(netlink, eni)?;
    Ok(device)
}

/// Has an eni's addresses lead into its device, and not into that of one that had them before and is about to go.
///
/// # Errors
/// See [`Netlink`].
pub fn route_eni(netlink: &Netlink, eni: &Eni) -> Result<(), Fault> {
    let name = eni_device(eni.slot);
    let link = netlink.link(&name)?;
    let addresses = [Some(IpAddr::V4(eni.ipv4)), eni.ipv6.map(IpAddr::V6)];
    for address in addresses.into_iter().flatten() {
        netlink.set_route(address.into(), Via::Link(link)).map_err(|fault| fault.at(format!("interface {name}")))?;
    }
    Ok(())
}

/// Opens, configures and routes to the endpoint's devices, in the network namespace of the calling thread.
///
/// # Errors
/// See [`tun::open`] and [`Netlink`].
pub fn open_endpoint(topology: &Topology, mode: TunMode, queues: usize) -> Result<EndpointDevices, Fault> {
    let netlink = Netlink::open()?;
    let enis = topology.enis().map(|(_, eni)| Ok((eni.slot, open_eni(&netlink, eni, mode, queues)?)));
    let enis = enis.collect::<Result<Vec<_>, Fault>>()?;
    let mut destinations = vec![IpNet::from(IpAddr::V4(topology.vpc.resolver()))];
    destinations.extend(topology.resolver.inbound_endpoint.map(|address| IpNet::from(IpAddr::V4(address))));
    destinations.push(topology.on_premises.cidr.into());
    destinations.extend(topology.on_premises.cidr6.map(IpNet::V6));
    destinations.push(Ipv4Net::default().into());
    if has_ipv6(topology) {
        destinations.push(Ipv6Net::default().into());
    }
    let vpc = open(&netlink, ROUTER_DEVICE, mode, queues, ENDPOINT_MTU, &destinations)?;
    Ok(EndpointDevices { enis, vpc })
}

/// The interfaces whose packets tell an endpoint's story: its devices, and the link that carries its tunnel. In the
/// network namespace of the calling thread, once they exist.
///
/// # Errors
/// When no interface has the tunnel's outside address.
pub fn endpoint_interfaces(topology: &Topology) -> Result<Vec<String>, Fault> {
    let outside = Netlink::open()?.interface_with(topology.tunnel.aws_outside.into())?;
    let enis = topology.enis().map(|(_, eni)| eni_device(eni.slot));
    Ok(enis.chain([ROUTER_DEVICE.to_owned(), outside]).collect())
}

/// Opens, configures and routes to the customer gateway's device: the VPC's ranges and the AWS side's inside address lead
/// into it. `mtu` is what fits into one frame of the tunnel; the kernel answers larger packets with fragmentation-needed,
/// as a customer's router does.
///
/// # Errors
/// See [`tun::open`] and [`Netlink`].
pub fn open_customer_gateway(topology: &Topology, mode: TunMode, queues: usize, mtu: u32) -> Result<TunDevice, Fault> {
    let netlink = Netlink::open()?;
    let mut destinations = vec![IpNet::from(IpAddr::V4(topology.tunnel.aws_inside())), topology.vpc.cidr.into()];
    destinations.extend(topology.vpc.cidr6.map(IpNet::V6));
    let device = open(&netlink, CUSTOMER_GATEWAY_DEVICE, mode, queues, mtu, &destinations)?;
    let link = netlink.link(CUSTOMER_GATEWAY_DEVICE)?;
    netlink.add_address(link, IpAddr::V4(topology.tunnel.customer_inside()), 32)?;
    Ok(device)
}

/// Whether any part of the lab speaks IPv6.
pub fn has_ipv6(topology: &Topology) -> bool {
    topology.vpc.cidr6.is_some() || topology.on_premises.cidr6.is_some()
}

fn open(
    netlink: &Netlink,
    name: &str,
    mode: TunMode,
    queues: usize,
    mtu: u32,
    destinations: &[IpNet],
) -> Result<TunDevice, Fault> {
    let device = tun::open(name, mode, queues)?;
    let link = netlink.link(name)?;
    netlink.configure_tun(link, name, mtu)?;
    for destination in destinations {
        netlink.add_route(*destination, Via::Link(link)).map_err(|fault| fault.at(format!("interface {name}")))?;
    }
    Ok(device)
}
