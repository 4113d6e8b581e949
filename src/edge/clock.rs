//! The clocks of the machine, read once per turn.

#![expect(clippy::disallowed_methods, reason = "this is the clock")]

use std::time::{Instant, SystemTime};

use crate::time::{Moment, Now, UnixTime};

/// Reads both clocks. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins a second ago, so that "just before" is a moment, too.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { origin: now.checked_sub(std::time::Duration::from_secs(1)).unwrap_or(now) }
    }

    /// The time.
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now {
            mono: Moment::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)),
            unix: UnixTime::from_nanos(u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX)),
        }
    }
}
