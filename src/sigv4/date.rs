//! The date a request was signed with.

use jiff::civil::DateTime;
use jiff::tz::Offset;

use crate::time::UnixTime;

/// A second in time and its ISO 8601 basic form, `20150830T123600Z`, as it stands in the string to sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SignedDate {
    /// Since the epoch; before it if negative. Not a [`UnixTime`]: year 9999 can be signed, but not held by one.
    pub(super) secs: i64,
    text: [u8; 16],
}

impl SignedDate {
    /// Reads `X-Amz-Date` or `Date`: ISO 8601 basic, or the form of HTTP dates (RFC 9110 section 5.6.7).
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        Self::parse_basic(value).or_else(|| Self::parse_http(value))
    }

    fn parse_basic(value: &[u8]) -> Option<Self> {
        let text: [u8; 16] = value.try_into().ok()?;
        if text[8] != b'T' || text[15] != b'Z' {
            return None;
        }
        let year = i16::try_from(digits(&text[..4])?).ok()?;
        let two = |at: usize| digits(&text[at..at + 2]).and_then(|n| i8::try_from(n).ok());
        let civil = DateTime::new(year, two(4)?, two(6)?, two(9)?, two(11)?, two(13)?, 0).ok()?;
        Some(Self { secs: Offset::UTC.to_timestamp(civil).ok()?.as_second(), text })
    }

    fn parse_http(value: &[u8]) -> Option<Self> {
        let timestamp = jiff::fmt::rfc2822::parse(std::str::from_utf8(value).ok()?).ok()?.timestamp();
        let text = Offset::UTC.to_datetime(timestamp).strftime("%Y%m%dT%H%M%SZ").to_string();
        Some(Self { secs: timestamp.as_second(), text: text.as_bytes().try_into().ok()? })
    }

    /// Now, to the second, for signing.
    pub(super) fn from_time(now: UnixTime) -> Self {
        let mut text = [b'0'; 16];
        // Years 1970 to 2554 have four digits, so the form is always 16 bytes long.
        text.copy_from_slice(now.to_basic().as_bytes());
        Self { secs: i64::try_from(now.secs()).unwrap_or(i64::MAX), text }
    }

    /// Reads ISO 8601 basic for a day whose first second is known; `None` if it is of another day, or in another form.
    #[inline]
    pub(super) fn parse_on(value: &[u8], day: &[u8; 8], midnight: i64) -> Option<Self> {
        let text: &[u8; 16] = value.try_into().ok()?;
        if text[..8] != *day || text[8] != b'T' || text[15] != b'Z' {
            return None;
        }
        let two = |at: usize, below: i64| {
            let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
            let number = i64::from(tens) * 10 + i64::from(ones);
            (tens < 10 && ones < 10 && number < below).then_some(number)
        };
        let secs = midnight + two(9, 24)? * 3_600 + two(11, 60)? * 60 + two(13, 60)?;
        Some(Self { secs, text: *text })
    }

    /// Its day, as written and by its first second.
    pub(super) fn midnight(&self) -> ([u8; 8], i64) {
        let mut day = [0; 8];
        day.copy_from_slice(&self.text[..8]);
        (day, self.secs - self.secs.rem_euclid(86_400))
    }

    /// As bytes: what is signed.
    #[inline]
    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.text
    }

    /// `20150830T123600Z`.
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// `20150830`.
    pub(super) fn day(&self) -> &str {
        self.as_str().get(..8).unwrap_or_default()
    }

    /// The day as a number, 20150830: the cache's key.
    pub(super) fn day_number(&self) -> u32 {
        digits(&self.text[..8]).unwrap_or_default()
    }
}

/// A number of at most nine digits, and nothing but digits.
fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0, |n: u32, c| c.is_ascii_digit().then(|| n * 10 + u32::from(c - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_date_are_read_to_the_same_second() {
        for text in [
            "20150830T123600Z",
            " 20150830T123600Z ",
            "Sun, 30 Aug 2015 12:36:00 GMT",
            "Sun, 30 Aug 2015 14:36:00 +0200",
        ] {
            let date = SignedDate::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (date.secs, date.as_str(), date.day()),
                (1_440_938_160, "20150830T123600Z", "20150830"),
                "{text}"
            );
            assert_eq!(date.day_number(), 20_150_830);
        }
    }

    #[test]
    fn a_date_that_does_not_exist_is_no_date() {
        for text in [
            "",
            "201",
            "20150230T000000Z",
            "20151301T000000Z",
            "20150830T240000Z",
            "20150830T126000Z",
            "2015-08-30T12:36:00Z",
            "20150830T123600",
            "20150830t123600Z",
            "+0150830T123600Z",
            "Sun, 31 Feb 2015 12:36:00 GMT",
        ] {
            assert_eq!(SignedDate::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn years_that_our_clock_cannot_hold_are_still_dates() {
        assert!(SignedDate::parse(b"90000101T000000Z").is_some_and(|d| d.secs > 220_000_000_000));
        assert!(SignedDate::parse(b"19600101T000000Z").is_some_and(|d| d.secs < 0));
    }

    #[test]
    fn a_date_of_a_known_day_is_read_as_any_other() {
        for day in ["20150830", "19691231", "20240229"] {
            let first = SignedDate::parse(format!("{day}T111213Z").as_bytes()).unwrap();
            let (known, midnight) = first.midnight();
            for time in ["T000000Z", "T235959Z", "T240000Z", "T126000Z", "T120060Z", "T1a0000Z", "t000000Z", "T000000z"]
            {
                let text = format!("{day}{time}");
                let (fast, slow) =
                    (SignedDate::parse_on(text.as_bytes(), &known, midnight), SignedDate::parse(text.as_bytes()));
                assert_eq!(fast, slow, "{text}");
            }
            for other in ["20150831T000000Z", " 20150830T000000Z", "", "Sun, 30 Aug 2015 12:36:00 GMT"] {
                assert_eq!(SignedDate::parse_on(other.as_bytes(), &known, midnight), None, "{other}");
            }
        }
    }

    #[test]
    fn a_date_made_from_the_clock_reads_back_as_itself() {
        let date = SignedDate::from_time(UnixTime::from_secs(1_440_938_160));
        assert_eq!(SignedDate::parse(date.as_str().as_bytes()), Some(date));
    }
}
