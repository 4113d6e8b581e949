//! Interface endpoints: created and modified.

use super::endpoint::show_endpoint;
use super::endpoint_input::*;
use super::error::Ec2Error;
use super::id::{ENDPOINT, GROUP, SUBNET, VPC};
use super::request::{Fields, Request};
use super::service::check_name;
use super::tag::specified;
use super::xml::Xml;
use super::{Call, Operation, done, id, token};
use crate::control::{DnsRecordIpType, Endpoint, EndpointState, IpAddressType, State};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateVpcEndpoint",
        &[
            "VpcEndpointType",
            "VpcId",
            "ServiceName",
            "ServiceRegion",
            "PolicyDocument",
            "RouteTableId",
            "SubnetId",
            "SubnetConfiguration",
            "SecurityGroupId",
            "IpAddressType",
            "DnsOptions",
            "PrivateDnsEnabled",
            "ClientToken",
            "TagSpecification",
        ],
        create_vpc_endpoint,
    ),
    Operation::write(
        "ModifyVpcEndpoint",
        &[
            "VpcEndpointId",
            "PolicyDocument",
            "ResetPolicy",
            "AddRouteTableId",
            "RemoveRouteTableId",
            "AddSubnetId",
            "RemoveSubnetId",
            "SubnetConfiguration",
            "AddSecurityGroupId",
            "RemoveSecurityGroupId",
            "IpAddressType",
            "DnsOptions",
            "PrivateDnsEnabled",
        ],
        modify_vpc_endpoint,
    ),
];

/// The eight characters behind the identifier in an endpoint's names.
const DNS_TOKEN: usize = 8;

/// Types of endpoints that AWS has and this service does not.
const OTHER_TYPES: [&str; 4] = ["Gateway", "GatewayLoadBalancer", "Resource", "ServiceNetwork"];

/// The type must be the service's. Who names none asks for a gateway endpoint, as on AWS.
fn check_type(fields: &Fields<'_>) -> Result<(), Ec2Error> {
    match fields.text("VpcEndpointType").unwrap_or("Gateway") {
        "Interface" => Ok(()),
        other if OTHER_TYPES.contains(&other) => {
            let message = format!("Endpoint type ({other}) does not match available service types ([Interface]).");
            Err(Ec2Error::parameter(message))
        }
        other => {
            let message = format!("The Vpc Endpoint type '{other}' is not valid");
            Err(Ec2Error::new("InvalidVpcEndpointType", message))
        }
    }
}

fn refuse_route_tables(fields: &Fields<'_>, names: &[&str]) -> Result<(), Ec2Error> {
    for name in names {
        if !fields.list(name)?.is_empty() {
            return Err(Ec2Error::parameter("Route table IDs are only supported for Gateway type VPC Endpoint."));
        }
    }
    Ok(())
}

fn create_vpc_endpoint(state: &mut State, request: &Request, call: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let vpc = fields.required("VpcId")?;
    let service = fields.required("ServiceName")?;
    let replayed = token::replayed(state, request, call)?.and_then(|made| made.first().cloned());
    let id = match replayed.filter(|id| state.endpoints.contains_key(id)) {
        Some(id) => id,
        None => {
            VPC.find(&state.vpcs, vpc)?;
            if let Some(other) = fields.text("ServiceRegion").filter(|region| *region != call.region) {
                let message = format!("The service Region '{other}' is not offered in this Region");
                return Err(Ec2Error::parameter(message));
            }
            check_name(state, service, call)?;
            check_type(&fields)?;
            refuse_route_tables(&fields, &["RouteTableId"])?;
            let id = create(state, &fields, vpc, call)?;
            token::remember(state, request, call, vec![id.clone()]);
            id
        }
    };
    let endpoint = ENDPOINT.find(&state.endpoints, &id)?;
    let mut xml = Xml::new();
    xml.element("vpcEndpoint", |xml| show_endpoint(xml, state, call, &id, endpoint));
    xml.optional("clientToken", fields.text("ClientToken"));
    Ok(xml)
}

