//! Decimals and dates, as condition values write them.

/// Digits kept behind the decimal point.
const FRACTION_DIGITS: usize = 18;
/// Digits accepted before it.
const WHOLE_DIGITS: usize = 18;

/// An exact decimal number. Binary fractions would make `0.1` equal to something else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Decimal(i128);

impl Decimal {
    /// Parses `-12.5`: at most 18 digits on either side of the point, no exponent.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fits = whole.len() <= WHOLE_DIGITS && fraction.len() <= FRACTION_DIGITS;
        if !fits || digits.ends_with('.') || whole.is_empty() {
            return None;
        }
        let mut value: i128 = 0;
        for b in whole.bytes().chain(fraction.bytes()) {
            value = value * 10 + i128::from(b.is_ascii_digit().then(|| b - b'0')?);
        }
        for _ in fraction.len()..FRACTION_DIGITS {
            value *= 10;
        }
        Some(Self(if negative { -value } else { value }))
    }

    pub(super) fn from_secs(secs: u64) -> Self {
        Self(i128::from(secs) * 10_i128.pow(18))
    }
}

/// Nanoseconds since 1970-01-01T00:00:00Z, from a date as W3C's note on ISO 8601 writes it (`2026`, `2026-11`, `2026-11-23`,
/// `2026-11-23T14:56Z`, `…T14:56:02Z`, `…:02.5+09:00`) or from seconds since 1970. Four digits are a year.
pub(super) fn parse_date(text: &str) -> Option<i128> {
    const NANOS: i128 = 1_000_000_000;
    let is_year = text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
    if !is_year && !text.get(1..).is_some_and(|rest| rest.contains('-')) && !text.contains('T') {
        return Decimal::parse(text).map(|Decimal(value)| value / NANOS);
    }
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut fields = date.split('-');
    let year = i16::try_from(digits(fields.next()?, 4)?).ok()?;
    let month = i8::try_from(fields.next().map_or(Some(1), |month| digits(month, 2))?).ok()?;
    let day = i8::try_from(fields.next().map_or(Some(1), |day| digits(day, 2))?).ok()?;
    if fields.next().is_some() || (time.is_some() && date.len() != 10) {
        return None;
    }
    let days = jiff::civil::Date::new(year, month, day).ok()?;
    let days = days.since(jiff::civil::Date::constant(1970, 1, 1)).ok()?.get_days();
    let nanos = time.map_or(Some(0), time_of_day)?;
    Some(i128::from(days) * 86_400 * NANOS + nanos)
}

/// `14:56`, `14:56:02`, `14:56:02.5`, each with its zone: nanoseconds since midnight UTC.
fn time_of_day(text: &str) -> Option<i128> {
    let (clock, offset_minutes) = match text.strip_suffix(['Z', 'z']) {
        Some(clock) => (clock, 0),
        None => {
            let sign = text.rfind(['+', '-'])?;
            let (hours, minutes) = text[sign + 1..].split_once(':')?;
            let minutes = digits(hours, 2).filter(|&h| h < 24)? * 60 + digits(minutes, 2).filter(|&m| m < 60)?;
            (&text[..sign], if text[sign..].starts_with('-') { -i128::from(minutes) } else { i128::from(minutes) })
        }
    };
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, fraction)| (clock, Some(fraction)));
    let mut fields = clock.split(':');
    let hour = digits(fields.next()?, 2).filter(|&h| h < 24)?;
    let minute = digits(fields.next()?, 2).filter(|&m| m < 60)?;
    let second = fields.next();
    if fields.next().is_some() || (fraction.is_some() && second.is_none()) {
        return None;
    }
    let second = second.map_or(Some(0), |second| digits(second, 2)).filter(|&s| s <= 60)?;
    let nanos = fraction.map_or(Some(0), |fraction| {
        let value = digits(fraction, fraction.len()).filter(|_| (1..=9).contains(&fraction.len()))?;
        Some(value * 10_u32.pow(9 - u32::try_from(fraction.len()).ok()?))
    })?;
    let seconds = i128::from(hour) * 3_600 + i128::from(minute) * 60 + i128::from(second) - offset_minutes * 60;
    Some(seconds * 1_000_000_000 + i128::from(nanos))
}

/// Exactly `len` digits.
fn digits(text: &str, len: usize) -> Option<u32> {
    let ok = text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    ok.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_compare_exactly() {
        assert_eq!(Decimal::parse("0.1"), Decimal::parse("0.10"));
        assert!(Decimal::parse("-2") < Decimal::parse("-1.5"));
        assert_eq!(Decimal::parse("1440938160"), Some(Decimal::from_secs(1_440_938_160)));
        for bad in ["", "-", "1.", ".5", "1e3", "0x10", "1 ", "١", "1234567890123456789"] {
            assert_eq!(Decimal::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn every_w3c_form_of_a_date_and_epoch_seconds_are_read() {
        let noon = 1_440_938_160_i128 * 1_000_000_000;
        for text in [
            "2015-08-30T12:36:00Z",
            "2015-08-30T12:36Z",
            "2015-08-30T21:36:00.0+09:00",
            "2015-08-30T06:36-06:00",
            "1440938160",
        ] {
            assert_eq!(parse_date(text), Some(noon), "{text}");
        }
        assert_eq!(parse_date("1971"), Some(365 * 86_400 * 1_000_000_000));
        assert_eq!(parse_date("1970-02"), Some(31 * 86_400 * 1_000_000_000));
        assert_eq!(parse_date("1970-01-02"), Some(86_400 * 1_000_000_000));
        for bad in [
            "",
            "2015-13",
            "2015-02-30",
            "2015-08T12:00Z",
            "2015-08-30T12:36:00",
            "2015-08-30 12:36Z",
            "2015-08-30T25:00Z",
            "x",
        ] {
            assert_eq!(parse_date(bad), None, "{bad:?}");
        }
    }
}
