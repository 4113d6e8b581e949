//! Rules of security groups: authorized, revoked, changed, shown.

use super::error::Ec2Error;
use super::id::{GROUP, RULE};
use super::page::Listing;
use super::permission::{description, group, requested, rules, show, text, wording};
use super::request::Request;
use super::tag::specified;
use super::xml::Xml;
use super::{Call, Operation, done};
use crate::control::{Peer, SecurityGroup, SecurityGroupRule, State};

const AUTHORIZE: &[&str] = &[
    "GroupId",
    "GroupName",
    "IpPermissions",
    "IpProtocol",
    "FromPort",
    "ToPort",
    "CidrIp",
    "SourceSecurityGroupName",
    "SourceSecurityGroupOwnerId",
    "TagSpecification",
];
const REVOKE: &[&str] = &[
    "GroupId",
    "GroupName",
    "IpPermissions",
    "IpProtocol",
    "FromPort",
    "ToPort",
    "CidrIp",
    "SourceSecurityGroupName",
    "SourceSecurityGroupOwnerId",
    "SecurityGroupRuleId",
];
const DESCRIPTIONS: &[&str] = &["GroupId", "GroupName", "IpPermissions", "SecurityGroupRuleDescription"];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("AuthorizeSecurityGroupIngress", AUTHORIZE, |s, r, c| authorize(s, r, c, false)),
    Operation::write("AuthorizeSecurityGroupEgress", AUTHORIZE, |s, r, c| authorize(s, r, c, true)),
    Operation::write("RevokeSecurityGroupIngress", REVOKE, |s, r, _| revoke(s, r, false)),
    Operation::write("RevokeSecurityGroupEgress", REVOKE, |s, r, _| revoke(s, r, true)),
    Operation::write("UpdateSecurityGroupRuleDescriptionsIngress", DESCRIPTIONS, |s, r, _| describe_anew(s, r, false)),
    Operation::write("UpdateSecurityGroupRuleDescriptionsEgress", DESCRIPTIONS, |s, r, _| describe_anew(s, r, true)),
    Operation::write("ModifySecurityGroupRules", &["GroupId", "SecurityGroupRule"], modify),
    Operation::read(
        "DescribeSecurityGroupRules",
        &["SecurityGroupRuleId", "Filter", "MaxResults", "NextToken"],
        describe_security_group_rules,
    ),
];

/// What no request may leave behind: a rule twice, or more rules than there may be.
fn check(state: &State, group: &SecurityGroup, call: &Call<'_>) -> Result<(), Ec2Error> {
    for (place, rule) in group.rules.iter().enumerate() {
        if group.rules[..place].iter().any(|other| other.is_same(rule)) {
            let message = format!("the specified rule \"{}\" already exists", wording(rule));
            return Err(Ec2Error::new("InvalidPermission.Duplicate", message));
        }
    }
    for egress in [false, true] {
        let weights = group.direction(egress).map(|rule| weight(state, &rule.peer));
        let (v4, v6) = weights.fold((0, 0), |sum, weight| (sum.0 + weight.0, sum.1 + weight.1));
        let quota = call.options.quotas.rules_per_group;
        if v4 > quota || v6 > quota {
            let message = "The maximum number of rules per security group has been reached.";
            return Err(Ec2Error::new("RulesPerSecurityGroupLimitExceeded", message));
        }
    }
    Ok(())
}

/// What a rule counts for IPv4 and for IPv6: a referenced group one in each, a prefix list its size (VPC quotas).
fn weight(state: &State, peer: &Peer) -> (usize, usize) {
    match peer {
        Peer::Ipv4(_) => (1, 0),
        Peer::Ipv6(_) => (0, 1),
        Peer::Group(_) => (1, 1),
        Peer::PrefixList(id) => state.prefix_lists.get(id).map_or((0, 0), |list| {
            let v4 = list.entries.iter().filter(|entry| entry.cidr.addr().is_ipv4()).count();
            // Nothing weighs nothing: there would be no end to the rules of an empty list.
            if list.entries.is_empty() { (1, 1) } else { (v4, list.entries.len() - v4) }
        }),
    }
}

