//! Running what was permitted: to the host and back, at once or from the event queue.

use std::rc::Rc;

use bytes::Bytes;

use super::{Answer, Call, Payload, Permitted, Service};
use crate::lambda::access::AccessRecord;
use crate::lambda::authority::Authority;
use crate::lambda::body::{CollectError, collect, sentence};
use crate::lambda::catalog::Target;
use crate::lambda::error::{ApiError, ThrottleReason};
use crate::lambda::event_queue::{Disposition, EventOutcome, QueuedInvocation};
use crate::lambda::event_stream::{self, InvokeComplete};
use crate::lambda::host::{FunctionHost, HostError, HostRequest, HostResponse, LogType, ResponseMode};
use crate::lambda::invoke::{InvocationType, InvokeParameters};
use crate::lambda::name::with_qualifier;
use crate::lambda::respond::{self, RESPONSE_MAX, Returned};
use crate::lambda::route::Operation;
use crate::time::Moment;
use crate::verdict::{Counters, Event};

/// Longest body of a host's answer that is read for its reason, bytes.
const HOST_ERROR_MAX: usize = 4096;

impl<H: FunctionHost, A: Authority> Service<H, A> {
    /// The way to the function: nothing gets here without the policies' permit.
    pub(super) async fn invoke(
        &self,
        operation: Operation,
        permitted: Permitted<A::Permit>,
        parameters: InvokeParameters,
        payload: Payload<'_>,
        call: &mut Call,
    ) -> Result<Answer, ApiError> {
        let Payload { bytes: payload, reservation } = payload;
        let Permitted { target, permit } = permitted;
        let is_streaming = operation == Operation::InvokeWithResponseStream;
        let mut request = HostRequest {
            target: Rc::clone(&target),
            request_id: call.request_id,
            deadline: self.clock.now().unix,
            give_up: Moment::NEVER,
            trace: call.trace,
            client_context: parameters.client_context,
            log_type: parameters.log_type,
            response_mode: if is_streaming { ResponseMode::Streaming } else { ResponseMode::Buffered },
            payload,
        };
        match parameters.invocation_type {
            InvocationType::DryRun => Ok(Answer::Full(respond::dry_run(call.request_id, &call.trace))),
            InvocationType::Event => {
                let principal = call.finish.record.principal.clone();
                let (now, counters) = (self.clock.now(), &self.counters);
                self.events
                    .borrow_mut()
                    .accept(request, principal, now, counters)
                    .map_err(|_| ApiError::throttled(ThrottleReason::FunctionInvocationRateLimitExceeded))?;
                Ok(Answer::Full(respond::accepted(call.request_id, &call.trace)))
            }
            InvocationType::RequestResponse => {
                let response = self.send(&mut request, &mut call.finish.record).await?;
                // The host has the payload now.
                drop((permit, reservation, request));
                if is_streaming {
                    self.streamed(response, &target.version, parameters.log_type, call).await
                } else {
                    self.buffered(response, &target, parameters.log_type, call).await
                }
            }
        }
    }

    /// Sends one invocation; anything but a 200 of the host becomes an error.
    async fn send(&self, request: &mut HostRequest, record: &mut AccessRecord) -> Result<HostResponse, ApiError> {
        let sent = self.clock.now();
        request.start(sent);
        self.counters.count(Event::InvocationSent);
        let answered = self.host.invoke(request).await;
        record.stages.host = self.clock.now().mono.since(sent.mono);
        let response = answered.map_err(host_failed)?;
        self.counters.count(Event::InvocationAnswered);
        match response.status {
            200 => Ok(response),
            404 => Err(ApiError::function_not_found(&with_qualifier(&request.target.invoked_arn))),
            429 => {
                let body = collect(response.body, HOST_ERROR_MAX, 0, &mut ()).await.unwrap_or_default();
                Err(ApiError::throttled(HostResponse::throttle_reason(&body)))
            }
            status => Err(ApiError::service(&format!("The function host answered with status {status}."))),
        }
    }

    async fn buffered(
        &self,
        response: HostResponse,
        target: &Target,
        log_type: LogType,
        call: &mut Call,
    ) -> Result<Answer, ApiError> {
        let HostResponse { function_error, log_result, body, .. } = response;
        let log_result = log_result.filter(|_| log_type == LogType::Tail);
        let version = Rc::clone(&target.version);
        let mut returned = Returned { version, function_error, log_result, payload: Bytes::new() };
        match collect(body, RESPONSE_MAX, 0, &mut ()).await {
            Ok(payload) => returned.payload = payload,
            Err(CollectError::TooLarge(_) | CollectError::NoRoom) => returned = returned.too_large(),
            Err(CollectError::Body(error)) => return Err(host_failed(error)),
        }
        call.finish.record.is_function_error = returned.function_error.is_some();
        Ok(Answer::Full(returned.into_response(call.request_id, &call.trace)))
    }

