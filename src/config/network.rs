//! The VPC, its subnets, network ACLs, prefix lists and security groups.

use std::collections::HashSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::address::{any_net, ipv4_net, ipv6_net, overlap_v4, overlap_v6, usable_v4, usable_v6};
use super::check::Names;
use super::model::*;
use super::reader::{At, Section};
use super::traffic::traffic;

/// The VPC's ranges lie between these lengths (VPC user guide, VPC CIDR blocks); subnets' too.
const PREFIX_V4: std::ops::RangeInclusive<u8> = 16..=28;
/// Default quota of rules per direction and family of one security group.
const RULES_PER_GROUP: usize = 60;
/// Default quota of entries per direction and family of one network ACL.
const ENTRIES_PER_ACL: usize = 20;
/// Default quota of subnets in a VPC.
const SUBNETS: usize = 200;
/// Quota of entries of a prefix list.
const PREFIX_LIST_ENTRIES: usize = 1000;

/// Ranges that were read without fault; the rest of the checks go by these.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ranges {
    pub(super) v4: Option<Ipv4Net>,
    pub(super) v6: Option<Ipv6Net>,
    /// Whether an IPv6 range is given at all, with a fault or without.
    pub(super) has_v6: bool,
}

pub(super) fn vpc(section: &Section<'_>, names: &mut Names) -> (Vpc, Ranges) {
    let id = names.id(section, "id", "vpc", 0);
    let cidr = section.parsed("cidr", ipv4_net);
    if !section.has("cidr") {
        section.missing("cidr", "give the VPC its IPv4 range, for example cidr = \"10.0.0.0/16\"");
    }
    // A range at fault is not held against what should lie in it.
    let v4 = cidr.and_then(|At { value, span }| {
        if !PREFIX_V4.contains(&value.prefix_len()) {
            section.fault(&span, format!("a VPC's range is between /16 and /28, not /{}", value.prefix_len()));
            return None;
        }
        if !usable_v4(value) {
            section.fault(&span, format!("{value} cannot be a VPC's range: no host can have its addresses"));
            return None;
        }
        Some(value)
    });
    let cidr6 = section.parsed("ipv6_cidr", ipv6_net);
    let v6 = cidr6.and_then(|At { value, span }| {
        if !(44..=60).contains(&value.prefix_len()) || !value.prefix_len().is_multiple_of(4) {
            let message = format!("a VPC's IPv6 range is /44 to /60 in steps of 4, not /{}", value.prefix_len());
            section.fault(&span, message);
            return None;
        }
        if !usable_v6(value) {
            section.fault(&span, format!("{value} cannot be a VPC's range: no host can have its addresses"));
            return None;
        }
        Some(value)
    });
    let dns_support = section.boolean("dns_support").is_none_or(|at| at.value);
    let dns_hostnames = section.boolean("dns_hostnames").is_none_or(|at| at.value);
    let ranges = Ranges { v4, v6, has_v6: section.has("ipv6_cidr") };
    let vpc = Vpc { id, cidr: ranges.v4.unwrap_or_default(), cidr6: ranges.v6, dns_support, dns_hostnames };
    (vpc, ranges)
}

/// The subnets, each with the ranges that were read without fault.
pub(super) fn subnets(
    root: &Section<'_>,
    vpc: Ranges,
    region: Option<&str>,
    names: &mut Names,
) -> Vec<(Subnet, Ranges)> {
    let sections = root.sections("subnet");
    if sections.is_empty() && !root.has("subnet") {
        root.missing("subnet", "add a [[subnet]] with its `cidr`: the endpoint needs one");
    }
    if let Some(extra) = sections.get(SUBNETS) {
        extra.fault(&extra.span, format!("a VPC has at most {SUBNETS} subnets"));
    }
    let mut subnets: Vec<(Subnet, Ranges)> = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let id = names.id(section, "id", "subnet", index);
        let ranges = subnet_ranges(section, vpc, &subnets);
        let zone = section.parsed("zone", |text| zone(text, region)).map(|at| at.value);
        let zone = zone.unwrap_or_else(|| format!("{}a", region.unwrap_or_default()));
        let network_acl = names.reference(section, "network_acl", "acl");
        let cidr = ranges.v4.unwrap_or_default();
        subnets.push((Subnet { id, cidr, cidr6: ranges.v6, zone, network_acl }, ranges));
    }
    subnets
}

