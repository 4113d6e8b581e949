//! What network ACLs deny: on the way to an eni, on the way from one, and past all of them.
//!
//! Two boundaries may lie on a packet's way, its eni's subnet's and that of the host it comes from or goes to. Which of them
//! denies makes a difference to the eni's flow log alone: it tells of what got to the eni's subnet.

use std::borrow::Cow;

use super::fast_path::logged;
use super::flow_log::Action;
use super::{Egress, EniPacket, EniStage, Ingress};
use crate::flow::{Direction, FlowId};
use crate::security_group::{AclDenial, Crossing, Subject};
use crate::time::Now;
use crate::verdict::{Counters, Reason};

impl<U> EniStage<U> {
    /// Judges a packet that is for no eni by the network ACLs on its way: one between a host of the VPC and on-premises, or of
    /// the resolver's inbound endpoint. A denial is counted and remembered here.
    #[inline]
    pub fn lets_pass(&mut self, subject: &Subject, now: Now, counters: &Counters) -> bool {
        match self.snapshot.network_acls.evaluate(subject) {
            Crossing::Allow => true,
            Crossing::Deny(denial) => {
                self.deny_by_acl(None, *subject, denial, now, counters);
                false
            }
        }
    }

    /// Drops a packet toward the interface. What its sender's own subnet does not let out never got to the eni.
    #[cold]
    pub(super) fn ingress_denied(
        &mut self,
        eni: u16,
        packet: &EniPacket<'_>,
        denial: AclDenial,
        now: Now,
        counters: &Counters,
    ) -> Ingress {
        self.deny_by_acl(Some(eni), Subject::of(packet.meta), denial, now, counters);
        if self.is_at(eni, denial) {
            self.log_packet(logged(eni, packet, Action::Reject), now);
        }
        Ingress::Drop(Reason::NetworkAclDeny)
    }

    /// Drops a packet away from the interface. What its receiver's subnet does not let in has left the eni: it is tracked and
    /// logged like one that arrives.
    #[cold]
    pub(super) fn egress_denied(
        &mut self,
        flow: FlowId,
        eni: u16,
        packet: &EniPacket<'_>,
        denial: AclDenial,
        now: Now,
        counters: &Counters,
    ) -> Egress {
        if self.is_at(eni, denial) {
            self.log_packet(logged(eni, packet, Action::Reject), now);
        } else if let Some(reason) = self.track_reply(flow, packet.meta, now, counters) {
            return Egress::Drop(reason);
        } else {
            self.log_flow(flow, Direction::Reply, packet, now);
        }
        self.deny_by_acl(Some(eni), Subject::of(packet.meta), denial, now, counters);
        Egress::Drop(Reason::NetworkAclDeny)
    }

    /// Whether the ACL that denies is that of the eni's own subnet.
    pub(super) fn is_at(&self, eni: u16, denial: AclDenial) -> bool {
        let rules = self.snapshot.eni(usize::from(eni));
        rules.is_some_and(|rules| rules.subnet == usize::from(denial.subnet))
    }

    #[cold]
    fn deny_by_acl(&mut self, eni: Option<u16>, subject: Subject, denial: AclDenial, now: Now, counters: &Counters) {
        let (reason, snapshot) = (Reason::NetworkAclDeny, &self.snapshot);
        counters.deny(reason);
        let rules = eni.and_then(|eni| snapshot.eni(usize::from(eni)));
        self.denials.record(subject, reason, rules.map(|rules| &rules.id), now, || {
            Cow::Owned(snapshot.network_acls.explain(denial))
        });
    }
}
