//! Interfaces, addresses, routes and kernel settings of one network namespace. Set-up only: never on a packet's way.
//!
//! A [`Netlink`] talks to the namespace its thread was in when it was opened, and stays with it. Its calls block; they
//! run a little tokio runtime of their own and must not be made from inside another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use futures_util::StreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::packet_route::neighbour::NeighbourFlags;
use rtnetlink::packet_route::route::RouteHeader;
use rtnetlink::packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::packet_route::rule::RuleAction;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::namespace::NetworkNamespace;
use super::{Fault, OrFault};

/// Slots between the kernel and the reader of a TUN device, per queue. The default, 500, drops under load; a slot may
/// hold a super-segment of 64 KB, so the sum of the clients' windows must stay below this many of them.
pub const TUN_QUEUE_LEN: u32 = 10_000;

/// A link address, as Ethernet has it.
pub type MacAddress = [u8; 6];

/// One end of a virtual cable.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// Interface name, at most 15 bytes.
    pub name: &'a str,
    /// Its link address.
    pub mac: MacAddress,
}

/// An interface of the namespace, by index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link(u32);

/// Where a route leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// Straight out of this interface.
    Link(Link),
    /// To a router, which is reached through this interface even if no other route leads to it (`onlink`).
    Router(IpAddr, Link),
    /// Nowhere: discarded without a word.
    Blackhole,
}

/// A connection to the kernel's network configuration, for one namespace.
#[derive(Debug)]
pub struct Netlink {
    runtime: tokio::runtime::Runtime,
    handle: Handle,
}

