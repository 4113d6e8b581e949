//! Network ACLs: their entries, and which subnet each judges.

use ipnet::IpNet;

use super::error::Ec2Error;
use super::id::{ACL_ASSOCIATION, NETWORK_ACL, VPC};
use super::page::Listing;
use super::request::{Fields, Request};
use super::tag::specified;
use super::xml::Xml;
use super::{Call, Operation, done, token};
use crate::control::{NetworkAcl, NetworkAclEntry, State};

const ENTRY: &[&str] = &[
    "NetworkAclId",
    "RuleNumber",
    "Protocol",
    "RuleAction",
    "Egress",
    "CidrBlock",
    "Ipv6CidrBlock",
    "Icmp",
    "PortRange",
];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read(
        "DescribeNetworkAcls",
        &["NetworkAclId", "Filter", "MaxResults", "NextToken"],
        describe_network_acls,
    ),
    Operation::write("CreateNetworkAcl", &["VpcId", "ClientToken", "TagSpecification"], create_network_acl),
    Operation::write("DeleteNetworkAcl", &["NetworkAclId"], delete_network_acl),
    Operation::write("CreateNetworkAclEntry", ENTRY, create_network_acl_entry),
    Operation::write("ReplaceNetworkAclEntry", ENTRY, replace_network_acl_entry),
    Operation::write("DeleteNetworkAclEntry", &["NetworkAclId", "RuleNumber", "Egress"], delete_network_acl_entry),
    Operation::write(
        "ReplaceNetworkAclAssociation",
        &["AssociationId", "NetworkAclId"],
        replace_network_acl_association,
    ),
];

/// The last entries of every ACL, which deny: the API shows `*` as these numbers, for IPv4 and IPv6.
const LAST: [(u32, &str, &str); 2] = [(32_767, "cidrBlock", "0.0.0.0/0"), (32_768, "ipv6CidrBlock", "::/0")];

fn describe_network_acls(state: &State, request: &Request, _: &Call<'_>) -> Result<Xml, Ec2Error> {
    let listing = Listing {
        set: "networkAclSet",
        ids: Some(("NetworkAclId", &NETWORK_ACL)),
        filters: &[
            "association.association-id",
            "association.network-acl-id",
            "association.subnet-id",
            "default",
            "entry.cidr",
            "entry.egress",
            "entry.ipv6-cidr",
            "entry.protocol",
            "entry.rule-action",
            "entry.rule-number",
            "network-acl-id",
            "owner-id",
            "vpc-id",
        ],
        least: 5,
    };
    listing.answer(
        state,
        request,
        state.network_acls.iter().map(|(id, acl)| (id.as_str(), acl)),
        |id, acl, name| {
            let subnets = || state.subnets.iter().filter(|(_, subnet)| subnet.network_acl == id);
            let entries = |text: fn(&NetworkAclEntry) -> String| acl.entries.iter().map(text).collect();
            match name {
                "association.association-id" => {
                    subnets().map(|(_, subnet)| subnet.network_acl_association.clone()).collect()
                }
                "association.network-acl-id" => subnets().map(|_| id.to_owned()).take(1).collect(),
                "association.subnet-id" => subnets().map(|(id, _)| id.clone()).collect(),
                "default" => vec![acl.is_default.to_string()],
                "entry.cidr" | "entry.ipv6-cidr" => entries(|entry| entry.cidr.to_string()),
                "entry.egress" => entries(|entry| entry.egress.to_string()),
                "entry.protocol" => entries(|entry| entry.protocol.clone()),
                "entry.rule-action" => entries(|entry| action(entry).to_owned()),
                "entry.rule-number" => entries(|entry| entry.number.to_string()),
                "owner-id" => vec![state.account.clone()],
                "vpc-id" => vec![acl.vpc.clone()],
                _ => vec![id.to_owned()],
            }
        },
        |xml, id, acl| show_acl(xml, state, id, acl),
    )
}

const fn action(entry: &NetworkAclEntry) -> &'static str {
    if entry.allow { "allow" } else { "deny" }
}

fn show_acl(xml: &mut Xml, state: &State, id: &str, acl: &NetworkAcl) {
    let ipv6 = state.vpcs.get(&acl.vpc).is_some_and(|vpc| vpc.cidr6.is_some());
    xml.text("networkAclId", id).text("vpcId", &acl.vpc).text("default", acl.is_default);
    xml.text("ownerId", &state.account).element("entrySet", |xml| {
        for egress in [false, true] {
            for entry in acl.entries.iter().filter(|entry| entry.egress == egress) {
                xml.element("item", |xml| show_entry(xml, entry));
            }
            for (number, element, anywhere) in LAST.into_iter().take(if ipv6 { 2 } else { 1 }) {
                xml.element("item", |xml| {
                    xml.text("ruleNumber", number).text("protocol", "-1").text("ruleAction", "deny");
                    xml.text("egress", egress).text(element, anywhere);
                });
            }
        }
    });
    let subnets = state.subnets.iter().filter(|(_, subnet)| subnet.network_acl == id);
    xml.list("associationSet", subnets, |xml, (subnet_id, subnet)| {
        xml.text("networkAclAssociationId", &subnet.network_acl_association);
        xml.text("networkAclId", id).text("subnetId", subnet_id);
    });
    state.show_tags(xml, id);
}

