//! Request → answer, from the routed head to the last byte.
//!
//! The order of checks, the first that fails decides:
//!
//! 1. the route: an unknown path or method gets the XML answer, signed or not;
//! 2. the signature's header ([`Authority::begin`]): unsigned requests cost no body;
//! 3. the body's size, as announced or as it comes;
//! 4. the signature ([`Authority::finish`]); operations that are not supported end here;
//! 5. names, qualifiers and headers against the service model, then the region and the qualifier of the ARN;
//! 6. the policies ([`Authority::authorize`]): who may not, does not learn what exists;
//! 7. existence;
//! 8. header values the service itself checks, then the payload's JSON.
//!
//! That 3 stands before 4 is our choice: AWS's order is not known, and a signature cannot be verified without the body.
//!
//! Futures made here are not `Send`, hold no borrow of the service's state over an await, and wait for nothing but the
//! request's body and the function host.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, header};
use http_body::Body;
use uuid::Uuid;

use super::access::{AccessLog, AccessRecord};
use super::authority::{Access, Authority, ConnectionInfo};
use super::body::{CollectError, Finish, ResponseBody, collect, sentence};
use super::catalog::{Catalog, Target};
use super::error::{ApiError, ThrottleReason, Violations};
use super::event_queue::{Disposition, EventOutcome, EventQueue, EventQueueLimits, QueuedInvocation};
use super::event_stream::{self, InvokeComplete};
use super::host::{FunctionHost, HostError, HostRequest, HostResponse, LogType, ResponseMode, TRACE_ID};
use super::ids::{IdGenerator, Trace};
use super::invoke::{InvocationType, InvokeParameters, chosen_request_id, payload_limit};
use super::name::{NamedFunction, with_qualifier};
use super::respond::{self, RESPONSE_MAX, Returned};
use super::route::{Operation, Route, route};
use super::{payload, respond::document};
use crate::time::{Moment, TurnClock};
use crate::verdict::{Counters, Event};

/// Longest body of a host's answer that is read for its reason, bytes.
const HOST_ERROR_MAX: usize = 4096;

/// What a [`Service`] is made of.
pub struct ServiceParts<H, A> {
    /// The way to the function host.
    pub host: H,
    /// Signatures and policies.
    pub authority: A,
    /// The functions.
    pub catalog: Arc<Catalog>,
    /// The worker's clock.
    pub clock: Rc<TurnClock>,
    /// The worker's counters.
    pub counters: Arc<Counters>,
    /// Where access records go.
    pub log: Rc<dyn AccessLog>,
    /// Random bytes, different for each worker and start.
    pub seed: [u8; 32],
    /// Limits of the event queue.
    pub event_limits: EventQueueLimits,
}

/// The Lambda API of one worker.
pub struct Service<H, A> {
    host: H,
    authority: A,
    catalog: RefCell<Arc<Catalog>>,
    clock: Rc<TurnClock>,
    counters: Arc<Counters>,
    log: Rc<dyn AccessLog>,
    ids: RefCell<IdGenerator>,
    events: RefCell<EventQueue>,
}

/// A target that the caller may invoke. Made by [`Service::permit`] alone; whoever holds one holds the policies' permit.
struct Permitted<P> {
    target: Target,
    /// Held until the invocation was handed over.
    permit: P,
}

/// One request on its way.
struct Call {
    request_id: Uuid,
    trace: Trace,
    finish: Finish,
}

/// What a request came to, short of an error.
enum Answer {
    Full(Response<Bytes>),
    Stream(Response<Bytes>, HostResponse),
}

impl<H: FunctionHost, A: Authority> Service<H, A> {
    /// A service.
    pub fn new(parts: ServiceParts<H, A>) -> Self {
        Self {
            host: parts.host,
            authority: parts.authority,
            catalog: RefCell::new(parts.catalog),
            clock: parts.clock,
            counters: parts.counters,
            log: parts.log,
            ids: RefCell::new(IdGenerator::new(parts.seed)),
            events: RefCell::new(EventQueue::new(parts.event_limits)),
        }
    }

    /// Takes a new snapshot of the functions; requests under way keep the one they resolved with.
    pub fn set_catalog(&self, catalog: Arc<Catalog>) {
        self.catalog.replace(catalog);
    }

