//! The subnets' boundaries that a packet crosses inside the VPC, and what the network ACLs there say of it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::network_acl::{AclDecision, AclEntry, NetworkAclRules};
use super::subject::{RuleDirection, Subject};
use crate::config::{Subnet, Topology};

/// The ACL entry that denies a packet, and where.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AclDenial {
    /// Index of the subnet whose ACL it is, in [`Topology::subnets`].
    pub subnet: u16,
    /// Whether the packet was to enter that subnet or to leave it.
    pub direction: RuleDirection,
    /// The entry.
    pub entry: AclEntry,
}

/// What all ACLs on a packet's way say together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Crossing {
    /// It may pass, or it crosses no boundary.
    Allow,
    /// It may not: the first ACL that denies it.
    Deny(AclDenial),
}

/// The ACLs of all subnets of a VPC.
///
/// A packet is judged when it leaves a subnet and when it enters one, not inside it (VPC user guide, "Network ACL basics"). A
/// subnet's own addresses tell where it is; what belongs to no subnet, on-premises for one, has no ACL.
#[derive(Clone, Debug)]
pub struct NetworkAcls {
    /// By the subnet's index; `None` is the default ACL, which allows all.
    acls: Vec<Option<NetworkAclRules>>,
    /// First and last address of each range of the subnets that have an ACL of their own, and the subnet; sorted. The ranges
    /// of a VPC's subnets do not overlap.
    ranges: Vec<(IpAddr, IpAddr, u16)>,
}

impl NetworkAcls {
    /// The ACLs of `topology`'s subnets.
    pub fn compile(topology: &Topology) -> Self {
        let acl_of = |subnet: &Subnet| {
            let acl = &topology.network_acls[subnet.network_acl?];
            Some(NetworkAclRules::compile(acl, subnet))
        };
        let judged = (0..).zip(&topology.subnets).filter(|(_, subnet)| subnet.network_acl.is_some());
        let mut ranges: Vec<_> = judged
            .flat_map(|(index, subnet)| {
                let nets = [Some(IpNet::V4(subnet.cidr)), subnet.cidr6.map(IpNet::V6)];
                nets.into_iter().flatten().map(move |net| (net.network(), net.broadcast(), index))
            })
            .collect();
        ranges.sort_unstable();
        Self { acls: topology.subnets.iter().map(acl_of).collect(), ranges }
    }

    /// Judges a packet on the whole of its way: first by the ACL of the subnet it leaves, then by that of the one it enters.
    #[inline]
    pub fn evaluate(&self, subject: &Subject) -> Crossing {
        if self.ranges.is_empty() { Crossing::Allow } else { self.walk(subject) }
    }

    fn walk(&self, subject: &Subject) -> Crossing {
        let (from, to) = (self.judged_subnet(subject.tuple.src()), self.judged_subnet(subject.tuple.dst()));
        if from == to {
            return Crossing::Allow;
        }
        let denial = |subnet: Option<u16>, direction| {
            let subnet = subnet?;
            match self.acls[usize::from(subnet)].as_ref()?.evaluate(direction, subject) {
                AclDecision::Allow(_) => None,
                AclDecision::Deny(entry) => Some(AclDenial { subnet, direction, entry }),
            }
        };
        let denial = denial(from, RuleDirection::Egress).or_else(|| denial(to, RuleDirection::Ingress));
        denial.map_or(Crossing::Allow, Crossing::Deny)
    }

    /// The subnet that `address` belongs to, if it has an ACL of its own.
    fn judged_subnet(&self, address: IpAddr) -> Option<u16> {
        let after = self.ranges.partition_point(|(first, ..)| *first <= address);
        let (_, last, subnet) = self.ranges[..after].last()?;
        (address <= *last).then_some(*subnet)
    }

