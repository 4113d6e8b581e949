//! Regions, availability zones, VPCs and their attributes, route tables.

use ipnet::IpNet;

use super::error::Ec2Error;
use super::id::{ROUTE_TABLE, VPC, hash, hex};
use super::page::Listing;
use super::request::Request;
use super::xml::Xml;
use super::{Call, Operation, done};
use crate::control::{Route, RouteTable, State, Vpc, Zone};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read("DescribeRegions", &["RegionName", "AllRegions", "Filter"], describe_regions),
    Operation::read(
        "DescribeAvailabilityZones",
        &["ZoneName", "ZoneId", "AllAvailabilityZones", "Filter"],
        describe_availability_zones,
    ),
    Operation::read("DescribeVpcs", &["VpcId", "Filter", "MaxResults", "NextToken"], describe_vpcs),
    Operation::read("DescribeVpcAttribute", &["VpcId", "Attribute"], describe_vpc_attribute),
    Operation::write(
        "ModifyVpcAttribute",
        &["VpcId", "EnableDnsSupport", "EnableDnsHostnames", "EnableNetworkAddressUsageMetrics"],
        modify_vpc_attribute,
    ),
    Operation::write(
        "CreateVpc",
        &["CidrBlock", "InstanceTenancy", "AmazonProvidedIpv6CidrBlock", "TagSpecification"],
        one_vpc,
    ),
    Operation::write("DeleteVpc", &["VpcId"], one_vpc),
    Operation::read(
        "DescribeRouteTables",
        &["RouteTableId", "Filter", "MaxResults", "NextToken"],
        describe_route_tables,
    ),
];

fn one_vpc(_: &mut State, request: &Request, _: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let action = &request.action;
    let message = format!("{action} is not supported: a lab has the one VPC of its topology, as long as it is up.");
    Err(Ec2Error::new("UnsupportedOperation", message))
}

/// What ends an association's or a range's identifier, made from what it belongs to.
pub(super) fn associated(prefix: &str, parts: &[&str]) -> String {
    format!("{prefix}-0{}", &hex(&hash(prefix, parts))[..16])
}

fn describe_regions(state: &State, request: &Request, call: &Call<'_>) -> Result<Xml, Ec2Error> {
    let named = request.fields().list("RegionName")?;
    if let Some(other) = named.iter().find(|name| **name != call.region) {
        return Err(Ec2Error::value(format!("Invalid region names: [{other}]. The lab has {} alone", call.region)));
    }
    let suffix = state.service.endpoint_zone.split_once(".vpce.").map_or("amazonaws.com", |(_, suffix)| suffix);
    let endpoint = format!("ec2.{}.{suffix}", call.region);
    let filters = &["endpoint", "opt-in-status", "region-name"];
    Listing { set: "regionInfo", ids: None, filters, least: 1 }.answer(
        state,
        request,
        [(call.region, ())],
        |region, (), name| {
            vec![match name {
                "endpoint" => endpoint.clone(),
                "region-name" => region.to_owned(),
                _ => "opt-in-not-required".to_owned(),
            }]
        },
        |xml, region, ()| {
            xml.text("regionName", region).text("regionEndpoint", &endpoint).text("optInStatus", "opt-in-not-required");
        },
    )
}