impl Netlink {
    /// Opens one for the namespace that the calling thread is in.
    ///
    /// # Errors
    /// When no netlink socket can be made.
    pub fn open() -> Result<Self, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .or_fault(|| "cannot start a netlink connection")?;
        let (connection, handle, _) = {
            let _inside = runtime.enter();
            rtnetlink::new_connection().or_fault(|| "cannot open a netlink socket")?
        };
        runtime.spawn(connection);
        Ok(Self { runtime, handle })
    }

    fn run(&self, request: impl Future<Output = Result<(), rtnetlink::Error>>) -> Result<(), String> {
        self.runtime.block_on(request).map_err(|error| match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
            other => other.to_string(),
        })
    }

    /// The interface called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn link(&self, name: &str) -> Result<Link, Fault> {
        rustix::net::netdevice::name_to_index(
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
                .or_fault(|| "cannot open a socket")?,
            name,
        )
        .map(Link)
        .or_fault(|| format!("there is no interface {name}"))
    }

    /// The name of the interface that has this address.
    ///
    /// # Errors
    /// When none has it.
    pub fn interface_with(&self, address: IpAddr) -> Result<String, Fault> {
        let request = self.handle.address().get().set_address_filter(address).execute();
        let found = self.runtime.block_on(async { Box::pin(request).next().await });
        let found = found.ok_or_else(|| Fault::new(format!("no interface has the address {address}")))?;
        let index = found.or_fault(|| format!("cannot ask who has the address {address}"))?.header.index;
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
            .and_then(|socket| rustix::net::netdevice::index_to_name(socket, index))
            .or_fault(|| format!("cannot name the interface that has {address}"))
    }

    /// Makes a virtual cable: `here` in this namespace, `there` in another. Both ends get the MTU and are down.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN in both namespaces, without the `veth` module, or when a name is taken.
    pub fn add_veth(
        &self,
        here: VethEnd<'_>,
        there: VethEnd<'_>,
        namespace: &NetworkNamespace,
        mtu: u32,
    ) -> Result<(), Fault> {
        let peer = LinkUnspec::new_with_name(there.name)
            .address(there.mac.to_vec())
            .mtu(mtu)
            .setns_by_fd(namespace.as_fd().as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(here.name)
            .address(here.mac.to_vec())
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        self.run(self.handle.link().add(message).execute())
            .or_fault(|| format!("cannot make the cable {} - {}", here.name, there.name))
            .map_err(|fault| fault.remedy("sudo modprobe veth; or run `vpce doctor`"))
    }

    /// Switches an interface on.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN.
    pub fn up(&self, link: Link) -> Result<(), Fault> {
        let message = LinkUnspec::new_with_index(link.0).up().build();
        self.run(self.handle.link().change(message).execute()).or_fault(|| "cannot switch an interface on")
    }

    /// Prepares a TUN interface: MTU, a transmit queue of [`TUN_QUEUE_LEN`], no addresses of its own, on.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or for an MTU that the driver refuses.
    pub fn configure_tun(&self, link: Link, name: &str, mtu: u32) -> Result<(), Fault> {
        // Otherwise the kernel would send router solicitations of its own into the device.
        write_setting_if_there(&format!("ipv6/conf/{name}/addr_gen_mode"), "1")?;
        let message = LinkUnspec::new_with_index(link.0).mtu(mtu).txqueuelen(TUN_QUEUE_LEN).up().build();
        self.run(self.handle.link().change(message).execute())
            .or_fault(|| format!("cannot set MTU {mtu} and queue length {TUN_QUEUE_LEN}"))
            .map_err(|fault| fault.at(format!("interface {name}")))
    }

    /// Gives an interface an address. IPv6 addresses are usable at once (no duplicate address detection).
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or when the interface has it.
    pub fn add_address(&self, link: Link, address: IpAddr, prefix_len: u8) -> Result<(), Fault> {
        let mut request = self.handle.address().add(link.0, address, prefix_len);
        if address.is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.run(request.execute()).or_fault(|| format!("cannot add the address {address}/{prefix_len}"))
    }

    /// Adds a route; `0.0.0.0/0` and `::/0` are the default routes.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, when the route exists, or when the interface is down.
    pub fn add_route(&self, destination: IpNet, via: Via) -> Result<(), Fault> {
        let message = route_message(destination, via);
        self.run(self.handle.route().add(message).execute()).or_fault(|| format!("cannot add a route to {destination}"))
    }

    /// Has a destination lead this way from now on, wherever it led before.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or when the interface is down.
    pub fn set_route(&self, destination: IpNet, via: Via) -> Result<(), Fault> {
        let message = route_message(destination, via);
        let request = self.handle.route().add(message).replace();
        self.run(request.execute()).or_fault(|| format!("cannot set the route to {destination}"))
    }

    /// Tells the kernel which link address an IP address has, for good: it never asks.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN.
    pub fn add_neighbour(&self, link: Link, address: IpAddr, mac: MacAddress) -> Result<(), Fault> {
        self.run(self.handle.neighbours().add(link.0, address).link_layer_address(&mac).replace().execute())
            .or_fault(|| format!("cannot add the neighbour {address}"))
    }

    /// Makes the kernel answer on `link` for an address that is reached through another interface.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN.
    pub fn add_proxy_neighbour(&self, link: Link, address: IpAddr) -> Result<(), Fault> {
        let request = self.handle.neighbours().add(link.0, address).flags(NeighbourFlags::Proxy);
        self.run(request.replace().execute()).or_fault(|| format!("cannot answer for the neighbour {address}"))
    }

    /// Keeps the kernel of this namespace silent: whatever it would send of its own (ICMP errors and echo replies, TCP
    /// resets) is discarded, unless it goes to one of `except`. Forwarded packets and neighbour discovery are untouched.
    ///
    /// A routing rule and not a packet filter: it needs no nftables, and `iif lo` is how the kernel marks what it
    /// originates itself (ip-rule(8)).
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN or policy routing in the kernel.
    pub fn silence(&self, except: &[Ipv4Addr]) -> Result<(), Fault> {
        let failed = || "cannot keep the router's kernel from answering on its own";
        for address in except {
            let rule = self.handle.rule().add().v4().input_interface("lo").priority(EXCEPT_PRIORITY);
            let rule = rule.destination_prefix(*address, 32).table_id(RouteHeader::RT_TABLE_MAIN.into());
            self.run(rule.action(RuleAction::ToTable).execute()).or_fault(failed)?;
        }
        let rule = self.handle.rule().add().input_interface("lo").priority(SILENCE_PRIORITY);
        let rule = rule.table_id(RouteHeader::RT_TABLE_UNSPEC.into()).action(RuleAction::Blackhole);
        self.run(rule.clone().v4().execute()).or_fault(failed)?;
        self.run(rule.v6().execute()).or_fault(failed)
    }
}

/// After the `local` table (0), before `main` (32766).
const EXCEPT_PRIORITY: u32 = 100;
const SILENCE_PRIORITY: u32 = 101;

