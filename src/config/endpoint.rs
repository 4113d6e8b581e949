//! The endpoint, its enis and settings, and the resolver beside it.

use std::net::IpAddr;

use super::address::{Taken, address_within, address6_within, ipv4, ipv6, reserved_in_subnet, reserved_in_subnet6};
use super::check::{Files, Names, policy_texts};
use super::model::*;
use super::network::Ranges;
use super::reader::{At, Section};
use super::units::{bytes, duration};

/// Default quota of security groups per interface.
pub(super) const GROUPS_PER_INTERFACE: usize = 5;
/// Where an eni goes whose address the file leaves open: this far from the base of its subnet.
const ENI_OFFSET: u32 = 100;

/// What the endpoint is checked against.
pub(super) struct Surroundings<'a> {
    pub(super) vpc: &'a Vpc,
    pub(super) subnets: &'a [(Subnet, Ranges)],
    pub(super) files: &'a Files<'a>,
}

pub(super) fn endpoint(
    section: &Section<'_>,
    around: &Surroundings<'_>,
    names: &mut Names,
    taken: &mut Taken,
) -> (Endpoint, EndpointSettings) {
    let id = names.id(section, "id", "vpce", 0);
    let dns_token = section.parsed("dns_token", |text| {
        let token = text.len() == 8 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if token { Ok(text.to_owned()) } else { Err(format!("is \"{text}\", not eight of a-z and 0-9")) }
    });
    let dns_token = dns_token.map_or_else(|| names.token(), |at| at.value);
    let private_dns = section.boolean("private_dns");
    let dns = around.vpc.dns_support && around.vpc.dns_hostnames;
    let wants_private_dns = private_dns.as_ref().is_none_or(|at| at.value);
    if wants_private_dns && !dns {
        let span = private_dns.map_or_else(|| section.span.clone(), |at| at.span);
        section.fault_with_help(
            &span,
            format!(
                "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for {}",
                around.vpc.id
            ),
            "set `dns_support` and `dns_hostnames` in [vpc], or `private_dns = false` in [endpoint]",
        );
    }
    let policies = policy_texts(section, "endpoint.policy", around.files);
    if policies.len() > 1 {
        section.fault(&section.key_span("policy"), "an endpoint has exactly one policy");
    }
    let groups = security_groups(section, names);
    let dualstack = section.parsed("ip_address_type", |text| match text {
        "ipv4" => Ok(false),
        "dualstack" => Ok(true),
        _ => Err(format!("is \"{text}\", neither \"ipv4\" nor \"dualstack\"")),
    });
    let enis = enis(section, around, dualstack, &groups, names, taken);
    let settings = settings(&section.section("settings"));
    let policy = policies.into_iter().next();
    let has_v6 = enis.iter().any(|eni| eni.ipv6.is_some());
    let dns_records = if has_v6 { DnsRecords::Dualstack } else { DnsRecords::Ipv4 };
    (Endpoint { id, dns_token, enis, private_dns: wants_private_dns, dns_records, policy }, settings)
}

/// The groups that `security_groups` names; without it the VPC's default group, as AWS does.
pub(super) fn security_groups(section: &Section<'_>, names: &Names) -> Vec<usize> {
    let listed = section.strings("security_groups");
    if !section.has("security_groups") {
        return vec![names.default_group];
    }
    let mut groups = Vec::new();
    for At { value, span } in listed {
        match names.find("sg", value) {
            Some(group) if groups.contains(&group) => section.fault(&span, format!("{value} is listed twice")),
            Some(group) => groups.push(group),
            None => names.unresolved(section, "security_groups", "sg", value, &span),
        }
    }
    if groups.len() > GROUPS_PER_INTERFACE {
        let message = format!("an interface has at most {GROUPS_PER_INTERFACE} security groups, not {}", groups.len());
        section.fault(&section.key_span("security_groups"), message);
    }
    groups
}

