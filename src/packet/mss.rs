//! MSS clamping: PrivateLink endpoints lower the maximum segment size announced in either direction.

use super::checksum::{self, ChecksumState};
use super::five_tuple::Protocol;
use super::view::{PacketMeta, TcpFlags};

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const TCP_CHECKSUM_OFFSET: usize = 16;

/// The MSS option of a SYN or SYN-ACK, bytes; `None` for any other packet and where it is absent or malformed.
pub fn mss_option(bytes: &[u8], meta: &PacketMeta) -> Option<u16> {
    let at = find(bytes, meta)?;
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Lowers the MSS option of a SYN or SYN-ACK to `mss_max` bytes and mends the checksum. Tells whether it changed anything:
/// not if the option is absent (the sender then assumes 536 or 1220, RFC 9293 §3.7.1) or low enough.
pub fn clamp_mss(bytes: &mut [u8], meta: &PacketMeta, checksum: ChecksumState, mss_max: u16) -> bool {
    let Some(at) = find(bytes, meta) else { return false };
    let Some(&[a, b]) = bytes.get(at..at + 2).and_then(|v| v.as_array()) else { return false };
    let old = u16::from_be_bytes([a, b]);
    if old <= mss_max {
        return false;
    }
    bytes[at..at + 2].copy_from_slice(&mss_max.to_be_bytes());
    // A partial checksum covers the pseudo header alone.
    if checksum == ChecksumState::Complete {
        // Options have no alignment. A value across two words is the same sum with its bytes turned round (RFC 1071 §2 B).
        let is_odd = (at - meta.transport_offset()) % 2 == 1;
        let (old, new) = if is_odd { (old.swap_bytes(), mss_max.swap_bytes()) } else { (old, mss_max) };
        let field = meta.transport_offset() + TCP_CHECKSUM_OFFSET;
        let before = u16::from_be_bytes([bytes[field], bytes[field + 1]]);
        bytes[field..field + 2].copy_from_slice(&checksum::update(before, old, new).to_be_bytes());
    }
    true
}

/// Where the value of the MSS option stands.
fn find(bytes: &[u8], meta: &PacketMeta) -> Option<usize> {
    const FIXED_HEADER_LEN: usize = 20;
    if meta.tuple().protocol != Protocol::TCP || !meta.tcp_flags().contains(TcpFlags::SYN) {
        return None;
    }
    let mut at = meta.transport_offset() + FIXED_HEADER_LEN;
    let options = bytes.get(..meta.payload_offset())?;
    loop {
        match *options.get(at..)? {
            [OPTION_NOP, ..] => at += 1,
            [OPTION_MSS, 4, _, _, ..] => return Some(at + 2),
            [] | [OPTION_END | OPTION_MSS, ..] => return None,
            // A length below two would never end.
            [_, len @ 2..=u8::MAX, ..] => at += usize::from(len),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::{self, PacketSpec};
    use super::*;
    use proptest::prelude::*;

    const SYN_ACK: TcpFlags = TcpFlags::SYN.union(TcpFlags::ACK);

    #[test]
    fn the_option_is_lowered_wherever_it_stands_and_the_checksum_stays_right() {
        let mss = [2, 4, 0x23, 0x01]; // 8961
        let cases: &[(&str, Vec<u8>)] = &[
            ("first", [&mss[..], &[1, 3, 3, 7]].concat()),
            ("odd offset", [&[1][..], &mss, &[3, 3, 7]].concat()),
            ("behind others", [&[4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8][..], &mss].concat()),
        ];
        for (name, options) in cases {
            for flags in [TcpFlags::SYN, SYN_ACK] {
                for spec in [PacketSpec::tcp4(b""), PacketSpec::tcp6(b"data")] {
                    let mut bytes = PacketSpec { flags, options: options.clone(), ..spec }.build();
                    let meta = *parse(&bytes).unwrap().meta();
                    assert_eq!(mss_option(&bytes, &meta), Some(8961), "{name}");
                    assert!(clamp_mss(&mut bytes, &meta, ChecksumState::Complete, 8365), "{name}");
                    assert_eq!(mss_option(&bytes, &meta), Some(8365), "{name}");
                    assert!(checksum::verify_transport(&bytes, &meta), "{name}");
                    assert!(!clamp_mss(&mut bytes, &meta, ChecksumState::Complete, 8365), "{name}: a second time");
                }
            }
        }
    }

    #[test]
    fn a_partial_checksum_is_left_alone() {
        let spec = PacketSpec { flags: TcpFlags::SYN, options: vec![2, 4, 0x23, 0x01], ..PacketSpec::tcp4(b"") };
        let mut bytes = spec.build();
        let meta = *parse(&bytes).unwrap().meta();
        checksum::fill_partial(&mut bytes, &meta);
        assert!(clamp_mss(&mut bytes, &meta, ChecksumState::Partial, 1000));
        super::super::complete_checksum(&mut testing::partial(&meta), &mut bytes).unwrap();
        assert!(checksum::verify_transport(&bytes, &meta));
    }

    #[test]
    fn what_is_absent_small_or_malformed_is_left_alone() {
        let cases: &[(&str, TcpFlags, &[u8])] = &[
            ("no option", TcpFlags::SYN, &[]),
            ("small enough", TcpFlags::SYN, &[2, 4, 0x05, 0xb4]),
            ("not a SYN", TcpFlags::ACK, &[2, 4, 0x23, 0x01]),
            ("behind the end of options", TcpFlags::SYN, &[0, 2, 4, 0x23, 0x01, 0, 0, 0]),
            ("wrong length", TcpFlags::SYN, &[2, 3, 0x23, 0x01]),
            ("cut off", TcpFlags::SYN, &[1, 1, 2, 4]),
            ("a length of zero", TcpFlags::SYN, &[5, 0, 2, 4, 0x23, 0x01, 0, 0]),
        ];
        for (name, flags, options) in cases {
            let mut bytes = PacketSpec { flags: *flags, options: options.to_vec(), ..PacketSpec::tcp4(b"") }.build();
            let (before, meta) = (bytes.clone(), *parse(&bytes).unwrap().meta());
            assert!(!clamp_mss(&mut bytes, &meta, ChecksumState::Complete, 8365), "{name}");
            assert_eq!(bytes, before, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_options_make_it_panic_or_break_the_checksum(options in prop::collection::vec(0u8..12, 0..10), mss_max: u16) {
            let options: Vec<u8> = options.iter().copied().cycle().take(options.len() * 4).collect();
            let mut bytes = PacketSpec { flags: TcpFlags::SYN, options, ..PacketSpec::tcp4(b"x") }.build();
            let meta = *parse(&bytes).unwrap().meta();
            clamp_mss(&mut bytes, &meta, ChecksumState::Complete, mss_max);
            prop_assert!(checksum::verify_transport(&bytes, &meta));
        }
    }
}
