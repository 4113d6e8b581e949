//! A flow's first packet, whatever belongs to no flow, and what becomes of the denied.

use std::borrow::Cow;

use super::fast_path::logged;
use super::flow_log::{Action, LogHandle, Logged, logged_flags};
use super::{EniPacket, EniStage, FlowVerdict, Ingress, Origin, SERVICE_PORT};
use crate::config::Unanswered;
use crate::flow::Direction;
use crate::packet::{Protocol, TcpFlags};
use crate::security_group::{Crossing, Decision, RuleDirection, Subject};
use crate::time::Now;
use crate::verdict::{Counters, Event, Reason};

/// Why a packet goes no further although no rule denies it, and what its sender is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) text: &'static str,
    pub(super) answer: Unanswered,
}

impl Refusal {
    pub(super) const fn silent(reason: Reason, text: &'static str) -> Self {
        Self { reason, text, answer: Unanswered::Drop }
    }
}

impl<U> EniStage<U> {
    /// Judges a packet that belongs to no live flow.
    pub(super) fn first(
        &mut self,
        eni: u16,
        origin: Origin,
        mut packet: EniPacket<'_>,
        now: Now,
        counters: &Counters,
    ) -> Ingress {
        let meta = packet.meta;
        counters.count(Event::FlowMiss);
        if self.snapshot.route(meta.tuple().src()) != Some(origin) {
            let text = "no route leads to its source by the way it came";
            return self.refuse(Some(eni), &packet, Refusal::silent(Reason::CannotRoute, text), now, counters);
        }
        let subject = Subject::of(meta);
        let acl_ingress = self.snapshot.network_acls.evaluate(&subject);
        if let Crossing::Deny(denial) = acl_ingress {
            return self.ingress_denied(eni, &packet, denial, now, counters);
        }
        counters.count(Event::RuleWalk);
        let rules = self.snapshot.eni(usize::from(eni)).map(|rules| &rules.security_groups);
        let decision = rules.map(|rules| rules.evaluate(RuleDirection::Ingress, &subject));
        let Some(Decision::Allow(rule)) = decision else {
            return self.deny_by_security_group(eni, &packet, &subject, now, counters);
        };

        // The rules allow it: what the endpoint itself does with it comes on top, and flow logs say ACCEPT.
        let refusal = match meta.tuple().protocol {
            Protocol::TCP if meta.tuple().dst_port != SERVICE_PORT => Refusal {
                reason: Reason::PortClosed,
                text: "the service listens on port 443 only",
                answer: self.snapshot.settings.other_port,
            },
            Protocol::TCP if !meta.tcp_flags().opens() => {
                Refusal::silent(Reason::FlowUnknown, "it opens no connection and belongs to none")
            }
            Protocol::TCP => {
                let acl_egress = self.snapshot.network_acls.evaluate(&subject.replies());
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
                        self.clamp(&mut packet, counters);
                        self.log_flow(opened.id, Direction::Original, &packet, now);
                        return Ingress::Deliver { flow: opened.id, first: true };
                    }
                    Err(reason @ Reason::HalfOpenLimit) => Refusal::silent(reason, "too many half-open connections"),
                    Err(reason) => Refusal::silent(reason, "the flow table is full"),
                }
            }
            _ if subject.icmp.is_some() => Refusal::silent(Reason::IcmpIgnored, "an endpoint does not answer ICMP"),
            _ => Refusal::silent(Reason::ProtocolUnsupported, "the service speaks TCP only"),
        };
        self.log_packet(logged(eni, &packet, Action::Accept), now);
        self.refuse(Some(eni), &packet, refusal, now, counters)
    }

    /// Drops a packet that no rule denies, or asks for a RST if the refusal and the network ACLs will have one.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        eni: Option<u16>,
        packet: &EniPacket<'_>,
        refusal: Refusal,
        now: Now,
        counters: &Counters,
    ) -> Ingress {
        let Refusal { reason, text, answer } = refusal;
        let (meta, subject) = (packet.meta, Subject::of(packet.meta));
        counters.deny(reason);
        let rules = eni.and_then(|eni| self.snapshot.eni(usize::from(eni)));
        self.denials.record(subject, reason, rules.map(|rules| &rules.id), now, || Cow::Borrowed(text));
        let Some(eni) = eni else { return Ingress::Drop(reason) };
        // RFC 9293 §3.5.2: a RST is never answered with one.
        let is_answered = answer == Unanswered::Reset
            && meta.tuple().protocol == Protocol::TCP
            && !meta.tcp_flags().contains(TcpFlags::RST);
        // AWS: what comes after a connection's end is REJECT.
        if matches!(reason, Reason::FlowClosed | Reason::FlowIdleExpired) {
            self.log_packet(logged(eni, packet, Action::Reject), now);
        }
        if !is_answered {
            return Ingress::Drop(reason);
        }
        let reply = subject.replies();
        let (action, outcome) = match self.snapshot.network_acls.evaluate(&reply) {
            Crossing::Allow => (Action::Accept, Ingress::Reset(reason)),
            Crossing::Deny(denial) if self.is_at(eni, denial) => (Action::Reject, Ingress::Drop(reason)),
            Crossing::Deny(_) => (Action::Accept, Ingress::Drop(reason)),
        };
        let bytes = if meta.tuple().is_v6() { 60 } else { 40 };
        self.log_packet(
            Logged { eni, tuple: reply.tuple, action, packets: 1, bytes, tcp_flags: logged_flags(TcpFlags::RST) },
            now,
        );
        outcome
    }

    #[cold]
    fn deny_by_security_group(
        &mut self,
        eni: u16,
        packet: &EniPacket<'_>,
        subject: &Subject,
        now: Now,
        counters: &Counters,
    ) -> Ingress {
        let reason = Reason::SecurityGroupMismatch;
        counters.deny(reason);
        let rules = self.snapshot.eni(usize::from(eni));
        self.denials.record(*subject, reason, rules.map(|rules| &rules.id), now, || {
            let nearest = rules.and_then(|rules| rules.security_groups.explain(RuleDirection::Ingress, subject));
            nearest.map_or(Cow::Borrowed("its security groups have no rules"), |miss| Cow::Owned(miss.text))
        });
        self.log_packet(logged(eni, packet, Action::Reject), now);
        Ingress::Drop(reason)
    }

    pub(super) fn log_packet(&mut self, logged: Logged, now: Now) {
        self.log.record(&mut { LogHandle::NONE }, logged, now.unix);
    }
}