fn enis(
    endpoint: &Section<'_>,
    around: &Surroundings<'_>,
    dualstack: Option<At<bool>>,
    groups: &[usize],
    names: &mut Names,
    taken: &mut Taken,
) -> Vec<Eni> {
    let sections = endpoint.sections("eni");
    let explicit6 = sections.iter().any(|section| section.has("ipv6"));
    let dual = dualstack.as_ref().map_or(explicit6, |at| at.value);
    if let Some(At { span, .. }) = dualstack.as_ref().filter(|at| !at.value && explicit6) {
        endpoint.fault(span, "`ip_address_type` is \"ipv4\", but an eni has an IPv6 address");
    }
    if endpoint.has("eni") && sections.is_empty() {
        endpoint.fault(&endpoint.key_span("eni"), "an endpoint needs at least one eni");
    }
    let mut enis: Vec<Eni> = Vec::new();
    let mut zones: Vec<String> = Vec::new();
    // Addresses that the file gives are claimed before any is chosen.
    let mut open = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let id = names.id(section, "id", "eni", index);
        let subnet = match names.reference(section, "subnet", "subnet") {
            None if !section.has("subnet") && around.subnets.len() == 1 => Some(0),
            None if !section.has("subnet") => {
                section.missing("subnet", "name the subnet that this eni stands in");
                None
            }
            found => found,
        };
        let own_groups = if section.has("security_groups") { security_groups(section, names) } else { groups.to_vec() };
        // Asked for even when there is none, so that it is a known key.
        section.value("security_groups");
        let home = subnet.and_then(|subnet| around.subnets.get(subnet));
        if let Some((subnet, _)) = home {
            if zones.contains(&subnet.zone) {
                section.fault(
                    &section.key_span("subnet"),
                    format!("Found another VPC endpoint subnet in the availability zone of {}", subnet.id),
                );
            }
            zones.push(subnet.zone.clone());
        }
        let (v4, v6) = host_addresses(section, home, &id, taken);
        open.push((enis.len(), subnet, v4.is_none() && !section.has("ipv4"), v6.is_none() && !section.has("ipv6")));
        enis.push(Eni {
            slot: enis.len() as u16,
            id,
            subnet: subnet.unwrap_or(0),
            ipv4: v4.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
            ipv6: v6,
            security_groups: own_groups,
        });
    }
    if sections.is_empty() {
        for (subnet, (home, _)) in around.subnets.iter().enumerate() {
            if !zones.contains(&home.zone) {
                zones.push(home.zone.clone());
                let id = names.derive("eni", subnet);
                names.push("eni", &id);
                open.push((enis.len(), Some(subnet), true, true));
                let ipv4 = std::net::Ipv4Addr::UNSPECIFIED;
                let slot = enis.len() as u16;
                enis.push(Eni { slot, id, subnet, ipv4, ipv6: None, security_groups: groups.to_vec() });
            }
        }
    }
    for (eni, subnet, v4, v6) in open {
        let Some((home, ranges)) = subnet.and_then(|subnet| around.subnets.get(subnet)) else { continue };
        let span = sections.get(eni).map_or_else(|| endpoint.span.clone(), |section| section.span.clone());
        let eni = &mut enis[eni];
        if let Some(cidr) = ranges.v4.filter(|_| v4) {
            match taken.free_v4(cidr, ENI_OFFSET) {
                Some(address) => {
                    taken.claim(endpoint.reader, IpAddr::V4(address), &eni.id, &span);
                    eni.ipv4 = address;
                }
                None => endpoint.fault(&span, format!("no address is left for an eni in {}", home.id)),
            }
        }
        if dual && v6 {
            match ranges.v6 {
                Some(cidr6) => {
                    if let Some(address) = taken.free_v6(cidr6, ENI_OFFSET) {
                        taken.claim(endpoint.reader, IpAddr::V6(address), &eni.id, &span);
                        eni.ipv6 = Some(address);
                    }
                }
                None if !ranges.has_v6 => {
                    endpoint.fault(&span, format!("a dualstack endpoint needs an `ipv6_cidr` on {}", home.id));
                }
                None => {}
            }
        }
    }
    enis
}