fn replace(state: &mut State, id: &str, group: SecurityGroup, call: &Call<'_>) -> Result<(), Ec2Error> {
    check(state, &group, call)?;
    state.security_groups.insert(id.to_owned(), group);
    Ok(())
}

fn authorize(state: &mut State, request: &Request, call: &mut Call<'_>, egress: bool) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let (id, group) = group(state, &fields)?;
    let (id, mut group) = (id.to_owned(), group.clone());
    let mut new = rules(state, request, egress)?;
    if new.is_empty() {
        return Err(Ec2Error::missing("ipPermissions"));
    }
    let tags = specified(&fields, &RULE)?;
    for rule in &mut new {
        rule.id = RULE.fresh(call.random);
        group.rules.push(rule.clone());
        // So many are too many, whatever their direction and family.
        if group.rules.len() > 4 * call.options.quotas.rules_per_group {
            break;
        }
    }
    replace(state, &id, group, call)?;
    for rule in &new {
        state.tag(&rule.id, tags.clone(), call)?;
    }
    let mut xml = done();
    xml.list("securityGroupRuleSet", &new, |xml, rule| show_rule(xml, state, call, &id, rule));
    Ok(xml)
}

fn revoke(state: &mut State, request: &Request, egress: bool) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let (id, group) = group(state, &fields)?;
    let (id, mut group) = (id.to_owned(), group.clone());
    let ids = fields.list("SecurityGroupRuleId")?;
    let permissions = rules(state, request, egress)?;
    if ids.is_empty() && permissions.is_empty() {
        return Err(Ec2Error::missing("ipPermissions or securityGroupRuleIds"));
    }
    if !ids.is_empty() && !permissions.is_empty() {
        return Err(Ec2Error::combination("ipPermissions and securityGroupRuleIds may not be used together"));
    }
    let (mut revoked, mut unknown) = (Vec::new(), Vec::new());
    for rule_id in ids {
        RULE.check(rule_id)?;
        let place = group.rules.iter().position(|rule| rule.id == rule_id && rule.egress == egress);
        revoked.push(group.rules.remove(place.ok_or_else(|| RULE.absent(rule_id))?));
    }
    for permission in permissions {
        match group.rules.iter().position(|rule| rule.is_same(&permission)) {
            Some(place) => revoked.push(group.rules.remove(place)),
            None => unknown.push(permission),
        }
    }
    // In a default VPC what is unknown is only told.
    let in_default = state.vpcs.get(&group.vpc).is_some_and(|vpc| vpc.is_default);
    if !unknown.is_empty() && !in_default {
        let message = "The specified rule does not exist in this security group.";
        return Err(Ec2Error::new("InvalidPermission.NotFound", message));
    }
    for rule in &revoked {
        state.tags.remove(&rule.id);
    }
    state.security_groups.insert(id.clone(), group);
    let mut xml = done();
    show(&mut xml, state, "unknownIpPermissionSet", unknown.iter());
    xml.list("revokedSecurityGroupRuleSet", &revoked, |xml, rule| {
        xml.text("securityGroupRuleId", &rule.id).text("groupId", &id).text("isEgress", rule.egress);
        xml.text("ipProtocol", &rule.protocol).text("fromPort", rule.from_port).text("toPort", rule.to_port);
        let peer = match &rule.peer {
            Peer::Ipv4(_) => "cidrIpv4",
            Peer::Ipv6(_) => "cidrIpv6",
            Peer::PrefixList(_) => "prefixListId",
            Peer::Group(_) => "referencedGroupId",
        };
        xml.text(peer, text(&rule.peer)).optional("description", rule.description.as_ref());
    });
    Ok(xml)
}

