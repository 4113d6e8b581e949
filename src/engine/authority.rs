//! Who is calling, and whether they may: signatures and policies behind the Lambda API's door.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::Snapshot;
use crate::http::RequestHead;
use crate::lambda::{Access, ApiError, Authority, ConnectionInfo};
use crate::policy::{Caller, Context, DecisionCache, Permit, Policies, Request};
use crate::sigv4::{self, Principal, SigV4Error, Verifier};
use crate::time::Now;
use crate::verdict::{Counters, Event};

/// The endpoint's judgement, by the snapshot in force.
pub(super) struct EndpointAuthority {
    verifier: RefCell<Verifier>,
    snapshot: Rc<RefCell<Arc<Snapshot>>>,
    decisions: RefCell<Decisions>,
    counters: Arc<Counters>,
}

/// What was decided under one snapshot.
struct Decisions {
    /// Held, so that no other can come to lie where it lay.
    snapshot: Arc<Snapshot>,
    /// For each endpoint its own, as each has its own policy.
    caches: Vec<DecisionCache>,
}

impl Decisions {
    /// The decisions under `snapshot` for this endpoint: none yet if it is a new one.
    fn under(&mut self, snapshot: &Arc<Snapshot>, endpoint: usize) -> &mut DecisionCache {
        if !Arc::ptr_eq(&self.snapshot, snapshot) {
            self.snapshot = Arc::clone(snapshot);
            self.caches.iter_mut().for_each(DecisionCache::clear);
        }
        if self.caches.len() <= endpoint {
            self.caches.resize_with(endpoint + 1, DecisionCache::default);
        }
        &mut self.caches[endpoint]
    }
}

impl EndpointAuthority {
    pub(super) fn new(snapshot: Rc<RefCell<Arc<Snapshot>>>, counters: Arc<Counters>) -> Self {
        let verifier = Verifier::new(&snapshot.borrow().topology.region, "lambda");
        let decisions = Decisions { snapshot: Arc::clone(&snapshot.borrow()), caches: Vec::new() };
        Self { verifier: RefCell::new(verifier), snapshot, decisions: RefCell::new(decisions), counters }
    }
}

/// A signature read from a head, and what policies may want to know of that head.
pub(super) struct Pending {
    signature: sigv4::Pending,
    user_agent: Option<Box<str>>,
}

/// A verified caller.
pub(super) struct Verified {
    principal: Rc<Principal>,
    user_agent: Option<Box<str>>,
}

impl Authority for EndpointAuthority {
    type Pending = Pending;
    type Caller = Verified;
    type Permit = Permit;

    fn begin(&self, head: &RequestHead, _: &ConnectionInfo, now: Now) -> Result<Pending, ApiError> {
        let snapshot = self.snapshot.borrow();
        let signature = self
            .verifier
            .borrow_mut()
            .begin(&sigv4::RequestHead::of(head), &snapshot.keyring, now.unix)
            .map_err(|error| refused(&error))?;
        Ok(Pending { signature, user_agent: head.text("user-agent").map(Into::into) })
    }

    fn finish(&self, pending: Pending, body_sha256: &[u8; 32], _: Now) -> Result<Verified, ApiError> {
        let principal = pending.signature.finish(body_sha256).map_err(|error| refused(&error))?;
        self.counters.count(Event::SignatureVerified);
        Ok(Verified { principal, user_agent: pending.user_agent })
    }

    fn principal<'a>(&self, caller: &'a Verified) -> &'a Rc<Principal> {
        &caller.principal
    }

    fn authorize(
        &self,
        caller: &Verified,
        access: Access<'_>,
        connection: &ConnectionInfo,
        now: Now,
    ) -> Result<Permit, ApiError> {
        let snapshot = self.snapshot.borrow();
        let topology = &snapshot.topology;
        let Some((number, endpoint)) = snapshot.endpoint_of(connection.eni) else {
            // Its eni went away between two turns, and the connection with it.
            return Err(ApiError::service("the VPC endpoint was deleted"));
        };
        let context = Context {
            source_vpce: Some(&endpoint.id),
            source_vpc: Some(&topology.vpc.id),
            source_vpc_arn: Some(&snapshot.vpc_arn),
            vpce_account: Some(&topology.account),
            vpc_source_ip: Some(connection.client.ip()),
            current_time: now.unix,
            secure_transport: connection.is_secure,
            user_agent: caller.user_agent.as_deref(),
            requested_region: Some(&topology.region),
            function_arn: access.function.map(|_| access.resource),
            extra: &[],
        };
        let request = Request {
            caller: Caller::from(&*caller.principal),
            action: access.action,
            resource: access.resource,
            context: &context,
        };
        let policies = Policies {
            endpoint: &endpoint.policy,
            identity: snapshot.identity_policies(&caller.principal),
            resource: access.function.and_then(|function| snapshot.function_policies.get(function)?.as_ref()),
        };
        let mut decisions = self.decisions.borrow_mut();
        let (decision, was_kept) = decisions.under(&snapshot, number).authorize(access.function, &policies, &request);
        self.counters.count(if was_kept { Event::PolicyDecisionKept } else { Event::PolicyDecisionMade });
        match decision {
            Ok(permit) => {
                self.counters.count(Event::PolicyAllowed);
                Ok(permit)
            }
            Err(denial) => Err(ApiError::access_denied(&denial.message(&request), denial.reason())),
        }
    }
}

fn refused(error: &SigV4Error) -> ApiError {
    ApiError::framework(error.status(), error.code(), &error.message(), error.reason())
}