    /// A denial in words: `acl-1 ingress entry 90 denies it at subnet-1`.
    pub fn explain(&self, denial: AclDenial) -> String {
        let acl = self.acls.get(usize::from(denial.subnet)).and_then(Option::as_ref);
        acl.map_or_else(String::new, |acl| acl.explain(denial.direction, denial.entry))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::super::rules::tests::{parse_traffic, topology};
    use super::*;
    use crate::config::{NetworkAcl, NetworkAclEntry};
    use crate::packet::{FiveTuple, Protocol};

    fn entry(number: u16, traffic: &str, cidr: &str, allow: bool) -> NetworkAclEntry {
        NetworkAclEntry { number, traffic: parse_traffic(traffic), cidr: cidr.parse().unwrap(), allow }
    }

    fn acl(id: &str, ingress: Vec<NetworkAclEntry>, egress: Vec<NetworkAclEntry>) -> NetworkAcl {
        NetworkAcl { id: id.to_owned(), ingress, egress }
    }

    /// Three subnets, 10.0.1.0/24, 10.0.2.0/24 and 10.0.9.0/24, each with an IPv6 range, with these ACLs.
    fn vpc(network_acls: Vec<NetworkAcl>, of_subnets: [Option<usize>; 3]) -> Topology {
        let mut topology = topology();
        topology.network_acls = network_acls;
        let template = topology.subnets[0].clone();
        // The last one first: that the file is not sorted must not matter.
        let subnet = |(n, network_acl): (u8, Option<usize>)| Subnet {
            id: format!("subnet-{n}"),
            cidr: format!("10.0.{n}.0/24").parse().unwrap(),
            cidr6: Some(format!("fd00:0:0:{n}::/64").parse().unwrap()),
            network_acl,
            ..template.clone()
        };
        topology.subnets = [9, 1, 2].into_iter().zip(of_subnets).map(subnet).collect();
        topology
    }

    fn packet(src: &str, dst: &str) -> Subject {
        let tuple = match (src.parse().unwrap(), dst.parse().unwrap()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => FiveTuple::v4((src, 40_000), (dst, 443), Protocol::TCP),
            (IpAddr::V6(src), IpAddr::V6(dst)) => FiveTuple::v6((src, 40_000), (dst, 443), Protocol::TCP),
            other => panic!("{other:?}"),
        };
        Subject { tuple, icmp: None }
    }

    #[test]
    fn a_packet_meets_the_acl_of_the_subnet_it_leaves_and_then_that_of_the_one_it_enters() {
        let all =
            |number, allow| vec![entry(number, "all", "0.0.0.0/0", allow), entry(number + 1, "all", "::/0", allow)];
        let acls = || {
            vec![
                acl("acl-closed", vec![], vec![]),
                acl("acl-in", all(10, true), all(20, false)),
                acl("acl-out", all(30, false), all(40, true)),
                acl("acl-443", vec![entry(50, "tcp/443", "10.0.9.0/24", true)], all(60, true)),
            ]
        };
        let (closed, inward, outward, only_443) = (Some(0), Some(1), Some(2), Some(3));
        // What subnets 9, 1 and 2 have; a packet; what is said of it.
        let cases: [([Option<usize>; 3], &str, &str, &str); 20] = [
            ([None; 3], "10.0.9.7", "10.0.1.5", ""),
            ([closed, None, None], "10.0.9.7", "10.0.1.5", "acl-closed egress entry * denies it at subnet-9"),
            ([None, closed, None], "10.0.9.7", "10.0.1.5", "acl-closed ingress entry * denies it at subnet-1"),
            ([None, None, closed], "10.0.9.7", "10.0.1.5", ""),
            // The first on the way is the one that is named.
            ([closed, closed, None], "10.0.9.7", "10.0.1.5", "acl-closed egress entry * denies it at subnet-9"),
            ([closed, closed, None], "10.0.1.5", "10.0.9.7", "acl-closed egress entry * denies it at subnet-1"),
            ([outward, inward, None], "10.0.9.7", "10.0.1.5", ""),
            ([outward, inward, None], "10.0.1.5", "10.0.9.7", "acl-in egress entry 20 denies it at subnet-1"),
            ([outward, None, None], "10.0.1.5", "10.0.9.7", "acl-out ingress entry 30 denies it at subnet-9"),
            ([None, only_443, None], "10.0.9.7", "10.0.1.5", ""),
            ([None, only_443, None], "10.0.2.7", "10.0.1.5", "acl-443 ingress entry * denies it at subnet-1"),
            // One ACL at two subnets is two boundaries.
            ([inward, inward, None], "10.0.9.7", "10.0.1.5", "acl-in egress entry 20 denies it at subnet-9"),
            // Inside a subnet there is none.
            ([closed, closed, closed], "10.0.9.7", "10.0.9.8", ""),
            ([closed, closed, closed], "10.0.9.0", "10.0.9.255", ""),
            // Outside of them neither.
            ([closed, closed, closed], "192.168.10.10", "10.0.7.7", ""),
            ([closed, closed, closed], "10.0.10.0", "10.0.8.255", ""),
            ([closed, None, None], "192.168.10.10", "10.0.9.7", "acl-closed ingress entry * denies it at subnet-9"),
            ([closed, None, None], "10.0.9.255", "192.168.10.10", "acl-closed egress entry * denies it at subnet-9"),
            ([inward, None, None], "fd00:0:0:9::7", "fd00:0:0:1::5", "acl-in egress entry 21 denies it at subnet-9"),
            ([closed, None, None], "fd00:0:0:9::7", "fd00:0:0:9:ffff::5", ""),
        ];
        for (of_subnets, src, dst, wants) in cases {
            let acls = NetworkAcls::compile(&vpc(acls(), of_subnets));
            let said = match acls.evaluate(&packet(src, dst)) {
                Crossing::Allow => String::new(),
                Crossing::Deny(denial) => acls.explain(denial),
            };
            assert_eq!(said, wants, "{of_subnets:?} {src} {dst}");
        }
    }

    #[test]
    fn a_crossing_is_as_small_as_what_one_acl_said() {
        assert!(size_of::<Crossing>() <= 6, "{}", size_of::<Crossing>());
    }

    /// The same in the words of the user guide: each boundary on the way, each entry that fits, the lowest number decides.
    fn oracle(topology: &Topology, subject: &Subject) -> Crossing {
        let (src, dst) = (subject.tuple.src(), subject.tuple.dst());
        for (direction, inside, outside) in [(RuleDirection::Egress, src, dst), (RuleDirection::Ingress, dst, src)] {
            for (index, subnet) in topology.subnets.iter().enumerate() {
                let Some(acl) = subnet.network_acl.map(|acl| &topology.network_acls[acl]) else { continue };
                if !subnet.contains(inside) || subnet.contains(outside) {
                    continue;
                }
                let entries = if direction == RuleDirection::Egress { &acl.egress } else { &acl.ingress };
                let fits =
                    |entry: &&NetworkAclEntry| entry.cidr.contains(&outside) && subject.is_of_traffic(&entry.traffic);
                let decides = entries.iter().filter(fits).min_by_key(|entry| entry.number);
                let entry = match decides {
                    Some(entry) if entry.allow => continue,
                    Some(entry) => AclEntry::number(entry.number),
                    None => AclEntry::LAST,
                };
                return Crossing::Deny(AclDenial { subnet: index as u16, direction, entry });
            }
        }
        Crossing::Allow
    }

    fn entries() -> impl Strategy<Value = Vec<NetworkAclEntry>> {
        let cidrs = ["0.0.0.0/0", "10.0.0.0/16", "10.0.1.0/24", "10.0.9.0/25", "192.168.10.0/24"];
        let traffic = ["all", "tcp/443", "tcp/1024-65535", "udp/0-65535"];
        let one =
            (1u16..40, prop::sample::select(cidrs.to_vec()), prop::sample::select(traffic.to_vec()), any::<bool>());
        prop::collection::btree_map(1u16..40, one, 0..5).prop_map(|entries| {
            // By another order than that of their numbers.
            let mut entries: Vec<_> = entries.into_iter().collect();
            entries.sort_by_key(|(_, (order, ..))| *order);
            entries.into_iter().map(|(number, (_, cidr, traffic, allow))| entry(number, traffic, cidr, allow)).collect()
        })
    }

    proptest! {
        #[test]
        fn all_acls_together_decide_as_one_after_another(
            acls in prop::collection::vec((entries(), entries()), 2),
            of_subnets in prop::array::uniform3(prop::option::of(0usize..2)),
            ends in prop::array::uniform2(prop::sample::select(vec![0x0a00_0105, 0x0a00_0207, 0x0a00_0907, 0x0a00_09c8, 0x0a00_0707, 0xc0a8_0a0a])),
            ports in prop::array::uniform2(prop::sample::select(vec![80u16, 443, 1023, 40_000])),
            protocol in prop::sample::select(vec![Protocol::TCP, Protocol::UDP, Protocol(47)]),
        ) {
            let acls = acls.into_iter().map(|(ingress, egress)| acl("acl-1", ingress, egress)).collect();
            let topology = vpc(acls, of_subnets);
            let [src, dst] = ends.map(Ipv4Addr::from_bits);
            let tuple = FiveTuple::v4((src, ports[0]), (dst, ports[1]), protocol);
            for tuple in [tuple, tuple.reversed()] {
                let subject = Subject { tuple, icmp: None };
                prop_assert_eq!(NetworkAcls::compile(&topology).evaluate(&subject), oracle(&topology, &subject));
            }
        }
    }
}