fn describe_anew(state: &mut State, request: &Request, egress: bool) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let (id, group) = group(state, &fields)?;
    let (id, mut group) = (id.to_owned(), group.clone());
    let permissions = rules(state, request, egress)?;
    let by_id = fields.structures("SecurityGroupRuleDescription")?;
    match (permissions.is_empty(), by_id.is_empty()) {
        (true, true) => return Err(Ec2Error::missing("ipPermissions or securityGroupRuleDescriptions")),
        (false, false) => {
            let message = "ipPermissions and securityGroupRuleDescriptions may not be used together";
            return Err(Ec2Error::combination(message));
        }
        _ => {}
    }
    for permission in permissions {
        let found = group.rules.iter_mut().find(|rule| rule.is_same(&permission));
        let found = found.ok_or_else(|| {
            let message = "The specified rule does not exist in this security group.";
            Ec2Error::new("InvalidPermission.NotFound", message)
        })?;
        found.description = permission.description;
    }
    for one in by_id {
        let rule_id = one.required("SecurityGroupRuleId")?;
        RULE.check(rule_id)?;
        let found = group.rules.iter_mut().find(|rule| rule.id == rule_id && rule.egress == egress);
        found.ok_or_else(|| RULE.absent(rule_id))?.description = description(&one)?;
    }
    state.security_groups.insert(id, group);
    Ok(done())
}

fn modify(state: &mut State, request: &Request, call: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let id = fields.required("GroupId")?;
    let mut group = GROUP.find(&state.security_groups, id)?.clone();
    let updates = fields.structures("SecurityGroupRule")?;
    if updates.is_empty() {
        return Err(Ec2Error::missing("SecurityGroupRule"));
    }
    for update in updates {
        let rule_id = update.required("SecurityGroupRuleId")?;
        RULE.check(rule_id)?;
        let place = group.rules.iter().position(|rule| rule.id == rule_id).ok_or_else(|| RULE.absent(rule_id))?;
        let egress = group.rules[place].egress;
        let rule = requested(state, &update.inner("SecurityGroupRule"), egress)?;
        group.rules[place] = SecurityGroupRule { id: rule_id.to_owned(), ..rule };
    }
    replace(state, id, group, call)?;
    Ok(done())
}

fn show_rule(xml: &mut Xml, state: &State, call: &Call<'_>, group: &str, rule: &SecurityGroupRule) {
    xml.text("securityGroupRuleId", &rule.id).text("groupId", group).text("groupOwnerId", &state.account);
    xml.text("isEgress", rule.egress).text("ipProtocol", &rule.protocol);
    xml.text("fromPort", rule.from_port).text("toPort", rule.to_port);
    match &rule.peer {
        Peer::Ipv4(net) => xml.text("cidrIpv4", net),
        Peer::Ipv6(net) => xml.text("cidrIpv6", net),
        Peer::PrefixList(id) => xml.text("prefixListId", id),
        Peer::Group(id) => xml.element("referencedGroupInfo", |xml| {
            let vpc = state.security_groups.get(id).map(|group| &group.vpc);
            xml.text("groupId", id).text("userId", &state.account).optional("vpcId", vpc);
        }),
    };
    xml.optional("description", rule.description.as_ref());
    state.show_tags(xml, &rule.id);
    let arn = format!("arn:{}:ec2:{}:{}:security-group-rule/{}", call.partition, call.region, state.account, rule.id);
    xml.text("securityGroupRuleArn", arn);
}

fn describe_security_group_rules(state: &State, request: &Request, call: &Call<'_>) -> Result<Xml, Ec2Error> {
    let listing = Listing {
        set: "securityGroupRuleSet",
        ids: Some(("SecurityGroupRuleId", &RULE)),
        filters: &["group-id", "security-group-rule-id"],
        least: 5,
    };
    let groups = state.security_groups.iter();
    let all = groups.flat_map(|(group, held)| held.rules.iter().map(move |rule| (rule.id.as_str(), (group, rule))));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(id, _)| *id);
    listing.answer(
        state,
        request,
        all,
        |id, (group, _), name| vec![if name == "group-id" { (*group).clone() } else { id.to_owned() }],
        |xml, _, (group, rule)| show_rule(xml, state, call, group, rule),
    )
}
