//! Long runs of bytes that say nothing in a string, skipped many at a time.

const WORD: usize = 8;
/// Bytes per step of long runs: a loop over so many without a way out becomes vector instructions.
const BLOCK: usize = 64;

/// One in each byte, and the top bit of each.
const ONES: u64 = u64::from_le_bytes([0x01; WORD]);
const TOPS: u64 = u64::from_le_bytes([0x80; WORD]);

/// How many bytes at the beginning stand in a string for themselves: ASCII, neither quote, backslash nor control character.
pub(super) fn plain(bytes: &[u8]) -> usize {
    let mut at = blocks(bytes);
    while let Some(word) = bytes[at..].first_chunk() {
        match special(u64::from_le_bytes(*word)) {
            0 => at += WORD,
            special => return at + (special.trailing_zeros() / 8) as usize,
        }
    }
    at + bytes[at..].iter().take_while(|&&b| is_plain(b)).count()
}

/// The same in whole blocks, rounded down.
fn blocks(bytes: &[u8]) -> usize {
    let is_all_plain = |block: &&[u8]| block.iter().fold(true, |all, &b| all & is_plain(b));
    BLOCK * bytes.chunks_exact(BLOCK).take_while(is_all_plain).count()
}

#[inline]
const fn is_plain(b: u8) -> bool {
    (b >= 0x20) & (b < 0x80) & (b != b'"') & (b != b'\\')
}

/// Has the top bit of the first byte set that is not plain; bits above it mean nothing. A subtraction borrows only from
/// bytes above one that was found, so the lowest bit is always right.
#[inline]
const fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let is_quote = quote.wrapping_sub(ONES) & !quote;
    let is_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let is_control = word.wrapping_sub(ONES * 0x20) & !word;
    (is_quote | is_backslash | is_control | word) & TOPS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_byte_is_found_at_each_place() {
        for len in [0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 95, 96, 97, 160, 200] {
            for b in 0..=u8::MAX {
                for at in 0..len {
                    let mut bytes = vec![b'x'; len];
                    bytes[at] = b;
                    assert_eq!(plain(&bytes), if is_plain(b) { len } else { at }, "{b:#x} at {at} of {len}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn many_at_a_time_is_one_by_one(
            lead in 0_usize..150,
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\"\\\x1f\x20\x7f\x80!#[]".to_vec())], 0..40),
        ) {
            let bytes = [vec![b'a'; lead], bytes].concat();
            prop_assert_eq!(plain(&bytes), bytes.iter().take_while(|&&b| is_plain(b)).count());
        }
    }
}
