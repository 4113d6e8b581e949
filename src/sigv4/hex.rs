//! Lower-case hexadecimal, as SigV4 writes hashes and signatures.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// 32 bytes as 64 digits.
pub(super) fn emit(bytes: &[u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out
}

/// 64 lower-case digits as 32 bytes. Upper case is no signature: AWS compares the text.
pub(super) fn parse(text: &[u8]) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

const fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
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
