//! Event invocations between "202 Accepted" and their end.
//!
//! A function error is tried again twice, after one minute and after two more. A throttle or a failure of the host is
//! tried again after 1 s, doubling to 5 min. Either way an invocation lives six hours at most. (Lambda Developer Guide,
//! "How Lambda handles errors and retries with asynchronous invocation".)
//!
//! The queue lives in the worker's memory: it is bounded by count and bytes, invocations under way included, and ends with
//! the process. Several invocations may be under way at the same time, in no promised order; the host may see one twice,
//! as on AWS.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::host::HostRequest;
use crate::sigv4::Principal;
use crate::time::{Moment, Now};
use crate::verdict::{Counters, Event, Reason};

/// Waits before the second and third try after a function error.
const FUNCTION_ERROR_WAITS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];
/// Wait after the first throttle or host failure in a row.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after a throttle or host failure.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// Longest life of an invocation in the queue (`MaximumEventAgeInSeconds`, default).
pub const AGE_MAX: Duration = Duration::from_secs(6 * 3600);

/// How much a queue takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventQueueLimits {
    /// Invocations.
    pub invocations: usize,
    /// Bytes of their payloads and names.
    pub bytes: usize,
    /// Invocations under way at the same time.
    pub under_way: usize,
}

impl Default for EventQueueLimits {
    fn default() -> Self {
        Self { invocations: 10_000, bytes: 64 << 20, under_way: 64 }
    }
}

/// The queue would be over its limits: answer as throttled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the event queue is full")]
pub struct EventQueueFull;

/// An invocation handed out by [`EventQueue::poll`]. Give it back to [`EventQueue::complete`], or its place stays taken.
#[derive(PartialEq, Eq, Debug)]
pub struct QueuedInvocation {
    /// What to send; its time starts when it is sent.
    pub request: HostRequest,
    /// Who invoked it, for the access record.
    pub principal: Option<Rc<Principal>>,
    accepted: Now,
    due: Moment,
    function_errors: usize,
    failures_in_row: u32,
}

impl QueuedInvocation {
    /// When it was accepted.
    pub const fn accepted(&self) -> Now {
        self.accepted
    }

    /// Whether it was tried before.
    pub const fn is_retry(&self) -> bool {
        self.function_errors != 0 || self.failures_in_row != 0
    }
}

/// How one try came out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventOutcome {
    /// The function returned.
    Success,
    /// The function failed.
    FunctionError,
    /// There was no concurrency left, or the host failed.
    NotRun,
    /// It can never succeed: the function is gone.
    Hopeless,
}

impl EventOutcome {
    /// As access lines say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::FunctionError => "FunctionError",
            Self::NotRun => "NotRun",
            Self::Hopeless => "Hopeless",
        }
    }
}

/// What becomes of an invocation after a try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// It is done.
    Done,
    /// It will be tried again.
    Retry(Moment),
    /// It was given up.
    Dropped,
}

/// The queue.
#[derive(Debug)]
pub struct EventQueue {
    limits: EventQueueLimits,
    waiting: BinaryHeap<Reverse<Waiting>>,
    accepted: u64,
    held: usize,
    bytes: usize,
    under_way: usize,
}

/// Ordered by due time, then by acceptance.
#[derive(Debug)]
struct Waiting {
    order: (Moment, u64),
    invocation: QueuedInvocation,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

impl EventQueue {
    /// An empty queue.
    pub fn new(limits: EventQueueLimits) -> Self {
        Self { limits, waiting: BinaryHeap::new(), accepted: 0, held: 0, bytes: 0, under_way: 0 }
    }

    /// Takes an invocation; it is due at once. The payload is copied: as received it is a piece of a read buffer, which
    /// it would keep alive as a whole, past the queue's count of bytes.
    ///
    /// # Errors
    /// [`EventQueueFull`] if it does not fit.
    pub fn accept(
        &mut self,
        mut request: HostRequest,
        principal: Option<Rc<Principal>>,
        now: Now,
        counters: &Counters,
    ) -> Result<(), EventQueueFull> {
        let bytes = self.bytes.saturating_add(request.held_bytes());
        if self.held >= self.limits.invocations || bytes > self.limits.bytes {
            return Err(EventQueueFull);
        }
        self.held += 1;
        self.bytes = bytes;
        request.payload = Bytes::copy_from_slice(&request.payload);
        counters.count(Event::EventQueued);
        let due = now.mono;
        self.push(QueuedInvocation { request, principal, accepted: now, due, function_errors: 0, failures_in_row: 0 });
        Ok(())
    }

    /// The next invocation that is due, unless too many are under way. Those that grew too old while they waited are
    /// given up on the way.
    pub fn poll(&mut self, now: Moment, counters: &Counters) -> Option<QueuedInvocation> {
        while self.under_way < self.limits.under_way {
            if self.waiting.peek()?.0.invocation.due > now {
                return None;
            }
            let invocation = self.waiting.pop()?.0.invocation;
            if now > invocation.accepted.mono + AGE_MAX {
                self.release(&invocation);
                counters.deny(Reason::LambdaEventDropped);
                continue;
            }
            if invocation.is_retry() {
                counters.count(Event::EventRetried);
            }
            self.under_way += 1;
            return Some(invocation);
        }
        None
    }

    /// Takes an invocation back after a try.
    pub fn complete(
        &mut self,
        mut invocation: QueuedInvocation,
        outcome: EventOutcome,
        now: Moment,
        counters: &Counters,
    ) -> Disposition {
        self.under_way = self.under_way.saturating_sub(1);
        let wait = match outcome {
            EventOutcome::Success => {
                self.release(&invocation);
                return Disposition::Done;
            }
            EventOutcome::Hopeless => None,
            EventOutcome::FunctionError => {
                let wait = FUNCTION_ERROR_WAITS.get(invocation.function_errors).copied();
                invocation.function_errors += 1;
                invocation.failures_in_row = 0;
                wait
            }
            EventOutcome::NotRun => {
                let doublings = invocation.failures_in_row.min(16);
                invocation.failures_in_row += 1;
                Some((BACKOFF_MIN * (1 << doublings)).min(BACKOFF_MAX))
            }
        };
        match wait.map(|wait| now + wait) {
            Some(due) if due <= invocation.accepted.mono + AGE_MAX => {
                invocation.due = due;
                self.push(invocation);
                Disposition::Retry(due)
            }
            _ => {
                self.release(&invocation);
                counters.deny(Reason::LambdaEventDropped);
                Disposition::Dropped
            }
        }
    }

    /// When [`Self::poll`] has something; [`Moment::NEVER`] if nothing waits or nothing more may be under way.
    pub fn next_deadline(&self) -> Moment {
        match self.waiting.peek() {
            Some(Reverse(first)) if self.under_way < self.limits.under_way => first.invocation.due,
            _ => Moment::NEVER,
        }
    }

    /// Invocations held, those under way included.
    pub const fn len(&self) -> usize {
        self.held
    }

    /// Whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.held == 0
    }

    fn push(&mut self, invocation: QueuedInvocation) {
        self.accepted += 1;
        self.waiting.push(Reverse(Waiting { order: (invocation.due, self.accepted), invocation }));
    }

    fn release(&mut self, invocation: &QueuedInvocation) {
        self.held = self.held.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(invocation.request.held_bytes());
    }
}

#[cfg(test)]
mod tests;