fn subnet_ranges(section: &Section<'_>, vpc: Ranges, others: &[(Subnet, Ranges)]) -> Ranges {
    let cidr = section.parsed("cidr", ipv4_net);
    if !section.has("cidr") {
        section.missing("cidr", "give the subnet its IPv4 range, inside the VPC's");
    }
    let sound = |at: &At<Ipv4Net>| PREFIX_V4.contains(&at.value.prefix_len());
    if let Some(At { value, span }) = cidr.as_ref().filter(|at| !sound(at)) {
        section.fault(span, format!("a subnet's range is between /16 and /28, not /{}", value.prefix_len()));
    }
    let cidr = cidr.filter(sound);
    if let Some(At { value, span }) = &cidr {
        if let Some(vpc) = vpc.v4.filter(|vpc| !vpc.contains(value)) {
            section.fault(span, format!("{value} is outside the VPC's range {vpc}"));
        }
        for (other, range) in others {
            if range.v4.is_some_and(|range| overlap_v4(range, *value)) {
                section.fault(span, format!("{value} overlaps {} of {}", other.cidr, other.id));
            }
        }
    }
    let cidr6 = section.parsed("ipv6_cidr", ipv6_net);
    if let Some(At { value, span }) = cidr6.as_ref().filter(|at| at.value.prefix_len() != 64) {
        section.fault(span, format!("a subnet's IPv6 range is a /64, not /{}", value.prefix_len()));
    }
    let cidr6 = cidr6.filter(|at| at.value.prefix_len() == 64);
    if let Some(At { value, span }) = &cidr6 {
        match vpc.v6 {
            Some(vpc) if !vpc.contains(value) => {
                section.fault(span, format!("{value} is outside the VPC's IPv6 range {vpc}"));
            }
            Some(_) => {}
            None if vpc.has_v6 => {}
            None => section.fault_with_help(
                span,
                "the subnet has an IPv6 range, but the VPC has none",
                "give [vpc] an `ipv6_cidr`, a /56 for example",
            ),
        }
        for (other, range) in others {
            if let Some(range) = range.v6.filter(|range| overlap_v6(*range, *value)) {
                section.fault(span, format!("{value} overlaps {range} of {}", other.id));
            }
        }
    }
    Ranges { v4: cidr.map(|at| at.value), v6: cidr6.map(|at| at.value), has_v6: section.has("ipv6_cidr") }
}

fn zone(text: &str, region: Option<&str>) -> Result<String, String> {
    let Some(region) = region else { return Ok(text.to_owned()) };
    let letter =
        text.strip_prefix(region).filter(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_lowercase()));
    letter
        .map(|_| text.to_owned())
        .ok_or_else(|| format!("is \"{text}\", not a zone of {region}, such as \"{region}a\""))
}

pub(super) fn prefix_lists(sections: &[Section<'_>], names: &mut Names) -> Vec<PrefixList> {
    let mut lists = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let id = names.id(section, "id", "pl", index);
        let mut entries: Vec<IpNet> = Vec::new();
        for At { value, span } in section.strings("entries") {
            match any_net(value) {
                Ok(net) if entries.contains(&net) => {
                    section.fault(&span, format!("{net} is in this prefix list already"));
                }
                Ok(net) => entries.push(net),
                Err(problem) => section.fault(&span, format!("an entry {problem}")),
            }
        }
        if !section.has("entries") {
            section.missing("entries", "list its ranges: entries = [\"10.0.1.0/24\"]");
        }
        if entries.len() > PREFIX_LIST_ENTRIES {
            let message = format!("a prefix list has at most {PREFIX_LIST_ENTRIES} entries, not {}", entries.len());
            section.fault(&section.key_span("entries"), message);
        }
        lists.push(PrefixList { id, entries });
    }
    lists
}

