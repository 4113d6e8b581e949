//! The endpoint services of the Region: Lambda alone.

use super::error::Ec2Error;
use super::page::Listing;
use super::request::Request;
use super::vpc::associated;
use super::xml::Xml;
use super::{Call, Operation};
use crate::control::State;

pub(super) const OPERATIONS: &[Operation] = &[Operation::read(
    "DescribeVpcEndpointServices",
    &["ServiceName", "ServiceRegion", "Filter", "MaxResults", "NextToken"],
    describe_vpc_endpoint_services,
)];

/// Address types of the endpoint. `ipv6` alone would need IPv6-only subnets, which a lab does not have.
const ADDRESS_TYPES: [&str; 2] = ["ipv4", "dualstack"];

/// Whether the Region has the service now.
pub(super) fn is_offered(call: &Call<'_>) -> bool {
    call.options.as_of.is_none_or(|then| then.offers(call.region))
}

/// Refuses every name that is not the service's. Who gives the API's host name is told what to give.
pub(super) fn check_name(state: &State, name: &str, call: &Call<'_>) -> Result<(), Ec2Error> {
    let service = &state.service;
    let is_host = name == service.host;
    if is_offered(call) && (name == service.name || (is_host && call.options.lenient)) {
        return Ok(());
    }
    let mut message = format!("The Vpc Endpoint Service '{name}' does not exist");
    if is_host {
        message += &format!(". This is the API's host name; the service's name is {}", service.name);
    }
    Err(Ec2Error::new("InvalidServiceName", message))
}

fn describe_vpc_endpoint_services(state: &State, request: &Request, call: &Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let names = fields.list("ServiceName")?;
    for name in &names {
        check_name(state, name, call)?;
    }
    let regions = fields.list("ServiceRegion")?;
    if let Some(other) = regions.iter().find(|region| **region != call.region && **region != "*") {
        return Err(Ec2Error::parameter(format!("The service Region '{other}' is not offered in this Region")));
    }
    let service = &state.service;
    let offered = is_offered(call).then_some((service.name.as_str(), ()));
    let filters = &["owner", "service-name", "service-region", "service-type", "supported-ip-address-types"];
    let listing = Listing { set: "serviceDetailSet", ids: None, filters, least: 1 };
    let selected = listing.select(state, request, offered, |name, (), filter| match filter {
        "owner" => vec!["amazon".to_owned()],
        "service-name" => vec![name.to_owned()],
        "service-region" => vec![call.region.to_owned()],
        "service-type" => vec!["Interface".to_owned()],
        _ => ADDRESS_TYPES.map(str::to_owned).to_vec(),
    })?;
    let mut xml = Xml::new();
    xml.items("serviceNameSet", selected.items.iter().map(|(name, ())| name));
    xml.append(&listing.show(request, &selected, |xml, name, ()| {
        xml.text("serviceName", name).text("serviceId", associated("vpce-svc", &[name]));
        xml.list("serviceType", ["Interface"], |xml, kind| {
            xml.text("serviceType", kind);
        });
        xml.text("serviceRegion", call.region);
        xml.items("availabilityZoneIdSet", state.zones.values().map(|zone| &zone.id));
        xml.items("availabilityZoneSet", state.zones.keys()).text("owner", "amazon");
        xml.items("baseEndpointDnsNameSet", [&service.endpoint_zone]);
        xml.optional("privateDnsName", service.private_dns_names.first());
        xml.list("privateDnsNameSet", &service.private_dns_names, |xml, name| {
            xml.text("privateDnsName", name);
        });
        xml.text("vpcEndpointPolicySupported", true).text("acceptanceRequired", false);
        xml.text("managesVpcEndpoints", false).element("tagSet", |_| {});
        xml.text("privateDnsNameVerificationState", "verified");
        xml.items("supportedIpAddressTypeSet", ADDRESS_TYPES);
    }));
    Ok(xml)
}
