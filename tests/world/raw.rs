//! Packets made by hand, by etherparse, so that nothing of ours judges itself.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep, SlicedPacket, TcpOptionElement, TransportSlice};

/// A TCP segment to be built.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// `S`, `A`, `F`, `R`, `P` in any order.
    pub flags: &'a str,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub payload: &'a [u8],
}

impl Tcp<'_> {
    /// The packet.
    pub fn build(&self) -> Vec<u8> {
        let mut tcp = ip(self.from, self.to, 64).tcp(self.from.port(), self.to.port(), self.sequence, 64_000);
        for flag in self.flags.chars() {
            tcp = match flag {
                'S' => tcp.syn(),
                'A' => tcp.ack(self.acknowledgement),
                'F' => tcp.fin(),
                'R' => tcp.rst(),
                'P' => tcp.psh(),
                other => panic!("no TCP flag {other}"),
            };
        }
        let mut packet = Vec::new();
        tcp.write(&mut packet, self.payload).unwrap();
        packet
    }
}

/// A SYN with an MSS option.
pub fn syn(from: SocketAddr, to: SocketAddr, mss: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = ip(from, to, 64).tcp(from.port(), to.port(), 1, 64_000).syn();
    builder.options(&[TcpOptionElement::MaximumSegmentSize(mss)]).unwrap().write(&mut packet, &[]).unwrap();
    packet
}

/// A UDP datagram.
pub fn udp(from: SocketAddr, to: SocketAddr, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    ip(from, to, hop_limit).udp(from.port(), to.port()).write(&mut packet, payload).unwrap();
    packet
}

/// An echo request.
pub fn ping(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let mut packet = Vec::new();
    let step = ip(SocketAddr::new(from, 0), SocketAddr::new(to, 0), 64);
    match from {
        IpAddr::V4(_) => step.icmpv4_echo_request(1, 1).write(&mut packet, b"ping").unwrap(),
        IpAddr::V6(_) => step.icmpv6_echo_request(1, 1).write(&mut packet, b"ping").unwrap(),
    }
    packet
}

pub fn ip(from: SocketAddr, to: SocketAddr, hop_limit: u8) -> PacketBuilderStep<IpHeaders> {
    match (from.ip(), to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => PacketBuilder::ipv4(a.octets(), b.octets(), hop_limit),
        (IpAddr::V6(a), IpAddr::V6(b)) => PacketBuilder::ipv6(a.octets(), b.octets(), hop_limit),
        _ => panic!("one family"),
    }
}

/// Panics unless every checksum of the packet is right.
pub fn assert_checksums(packet: &[u8]) {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let net = sliced.net.as_ref().unwrap();
    match (net, sliced.transport.as_ref().unwrap()) {
        (etherparse::NetSlice::Ipv4(ip), transport) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            match transport {
                TransportSlice::Tcp(tcp) => {
                    let sum = tcp.calc_checksum_ipv4(header.source(), header.destination()).unwrap();
                    assert_eq!(tcp.checksum(), sum);
                }
                TransportSlice::Udp(udp) => {
                    let sum = udp.to_header().calc_checksum_ipv4(&header.to_header(), udp.payload()).unwrap();
                    assert_eq!(udp.checksum(), sum);
                }
                other => panic!("{other:?}"),
            }
        }
        (etherparse::NetSlice::Ipv6(ip), transport) => {
            let header = ip.header().to_header();
            match transport {
                TransportSlice::Tcp(tcp) => {
                    assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv6(header.source, header.destination).unwrap());
                }
                TransportSlice::Udp(udp) => {
                    let sum = udp.to_header().calc_checksum_ipv6(&header, udp.payload()).unwrap();
                    assert_eq!(udp.checksum(), sum);
                }
                other => panic!("{other:?}"),
            }
        }
        (other, _) => panic!("{other:?}"),
    }
}