pub(super) fn network_acls(sections: &[Section<'_>], names: &mut Names) -> Vec<NetworkAcl> {
    let mut acls = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let id = names.id(section, "id", "acl", index);
        let ingress = acl_entries(section, "ingress");
        let egress = acl_entries(section, "egress");
        acls.push(NetworkAcl { id, ingress, egress });
    }
    acls
}

fn acl_entries(acl: &Section<'_>, key: &str) -> Vec<NetworkAclEntry> {
    let mut entries = Vec::new();
    let mut numbers = HashSet::new();
    for section in acl.sections(key) {
        let number = section.integer::<u16>("number", 1..=32_766);
        if !section.has("number") {
            section.missing("number", "entries are tried by ascending number, 1 to 32766; AWS's first is 100");
        }
        if let Some(At { value, span }) = number.as_ref().filter(|at| !numbers.insert(at.value)) {
            section.fault(span, format!("number {value} is given twice among the {key} entries of this network ACL"));
        }
        let cidr = section.parsed("cidr", any_net);
        if !section.has("cidr") {
            section.missing("cidr", "an entry applies to one range: \"0.0.0.0/0\" is every IPv4 address");
        }
        let traffic = traffic(&section);
        let action = section.parsed("action", |text| match text {
            "allow" => Ok(true),
            "deny" => Ok(false),
            _ => Err(format!("is \"{text}\", neither \"allow\" nor \"deny\"")),
        });
        if !section.has("action") {
            section.missing("action", "say \"allow\" or \"deny\"");
        }
        if let (Some(number), Some(cidr), Some(traffic), Some(action)) = (number, cidr, traffic, action) {
            let entry = NetworkAclEntry { number: number.value, traffic, cidr: cidr.value, allow: action.value };
            entries.push(entry);
        }
    }
    let v4 = entries.iter().filter(|entry| entry.cidr.addr().is_ipv4()).count();
    if v4 > ENTRIES_PER_ACL || entries.len() - v4 > ENTRIES_PER_ACL {
        let message = format!("a network ACL has at most {ENTRIES_PER_ACL} {key} entries of each address family");
        acl.fault(&acl.key_span(key), message);
    }
    entries.sort_by_key(|entry| entry.number);
    entries
}

/// The security groups of the file, and behind them the VPC's default group unless the file describes it: it admits its
/// own members and nobody else, and whoever names no group is in it.
pub(super) fn security_groups(
    sections: &[Section<'_>],
    lists: &[PrefixList],
    vpc6: bool,
    names: &mut Names,
) -> Vec<SecurityGroup> {
    let mut groups: Vec<SecurityGroup> = Vec::new();
    let mut ids = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        ids.push(names.id(section, "id", "sg", index));
    }
    let mut group_names: Vec<String> = Vec::new();
    for section in sections {
        let name = section.parsed("name", group_name);
        let name = match name {
            Some(At { value, span }) => {
                if group_names.iter().any(|other| other.eq_ignore_ascii_case(&value)) {
                    section.fault(&span, format!("a security group named \"{value}\" exists already in this VPC"));
                }
                value
            }
            None => ids[group_names.len()].clone(),
        };
        group_names.push(name);
    }
    let default = group_names.iter().position(|name| name == "default").unwrap_or_else(|| {
        ids.push(names.derive("sg", sections.len()));
        names.push("sg", &ids[ids.len() - 1]);
        ids.len() - 1
    });
    names.default_group = default;
    for (index, section) in sections.iter().enumerate() {
        let ingress = rules(section, "ingress", index, lists, names);
        let egress = if section.has("egress") {
            rules(section, "egress", index, lists, names)
        } else {
            section.sections("egress");
            allow_all(names, index, vpc6)
        };
        groups.push(SecurityGroup { id: ids[index].clone(), name: group_names[index].clone(), ingress, egress });
    }
    if default == groups.len() {
        let itself = SecurityGroupRule {
            id: names.derive("sgr", default * 1000),
            traffic: Traffic::All,
            peer: Peer::SecurityGroup(default),
            description: None,
        };
        let egress = allow_all(names, default, vpc6);
        groups.push(SecurityGroup {
            id: ids[default].clone(),
            name: "default".to_owned(),
            ingress: vec![itself],
            egress,
        });
    }
    groups
}

