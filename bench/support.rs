//! Packets and rules for the benches of the packet half, built once, outside of what is timed.

#![allow(dead_code, reason = "each bench uses a part")]

use std::net::Ipv4Addr;
use std::time::Duration;

use etherparse::{PacketBuilder, TcpHeader};
use vpce::config::{
    Endpoint, EndpointSettings, Eni, OnPremises, PathDirection, PathProfile, Peer, PortRange, SecurityGroup,
    SecurityGroupRule, Subnet, Topology, Traffic, Tunnel, Vpc,
};
use vpce::packet::checksum::fill_ipv4_header;

/// The eni.
pub const ENI: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);

/// Client number `n`, in the VPC.
pub fn client(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0200 + n % 0xfc00)
}

/// A TCP packet from client `n` to the eni.
pub fn tcp4(n: u32, src_port: u16, syn: bool, payload: usize) -> Vec<u8> {
    let mut tcp = TcpHeader::new(src_port, 443, 1000 + u32::from(!syn), 8192);
    (tcp.syn, tcp.ack) = (syn, !syn);
    if syn {
        tcp.set_options_raw(&[2, 4, 0x23, 0x01]).expect("four bytes of options");
    }
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(client(n).octets(), ENI.octets(), 64).tcp_header(tcp);
    builder.write(&mut bytes, &vec![0x5a; payload]).expect("a packet within its limits");
    bytes
}

/// The eni's answer to the SYN of client 0, or what it says after it.
pub fn reply4(syn: bool, payload: usize) -> Vec<u8> {
    let mut tcp = TcpHeader::new(443, 0, 9000 + u32::from(!syn), 8192);
    (tcp.syn, tcp.ack, tcp.acknowledgment_number) = (syn, true, 1001);
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(ENI.octets(), client(0).octets(), 64).tcp_header(tcp);
    builder.write(&mut bytes, &vec![0x5a; payload]).expect("a packet within its limits");
    bytes
}

/// Flows that tables are filled with. A run that only shows that benches work (`cargo test --benches`) has no time for more than a few.
pub fn flow_counts() -> &'static [u32] {
    if is_measured() { &[1_000, 100_000, 1_000_000] } else { &[1_000] }
}

/// Whether numbers are wanted: cargo says so to benches.
pub fn is_measured() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Packets of many flows, one at a time, in one place: as the hot loop has them, which reads them from a device.
#[derive(Clone)]
pub struct Packets {
    bytes: Vec<u8>,
}

impl Packets {
    /// Packets like this one of [`tcp4`].
    pub fn like(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The packet as it is.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The packet of flow `n`, of as many as there are addresses of a client and ports. Its TCP checksum is not mended: nobody
    /// verifies it where the device vouches for it.
    pub fn of_flow(&mut self, n: u32) -> &mut [u8] {
        let (client, port) = flow(n);
        self.bytes[12..16].copy_from_slice(&self::client(client).octets());
        self.bytes[20..22].copy_from_slice(&port.to_be_bytes());
        fill_ipv4_header(&mut self.bytes[..20]);
        &mut self.bytes
    }

    /// The same, from the eni.
    pub fn reply_of_flow(&mut self, n: u32) -> &mut [u8] {
        let (client, port) = flow(n);
        self.bytes[16..20].copy_from_slice(&self::client(client).octets());
        self.bytes[22..24].copy_from_slice(&port.to_be_bytes());
        fill_ipv4_header(&mut self.bytes[..20]);
        &mut self.bytes
    }
}

/// Flow `n`: its client and port.
pub fn flow(n: u32) -> (u32, u16) {
    (n, 1024 + (n / 0xfc00) as u16)
}

/// The same over IPv6, from one client.
pub fn tcp6(payload: usize) -> Vec<u8> {
    let mut tcp = TcpHeader::new(40_000, 443, 1001, 8192);
    tcp.ack = true;
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp_header(tcp);
    builder.write(&mut bytes, &vec![0x5a; payload]).expect("a packet within its limits");
    bytes
}

/// A security group with `count` rules on single addresses and ports, of which the last alone admits tcp/443 from the VPC.
pub fn rules(count: usize) -> Vec<SecurityGroupRule> {
    rules_admitting_at(count - 1, count)
}

/// The same, of which the one at `place` alone admits tcp/443 from the VPC.
pub fn rules_admitting_at(place: usize, count: usize) -> Vec<SecurityGroupRule> {
    let rule = |n: usize| {
        let (port, cidr) = if n == place {
            (443, "10.0.0.0/16".to_owned())
        } else {
            (1024 + n as u16, format!("10.1.{}.{}/32", n / 250, n % 250))
        };
        SecurityGroupRule {
            id: format!("sgr-{n}"),
            traffic: Traffic::Tcp(PortRange { from: port, to: port }),
            peer: Peer::Cidr(cidr.parse().expect("a CIDR")),
            description: None,
        }
    };
    (0..count).map(rule).collect()
}

/// One eni with these rules.
pub fn topology(ingress: Vec<SecurityGroupRule>) -> Topology {
    let direction = PathDirection { delay: Duration::ZERO, ..PathDirection::default() };
    Topology {
        resolver: vpce::config::Resolver::default(),
        name: "bench".to_owned(),
        region: "us-east-2".to_owned(),
        partition: "aws".to_owned(),
        account: "123456789012".to_owned(),
        vpc: Vpc {
            id: "vpc-1".to_owned(),
            cidr: "10.0.0.0/16".parse().expect("a CIDR"),
            cidr6: None,
            dns_support: true,
            dns_hostnames: true,
        },
        subnets: vec![Subnet {
            id: "subnet-1".to_owned(),
            cidr: "10.0.1.0/24".parse().expect("a CIDR"),
            cidr6: None,
            zone: "us-east-2a".to_owned(),
            network_acl: None,
        }],
        network_acls: vec![],
        prefix_lists: vec![],
        security_groups: vec![SecurityGroup {
            id: "sg-1".to_owned(),
            name: "bench".to_owned(),
            ingress,
            egress: vec![],
        }],
        endpoints: vec![Endpoint {
            id: "vpce-1".to_owned(),
            dns_token: "abcdefgh".to_owned(),
            enis: vec![Eni {
                slot: 0,
                id: "eni-1".to_owned(),
                subnet: 0,
                ipv4: ENI,
                ipv6: None,
                security_groups: vec![0],
            }],
            private_dns: true,
            dns_records: vpce::config::DnsRecords::default(),
            policy: None,
        }],
        settings: EndpointSettings { half_open_limit: 65_536, ..EndpointSettings::default() },
        hosts: vec![],
        on_premises: OnPremises {
            cidr: "192.168.10.0/24".parse().expect("a CIDR"),
            cidr6: None,
            router: Ipv4Addr::new(192, 168, 10, 1),
            router6: None,
            dns_forwarder: Ipv4Addr::new(192, 168, 10, 2),
            function_host: "192.168.10.20:8080".parse().expect("an address"),
            external_function_host: false,
        },
        tunnel: Tunnel {
            aws_outside: Ipv4Addr::new(203, 0, 113, 1),
            customer_outside: Ipv4Addr::new(198, 51, 100, 1),
            port: 4500,
            inside_cidr: "169.254.10.0/30".parse().expect("a CIDR"),
            replay_window: 1024,
            path: "lan".to_owned(),
        },
        paths: vec![PathProfile { name: "lan".to_owned(), mtu: 1500, to_customer: direction, to_aws: direction }],
        identities: vec![],
        functions: vec![],
    }
}