fn describe_availability_zones(state: &State, request: &Request, call: &Call<'_>) -> Result<Xml, Ec2Error> {
    let (names, ids) = (request.fields().list("ZoneName")?, request.fields().list("ZoneId")?);
    for (given, known) in
        [(&names, state.zones.keys().collect::<Vec<_>>()), (&ids, state.zones.values().map(|zone| &zone.id).collect())]
    {
        if let Some(unknown) = given.iter().find(|name| !known.iter().any(|known| known == *name)) {
            return Err(Ec2Error::value(format!("Invalid availability zone: [{unknown}]")));
        }
    }
    let asked = |name: &str, zone: &Zone| {
        (names.is_empty() || names.contains(&name)) && (ids.is_empty() || ids.contains(&zone.id.as_str()))
    };
    let zones = state.zones.iter().filter(|(name, zone)| asked(name, zone));
    let group = format!("{}-zg-1", call.region);
    let filters =
        &["group-name", "message", "opt-in-status", "region-name", "state", "zone-id", "zone-name", "zone-type"];
    Listing { set: "availabilityZoneInfo", ids: None, filters, least: 1 }.answer(
        state,
        request,
        zones.map(|(name, zone)| (name.as_str(), zone)),
        |zone_name, zone, name| {
            vec![match name {
                "group-name" => group.clone(),
                "opt-in-status" => "opt-in-not-required".to_owned(),
                "region-name" => call.region.to_owned(),
                "state" => "available".to_owned(),
                "zone-id" => zone.id.clone(),
                "zone-name" => zone_name.to_owned(),
                "zone-type" => "availability-zone".to_owned(),
                _ => return Vec::new(),
            }]
        },
        |xml, name, zone| {
            xml.text("zoneName", name).text("zoneState", "available").text("regionName", call.region);
            xml.text("zoneId", &zone.id).text("groupName", &group).text("networkBorderGroup", call.region);
            xml.text("optInStatus", "opt-in-not-required").text("zoneType", "availability-zone");
            xml.element("messageSet", |_| {});
        },
    )
}

fn describe_vpcs(state: &State, request: &Request, _: &Call<'_>) -> Result<Xml, Ec2Error> {
    let listing = Listing {
        set: "vpcSet",
        ids: Some(("VpcId", &VPC)),
        filters: &[
            "cidr",
            "cidr-block-association.cidr-block",
            "ipv6-cidr-block-association.ipv6-cidr-block",
            "is-default",
            "isDefault",
            "owner-id",
            "state",
            "vpc-id",
        ],
        least: 5,
    };
    listing.answer(
        state,
        request,
        state.vpcs.iter().map(|(id, vpc)| (id.as_str(), vpc)),
        |id, vpc, name| match name {
            "cidr" | "cidr-block-association.cidr-block" => vec![vpc.cidr.to_string()],
            "ipv6-cidr-block-association.ipv6-cidr-block" => vpc.cidr6.iter().map(ToString::to_string).collect(),
            "is-default" | "isDefault" => vec![vpc.is_default.to_string()],
            "owner-id" => vec![state.account.clone()],
            "state" => vec!["available".to_owned()],
            _ => vec![id.to_owned()],
        },
        |xml, id, vpc| show_vpc(xml, state, id, vpc),
    )
}

fn show_vpc(xml: &mut Xml, state: &State, id: &str, vpc: &Vpc) {
    let associated_state = |xml: &mut Xml| {
        xml.text("state", "associated");
    };
    xml.text("vpcId", id).text("ownerId", &state.account).text("state", "available").text("cidrBlock", vpc.cidr);
    xml.list("cidrBlockAssociationSet", [vpc.cidr], |xml, cidr| {
        xml.text("cidrBlock", cidr).text("associationId", associated("vpc-cidr-assoc", &[id, &cidr.to_string()]));
        xml.element("cidrBlockState", associated_state);
    });
    xml.list("ipv6CidrBlockAssociationSet", vpc.cidr6, |xml, cidr| {
        xml.text("ipv6CidrBlock", cidr).text("associationId", associated("vpc-cidr-assoc", &[id, &cidr.to_string()]));
        xml.element("ipv6CidrBlockState", associated_state).text("ipv6Pool", "Amazon");
    });
    xml.text("dhcpOptionsId", associated("dopt", &[id])).text("instanceTenancy", "default");
    xml.text("isDefault", vpc.is_default);
    state.show_tags(xml, id);
}

fn describe_vpc_attribute(state: &State, request: &Request, _: &Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let id = fields.required("VpcId")?;
    let attribute = fields.required("Attribute")?;
    let vpc = VPC.find(&state.vpcs, id)?;
    let value = match attribute {
        "enableDnsSupport" => vpc.dns_support,
        "enableDnsHostnames" => vpc.dns_hostnames,
        "enableNetworkAddressUsageMetrics" => vpc.address_usage_metrics,
        _ => {
            return Err(Ec2Error::value(format!(
                "Value ({attribute}) for parameter attribute is invalid. Unknown attribute."
            )));
        }
    };
    let mut xml = Xml::new();
    xml.text("vpcId", id).element(attribute, |xml| {
        xml.text("value", value);
    });
    Ok(xml)
}