fn create(state: &mut State, fields: &Fields<'_>, vpc: &str, call: &mut Call<'_>) -> Result<String, Ec2Error> {
    let tags = specified(fields, &ENDPOINT)?;
    let policy = fields.text("PolicyDocument").map(|text| policy(text, call)).transpose()?;
    let addresses = ip_address_type(fields)?.unwrap_or(IpAddressType::Ipv4);
    let records = dns_record_ip_type(fields)?.unwrap_or_else(|| usual_records(addresses));
    check_record_type(addresses, records)?;
    let mut groups = Vec::new();
    add_groups(state, vpc, &fields.list("SecurityGroupId")?, &mut groups)?;
    if groups.is_empty() {
        groups.extend(state.default_group(vpc).map(str::to_owned));
    }
    check_groups(&groups, call)?;
    if state.endpoints.values().filter(|endpoint| endpoint.vpc == vpc).count() >= call.options.quotas.endpoints_per_vpc
    {
        let message = "The maximum number of VPC endpoints has been reached.";
        return Err(Ec2Error::new("VpcEndpointLimitExceeded", message));
    }
    let private_dns = fields.flag("PrivateDnsEnabled")?.unwrap_or(true);
    if private_dns {
        check_private_dns(state, vpc, None)?;
    }
    let id = ENDPOINT.fresh(call.random);
    let mut random = [0; DNS_TOKEN];
    (call.random)(&mut random);
    let mut endpoint = Endpoint {
        vpc: vpc.to_owned(),
        dns_token: id::token(DNS_TOKEN, random),
        state: EndpointState::Pending,
        interfaces: Vec::new(),
        security_groups: groups,
        private_dns,
        policy,
        ip_address_type: addresses,
        dns_record_ip_type: records,
        created: call.now.millis(),
    };
    for place in places(fields, "SubnetId")? {
        add_interface(state, &id, &mut endpoint, &place, call)?;
    }
    state.endpoints.insert(id.clone(), endpoint);
    state.tag(&id, tags, call)?;
    Ok(id)
}

const fn usual_records(addresses: IpAddressType) -> DnsRecordIpType {
    match addresses {
        IpAddressType::Ipv4 => DnsRecordIpType::Ipv4,
        IpAddressType::Dualstack => DnsRecordIpType::Dualstack,
    }
}

fn modify_vpc_endpoint(state: &mut State, request: &Request, call: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let id = fields.required("VpcEndpointId")?;
    let before = ENDPOINT.find(&state.endpoints, id)?.clone();
    let interfaces = state.interfaces.clone();
    if before.state == EndpointState::Deleting {
        let message = format!("The Vpc Endpoint '{id}' is being deleted and cannot be modified");
        return Err(Ec2Error::new("IncorrectState", message));
    }
    refuse_route_tables(&fields, &["AddRouteTableId", "RemoveRouteTableId"])?;
    let mut endpoint = before.clone();
    modify_policy(&fields, &mut endpoint, call)?;
    modify_groups(state, &fields, &mut endpoint, call)?;
    remove_subnets(state, &fields, &mut endpoint)?;
    modify_addresses(state, &fields, &mut endpoint)?;
    add_subnets(state, &fields, id, &mut endpoint, call)?;
    if let Some(private_dns) = fields.flag("PrivateDnsEnabled")? {
        if private_dns && !endpoint.private_dns {
            check_private_dns(state, &endpoint.vpc, Some(id))?;
        }
        endpoint.private_dns = private_dns;
    }
    if endpoint != before || state.interfaces != interfaces {
        endpoint.state = EndpointState::Pending;
        state.endpoints.insert(id.to_owned(), endpoint);
    }
    Ok(done())
}

fn modify_policy(fields: &Fields<'_>, endpoint: &mut Endpoint, call: &Call<'_>) -> Result<(), Ec2Error> {
    let reset = fields.flag("ResetPolicy")?.unwrap_or(false);
    match (fields.text("PolicyDocument"), reset) {
        (Some(_), true) => Err(Ec2Error::combination("PolicyDocument and ResetPolicy may not be used together")),
        (Some(text), false) => {
            endpoint.policy = Some(policy(text, call)?);
            Ok(())
        }
        (None, true) => {
            endpoint.policy = None;
            Ok(())
        }
        (None, false) => Ok(()),
    }
}

