//! Queries per second and source.

use std::net::IpAddr;

use hashbrown::HashMap;

use crate::time::Moment;

use super::SOURCES;

/// Counts the queries of each source within the current second of the monotonic clock. When the second turns, the table
/// starts empty, so it needs no expiry of its own and a source never waits longer than a second.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: u32,
    second: u64,
    asked: HashMap<IpAddr, u32, foldhash::fast::RandomState>,
}

impl RateLimit {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, second: 0, asked: HashMap::default() }
    }

    /// Whether one more query of `source` is within the limit.
    pub(super) fn admit(&mut self, source: IpAddr, now: Moment) -> bool {
        let second = now.as_millis() / 1_000;
        if second != self.second {
            self.second = second;
            self.asked.clear();
        }
        if self.asked.len() >= SOURCES && !self.asked.contains_key(&source) {
            return false;
        }
        let asked = self.asked.entry(source).or_insert(0);
        *asked = asked.saturating_add(1);
        *asked <= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_source_over_its_limit_waits_for_the_next_second_and_others_do_not() {
        let mut limit = RateLimit::new(2);
        let [a, b] = [1, 2].map(|n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)));
        let now = Moment::from_millis(5_000);
        assert_eq!([a, a, a, b].map(|source| limit.admit(source, now)), [true, true, false, true]);
        assert!(!limit.admit(a, Moment::from_millis(5_999)));
        assert!(limit.admit(a, Moment::from_millis(6_000)));
    }

    #[test]
    fn the_table_of_sources_is_bounded() {
        let mut limit = RateLimit::new(10);
        let source = |n: usize| IpAddr::V4(Ipv4Addr::from(u32::try_from(n).unwrap()));
        for n in 0..SOURCES {
            assert!(limit.admit(source(n), Moment::default()));
        }
        assert!(!limit.admit(source(SOURCES), Moment::default()));
        assert!(limit.admit(source(0), Moment::default()));
        assert!(limit.admit(source(SOURCES), Moment::from_millis(1_000)));
    }
}
