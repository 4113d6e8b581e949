//! `IpPermissions` and the flat old form: what a security-group call says of traffic and its other side.

use ipnet::{Ipv4Net, Ipv6Net};

use super::error::Ec2Error;
use super::id::{GROUP, PREFIX_LIST};
use super::request::{Fields, Request};
use super::xml::Xml;
use crate::control::{Peer, SecurityGroup, SecurityGroupRule, State};

/// What names, descriptions of groups and those of rules are made of, beside letters and digits.
const PUNCTUATION: &str = ". _-:/()#,@[]+=&;{}!$*";

/// Whether a text is one that security groups take: at most 255 characters of AWS's set.
pub(super) fn is_plain(text: &str) -> bool {
    text.len() <= 255 && text.chars().all(|c| c.is_ascii_alphanumeric() || PUNCTUATION.contains(c))
}

/// Such texts, in AWS's words.
pub(super) fn plain_texts() -> String {
    format!("strings less than 256 characters from the following set:  a-zA-Z0-9{PUNCTUATION}")
}

/// A rule's description, checked. An empty one is none.
pub(super) fn description(fields: &Fields<'_>) -> Result<Option<String>, Ec2Error> {
    let Some(text) = fields.text("Description").filter(|text| !text.is_empty()) else { return Ok(None) };
    if !is_plain(text) {
        return Err(Ec2Error::value(format!("Invalid rule description. Valid descriptions are {}", plain_texts())));
    }
    Ok(Some(text.to_owned()))
}

/// The group that a call is about, by `GroupId`, or in a default VPC by `GroupName`.
pub(super) fn group<'s>(state: &'s State, fields: &Fields<'_>) -> Result<(&'s str, &'s SecurityGroup), Ec2Error> {
    let id = match (fields.text("GroupId"), fields.text("GroupName")) {
        (Some(_), Some(_)) => return Err(Ec2Error::combination("Only one of groupId and groupName may be given")),
        (Some(id), None) => id,
        (None, Some(name)) => by_name(state, name)?,
        (None, None) => return Err(Ec2Error::missing("groupName or groupId")),
    };
    GROUP.check(id)?;
    state.security_groups.get_key_value(id).map(|(id, group)| (id.as_str(), group)).ok_or_else(|| GROUP.absent(id))
}

/// Names stand for groups of the default VPC alone.
pub(super) fn by_name<'s>(state: &'s State, name: &str) -> Result<&'s str, Ec2Error> {
    let vpc = state.vpcs.iter().find(|(_, vpc)| vpc.is_default).map(|(id, _)| id);
    let vpc = vpc.ok_or_else(|| Ec2Error::new("VPCIdNotSpecified", "No default VPC for this user"))?;
    let found = state.security_groups.iter().find(|(_, group)| group.vpc == *vpc && group.name == name);
    found.map(|(id, _)| id.as_str()).ok_or_else(|| {
        let message = format!("The security group '{name}' does not exist in default VPC '{vpc}'");
        Ec2Error::new("InvalidGroup.NotFound", message)
    })
}

/// The rules that a request gives in either form, without identifiers. None: it gives none.
pub(super) fn rules(state: &State, request: &Request, egress: bool) -> Result<Vec<SecurityGroupRule>, Ec2Error> {
    let fields = request.fields();
    let permissions = fields.structures("IpPermissions")?;
    let flat = ["IpProtocol", "FromPort", "ToPort", "CidrIp", "SourceSecurityGroupName"];
    let is_flat = flat.iter().any(|name| fields.text(name).is_some());
    if is_flat && !permissions.is_empty() {
        return Err(Ec2Error::combination(
            "The parameter ipPermissions may not be used with ipProtocol, fromPort, toPort or cidrIp",
        ));
    }
    let mut rules = Vec::new();
    if is_flat {
        let peer = match (fields.text("CidrIp"), fields.text("SourceSecurityGroupName")) {
            (Some(cidr), None) => ipv4(cidr)?,
            (None, Some(name)) => Peer::Group(by_name(state, name)?.to_owned()),
            (Some(_), Some(_)) => {
                return Err(Ec2Error::combination("Only one of cidrIp and sourceSecurityGroupName may be given"));
            }
            (None, None) => return Err(Ec2Error::missing("cidrIp")),
        };
        rules.push(rule(&fields, egress, peer, None)?);
    }
    for permission in permissions {
        let before = rules.len();
        for range in permission.structures("IpRanges")? {
            rules.push(rule(&permission, egress, ipv4(range.required("CidrIp")?)?, description(&range)?)?);
        }
        for range in permission.structures("Ipv6Ranges")? {
            rules.push(rule(&permission, egress, ipv6(range.required("CidrIpv6")?)?, description(&range)?)?);
        }
        for list in permission.structures("PrefixListIds")? {
            let id = list.required("PrefixListId")?;
            PREFIX_LIST.find(&state.prefix_lists, id)?;
            rules.push(rule(&permission, egress, Peer::PrefixList(id.to_owned()), description(&list)?)?);
        }
        for other in permission.structures("Groups")? {
            if let Some(user) = other.text("UserId").filter(|user| *user != state.account) {
                let message = format!("You have specified a security group of account '{user}', whose VPC is no peer");
                return Err(Ec2Error::new("InvalidGroup.NotFound", message));
            }
            let (id, _) = group(state, &other)?;
            rules.push(rule(&permission, egress, Peer::Group(id.to_owned()), description(&other)?)?);
        }
        if rules.len() == before {
            return Err(Ec2Error::missing("ipRanges, ipv6Ranges, prefixListIds or groups"));
        }
    }
    Ok(rules)
}