/// One attribute at a time, as AWS has it.
fn modify_vpc_attribute(state: &mut State, request: &Request, _: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let vpc = VPC.find_mut(&mut state.vpcs, fields.required("VpcId")?)?;
    let mut given = 0;
    for (name, attribute) in [
        ("EnableDnsSupport", &mut vpc.dns_support),
        ("EnableDnsHostnames", &mut vpc.dns_hostnames),
        ("EnableNetworkAddressUsageMetrics", &mut vpc.address_usage_metrics),
    ] {
        if let Some(value) = fields.inner(name).flag("Value")? {
            *attribute = value;
            given += 1;
        }
    }
    match given {
        0 => Err(Ec2Error::missing("EnableDnsSupport, EnableDnsHostnames or EnableNetworkAddressUsageMetrics")),
        1 => Ok(done()),
        _ => Err(Ec2Error::combination("Only one VPC attribute may be modified at a time")),
    }
}

fn describe_route_tables(state: &State, request: &Request, _: &Call<'_>) -> Result<Xml, Ec2Error> {
    let listing = Listing {
        set: "routeTableSet",
        ids: Some(("RouteTableId", &ROUTE_TABLE)),
        filters: &[
            "association.main",
            "association.route-table-association-id",
            "association.route-table-id",
            "association.subnet-id",
            "owner-id",
            "route-table-id",
            "route.destination-cidr-block",
            "route.destination-ipv6-cidr-block",
            "route.gateway-id",
            "route.state",
            "vpc-id",
        ],
        least: 5,
    };
    listing.answer(
        state,
        request,
        state.route_tables.iter().map(|(id, table)| (id.as_str(), table)),
        |id, table, name| {
            let routes = |text: fn(&Route) -> Option<String>| table.routes.iter().filter_map(text).collect();
            match name {
                "association.main" => vec!["true".to_owned()],
                "association.route-table-association-id" => vec![table.main_association.clone()],
                "association.subnet-id" => Vec::new(),
                "owner-id" => vec![state.account.clone()],
                "route.destination-cidr-block" => routes(|route| match route.destination {
                    IpNet::V4(net) => Some(net.to_string()),
                    IpNet::V6(_) => None,
                }),
                "route.destination-ipv6-cidr-block" => routes(|route| match route.destination {
                    IpNet::V4(_) => None,
                    IpNet::V6(net) => Some(net.to_string()),
                }),
                "route.gateway-id" => routes(|route| Some(route.gateway.clone())),
                "route.state" => vec!["active".to_owned()],
                "vpc-id" => vec![table.vpc.clone()],
                _ => vec![id.to_owned()],
            }
        },
        |xml, id, table| show_route_table(xml, state, id, table),
    )
}

fn show_route_table(xml: &mut Xml, state: &State, id: &str, table: &RouteTable) {
    xml.text("routeTableId", id).text("vpcId", &table.vpc).text("ownerId", &state.account);
    xml.list("routeSet", &table.routes, |xml, route| {
        let name = if route.destination.addr().is_ipv4() { "destinationCidrBlock" } else { "destinationIpv6CidrBlock" };
        xml.text(name, route.destination).text("gatewayId", &route.gateway).text("state", "active");
        xml.text("origin", if route.propagated { "EnableVgwRoutePropagation" } else { "CreateRouteTable" });
    });
    xml.list("associationSet", [()], |xml, ()| {
        xml.text("routeTableAssociationId", &table.main_association).text("routeTableId", id).text("main", true);
        xml.element("associationState", |xml| {
            xml.text("state", "associated");
        });
    });
    let mut propagating: Vec<&str> =
        table.routes.iter().filter(|route| route.propagated).map(|route| route.gateway.as_str()).collect();
    propagating.dedup();
    xml.list("propagatingVgwSet", propagating, |xml, gateway| {
        xml.text("gatewayId", gateway);
    });
    state.show_tags(xml, id);
}