fn show_entry(xml: &mut Xml, entry: &NetworkAclEntry) {
    xml.text("ruleNumber", entry.number).text("protocol", &entry.protocol);
    xml.text("ruleAction", action(entry)).text("egress", entry.egress);
    xml.text(if entry.cidr.addr().is_ipv4() { "cidrBlock" } else { "ipv6CidrBlock" }, entry.cidr);
    if let Some((icmp_type, code)) = entry.icmp {
        xml.element("icmpTypeCode", |xml| {
            xml.text("code", code).text("type", icmp_type);
        });
    }
    if let Some((from, to)) = entry.ports {
        xml.element("portRange", |xml| {
            xml.text("from", from).text("to", to);
        });
    }
}

fn create_network_acl(state: &mut State, request: &Request, call: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let vpc = fields.required("VpcId")?;
    VPC.find(&state.vpcs, vpc)?;
    let tags = specified(&fields, &NETWORK_ACL)?;
    let replayed = token::replayed(state, request, call)?.and_then(|made| made.first().cloned());
    let id = match replayed.filter(|id| state.network_acls.contains_key(id)) {
        Some(id) => id,
        None => {
            let own = state.network_acls.values().filter(|acl| acl.vpc == vpc).count();
            if own >= call.options.quotas.network_acls_per_vpc {
                let message = "The maximum number of network ACLs has been reached.";
                return Err(Ec2Error::new("NetworkAclLimitExceeded", message));
            }
            let id = NETWORK_ACL.fresh(call.random);
            let acl = NetworkAcl { vpc: vpc.to_owned(), is_default: false, entries: Vec::new() };
            state.network_acls.insert(id.clone(), acl);
            state.tag(&id, tags, call)?;
            token::remember(state, request, call, vec![id.clone()]);
            id
        }
    };
    let mut xml = Xml::new();
    let acl = NETWORK_ACL.find(&state.network_acls, &id)?;
    xml.element("networkAcl", |xml| show_acl(xml, state, &id, acl));
    xml.optional("clientToken", fields.text("ClientToken"));
    Ok(xml)
}

fn delete_network_acl(state: &mut State, request: &Request, _: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let id = request.fields().required("NetworkAclId")?.to_owned();
    if NETWORK_ACL.find(&state.network_acls, &id)?.is_default {
        let message = format!("The networkAcl '{id}' is the VPC's default and cannot be deleted by a user");
        return Err(Ec2Error::new("CannotDelete", message));
    }
    if state.subnets.values().any(|subnet| subnet.network_acl == id) {
        let message = format!("The networkAcl '{id}' has dependencies and cannot be deleted.");
        return Err(Ec2Error::new("DependencyViolation", message));
    }
    state.network_acls.remove(&id);
    state.tags.remove(&id);
    Ok(done())
}

/// The protocol's number, and what people write for some of them.
fn protocol(text: &str) -> Result<String, Ec2Error> {
    let number = match text {
        "-1" | "all" => return Ok("-1".to_owned()),
        "tcp" => 6,
        "udp" => 17,
        "icmp" => 1,
        "icmpv6" => 58,
        _ => text
            .parse::<u8>()
            .map_err(|_| Ec2Error::value(format!("Invalid value '{text}' for IP protocol. Unknown protocol.")))?,
    };
    Ok(number.to_string())
}

fn place(fields: &Fields<'_>) -> Result<(u16, bool), Ec2Error> {
    let number = fields.number("RuleNumber")?.ok_or_else(|| Ec2Error::missing("RuleNumber"))?;
    let valid = u16::try_from(number).ok().filter(|number| (1..=32_766).contains(number));
    let invalid = || {
        let message = format!("The rule number {number} must be between 1 and 32766");
        Ec2Error::value(message)
    };
    let egress = fields.flag("Egress")?.ok_or_else(|| Ec2Error::missing("Egress"))?;
    Ok((valid.ok_or_else(invalid)?, egress))
}

fn range(fields: &Fields<'_>) -> Result<IpNet, Ec2Error> {
    let malformed = |text: &str| Ec2Error::value(format!("CIDR block {text} is malformed"));
    match (fields.text("CidrBlock"), fields.text("Ipv6CidrBlock")) {
        (Some(_), Some(_)) => Err(Ec2Error::combination("Only one of CidrBlock and Ipv6CidrBlock may be given")),
        (None, None) => Err(Ec2Error::missing("CidrBlock")),
        (Some(text), None) => text.parse().map(|net| IpNet::V4(net).trunc()).map_err(|_| malformed(text)),
        (None, Some(text)) => text.parse().map(|net| IpNet::V6(net).trunc()).map_err(|_| malformed(text)),
    }
}

