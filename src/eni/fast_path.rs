//! Packets of known flows, in packet order: ingress, then egress.

use super::flow_log::{Action, Logged};
use super::{Egress, EniPacket, EniStage, FlowVerdict, Ingress, Origin};
use crate::config::Unanswered;
use crate::eni::snapshot::EniSnapshot;
use crate::flow::{Direction, FlowEntry, FlowId, Observed};
use crate::packet::{FiveTuple, GsoType, PacketMeta, Protocol, VirtioHeader, clamp_mss};
use crate::security_group::{AclDecision, Decision, RuleDirection, Subject};
use crate::time::Now;
use crate::verdict::{Counters, Event, Reason};

impl<U> EniStage<U> {
    /// Judges a packet toward the interface.
    ///
    /// 1. A known flow under the present rules: one lookup, tracking, counters. Nothing is allocated, no rule is looked at.
    /// 2. A known flow under older rules: judged again once, then as 1.
    /// 3. A flow's first packet, and whatever belongs to none: the rules are walked.
    #[inline]
    pub fn ingress(&mut self, origin: Origin, packet: EniPacket<'_>, now: Now, counters: &Counters) -> Ingress {
        let tuple = packet.meta.tuple();
        let Some(eni) = self.snapshot.destination(tuple.addresses) else {
            return self.deny(None, packet.meta, Reason::CannotRoute, now, counters, "for no address of the endpoint");
        };
        if packet.header.packet_len_max(packet.meta) > usize::from(self.snapshot.settings.mtu) {
            return self.deny(
                Some(eni),
                packet.meta,
                Reason::MtuExceeded,
                now,
                counters,
                "larger than the endpoint's MTU",
            );
        }
        // Only TCP has flows: the endpoint answers nothing else.
        if tuple.protocol == Protocol::TCP
            && let Some((flow, Direction::Original)) = self.flows.find(&tuple)
        {
            return self.known(flow, eni, origin, packet, now, counters);
        }
        self.first(eni, origin, packet, now, counters)
    }

    #[inline]
    fn known(
        &mut self,
        flow: FlowId,
        eni: u16,
        origin: Origin,
        packet: EniPacket<'_>,
        now: Now,
        counters: &Counters,
    ) -> Ingress {
        let Some(entry) = self.flows.get_mut(flow) else { return Ingress::Drop(Reason::FlowUnknown) };
        if entry.epoch != self.snapshot.epoch {
            rejudge(entry, eni, &self.snapshot, counters);
        }
        if entry.ended().is_none() {
            if entry.verdict.origin != origin {
                let text = "from another side than the rest of its flow";
                return self.deny(Some(eni), packet.meta, Reason::CannotRoute, now, counters, text);
            }
            if let AclDecision::Deny(entry) = entry.verdict.acl_ingress {
                return self.deny_by_acl(eni, packet.meta, RuleDirection::Ingress, entry, now, counters);
            }
        }
        let observed = self.flows.observe(flow, Direction::Original, packet.meta, now.mono);
        match observed {
            Observed::Active | Observed::Established | Observed::Closed => {}
            Observed::Reopen => return self.first(eni, origin, packet, now, counters),
            Observed::Late(reason) => {
                let on_late = match reason {
                    Reason::FlowIdleExpired => self.snapshot.settings.late_packet,
                    _ => Unanswered::Drop,
                };
                let text = match reason {
                    Reason::FlowIdleExpired => "its flow was silent for longer than the idle time-out",
                    _ => "its connection is closed",
                };
                return self.unanswered(eni, packet.meta, reason, on_late, now, counters, text);
            }
        }
        counters.count(Event::FlowHit);
        if observed == Observed::Closed {
            counters.count(Event::FlowClosed);
        }
        self.clamp(packet.bytes, packet.meta, packet.header, counters);
        self.log_flow(flow, Direction::Original, packet.meta, packet.header, now);
        Ingress::Deliver { flow, first: false }
    }

