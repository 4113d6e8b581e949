//! Packets for the tests of this module and of those below, built by etherparse so that nothing of ours judges itself.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, PacketBuilder, TcpHeader};

use super::five_tuple::Protocol;
use super::view::{PacketMeta, TcpFlags};
use super::virtio::{GsoType, VirtioHeader};

pub(crate) const CLIENT4: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 10);
pub(crate) const ENI4: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);
pub(crate) const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0x10);
pub(crate) const ENI6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 5);

/// What a packet is to be.
#[derive(Clone, Debug)]
pub(crate) struct PacketSpec {
    pub(crate) v6: bool,
    pub(crate) protocol: Protocol,
    pub(crate) src4: Ipv4Addr,
    pub(crate) dst4: Ipv4Addr,
    pub(crate) src6: Ipv6Addr,
    pub(crate) dst6: Ipv6Addr,
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) flags: TcpFlags,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) options: Vec<u8>,
    pub(crate) hop_limit: u8,
    pub(crate) payload: Vec<u8>,
}

impl PacketSpec {
    fn new(v6: bool, protocol: Protocol, payload: &[u8]) -> Self {
        Self {
            v6,
            protocol,
            src4: CLIENT4,
            dst4: ENI4,
            src6: CLIENT6,
            dst6: ENI6,
            src_port: 40_000,
            dst_port: 443,
            flags: TcpFlags::ACK,
            sequence: 1000,
            acknowledgement: 0,
            options: Vec::new(),
            hop_limit: 64,
            payload: payload.to_vec(),
        }
    }

    pub(crate) fn tcp4(payload: &[u8]) -> Self {
        Self::new(false, Protocol::TCP, payload)
    }

    pub(crate) fn tcp6(payload: &[u8]) -> Self {
        Self::new(true, Protocol::TCP, payload)
    }

    pub(crate) fn udp4(payload: &[u8]) -> Self {
        Self::new(false, Protocol::UDP, payload)
    }

    pub(crate) fn udp6(payload: &[u8]) -> Self {
        Self::new(true, Protocol::UDP, payload)
    }

    pub(crate) fn ping4(payload: &[u8]) -> Self {
        Self::new(false, Protocol::ICMP, payload)
    }

    pub(crate) fn ping6(payload: &[u8]) -> Self {
        Self::new(true, Protocol::ICMPV6, payload)
    }

    pub(crate) fn with_flags(self, flags: TcpFlags) -> Self {
        Self { flags, ..self }
    }

    /// The same flow, the other way.
    pub(crate) fn reply(self) -> Self {
        Self {
            src4: self.dst4,
            dst4: self.src4,
            src6: self.dst6,
            dst6: self.src6,
            src_port: self.dst_port,
            dst_port: self.src_port,
            ..self
        }
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let ip = if self.v6 {
            PacketBuilder::ipv6(self.src6.octets(), self.dst6.octets(), self.hop_limit)
        } else {
            PacketBuilder::ipv4(self.src4.octets(), self.dst4.octets(), self.hop_limit)
        };
        let mut bytes = Vec::new();
        match self.protocol {
            Protocol::TCP => {
                let mut tcp = TcpHeader::new(self.src_port, self.dst_port, self.sequence, 8192);
                tcp.acknowledgment_number = self.acknowledgement;
                tcp.set_options_raw(&self.options).unwrap();
                let has = |flag| self.flags.contains(flag);
                (tcp.fin, tcp.syn, tcp.rst) = (has(TcpFlags::FIN), has(TcpFlags::SYN), has(TcpFlags::RST));
                (tcp.psh, tcp.ack, tcp.cwr) = (has(TcpFlags::PSH), has(TcpFlags::ACK), has(TcpFlags::CWR));
                ip.tcp_header(tcp).write(&mut bytes, &self.payload).unwrap();
            }
            Protocol::UDP => ip.udp(self.src_port, self.dst_port).write(&mut bytes, &self.payload).unwrap(),
            Protocol::ICMP => ip.icmpv4_echo_request(7, 1).write(&mut bytes, &self.payload).unwrap(),
            Protocol::ICMPV6 => ip.icmpv6_echo_request(7, 1).write(&mut bytes, &self.payload).unwrap(),
            Protocol(number) => ip.write(&mut bytes, IpNumber(number), &self.payload).unwrap(),
        }
        bytes
    }
}

/// One packet of each kind that has a transport checksum.
pub(crate) fn every_kind() -> [PacketSpec; 6] {
    let payload = b"a payload of odd length";
    [
        PacketSpec::tcp4(payload),
        PacketSpec::tcp6(payload),
        PacketSpec::udp4(payload),
        PacketSpec::udp6(payload),
        PacketSpec::ping4(payload),
        PacketSpec::ping6(payload),
    ]
}

/// The virtio-net header of a packet whose checksum is partial.
pub(crate) fn partial(meta: &PacketMeta) -> VirtioHeader {
    let csum_offset = if meta.tuple().protocol == Protocol::UDP { 6 } else { 16 };
    VirtioHeader {
        needs_checksum: true,
        csum_start: meta.transport_offset() as u16,
        csum_offset,
        ..VirtioHeader::default()
    }
}

/// The virtio-net header of a super-segment.
pub(crate) fn gso(meta: &PacketMeta, gso_size: u16) -> VirtioHeader {
    let gso_type = match (meta.tuple().protocol, meta.tuple().is_v6()) {
        (Protocol::UDP, _) => GsoType::UdpL4,
        (_, false) => GsoType::TcpV4,
        (_, true) => GsoType::TcpV6,
    };
    VirtioHeader { gso_type, gso_size, header_len: meta.payload_offset() as u16, ..partial(meta) }
}
