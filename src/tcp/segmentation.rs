//! Segmentation offload over IPv6, around smoltcp.
//!
//! smoltcp 0.14.0 silently drops IPv6 segments that are larger than the MTU even where the device segments. So it is shown
//! a device with a large MTU, and the MSS option of the client's SYN is raised on its way in; the real MSS is remembered
//! and given to the device with each packet. The client sees only its own MSS kept.

/// IPv6 and TCP headers without options, bytes.
const HEADERS: usize = 60;
const SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
/// As smoltcp does over IPv4, and Linux (`tcp_min_snd_mss`): an MSS of a byte or so would make a packet of every byte.
const MSS_MIN: u16 = 48;

/// Remembers the MSS of a SYN in `real_mss` and raises it to what `mtu` allows. Other packets are left alone.
///
/// The TCP checksum is not kept: it was verified before and smoltcp does not look at it on this leg.
pub(super) fn present_large_mss(real_mss: &mut u16, packet: &mut [u8], mtu: usize) {
    let Some(option) = syn_mss(packet) else { return };
    let Ok(raised) = u16::try_from(mtu.saturating_sub(HEADERS)) else { return };
    *real_mss = u16::from_be_bytes(*option).max(MSS_MIN);
    *option = raised.to_be_bytes();
}

/// The MSS option's value in an IPv6 SYN without extension headers.
fn syn_mss(packet: &mut [u8]) -> Option<&mut [u8; 2]> {
    const NEXT_HEADER_TCP: u8 = 6;
    if *packet.get(6)? != NEXT_HEADER_TCP {
        return None;
    }
    let tcp = packet.get_mut(40..)?;
    if tcp.get(13)? & SYN == 0 {
        return None;
    }
    let header_len = usize::from(tcp.get(12)? >> 4) * 4;
    let options = tcp.get_mut(20..header_len)?;
    let mut at = 0;
    loop {
        match *options.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            OPTION_MSS => return options.get_mut(at + 2..at + 4)?.try_into().ok(),
            _ => at += usize::from(*options.get(at + 1)?).max(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 60];
        packet[0] = 0x60;
        packet[6] = 6;
        packet[52] = u8::try_from((20 + options.len()) / 4).unwrap() << 4;
        packet[53] = SYN;
        packet.extend_from_slice(options);
        packet
    }

    #[test]
    fn a_syns_mss_is_remembered_and_raised() {
        let mut packet = syn(&[1, 1, 4, 2, 2, 4, 0x05, 0x78]);
        let mut real = 0;
        present_large_mss(&mut real, &mut packet, 65_521);
        assert_eq!((real, &packet[66..]), (1400, &65_461_u16.to_be_bytes()[..]));
    }

    #[test]
    fn a_tiny_mss_does_not_make_a_packet_of_every_byte() {
        let mut real = 0;
        present_large_mss(&mut real, &mut syn(&[2, 4, 0, 1]), 65_521);
        assert_eq!(real, 48);
    }

    #[test]
    fn anything_else_is_left_alone() {
        for mut packet in [syn(&[0, 2, 4, 5]), syn(&[]), syn(&[3, 0, 0, 0]), syn(&[2, 4]), vec![0x60; 30], Vec::new()] {
            let (before, mut real) = (packet.clone(), 0);
            present_large_mss(&mut real, &mut packet, 65_521);
            assert_eq!((packet, real), (before, 0));
        }
    }
}