/// The rule of `SecurityGroupRuleRequest`, without an identifier.
pub(super) fn requested(state: &State, fields: &Fields<'_>, egress: bool) -> Result<SecurityGroupRule, Ec2Error> {
    let mut peers = Vec::new();
    if let Some(cidr) = fields.text("CidrIpv4") {
        peers.push(ipv4(cidr)?);
    }
    if let Some(cidr) = fields.text("CidrIpv6") {
        peers.push(ipv6(cidr)?);
    }
    if let Some(id) = fields.text("PrefixListId") {
        PREFIX_LIST.find(&state.prefix_lists, id)?;
        peers.push(Peer::PrefixList(id.to_owned()));
    }
    if let Some(id) = fields.text("ReferencedGroupId") {
        GROUP.find(&state.security_groups, id)?;
        peers.push(Peer::Group(id.to_owned()));
    }
    let peer = peers.pop().ok_or_else(|| Ec2Error::missing("cidrIpv4, cidrIpv6, prefixListId or referencedGroupId"))?;
    if !peers.is_empty() {
        return Err(Ec2Error::combination(
            "A rule has exactly one of cidrIpv4, cidrIpv6, prefixListId and referencedGroupId",
        ));
    }
    rule(fields, egress, peer, description(fields)?)
}

fn ipv4(text: &str) -> Result<Peer, Ec2Error> {
    let net = text.parse::<Ipv4Net>().map_err(|_| Ec2Error::value(format!("CIDR block {text} is malformed")))?;
    Ok(Peer::Ipv4(net.trunc()))
}

fn ipv6(text: &str) -> Result<Peer, Ec2Error> {
    let net = text.parse::<Ipv6Net>().map_err(|_| Ec2Error::value(format!("CIDR block {text} is malformed")))?;
    Ok(Peer::Ipv6(net.trunc()))
}

fn rule(
    fields: &Fields<'_>,
    egress: bool,
    peer: Peer,
    description: Option<String>,
) -> Result<SecurityGroupRule, Ec2Error> {
    let protocol = protocol(fields.required("IpProtocol")?)?;
    let (from_port, to_port) = ports(fields, &protocol)?;
    Ok(SecurityGroupRule { id: String::new(), egress, protocol, from_port, to_port, peer, description })
}

/// Names for the four that have one, numbers for the rest.
fn protocol(text: &str) -> Result<String, Ec2Error> {
    let unknown = || Ec2Error::value(format!("Invalid value '{text}' for IP protocol. Unknown protocol."));
    let name = match text.to_ascii_lowercase().as_str() {
        "tcp" | "6" => "tcp",
        "udp" | "17" => "udp",
        "icmp" | "1" => "icmp",
        "icmpv6" | "58" => "icmpv6",
        "-1" | "all" => "-1",
        other => return other.parse::<u8>().map(|number| number.to_string()).map_err(|_| unknown()),
    };
    Ok(name.to_owned())
}

