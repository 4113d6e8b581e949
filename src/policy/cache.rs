//! Decisions, remembered.
//!
//! A decision is a function of the policies and the request. The policies are fixed by caller and function until a new
//! snapshot clears the cache; of the request, what the policies can look at is compared in full: who, what, on which
//! resource, and those of the circumstances that some document names (its dependencies, found when it was compiled).
//! Decisions that depend on the time or the user agent are never kept, nor those over keys that only [`Context::extra`] has.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::authorize::{Denial, Permit, Policies, authorize};
use super::context::{Caller, Context, Dependencies, Request};

/// Most decisions kept, each about half a kilobyte. Over the limit all are dropped and made again.
pub const DECISIONS_MAX: usize = 4_096;

/// The decisions of one worker under one snapshot.
#[derive(Debug, Default)]
pub struct DecisionCache {
    decisions: HashTable<Kept>,
    hasher: RandomState,
}

impl DecisionCache {
    /// Decides as [`authorize`] does, and says whether the decision was remembered. `function` tells apart functions with
    /// policies of their own: one number, one resource policy.
    ///
    /// The policies must be the ones that this caller and function had at the last call since [`Self::clear`].
    #[inline]
    pub fn authorize(
        &mut self,
        function: Option<usize>,
        policies: &Policies<'_>,
        request: &Request<'_>,
    ) -> (Result<Permit, Denial>, bool) {
        let depends = policies.dependencies();
        if depends.has(Dependencies::FLEETING) || depends.has(Dependencies::EXTRA) && !request.context.extra.is_empty()
        {
            return (authorize(policies, request), false);
        }
        let hash = self.hash(function, depends, request);
        if let Some(kept) = self.decisions.find(hash, |kept| kept.is_of(hash, function, depends, request)) {
            return (kept.decision.clone(), true);
        }
        (self.decide(hash, function, policies, request), false)
    }

    #[cold]
    fn decide(
        &mut self,
        hash: u64,
        function: Option<usize>,
        policies: &Policies<'_>,
        request: &Request<'_>,
    ) -> Result<Permit, Denial> {
        let decision = authorize(policies, request);
        if self.decisions.len() >= DECISIONS_MAX {
            self.decisions.clear();
        }
        let kept = Kept::new(hash, function, policies.dependencies(), request, decision.clone());
        self.decisions.insert_unique(hash, kept, |kept| kept.hash);
        decision
    }

    /// Forgets everything: policies may have changed.
    pub fn clear(&mut self) {
        self.decisions.clear();
    }

    /// How many decisions are kept, at most [`DECISIONS_MAX`].
    pub fn len(&self) -> usize {
        self.decisions.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }

    /// By what differs most. What is left out is compared all the same.
    #[inline]
    fn hash(&self, function: Option<usize>, depends: Dependencies, request: &Request<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(request.resource.as_bytes());
        hasher.write(request.caller.arn.as_bytes());
        hasher.write(request.action.as_bytes());
        hasher.write_usize(function.map_or(usize::MAX, |function| function));
        if depends.has(Dependencies::ADDRESS) {
            match request.context.vpc_source_ip {
                Some(IpAddr::V4(address)) => hasher.write_u32(address.to_bits()),
                Some(IpAddr::V6(address)) => hasher.write_u128(address.to_bits()),
                None => {}
            }
        }
        hasher.finish()
    }
}

/// One decision and all that it depended on.
#[derive(Debug)]
struct Kept {
    hash: u64,
    function: Option<usize>,
    depends: Dependencies,
    arn: Box<str>,
    account: Box<str>,
    user_id: Option<Box<str>>,
    username: Option<Box<str>>,
    role_arn: Option<Box<str>>,
    action: Box<str>,
    resource: Box<str>,
    address: Option<IpAddr>,
    function_arn: Option<Box<str>>,
    endpoint: Option<Box<Way>>,
    decision: Result<Permit, Denial>,
}

/// Where a request came in.
#[derive(PartialEq, Eq, Debug)]
struct Way {
    source_vpce: Option<Box<str>>,
    source_vpc: Option<Box<str>>,
    source_vpc_arn: Option<Box<str>>,
    vpce_account: Option<Box<str>>,
    requested_region: Option<Box<str>>,
    secure_transport: bool,
}

fn own(text: Option<&str>) -> Option<Box<str>> {
    text.map(Into::into)
}

impl Way {
    fn of(context: &Context<'_>) -> Self {
        Self {
            source_vpce: own(context.source_vpce),
            source_vpc: own(context.source_vpc),
            source_vpc_arn: own(context.source_vpc_arn),
            vpce_account: own(context.vpce_account),
            requested_region: own(context.requested_region),
            secure_transport: context.secure_transport,
        }
    }

    #[inline]
    fn is_of(&self, context: &Context<'_>) -> bool {
        self.secure_transport == context.secure_transport
            && self.source_vpce.as_deref() == context.source_vpce
            && self.source_vpc.as_deref() == context.source_vpc
            && self.source_vpc_arn.as_deref() == context.source_vpc_arn
            && self.vpce_account.as_deref() == context.vpce_account
            && self.requested_region.as_deref() == context.requested_region
    }
}

impl Kept {
    fn new(
        hash: u64,
        function: Option<usize>,
        depends: Dependencies,
        request: &Request<'_>,
        decision: Result<Permit, Denial>,
    ) -> Self {
        let &Request { caller, action, resource, context } = request;
        let Caller { arn, account, user_id, username, role_arn } = caller;
        Self {
            hash,
            function,
            depends,
            arn: arn.into(),
            account: account.into(),
            user_id: own(user_id),
            username: own(username),
            role_arn: own(role_arn),
            action: action.into(),
            resource: resource.into(),
            address: context.vpc_source_ip.filter(|_| depends.has(Dependencies::ADDRESS)),
            function_arn: own(context.function_arn.filter(|_| depends.has(Dependencies::FUNCTION))),
            endpoint: depends.has(Dependencies::ENDPOINT).then(|| Box::new(Way::of(context))),
            decision,
        }
    }

    #[inline]
    fn is_of(&self, hash: u64, function: Option<usize>, depends: Dependencies, request: &Request<'_>) -> bool {
        let Request { caller, context, .. } = request;
        self.hash == hash
            && self.function == function
            && self.depends == depends
            && *self.resource == *request.resource
            && *self.action == *request.action
            && *self.arn == *caller.arn
            && *self.account == *caller.account
            && self.user_id.as_deref() == caller.user_id
            && self.username.as_deref() == caller.username
            && self.role_arn.as_deref() == caller.role_arn
            && (!depends.has(Dependencies::ADDRESS) || self.address == context.vpc_source_ip)
            && (!depends.has(Dependencies::FUNCTION) || self.function_arn.as_deref() == context.function_arn)
            && self.endpoint.as_deref().is_none_or(|way| way.is_of(context))
    }
}
