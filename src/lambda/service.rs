//! Request → answer, from the routed head to the last byte.
//!
//! The order of checks, the first that fails decides:
//!
//! 1. the route: an unknown path or method gets the XML answer, signed or not;
//! 2. the signature's header ([`Authority::begin`]): unsigned requests cost no body;
//! 3. the body's size, as announced or as it comes, and whether there is room for it ([`BodyBudget`]);
//! 4. the signature ([`Authority::finish`]); operations that are not supported end here;
//! 5. names, qualifiers and headers against the service model, then the region and the qualifier of the ARN;
//! 6. the policies ([`Authority::authorize`]): who may not, does not learn what exists;
//! 7. existence;
//! 8. header values the service itself checks, then the payload's JSON.
//!
//! That 3 stands before 4 is our choice: AWS's order is not known, and a signature cannot be verified without the body. An
//! operation that is not supported says so in place of 3 as well: `CreateFunction` with a large zip file is not "too large".
//!
//! Futures made here are not `Send`, hold no borrow of the service's state over an await, and wait for nothing but the
//! request's body and the function host.

mod run;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use serde_json::Value;
use uuid::Uuid;

use super::access::{AccessLog, AccessRecord};
use super::authority::{Access, Authority, ConnectionInfo};
use super::body::{CollectError, Finish, Keeper, Ledger, ResponseBody, collect};
use super::budget::{BodyBudget, Reservation};
use super::catalog::{Catalog, Target};
use super::error::{ApiError, Violations};
use super::event_queue::{EventQueue, EventQueueLimits};
use super::host::{FunctionHost, HostResponse, LogType, TRACE_ID};
use super::ids::{IdGenerator, Trace};
use super::invoke::{InvokeParameters, chosen_request_id, payload_limit};
use super::name::with_qualifier;
use super::payload;
use super::resolved::Resolutions;
use super::respond;
use super::route::{Operation, Route, route};
use crate::http::{RequestHead, Response};
use crate::sigv4::BodyHash;
use crate::time::{Moment, TurnClock};
use crate::verdict::Counters;

/// Bytes of a body that is not kept, beyond its limit, that are read and thrown away before the answer.
const DISCARD_MAX: u64 = 16 << 20;

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
    /// Bytes of request bodies that may be held at a time.
    pub body_budget: usize,
}

/// The Lambda API of one worker.
pub struct Service<H, A> {
    host: H,
    authority: A,
    catalog: RefCell<Arc<Catalog>>,
    resolutions: RefCell<Resolutions>,
    clock: Rc<TurnClock>,
    counters: Arc<Counters>,
    ledger: Rc<Ledger>,
    ids: RefCell<IdGenerator>,
    events: RefCell<EventQueue>,
    bodies: BodyBudget,
}

/// A target that the caller may invoke. Made by [`Service::permit`] alone; whoever holds one holds the policies' permit.
struct Permitted<P> {
    target: Rc<Target>,
    /// Held until the invocation was handed over.
    permit: P,
}

/// A request's body, and its part of the budget.
struct Payload<'a> {
    bytes: Bytes,
    reservation: Reservation<'a>,
}

/// A request's body while it arrives.
struct Intake<'a> {
    hash: BodyHash,
    reservation: Reservation<'a>,
}

impl Keeper for Intake<'_> {
    fn may_keep(&mut self, bytes: usize) -> bool {
        self.reservation.hold(bytes)
    }

    fn keep(&mut self, piece: &[u8]) {
        self.hash.update(piece);
    }

    fn let_go(&mut self) {
        self.reservation.release();
    }
}

/// One request on its way.
struct Call {
    request_id: Uuid,
    trace: Trace,
    finish: Finish,
}

/// What a request that is in order is about.
enum Judged<P> {
    /// It reads, and this is the answer.
    Described(Response<Bytes>),
    /// It invokes.
    Permitted(Permitted<P>, InvokeParameters),
}

/// What a request came to, short of an error.
enum Answer {
    Full(Response<Bytes>),
    Stream(Response<Bytes>, HostResponse, LogType),
}

impl<H: FunctionHost, A: Authority> Service<H, A> {
    /// A service.
    pub fn new(parts: ServiceParts<H, A>) -> Self {
        let (clock, counters) = (Rc::clone(&parts.clock), Arc::clone(&parts.counters));
        Self {
            host: parts.host,
            authority: parts.authority,
            catalog: RefCell::new(parts.catalog),
            resolutions: RefCell::default(),
            clock: parts.clock,
            counters: parts.counters,
            ledger: Rc::new(Ledger { clock, counters, log: parts.log }),
            ids: RefCell::new(IdGenerator::new(parts.seed)),
            events: RefCell::new(EventQueue::new(parts.event_limits)),
            bodies: BodyBudget::new(parts.body_budget),
        }
    }

