//! Hosts, the on-premises network, and the tunnel to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::address::{
    Taken, address_within, address6_within, ipv4, ipv4_net, ipv6_net, overlap_v4, overlap_v6, usable_v4, usable_v6,
};
use super::check::Names;
use super::endpoint::{host_addresses, security_groups};
use super::model::*;
use super::network::Ranges;
use super::reader::{At, Section, closest};

/// Inside ranges that AWS keeps for itself (Site-to-Site VPN user guide, tunnel options).
const INSIDE_RESERVED: [[u8; 4]; 7] = [
    [169, 254, 0, 0],
    [169, 254, 1, 0],
    [169, 254, 2, 0],
    [169, 254, 3, 0],
    [169, 254, 4, 0],
    [169, 254, 5, 0],
    [169, 254, 169, 252],
];
/// Worker `n` uses UDP port `port + n`: room for this many.
const WORKERS: i64 = 64;
/// Where a host goes whose address the file leaves open.
const HOST_OFFSET: u32 = 10;
/// Hosts of one lab; each is a network namespace.
const HOSTS: usize = 64;

/// The on-premises network. Everything in it but the range has a default inside the range.
pub(super) fn on_premises(section: &Section<'_>, vpc: Ranges, taken: &mut Taken) -> (OnPremises, Ranges) {
    let given = section.parsed("cidr", ipv4_net);
    let wrong = |net: Ipv4Net| !(8..=28).contains(&net.prefix_len()) || !usable_v4(net);
    if let Some(At { value, span }) = given.as_ref().filter(|at| wrong(at.value)) {
        section.fault(span, format!("{value} cannot be the on-premises range: hosts' ranges are /8 to /28"));
    }
    let fallback = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 10, 0), 24);
    let given = given.filter(|at| !wrong(at.value));
    let misread = section.has("cidr") && given.is_none();
    let cidr = given.as_ref().map_or(fallback, |at| at.value);
    if let Some(vpc) = vpc.v4.filter(|vpc| !misread && overlap_v4(*vpc, cidr)) {
        let span = given.as_ref().map_or_else(|| section.span.clone(), |at| at.span.clone());
        section.fault_with_help(
            &span,
            format!("the on-premises range {cidr} overlaps the VPC's, {vpc}"),
            "the tunnel routes between the two, so they must be apart",
        );
    }
    let known = (!misread).then_some(cidr);
    let cidr6 = section.parsed("ipv6_cidr", ipv6_net);
    let wrong6 = |net: Ipv6Net| net.prefix_len() > 64 || !usable_v6(net);
    if let Some(At { value, span }) = cidr6.as_ref().filter(|at| wrong6(at.value)) {
        section.fault(span, format!("{value} cannot be the on-premises range: hosts' IPv6 ranges are /16 to /64"));
    }
    let cidr6 = cidr6.filter(|at| !wrong6(at.value));
    if let Some(At { value, span }) = &cidr6
        && let Some(vpc) = vpc.v6.filter(|vpc| overlap_v6(*vpc, *value))
    {
        section.fault(span, format!("the on-premises range {value} overlaps the VPC's, {vpc}"));
    }
    let cidr6 = cidr6.map(|at| at.value);
    let whose = "the on-premises range";
    let ranges = Ranges { v4: known, v6: cidr6, has_v6: section.has("ipv6_cidr") };
    let nth = |n: u32| Ipv4Addr::from(u32::from(cidr.network()).wrapping_add(n));

    let router = own_address(section, "router", ranges, "the customer gateway", nth(1), taken);
    let dns_forwarder = own_address(section, "dns_forwarder", ranges, "the DNS forwarder", nth(2), taken);
    let router6 = address6_within(section, "router_ipv6", ranges, whose);
    let first6 = |net: Ipv6Net| Ipv6Addr::from(u128::from(net.network()) + 1);
    if let Some(At { value, span }) = &router6 {
        taken.claim(section.reader, IpAddr::V6(*value), "the customer gateway", span);
    }
    let router6 = router6.map(|at| at.value).or_else(|| cidr6.map(first6));

    let external = section.boolean("external_function_host").is_some_and(|at| at.value);
    let function_host = section.parsed("function_host", |text| {
        text.parse::<SocketAddr>()
            .ok()
            .filter(|address| address.port() != 0)
            .ok_or_else(|| format!("is \"{text}\", not an address with a port such as \"192.168.10.20:8080\""))
    });
    if let Some(At { value, span }) = &function_host {
        let inside = match value.ip() {
            IpAddr::V4(address) => known.is_none_or(|cidr| cidr.contains(&address)),
            IpAddr::V6(address) => cidr6.map_or(ranges.has_v6, |cidr| cidr.contains(&address)),
        };
        if !inside {
            section.fault(span, format!("`on_premises.function_host` {} is outside the on-premises range", value.ip()));
        } else if let (IpAddr::V4(address), Some(cidr)) = (value.ip(), known) {
            unusable(section, address, cidr, span);
        }
        // Somebody else's server may run on a host of the lab.
        if !external {
            taken.claim(section.reader, value.ip(), "the function host", span);
        }
    }
    let function_host = function_host.map(|at| at.value).unwrap_or_else(|| {
        let address = taken.free_v4(cidr, 20).unwrap_or_else(|| nth(3));
        taken.claim(section.reader, address.into(), "the function host", &section.span);
        SocketAddr::new(address.into(), 8080)
    });
    let site =
        OnPremises { cidr, cidr6, router, router6, dns_forwarder, function_host, external_function_host: external };
    (site, ranges)
}

