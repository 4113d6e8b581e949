//! Quantities as people write them: `350s`, `1.25 Gbit/s`, `64 KiB`.
//!
//! Every parser takes exact decimal text and gives exact integers; its error completes "`key` …".

use std::time::Duration;

/// A time with its unit: `350s`, `1.5 ms`, `200us`, `2m`, `1h`.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the key.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 6] = [
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    scaled(text, &UNITS)
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("is \"{text}\", not a time with a unit (ns, us, ms, s, m, h), such as \"350s\""))
}

/// A rate in bits per second: `1.25 Gbit/s`, `500 Mbit/s`.
pub(super) fn bit_rate(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] = [("bit/s", 1), ("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];
    scaled(text, &UNITS)
        .filter(|&rate| rate > 0)
        .ok_or_else(|| format!("is \"{text}\", not a rate above zero in bit/s, kbit/s, Mbit/s or Gbit/s"))
}

/// A size in bytes: `64 KiB`, `1 MiB`, `1500 B`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 3] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)];
    scaled(text, &UNITS).ok_or_else(|| format!("is \"{text}\", not a size in B, KiB or MiB, such as \"64 KiB\""))
}

/// A probability: `0.01`, `1%`.
pub(super) fn probability(text: &str) -> Result<f64, String> {
    let (digits, divisor) = match text.strip_suffix('%') {
        Some(digits) => (digits.trim_end(), 100.0),
        None => (text, 1.0),
    };
    let value = digits.parse::<f64>().ok().map(|value| value / divisor);
    value
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| format!("is \"{text}\", not a probability from 0 to 1 (or 0% to 100%)"))
}

/// Digits, perhaps a point and more digits, perhaps blanks, then one of the units; `None` for anything else, for what does
/// not fit a `u64`, and for fractions finer than one.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (digits, unit) = (&text[..end], text[end..].trim_start_matches(' '));
    let &(_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let mut value = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    if fraction.is_empty() {
        return None;
    }
    let mut place = scale;
    for digit in fraction.bytes() {
        let digit = u64::from(char::from(digit).to_digit(10)?);
        if digit != 0 && !place.is_multiple_of(10) {
            return None;
        }
        place /= 10;
        value = value.checked_add(digit.checked_mul(place)?)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly() {
        assert_eq!(duration("350s"), Ok(Duration::from_secs(350)));
        assert_eq!(duration("1.5 ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(duration("0ms"), Ok(Duration::ZERO));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(bit_rate("1.25 Gbit/s"), Ok(1_250_000_000));
        assert_eq!(bytes("64 KiB"), Ok(65_536));
        assert_eq!(probability("0.5%"), Ok(0.005));
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for text in
            ["", "350", "s", "-1s", "1..2s", "1.s", "1,5s", "0.5ns", "99999999999h", "1e3s", "١s", "1 fortnight"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["0 Mbit/s", "1 GB/s", "1"] {
            assert!(bit_rate(text).is_err(), "{text}");
        }
        for text in ["1.1", "-0.1", "NaN", "inf", "101%", ""] {
            assert!(probability(text).is_err(), "{text}");
        }
    }
}
