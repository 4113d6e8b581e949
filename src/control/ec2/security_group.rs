//! Security groups: made, shown, deleted.

use super::error::Ec2Error;
use super::id::{GROUP, RULE, VPC};
use super::page::Listing;
use super::permission::{by_name, group, is_plain, plain_texts, show, text};
use super::request::Request;
use super::tag::specified;
use super::xml::Xml;
use super::{Call, Operation};
use crate::control::{Peer, SecurityGroup, SecurityGroupRule, State};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateSecurityGroup",
        &["GroupName", "GroupDescription", "VpcId", "TagSpecification"],
        create_security_group,
    ),
    Operation::write("DeleteSecurityGroup", &["GroupId", "GroupName"], delete_security_group),
    Operation::read(
        "DescribeSecurityGroups",
        &["GroupId", "GroupName", "Filter", "MaxResults", "NextToken"],
        describe_security_groups,
    ),
];

/// The ARN of a group.
fn arn(state: &State, call: &Call<'_>, id: &str) -> String {
    format!("arn:{}:ec2:{}:{}:security-group/{id}", call.partition, call.region, state.account)
}

fn create_security_group(state: &mut State, request: &Request, call: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let name = fields.required("GroupName")?.trim();
    let description = fields.required("GroupDescription")?;
    for (what, text) in [("name", name), ("description", description)] {
        if !is_plain(text) || text.is_empty() {
            let message = format!("Invalid security group {what}. Valid {what}s are {}", plain_texts());
            return Err(Ec2Error::value(message));
        }
    }
    if name.to_ascii_lowercase().starts_with("sg-") {
        let message =
            format!("Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*.");
        return Err(Ec2Error::value(message));
    }
    if name.eq_ignore_ascii_case("default") {
        return Err(Ec2Error::new("InvalidGroup.Reserved", format!("The security group '{name}' is reserved")));
    }
    let default_vpc = || state.vpcs.iter().find(|(_, vpc)| vpc.is_default).map(|(id, _)| id.as_str());
    let vpc_id = fields.text("VpcId").or_else(default_vpc);
    let vpc_id = vpc_id.ok_or_else(|| Ec2Error::new("VPCIdNotSpecified", "No default VPC for this user"))?.to_owned();
    let vpc = VPC.find(&state.vpcs, &vpc_id)?;
    let same = |group: &SecurityGroup| group.vpc == vpc_id && group.name.eq_ignore_ascii_case(name);
    if state.security_groups.values().any(same) {
        let message = format!("The security group '{name}' already exists for VPC '{vpc_id}'");
        return Err(Ec2Error::new("InvalidGroup.Duplicate", message));
    }
    if state.security_groups.len() >= call.options.quotas.security_groups {
        let message = "The maximum number of security groups has been reached.";
        return Err(Ec2Error::new("SecurityGroupLimitExceeded", message));
    }
    let tags = specified(&fields, &GROUP)?;
    // A new group lets everything out, by IPv6 too if the VPC has it.
    let anywhere =
        [Some(Peer::Ipv4(ipnet::Ipv4Net::default())), vpc.cidr6.map(|_| Peer::Ipv6(ipnet::Ipv6Net::default()))];
    let rules = anywhere.into_iter().flatten().map(|peer| SecurityGroupRule {
        id: RULE.fresh(call.random),
        egress: true,
        protocol: "-1".to_owned(),
        from_port: -1,
        to_port: -1,
        peer,
        description: None,
    });
    let rules = rules.collect();
    let id = GROUP.fresh(call.random);
    let group = SecurityGroup { name: name.to_owned(), description: description.to_owned(), vpc: vpc_id, rules };
    state.security_groups.insert(id.clone(), group);
    state.tag(&id, tags, call)?;
    let mut xml = Xml::new();
    xml.text("return", true).text("groupId", &id).text("securityGroupArn", arn(state, call, &id));
    state.show_tags(&mut xml, &id);
    Ok(xml)
}

