use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn expired(wheel: &mut TimerWheel, now: Moment) -> Vec<u32> {
    let mut budget = u32::MAX;
    let mut keys = Vec::new();
    while let Some(key) = wheel.poll_expired(now, &mut budget) {
        keys.push(key);
    }
    keys.sort_unstable();
    keys
}

#[test]
fn a_timer_fires_at_its_deadline_and_not_a_tick_before() {
    for millis in [0, 1, 63, 64, 4095, 4096, 350_000, 86_400_000, 1 << 40] {
        for start in [0, 7, 63, 1_000_003] {
            let mut wheel = TimerWheel::with_capacity(1);
            assert!(expired(&mut wheel, Moment::from_millis(start)).is_empty());
            let deadline = Moment::from_millis(start + millis);
            wheel.schedule(0, deadline);
            assert_eq!(wheel.deadline(0), Some(deadline));
            if millis > 0 {
                assert_eq!(expired(&mut wheel, Moment::from_nanos(deadline.as_nanos() - 1)), [0; 0]);
            }
            assert_eq!(expired(&mut wheel, deadline), [0], "{millis} after {start}");
            assert!(wheel.is_empty() && wheel.next_deadline().is_none());
        }
    }
}

#[test]
fn a_part_of_a_tick_is_rounded_up() {
    let mut wheel = TimerWheel::with_capacity(1);
    wheel.schedule(0, Moment::from_nanos(1));
    assert!(expired(&mut wheel, Moment::from_nanos(999_999)).is_empty());
    assert_eq!(expired(&mut wheel, Moment::from_millis(1)), [0]);
}

#[test]
fn never_and_cancel_set_nothing() {
    let mut wheel = TimerWheel::with_capacity(2);
    wheel.schedule(0, Moment::NEVER);
    wheel.schedule(1, Moment::from_millis(5));
    wheel.schedule(1, Moment::NEVER);
    wheel.cancel(7);
    assert!(wheel.is_empty() && expired(&mut wheel, Moment::from_nanos(u64::MAX - 1)).is_empty());
}

#[test]
fn work_per_call_is_bounded_by_the_budget_and_nothing_is_lost() {
    let mut wheel = TimerWheel::with_capacity(100);
    for key in 0..100 {
        wheel.schedule(key, Moment::from_millis(5000));
    }
    let (mut fired, mut calls) = (0, 0);
    while !wheel.is_empty() {
        let mut budget = 10;
        while wheel.poll_expired(Moment::from_millis(6000), &mut budget).is_some() {
            fired += 1;
        }
        assert_eq!(budget, 0);
        calls += 1;
    }
    // Each timer goes down two levels and then fires.
    assert_eq!((fired, calls), (100, 30));
}

#[derive(Clone, Debug)]
enum Action {
    Schedule(u32, u64),
    Cancel(u32),
    Advance(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let span = prop_oneof![0u64..200_000_000, 0u64..20_000_000_000, 0u64..1_000_000_000_000];
    prop_oneof![
        4 => (0u32..30, span.clone()).prop_map(|(key, nanos)| Action::Schedule(key, nanos)),
        1 => (0u32..30).prop_map(Action::Cancel),
        3 => span.prop_map(Action::Advance),
    ]
}

proptest! {
    #[test]
    fn it_behaves_as_a_map_scanned_from_end_to_end(actions in prop::collection::vec(action(), 1..120)) {
        let mut wheel = TimerWheel::with_capacity(30);
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now = 0u64;
        for action in actions {
            match action {
                // Deadlines may lie in the past as well.
                Action::Schedule(key, nanos) => {
                    let deadline = now.saturating_sub(1_000_000) + nanos;
                    wheel.schedule(key, Moment::from_nanos(deadline));
                    model.insert(key, deadline.div_ceil(1_000_000).max(now / 1_000_000));
                }
                Action::Cancel(key) => {
                    wheel.cancel(key);
                    model.remove(&key);
                }
                Action::Advance(nanos) => {
                    now += nanos;
                    let due: Vec<u32> = model.iter().filter(|(_, tick)| **tick <= now / 1_000_000).map(|(key, _)| *key).collect();
                    prop_assert_eq!(expired(&mut wheel, Moment::from_nanos(now)), due.clone());
                    model.retain(|key, _| !due.contains(key));
                }
            }
            prop_assert_eq!(wheel.len(), model.len());
            let earliest = model.values().min().map(|tick| Moment::from_nanos(tick * 1_000_000));
            prop_assert_eq!(wheel.next_deadline().is_some(), earliest.is_some());
            prop_assert!(wheel.next_deadline() <= earliest);
        }
    }

    #[test]
    fn sleeping_until_the_next_deadline_always_gets_there(deadlines in prop::collection::vec(0u64..400_000_000_000, 1..20)) {
        let mut wheel = TimerWheel::with_capacity(deadlines.len());
        for (key, deadline) in deadlines.iter().enumerate() {
            wheel.schedule(key as u32, Moment::from_nanos(*deadline));
        }
        let (mut fired, mut sleeps) = (0, 0);
        while let Some(next) = wheel.next_deadline() {
            fired += expired(&mut wheel, next).len();
            sleeps += 1;
            prop_assert!(sleeps <= deadlines.len() * LEVELS);
        }
        prop_assert_eq!(fired, deadlines.len());
    }
}
