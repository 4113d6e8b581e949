//! Interface endpoints: shown and deleted.

use super::error::Ec2Error;
use super::id::{ENDPOINT, hash, token};
use super::network_interface::show_groups;
use super::page::Listing;
use super::request::Request;
use super::xml::Xml;
use super::{Call, Operation, date, show_unsuccessful};
use crate::control::{Endpoint, EndpointState, State};
use crate::policy::FULL_ACCESS_DOCUMENT;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read(
        "DescribeVpcEndpoints",
        &["VpcEndpointId", "Filter", "MaxResults", "NextToken"],
        describe_vpc_endpoints,
    ),
    Operation::write("DeleteVpcEndpoints", &["VpcEndpointId"], delete_vpc_endpoints),
];

/// Hosted zones of endpoints' own names, as far as AWS documents them.
const HOSTED_ZONES: [(&str, &str); 2] = [("us-east-1", "Z7HUB22UULQXV"), ("us-east-2", "ZC8PG0KIFKBRI")];

fn hosted_zone(region: &str) -> String {
    match HOSTED_ZONES.iter().find(|(known, _)| *known == region) {
        Some((_, zone)) => (*zone).to_owned(),
        None => private_zone(12, &[region]),
    }
}

/// The identifier of a hosted zone that is not known.
fn private_zone(length: usize, parts: &[&str]) -> String {
    format!("Z{}", token(length, hash("hosted zone", parts)).to_ascii_uppercase())
}

/// The names that lead to an endpoint, each with its hosted zone: the regional one, the zones', private ones.
fn dns_entries(state: &State, region: &str, id: &str, endpoint: &Endpoint) -> Vec<(String, String)> {
    let (service, base) = (&state.service, format!("{id}-{}", endpoint.dns_token));
    let own_zone = hosted_zone(region);
    let mut entries = vec![(format!("{base}.{}", service.endpoint_zone), own_zone.clone())];
    for (_, interface) in state.interfaces_of(endpoint) {
        if let Some(subnet) = state.subnets.get(&interface.subnet) {
            entries.push((format!("{base}-{}.{}", subnet.zone, service.endpoint_zone), own_zone.clone()));
        }
    }
    if endpoint.private_dns {
        let private = service.private_dns_names.iter();
        entries.extend(private.map(|name| (name.clone(), private_zone(20, &[&endpoint.vpc, name]))));
    }
    entries
}

/// The elements of an endpoint.
pub(super) fn show_endpoint(xml: &mut Xml, state: &State, call: &Call<'_>, id: &str, endpoint: &Endpoint) {
    xml.text("vpcEndpointId", id).text("vpcEndpointType", "Interface").text("vpcId", &endpoint.vpc);
    xml.text("serviceName", &state.service.name).text("serviceRegion", call.region);
    xml.text("state", endpoint.state.name());
    xml.text("policyDocument", endpoint.policy.as_deref().unwrap_or(FULL_ACCESS_DOCUMENT));
    xml.items::<&str>("routeTableIdSet", []);
    xml.items("subnetIdSet", state.interfaces_of(endpoint).map(|(_, interface)| &interface.subnet));
    show_groups(xml, state, &endpoint.security_groups);
    xml.text("ipAddressType", endpoint.ip_address_type.name());
    xml.element("dnsOptions", |xml| {
        xml.text("dnsRecordIpType", endpoint.dns_record_ip_type.name());
    });
    xml.text("privateDnsEnabled", endpoint.private_dns).text("requesterManaged", false);
    xml.items("networkInterfaceIdSet", &endpoint.interfaces);
    xml.list("dnsEntrySet", dns_entries(state, call.region, id, endpoint), |xml, (name, zone)| {
        xml.text("dnsName", name).text("hostedZoneId", zone);
    });
    xml.text("creationTimestamp", date(endpoint.created));
    state.show_tags(xml, id);
    xml.text("ownerId", &state.account);
}

fn describe_vpc_endpoints(state: &State, request: &Request, call: &Call<'_>) -> Result<Xml, Ec2Error> {
    let listing = Listing {
        set: "vpcEndpointSet",
        ids: Some(("VpcEndpointId", &ENDPOINT)),
        filters: &[
            "ip-address-type",
            "service-name",
            "service-region",
            "vpc-endpoint-id",
            "vpc-endpoint-state",
            "vpc-endpoint-type",
            "vpc-id",
        ],
        least: 1,
    };
    listing.answer(
        state,
        request,
        state.endpoints.iter().map(|(id, endpoint)| (id.as_str(), endpoint)),
        |id, endpoint, name| {
            vec![match name {
                "ip-address-type" => endpoint.ip_address_type.name().to_owned(),
                "service-name" => state.service.name.clone(),
                "service-region" => call.region.to_owned(),
                "vpc-endpoint-state" => endpoint.state.name().to_owned(),
                "vpc-endpoint-type" => "Interface".to_owned(),
                "vpc-id" => endpoint.vpc.clone(),
                _ => id.to_owned(),
            }]
        },
        |xml, id, endpoint| show_endpoint(xml, state, call, id, endpoint),
    )
}

/// Endpoints stay, deleting, until the data plane gave them back.
fn delete_vpc_endpoints(state: &mut State, request: &Request, _: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let mut unsuccessful = Vec::new();
    for id in request.fields().required_list("VpcEndpointId")? {
        match ENDPOINT.find_mut(&mut state.endpoints, id) {
            Ok(endpoint) => endpoint.state = EndpointState::Deleting,
            Err(error) => unsuccessful.push((id, error)),
        }
    }
    let mut xml = Xml::new();
    show_unsuccessful(&mut xml, &unsuccessful);
    Ok(xml)
}