fn delete_security_group(state: &mut State, request: &Request, _: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let (id, group) = group(state, &request.fields())?;
    if group.is_default() {
        let message = format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user");
        return Err(Ec2Error::new("CannotDelete", message));
    }
    let id = id.to_owned();
    let has = |groups: &[String]| groups.contains(&id);
    let in_use = state.interfaces.values().any(|interface| has(&interface.security_groups))
        || state.endpoints.values().any(|endpoint| has(&endpoint.security_groups));
    let names_it = |rule: &SecurityGroupRule| rule.peer == Peer::Group(id.clone());
    let referenced =
        state.security_groups.iter().any(|(other, group)| *other != id && group.rules.iter().any(names_it));
    if in_use || referenced {
        return Err(Ec2Error::new("DependencyViolation", format!("resource {id} has a dependent object")));
    }
    if let Some(group) = state.security_groups.remove(&id) {
        for rule in group.rules {
            state.tags.remove(&rule.id);
        }
    }
    state.tags.remove(&id);
    let mut xml = Xml::new();
    xml.text("return", true).text("groupId", &id);
    Ok(xml)
}

fn describe_security_groups(state: &State, request: &Request, call: &Call<'_>) -> Result<Xml, Ec2Error> {
    let names = request.fields().list("GroupName")?;
    let named = names.iter().map(|name| by_name(state, name)).collect::<Result<Vec<_>, _>>()?;
    let listing = Listing {
        set: "securityGroupInfo",
        ids: Some(("GroupId", &GROUP)),
        filters: &[
            "description",
            "egress.ip-permission.cidr",
            "egress.ip-permission.from-port",
            "egress.ip-permission.group-id",
            "egress.ip-permission.ipv6-cidr",
            "egress.ip-permission.prefix-list-id",
            "egress.ip-permission.protocol",
            "egress.ip-permission.to-port",
            "group-id",
            "group-name",
            "ip-permission.cidr",
            "ip-permission.from-port",
            "ip-permission.group-id",
            "ip-permission.ipv6-cidr",
            "ip-permission.prefix-list-id",
            "ip-permission.protocol",
            "ip-permission.to-port",
            "ip-permission.user-id",
            "owner-id",
            "vpc-id",
        ],
        least: 5,
    };
    let groups = state.security_groups.iter().map(|(id, group)| (id.as_str(), group));
    listing.answer(
        state,
        request,
        groups.filter(|(id, _)| names.is_empty() || named.contains(id)),
        |id, group, name| match name {
            "description" => vec![group.description.clone()],
            "group-id" => vec![id.to_owned()],
            "group-name" => vec![group.name.clone()],
            "owner-id" => vec![state.account.clone()],
            "vpc-id" => vec![group.vpc.clone()],
            name => {
                let (egress, name) = match name.strip_prefix("egress.") {
                    Some(name) => (true, name),
                    None => (false, name),
                };
                let field = name.strip_prefix("ip-permission.").unwrap_or_default();
                group.direction(egress).filter_map(|rule| permission_value(state, rule, field)).collect()
            }
        },
        |xml, id, group| {
            xml.text("ownerId", &state.account).text("groupId", id).text("groupName", &group.name);
            xml.text("groupDescription", &group.description).text("vpcId", &group.vpc);
            xml.text("securityGroupArn", arn(state, call, id));
            show(xml, state, "ipPermissions", group.direction(false));
            show(xml, state, "ipPermissionsEgress", group.direction(true));
            state.show_tags(xml, id);
        },
    )
}

fn permission_value(state: &State, rule: &SecurityGroupRule, field: &str) -> Option<String> {
    match (field, &rule.peer) {
        ("protocol", _) => Some(rule.protocol.clone()),
        ("from-port", _) => rule.has_ports().then(|| rule.from_port.to_string()),
        ("to-port", _) => rule.has_ports().then(|| rule.to_port.to_string()),
        ("cidr", Peer::Ipv4(_))
        | ("ipv6-cidr", Peer::Ipv6(_))
        | ("prefix-list-id", Peer::PrefixList(_))
        | ("group-id", Peer::Group(_)) => Some(text(&rule.peer)),
        ("user-id", Peer::Group(_)) => Some(state.account.clone()),
        _ => None,
    }
}
