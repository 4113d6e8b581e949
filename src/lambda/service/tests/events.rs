//! Event invocations: accepted, delivered, tried again.

use super::*;

#[test]
fn events_are_accepted_delivered_and_tried_again() {
    let world = world();
    let reply = world.post(INVOKE, &[("x-amz-invocation-type", "Event")], "{\"n\":1}");
    assert_eq!((reply.status, reply.body.len()), (202, 0));
    assert!(world.asked().is_empty());
    let reply = world.post("/2014-11-13/functions/my-function/invoke-async", &[], "{\"n\":2}");
    assert_eq!(reply.status, 202);
    let mut headers = HeaderMap::new();
    headers.insert(FUNCTION_ERROR, HeaderValue::from_static("Unhandled"));
    world.answer(Ok(HostResponse::new(200, &headers, HostBody::Full(Bytes::new()))));
    world.answers("null");
    world.answers("null");
    let mut dispositions = Vec::new();
    while world.service.next_deadline() != Moment::NEVER {
        let now = world.clock.now();
        world.clock.set(now.after(world.service.next_deadline().since(now.mono)));
        let queued = world.service.poll_event().unwrap();
        dispositions.push(drive(&world.clock, world.service.deliver(queued)));
    }
    assert!(matches!(dispositions[..], [Disposition::Retry(_), Disposition::Done, Disposition::Done]));
    let asked = world.asked();
    let payloads: Vec<_> = asked.iter().map(|request| request.payload.clone()).collect();
    assert_eq!(payloads, ["{\"n\":1}", "{\"n\":2}", "{\"n\":1}"]);
    assert_eq!(asked[0].request_id, asked[2].request_id);
    assert!(asked[2].deadline > asked[0].deadline, "each try has its own time");
    assert_eq!(world.service.events_len(), 0);
    assert_eq!(world.counters.event(Event::EventQueued), 2);
    assert_eq!(world.counters.event(Event::EventRetried), 1);
    let records = world.log.0.borrow();
    let outcomes: Vec<_> = records.iter().map(|record| record.event_outcome).collect();
    let (failed, success) = (Some(EventOutcome::FunctionError), Some(EventOutcome::Success));
    assert_eq!(outcomes, [None, None, failed, success, success]);
}

#[test]
fn a_host_that_is_down_is_tried_again_and_a_lost_function_is_not() {
    let world = world();
    world.post(INVOKE, &[("x-amz-invocation-type", "Event")], "");
    world.answer(Err(HostError::Unreachable));
    let queued = world.service.poll_event().unwrap();
    assert!(matches!(drive(&world.clock, world.service.deliver(queued)), Disposition::Retry(_)));
    world.clock.set(world.clock.now().after(Duration::from_secs(2)));
    world.answer(Ok(HostResponse::new(404, &HeaderMap::new(), HostBody::Full(Bytes::new()))));
    let queued = world.service.poll_event().unwrap();
    assert_eq!(drive(&world.clock, world.service.deliver(queued)), Disposition::Dropped);
    assert_eq!(world.counters.reason(Reason::LambdaEventDropped), 1);
}

#[test]
fn a_full_event_queue_throttles() {
    let world = world_with(EventQueueLimits { invocations: 1, bytes: 1 << 20, under_way: 1 });
    let event = [("x-amz-invocation-type", "Event")];
    assert_eq!(world.post(INVOKE, &event, "").status, 202);
    let reply = world.post(INVOKE, &event, "");
    assert_eq!((reply.status, reply.code()), (429, "TooManyRequestsException"));
    assert_eq!(reply.json()["Reason"], "FunctionInvocationRateLimitExceeded");
    assert_eq!(world.counters.reason(Reason::LambdaThrottled), 1);
}
