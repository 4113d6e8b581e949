//! What a request says of an endpoint, checked: its policy, addresses, subnets, groups and names.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Call;
use super::error::Ec2Error;
use super::id::{GROUP, INTERFACE, SUBNET};
use super::request::Fields;
use crate::control::{DnsRecordIpType, Endpoint, Interface, InterfaceOwner, IpAddressType, State};
use crate::policy::{ParseOptions, Policy, PolicyKind};

/// A policy document, or the first thing that is wrong with it.
pub(super) fn policy(text: &str, call: &Call<'_>) -> Result<String, Ec2Error> {
    let options = ParseOptions { lenient: call.options.lenient };
    match Policy::parse_with(PolicyKind::Endpoint, text, options) {
        Ok(_) => Ok(text.to_owned()),
        Err(faults) => {
            let mut message = "The specified policy document is not a valid JSON policy document".to_owned();
            if let Some(first) = faults.first() {
                message += &format!(": {first}");
            }
            Err(Ec2Error::new("InvalidPolicyDocument", message))
        }
    }
}

/// `IpAddressType`.
pub(super) fn ip_address_type(fields: &Fields<'_>) -> Result<Option<IpAddressType>, Ec2Error> {
    match fields.text("IpAddressType") {
        None => Ok(None),
        Some("ipv4") => Ok(Some(IpAddressType::Ipv4)),
        Some("dualstack") => Ok(Some(IpAddressType::Dualstack)),
        Some("ipv6") => {
            Err(Ec2Error::parameter("The IP address type ipv6 is not supported: it needs subnets that are IPv6-only"))
        }
        Some(other) => Err(Ec2Error::value(format!("Invalid value '{other}' for IpAddressType"))),
    }
}

/// `DnsOptions`.
pub(super) fn dns_record_ip_type(fields: &Fields<'_>) -> Result<Option<DnsRecordIpType>, Ec2Error> {
    let options = fields.inner("DnsOptions");
    if options.flag("PrivateDnsOnlyForInboundResolverEndpoint")? == Some(true) {
        let message = "PrivateDnsOnlyForInboundResolverEndpoint is not supported for this service";
        return Err(Ec2Error::parameter(message));
    }
    match options.text("DnsRecordIpType") {
        None => Ok(None),
        Some("ipv4") => Ok(Some(DnsRecordIpType::Ipv4)),
        Some("dualstack") => Ok(Some(DnsRecordIpType::Dualstack)),
        Some("ipv6") => Ok(Some(DnsRecordIpType::Ipv6)),
        Some("service-defined") => Ok(Some(DnsRecordIpType::ServiceDefined)),
        Some(other) => Err(Ec2Error::value(format!("Invalid value '{other}' for DnsRecordIpType"))),
    }
}

/// With IPv4 addresses alone there are A records alone (PrivateLink Guide, DNS record IP type).
pub(super) fn check_record_type(addresses: IpAddressType, records: DnsRecordIpType) -> Result<(), Ec2Error> {
    if addresses == IpAddressType::Ipv4 && records != DnsRecordIpType::Ipv4 {
        let message = format!(
            "The DNS record IP type {} is not valid for the IP address type {}",
            records.name(),
            addresses.name()
        );
        return Err(Ec2Error::parameter(message));
    }
    Ok(())
}

/// What private DNS needs: both attributes of the VPC, and no other endpoint with the same names.
pub(super) fn check_private_dns(state: &State, vpc: &str, own: Option<&str>) -> Result<(), Ec2Error> {
    let attributes = state.vpcs.get(vpc).is_some_and(|vpc| vpc.dns_support && vpc.dns_hostnames);
    if !attributes {
        return Err(Ec2Error::parameter(format!(
            "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for {vpc}"
        )));
    }
    let mut others = state.endpoints.iter().filter(|(id, _)| Some(id.as_str()) != own);
    if others.any(|(_, other)| other.vpc == vpc && other.private_dns) {
        let name = &state.service.host;
        return Err(Ec2Error::parameter(format!(
            "private-dns-enabled cannot be set because there is already a conflicting DNS domain for {name} in the VPC {vpc}"
        )));
    }
    Ok(())
}

/// Adds groups to those that an endpoint has.
pub(super) fn add_groups(state: &State, vpc: &str, ids: &[&str], groups: &mut Vec<String>) -> Result<(), Ec2Error> {
    for id in ids {
        let group = GROUP.find(&state.security_groups, id)?;
        if group.vpc != vpc {
            let message = format!("Security group {id} and VPC {vpc} belong to different networks.");
            return Err(Ec2Error::parameter(message));
        }
        if !groups.iter().any(|own| own == id) {
            groups.push((*id).to_owned());
        }
    }
    Ok(())
}

/// How many groups an interface may be in.
pub(super) fn check_groups(groups: &[String], call: &Call<'_>) -> Result<(), Ec2Error> {
    if groups.len() > call.options.quotas.groups_per_interface {
        let message = "The maximum number of security groups per interface has been reached.";
        return Err(Ec2Error::new("SecurityGroupsPerInterfaceLimitExceeded", message));
    }
    Ok(())
}

/// A subnet for an interface, and the addresses that are wanted there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place<'r> {
    pub(super) subnet: &'r str,
    pub(super) ipv4: Option<Ipv4Addr>,
    pub(super) ipv6: Option<Ipv6Addr>,
}

