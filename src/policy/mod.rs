//! Policies: documents, evaluation, and the [`Permit`] that alone opens the way to an invocation.
//!
//! One evaluator serves endpoint, identity and resource policies. A document is parsed once into a [`Policy`] of compiled
//! patterns; [`authorize()`] is a pure function over [`Policies`] and a [`Request`], and allocates nothing in the common case
//! (full access, exact ARNs, conditions on text). It answers with a [`Permit`], which names the statements that allowed the
//! request and cannot be made elsewhere, or a [`Denial`] with AWS's words.
//!
//! Quirks of the policy language that this module follows, each with the page of AWS's documentation it comes from
//! (IAM User Guide unless said otherwise):
//!
//! - A negated operator with several values is a NOR: `StringNotEquals: ["a", "b"]` means neither
//!   (`reference_policies_condition-logic-multiple-context-keys-or-values`).
//! - An absent key makes an operator false, a negated operator true, `…IfExists` true, `ForAllValues:` true and
//!   `ForAnyValue:` false (`reference_policies_elements_condition_operators`,
//!   `reference_policies_condition-single-vs-multi-valued-context-keys`). `aws:SourceIp` is always absent through a VPC
//!   endpoint, so `NotIpAddress aws:SourceIp` denies bite everyone (`reference_policies_condition-keys`).
//! - A variable without a value matches nothing, not the empty string; what a variable holds is literal, `*` included.
//!   Variables exist under version 2012-10-17 only; in an older document, or one without version, `${aws:username}` is text
//!   (`reference_policies_variables`).
//! - `ArnEquals` is `ArnLike`: both take wildcards, field by field. `StringEquals` takes none
//!   (`reference_policies_elements_condition_operators`).
//! - In `Resource` a `*` inside a segment stops at a colon, but one that ends a segment reaches beyond it: `function:my*`
//!   covers `function:my-function:1` (`reference_policies_elements_resource`). An unqualified ARN never covers a qualified
//!   invocation, nor the reverse (Lambda Developer Guide, `lambda-api-permissions-ref`).
//! - Action names have no case; everything else has (`reference_policies_elements_action`).
//! - `NotPrincipal` spares only a caller all of whose parts it lists: user and account, or session, role and account
//!   (`reference_policies_elements_notprincipal`). A role named in `Principal` means its sessions.
//! - An account in the `Principal` of a resource policy delegates to that account: inside the same account its identity
//!   policies still must allow (`reference_policies_elements_principal`). In an interface endpoint's policy it simply means
//!   everyone in the account (AWS PrivateLink Guide, `vpc-endpoints-access`).
//! - The root user of an account needs no identity policy (`reference_policies_evaluation-logic_policy-eval-denyallow`).
//! - Endpoint policies forbid some wildcards (AWS PrivateLink Guide, `vpc-endpoints-access`): see
//!   [`PolicyKind::Endpoint`].
//!
//! A [`DecisionCache`] remembers decisions: most requests ask what was asked before. It knows from the compiled documents
//! what a decision depended on, and forgets nothing of that.
//!
//! What AWS's documentation leaves open is decided here and belongs in `docs/fidelity.md`: which policy type a denial
//! names when several deny (see [`authorize()`]); that element and operator names are case sensitive; that duplicate JSON
//! names are refused; that a non-ASCII letter has a case for `…IgnoreCase` operators only as itself.

mod authorize;
mod cache;
mod characters;
mod compiled;
mod condition;
mod context;
mod document;
mod fault;
mod json;
mod operators;
mod pattern;
mod principal;
mod value;

#[cfg(test)]
mod tests;

pub use authorize::{Denial, Ground, Permit, Policies, authorize};
pub use cache::{DECISIONS_MAX, DecisionCache};
pub use compiled::Policy;
pub use context::{Caller, Context, Request, Value, Values};
pub use document::{FULL_ACCESS_DOCUMENT, ParseOptions};
pub use fault::Fault;

/// What a policy is attached to, which decides its grammar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PolicyKind {
    /// A VPC endpoint: a filter that grants nothing. Needs a principal; at most 20,480 characters; wildcards in its string
    /// conditions need six characters of company, and none are allowed with keys that hold AWS's own identifiers.
    Endpoint,
    /// A user or role. Has no principal.
    Identity,
    /// A function. Needs a principal.
    Resource,
}

impl PolicyKind {
    const fn adjective(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Identity => "identity",
            Self::Resource => "resource",
        }
    }

    const fn article(self) -> &'static str {
        match self {
            Self::Endpoint => "an endpoint",
            Self::Identity => "an identity",
            Self::Resource => "a resource",
        }
    }
}
