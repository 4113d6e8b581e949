//! A flow's first packet, whatever belongs to no flow, and what becomes of the denied.

use std::borrow::Cow;

use super::fast_path::{logged, replies};
use super::flow_log::{Action, LogHandle, Logged};
use super::{EniPacket, EniStage, FlowVerdict, Ingress, Origin, SERVICE_PORT};
use crate::config::Unanswered;
use crate::packet::{PacketMeta, Protocol, TcpFlags, VirtioHeader};
use crate::security_group::{AclDecision, AclEntry, Decision, RuleDirection, Subject};
use crate::time::Now;
use crate::verdict::{Counters, Event, Reason};

impl<U> EniStage<U> {
    /// Judges a packet that belongs to no live flow.
    pub(super) fn first(
        &mut self,
        eni: u16,
        origin: Origin,
        packet: EniPacket<'_>,
        now: Now,
        counters: &Counters,
    ) -> Ingress {
        let EniPacket { bytes, meta, header } = packet;
        counters.count(Event::FlowMiss);
        if !self.snapshot.is_possible_source(meta.tuple().src()) {
            return self.deny(Some(eni), meta, Reason::CannotRoute, now, counters, "its source address cannot be");
        }
        let rules = &self.snapshot.enis[usize::from(eni)];
        let subject = Subject::of(meta);
        let acl_ingress = rules.network_acl.evaluate(RuleDirection::Ingress, &subject);
        if let AclDecision::Deny(entry) = acl_ingress {
            return self.deny_by_acl(eni, meta, RuleDirection::Ingress, entry, now, counters);
        }
        counters.count(Event::RuleWalk);
        let Decision::Allow(rule) = rules.security_groups.evaluate(RuleDirection::Ingress, &subject) else {
            return self.deny_by_security_group(eni, meta, &subject, now, counters);
        };

        // The rules allow it: what the endpoint itself does with it comes on top, and flow logs say ACCEPT.
        let (reason, text, on_drop) = match meta.tuple().protocol {
            Protocol::TCP if meta.tuple().dst_port != SERVICE_PORT => {
                (Reason::PortClosed, "the service listens on port 443 only", self.snapshot.settings.other_port)
            }
            Protocol::TCP if !meta.tcp_flags().opens() => {
                (Reason::FlowUnknown, "it opens no connection and belongs to none", Unanswered::Drop)
            }
            Protocol::TCP => {
                let acl_egress = rules.network_acl.evaluate(RuleDirection::Egress, &replies(&subject));
                let log = [LogHandle::NONE; 2];
                let verdict = FlowVerdict { eni, origin, rule: Some(rule), acl_ingress, acl_egress, log };
                match self.flows.open(meta, verdict, self.snapshot.epoch, now.mono) {
                    Ok(opened) => {
                        counters.count(Event::FlowCreated);
                        if let Some(replaced) = opened.replaced {
                            if replaced.tuple == meta.tuple() {
                                counters.count(Event::FlowRecycled);
                            }
                            if replaced.user.is_some() {
                                self.replaced.push_back(replaced);
                            }
                        }
                        self.clamp(bytes, meta, header, counters);
                        self.log_flow(opened.id, crate::flow::Direction::Original, meta, header, now);
                        return Ingress::Deliver { flow: opened.id, first: true };
                    }
                    Err(reason @ Reason::HalfOpenLimit) => (reason, "too many half-open connections", Unanswered::Drop),
                    Err(reason) => (reason, "the flow table is full", Unanswered::Drop),
                }
            }
            _ if subject.icmp.is_some() => (Reason::IcmpIgnored, "an endpoint does not answer ICMP", Unanswered::Drop),
            _ => (Reason::ProtocolUnsupported, "the service speaks TCP only", Unanswered::Drop),
        };
        self.log_packet(logged(eni, meta.tuple(), Action::Accept, meta, header), now);
        self.unanswered(eni, meta, reason, on_drop, now, counters, text)
    }

