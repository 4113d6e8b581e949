//! The decision over all policies, and the proof of it.

use std::fmt;
use std::sync::Arc;

use super::PolicyKind;
use super::compiled::{Decision, Policy};
use super::context::{Dependencies, Request};
use super::principal::Meant;
use crate::verdict::Reason;

/// Every policy that has a say in one request.
#[derive(Clone, Copy, Debug)]
pub struct Policies<'a> {
    /// The endpoint's.
    pub endpoint: &'a Policy,
    /// The caller's. None allow nothing.
    pub identity: &'a [Policy],
    /// The function's, if it has one.
    pub resource: Option<&'a Policy>,
}

impl Policies<'_> {
    /// All that a decision may depend on besides caller, action and resource.
    #[inline]
    pub(super) fn dependencies(&self) -> Dependencies {
        let others = self.identity.iter().chain(self.resource).map(Policy::dependencies);
        others.fold(self.endpoint.dependencies(), Dependencies::and)
    }
}

/// A statement that decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ground {
    /// The sort of policy it stands in.
    pub policy_type: PolicyKind,
    /// Which of the caller's policies, from 0; 0 for the other sorts.
    pub policy: usize,
    /// Which statement of it, from 0.
    pub statement: usize,
    /// The statement's Sid.
    pub sid: Option<Arc<str>>,
}

impl Ground {
    fn new(policy_type: PolicyKind, policy: usize, statement: usize, document: &Policy) -> Self {
        Self { policy_type, policy, statement, sid: document.sid(statement) }
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} policy", self.policy_type.adjective())?;
        if self.policy_type == PolicyKind::Identity {
            write!(f, " {}", self.policy)?;
        }
        match &self.sid {
            Some(sid) => write!(f, " statement {sid}"),
            None => write!(f, " statement #{}", self.statement),
        }
    }
}

/// Proof that every policy with a say allowed a request, and by which statements.
///
/// Only [`authorize`] makes one (a [`DecisionCache`](super::DecisionCache) hands out copies), so whoever asks for a `Permit` cannot be reached around the policies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Permit {
    endpoint: Ground,
    identity: Option<Ground>,
    resource: Option<Ground>,
    root: bool,
}

impl Permit {
    /// The statements that allowed it: the endpoint policy's, then the identity's, then the resource's.
    pub fn grounds(&self) -> impl Iterator<Item = &Ground> {
        std::iter::once(&self.endpoint).chain(&self.identity).chain(&self.resource)
    }

    /// Whether the caller needed no identity policy because it is its account's root user.
    pub const fn by_root(&self) -> bool {
        self.root
    }
}

impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, ground) in self.grounds().enumerate() {
            write!(f, "{}{ground}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str(if self.root { ", root user" } else { "" })
    }
}

/// A request that a policy denied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// The sort of policy that is named as the cause; there may be others.
    pub policy_type: PolicyKind,
    /// The statement with `Deny`, or `None` if nothing allowed the request.
    pub denied_by: Option<Ground>,
}

impl Denial {
    /// Whether a statement says `Deny`, rather than none saying `Allow`.
    pub const fn explicit(&self) -> bool {
        self.denied_by.is_some()
    }

    /// The reason that is counted.
    pub const fn reason(&self) -> Reason {
        match self.policy_type {
            PolicyKind::Endpoint => Reason::EndpointPolicyDeny,
            PolicyKind::Identity => Reason::IdentityPolicyDeny,
            PolicyKind::Resource => Reason::ResourcePolicyDeny,
        }
    }

