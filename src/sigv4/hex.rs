//! Lower-case hexadecimal, as SigV4 writes hashes and signatures.

/// 32 bytes as 64 digits. Arithmetic, not a table: the compiler does it for many bytes at once.
#[inline]
pub(super) fn emit(bytes: &[u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = digit(byte >> 4);
        pair[1] = digit(byte & 15);
    }
    out
}

const fn digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

/// 64 lower-case digits as 32 bytes. Upper case is no signature: AWS compares the text.
#[inline]
pub(super) fn parse(text: &[u8]) -> Option<[u8; 32]> {
    let text: &[u8; 64] = text.try_into().ok()?;
    let mut values = [0; 64];
    let mut all = true;
    for (value, &c) in values.iter_mut().zip(text) {
        let (number, letter) = (c.wrapping_sub(b'0'), c.wrapping_sub(b'a'));
        all &= (number < 10) | (letter < 6);
        *value = if letter < 6 { letter + 10 } else { number };
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(values.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1] & 15;
    }
    all.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_back_as_the_bytes_they_were() {
        let bytes: [u8; 32] = std::array::from_fn(|i| (i * 37 + 3) as u8);
        assert_eq!(parse(&emit(&bytes)), Some(bytes));
    }

    #[test]
    fn upper_case_other_letters_and_other_lengths_are_refused() {
        for text in ["", "00", &"A".repeat(64), &"g".repeat(64), &"0".repeat(63), &"0".repeat(65)] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
