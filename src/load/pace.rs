//! When requests are due: never sooner than answered (closed loop), or by the clock (open loop).

use std::time::{Duration, Instant};

/// A timetable of requests, at equal distances.
#[derive(Clone, Debug)]
pub struct Pace {
    start: Instant,
    per_second: f64,
    taken: u64,
    stop: Option<Instant>,
}

impl Pace {
    /// Requests at this rate, the first now.
    pub fn new(per_second: f64, start: Instant) -> Self {
        Self { start, per_second, taken: 0, stop: None }
    }

    /// When the next one is due; `None` behind the last.
    pub fn next(&self) -> Option<Instant> {
        // The product is far below what a f64 holds exactly.
        let at = self.start + Duration::from_secs_f64(self.taken as f64 / self.per_second);
        (self.stop.is_none_or(|stop| at < stop)).then_some(at)
    }

    /// The next request, if it is due: when it was to be sent.
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
        let at = self.next().filter(|at| *at <= now)?;
        self.taken += 1;
        Some(at)
    }

    /// None is due at `stop` or later.
    pub fn stop_at(&mut self, stop: Instant) {
        self.stop = Some(stop);
    }

    /// Those before the end that were due and not taken.
    pub fn left(&self) -> u64 {
        let mut rest = self.clone();
        let mut left = 0;
        while rest.stop.is_some() && rest.next().is_some() {
            rest.taken += 1;
            left += 1;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_equal_distances_whenever_they_are_taken() {
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(100.0, start);
        assert_eq!(pace.take(at(0)), Some(at(0)));
        assert_eq!(pace.take(at(9)), None);
        // Taken late, due as planned: the wait counts.
        assert_eq!(pace.take(at(35)), Some(at(10)));
        assert_eq!((pace.take(at(35)), pace.take(at(35)), pace.take(at(35))), (Some(at(20)), Some(at(30)), None));
        pace.stop_at(at(60));
        assert_eq!((pace.left(), pace.take(at(80)), pace.take(at(80))), (2, Some(at(40)), Some(at(50))));
        assert_eq!((pace.left(), pace.next(), pace.take(at(80))), (0, None, None));
    }
}