    /// A function that failed before it wrote anything answers with its error at once; the stream then has no payload.
    async fn streamed(
        &self,
        response: HostResponse,
        version: &str,
        log_type: LogType,
        call: &mut Call,
    ) -> Result<Answer, ApiError> {
        let (id, trace) = (call.request_id, &call.trace);
        let Some(error) = response.function_error else {
            return Ok(Answer::Stream(respond::streamed(id, trace, version, Bytes::new()), response, log_type));
        };
        call.finish.record.is_function_error = true;
        let details = match collect(response.body, RESPONSE_MAX, 0, &mut ()).await {
            Ok(details) => String::from_utf8(details.into()).ok(),
            Err(CollectError::TooLarge(_) | CollectError::NoRoom) => None,
            Err(CollectError::Body(error)) => return Err(host_failed(error)),
        };
        let log = response.log_result.filter(|_| log_type == LogType::Tail);
        let complete = InvokeComplete {
            error_code: Some(error.name().to_owned()),
            error_details: details,
            log_result: log.and_then(|log| log.to_str().ok().map(str::to_owned)),
        };
        let body = event_stream::emit_all(b"", &complete);
        Ok(Answer::Full(respond::streamed(id, trace, version, body)))
    }

    /// The next Event invocation that is due. Hand it to [`Self::deliver`].
    pub fn poll_event(&self) -> Option<QueuedInvocation> {
        self.events.borrow_mut().poll(self.clock.now().mono, &self.counters)
    }

    /// When [`Self::poll_event`] has something.
    pub fn next_deadline(&self) -> Moment {
        self.events.borrow().next_deadline()
    }

    /// Event invocations held, those under way included.
    pub fn events_len(&self) -> usize {
        self.events.borrow().len()
    }

    /// Tries a queued invocation once, and queues it again if that is due.
    pub async fn deliver(&self, queued: QueuedInvocation) -> Disposition {
        let now = self.clock.now();
        let mut record = AccessRecord::new(now.unix, queued.request.request_id, None);
        record.principal = queued.principal.clone();
        record.operation = Some(Operation::Invoke.name());
        record.invocation_type = Some(InvocationType::Event);
        record.function_arn = Some(Rc::clone(&queued.request.target.invoked_arn));
        record.version = Some(Rc::clone(&queued.request.target.version));
        record.bytes_rx = queued.request.payload.len() as u64;
        let mut finish = self.finish(record, now.mono);
        let mut request = queued.request.clone();
        let outcome = match self.send(&mut request, &mut finish.record).await {
            Ok(response) => {
                finish.record.status = response.status;
                finish.record.is_function_error = response.function_error.is_some();
                let failed = response.function_error.is_some();
                // The answer has no reader, but the invocation is over only when it is.
                match collect(response.body, RESPONSE_MAX, 0, &mut ()).await {
                    Ok(_) if !failed => EventOutcome::Success,
                    Ok(_) | Err(CollectError::TooLarge(_) | CollectError::NoRoom) => EventOutcome::FunctionError,
                    Err(CollectError::Body(error)) => {
                        self.note(&mut finish.record, &host_failed(error));
                        EventOutcome::NotRun
                    }
                }
            }
            Err(error) => {
                self.note(&mut finish.record, &error);
                if error.status == 404 { EventOutcome::Hopeless } else { EventOutcome::NotRun }
            }
        };
        finish.record.event_outcome = Some(outcome);
        self.events.borrow_mut().complete(queued, outcome, self.clock.now().mono, &self.counters)
    }

    fn note(&self, record: &mut AccessRecord, error: &ApiError) {
        Counters::deny(&self.counters, error.reason);
        record.status = error.status;
        record.error_code = Some(error.code);
        record.reason = Some(error.reason);
    }
}

fn host_failed(error: HostError) -> ApiError {
    match error {
        HostError::TooManyPending => ApiError::throttled(ThrottleReason::ConcurrentInvocationLimitExceeded),
        HostError::Unreachable | HostError::TimedOut | HostError::Interrupted | HostError::Malformed => {
            ApiError::service(&sentence(error))
        }
    }
}
