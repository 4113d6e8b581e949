//! The endpoint's interfaces: what gets in, what gets out, and what is remembered of it.
//!
//! One [`EniStage`] per worker covers all enis of the endpoint. A packet of a known flow takes the fast path: one lookup, the
//! cached verdict, tracking. A flow's first packet takes the slow path: network ACLs, security groups, and what AWS documents of
//! an interface endpoint: it answers on port 443 alone, never answers ICMP, never sends fragmentation-needed, never initiates.
//!
//! What a packet meets, in order: source/destination check, the eni's health, MTU, network ACLs (its sender's subnet's, the
//! eni's), flow, security groups, protocol, port, limits.
//! A denied packet is dropped silently, whatever denied it. Two behaviours that AWS leaves open are settings: a SYN to another
//! port, and a packet of a flow that the idle time-out ended.
//!
//! Rules come as an immutable [`EniSnapshot`] with an epoch. A flow made under an older epoch is judged again when next hit:
//! network ACLs count at once; a tracked flow survives a revoked security-group rule, a new one does not.
//!
//! Limits: flows and half-open connections (settings), [`DENIALS_MAX`] remembered denials, the flow log's records per window.
//! Timers: the idle time-out (AWS: 350 s) and the handshake's. Everything dropped is counted here, by its reason.
//!
//! What this does not do: TCP itself, and sending; the caller emits the RST that [`Ingress::Reset`] asks for.

mod boundary;
mod denials;
mod fast_path;
mod flow_log;
mod health;
mod meter;
mod slow_path;
mod snapshot;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::flow::{EndCause, Ended, FlowId, FlowLimits, FlowSeed, FlowTable, FlowTimeouts};
use crate::packet::{PacketMeta, VirtioHeader};
use crate::security_group::{Crossing, RuleDirection, RuleIndex, RuleName};
use crate::time::{Moment, Now};
use crate::verdict::{Counters, Event, Reason};

pub use denials::{DENIALS_MAX, Denial};
pub use flow_log::{Action, FlowLogRecord, FlowLogSettings, LogStatus, LoggedFlow};
pub use health::EniHealth;
pub use snapshot::{EniRules, EniSnapshot};

use denials::Denials;
use flow_log::{FlowLog, LogHandle};
use meter::Meter;

/// The one port that the service listens on.
pub const SERVICE_PORT: u16 = 443;

/// Where a packet came from, and where its flow's replies go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    /// The VPC.
    Vpc,
    /// On-premises, through the tunnel.
    Tunnel,
}

/// A packet at the interface: its bytes, what [`parse`](crate::packet::parse) found in them, and what the device said.
#[derive(Debug)]
pub struct EniPacket<'a> {
    /// The packet, from its IP header on.
    pub bytes: &'a mut [u8],
    /// What was found in them.
    pub meta: &'a PacketMeta,
    /// The device's header; the default for a packet that came or goes without one.
    pub header: &'a VirtioHeader,
}

/// What becomes of a packet toward the interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ingress {
    /// It belongs to a connection.
    Deliver {
        /// Its flow.
        flow: FlowId,
        /// It opens the flow: a connection has to be made for it.
        first: bool,
    },
    /// It is answered with a RST ([`emit_reset`](crate::packet::emit_reset)), to where it came from.
    Reset(Reason),
    /// Nothing happens.
    Drop(Reason),
}

/// What becomes of a packet away from the interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Egress {
    /// It goes there.
    Send(Origin),
    /// It goes nowhere.
    Drop(Reason),
}

/// What was decided for a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowVerdict {
    eni: u16,
    origin: Origin,
    rule: Option<RuleIndex>,
    /// All ACLs on the way to the eni, and on the way of the replies.
    acl_ingress: Crossing,
    acl_egress: Crossing,
    log: [LogHandle; 2],
}

impl FlowVerdict {
    /// Where its replies go.
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The slot of its eni.
    pub const fn eni(&self) -> usize {
        self.eni as usize
    }
}

/// The enis of an endpoint, as one worker sees them. `U` is what the caller keeps for each flow.
#[derive(Debug)]
pub struct EniStage<U> {
    snapshot: Arc<EniSnapshot>,
    health: EniHealth,
    flows: FlowTable<FlowVerdict, U>,
    log: FlowLog,
    denials: Denials,
    meter: Meter,
    /// Flows whose place was taken, until [`EniStage::poll_ended`] tells of them.
    replaced: VecDeque<Ended<FlowVerdict, U>>,
}

/// Timers looked at per call: a full level of the wheel.
const EXPIRY_BUDGET: u32 = 64;

