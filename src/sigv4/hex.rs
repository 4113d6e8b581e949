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
    let text: &[u8; 64] = text.try_into().ok()?;
    let mut out = [0; 32];
    let mut seen = 0;
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen & NO_DIGIT == 0).then_some(out)
}

const NO_DIGIT: u8 = 0x80;

/// The value of each digit.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

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