    /// Takes a new snapshot of the functions; requests under way keep the one they resolved with.
    pub fn set_catalog(&self, catalog: Arc<Catalog>) {
        self.catalog.replace(catalog);
    }

    /// The budget of request bodies.
    pub const fn bodies(&self) -> &BodyBudget {
        &self.bodies
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
    pub async fn handle<B>(&self, connection: &ConnectionInfo, head: &RequestHead, body: B) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
    {
        let mut call = self.call(head, connection);
        let answer = self.answer(connection, head, body, &mut call).await;
        let Call { request_id, mut finish, .. } = call;
        let response = match answer {
            Ok(Answer::Full(response)) => response,
            Ok(Answer::Stream(response, host, log_type)) => {
                finish.record.status = response.status;
                return response.map(|_| ResponseBody::stream(host, log_type, finish));
            }
            Err(error) => {
                Counters::deny(&self.counters, error.reason);
                finish.record.reason = Some(error.reason);
                finish.record.error_code = Some(error.code).filter(|code| !code.is_empty());
                respond::error(request_id, error)
            }
        };
        finish.record.status = response.status;
        finish.record.bytes_tx = response.body.len() as u64;
        response.map(ResponseBody::full)
    }

    fn call(&self, head: &RequestHead, connection: &ConnectionInfo) -> Call {
        let now = self.clock.now();
        let (fresh, trace) = {
            let mut ids = self.ids.borrow_mut();
            (ids.request_id(), ids.trace(now.unix))
        };
        let request_id = chosen_request_id(head).ok().flatten().unwrap_or(fresh);
        let trace = trace.continued(head.text(TRACE_ID.as_str()));
        let record = AccessRecord::new(now.unix, request_id, Some(connection.client));
        Call { request_id, trace, finish: self.finish(record, now.mono) }
    }

    fn finish(&self, record: AccessRecord, started: Moment) -> Finish {
        Finish { record, started, ledger: Rc::clone(&self.ledger) }
    }

    async fn answer<B>(
        &self,
        connection: &ConnectionInfo,
        head: &RequestHead,
        body: B,
        call: &mut Call,
    ) -> Result<Answer, ApiError>
    where
        B: Body<Data = Bytes>,
    {
        let (route, pending) = match self.admit(connection, head, call) {
            Ok(admitted) => admitted,
            Err(error) => {
                discard(head, body).await;
                return Err(error);
            }
        };
        let operation = route.operation;
        let (payload, sha256) = self.receive(operation, head, body, call).await?;
        // What has been looked at is gone before the invocation waits: a future holds what lives over a wait.
        match self.judge(connection, head, route, pending, (&payload.bytes, &sha256), call)? {
            Judged::Described(answer) => Ok(Answer::Full(answer)),
            Judged::Permitted(permitted, parameters) => {
                self.invoke(operation, permitted, parameters, payload, call).await
            }
        }
    }

    /// What can be known before the body.
    fn admit<'h>(
        &self,
        connection: &ConnectionInfo,
        head: &'h RequestHead,
        call: &mut Call,
    ) -> Result<(Route<'h>, A::Pending), ApiError> {
        let route = route(head.method(), head.path(), head.query())?;
        call.finish.record.operation = Some(route.operation.name());
        Ok((route, self.authority.begin(head, connection, self.clock.now())?))
    }

    /// All that is left to be known when the body is there.
    fn judge(
        &self,
        connection: &ConnectionInfo,
        head: &RequestHead,
        route: Route<'_>,
        pending: A::Pending,
        (payload, sha256): (&[u8], &[u8; 32]),
        call: &mut Call,
    ) -> Result<Judged<A::Permit>, ApiError> {
        let caller = self.authority.finish(pending, sha256, self.clock.now())?;
        call.finish.record.principal = Some(Rc::clone(self.authority.principal(&caller)));
        let Some(action) = route.operation.action() else {
            return Err(ApiError::not_supported(route.operation.name()));
        };
        let allow = |resource: &str, function| {
            let access = Access { action, resource, function };
            self.authority.authorize(&caller, access, connection, self.clock.now())
        };
        if !route.operation.is_invocation() {
            let value = self.describe(&route, call, allow)?;
            return Ok(Judged::Described(respond::document(call.request_id, &value)));
        }
        let mut violations = Violations::default();
        let parameters = InvokeParameters::validate(route.operation, head, &mut violations);
        call.finish.record.invocation_type = Some(parameters.invocation_type);
        let permitted = self.permit(&route, violations, call, allow)?;
        parameters.check(head)?;
        chosen_request_id(head)?;
        if !payload.is_empty() {
            payload::check(payload).map_err(|detail| ApiError::payload_not_json(&detail))?;
        }
        Ok(Judged::Permitted(permitted, parameters))
    }

