//! Security groups and network ACLs: rules as AWS words them, compiled, evaluated.
//!
//! [`SecurityGroupRules`] is the union of an eni's groups: allowing rules only, so their order decides nothing but which rule
//! is named. It is stateful by way of the flow table: only a flow's first packet comes here. [`NetworkAcls`] are the ACLs of the
//! VPC's subnets: stateless, so what crosses a subnet's boundary is judged in both directions, by the ACL of the subnet it
//! leaves and by that of the subnet it enters.
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

mod boundaries;
mod explain;
mod intervals;
mod network_acl;
mod rules;
mod subject;

pub use boundaries::{AclDenial, Crossing, NetworkAcls};
pub use explain::{Field, NearestMiss, show as show_traffic};
pub use network_acl::AclEntry;
pub use rules::{Decision, RuleIndex, RuleName, SecurityGroupRules};
pub use subject::{RuleDirection, Subject};

#[cfg(test)]
pub(crate) use rules::tests as testing;
