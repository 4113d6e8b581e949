//! Header and trailer fields, wherever they stand.

use http::HeaderMap;

use super::chunked::Trailers;

/// Whether nothing in a value could end its field (RFC 9110 §5.5). No early exit, so that it is one look over vectors.
#[inline]
pub(crate) fn is_field_value(value: &[u8]) -> bool {
    value.iter().fold(true, |fits, &c| fits & ((c == b'\t') | (c >= b' ') & (c != 0x7f)))
}

/// Appends a number in decimal.
pub(crate) fn put_decimal(out: &mut Vec<u8>, number: u64) {
    let (mut digits, mut at, mut rest) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// Fields to be looked up by name.
pub trait FieldsByName {
    /// The value of the first field of this name, whatever its case, without the white space around it.
    fn field(&self, name: &str) -> Option<&[u8]>;
}

impl FieldsByName for HeaderMap {
    fn field(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(|value| value.as_bytes())
    }
}

impl FieldsByName for Trailers {
    fn field(&self, name: &str) -> Option<&[u8]> {
        self.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 9, 10, 1_700_000_003_000, u64::MAX] {
            let mut out = Vec::new();
            put_decimal(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn what_could_end_a_field_is_no_value() {
        for fits in ["", "a", "\t", "a b;c=\"d\"", "\u{e9}", &"x".repeat(100)] {
            assert!(is_field_value(fits.as_bytes()), "{fits:?}");
        }
        for odd in ["a\r\nX-Odd: b", "a\nb", "a\0", "\x7f", &format!("{}\n", "x".repeat(100))] {
            assert!(!is_field_value(odd.as_bytes()), "{odd:?}");
        }
    }
}