    /// AWS's message for this denial of `request` (IAM User Guide, `troubleshoot_access-denied`).
    pub fn message(&self, request: &Request<'_>) -> String {
        let Request { caller, action, resource, .. } = request;
        let start = format!("User: {} is not authorized to perform: {action} on resource: {resource}", caller.arn);
        let (article, name) = match self.policy_type {
            PolicyKind::Endpoint => ("a", "VPC endpoint"),
            PolicyKind::Identity => ("an", "identity-based"),
            PolicyKind::Resource => ("a", "resource-based"),
        };
        if self.explicit() {
            format!("{start} with an explicit deny in {article} {name} policy")
        } else {
            format!("{start} because no {name} policy allows the {action} action")
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.denied_by {
            Some(ground) => write!(f, "explicit deny by {ground}"),
            None => write!(f, "no {} policy allows it", self.policy_type.adjective()),
        }
    }
}

/// Decides a request. Depends on nothing but its arguments.
///
/// 1. A `Deny` in any policy decides.
/// 2. The endpoint policy must allow: it never grants, it only lets pass.
/// 3. Caller and resource in one account: the identity policies or the resource policy must allow. A resource policy that
///    names the account, not the caller, leaves the decision to the identity policies.
/// 4. In different accounts: both must.
///
/// AWS names one policy type even if several deny and does not say which; here explicit denials come before implicit ones,
/// and within each the endpoint policy before the identity policies before the resource policy: the order in which a
/// request meets them, and an unprivileged caller hears about its own policies before it hears about others'.
///
/// # Errors
/// The denial that is named to the caller.
pub fn authorize(policies: &Policies<'_>, request: &Request<'_>) -> Result<Permit, Denial> {
    debug_assert_eq!(policies.endpoint.kind(), PolicyKind::Endpoint);
    debug_assert!(policies.identity.iter().all(|policy| policy.kind() == PolicyKind::Identity));
    debug_assert!(policies.resource.is_none_or(|policy| policy.kind() == PolicyKind::Resource));
    let endpoint = policies.endpoint.evaluate(request);
    explicit_deny(PolicyKind::Endpoint, 0, policies.endpoint, endpoint)?;
    let mut identity = None;
    for (i, policy) in policies.identity.iter().enumerate() {
        let decision = policy.evaluate(request);
        explicit_deny(PolicyKind::Identity, i, policy, decision)?;
        if let (None, Decision::Allow { statement, .. }) = (&identity, decision) {
            identity = Some((i, policy, statement));
        }
    }
    let resource = policies.resource.map(|policy| (policy, policy.evaluate(request)));
    if let Some((policy, decision)) = resource {
        explicit_deny(PolicyKind::Resource, 0, policy, decision)?;
    }

    let silent = |policy_type| Denial { policy_type, denied_by: None };
    let Decision::Allow { statement, .. } = endpoint else { return Err(silent(PolicyKind::Endpoint)) };
    let endpoint = Ground::new(PolicyKind::Endpoint, 0, statement, policies.endpoint);
    let root = request.caller.is_root();
    let by_identity = identity.is_some() || root;
    let same_account = request.resource_account().is_none_or(|account| account == request.caller.account);
    let by_resource = match resource {
        Some((policy, Decision::Allow { statement, meant }))
            if meant == Meant::Directly || !same_account || by_identity =>
        {
            Some(Ground::new(PolicyKind::Resource, 0, statement, policy))
        }
        _ => None,
    };
    if same_account {
        if !by_identity && by_resource.is_none() {
            return Err(silent(PolicyKind::Identity));
        }
    } else if !by_identity {
        return Err(silent(PolicyKind::Identity));
    } else if by_resource.is_none() {
        return Err(silent(PolicyKind::Resource));
    }
    let root = root && identity.is_none();
    let identity = identity.map(|(i, policy, statement)| Ground::new(PolicyKind::Identity, i, statement, policy));
    Ok(Permit { endpoint, identity, resource: by_resource, root })
}

fn explicit_deny(policy_type: PolicyKind, index: usize, policy: &Policy, decision: Decision) -> Result<(), Denial> {
    match decision {
        Decision::Deny { statement } => {
            let ground = Ground::new(policy_type, index, statement, policy);
            Err(Denial { policy_type, denied_by: Some(ground) })
        }
        Decision::Allow { .. } | Decision::Silence => Ok(()),
    }
}