    /// The way to the function host.
    pub const fn host(&self) -> &H {
        &self.host
    }

    /// Signatures and policies.
    pub const fn authority(&self) -> &A {
        &self.authority
    }

    /// Answers one request.
    pub async fn handle<B>(&self, connection: &ConnectionInfo, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
    {
        let (head, body) = request.into_parts();
        let mut call = self.call(&head, connection);
        let answer = self.answer(connection, &head, body, &mut call).await;
        let Call { request_id, mut finish, .. } = call;
        let response = match answer {
            Ok(Answer::Full(response)) => response,
            Ok(Answer::Stream(response, host)) => {
                finish.record.status = response.status().as_u16();
                let (parts, _) = response.into_parts();
                return Response::from_parts(parts, ResponseBody::stream(host.body, host.log_result, finish));
            }
            Err(error) => {
                Counters::drop(&self.counters, error.reason);
                finish.record.reason = Some(error.reason);
                finish.record.error_code = Some(error.code).filter(|code| !code.is_empty());
                respond::error(request_id, error)
            }
        };
        finish.record.status = response.status().as_u16();
        finish.record.bytes_tx = response.body().len() as u64;
        response.map(ResponseBody::full)
    }

    fn call(&self, head: &Parts, connection: &ConnectionInfo) -> Call {
        let now = self.clock.now();
        let (fresh, trace) = {
            let mut ids = self.ids.borrow_mut();
            (ids.request_id(), ids.trace(now.unix))
        };
        let request_id = chosen_request_id(&head.headers).ok().flatten().unwrap_or(fresh);
        let trace = trace.continued(head.headers.get(TRACE_ID).and_then(|value| value.to_str().ok()));
        let record = AccessRecord::new(now.unix, request_id, Some(connection.client));
        Call { request_id, trace, finish: self.finish(record, now.mono) }
    }

    fn finish(&self, record: AccessRecord, started: Moment) -> Finish {
        let (clock, counters, log) = (Rc::clone(&self.clock), Arc::clone(&self.counters), Rc::clone(&self.log));
        Finish { record, started, clock, counters, log }
    }

    async fn answer<B>(
        &self,
        connection: &ConnectionInfo,
        head: &Parts,
        body: B,
        call: &mut Call,
    ) -> Result<Answer, ApiError>
    where
        B: Body<Data = Bytes>,
    {
        let route = route(&head.method, head.uri.path(), head.uri.query())?;
        call.finish.record.operation = Some(route.operation.name());
        let pending = self.authority.begin(head, connection, self.clock.now())?;
        let (payload, sha256) = self.receive(route.operation, head, body, call).await?;
        let caller = self.authority.finish(pending, &sha256, self.clock.now())?;
        call.finish.record.principal = Some(self.authority.principal(&caller).to_owned());
        let Some(action) = route.operation.action() else {
            return Err(ApiError::not_supported(route.operation.name()));
        };
        let allow = |resource: &str, function| {
            let access = Access { action, resource, function };
            self.authority.authorize(&caller, access, connection, self.clock.now())
        };
        let catalog = Arc::clone(&self.catalog.borrow());
        let id = call.request_id;
        match route.operation {
            Operation::ListFunctions => {
                allow("*", None)?;
                let page = catalog.list(
                    route.function_version.as_deref(),
                    route.marker.as_deref(),
                    route.max_items.as_deref(),
                )?;
                Ok(Answer::Full(document(id, &page)))
            }
            Operation::GetAccountSettings => {
                allow("*", None)?;
                Ok(Answer::Full(document(id, &catalog.account_settings())))
            }
            Operation::GetFunction | Operation::GetFunctionConfiguration => {
                let Permitted { target, .. } = self.permit(&route, &catalog, Violations::default(), call, allow)?;
                let value = if route.operation == Operation::GetFunction {
                    catalog.function_description(&target)
                } else {
                    catalog.configuration(&target)
                };
                Ok(Answer::Full(document(id, &value)))
            }
            Operation::Invoke | Operation::InvokeAsync | Operation::InvokeWithResponseStream => {
                let mut violations = Violations::default();
                let parameters = InvokeParameters::validate(route.operation, &head.headers, &mut violations);
                call.finish.record.invocation_type = Some(parameters.invocation_type);
                let permitted = self.permit(&route, &catalog, violations, call, allow)?;
                parameters.check(&head.headers)?;
                chosen_request_id(&head.headers)?;
                if !payload.is_empty() {
                    payload::check(&payload).map_err(|detail| ApiError::payload_not_json(&detail))?;
                }
                self.invoke(route.operation, permitted, parameters, payload, call).await
            }
            Operation::Unsupported(name) => Err(ApiError::not_supported(name)),
        }
    }

    /// Collects the request's body and its SHA-256.
    async fn receive<B>(
        &self,
        operation: Operation,
        head: &Parts,
        body: B,
        call: &mut Call,
    ) -> Result<(Bytes, [u8; 32]), ApiError>
    where
        B: Body<Data = Bytes>,
    {
        let (limit, invocation) = payload_limit(operation, &head.headers);
        let too_large = |size| {
            if operation.is_invocation() {
                ApiError::payload_too_large(size, invocation, limit)
            } else {
                ApiError::request_too_large(limit)
            }
        };
        // The body knows its length from HTTP; the header is looked at as well for bodies that do not.
        let announced = head.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if let Some(size) = announced.filter(|size| *size > limit as u64) {
            return Err(too_large(size));
        }
        let mut context = Context::new(&SHA256);
        let received = collect(body, limit, |data| context.update(data)).await;
        call.finish.record.stages.body = self.clock.now().mono.since(call.finish.started);
        let payload = received.map_err(|error| match error {
            CollectError::TooLarge(size) => too_large(size),
            CollectError::Body(_) => ApiError::invalid_request_content("The request body is incomplete."),
        })?;
        call.finish.record.bytes_rx = payload.len() as u64;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(context.finish().as_ref());
        Ok((payload, sha256))
    }

    /// Validates the name, asks the policies, and only then looks whether the function exists.
    fn permit(
        &self,
        route: &Route,
        catalog: &Catalog,
        violations: Violations,
        call: &mut Call,
        allow: impl Fn(&str, Option<usize>) -> Result<A::Permit, ApiError>,
    ) -> Result<Permitted<A::Permit>, ApiError> {
        let name = route.function_name.as_deref().unwrap_or_default();
        let named = NamedFunction::resolve(name, route.qualifier.as_deref(), catalog.scope(), violations)?;
        let record = &mut call.finish.record;
        record.function_arn = Some(named.arn.clone());
        let permit = allow(&named.arn, catalog.function(&named))?;
        record.stages.authorize = self.clock.now().mono.since(call.finish.started).saturating_sub(record.stages.body);
        let target = catalog.resolve(&named).ok_or_else(|| {
            let arn = if route.operation.is_invocation() { with_qualifier(&named.arn) } else { named.arn.clone() };
            ApiError::function_not_found(&arn)
        })?;
        record.version = Some(target.version.clone());
        Ok(Permitted { target, permit })
    }

    /// The way to the function: nothing gets here without the policies' permit.
    async fn invoke(
        &self,
        operation: Operation,
        permitted: Permitted<A::Permit>,
        parameters: InvokeParameters,
        payload: Bytes,
        call: &mut Call,
    ) -> Result<Answer, ApiError> {
        let Permitted { target, permit } = permitted;
        let is_streaming = operation == Operation::InvokeWithResponseStream;
        let request = HostRequest {
            function: target.function,
            function_name: target.name,
            request_id: call.request_id,
            invoked_function_arn: target.invoked_arn,
            function_version: target.version.clone(),
            timeout: target.timeout,
            deadline: self.clock.now().unix,
            give_up: Moment::NEVER,
            trace_id: call.trace.to_runtime(),
            client_context: parameters.client_context,
            log_type: parameters.log_type,
            response_mode: if is_streaming { ResponseMode::Streaming } else { ResponseMode::Buffered },
            payload,
        };
        match parameters.invocation_type {
            InvocationType::DryRun => Ok(Answer::Full(respond::dry_run(call.request_id, &call.trace))),
            InvocationType::Event => {
                let principal = call.finish.record.principal.clone().unwrap_or_default();
                let (now, counters) = (self.clock.now(), &self.counters);
                self.events
                    .borrow_mut()
                    .accept(request, principal, now, counters)
                    .map_err(|_| ApiError::throttled(ThrottleReason::FunctionInvocationRateLimitExceeded))?;
                Ok(Answer::Full(respond::accepted(call.request_id, &call.trace)))
            }
            InvocationType::RequestResponse => {
                let response = self.send(request, &mut call.finish.record).await?;
                drop(permit);
                if is_streaming {
                    self.streamed(response, &target.version, call).await
                } else {
                    self.buffered(response, target.version, parameters.log_type, call).await
                }
            }
        }
    }

    /// Sends one invocation; anything but a 200 of the host becomes an error.
    async fn send(&self, mut request: HostRequest, record: &mut AccessRecord) -> Result<HostResponse, ApiError> {
        let sent = self.clock.now();
        request.start(sent);
        let arn = request.invoked_function_arn.clone();
        self.counters.count(Event::InvocationSent);
        let answered = self.host.invoke(request).await;
        record.stages.host = self.clock.now().mono.since(sent.mono);
        let response = answered.map_err(host_failed)?;
        self.counters.count(Event::InvocationAnswered);
        match response.status {
            200 => Ok(response),
            404 => Err(ApiError::function_not_found(&with_qualifier(&arn))),
            429 => {
                let body = collect(response.body, HOST_ERROR_MAX, |_| {}).await.unwrap_or_default();
                Err(ApiError::throttled(HostResponse::throttle_reason(&body)))
            }
            status => Err(ApiError::service(&format!("The function host answered with status {status}."))),
        }
    }

    async fn buffered(
        &self,
        response: HostResponse,
        version: String,
        log_type: LogType,
        call: &mut Call,
    ) -> Result<Answer, ApiError> {
        let HostResponse { function_error, log_result, body, .. } = response;
        let log_result = log_result.filter(|_| log_type == LogType::Tail);
        let mut returned = Returned { version, function_error, log_result, payload: Bytes::new() };
        match collect(body, RESPONSE_MAX, |_| {}).await {
            Ok(payload) => returned.payload = payload,
            Err(CollectError::TooLarge(_)) => returned = returned.too_large(),
            Err(CollectError::Body(error)) => return Err(host_failed(error)),
        }
        call.finish.record.is_function_error = returned.function_error.is_some();
        Ok(Answer::Full(returned.into_response(call.request_id, &call.trace)))
    }

    /// A function that failed before it wrote anything answers with its error at once; the stream then has no payload.
    async fn streamed(&self, response: HostResponse, version: &str, call: &mut Call) -> Result<Answer, ApiError> {
        let (id, trace) = (call.request_id, &call.trace);
        let Some(error) = response.function_error else {
            return Ok(Answer::Stream(respond::streamed(id, trace, version, Bytes::new()), response));
        };
        call.finish.record.is_function_error = true;
        let details = match collect(response.body, RESPONSE_MAX, |_| {}).await {
            Ok(details) => String::from_utf8(details.into()).ok(),
            Err(CollectError::TooLarge(_)) => None,
            Err(CollectError::Body(error)) => return Err(host_failed(error)),
        };
        let complete = InvokeComplete {
            error_code: Some(error.name().to_owned()),
            error_details: details,
            log_result: response.log_result.and_then(|log| log.to_str().ok().map(str::to_owned)),
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
        record.principal = Some(queued.principal.clone());
        record.operation = Some(Operation::Invoke.name());
        record.invocation_type = Some(InvocationType::Event);
        record.function_arn = Some(queued.request.invoked_function_arn.clone());
        record.version = Some(queued.request.function_version.clone());
        record.bytes_rx = queued.request.payload.len() as u64;
        let mut finish = self.finish(record, now.mono);
        let outcome = match self.send(queued.request.clone(), &mut finish.record).await {
            Ok(response) => {
                finish.record.status = response.status;
                finish.record.is_function_error = response.function_error.is_some();
                let failed = response.function_error.is_some();
                // The answer has no reader, but the invocation is over only when it is.
                match collect(response.body, RESPONSE_MAX, |_| {}).await {
                    Ok(_) | Err(CollectError::TooLarge(_)) if failed => EventOutcome::FunctionError,
                    Ok(_) => EventOutcome::Success,
                    Err(CollectError::TooLarge(_)) => EventOutcome::FunctionError,
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
        Counters::drop(&self.counters, error.reason);
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

#[cfg(test)]
mod tests;
