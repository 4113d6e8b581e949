//! What fits: from the path's MTU to the largest inner packet and the MSS that keeps TCP below it.
//!
//! There is no path MTU discovery through the tunnel and the packets on it are not fragmented, as on a Site-to-Site VPN:
//! a larger inner packet is dropped with a reason. What keeps TCP working is the MSS clamp.

use super::esp;

/// Outer IPv4 header without options, bytes.
pub const OUTER_IPV4: usize = 20;
/// UDP header, bytes.
pub const OUTER_UDP: usize = 8;
/// What an outer packet has around its ESP frame, bytes. The outer addresses are IPv4.
pub const OUTER_HEADERS: usize = OUTER_IPV4 + OUTER_UDP;

/// The largest inner packet on a path of `outer_mtu` bytes with AES-GCM in UDP: 1438 for 1500 (Site-to-Site VPN user guide).
pub const fn inner_mtu(outer_mtu: u16) -> u16 {
    largest_inner(outer_mtu as usize, OUTER_HEADERS) as u16
}

/// The MSS that fills an inner IPv4 packet of `inner_mtu` bytes: 1398 for 1438.
pub const fn mss_ipv4(inner_mtu: u16) -> u16 {
    inner_mtu.saturating_sub(20 + 20)
}

/// The MSS that fills an inner IPv6 packet of `inner_mtu` bytes: 20 less than over IPv4.
pub const fn mss_ipv6(inner_mtu: u16) -> u16 {
    inner_mtu.saturating_sub(40 + 20)
}

/// Padding rounds the payload up to a multiple of four, so what fits is rounded down to one.
const fn largest_inner(outer_mtu: usize, outer_headers: usize) -> usize {
    let payload = outer_mtu.saturating_sub(outer_headers + esp::ESP_HEADROOM + esp::ICV_LEN);
    (payload - payload % esp::ALIGNMENT).saturating_sub(esp::TRAILER_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_publishes_these_sizes_for_gcm() {
        // Site-to-Site VPN user guide: (outer headers, MTU, MSS over IPv4) at an outer MTU of 1500, without and with NAT traversal.
        for (headers, mtu, mss) in [(OUTER_IPV4, 1446, 1406), (OUTER_HEADERS, 1438, 1398)] {
            assert_eq!(largest_inner(1500, headers), mtu);
            assert_eq!(mss_ipv4(mtu as u16), mss);
        }
        assert_eq!(mss_ipv6(inner_mtu(1500)), 1378);
    }

    #[test]
    fn the_largest_inner_packet_fits_and_one_byte_more_does_not() {
        for outer in [576_u16, 1280, 1420, 1499, 1500, 1501, 8500, 9001] {
            let inner = usize::from(inner_mtu(outer));
            assert!(OUTER_HEADERS + esp::frame_len(inner) <= usize::from(outer), "{outer}");
            assert!(OUTER_HEADERS + esp::frame_len(inner + 1) > usize::from(outer), "{outer}");
        }
    }

    #[test]
    fn a_path_too_small_for_esp_fits_nothing() {
        assert_eq!((inner_mtu(0), inner_mtu(63), mss_ipv4(0), mss_ipv6(10)), (0, 0, 0, 0));
    }
}
