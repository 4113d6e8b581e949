//! Sets of rules over intervals of a key: the two halves of a compiled rule set.

use std::collections::{BTreeMap, HashMap};

/// Rules as bits. The first word of a set summarises the others: bit `n` is set if word `n` holds any rule, so that two large
/// sets are compared in a few words. 64 words of 64 rules: [`RULES_MAX`].
pub(super) const RULES_MAX: usize = 64 * 64;

/// For every key the set of rules that admit it.
#[derive(Debug)]
pub(super) struct Intervals<K> {
    /// First key of each interval; the first is the smallest key there is.
    starts: Vec<K>,
    /// Where the set of each interval begins in `words`. Equal sets are stored once.
    sets: Vec<u32>,
    words: Vec<u64>,
    /// Words of one set, the summary included.
    stride: usize,
    /// Of a small key with many intervals: the interval of each key, so that none has to be searched.
    direct: Vec<u16>,
}

/// Intervals from which on a table of all keys pays.
const DIRECT_MIN: usize = 16;

/// One rule admits the keys from the first to the last.
pub(super) type Span<K> = (K, K, usize);

/// An unsigned number with a successor.
pub(super) trait Key: Copy + Ord {
    const MIN: Self;
    fn successor(self) -> Option<Self>;
    /// The key as an index, if there are few enough keys for a table.
    fn small(self) -> Option<usize>;
}

macro_rules! key {
    ($($t:ty: $key:ident => $small:expr;)*) => {$(
        impl Key for $t {
            const MIN: Self = <$t>::MIN;
            fn successor(self) -> Option<Self> { self.checked_add(1) }
            #[inline]
            fn small(self) -> Option<usize> {
                let $key = self;
                $small
            }
        }
    )*};
}
key! {
    u16: key => Some(usize::from(key));
    u32: _key => None;
    u128: _key => None;
}

impl<K: Key> Intervals<K> {
    /// The sets that `spans` make, of rules below `rule_count`. Spans of one rule may overlap.
    pub(super) fn new(rule_count: usize, spans: &[Span<K>]) -> Self {
        let stride = 1 + rule_count.div_ceil(64);
        // Where spans begin (+1) and end (-1), in order of keys.
        let mut events: BTreeMap<K, Vec<(usize, i32)>> = BTreeMap::from([(K::MIN, Vec::new())]);
        for &(first, last, rule) in spans {
            events.entry(first).or_default().push((rule, 1));
            if let Some(after) = last.successor() {
                events.entry(after).or_default().push((rule, -1));
            }
        }
        let mut built = Self { starts: Vec::new(), sets: Vec::new(), words: Vec::new(), stride, direct: Vec::new() };
        let mut depth = vec![0i32; rule_count];
        let mut set = vec![0u64; stride];
        let mut known: HashMap<Vec<u64>, u32> = HashMap::new();
        for (start, changes) in events {
            for (rule, change) in changes {
                depth[rule] += change;
                let (word, bit) = (1 + rule / 64, 1 << (rule % 64));
                if depth[rule] > 0 {
                    set[word] |= bit
                } else {
                    set[word] &= !bit
                }
                let summary = 1 << (rule / 64);
                if set[word] != 0 { set[0] |= summary } else { set[0] &= !summary }
            }
            let at = *known.entry(set.clone()).or_insert_with(|| {
                built.words.extend_from_slice(&set);
                (built.words.len() - stride) as u32
            });
            if built.sets.last() != Some(&at) {
                built.starts.push(start);
                built.sets.push(at);
            }
        }
        if K::MIN.small().is_some() && built.starts.len() >= DIRECT_MIN {
            let mut key = Some(K::MIN);
            while let Some(this) = key {
                built.direct.push(built.search(this) as u16);
                key = this.successor();
            }
        }
        built
    }

    fn search(&self, key: K) -> usize {
        self.starts.partition_point(|start| *start <= key) - 1
    }

    /// The rules that admit `key`.
    #[inline]
    pub(super) fn rules_at(&self, key: K) -> &[u64] {
        let known = key.small().and_then(|key| self.direct.get(key));
        let interval = known.map_or_else(|| self.search(key), |&interval| usize::from(interval));
        let at = self.sets[interval] as usize;
        &self.words[at..at + self.stride]
    }
}

/// The lowest rule in both sets.
#[inline]
pub(super) fn lowest_common(a: &[u64], b: &[u64]) -> Option<usize> {
    let mut candidates = a[0] & b[0];
    while candidates != 0 {
        let word = candidates.trailing_zeros() as usize;
        let both = a[1 + word] & b[1 + word];
        if both != 0 {
            return Some(word * 64 + both.trailing_zeros() as usize);
        }
        candidates &= candidates - 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(set: &[u64]) -> Vec<usize> {
        (0..(set.len() - 1) * 64).filter(|rule| set[1 + rule / 64] >> (rule % 64) & 1 == 1).collect()
    }

    #[test]
    fn no_rules_admit_nothing() {
        let none = Intervals::<u32>::new(0, &[]);
        assert_eq!(lowest_common(none.rules_at(0), none.rules_at(u32::MAX)), None);
    }

    #[test]
    fn edges_belong_to_their_span() {
        let map = Intervals::<u16>::new(130, &[(443, 443, 0), (0, 65535, 129), (80, 443, 64), (90, 100, 64)]);
        for (key, expected) in [
            (0, &[129][..]),
            (79, &[129]),
            (80, &[64, 129]),
            (101, &[64, 129]),
            (443, &[0, 64, 129]),
            (444, &[129]),
            (65535, &[129]),
        ] {
            assert_eq!(rules(map.rules_at(key)), expected, "{key}");
        }
    }

    proptest! {
        #[test]
        fn sets_and_their_common_rule_are_what_a_scan_finds(
            a in prop::collection::vec((0u16..50, 0u16..50, 0usize..200), 0..60),
            b in prop::collection::vec((0u16..50, 0u16..50, 0usize..200), 0..60),
            keys in prop::collection::vec((0u16..60, 0u16..60), 1..20),
        ) {
            let spans = |raw: &[(u16, u16, usize)]| -> Vec<Span<u16>> {
                raw.iter().map(|&(x, y, rule)| (x.min(y), x.max(y), rule)).collect()
            };
            let scan = |spans: &[Span<u16>], key: u16| -> Vec<usize> {
                let mut found: Vec<usize> = spans.iter().filter(|s| s.0 <= key && key <= s.1).map(|s| s.2).collect();
                found.sort_unstable();
                found.dedup();
                found
            };
            let (a, b) = (spans(&a), spans(&b));
            let (map_a, map_b) = (Intervals::new(200, &a), Intervals::new(200, &b));
            for (x, y) in keys {
                let (in_a, in_b) = (scan(&a, x), scan(&b, y));
                prop_assert_eq!(&rules(map_a.rules_at(x)), &in_a);
                let common = in_a.iter().find(|rule| in_b.contains(rule)).copied();
                prop_assert_eq!(lowest_common(map_a.rules_at(x), map_b.rules_at(y)), common);
            }
        }
    }
}