/// The subnets of the list `subnets` and of `SubnetConfiguration.N`, each once unless a list gives it twice.
pub(super) fn places<'r>(fields: &Fields<'r>, subnets: &str) -> Result<Vec<Place<'r>>, Ec2Error> {
    let listed = fields.list(subnets)?;
    let mut places: Vec<Place<'r>> =
        listed.into_iter().map(|subnet| Place { subnet, ipv4: None, ipv6: None }).collect();
    for configuration in fields.structures("SubnetConfiguration")? {
        let subnet = configuration.required("SubnetId")?;
        let malformed = |text: &str| Ec2Error::parameter(format!("'{text}' is not a valid IP address"));
        let ipv4 = configuration.text("Ipv4").map(|text| text.parse().map_err(|_| malformed(text))).transpose()?;
        let ipv6 = configuration.text("Ipv6").map(|text| text.parse().map_err(|_| malformed(text))).transpose()?;
        let place = Place { subnet, ipv4, ipv6 };
        match places.iter_mut().find(|known| known.subnet == subnet && known.ipv4.is_none() && known.ipv6.is_none()) {
            Some(known) => *known = place,
            None => places.push(place),
        }
    }
    Ok(places)
}

/// Gives an endpoint an interface.
pub(super) fn add_interface(
    state: &mut State,
    id: &str,
    endpoint: &mut Endpoint,
    place: &Place<'_>,
    call: &mut Call<'_>,
) -> Result<(), Ec2Error> {
    let name = place.subnet;
    let subnet = SUBNET.find(&state.subnets, name)?.clone();
    if subnet.vpc != endpoint.vpc {
        let message = format!("The subnet {name} does not belong to the VPC {}", endpoint.vpc);
        return Err(Ec2Error::parameter(message));
    }
    let zones = endpoint.interfaces.iter().filter_map(|interface| state.interfaces.get(interface));
    let mut zones = zones.filter_map(|interface| state.subnets.get(&interface.subnet));
    if zones.any(|other| other.zone == subnet.zone) {
        let message = format!("Found another VPC endpoint subnet in the availability zone of {name}");
        return Err(Ec2Error::new("DuplicateSubnetsInSameZone", message));
    }
    let full = || {
        let message =
            format!("The specified subnet {name} does not have enough free addresses to satisfy the request.");
        Ec2Error::new("InsufficientFreeAddressesInSubnet", message)
    };
    let ipv4 = match place.ipv4 {
        None => state.free_ipv4(name, subnet.cidr).ok_or_else(full)?,
        Some(address) if !subnet.cidr.contains(&address) => return Err(outside(address, name)),
        Some(address) if State::is_reserved(subnet.cidr, address) => return Err(reserved(address, name)),
        Some(address) if state.interfaces.values().any(|other| other.ipv4 == address) => return Err(in_use(address)),
        Some(address) => address,
    };
    let mut interface = Interface {
        subnet: name.to_owned(),
        ipv4,
        ipv6: None,
        security_groups: endpoint.security_groups.clone(),
        owner: InterfaceOwner::Endpoint(id.to_owned()),
    };
    match (endpoint.ip_address_type, place.ipv6) {
        (IpAddressType::Ipv4, None) => {}
        (IpAddressType::Ipv4, Some(_)) => {
            return Err(Ec2Error::parameter("An IPv6 address needs an endpoint of IP address type dualstack"));
        }
        (IpAddressType::Dualstack, wanted) => interface.ipv6 = Some(ipv6_for(state, &interface, wanted)?),
    }
    let interface_id = INTERFACE.fresh(call.random);
    state.interfaces.insert(interface_id.clone(), interface);
    endpoint.interfaces.push(interface_id);
    Ok(())
}

/// The IPv6 address that an interface gets.
pub(super) fn ipv6_for(state: &State, interface: &Interface, wanted: Option<Ipv6Addr>) -> Result<Ipv6Addr, Ec2Error> {
    let name = interface.subnet.as_str();
    let subnet = SUBNET.find(&state.subnets, name)?;
    let cidr6 = subnet.cidr6.ok_or_else(|| {
        let message =
            format!("The IP address type dualstack is not supported by the subnet {name}: it has no IPv6 range");
        Ec2Error::parameter(message)
    })?;
    match wanted {
        None => state.free_ipv6(name, subnet.cidr, cidr6, interface.ipv4).ok_or_else(|| {
            let message =
                format!("The specified subnet {name} does not have enough free addresses to satisfy the request.");
            Ec2Error::new("InsufficientFreeAddressesInSubnet", message)
        }),
        Some(address) if !cidr6.contains(&address) => Err(outside(address, name)),
        Some(address) if State::is_reserved6(cidr6, address) => Err(reserved(address, name)),
        Some(address) if state.interfaces.values().any(|other| other.ipv6 == Some(address)) => Err(in_use(address)),
        Some(address) => Ok(address),
    }
}

fn outside(address: impl std::fmt::Display, subnet: &str) -> Ec2Error {
    Ec2Error::parameter(format!("Address {address} does not fall within the subnet's address range ({subnet})"))
}

fn reserved(address: impl std::fmt::Display, subnet: &str) -> Ec2Error {
    Ec2Error::parameter(format!("Address {address} is in the subnet's reserved address range ({subnet})"))
}

fn in_use(address: impl std::fmt::Display) -> Ec2Error {
    Ec2Error::parameter(format!("Address {address} is in use."))
}
