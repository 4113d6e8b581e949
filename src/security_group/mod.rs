//! Security groups and network ACLs: rules as AWS words them, compiled, evaluated.
//!
//! [`SecurityGroupRules`] is the union of an eni's groups: allowing rules only, so their order decides nothing but which rule
//! is named. It is stateful by way of the flow table: only a flow's first packet comes here. [`NetworkAclRules`] is the ACL of
//! a subnet: stateless, so every packet that crosses the subnet's boundary comes here, in both directions.
//!
//! Compiled form: ports (or ICMP types, or protocol numbers) and peer addresses each fall into intervals with a set of rules;
//! the lowest rule in both sets allows. A thousand rules thus cost two binary searches, like ten.
//!
//! An empty rule list denies. A denial can be [explained](SecurityGroupRules::explain): the nearest rule and the field that
//! failed. Counted by the caller: [`Reason::SecurityGroupMismatch`], [`Reason::NetworkAclDeny`].
//!
//! What this does not do: filter the resolver's traffic (security groups and ACLs never do, on AWS either).
//!
//! [`Reason::SecurityGroupMismatch`]: crate::verdict::Reason::SecurityGroupMismatch
//! [`Reason::NetworkAclDeny`]: crate::verdict::Reason::NetworkAclDeny

mod explain;
mod intervals;
mod network_acl;
mod rules;
mod subject;

pub use explain::{Field, NearestMiss, show as show_traffic};
pub use network_acl::{AclDecision, AclEntry, NetworkAclRules};
pub use rules::{Decision, RuleIndex, RuleName, SecurityGroupRules};
pub use subject::{RuleDirection, Subject};

#[cfg(test)]
pub(crate) use rules::tests as testing;