    /// Drops a packet, or asks for a RST if the setting and the network ACL will have one.
    #[expect(clippy::too_many_arguments, reason = "all of them are the packet's circumstances")]
    pub(super) fn unanswered(
        &mut self,
        eni: u16,
        meta: &PacketMeta,
        reason: Reason,
        setting: Unanswered,
        now: Now,
        counters: &Counters,
        text: &'static str,
    ) -> Ingress {
        let dropped = self.deny(Some(eni), meta, reason, now, counters, text);
        // RFC 9293 §3.5.2: a RST is never answered with one.
        let may_reset = meta.tuple().protocol == Protocol::TCP && !meta.tcp_flags().contains(TcpFlags::RST);
        if setting == Unanswered::Drop || !may_reset {
            return dropped;
        }
        let reply = replies(&Subject::of(meta));
        let decision = self.snapshot.enis[usize::from(eni)].network_acl.evaluate(RuleDirection::Egress, &reply);
        let (action, outcome) = match decision {
            AclDecision::Allow(_) => (Action::Accept, Ingress::Reset(reason)),
            AclDecision::Deny(_) => (Action::Reject, dropped),
        };
        let bytes = if meta.tuple().is_v6() { 60 } else { 40 };
        self.log_packet(Logged { eni, tuple: reply.tuple, action, packets: 1, bytes }, now);
        outcome
    }

    /// Drops a packet for a reason that needs no rule to explain it.
    pub(super) fn deny(
        &mut self,
        eni: Option<u16>,
        meta: &PacketMeta,
        reason: Reason,
        now: Now,
        counters: &Counters,
        text: &'static str,
    ) -> Ingress {
        counters.deny(reason);
        let id = eni.and_then(|eni| self.snapshot.enis.get(usize::from(eni))).map(|rules| &rules.id);
        self.denials.record(Subject::of(meta), reason, id, now, || Cow::Borrowed(text));
        // What came after the end was rejected; anything else that ends here the rules had allowed or never saw.
        if let (Some(eni), Reason::FlowClosed | Reason::FlowIdleExpired) = (eni, reason) {
            self.log_packet(logged(eni, meta.tuple(), Action::Reject, meta, &VirtioHeader::default()), now);
        }
        Ingress::Drop(reason)
    }

    fn deny_by_security_group(
        &mut self,
        eni: u16,
        meta: &PacketMeta,
        subject: &Subject,
        now: Now,
        counters: &Counters,
    ) -> Ingress {
        let reason = Reason::SecurityGroupMismatch;
        counters.deny(reason);
        let rules = &self.snapshot.enis[usize::from(eni)];
        self.denials.record(*subject, reason, Some(&rules.id), now, || {
            let nearest = rules.security_groups.explain(RuleDirection::Ingress, subject);
            nearest.map_or(Cow::Borrowed("its security groups have no rules"), |miss| Cow::Owned(miss.text))
        });
        self.log_packet(logged(eni, meta.tuple(), Action::Reject, meta, &VirtioHeader::default()), now);
        Ingress::Drop(reason)
    }

    #[cold]
    pub(super) fn deny_by_acl(
        &mut self,
        eni: u16,
        meta: &PacketMeta,
        direction: RuleDirection,
        entry: AclEntry,
        now: Now,
        counters: &Counters,
    ) -> Ingress {
        let reason = Reason::NetworkAclDeny;
        counters.deny(reason);
        if let Some(rules) = self.snapshot.enis.get(usize::from(eni)) {
            self.denials.record(Subject::of(meta), reason, Some(&rules.id), now, || {
                Cow::Owned(rules.network_acl.explain(direction, entry))
            });
        }
        self.log_packet(logged(eni, meta.tuple(), Action::Reject, meta, &VirtioHeader::default()), now);
        Ingress::Drop(reason)
    }

    fn log_packet(&mut self, logged: Logged, now: Now) {
        self.log.record(&mut { LogHandle::NONE }, logged, now.unix);
    }
}
