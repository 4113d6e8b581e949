use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::lambda::catalog::Target;
use crate::lambda::host::{LogType, ResponseMode};
use crate::time::UnixTime;

fn request(id: u128, payload: usize) -> HostRequest {
    HostRequest {
        target: Rc::new(Target {
            function: 0,
            name: "f".into(),
            version: "1".into(),
            invoked_arn: "arn".into(),
            timeout: Duration::from_secs(3),
        }),
        request_id: Uuid::from_u128(id),
        deadline: UnixTime::default(),
        give_up: Moment::NEVER,
        trace: crate::lambda::ids::IdGenerator::new([0; 32]).trace(UnixTime::default()),
        client_context: None,
        log_type: LogType::None,
        response_mode: ResponseMode::Buffered,
        payload: Bytes::from(vec![b' '; payload]),
    }
}

fn at(secs: u64) -> Now {
    Now::default().after(Duration::from_secs(secs))
}

fn queue(limits: EventQueueLimits) -> (EventQueue, Counters) {
    (EventQueue::new(limits), Counters::default())
}

/// Tries one invocation until it is gone, always with `outcome`; the seconds at which it was tried.
fn tries(outcome: EventOutcome) -> (Vec<u64>, Counters) {
    let (mut queue, counters) = queue(EventQueueLimits::default());
    queue.accept(request(1, 0), None, at(0), &counters).unwrap();
    let mut seen = Vec::new();
    while queue.next_deadline() != Moment::NEVER {
        let now = queue.next_deadline();
        let invocation = queue.poll(now, &counters).unwrap();
        seen.push(now.as_millis() / 1000);
        queue.complete(invocation, outcome, now, &counters);
    }
    assert!(queue.is_empty());
    assert_eq!(queue.bytes, 0);
    (seen, counters)
}

#[test]
fn success_ends_it() {
    let (seen, counters) = tries(EventOutcome::Success);
    assert_eq!(seen, [0]);
    assert_eq!(counters.reason(Reason::LambdaEventDropped), 0);
    assert_eq!(counters.event(Event::EventRetried), 0);
}

#[test]
fn a_function_error_is_tried_again_after_one_minute_and_two_more() {
    let (seen, counters) = tries(EventOutcome::FunctionError);
    assert_eq!(seen, [0, 60, 180]);
    assert_eq!(counters.event(Event::EventRetried), 2);
    assert_eq!(counters.reason(Reason::LambdaEventDropped), 1);
}

#[test]
fn a_throttle_backs_off_from_one_second_to_five_minutes_for_six_hours() {
    let (seen, counters) = tries(EventOutcome::NotRun);
    assert_eq!(seen[..11], [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811]);
    assert!(*seen.last().unwrap() <= 6 * 3600 && *seen.last().unwrap() > 6 * 3600 - 300);
    assert_eq!(counters.reason(Reason::LambdaEventDropped), 1);
}

#[test]
fn what_cannot_succeed_is_dropped_at_once() {
    let (seen, counters) = tries(EventOutcome::Hopeless);
    assert_eq!(seen, [0]);
    assert_eq!(counters.reason(Reason::LambdaEventDropped), 1);
}

#[test]
fn limits_hold_for_what_is_under_way_too() {
    let limits = EventQueueLimits { invocations: 2, bytes: 100, under_way: 1 };
    let (mut queue, counters) = queue(limits);
    queue.accept(request(1, 40), None, at(0), &counters).unwrap();
    assert_eq!(queue.accept(request(2, 60), None, at(0), &counters), Err(EventQueueFull));
    queue.accept(request(3, 40), None, at(0), &counters).unwrap();
    let first = queue.poll(at(0).mono, &counters).unwrap();
    assert_eq!(first.request.request_id, Uuid::from_u128(1));
    assert_eq!(queue.poll(at(0).mono, &counters), None);
    assert_eq!(queue.next_deadline(), Moment::NEVER);
    assert_eq!(queue.accept(request(4, 0), None, at(0), &counters), Err(EventQueueFull));
    queue.complete(first, EventOutcome::Success, at(1).mono, &counters);
    queue.accept(request(5, 0), None, at(1), &counters).unwrap();
    assert_eq!(queue.poll(at(1).mono, &counters).unwrap().request.request_id, Uuid::from_u128(3));
}

#[test]
fn a_queued_payload_keeps_no_larger_buffer_alive() {
    let (mut queue, counters) = queue(EventQueueLimits::default());
    let buffer = Bytes::from(vec![b'1'; 1 << 16]);
    let payload = buffer.slice(..1);
    queue.accept(HostRequest { payload, ..request(1, 0) }, None, at(0), &counters).unwrap();
    assert!(buffer.is_unique());
    assert_eq!(queue.poll(at(0).mono, &counters).unwrap().request.payload, "1");
}

#[test]
fn what_grew_too_old_while_it_waited_is_dropped() {
    let (mut queue, counters) = queue(EventQueueLimits::default());
    queue.accept(request(1, 0), None, at(0), &counters).unwrap();
    assert_eq!(queue.poll(at(6 * 3600 + 1).mono, &counters), None);
    assert!(queue.is_empty());
    assert_eq!(counters.reason(Reason::LambdaEventDropped), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_invocation_ends_once_and_runs_at_most_three_times_into_function_errors(
        steps in proptest::collection::vec((0_u8..6, 0_u64..400), 1..300)
    ) {
        let limits = EventQueueLimits { invocations: 8, bytes: 400, under_way: 3 };
        let (mut queue, counters) = queue(limits);
        let mut now = at(0);
        let mut under_way: Vec<QueuedInvocation> = Vec::new();
        let mut errors = std::collections::BTreeMap::<Uuid, u32>::new();
        let (mut accepted, mut done, mut dropped) = (0_u64, 0_u64, 0_u64);
        for (n, (step, wait)) in steps.into_iter().enumerate() {
            now = now.after(Duration::from_secs(wait));
            match step {
                0 | 1 => {
                    let full = queue.len() == limits.invocations || queue.bytes + 44 > limits.bytes;
                    let result = queue.accept(request(n as u128, 40), None, now, &counters);
                    prop_assert_eq!(result.is_err(), full);
                    accepted += u64::from(result.is_ok());
                }
                2 => under_way.extend(queue.poll(now.mono, &counters)),
                _ => if let Some(invocation) = under_way.pop() {
                    let id = invocation.request.request_id;
                    let outcome = [EventOutcome::Success, EventOutcome::FunctionError, EventOutcome::NotRun][usize::from(step) - 3];
                    if outcome == EventOutcome::FunctionError {
                        *errors.entry(id).or_default() += 1;
                    }
                    match queue.complete(invocation, outcome, now.mono, &counters) {
                        Disposition::Done => done += 1,
                        Disposition::Dropped => dropped += 1,
                        Disposition::Retry(due) => prop_assert!(due > now.mono),
                    }
                },
            }
            prop_assert!(queue.len() <= limits.invocations && queue.bytes <= limits.bytes);
            prop_assert!(under_way.len() <= limits.under_way);
            let aged = counters.reason(Reason::LambdaEventDropped) - dropped;
            prop_assert_eq!(accepted, done + dropped + aged + queue.len() as u64);
        }
        prop_assert!(errors.values().all(|&n| n <= 3));
    }
}