fn modify_groups(
    state: &mut State,
    fields: &Fields<'_>,
    endpoint: &mut Endpoint,
    call: &Call<'_>,
) -> Result<(), Ec2Error> {
    let (add, remove) = (fields.list("AddSecurityGroupId")?, fields.list("RemoveSecurityGroupId")?);
    if add.is_empty() && remove.is_empty() {
        return Ok(());
    }
    let mut groups = endpoint.security_groups.clone();
    for id in remove {
        GROUP.check(id)?;
        let place = groups.iter().position(|own| own == id);
        let absent = || Ec2Error::parameter(format!("The security group {id} is not associated with the VPC endpoint"));
        groups.remove(place.ok_or_else(absent)?);
    }
    add_groups(state, &endpoint.vpc, &add, &mut groups)?;
    if groups.is_empty() {
        return Err(Ec2Error::parameter("An interface endpoint must have at least one security group"));
    }
    check_groups(&groups, call)?;
    for interface in &endpoint.interfaces {
        if let Some(interface) = state.interfaces.get_mut(interface) {
            interface.security_groups.clone_from(&groups);
        }
    }
    endpoint.security_groups = groups;
    Ok(())
}

/// Subnets that go make room for those that come.
fn remove_subnets(state: &mut State, fields: &Fields<'_>, endpoint: &mut Endpoint) -> Result<(), Ec2Error> {
    for subnet in fields.list("RemoveSubnetId")? {
        SUBNET.find(&state.subnets, subnet)?;
        let held = |interface: &String| state.interfaces.get(interface).is_some_and(|held| held.subnet == subnet);
        let place = endpoint.interfaces.iter().position(held);
        let absent = || Ec2Error::parameter(format!("The subnet {subnet} is not associated with the VPC endpoint"));
        let interface = endpoint.interfaces.remove(place.ok_or_else(absent)?);
        state.remove_interface(&interface);
    }
    Ok(())
}

/// An address stays as long as its interface does.
fn add_subnets(
    state: &mut State,
    fields: &Fields<'_>,
    id: &str,
    endpoint: &mut Endpoint,
    call: &mut Call<'_>,
) -> Result<(), Ec2Error> {
    let listed = fields.list("AddSubnetId")?;
    for place in places(fields, "AddSubnetId")? {
        let held = state.interfaces_of(endpoint).find(|(_, interface)| interface.subnet == place.subnet);
        match held.map(|(_, interface)| (interface.ipv4, interface.ipv6)) {
            // A configuration that says what is so already changes nothing.
            Some((ipv4, ipv6)) if !listed.contains(&place.subnet) => {
                let same = place.ipv4.is_none_or(|wanted| wanted == ipv4)
                    && place.ipv6.is_none_or(|wanted| Some(wanted) == ipv6);
                if !same {
                    let advice = "remove the subnet first, then add it with another address";
                    let message = format!("The address of the interface in {} is fixed: {advice}", place.subnet);
                    return Err(Ec2Error::parameter(message));
                }
            }
            _ => add_interface(state, id, endpoint, &place, call)?,
        }
    }
    Ok(())
}

fn modify_addresses(state: &mut State, fields: &Fields<'_>, endpoint: &mut Endpoint) -> Result<(), Ec2Error> {
    let addresses = ip_address_type(fields)?.unwrap_or(endpoint.ip_address_type);
    let records = match dns_record_ip_type(fields)? {
        Some(records) => records,
        None if addresses != endpoint.ip_address_type => usual_records(addresses),
        None => endpoint.dns_record_ip_type,
    };
    check_record_type(addresses, records)?;
    if addresses != endpoint.ip_address_type {
        for id in &endpoint.interfaces {
            let Some(interface) = state.interfaces.get(id).cloned() else { continue };
            let ipv6 = match addresses {
                IpAddressType::Ipv4 => None,
                IpAddressType::Dualstack if interface.ipv6.is_some() => interface.ipv6,
                IpAddressType::Dualstack => Some(ipv6_for(state, &interface, None)?),
            };
            if let Some(interface) = state.interfaces.get_mut(id) {
                interface.ipv6 = ipv6;
            }
        }
    }
    endpoint.ip_address_type = addresses;
    endpoint.dns_record_ip_type = records;
    Ok(())
}
