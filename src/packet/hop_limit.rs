//! What a router does to every packet that it forwards.

use super::checksum;
use super::view::PacketMeta;
use crate::verdict::Reason;

/// Lowers the hop limit (time to live) by one in bytes and meta and mends the IPv4 header checksum.
///
/// # Errors
/// [`Reason::HopLimitExceeded`] if none is left; the packet is then unchanged (RFC 1812 §5.3.1, RFC 8200 §3).
pub fn decrement_hop_limit(bytes: &mut [u8], meta: &mut PacketMeta) -> Result<(), Reason> {
    let hop_limit = meta.hop_limit();
    if hop_limit <= 1 {
        return Err(Reason::HopLimitExceeded);
    }
    if meta.tuple().is_v6() {
        let [_, _, _, _, _, _, _, field, ..] = bytes else { return Err(Reason::PacketMalformed) };
        *field = hop_limit - 1;
    } else {
        let [_, _, _, _, _, _, _, _, ttl, protocol, c0, c1, ..] = bytes else { return Err(Reason::PacketMalformed) };
        let old = u16::from_be_bytes([*ttl, *protocol]);
        *ttl = hop_limit - 1;
        let new = u16::from_be_bytes([*ttl, *protocol]);
        [*c0, *c1] = checksum::update(u16::from_be_bytes([*c0, *c1]), old, new).to_be_bytes();
    }
    meta.set_hop_limit(hop_limit - 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::super::testing::PacketSpec;
    use super::*;

    #[test]
    fn each_hop_takes_one_until_none_is_left() {
        for spec in [PacketSpec::tcp4(b"x"), PacketSpec::udp6(b"x")] {
            let mut bytes = PacketSpec { hop_limit: 255, ..spec }.build();
            let mut meta = *parse(&bytes).unwrap().meta();
            for left in (1..255).rev() {
                decrement_hop_limit(&mut bytes, &mut meta).unwrap();
                assert_eq!(parse(&bytes).unwrap().meta(), &meta);
                assert_eq!(meta.hop_limit(), left);
            }
            let before = bytes.clone();
            assert_eq!(decrement_hop_limit(&mut bytes, &mut meta), Err(Reason::HopLimitExceeded));
            assert_eq!(bytes, before);
        }
    }
}