impl<U> EniStage<U> {
    /// A stage without flows. Table sizes and time-outs are those of `snapshot`; later ones do not change them.
    pub fn new(snapshot: Arc<EniSnapshot>, seed: FlowSeed, flow_log: FlowLogSettings, now: Now) -> Self {
        let settings = &snapshot.settings;
        let limits = FlowLimits { flows: settings.flow_limit, half_open: settings.half_open_limit };
        let timeouts = FlowTimeouts {
            tcp: settings.idle_timeout,
            tcp_half_open: settings.tcp_handshake_timeout,
            idle_memory: settings.idle_timeout,
            ..FlowTimeouts::default()
        };
        let log = FlowLog::new(flow_log, &snapshot, seed, now.unix);
        Self {
            flows: FlowTable::new(limits, timeouts, seed),
            log,
            denials: Denials::new(snapshot.epoch),
            meter: Meter::new(snapshot.slots()),
            replaced: VecDeque::new(),
            health: EniHealth::default(),
            snapshot,
        }
    }

    /// Takes new rules into force. Flows are judged by them as packets come; those of enis that are no more end here, and what
    /// the caller kept for them is given back.
    pub fn update(&mut self, snapshot: Arc<EniSnapshot>, now: Now) -> Vec<U> {
        let is_gone = |slot: usize| snapshot.eni(slot).is_none();
        let mut orphans = Vec::new();
        if self.snapshot.enis.iter().any(|eni| is_gone(usize::from(eni.slot))) {
            let of_gone = self.flows.iter().filter(|(_, entry)| is_gone(entry.verdict.eni()));
            for flow in of_gone.map(|(flow, _)| flow).collect::<Vec<_>>() {
                orphans.extend(self.user_mut(flow).and_then(Option::take));
                self.close(flow, now);
            }
        }
        self.log.update(&snapshot);
        self.meter.make_room(snapshot.slots());
        self.denials.begin_epoch(snapshot.epoch);
        self.snapshot = snapshot;
        orphans
    }

    /// Takes an eni (its slot) out of service, or back. New rules do not change this.
    pub fn set_health(&mut self, eni: usize, healthy: bool) {
        self.health.set(eni, healthy);
    }

    /// Which enis are in service.
    pub const fn health(&self) -> &EniHealth {
        &self.health
    }

    /// Whether a flow's eni is out of service.
    pub fn is_down(&self, flow: FlowId) -> bool {
        self.flows.get(flow).is_some_and(|entry| !self.health.is_healthy(entry.verdict.eni()))
    }

    /// The rules in force.
    pub const fn snapshot(&self) -> &Arc<EniSnapshot> {
        &self.snapshot
    }

    /// The flows.
    pub const fn flows(&self) -> &FlowTable<FlowVerdict, U> {
        &self.flows
    }

    /// What the caller keeps for a flow; `None` if the flow is gone.
    #[inline]
    pub fn user_mut(&mut self, flow: FlowId) -> Option<&mut Option<U>> {
        self.flows.get_mut(flow).map(|entry| &mut entry.user)
    }

    /// Ends a flow whose connection is over for a reason that no packet shows.
    pub fn close(&mut self, flow: FlowId, now: Now) {
        self.flows.close(flow, now.mono);
    }

    /// The security-group rule that lets a flow in; `None` if it was revoked since, or the flow is gone.
    pub fn rule_of(&self, flow: FlowId) -> Option<&RuleName> {
        let entry = self.flows.get(flow)?;
        if entry.epoch != self.snapshot.epoch {
            return None;
        }
        self.snapshot.eni(entry.verdict.eni())?.security_groups.name(RuleDirection::Ingress, entry.verdict.rule?)
    }

    /// The next flow that ended, for the caller to free what it kept: by time, or because another took its place. To be called
    /// each turn until it says `None`. A flow that its packets closed is told of only if its `user` was not taken until it was
    /// forgotten.
    pub fn poll_ended(&mut self, now: Now, counters: &Counters) -> Option<Ended<FlowVerdict, U>> {
        if let Some(ended) = self.replaced.pop_front() {
            return Some(ended);
        }
        let ended = self.flows.poll_expired(now.mono, &mut { EXPIRY_BUDGET })?;
        if matches!(ended.cause, EndCause::Idle | EndCause::HalfOpen) {
            counters.count(Event::FlowExpired);
        }
        Some(ended)
    }

    /// When [`EniStage::poll_ended`] or [`EniStage::poll_records`] wants to be called next, at the latest.
    pub fn next_deadline(&self, now: Now) -> Option<Moment> {
        if self.log.has_records() {
            return Some(now.mono);
        }
        let window_end = self
            .log
            .window_end()
            .map(|end| now.mono + Duration::from_nanos(end.nanos().saturating_sub(now.unix.nanos())));
        self.flows.next_deadline().into_iter().chain(window_end).min()
    }

    /// The next flow-log record of a window that is over.
    pub fn poll_records(&mut self, now: Now) -> Option<FlowLogRecord> {
        self.log.poll_record(now.unix)
    }

    /// Bytes of packets that enis let through, in both directions, by slot; those of enis that are no more as well.
    pub fn bytes_processed(&self) -> &[u64] {
        self.meter.bytes()
    }

    /// The latest denials, oldest first.
    pub fn denials(&self) -> impl Iterator<Item = &Denial> {
        self.denials.iter()
    }
}

#[cfg(test)]
mod tests;