fn entry(fields: &Fields<'_>) -> Result<NetworkAclEntry, Ec2Error> {
    let (number, egress) = place(fields)?;
    let protocol = protocol(fields.required("Protocol")?)?;
    let allow = match fields.required("RuleAction")? {
        "allow" => true,
        "deny" => false,
        other => return Err(Ec2Error::value(format!("Invalid value '{other}' for ruleAction. Must be allow or deny"))),
    };
    let cidr = range(fields)?;
    let (mut ports, mut icmp) = (None, None);
    match protocol.as_str() {
        "6" | "17" => {
            let given = fields.inner("PortRange");
            let bound = |name| -> Result<_, Ec2Error> {
                let port = given.number(name)?.ok_or_else(|| Ec2Error::missing(&format!("PortRange.{name}")))?;
                u16::try_from(port)
                    .map_err(|_| Ec2Error::value(format!("Invalid port {port}: must be between 0 and 65535")))
            };
            let (from, to) = (bound("From")?, bound("To")?);
            if from > to {
                return Err(Ec2Error::value(format!("Invalid port range ({from}-{to})")));
            }
            ports = Some((from, to));
        }
        "1" | "58" => {
            if (protocol == "1") != cidr.addr().is_ipv4() {
                let message = "ICMP goes with an IPv4 range and ICMPv6 with an IPv6 range";
                return Err(Ec2Error::combination(message));
            }
            let given = fields.inner("Icmp");
            let bound = |name| -> Result<_, Ec2Error> {
                let value = given.number(name)?.ok_or_else(|| Ec2Error::missing(&format!("Icmp.{name}")))?;
                let valid = i16::try_from(value).ok().filter(|value| (-1..=255).contains(value));
                valid.ok_or_else(|| Ec2Error::value(format!("Invalid ICMP {name} {value}: must be between -1 and 255")))
            };
            let (icmp_type, code) = (bound("Type")?, bound("Code")?);
            if icmp_type == -1 && code != -1 {
                return Err(Ec2Error::value("The ICMP code must be -1 if the type is"));
            }
            icmp = Some((icmp_type, code));
        }
        _ => {}
    }
    Ok(NetworkAclEntry { number, egress, protocol, cidr, allow, ports, icmp })
}

fn create_network_acl_entry(state: &mut State, request: &Request, call: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let acl = NETWORK_ACL.find_mut(&mut state.network_acls, fields.required("NetworkAclId")?)?;
    let entry = entry(&fields)?;
    if acl.entries.iter().any(|other| (other.number, other.egress) == (entry.number, entry.egress)) {
        let message = format!("The network acl entry identified by {} already exists.", entry.number);
        return Err(Ec2Error::new("NetworkAclEntryAlreadyExists", message));
    }
    let family = entry.cidr.addr().is_ipv4();
    let alike = |other: &&NetworkAclEntry| other.egress == entry.egress && other.cidr.addr().is_ipv4() == family;
    if acl.entries.iter().filter(alike).count() >= call.options.quotas.entries_per_network_acl {
        let message = "The maximum number of network acl entries has been reached.";
        return Err(Ec2Error::new("NetworkAclEntryLimitExceeded", message));
    }
    acl.insert(entry);
    Ok(done())
}

fn remove(acl: &mut NetworkAcl, number: u16, egress: bool) -> Result<(), Ec2Error> {
    let before = acl.entries.len();
    acl.entries.retain(|entry| (entry.number, entry.egress) != (number, egress));
    if acl.entries.len() == before {
        let message = format!("The network acl entry identified by {number} does not exist.");
        return Err(Ec2Error::new("InvalidNetworkAclEntry.NotFound", message));
    }
    Ok(())
}

fn replace_network_acl_entry(state: &mut State, request: &Request, _: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let acl = NETWORK_ACL.find_mut(&mut state.network_acls, fields.required("NetworkAclId")?)?;
    let entry = entry(&fields)?;
    remove(acl, entry.number, entry.egress)?;
    acl.insert(entry);
    Ok(done())
}

fn delete_network_acl_entry(state: &mut State, request: &Request, _: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let acl = NETWORK_ACL.find_mut(&mut state.network_acls, fields.required("NetworkAclId")?)?;
    let (number, egress) = place(&fields)?;
    remove(acl, number, egress)?;
    Ok(done())
}

fn replace_network_acl_association(state: &mut State, request: &Request, call: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let association = fields.required("AssociationId")?;
    let id = fields.required("NetworkAclId")?;
    let vpc = &NETWORK_ACL.find(&state.network_acls, id)?.vpc;
    ACL_ASSOCIATION.check(association)?;
    let subnet = state.subnets.values_mut().find(|subnet| subnet.network_acl_association == association);
    let subnet = subnet.ok_or_else(|| ACL_ASSOCIATION.absent(association))?;
    if subnet.vpc != *vpc {
        let message = format!("The networkAcl '{id}' and the subnet belong to different networks.");
        return Err(Ec2Error::parameter(message));
    }
    id.clone_into(&mut subnet.network_acl);
    subnet.network_acl_association = ACL_ASSOCIATION.fresh(call.random);
    let mut xml = Xml::new();
    xml.text("newAssociationId", &subnet.network_acl_association);
    Ok(xml)
}
