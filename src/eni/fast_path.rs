//! Packets of known flows, in packet order: ingress, then egress.

use super::flow_log::{Action, Logged, logged_flags};
use super::slow_path::Refusal;
use super::snapshot::EniSnapshot;
use super::{Egress, EniPacket, EniStage, FlowVerdict, Ingress, Origin};
use crate::flow::{Direction, FlowEntry, FlowId, Observed};
use crate::packet::PacketMeta;
use crate::packet::{GsoType, Protocol, clamp_mss};
use crate::security_group::{Crossing, Decision, RuleDirection, Subject};
use crate::time::Now;
use crate::verdict::{Counters, Event, Reason};

impl<U> EniStage<U> {
    /// Judges a packet toward the interface.
    ///
    /// 1. In the middle of a known flow, under the present rules: one lookup, tracking, counters. Nothing is allocated, no rule
    ///    is looked at.
    /// 2. A known flow that opens, closes, or was judged under older rules: judged again once, if so, and tracked.
    /// 3. A flow's first packet, and whatever belongs to none: the rules are walked.
    #[inline]
    pub fn ingress(&mut self, origin: Origin, packet: EniPacket<'_>, now: Now, counters: &Counters) -> Ingress {
        let tuple = packet.meta.tuple_ref();
        // Only TCP has flows: the endpoint answers nothing else.
        let found = if tuple.protocol == Protocol::TCP { self.flows.find(tuple) } else { None };
        let known = found.and_then(|(flow, direction)| (direction == Direction::Original).then_some(flow));
        if let Some(flow) = known
            && self.passes_plainly(flow, Some(origin), &packet, now).is_some()
        {
            counters.count(Event::FlowHit);
            return Ingress::Deliver { flow, first: false };
        }
        let Some(eni) = self.snapshot.destination(tuple.addresses) else {
            let refusal = Refusal::silent(Reason::CannotRoute, "for no address of the endpoint");
            return self.refuse(None, &packet, refusal, now, counters);
        };
        if !self.health.is_healthy(usize::from(eni)) {
            let refusal = Refusal::silent(Reason::EniDown, "the eni is out of service");
            return self.refuse(Some(eni), &packet, refusal, now, counters);
        }
        if packet.header.packet_len_max(packet.meta) > usize::from(self.snapshot.settings.mtu) {
            let refusal = Refusal::silent(Reason::MtuExceeded, "larger than the endpoint's MTU");
            return self.refuse(Some(eni), &packet, refusal, now, counters);
        }
        match known {
            Some(flow) => self.known(flow, eni, origin, packet, now, counters),
            None => self.first(eni, origin, packet, now, counters),
        }
    }

    /// One look at the flow's entry for nearly every packet: in the middle of a connection, under the rules that judged it, with
    /// nothing that speaks against it. It is tracked and logged. Returns where the flow's originator is.
    ///
    /// `from` is where a packet toward the interface comes from; one away from it has none. `None` is returned for all other
    /// packets, which are to be judged step by step: nothing was noted of them.
    #[inline]
    fn passes_plainly(
        &mut self,
        flow: FlowId,
        from: Option<Origin>,
        packet: &EniPacket<'_>,
        now: Now,
    ) -> Option<Origin> {
        let entry = self.flows.get_mut(flow)?;
        let FlowVerdict { eni, origin, acl_ingress, acl_egress, .. } = entry.verdict;
        let mtu = usize::from(self.snapshot.settings.mtu);
        let (direction, crossing, is_welcome) = match from {
            Some(from) => {
                let fits = packet.header.packet_len_max(packet.meta) <= mtu;
                (Direction::Original, acl_ingress, from == origin && fits)
            }
            None => (Direction::Reply, acl_egress, true),
        };
        let is_plain = is_welcome
            && entry.epoch == self.snapshot.epoch
            && crossing == Crossing::Allow
            && self.health.is_healthy(usize::from(eni))
            && entry.observe_plain(direction, packet.meta, now.mono);
        if !is_plain {
            return None;
        }
        // No SYN comes here, and the MSS is in no other.
        let handle = &mut entry.verdict.log[direction as usize];
        let (packets, bytes) = traffic(packet);
        if !self.log.add(*handle, packets, bytes, now.unix) {
            self.log.record(handle, logged(eni, packet, Action::Accept), now.unix);
        }
        self.meter.add(eni, bytes);
        Some(origin)
    }

    fn known(
        &mut self,
        flow: FlowId,
        eni: u16,
        origin: Origin,
        mut packet: EniPacket<'_>,
        now: Now,
        counters: &Counters,
    ) -> Ingress {
        let Some(entry) = self.flows.get_mut(flow) else { return Ingress::Drop(Reason::FlowUnknown) };
        if entry.epoch != self.snapshot.epoch {
            rejudge(entry, eni, &self.snapshot, counters);
        }
        if let Crossing::Deny(denial) = entry.verdict.acl_ingress {
            return self.ingress_denied(eni, &packet, denial, now, counters);
        }
        if entry.verdict.origin != origin && entry.ended().is_none() {
            let refusal = Refusal::silent(Reason::CannotRoute, "from another side than the rest of its flow");
            return self.refuse(Some(eni), &packet, refusal, now, counters);
        }
        let observed = self.flows.observe(flow, Direction::Original, packet.meta, now.mono);
        match observed {
            Observed::Active | Observed::Established | Observed::Closed => {}
            Observed::Reopen => return self.first(eni, origin, packet, now, counters),
            Observed::Late(reason) => {
                let refusal = match reason {
                    Reason::FlowIdleExpired => Refusal {
                        reason,
                        text: "its flow was silent for longer than the idle time-out",
                        answer: self.snapshot.settings.late_packet,
                    },
                    _ => Refusal::silent(reason, "its connection is closed"),
                };
                return self.refuse(Some(eni), &packet, refusal, now, counters);
            }
        }
        counters.count(Event::FlowHit);
        if observed == Observed::Closed {
            counters.count(Event::FlowClosed);
        }
        self.clamp(&mut packet, counters);
        self.log_flow(flow, Direction::Original, &packet, now);
        Ingress::Deliver { flow, first: false }
    }

