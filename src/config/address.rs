//! Addresses and ranges: parsing, and the rules that every range of the lab obeys.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::network::Ranges;
use super::reader::{At, Reader, Section};

/// An IPv4 range whose host bits are zero.
pub(super) fn ipv4_net(text: &str) -> Result<Ipv4Net, String> {
    let net: Ipv4Net = text.parse().map_err(|_| format!("is \"{text}\", not an IPv4 range such as \"10.0.0.0/16\""))?;
    if net.addr() == net.network() {
        Ok(net)
    } else {
        Err(format!("is \"{text}\", which has host bits set: the range is {}", net.trunc()))
    }
}

/// An IPv6 range whose host bits are zero.
pub(super) fn ipv6_net(text: &str) -> Result<Ipv6Net, String> {
    let net: Ipv6Net =
        text.parse().map_err(|_| format!("is \"{text}\", not an IPv6 range such as \"2001:db8:1234:1a00::/56\""))?;
    if net.addr() == net.network() {
        Ok(net)
    } else {
        Err(format!("is \"{text}\", which has host bits set: the range is {}", net.trunc()))
    }
}

/// A range of either family in a rule. Host bits are cleared, as AWS does.
pub(super) fn any_net(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>().map(|net| net.trunc()).map_err(|_| {
        let hint =
            if text.parse::<IpAddr>().is_ok() { ": a single address needs its length too, /32 or /128" } else { "" };
        format!("is \"{text}\", not a range such as \"10.0.1.0/24\" or \"2001:db8::/64\"{hint}")
    })
}

/// An IPv4 address.
pub(super) fn ipv4(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("is \"{text}\", not an IPv4 address"))
}

/// An IPv6 address.
pub(super) fn ipv6(text: &str) -> Result<Ipv6Addr, String> {
    text.parse().map_err(|_| format!("is \"{text}\", not an IPv6 address"))
}

/// Whether a range can carry hosts at all: neither loopback, link-local, multicast, nor "this network".
pub(super) fn usable_v4(net: Ipv4Net) -> bool {
    const NEVER: [([u8; 4], u8); 4] =
        [([0, 0, 0, 0], 8), ([127, 0, 0, 0], 8), ([169, 254, 0, 0], 16), ([224, 0, 0, 0], 3)];
    NEVER.iter().all(|&(base, prefix)| {
        Ipv4Net::new(base.into(), prefix).is_ok_and(|never| !never.contains(&net) && !net.contains(&never))
    })
}

/// The same for IPv6: neither unspecified, loopback, link-local nor multicast.
pub(super) fn usable_v6(net: Ipv6Net) -> bool {
    let first = net.network().segments()[0];
    net.prefix_len() >= 16 && first != 0 && first & 0xffc0 != 0xfe80 && first & 0xff00 != 0xff00
}