    /// Judges a packet of the flow `flow` away from the interface. Security groups have no say: replies to what they let in are
    /// let out.
    #[inline]
    pub fn egress(&mut self, flow: FlowId, packet: EniPacket<'_>, now: Now, counters: &Counters) -> Egress {
        let Some(entry) = self.flows.get_mut(flow) else {
            counters.deny(Reason::FlowUnknown);
            return Egress::Drop(Reason::FlowUnknown);
        };
        let (eni, origin) = (entry.verdict.eni, entry.verdict.origin);
        if entry.epoch != self.snapshot.epoch {
            rejudge(entry, eni, &self.snapshot, counters);
        }
        if let AclDecision::Deny(entry) = entry.verdict.acl_egress {
            self.deny_by_acl(eni, packet.meta, RuleDirection::Egress, entry, now, counters);
            return Egress::Drop(Reason::NetworkAclDeny);
        }
        match self.flows.observe(flow, Direction::Reply, packet.meta, now.mono) {
            Observed::Active | Observed::Established => {}
            Observed::Closed => counters.count(Event::FlowClosed),
            Observed::Late(reason) => {
                counters.deny(reason);
                return Egress::Drop(reason);
            }
            // Replies never open anything.
            Observed::Reopen => {
                counters.deny(Reason::FlowClosed);
                return Egress::Drop(Reason::FlowClosed);
            }
        }
        self.clamp(packet.bytes, packet.meta, packet.header, counters);
        self.log_flow(flow, Direction::Reply, packet.meta, packet.header, now);
        Egress::Send(origin)
    }

    #[inline]
    pub(super) fn clamp(&self, bytes: &mut [u8], meta: &PacketMeta, header: &VirtioHeader, counters: &Counters) {
        let mss_max = self.snapshot.mss_max(meta.tuple().is_v6());
        if clamp_mss(bytes, meta, header.checksum_state(), mss_max) {
            counters.count(Event::MssClamped);
        }
    }

    #[inline]
    pub(super) fn log_flow(
        &mut self,
        flow: FlowId,
        direction: Direction,
        meta: &PacketMeta,
        header: &VirtioHeader,
        now: Now,
    ) {
        if let Some(entry) = self.flows.get_mut(flow) {
            let logged = logged(entry.verdict.eni, meta.tuple(), Action::Accept, meta, header);
            self.log.record(&mut entry.verdict.log[direction as usize], logged, now.unix);
        }
    }
}

/// Judges a flow by the rules in force. The network ACL is stateless and counts at once. The security groups were asked when the
/// flow began; they only say which rule lets it in now, if any does.
#[cold]
fn rejudge<U>(entry: &mut FlowEntry<FlowVerdict, U>, eni: u16, snapshot: &EniSnapshot, counters: &Counters) {
    counters.count(Event::FlowRejudged);
    entry.epoch = snapshot.epoch;
    let Some(rules) = snapshot.enis.get(usize::from(eni)) else { return };
    let subject = Subject { tuple: *entry.tuple(), icmp: None };
    counters.count(Event::RuleWalk);
    entry.verdict.eni = eni;
    entry.verdict.rule = match rules.security_groups.evaluate(RuleDirection::Ingress, &subject) {
        Decision::Allow(rule) => Some(rule),
        Decision::Deny => None,
    };
    entry.verdict.acl_ingress = rules.network_acl.evaluate(RuleDirection::Ingress, &subject);
    entry.verdict.acl_egress = rules.network_acl.evaluate(RuleDirection::Egress, &replies(&subject));
}

/// What rules see of the replies.
pub(super) const fn replies(subject: &Subject) -> Subject {
    Subject { tuple: subject.tuple.reversed(), icmp: None }
}

/// A packet as flow logs count it: a super-segment is the packets it stands for, headers and all.
#[inline]
pub(super) fn logged(eni: u16, tuple: FiveTuple, action: Action, meta: &PacketMeta, header: &VirtioHeader) -> Logged {
    let (packets, bytes) = match header.gso_type {
        GsoType::None => (1, meta.packet_len()),
        _ => {
            let packets = header.segment_count(meta);
            (packets, meta.packet_len() + (packets - 1) * meta.payload_offset())
        }
    };
    Logged { eni, tuple, action, packets: packets as u64, bytes: bytes as u64 }
}