/// Reads `ipv4` and `ipv6` of something that stands in a subnet, and claims them.
pub(super) fn host_addresses(
    section: &Section<'_>,
    home: Option<&(Subnet, Ranges)>,
    who: &str,
    taken: &mut Taken,
) -> (Option<std::net::Ipv4Addr>, Option<std::net::Ipv6Addr>) {
    let Some((subnet, ranges)) = home else {
        return (section.parsed("ipv4", ipv4).map(|at| at.value), section.parsed("ipv6", ipv6).map(|at| at.value));
    };
    let v4 = address_within(section, "ipv4", ranges.v4, &subnet.id);
    if let (Some(At { value, span }), Some(cidr)) = (&v4, ranges.v4) {
        if let Some(why) = reserved_in_subnet(cidr, *value) {
            section.fault_with_help(
                span,
                format!("{value} is reserved in {cidr}: it is {why}"),
                "the first four addresses of a subnet and the last cannot be given to anybody",
            );
        }
        taken.claim(section.reader, IpAddr::V4(*value), who, span);
    }
    let v6 = address6_within(section, "ipv6", *ranges, &subnet.id);
    if let (Some(At { value, span }), Some(cidr)) = (&v6, ranges.v6) {
        if reserved_in_subnet6(cidr, *value) {
            section.fault_with_help(
                span,
                format!("{value} is reserved in {cidr}"),
                "the first four addresses of a subnet and the last cannot be given to anybody",
            );
        }
        taken.claim(section.reader, IpAddr::V6(*value), who, span);
    }
    (v4.map(|at| at.value), v6.map(|at| at.value))
}

fn settings(section: &Section<'_>) -> EndpointSettings {
    let defaults = EndpointSettings::default();
    let time =
        |key: &str, default, least_s: u64, most_s: u64| ranged_time(section, key, least_s, most_s).unwrap_or(default);
    let unanswered = |key: &str, default| {
        let read = section.parsed(key, |text| match text {
            "drop" => Ok(Unanswered::Drop),
            "reset" => Ok(Unanswered::Reset),
            _ => Err(format!("is \"{text}\", neither \"drop\" nor \"reset\"")),
        });
        read.map_or(default, |at| at.value)
    };
    let size = |key: &str, default: usize, least: u64, most: u64| {
        ranged_bytes(section, key, least, most).map_or(default, |n| usize::try_from(n).unwrap_or(default))
    };
    // IPv6 needs 1280 (RFC 8200 §5); 9001 is a VPC's jumbo frame.
    let mtu = section.integer::<u16>("mtu", 1280..=9001);
    let mss_clamp = section.integer::<u16>("mss_clamp", 536..=8961);
    let limit = mtu.as_ref().map_or(defaults.mtu, |at| at.value) - 40;
    if let Some(At { value, span }) = mss_clamp.as_ref().filter(|at| at.value > limit) {
        section.fault(span, format!("`mss_clamp` is {value}, above the MTU less 40 bytes of headers, {limit}"));
    }
    let mss_default = defaults.mss_clamp.min(limit);
    let flow_limit = section.integer::<u32>("flow_limit", 16..=4_194_304);
    let half_open_limit = section.integer::<u32>("half_open_limit", 1..=4_194_304);
    let flows = flow_limit.as_ref().map_or(defaults.flow_limit, |at| at.value);
    if let Some(At { value, span }) = half_open_limit.as_ref().filter(|at| at.value > flows) {
        section.fault(span, format!("`half_open_limit` is {value}, above `flow_limit`, {flows}"));
    }
    // Windows begin at multiples of their length in whole seconds.
    let flow_log_interval = section.parsed("flow_log_interval", |text| {
        let interval = duration(text)?;
        let sound = interval.subsec_nanos() == 0 && (1..=600).contains(&interval.as_secs());
        if sound { Ok(interval) } else { Err(format!("is \"{text}\", not 1s to 600s in whole seconds")) }
    });
    EndpointSettings {
        mtu: mtu.map_or(defaults.mtu, |at| at.value),
        mss_clamp: mss_clamp.map_or(mss_default, |at| at.value),
        idle_timeout: time("idle_timeout", defaults.idle_timeout, 1, 6_000),
        other_port: unanswered("other_port", defaults.other_port),
        late_packet: unanswered("late_packet", defaults.late_packet),
        flow_limit: flows,
        half_open_limit: half_open_limit.map_or_else(|| defaults.half_open_limit.min(flows), |at| at.value),
        tcp_handshake_timeout: time("tcp_handshake_timeout", defaults.tcp_handshake_timeout, 1, 300),
        tls_handshake_timeout: time("tls_handshake_timeout", defaults.tls_handshake_timeout, 1, 300),
        http_head_timeout: time("http_head_timeout", defaults.http_head_timeout, 1, 300),
        http_body_timeout: time("http_body_timeout", defaults.http_body_timeout, 1, 900),
        // The largest payload that Lambda takes must have room.
        http_body_budget: size("http_body_budget", defaults.http_body_budget, 6 << 20, 1 << 36),
        http_minimum_rate: size("http_minimum_rate", defaults.http_minimum_rate, 1, 1 << 30),
        http_rate_grace: time("http_rate_grace", defaults.http_rate_grace, 1, 6_000),
        http_idle_timeout: time("http_idle_timeout", defaults.http_idle_timeout, 1, 6_000),
        http_head_limit: size("http_head_limit", defaults.http_head_limit, 1 << 10, 1 << 20),
        tcp_buffer: size("tcp_buffer", defaults.tcp_buffer, 1 << 12, 1 << 24),
        flow_log_interval: flow_log_interval.map_or(defaults.flow_log_interval, |at| at.value),
        settle_time: time("settle_time", defaults.settle_time, 0, 600),
    }
}