fn route_message(destination: IpNet, via: Via) -> RouteMessage {
    let (address, prefix_len) = (destination.network(), destination.prefix_len());
    let mut message = match address {
        IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4, prefix_len).build(),
        IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(v6, prefix_len).build(),
    };
    use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteFlags};
    match via {
        Via::Link(link) => {
            message.header.scope = RouteScope::Link;
            message.attributes.push(RouteAttribute::Oif(link.0));
        }
        Via::Router(router, link) => {
            message.header.flags.insert(RouteFlags::Onlink);
            message.attributes.push(RouteAttribute::Oif(link.0));
            message.attributes.push(RouteAttribute::Gateway(match router {
                IpAddr::V4(v4) => RouteAddress::Inet(v4),
                IpAddr::V6(v6) => RouteAddress::Inet6(v6),
            }));
        }
        Via::Blackhole => message.header.kind = RouteType::BlackHole,
    }
    message
}

/// Writes a kernel setting of the network namespace the caller is in: `ipv4/ip_forward` is
/// `/proc/sys/net/ipv4/ip_forward`.
///
/// # Errors
/// When /proc/sys is read-only, as in many containers, or the setting does not exist.
pub fn write_setting(name: &str, value: &str) -> Result<(), Fault> {
    let path = format!("/proc/sys/net/{name}");
    std::fs::write(&path, value).or_fault(|| format!("cannot set net.{} to {value}", name.replace('/', "."))).map_err(
        |fault| {
            fault.at(path).remedy(
                "make /proc/sys writable (in a container: run it with `--security-opt systempaths=unconfined`), \
                 then `vpce doctor`",
            )
        },
    )
}

/// As [`write_setting`], for one that a kernel without IPv6 does not have.
///
/// # Errors
/// As there, unless it does not exist.
pub fn write_setting_if_there(name: &str, value: &str) -> Result<(), Fault> {
    if rustix::fs::access(format!("/proc/sys/net/{name}"), rustix::fs::Access::EXISTS).is_err() {
        return Ok(());
    }
    write_setting(name, value)
}

/// Switches on what a router needs in the namespace the caller is in: forwarding of both families, no reverse-path
/// filter, IPv6 without duplicate address detection or router advertisements.
///
/// # Errors
/// As [`write_setting`].
pub fn become_router() -> Result<(), Fault> {
    relax_reverse_path_filter()?;
    write_setting("ipv4/ip_forward", "1")?;
    settle_ipv6()?;
    write_setting_if_there("ipv6/conf/all/forwarding", "1")?;
    // Interfaces made from here on are no routers' interfaces by themselves, so that TUN devices stay quiet: no link-local
    // address, no membership in the all-routers groups, and no reports of either. Whether packets are forwarded is decided
    // by `all` alone.
    write_setting_if_there("ipv6/conf/default/forwarding", "0")?;
    write_setting_if_there("ipv6/conf/default/addr_gen_mode", "1")
}

/// Kernel settings for a host: IPv6 addresses usable at once, no solicitations, no reverse-path filter.
///
/// # Errors
/// As [`write_setting`].
pub fn become_host() -> Result<(), Fault> {
    relax_reverse_path_filter()?;
    settle_ipv6()
}

fn relax_reverse_path_filter() -> Result<(), Fault> {
    // A new namespace inherits these from the machine; the stricter of `all` and the interface's own counts.
    ["all", "default"].iter().try_for_each(|which| write_setting(&format!("ipv4/conf/{which}/rp_filter"), "0"))
}

fn settle_ipv6() -> Result<(), Fault> {
    for which in ["all", "default"] {
        for (name, value) in
            [("disable_ipv6", "0"), ("accept_dad", "0"), ("accept_ra", "0"), ("router_solicitations", "0")]
        {
            write_setting_if_there(&format!("ipv6/conf/{which}/{name}"), value)?;
        }
    }
    Ok(())
}

/// Makes an interface a router's: neighbour discovery says so, and ARP is answered for every address that is routed
/// elsewhere, at once.
///
/// # Errors
/// As [`write_setting`].
pub fn serve_hosts(interface: &str) -> Result<(), Fault> {
    write_setting_if_there(&format!("ipv6/conf/{interface}/forwarding"), "1")?;
    write_setting(&format!("ipv4/conf/{interface}/proxy_arp"), "1")?;
    // Else the kernel waits a random time up to 0.8 s before each answer (arp(7), proxy_delay).
    write_setting(&format!("ipv4/neigh/{interface}/proxy_delay"), "0")
}