fn own_address(
    section: &Section<'_>,
    key: &str,
    ranges: Ranges,
    who: &str,
    default: Ipv4Addr,
    taken: &mut Taken,
) -> Ipv4Addr {
    let At { value, span } = address_within(section, key, ranges.v4, "the on-premises range")
        .unwrap_or_else(|| At { value: default, span: section.key_span(key) });
    if let Some(cidr) = ranges.v4 {
        unusable(section, value, cidr, &span);
    }
    taken.claim(section.reader, value.into(), who, &span);
    value
}

/// Reports the two addresses of a range that no host can have.
fn unusable(section: &Section<'_>, address: Ipv4Addr, cidr: Ipv4Net, span: &std::ops::Range<usize>) {
    if address == cidr.network() || address == cidr.broadcast() {
        section.fault(span, format!("{address} is the network's own or the broadcast address of {cidr}"));
    }
}

pub(super) fn hosts(
    sections: &[Section<'_>],
    subnets: &[(Subnet, Ranges)],
    on_premises: Ranges,
    names: &mut Names,
    taken: &mut Taken,
) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    let mut open = Vec::new();
    if let Some(extra) = sections.get(HOSTS) {
        extra.fault(&extra.span, format!("a lab has at most {HOSTS} hosts"));
    }
    for section in sections {
        let name = host_name(section, &hosts);
        let site = site(section, subnets, names);
        let who = format!("host {name}");
        let groups = match site {
            Some(Site::OnPremises) => {
                section.value("security_groups");
                if section.has("security_groups") {
                    section.fault(
                        &section.key_span("security_groups"),
                        "security groups are for interfaces in the VPC; an on-premises host has none",
                    );
                }
                Vec::new()
            }
            _ => security_groups(section, names),
        };
        let (v4, v6) = match site {
            Some(Site::Subnet(subnet)) => host_addresses(section, subnets.get(subnet), &who, taken),
            Some(Site::OnPremises) => on_premises_addresses(section, on_premises, &who, taken),
            None => host_addresses(section, None, &who, taken),
        };
        if v4.is_none() && !section.has("ipv4") {
            open.push((hosts.len(), section));
        }
        hosts.push(Host {
            name,
            site: site.unwrap_or(Site::OnPremises),
            ipv4: v4.unwrap_or(Ipv4Addr::UNSPECIFIED),
            ipv6: v6,
            security_groups: groups,
        });
    }
    for (host, section) in open {
        let host = &mut hosts[host];
        let cidr = match host.site {
            Site::Subnet(subnet) => subnets.get(subnet).and_then(|(_, ranges)| ranges.v4),
            Site::OnPremises => on_premises.v4,
        };
        let Some(cidr) = cidr else { continue };
        match taken.free_v4(cidr, HOST_OFFSET) {
            Some(address) => {
                taken.claim(section.reader, address.into(), &host.name, &section.span);
                host.ipv4 = address;
            }
            None => section.fault(&section.span, format!("no address is left in {cidr} for host {}", host.name)),
        }
    }
    hosts
}

fn host_name(section: &Section<'_>, hosts: &[Host]) -> String {
    let name = section.parsed("name", |text| {
        let label = !text.is_empty()
            && text.len() <= 32
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-');
        match text {
            "vpce" => Err("is \"vpce\", which is the name of the AWS side itself".to_owned()),
            _ if label => Ok(text.to_owned()),
            _ => Err(format!("is \"{text}\", not a host name: a-z first, then a-z, 0-9 and -, at most 32")),
        }
    });
    if !section.has("name") {
        section.missing("name", "give the host the name that `vpce lab exec` shall take");
    }
    if let Some(At { value, span }) = name.as_ref().filter(|at| hosts.iter().any(|host| host.name == at.value)) {
        section.fault(span, format!("a host named \"{value}\" exists already"));
    }
    name.map(|at| at.value).unwrap_or_default()
}

