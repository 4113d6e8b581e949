//! The tables behind the resolver: every name it knows and the zone each belongs to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::{HashMap, HashSet};
use hickory_proto::rr::Name;
use hickory_proto::rr::rdata::SOA;

use crate::config::{API_SERVICES, DnsRecords, Endpoint, Eni, Site, Topology};

/// Hashes by a key of its own: names come from whoever asks.
type Hasher = foldhash::quality::RandomState;

/// One eni as an answer gives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct EniAddress {
    /// Its place among the enis' states of health.
    pub(super) slot: usize,
    pub(super) ipv4: Option<Ipv4Addr>,
    pub(super) ipv6: Option<Ipv6Addr>,
}

#[derive(Debug)]
enum Target {
    Enis(Vec<EniAddress>),
    Address(Option<Ipv4Addr>, Option<Ipv6Addr>),
    Pointer(Name),
}

/// What a name leads to.
#[derive(Debug)]
pub(super) enum Found<'z> {
    /// Enis of an endpoint, in the order of the topology.
    Enis(&'z [EniAddress]),
    /// One machine.
    Address(Option<Ipv4Addr>, Option<Ipv6Addr>),
    /// The name of an address.
    Pointer(&'z Name),
    /// Only the parent of other names, or a zone's own: it exists and has no data.
    Parent,
    /// The name does not exist.
    Nothing,
}

/// The names of one view.
#[derive(Debug)]
pub(super) struct Zones {
    pub(super) ttl: u32,
    targets: HashMap<Name, Target, Hasher>,
    parents: HashSet<Name, Hasher>,
    /// Apex and SOA of every zone, the longest name first; the root is last.
    apexes: Vec<(Name, SOA)>,
}

impl Zones {
    /// What the resolver in the VPC knows.
    pub(super) fn inside(topology: &Topology) -> Self {
        let mut zones = Self::public(topology);
        if let Some(endpoint) = topology.private_dns_endpoint() {
            zones.private(endpoint, &topology.service_host());
            if topology.resolver.private_dns_api_aws {
                zones.private(endpoint, &topology.service_host_dualstack());
            }
        }
        let compute = topology.compute_zone();
        zones.apex(&compute);
        for host in topology.hosts.iter().filter(|host| matches!(host.site, Site::Subnet(_))) {
            let address = || Target::Address(Some(host.ipv4), host.ipv6);
            zones.insert(&host.name, address());
            zones.insert(&format!("{}.{compute}", host.name), address());
            zones.machine(&compute, host.ipv4, host.ipv6);
        }
        for (_, eni) in topology.enis() {
            zones.machine(&compute, eni.ipv4, None);
        }
        zones
    }

    /// What public DNS knows.
    pub(super) fn public(topology: &Topology) -> Self {
        let mut zones = Self {
            ttl: u32::try_from(topology.resolver.ttl.as_secs()).unwrap_or(u32::MAX),
            targets: HashMap::default(),
            parents: HashSet::default(),
            apexes: Vec::new(),
        };
        zones.apex("");
        zones.apex(topology.dns_suffix());
        zones.apex(&topology.endpoint_zone());
        let (v4, v6) = (topology.resolver.public_address, topology.resolver.public_address6);
        // The ordinary name has IPv4 addresses alone, the dual-stack one both.
        zones.insert(&topology.service_host(), Target::Address(Some(v4), None));
        zones.insert(&topology.service_host_dualstack(), Target::Address(Some(v4), Some(v6)));
        for service in API_SERVICES {
            let address = Target::Address(Some(topology.resolver.api_address), None);
            zones.insert(&topology.api_host(service), address);
        }
        // Endpoints' own names are public and give private addresses.
        for endpoint in &topology.endpoints {
            zones.insert(&topology.endpoint_host(endpoint), Target::Enis(enis(endpoint)));
            for (eni, address) in endpoint.enis.iter().zip(enis(endpoint)) {
                zones.insert(&topology.endpoint_zonal_host(endpoint, eni), Target::Enis(vec![address]));
            }
        }
        zones
    }

    /// Public DNS as the forwarder on-premises sees it, and its own machines.
    pub(super) fn on_premises(topology: &Topology) -> Self {
        let mut zones = Self::public(topology);
        for host in topology.hosts.iter().filter(|host| host.site == Site::OnPremises) {
            zones.insert(&host.name, Target::Address(Some(host.ipv4), host.ipv6));
            if let Some(name) = absolute(&host.name) {
                zones.insert_name(Name::from(IpAddr::V4(host.ipv4)), Target::Pointer(name));
            }
        }
        zones
    }

    /// A private hosted zone with the endpoint at its apex.
    fn private(&mut self, endpoint: &Endpoint, zone: &str) {
        self.apex(zone);
        self.insert(zone, Target::Enis(enis(endpoint)));
    }

    /// The name that the VPC gives an address, and back.
    fn machine(&mut self, compute: &str, ipv4: Ipv4Addr, ipv6: Option<Ipv6Addr>) {
        let [a, b, c, d] = ipv4.octets();
        let name = format!("ip-{a}-{b}-{c}-{d}.{compute}");
        self.insert(&name, Target::Address(Some(ipv4), ipv6));
        if let Some(target) = absolute(&name) {
            self.insert_name(Name::from(IpAddr::V4(ipv4)), Target::Pointer(target));
        }
    }

    fn apex(&mut self, zone: &str) {
        let (Some(apex), Some(primary), Some(contact)) =
            (absolute(zone), absolute(&format!("ns0.{zone}")), absolute("hostmaster.amazon.com"))
        else {
            return;
        };
        // The numbers that the VPC's resolver gives for its own zone; the last one is how long a denial is kept.
        let soa = SOA::new(primary, contact, 2_012_103_100, 3_600, 3_600, 604_800, self.ttl.min(60));
        self.parents.insert(apex.clone());
        self.note_parents(&apex);
        self.apexes.push((apex, soa));
        self.apexes.sort_by_key(|(apex, _)| std::cmp::Reverse(apex.num_labels()));
    }

    fn insert(&mut self, name: &str, target: Target) {
        if let Some(name) = absolute(name) {
            self.insert_name(name, target);
        }
    }

    fn insert_name(&mut self, mut name: Name, target: Target) {
        name.set_fqdn(true);
        self.note_parents(&name);
        self.targets.insert(name, target);
    }

    fn note_parents(&mut self, name: &Name) {
        let mut parent = name.clone();
        while !parent.is_root() {
            parent = parent.base_name();
            self.parents.insert(parent.clone());
        }
    }

    pub(super) fn find(&self, name: &Name) -> Found<'_> {
        match self.targets.get(name) {
            Some(Target::Enis(enis)) => Found::Enis(enis),
            Some(Target::Address(v4, v6)) => Found::Address(*v4, *v6),
            Some(Target::Pointer(target)) => Found::Pointer(target),
            None if self.parents.contains(name) => Found::Parent,
            None => Found::Nothing,
        }
    }

    /// The zone that a name belongs to, and its SOA.
    pub(super) fn authority(&self, name: &Name) -> (&Name, &SOA) {
        let (apex, soa) = self
            .apexes
            .iter()
            .find(|(apex, _)| apex.zone_of(name))
            .unwrap_or_else(|| &self.apexes[self.apexes.len() - 1]);
        (apex, soa)
    }
}

fn enis(endpoint: &Endpoint) -> Vec<EniAddress> {
    let (v4, v6) = match endpoint.dns_records {
        DnsRecords::Ipv4 => (true, false),
        DnsRecords::Ipv6 => (false, true),
        DnsRecords::Dualstack => (true, true),
    };
    let address = |eni: &Eni| EniAddress {
        slot: usize::from(eni.slot),
        ipv4: v4.then_some(eni.ipv4),
        ipv6: eni.ipv6.filter(|_| v6),
    };
    endpoint.enis.iter().map(address).collect()
}

/// A name from its text, with the root at its end. `None` for a label over 63 bytes or a name over 255.
fn absolute(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text.trim_end_matches('.')).ok()?;
    name.set_fqdn(true);
    Some(name)
}
