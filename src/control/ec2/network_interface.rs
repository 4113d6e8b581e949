//! Network interfaces: the endpoints', and those of the lab's machines and of the resolver.

use std::net::Ipv4Addr;

use super::error::Ec2Error;
use super::id::{INTERFACE, associated_mac};
use super::page::Listing;
use super::request::Request;
use super::subnet::zone_id;
use super::vpc::associated;
use super::xml::Xml;
use super::{Call, Operation};
use crate::control::{Interface, InterfaceOwner, State};

pub(super) const OPERATIONS: &[Operation] = &[Operation::read(
    "DescribeNetworkInterfaces",
    &["NetworkInterfaceId", "Filter", "MaxResults", "NextToken", "IncludeManagedResources"],
    describe_network_interfaces,
)];

/// Who made an endpoint's interface, as recordings have it. AWS does not document it.
const REQUESTER: &str = "727180483921";

impl Interface {
    /// `vpc_endpoint` for an endpoint's (EC2 User Guide, Requester-managed network interfaces).
    fn interface_type(&self) -> &'static str {
        if matches!(self.owner, InterfaceOwner::Endpoint(_)) { "vpc_endpoint" } else { "interface" }
    }

    fn description(&self, id: &str) -> String {
        match &self.owner {
            InterfaceOwner::Endpoint(endpoint) => format!("VPC Endpoint Interface {endpoint}"),
            InterfaceOwner::Host(name) => format!("Host {name}"),
            InterfaceOwner::InboundResolver => {
                format!("Route 53 Resolver: {}:{}", associated("rslvr-in", &[id]), associated("rni", &[id]))
            }
        }
    }

    fn is_managed(&self) -> bool {
        !matches!(self.owner, InterfaceOwner::Host(_))
    }
}

fn private_name(state: &State, address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}.{}", state.compute_zone)
}

fn vpc_and_zone<'s>(state: &'s State, interface: &Interface) -> (&'s str, &'s str) {
    let subnet = state.subnets.get(&interface.subnet);
    subnet.map_or(("", ""), |subnet| (subnet.vpc.as_str(), subnet.zone.as_str()))
}

fn group_name<'s>(state: &'s State, id: &str) -> &'s str {
    state.security_groups.get(id).map_or("", |group| group.name.as_str())
}

/// The element `groupSet`.
pub(super) fn show_groups(xml: &mut Xml, state: &State, groups: &[String]) {
    xml.list("groupSet", groups, |xml, id| {
        xml.text("groupId", id).text("groupName", group_name(state, id));
    });
}

fn describe_network_interfaces(state: &State, request: &Request, _: &Call<'_>) -> Result<Xml, Ec2Error> {
    request.fields().flag("IncludeManagedResources")?;
    let listing = Listing {
        set: "networkInterfaceSet",
        ids: Some(("NetworkInterfaceId", &INTERFACE)),
        filters: &[
            "addresses.primary",
            "addresses.private-ip-address",
            "availability-zone",
            "availability-zone-id",
            "description",
            "group-id",
            "group-name",
            "interface-type",
            "ipv6-addresses.ipv6-address",
            "mac-address",
            "network-interface-id",
            "owner-id",
            "private-dns-name",
            "private-ip-address",
            "requester-id",
            "requester-managed",
            "source-dest-check",
            "status",
            "subnet-id",
            "vpc-id",
        ],
        least: 5,
    };
    listing.answer(
        state,
        request,
        state.interfaces.iter().map(|(id, interface)| (id.as_str(), interface)),
        |id, interface, name| {
            let (vpc, zone) = vpc_and_zone(state, interface);
            match name {
                "addresses.private-ip-address" | "private-ip-address" => vec![interface.ipv4.to_string()],
                "availability-zone" => vec![zone.to_owned()],
                "availability-zone-id" => vec![zone_id(state, zone).to_owned()],
                "description" => vec![interface.description(id)],
                "group-id" => interface.security_groups.clone(),
                "group-name" => {
                    interface.security_groups.iter().map(|group| group_name(state, group).to_owned()).collect()
                }
                "interface-type" => vec![interface.interface_type().to_owned()],
                "ipv6-addresses.ipv6-address" => interface.ipv6.iter().map(ToString::to_string).collect(),
                "mac-address" => vec![associated_mac(id)],
                "network-interface-id" => vec![id.to_owned()],
                "owner-id" => vec![state.account.clone()],
                "private-dns-name" => vec![private_name(state, interface.ipv4)],
                "requester-id" if interface.is_managed() => vec![REQUESTER.to_owned()],
                "requester-id" => Vec::new(),
                "requester-managed" => vec![interface.is_managed().to_string()],
                "status" => vec!["in-use".to_owned()],
                "subnet-id" => vec![interface.subnet.clone()],
                "vpc-id" => vec![vpc.to_owned()],
                // addresses.primary, source-dest-check
                _ => vec!["true".to_owned()],
            }
        },
        |xml, id, interface| show_interface(xml, state, id, interface),
    )
}

fn show_interface(xml: &mut Xml, state: &State, id: &str, interface: &Interface) {
    let (vpc, zone) = vpc_and_zone(state, interface);
    let name = private_name(state, interface.ipv4);
    xml.text("networkInterfaceId", id).text("subnetId", &interface.subnet).text("vpcId", vpc);
    xml.text("availabilityZone", zone).text("availabilityZoneId", zone_id(state, zone));
    xml.text("description", interface.description(id)).text("ownerId", &state.account);
    xml.optional("requesterId", interface.is_managed().then_some(REQUESTER));
    xml.text("requesterManaged", interface.is_managed()).text("status", "in-use");
    xml.text("macAddress", associated_mac(id)).text("privateIpAddress", interface.ipv4).text("privateDnsName", &name);
    xml.text("sourceDestCheck", true);
    show_groups(xml, state, &interface.security_groups);
    xml.element("attachment", |xml| {
        xml.text("attachmentId", associated("ela-attach", &[id])).text("deviceIndex", 1).text("status", "attached");
        xml.text("instanceOwnerId", if interface.is_managed() { "amazon-aws" } else { state.account.as_str() });
        xml.text("deleteOnTermination", !interface.is_managed());
    });
    xml.list("privateIpAddressesSet", [interface.ipv4], |xml, address| {
        xml.text("privateIpAddress", address).text("privateDnsName", &name).text("primary", true);
    });
    xml.list("ipv6AddressesSet", interface.ipv6, |xml, address| {
        xml.text("ipv6Address", address).text("isPrimaryIpv6", false);
    });
    xml.text("interfaceType", interface.interface_type());
    if interface.is_managed() && interface.ipv6.is_some() {
        xml.text("denyAllIgwTraffic", true);
    }
    state.show_tags(xml, id);
}
