//! The five-tuple: source, destination, both ports, protocol.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IP protocol number (IANA "Assigned Internet Protocol Numbers").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4, 1.
    pub const ICMP: Self = Self(1);
    /// TCP, 6.
    pub const TCP: Self = Self(6);
    /// UDP, 17.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6, 58.
    pub const ICMPV6: Self = Self(58);
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => f.write_str("icmp"),
            Self::TCP => f.write_str("tcp"),
            Self::UDP => f.write_str("udp"),
            Self::ICMPV6 => f.write_str("icmpv6"),
            Self(number) => write!(f, "protocol {number}"),
        }
    }
}

/// Source and destination: of one family by construction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Source.
        src: Ipv4Addr,
        /// Destination.
        dst: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Source.
        src: Ipv6Addr,
        /// Destination.
        dst: Ipv6Addr,
    },
}

/// Address and port of source and destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ends {
    /// IPv4: an address above its port.
    V4([u64; 2]),
    /// IPv6.
    V6([(u128, u16); 2]),
}

/// What identifies one direction of a flow. Ports are zero where the protocol has none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FiveTuple {
    /// Source and destination address.
    pub addresses: Addresses,
    /// Source port; zero for ICMP and others.
    pub src_port: u16,
    /// Destination port; zero for ICMP and others.
    pub dst_port: u16,
    /// The protocol above IP.
    pub protocol: Protocol,
}

impl FiveTuple {
    /// An IPv4 five-tuple.
    pub const fn v4(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), protocol: Protocol) -> Self {
        Self { addresses: Addresses::V4 { src: src.0, dst: dst.0 }, src_port: src.1, dst_port: dst.1, protocol }
    }

    /// An IPv6 five-tuple.
    pub const fn v6(src: (Ipv6Addr, u16), dst: (Ipv6Addr, u16), protocol: Protocol) -> Self {
        Self { addresses: Addresses::V6 { src: src.0, dst: dst.0 }, src_port: src.1, dst_port: dst.1, protocol }
    }

    /// The five-tuple from `src` to `dst`; `None` if they are of different families.
    pub const fn between(src: SocketAddr, dst: SocketAddr, protocol: Protocol) -> Option<Self> {
        match (src, dst) {
            (SocketAddr::V4(s), SocketAddr::V4(d)) => {
                Some(Self::v4((*s.ip(), s.port()), (*d.ip(), d.port()), protocol))
            }
            (SocketAddr::V6(s), SocketAddr::V6(d)) => {
                Some(Self::v6((*s.ip(), s.port()), (*d.ip(), d.port()), protocol))
            }
            _ => None,
        }
    }

    /// Source address.
    #[inline]
    pub const fn src(&self) -> IpAddr {
        match self.addresses {
            Addresses::V4 { src, .. } => IpAddr::V4(src),
            Addresses::V6 { src, .. } => IpAddr::V6(src),
        }
    }

    /// Destination address.
    #[inline]
    pub const fn dst(&self) -> IpAddr {
        match self.addresses {
            Addresses::V4 { dst, .. } => IpAddr::V4(dst),
            Addresses::V6 { dst, .. } => IpAddr::V6(dst),
        }
    }

    /// Source address and port.
    pub const fn src_socket(&self) -> SocketAddr {
        SocketAddr::new(self.src(), self.src_port)
    }

    /// Destination address and port.
    pub const fn dst_socket(&self) -> SocketAddr {
        SocketAddr::new(self.dst(), self.dst_port)
    }

    /// Whether it is of IPv6.
    #[inline]
    pub const fn is_v6(&self) -> bool {
        matches!(self.addresses, Addresses::V6 { .. })
    }

    /// Both ends in a form that compares fast: for IPv4 address and port are one word.
    #[inline]
    pub(crate) const fn ends(&self) -> Ends {
        match self.addresses {
            Addresses::V4 { src, dst } => Ends::V4([
                (src.to_bits() as u64) << 16 | self.src_port as u64,
                (dst.to_bits() as u64) << 16 | self.dst_port as u64,
            ]),
            Addresses::V6 { src, dst } => Ends::V6([(src.to_bits(), self.src_port), (dst.to_bits(), self.dst_port)]),
        }
    }

    /// The five-tuple of the replies.
    #[inline]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        let addresses = match self.addresses {
            Addresses::V4 { src, dst } => Addresses::V4 { src: dst, dst: src },
            Addresses::V6 { src, dst } => Addresses::V6 { src: dst, dst: src },
        };
        Self { addresses, src_port: self.dst_port, dst_port: self.src_port, protocol: self.protocol }
    }
}

/// Few, wide writes: IPv4 hashes as two words, IPv6 as five.
impl Hash for FiveTuple {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let rest = u64::from(self.src_port) << 24 | u64::from(self.dst_port) << 8 | u64::from(self.protocol.0);
        match self.addresses {
            Addresses::V4 { src, dst } => {
                state.write_u64(u64::from(src.to_bits()) << 32 | u64::from(dst.to_bits()));
                state.write_u64(rest);
            }
            Addresses::V6 { src, dst } => {
                state.write_u128(src.to_bits());
                state.write_u128(dst.to_bits());
                // The bit keeps an IPv4 tuple's words from being a prefix of an IPv6 tuple's.
                state.write_u64(rest | 1 << 40);
            }
        }
    }
}

impl fmt::Display for FiveTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self.protocol, Protocol::TCP | Protocol::UDP) {
            write!(f, "{} {} -> {}", self.protocol, self.src_socket(), self.dst_socket())
        } else {
            write!(f, "{} {} -> {}", self.protocol, self.src(), self.dst())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_five_tuple_reads_as_a_person_would_write_it() {
        let tcp = FiveTuple::v4((Ipv4Addr::new(10, 0, 1, 10), 40000), (Ipv4Addr::new(10, 0, 1, 5), 443), Protocol::TCP);
        assert_eq!(tcp.to_string(), "tcp 10.0.1.10:40000 -> 10.0.1.5:443");
        let ping = FiveTuple::v6((Ipv6Addr::LOCALHOST, 0), (Ipv6Addr::UNSPECIFIED, 0), Protocol::ICMPV6);
        assert_eq!(ping.to_string(), "icmpv6 ::1 -> ::");
        let gre = FiveTuple::v4((Ipv4Addr::LOCALHOST, 0), (Ipv4Addr::LOCALHOST, 0), Protocol(47));
        assert_eq!(gre.to_string(), "protocol 47 127.0.0.1 -> 127.0.0.1");
    }

    #[test]
    fn reversing_twice_is_nothing_and_families_never_mix() {
        let a: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let b: SocketAddr = "10.0.0.2:2".parse().unwrap();
        let six: SocketAddr = "[::1]:3".parse().unwrap();
        let tuple = FiveTuple::between(a, b, Protocol::UDP).unwrap();
        assert_eq!((tuple.reversed().src_socket(), tuple.reversed().dst_socket()), (b, a));
        assert_eq!(tuple.reversed().reversed(), tuple);
        assert_eq!(FiveTuple::between(a, six, Protocol::UDP), None);
    }

    #[test]
    fn a_five_tuple_stays_small() {
        assert!(size_of::<FiveTuple>() <= 40, "{}", size_of::<FiveTuple>());
    }
}