/// Ports, or type and code. What has neither is given -1 for both, whatever the request says.
fn ports(fields: &Fields<'_>, protocol: &str) -> Result<(i32, i32), Ec2Error> {
    let (from, to) = (fields.number("FromPort")?, fields.number("ToPort")?);
    match protocol {
        "tcp" | "udp" => {
            let from = from.ok_or_else(|| Ec2Error::missing("fromPort"))?;
            let to = to.ok_or_else(|| Ec2Error::missing("toPort"))?;
            for port in [from, to] {
                if !(0..=65_535).contains(&port) {
                    return Err(Ec2Error::value(format!("TCP/UDP port ({port}) out of range")));
                }
            }
            if from > to {
                return Err(Ec2Error::value(format!("Invalid TCP/UDP port range ({from}:{to})")));
            }
            Ok((from, to))
        }
        "icmp" | "icmpv6" => {
            if protocol == "icmpv6" && from.is_none() && to.is_none() {
                return Ok((-1, -1));
            }
            let icmp_type = from.ok_or_else(|| Ec2Error::missing("fromPort"))?;
            let code = to.ok_or_else(|| Ec2Error::missing("toPort"))?;
            for (what, value) in [("type", icmp_type), ("code", code)] {
                if !(-1..=255).contains(&value) {
                    return Err(Ec2Error::value(format!("ICMP {what} ({value}) out of range")));
                }
            }
            if icmp_type == -1 && code != -1 {
                return Err(Ec2Error::value("ICMP code must be -1 if the ICMP type is -1"));
            }
            Ok((icmp_type, code))
        }
        _ => Ok((-1, -1)),
    }
}

/// A rule as AWS's message about duplicates words it.
pub(super) fn wording(rule: &SecurityGroupRule) -> String {
    let peer = text(&rule.peer);
    match rule.protocol.as_str() {
        "-1" => format!("peer: {peer}, ALL, ALLOW"),
        protocol @ ("tcp" | "udp") => {
            let (protocol, from, to) = (protocol.to_ascii_uppercase(), rule.from_port, rule.to_port);
            format!("peer: {peer}, {protocol}, from port: {from}, to port: {to}, ALLOW")
        }
        protocol @ ("icmp" | "icmpv6") => {
            let (protocol, icmp_type, code) = (protocol.to_ascii_uppercase(), rule.from_port, rule.to_port);
            format!("peer: {peer}, {protocol}, type: {icmp_type}, code: {code}, ALLOW")
        }
        protocol => format!("peer: {peer}, protocol: {protocol}, ALLOW"),
    }
}

/// Rules as `ipPermissions` shows them: one item for each protocol and range of ports.
pub(super) fn show<'s>(xml: &mut Xml, state: &State, name: &str, rules: impl Iterator<Item = &'s SecurityGroupRule>) {
    let mut items: Vec<Vec<&SecurityGroupRule>> = Vec::new();
    let traffic = |rule: &SecurityGroupRule| (rule.protocol.clone(), rule.from_port, rule.to_port);
    for rule in rules {
        match items.iter_mut().find(|item| traffic(item[0]) == traffic(rule)) {
            Some(item) => item.push(rule),
            None => items.push(vec![rule]),
        }
    }
    xml.list(name, items, |xml, rules| {
        let first = rules[0];
        xml.text("ipProtocol", &first.protocol);
        if first.has_ports() {
            xml.text("fromPort", first.from_port).text("toPort", first.to_port);
        }
        let of = |wanted: fn(&Peer) -> bool| rules.iter().filter(move |rule| wanted(&rule.peer));
        xml.list("groups", of(|peer| matches!(peer, Peer::Group(_))), |xml, rule| {
            xml.text("userId", &state.account).text("groupId", text(&rule.peer));
            xml.optional("description", rule.description.as_ref());
        });
        xml.list("ipRanges", of(|peer| matches!(peer, Peer::Ipv4(_))), |xml, rule| {
            xml.text("cidrIp", text(&rule.peer)).optional("description", rule.description.as_ref());
        });
        xml.list("ipv6Ranges", of(|peer| matches!(peer, Peer::Ipv6(_))), |xml, rule| {
            xml.text("cidrIpv6", text(&rule.peer)).optional("description", rule.description.as_ref());
        });
        xml.list("prefixListIds", of(|peer| matches!(peer, Peer::PrefixList(_))), |xml, rule| {
            xml.text("prefixListId", text(&rule.peer)).optional("description", rule.description.as_ref());
        });
    });
}

/// The range or the identifier.
pub(super) fn text(peer: &Peer) -> String {
    match peer {
        Peer::Ipv4(net) => net.to_string(),
        Peer::Ipv6(net) => net.to_string(),
        Peer::PrefixList(id) | Peer::Group(id) => id.clone(),
    }
}