    /// Judges a packet of the flow `flow` away from the interface. Security groups have no say: replies to what they let in are
    /// let out.
    #[inline]
    pub fn egress(&mut self, flow: FlowId, packet: EniPacket<'_>, now: Now, counters: &Counters) -> Egress {
        match self.passes_plainly(flow, None, &packet, now) {
            Some(origin) => Egress::Send(origin),
            None => self.reply(flow, packet, now, counters),
        }
    }

    fn reply(&mut self, flow: FlowId, mut packet: EniPacket<'_>, now: Now, counters: &Counters) -> Egress {
        let Some(entry) = self.flows.get_mut(flow) else {
            counters.deny(Reason::FlowUnknown);
            return Egress::Drop(Reason::FlowUnknown);
        };
        let (eni, origin) = (entry.verdict.eni, entry.verdict.origin);
        if !self.health.is_healthy(usize::from(eni)) {
            // Unseen by tracking: what nobody can receive keeps no flow alive.
            counters.deny(Reason::EniDown);
            return Egress::Drop(Reason::EniDown);
        }
        if entry.epoch != self.snapshot.epoch {
            rejudge(entry, eni, &self.snapshot, counters);
        }
        if let Crossing::Deny(denial) = entry.verdict.acl_egress {
            return self.egress_denied(flow, eni, &packet, denial, now, counters);
        }
        if let Some(reason) = self.track_reply(flow, packet.meta, now, counters) {
            return Egress::Drop(reason);
        }
        self.clamp(&mut packet, counters);
        self.log_flow(flow, Direction::Reply, &packet, now);
        Egress::Send(origin)
    }

    /// Tracks a packet away from the interface. Says why it goes nowhere, if so; that is counted here.
    #[inline]
    pub(super) fn track_reply(
        &mut self,
        flow: FlowId,
        meta: &PacketMeta,
        now: Now,
        counters: &Counters,
    ) -> Option<Reason> {
        let reason = match self.flows.observe(flow, Direction::Reply, meta, now.mono) {
            Observed::Active | Observed::Established => return None,
            Observed::Closed => {
                counters.count(Event::FlowClosed);
                return None;
            }
            Observed::Late(reason) => reason,
            // Replies never open anything.
            Observed::Reopen => Reason::FlowClosed,
        };
        counters.deny(reason);
        Some(reason)
    }

    #[inline]
    pub(super) fn clamp(&self, packet: &mut EniPacket<'_>, counters: &Counters) {
        let mss_max = self.snapshot.mss_max(packet.meta.tuple().is_v6());
        if clamp_mss(packet.bytes, packet.meta, packet.header.checksum_state(), mss_max) {
            counters.count(Event::MssClamped);
        }
    }

    #[inline]
    pub(super) fn log_flow(&mut self, flow: FlowId, direction: Direction, packet: &EniPacket<'_>, now: Now) {
        if let Some(entry) = self.flows.get_mut(flow) {
            let handle = &mut entry.verdict.log[direction as usize];
            let logged = logged(entry.verdict.eni, packet, Action::Accept);
            if logged.tcp_flags != 0 || !self.log.add(*handle, logged.packets, logged.bytes, now.unix) {
                self.log.record(handle, logged, now.unix);
            }
            self.meter.add(logged.eni, logged.bytes);
        }
    }
}

/// Judges a flow by the rules in force. Network ACLs are stateless and count at once. The security groups were asked when the
/// flow began; they only say which rule lets it in now, if any does.
#[cold]
fn rejudge<U>(entry: &mut FlowEntry<FlowVerdict, U>, eni: u16, snapshot: &EniSnapshot, counters: &Counters) {
    counters.count(Event::FlowRejudged);
    entry.epoch = snapshot.epoch;
    let Some(rules) = snapshot.eni(usize::from(eni)) else { return };
    let subject = Subject { tuple: *entry.tuple(), icmp: None };
    counters.count(Event::RuleWalk);
    entry.verdict.eni = eni;
    entry.verdict.rule = match rules.security_groups.evaluate(RuleDirection::Ingress, &subject) {
        Decision::Allow(rule) => Some(rule),
        Decision::Deny => None,
    };
    entry.verdict.acl_ingress = snapshot.network_acls.evaluate(&subject);
    entry.verdict.acl_egress = snapshot.network_acls.evaluate(&subject.replies());
}

/// What flow logs say of a packet.
pub(super) const fn logged(eni: u16, packet: &EniPacket<'_>, action: Action) -> Logged {
    let (packets, bytes) = traffic(packet);
    let tcp_flags = logged_flags(packet.meta.tcp_flags());
    Logged { eni, tuple: packet.meta.tuple(), action, packets, bytes, tcp_flags }
}

/// Packets and bytes as flow logs count them: a super-segment is the packets it stands for, headers and all.
#[inline]
const fn traffic(packet: &EniPacket<'_>) -> (u64, u64) {
    let EniPacket { meta, header, .. } = packet;
    match header.gso_type {
        GsoType::None => (1, meta.packet_len() as u64),
        _ => {
            let packets = header.segment_count(meta);
            (packets as u64, (meta.packet_len() + (packets - 1) * meta.payload_offset()) as u64)
        }
    }
}