    /// The operations that read.
    fn describe(
        &self,
        route: &Route<'_>,
        call: &mut Call,
        allow: impl Fn(&str, Option<usize>) -> Result<A::Permit, ApiError>,
    ) -> Result<Value, ApiError> {
        let catalog = self.catalog.borrow();
        match route.operation {
            Operation::ListFunctions => {
                allow("*", None)?;
                let version = route.function_version.as_deref();
                let seen = catalog.seen_by(account_of(&call.finish.record));
                seen.list(version, route.marker.as_deref(), route.max_items.as_deref())
            }
            Operation::GetAccountSettings => {
                allow("*", None)?;
                Ok(catalog.seen_by(account_of(&call.finish.record)).account_settings())
            }
            Operation::GetFunction => {
                let permitted = self.permit(route, Violations::default(), call, allow)?;
                Ok(catalog.function_description(&permitted.target))
            }
            Operation::GetFunctionConfiguration => {
                let permitted = self.permit(route, Violations::default(), call, allow)?;
                Ok(catalog.configuration(&permitted.target))
            }
            other @ (Operation::Invoke
            | Operation::InvokeAsync
            | Operation::InvokeWithResponseStream
            | Operation::Unsupported(_)) => Err(ApiError::not_supported(other.name())),
        }
    }

    /// Collects the request's body and its SHA-256.
    async fn receive<B>(
        &self,
        operation: Operation,
        head: &RequestHead,
        body: B,
        call: &mut Call,
    ) -> Result<(Payload<'_>, [u8; 32]), ApiError>
    where
        B: Body<Data = Bytes>,
    {
        let (limit, invocation) = payload_limit(operation, head);
        let too_large = |size| match operation {
            Operation::Unsupported(name) => ApiError::not_supported(name),
            _ if operation.is_invocation() => ApiError::payload_too_large(size, invocation, limit),
            _ => ApiError::request_too_large(limit),
        };
        let mut intake = Intake { hash: BodyHash::new(), reservation: self.bodies.reservation() };
        let received = collect(body, limit, DISCARD_MAX, &mut intake).await;
        call.finish.record.stages.body = self.clock.now().mono.since(call.finish.started);
        let bytes = received.map_err(|error| match error {
            CollectError::TooLarge(size) => too_large(size),
            CollectError::NoRoom => ApiError::no_room_for_body(),
            CollectError::Body(_) => ApiError::invalid_request_content("The request body is incomplete."),
        })?;
        call.finish.record.bytes_rx = bytes.len() as u64;
        let Intake { hash, reservation } = intake;
        Ok((Payload { bytes, reservation }, hash.finish()))
    }

    /// Validates the name, asks the policies, and only then looks whether the function exists.
    fn permit(
        &self,
        route: &Route<'_>,
        violations: Violations,
        call: &mut Call,
        allow: impl Fn(&str, Option<usize>) -> Result<A::Permit, ApiError>,
    ) -> Result<Permitted<A::Permit>, ApiError> {
        let (name, qualifier) = (route.function_name.as_deref().unwrap_or_default(), route.qualifier.as_deref());
        let record = &mut call.finish.record;
        let mut resolutions = self.resolutions.borrow_mut();
        let resolved = resolutions.resolve(&self.catalog.borrow(), account_of(record), name, qualifier, violations)?;
        record.function_arn = Some(Rc::clone(&resolved.arn));
        let permit = allow(&resolved.arn, resolved.function)?;
        record.stages.authorize = self.clock.now().mono.since(call.finish.started).saturating_sub(record.stages.body);
        let target = resolved.target.as_ref().ok_or_else(|| match route.operation.is_invocation() {
            true => ApiError::function_not_found(&with_qualifier(&resolved.arn)),
            false => ApiError::function_not_found(&resolved.arn),
        })?;
        record.version = Some(Rc::clone(&target.version));
        Ok(Permitted { target: Rc::clone(target), permit })
    }
}

/// The account of the verified caller.
fn account_of(record: &AccessRecord) -> &str {
    record.principal.as_ref().map_or("", |principal| &principal.account)
}

/// Reads the body of a request that is refused by its head, so that the connection can be used again and a client that is
/// still sending sees the answer. One that waits to be asked for its body is told no instead.
async fn discard<B: Body<Data = Bytes>>(head: &RequestHead, body: B) {
    if head.field("expect").is_none() {
        // However it ends: the answer is the same.
        let _: Result<Bytes, CollectError<B::Error>> = collect(body, 0, DISCARD_MAX, &mut ()).await;
    }
}

#[cfg(test)]
mod tests;
