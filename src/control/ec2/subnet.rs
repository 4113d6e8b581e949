//! Subnets.

use super::error::Ec2Error;
use super::id::SUBNET;
use super::page::Listing;
use super::request::Request;
use super::vpc::associated;
use super::xml::Xml;
use super::{Call, Operation};
use crate::control::{State, Subnet};

pub(super) const OPERATIONS: &[Operation] =
    &[Operation::read("DescribeSubnets", &["SubnetId", "Filter", "MaxResults", "NextToken"], describe_subnets)];

/// The identifier of a zone, `use2-az1`.
pub(super) fn zone_id<'s>(state: &'s State, zone: &str) -> &'s str {
    state.zones.get(zone).map_or("", |zone| zone.id.as_str())
}

fn arn(state: &State, call: &Call<'_>, id: &str) -> String {
    format!("arn:{}:ec2:{}:{}:subnet/{id}", call.partition, call.region, state.account)
}

fn describe_subnets(state: &State, request: &Request, call: &Call<'_>) -> Result<Xml, Ec2Error> {
    let listing = Listing {
        set: "subnetSet",
        ids: Some(("SubnetId", &SUBNET)),
        filters: &[
            "availability-zone",
            "availabilityZone",
            "availability-zone-id",
            "availabilityZoneId",
            "available-ip-address-count",
            "cidr-block",
            "cidr",
            "cidrBlock",
            "default-for-az",
            "defaultForAz",
            "ipv6-cidr-block-association.ipv6-cidr-block",
            "ipv6-native",
            "map-public-ip-on-launch",
            "owner-id",
            "state",
            "subnet-arn",
            "subnet-id",
            "vpc-id",
        ],
        least: 5,
    };
    listing.answer(
        state,
        request,
        state.subnets.iter().map(|(id, subnet)| (id.as_str(), subnet)),
        |id, subnet, name| match name {
            "availability-zone" | "availabilityZone" => vec![subnet.zone.clone()],
            "availability-zone-id" | "availabilityZoneId" => vec![zone_id(state, &subnet.zone).to_owned()],
            "available-ip-address-count" => vec![state.available_addresses(id, subnet.cidr).to_string()],
            "cidr-block" | "cidr" | "cidrBlock" => vec![subnet.cidr.to_string()],
            "ipv6-cidr-block-association.ipv6-cidr-block" => subnet.cidr6.iter().map(ToString::to_string).collect(),
            "owner-id" => vec![state.account.clone()],
            "state" => vec!["available".to_owned()],
            "subnet-arn" => vec![arn(state, call, id)],
            "subnet-id" => vec![id.to_owned()],
            "vpc-id" => vec![subnet.vpc.clone()],
            // default-for-az, ipv6-native, map-public-ip-on-launch
            _ => vec!["false".to_owned()],
        },
        |xml, id, subnet| show_subnet(xml, state, call, id, subnet),
    )
}

fn show_subnet(xml: &mut Xml, state: &State, call: &Call<'_>, id: &str, subnet: &Subnet) {
    xml.text("subnetId", id).text("subnetArn", arn(state, call, id)).text("state", "available");
    xml.text("ownerId", &state.account).text("vpcId", &subnet.vpc).text("cidrBlock", subnet.cidr);
    xml.list("ipv6CidrBlockAssociationSet", subnet.cidr6, |xml, cidr| {
        let association = associated("subnet-cidr-assoc", &[id, &cidr.to_string()]);
        xml.text("ipv6CidrBlock", cidr).text("associationId", association);
        xml.element("ipv6CidrBlockState", |xml| {
            xml.text("state", "associated");
        });
    });
    xml.text("availableIpAddressCount", state.available_addresses(id, subnet.cidr));
    xml.text("availabilityZone", &subnet.zone).text("availabilityZoneId", zone_id(state, &subnet.zone));
    xml.text("defaultForAz", false).text("mapPublicIpOnLaunch", false).text("assignIpv6AddressOnCreation", false);
    xml.text("enableDns64", false).text("ipv6Native", false).text("mapCustomerOwnedIpOnLaunch", false);
    xml.element("privateDnsNameOptionsOnLaunch", |xml| {
        xml.text("hostnameType", "ip-name").text("enableResourceNameDnsARecord", false);
        xml.text("enableResourceNameDnsAAAARecord", false);
    });
    state.show_tags(xml, id);
}
