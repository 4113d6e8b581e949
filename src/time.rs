//! Time as the core sees it: an argument, never a clock.
//!
//! The edge reads both clocks once per turn and hands a [`Now`] down. Deadlines are [`Moment`]s on the monotonic clock,
//! so a jump of the wall clock never moves a time-out; [`UnixTime`] is only for what AWS expresses in wall-clock time
//! (signature dates, `aws:CurrentTime`, flow-log records).

use std::cell::Cell;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// Nanoseconds on a monotonic clock with an arbitrary origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Moment(u64);

impl Moment {
    /// A moment that never comes: later than every other.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long ago `earlier` was; zero if it is still to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The instant `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The instant `secs` seconds after the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000_000)
    }

    /// Whole seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Whole milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The broken-down UTC date and time.
    ///
    /// # Panics
    /// Never: a `u64` of nanoseconds ends in the year 2554, inside jiff's range.
    pub fn to_utc(self) -> jiff::civil::DateTime {
        let nanos = i128::from(self.0);
        let timestamp = jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::MAX);
        jiff::tz::Offset::UTC.to_datetime(timestamp)
    }

    /// ISO 8601 basic format, `20261123T145602Z`, as SigV4 dates are written.
    pub fn to_basic(self) -> String {
        self.to_utc().strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    /// ISO 8601 extended format, `2026-11-23T14:56:02Z`.
    pub fn to_iso8601(self) -> String {
        self.to_utc().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// The preferred format of HTTP dates, `Mon, 23 Nov 2026 14:56:02 GMT` (RFC 9110 §5.6.7).
    pub fn to_http_date(self) -> String {
        self.to_utc().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// One reading of both clocks, taken once per turn of the hot loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For deadlines and intervals.
    pub mono: Moment,
    /// For dates.
    pub unix: UnixTime,
}

impl Now {
    /// The reading that both clocks would show `later`.
    pub fn after(self, later: Duration) -> Self {
        Self { mono: self.mono + later, unix: self.unix + later }
    }
}

/// The worker's reading of both clocks for this turn, for futures that outlive the call that made them.
///
/// The owner sets it once per turn; everything that runs in the turn sees the same [`Now`].
#[derive(Debug, Default)]
pub struct TurnClock(Cell<Now>);

impl TurnClock {
    /// A clock that shows `now` until it is set.
    pub const fn new(now: Now) -> Self {
        Self(Cell::new(now))
    }

    /// Starts a turn.
    pub fn set(&self, now: Now) {
        self.0.set(now);
    }

    /// This turn's reading.
    pub fn now(&self) -> Now {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_sigv4_iso_8601_and_http_want_them() {
        let t = UnixTime::from_secs(1_440_938_160);
        assert_eq!(t.to_basic(), "20150830T123600Z");
        assert_eq!(t.to_iso8601(), "2015-08-30T12:36:00Z");
        assert_eq!(t.to_http_date(), "Sun, 30 Aug 2015 12:36:00 GMT");
    }

    #[test]
    fn a_moment_never_goes_below_zero_nor_wraps() {
        assert_eq!(Moment::from_millis(1).since(Moment::from_millis(2)), Duration::ZERO);
        assert_eq!(Moment::NEVER + Duration::from_secs(1), Moment::NEVER);
    }
}