/// A time between two numbers of seconds.
pub(super) fn ranged_time(section: &Section<'_>, key: &str, least_s: u64, most_s: u64) -> Option<std::time::Duration> {
    let At { value, span } = section.parsed(key, duration)?;
    if !(std::time::Duration::from_secs(least_s)..=std::time::Duration::from_secs(most_s)).contains(&value) {
        section.fault(&span, format!("{} is {value:?}, outside {least_s}s to {most_s}s", section.name(key)));
        return None;
    }
    Some(value)
}

/// A size between two numbers of bytes.
pub(super) fn ranged_bytes(section: &Section<'_>, key: &str, least: u64, most: u64) -> Option<u64> {
    let At { value, span } = section.parsed(key, bytes)?;
    if !(least..=most).contains(&value) {
        section.fault(&span, format!("{} is {value} bytes, outside {least} to {most}", section.name(key)));
        return None;
    }
    Some(value)
}

pub(super) fn resolver(section: &Section<'_>, subnets: &[(Subnet, Ranges)], taken: &mut Taken) -> Resolver {
    let defaults = Resolver::default();
    let inbound_endpoint = section.parsed("inbound_endpoint", ipv4);
    if let Some(At { value, span }) = &inbound_endpoint {
        let home = subnets.iter().find(|(_, ranges)| ranges.v4.is_some_and(|cidr| cidr.contains(value)));
        match home.map(|(subnet, _)| (subnet, reserved_in_subnet(subnet.cidr, *value))) {
            Some((subnet, Some(why))) => {
                section.fault(span, format!("{value} is reserved in {}: it is {why}", subnet.cidr));
            }
            Some((_, None)) => {}
            None if subnets.iter().any(|(_, ranges)| ranges.v4.is_none()) => {}
            None => section.fault(span, format!("{value} is in no subnet of the VPC")),
        }
        taken.claim(section.reader, IpAddr::V4(*value), "the resolver's inbound endpoint", span);
    }
    let public_address = section.parsed("public_address", ipv4).map_or(defaults.public_address, |at| at.value);
    let public_address6 = section.parsed("public_address6", ipv6).map_or(defaults.public_address6, |at| at.value);
    Resolver {
        inbound_endpoint: inbound_endpoint.map(|at| at.value),
        ttl: ranged_time(section, "ttl", 0, 86_400).unwrap_or(defaults.ttl),
        packets_per_second: section
            .integer("packets_per_second", 1..=1_000_000)
            .map_or(defaults.packets_per_second, |at| at.value),
        private_dns_api_aws: section.boolean("private_dns_api_aws").map_or(defaults.private_dns_api_aws, |at| at.value),
        public_address,
        public_address6,
        api_address: section.parsed("api_address", ipv4).map_or(defaults.api_address, |at| at.value),
    }
}