fn site(section: &Section<'_>, subnets: &[(Subnet, Ranges)], names: &Names) -> Option<Site> {
    let subnet = names.reference(section, "subnet", "subnet");
    let on_premises = section.boolean("on_premises");
    match (section.has("subnet"), on_premises.map(|at| at.value)) {
        (true, Some(true)) => {
            section
                .fault(&section.key_span("on_premises"), "a host stands in a `subnet` or `on_premises`, not in both");
            None
        }
        (true, _) => subnet.map(Site::Subnet),
        (false, Some(true)) => Some(Site::OnPremises),
        (false, _) if subnets.len() == 1 => Some(Site::Subnet(0)),
        (false, _) => {
            section.missing("subnet", "say where the host stands: subnet = \"subnet-…\" or on_premises = true");
            None
        }
    }
}

fn on_premises_addresses(
    section: &Section<'_>,
    ranges: Ranges,
    who: &str,
    taken: &mut Taken,
) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let v4 = address_within(section, "ipv4", ranges.v4, "the on-premises range");
    let v6 = address6_within(section, "ipv6", ranges, "the on-premises network");
    if let Some(At { value, span }) = &v4 {
        if let Some(cidr) = ranges.v4 {
            unusable(section, *value, cidr, span);
        }
        taken.claim(section.reader, (*value).into(), who, span);
    }
    if let Some(At { value, span }) = &v6 {
        taken.claim(section.reader, (*value).into(), who, span);
    }
    (v4.map(|at| at.value), v6.map(|at| at.value))
}

pub(super) fn tunnel(section: &Section<'_>, paths: &[PathProfile], vpc: Ranges, on_premises: Ranges) -> Tunnel {
    let outside = |key: &str, default: Ipv4Addr| {
        let at = section.parsed(key, ipv4);
        if let Some(At { value, span }) = &at {
            if Ipv4Net::new(*value, 32).is_ok_and(|net| !usable_v4(net)) {
                section.fault(span, format!("{} {value} cannot be a host's address", section.name(key)));
            }
            for (range, whose) in [(vpc.v4, "the VPC's range"), (on_premises.v4, "the on-premises range")] {
                if let Some(range) = range.filter(|range| range.contains(value)) {
                    let message = format!("{} {value} is inside {whose}, {range}", section.name(key));
                    section.fault_with_help(
                        span,
                        message,
                        "the outside addresses carry the tunnel, so they lie outside",
                    );
                }
            }
        }
        At { span: section.key_span(key), value: at.map_or(default, |at| at.value) }
    };
    // RFC 5737: addresses for documentation.
    let aws_outside = outside("aws_outside", Ipv4Addr::new(203, 0, 113, 1));
    let customer_outside = outside("customer_outside", Ipv4Addr::new(198, 51, 100, 1));
    if aws_outside.value == customer_outside.value {
        section.fault(&customer_outside.span, "both ends of the tunnel have the same outside address");
    }
    let inside_cidr = section.parsed("inside_cidr", inside).map(|at| at.value);
    let path = section.string("path");
    if let Some(At { value, span }) = path.as_ref().filter(|at| !paths.iter().any(|path| path.name == at.value)) {
        let known = paths.iter().map(|path| path.name.as_str());
        let help = match closest(value, known.clone()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("paths: {}", known.collect::<Vec<_>>().join(", ")),
        };
        section.fault_with_help(span, format!("there is no path named \"{value}\""), help);
    }
    Tunnel {
        aws_outside: aws_outside.value,
        customer_outside: customer_outside.value,
        port: section.integer("port", 1..=65_535 - WORKERS + 1).map_or(4500, |at| at.value),
        inside_cidr: inside_cidr.unwrap_or_else(|| Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 10, 0), 30)),
        replay_window: section.integer("replay_window", 64..=2048).map_or(1024, |at| at.value),
        path: path.map_or("lan", |at| at.value).to_owned(),
    }
}

fn inside(text: &str) -> Result<Ipv4Net, String> {
    let net = ipv4_net(text)?;
    if net.prefix_len() != 30 || !Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16).contains(&net) {
        return Err(format!("is \"{text}\", not a /30 out of 169.254.0.0/16"));
    }
    if INSIDE_RESERVED.contains(&net.network().octets()) {
        return Err(format!("is \"{text}\", which AWS reserves; \"169.254.10.0/30\" is free"));
    }
    Ok(net)
}
