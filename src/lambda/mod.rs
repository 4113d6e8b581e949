//! The Lambda API: routes, invocations, errors, event-stream framing.
//!
//! [`Service::handle`] turns one HTTP request into one answer; [`service`] lists its checks in order. Signatures and
//! policies are behind [`Authority`], the tunnel behind [`FunctionHost`]; this stage knows neither. [`host`] is the contract
//! with the function host.
//!
//! **Supported**: `Invoke` (RequestResponse, Event, DryRun), `InvokeAsync`, `InvokeWithResponseStream`, `GetFunction`,
//! `GetFunctionConfiguration`, `ListFunctions`, `GetAccountSettings`.
//!
//! **Not supported**: every other operation of the service model is known by its path, needs a valid signature, and is then
//! answered 501 `ServiceException` with a message that says so. On AWS these operations exist; the answer is ours. Not done
//! either: the 2 MB/s pace of streams beyond 6 MB, tenants and durable executions (refused), rate limits of the
//! control-plane operations. A client that goes away while it streams ends its stream here; AWS lets the function run on.
//!
//! **Limits**: payloads ([`invoke::SYNC_PAYLOAD_MAX`], [`invoke::EVENT_PAYLOAD_MAX`],
//! [`invoke::INVOKE_ASYNC_PAYLOAD_MAX`], [`respond::RESPONSE_MAX`], [`body::STREAM_MAX`]), depth of JSON
//! ([`payload::DEPTH_MAX`]), the event queue ([`EventQueueLimits`]). The number of requests at a time is the HTTP stage's.
//!
//! **Timers**: [`HostRequest::give_up`] (the function's time-out and [`host::HOST_GRACE`]), kept by the implementor of
//! [`FunctionHost`]; retries of the event queue, [`Service::next_deadline`].
//!
//! **Counters**: the events `INVOCATION_SENT`, `INVOCATION_ANSWERED`, `EVENT_QUEUED`, `EVENT_RETRIED`, and the reason of
//! every error answered, once, whichever stage it came from.

pub mod access;
pub mod authority;
pub mod body;
pub mod budget;
pub mod catalog;
pub mod error;
pub mod event_queue;
pub mod event_stream;
pub mod host;
pub mod ids;
pub mod invoke;
pub mod name;
pub mod payload;
mod resolved;
pub mod respond;
pub mod route;
pub mod service;

pub use access::{AccessLog, AccessRecord, StageTimes};
pub use authority::{Access, Authority, ConnectionInfo};
pub use body::ResponseBody;
pub use budget::BodyBudget;
pub use catalog::{Catalog, CodeSummary, Target};
pub use error::{ApiError, ThrottleReason};
pub use event_queue::{Disposition, EventOutcome, EventQueueLimits, QueuedInvocation};
pub use host::{FunctionHost, HostBody, HostError, HostRequest, HostResponse};
pub use invoke::InvocationType;
pub use route::Operation;
pub use service::{Service, ServiceParts};
