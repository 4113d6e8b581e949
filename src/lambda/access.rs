//! One record per request, for the access lines that the edge writes.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use uuid::Uuid;

use super::event_queue::EventOutcome;
use super::invoke::InvocationType;
use crate::sigv4::Principal;
use crate::time::UnixTime;
use crate::verdict::Reason;

/// What became of one API request, or of one try of a queued Event invocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessRecord {
    /// When its head was there.
    pub at: UnixTime,
    /// As answered in `x-amzn-RequestId`.
    pub request_id: Uuid,
    /// The client's address and port; `None` for a queued invocation.
    pub client: Option<SocketAddr>,
    /// The caller, once the signature was verified.
    pub principal: Option<Rc<Principal>>,
    /// The operation's name; `None` if there is no such operation.
    pub operation: Option<&'static str>,
    /// The ARN as invoked, once the name was valid.
    pub function_arn: Option<Rc<str>>,
    /// The version that ran or would run.
    pub version: Option<Rc<str>>,
    /// For invocations.
    pub invocation_type: Option<InvocationType>,
    /// HTTP status answered, or for a queued invocation the host's; 0 if the host did not answer.
    pub status: u16,
    /// `x-amzn-ErrorType`.
    pub error_code: Option<&'static str>,
    /// Why it went no further.
    pub reason: Option<Reason>,
    /// Whether the function failed.
    pub is_function_error: bool,
    /// How a try of a queued invocation came out.
    pub event_outcome: Option<EventOutcome>,
    /// Bytes of the request's body.
    pub bytes_rx: u64,
    /// Bytes of the answer's body.
    pub bytes_tx: u64,
    /// From the head to the last byte of the answer's body handed to HTTP.
    pub duration: Duration,
    /// Where the time went.
    pub stages: StageTimes,
}

/// Parts of [`AccessRecord::duration`], in steps of the hot loop's turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StageTimes {
    /// Until the body was there.
    pub body: Duration,
    /// From there until it was authorised.
    pub authorize: Duration,
    /// From sending to the head of the host's answer.
    pub host: Duration,
}

impl AccessRecord {
    /// A record of which nothing but its beginning is known.
    pub const fn new(at: UnixTime, request_id: Uuid, client: Option<SocketAddr>) -> Self {
        Self {
            at,
            request_id,
            client,
            principal: None,
            operation: None,
            function_arn: None,
            version: None,
            invocation_type: None,
            status: 0,
            error_code: None,
            reason: None,
            is_function_error: false,
            event_outcome: None,
            bytes_rx: 0,
            bytes_tx: 0,
            duration: Duration::ZERO,
            stages: StageTimes { body: Duration::ZERO, authorize: Duration::ZERO, host: Duration::ZERO },
        }
    }
}

/// Where records go. Called once per request, on the worker's thread; must not wait.
pub trait AccessLog {
    /// Takes one record.
    fn record(&self, record: &AccessRecord);
}