/// Whether two ranges share addresses.
pub(super) fn overlap_v4(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// Whether two ranges share addresses.
pub(super) fn overlap_v6(a: Ipv6Net, b: Ipv6Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// Why AWS keeps an address of a subnet for itself: the first four and the last.
pub(super) fn reserved_in_subnet(cidr: Ipv4Net, address: Ipv4Addr) -> Option<&'static str> {
    let offset = u32::from(address) - u32::from(cidr.network());
    match offset {
        0 => Some("the network's own"),
        1 => Some("the VPC router's"),
        2 => Some("kept for DNS"),
        3 => Some("kept for future use"),
        _ if address == cidr.broadcast() => Some("the broadcast address"),
        _ => None,
    }
}

/// The same for a subnet's IPv6 range: its first four addresses and the last.
pub(super) fn reserved_in_subnet6(cidr: Ipv6Net, address: Ipv6Addr) -> bool {
    let offset = u128::from(address) - u128::from(cidr.network());
    offset < 4 || address == cidr.broadcast()
}

/// Addresses that somebody has, so that nobody else gets them.
#[derive(Debug, Default)]
pub(super) struct Taken {
    by: HashMap<IpAddr, String>,
}

impl Taken {
    /// Notes that `who` has an address, or reports who else has it.
    pub(super) fn claim(&mut self, reader: &Reader, address: IpAddr, who: &str, span: &Range<usize>) {
        if let Some(other) = self.by.get(&address) {
            reader.fault(span, format!("{address} is given to {who}, but {other} has it already"));
            return;
        }
        self.by.insert(address, who.to_owned());
    }

    /// The first free address from `base + from` on, inside the range and below its last address.
    pub(super) fn free_v4(&self, cidr: Ipv4Net, from: u32) -> Option<Ipv4Addr> {
        let first = u32::from(cidr.network());
        let last = u32::from(cidr.broadcast());
        let from = if first.saturating_add(from) < last { from } else { 4 };
        (first.saturating_add(from)..last)
            .map(Ipv4Addr::from)
            .find(|address| !self.by.contains_key(&IpAddr::V4(*address)))
    }

    /// The IPv6 address that goes with an IPv4 one: same distance from the base of its range, or the next free one.
    pub(super) fn free_v6(&self, cidr6: Ipv6Net, offset: u32) -> Option<Ipv6Addr> {
        let base = u128::from(cidr6.network());
        let last = u128::from(cidr6.broadcast());
        let mut candidates = (0..=u128::from(u16::MAX)).map(|n| base.saturating_add(u128::from(offset).max(4) + n));
        candidates
            .find(|&address| address < last && !self.by.contains_key(&IpAddr::V6(address.into())))
            .map(Ipv6Addr::from)
    }
}

/// Reads an address that must lie in an IPv4 range.
pub(super) fn address_within(
    section: &Section<'_>,
    key: &str,
    cidr: Option<Ipv4Net>,
    whose: &str,
) -> Option<At<Ipv4Addr>> {
    let address = section.parsed(key, ipv4)?;
    if let Some(cidr) = cidr.filter(|cidr| !cidr.contains(&address.value)) {
        section.fault(&address.span, format!("{} {} is outside {whose}, {cidr}", section.name(key), address.value));
        return None;
    }
    Some(address)
}

/// Reads an address that must lie in the IPv6 range of `ranges`.
pub(super) fn address6_within(section: &Section<'_>, key: &str, ranges: Ranges, whose: &str) -> Option<At<Ipv6Addr>> {
    let address = section.parsed(key, ipv6)?;
    match ranges.v6 {
        Some(cidr) if cidr.contains(&address.value) => return Some(address),
        Some(cidr) => {
            section.fault(&address.span, format!("{} {} is outside {whose}, {cidr}", section.name(key), address.value));
        }
        // The range itself is at fault: nothing can be said of what should lie in it.
        None if ranges.has_v6 => {}
        None => {
            let message = format!("{} is given, but {whose} has no `ipv6_cidr`", section.name(key));
            section.fault(&address.span, message);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_four_and_the_last_address_of_a_subnet_are_reserved() {
        let cidr: Ipv4Net = "10.0.1.0/24".parse().unwrap();
        for (last, reserved) in [(0, true), (1, true), (2, true), (3, true), (4, false), (254, false), (255, true)] {
            let address = Ipv4Addr::new(10, 0, 1, last);
            assert_eq!(reserved_in_subnet(cidr, address).is_some(), reserved, "{address}");
        }
    }

    #[test]
    fn a_full_range_has_no_free_address() {
        let cidr: Ipv4Net = "10.0.0.0/29".parse().unwrap();
        let (reader, mut taken) = (Reader::default(), Taken::default());
        for expected in [4, 5, 6] {
            let address = taken.free_v4(cidr, 100).unwrap();
            assert_eq!(address, Ipv4Addr::new(10, 0, 0, expected));
            taken.claim(&reader, address.into(), "a host", &(0..0));
        }
        assert_eq!(taken.free_v4(cidr, 100), None);
    }
}