/// The egress rules of a new group: everything, to everywhere.
fn allow_all(names: &Names, group: usize, vpc6: bool) -> Vec<SecurityGroupRule> {
    let anywhere = [Some(IpNet::V4(Ipv4Net::default())), vpc6.then(|| IpNet::V6(Ipv6Net::default()))];
    anywhere
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(i, net)| SecurityGroupRule {
            id: names.derive("sgr", group * 1000 + 500 + i),
            traffic: Traffic::All,
            peer: Peer::Cidr(net),
            description: None,
        })
        .collect()
}

fn group_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().count() > 255 {
        return Err("must have 1 to 255 characters".to_owned());
    }
    if text.starts_with("sg-") {
        return Err("must not begin with \"sg-\"".to_owned());
    }
    Ok(text.to_owned())
}

fn rules(
    group: &Section<'_>,
    key: &str,
    index: usize,
    lists: &[PrefixList],
    names: &mut Names,
) -> Vec<SecurityGroupRule> {
    let mut rules: Vec<SecurityGroupRule> = Vec::new();
    let (mut weight4, mut weight6) = (0, 0);
    for (place, section) in group.sections(key).iter().enumerate() {
        let number = index * 1000 + if key == "ingress" { place } else { 500 + place };
        let id = names.id(section, "id", "sgr", number);
        let traffic = traffic(section);
        let peer = peer(section, names);
        let description = section.parsed("description", |text| {
            if text.chars().count() > 255 {
                Err("has more than 255 characters".to_owned())
            } else {
                Ok(text.to_owned())
            }
        });
        let (Some(traffic), Some(peer)) = (traffic, peer) else { continue };
        if rules.iter().any(|rule| rule.traffic == traffic && rule.peer == peer) {
            section.fault(&section.span, "the specified rule already exists in this security group");
        }
        // A prefix list counts its entries, a referenced group one in each family (VPC quotas).
        let (v4, v6) = match &peer {
            Peer::Cidr(IpNet::V4(_)) => (1, 0),
            Peer::Cidr(IpNet::V6(_)) => (0, 1),
            Peer::SecurityGroup(_) => (1, 1),
            Peer::PrefixList(list) => lists.get(*list).map_or((0, 0), |list| {
                let v4 = list.entries.iter().filter(|net| net.addr().is_ipv4()).count();
                (v4, list.entries.len() - v4)
            }),
        };
        weight4 += v4;
        weight6 += v6;
        rules.push(SecurityGroupRule { id, traffic, peer, description: description.map(|at| at.value) });
    }
    if weight4 > RULES_PER_GROUP || weight6 > RULES_PER_GROUP {
        let message = format!(
            "{} {key} rules count for IPv4 and {weight6} for IPv6, but a security group has at most {RULES_PER_GROUP} of each",
            weight4
        );
        group.fault_with_help(&group.key_span(key), message, "a prefix list counts as many rules as it has entries");
    }
    rules
}

fn peer(section: &Section<'_>, names: &Names) -> Option<Peer> {
    let cidr = section.parsed("cidr", any_net).map(|at| Peer::Cidr(at.value));
    let list = names.reference(section, "prefix_list", "pl").map(Peer::PrefixList);
    let group = names.reference(section, "group", "sg").map(Peer::SecurityGroup);
    let given: Vec<_> = ["cidr", "prefix_list", "group"].into_iter().filter(|key| section.has(key)).collect();
    match given[..] {
        [] => section.missing("cidr", "a rule names its other side by `cidr`, `prefix_list` or `group`"),
        [_] => {}
        [_, second, ..] => {
            section.fault(&section.key_span(second), "a rule has exactly one of `cidr`, `prefix_list` and `group`");
        }
    }
    cidr.or(list).or(group)
}
