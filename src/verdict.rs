//! Verdicts and counters: what went on at each stage, and why something went no further.
//!
//! A packet or request that goes no further is not an error of ours: it has a [`Reason`] with a stable code, counted per
//! worker. Codes use AWS's spelling where AWS has one. Each worker owns one [`Counters`]; whoever shows them adds them up.

use std::sync::atomic::{AtomicU64, Ordering};

/// The stages of the pipeline, in the order in which a packet meets them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// Bytes from a device or tunnel become a packet.
    Packet,
    /// The five-tuple is looked up.
    Flow,
    /// Security groups and network ACLs.
    SecurityGroup,
    /// The endpoint's interface.
    Eni,
    /// smoltcp.
    Tcp,
    /// rustls.
    Tls,
    /// HTTP/1.1 and HTTP/2.
    Http,
    /// Signature verification.
    Sigv4,
    /// Endpoint, identity and resource policies.
    Policy,
    /// The Lambda API.
    Lambda,
    /// ESP and the emulated path.
    Tunnel,
    /// The resolver.
    Dns,
}

impl Stage {
    /// The module, span, metric label and heading of this stage.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Flow => "flow",
            Self::SecurityGroup => "security_group",
            Self::Eni => "eni",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Sigv4 => "sigv4",
            Self::Policy => "policy",
            Self::Lambda => "lambda",
            Self::Tunnel => "tunnel",
            Self::Dns => "dns",
        }
    }
}

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = ($stage:ident, $code:literal),)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(usize)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every variant, in pipeline order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable code, as printed in status, logs and metrics.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The stage that counts it.
            pub const fn stage(self) -> Stage {
                match self { $(Self::$variant => Stage::$stage,)* }
            }
        }
    };
}

counted! {
    /// Something that happened and went on.
    Event {
        /// Packets that entered from a device (a super-segment counts once).
        PacketsRx = (Packet, "PACKETS_RX"),
        /// Bytes of those packets.
        BytesRx = (Packet, "BYTES_RX"),
        /// Packets written to a device.
        PacketsTx = (Packet, "PACKETS_TX"),
        /// Bytes of those packets.
        BytesTx = (Packet, "BYTES_TX"),
        /// Packets of a flow already known: the fast path.
        FlowHit = (Flow, "FLOW_HIT"),
        /// First packets: the slow path.
        FlowMiss = (Flow, "FLOW_MISS"),
        /// Flow entries made.
        FlowCreated = (Flow, "FLOW_CREATED"),
        /// Flow entries that ended by their idle time-out.
        FlowExpired = (Flow, "FLOW_EXPIRED"),
        /// Flow entries that ended because the connection did.
        FlowClosed = (Flow, "FLOW_CLOSED"),
        /// Closed entries taken over by a new connection on the same five-tuple.
        FlowRecycled = (Flow, "FLOW_RECYCLED"),
        /// Entries judged again because rules changed.
        FlowRejudged = (Flow, "FLOW_REJUDGED"),
        /// Walks over the compiled security-group rules.
        RuleWalk = (SecurityGroup, "RULE_WALK"),
        /// MSS options lowered in a SYN or SYN-ACK.
        MssClamped = (Eni, "MSS_CLAMPED"),
        /// TCP connections established.
        TcpEstablished = (Tcp, "TCP_ESTABLISHED"),
        /// RSTs received from clients.
        TcpResetRx = (Tcp, "TCP_RESET_RX"),
        /// RSTs sent to clients.
        TcpResetTx = (Tcp, "TCP_RESET_TX"),
        /// Segments sent again through the tunnel because they were lost.
        TcpRetransmitted = (Tcp, "TCP_RETRANSMITTED"),
        /// Last segments sent again through the tunnel because nothing was heard of them.
        TcpLossProbe = (Tcp, "TCP_LOSS_PROBE"),
        /// Retransmission time-outs of connections through the tunnel.
        TcpTimeout = (Tcp, "TCP_TIMEOUT"),
        /// Segments that receivers beyond the tunnel acknowledged selectively.
        TcpSelectiveAck = (Tcp, "TCP_SELECTIVE_ACK"),
        /// Reports of receivers beyond the tunnel that something arrived twice.
        TcpSpurious = (Tcp, "TCP_SPURIOUS"),
        /// Full TLS handshakes.
        TlsHandshake = (Tls, "TLS_HANDSHAKE"),
        /// Resumed TLS handshakes.
        TlsResumed = (Tls, "TLS_RESUMED"),
        /// HTTP requests whose head was parsed.
        HttpRequest = (Http, "HTTP_REQUEST"),
        /// Requests whose signature was verified.
        SignatureVerified = (Sigv4, "SIGNATURE_VERIFIED"),
        /// Requests all policies allowed.
        PolicyAllowed = (Policy, "POLICY_ALLOWED"),
        /// Decisions over policies that were remembered.
        PolicyDecisionKept = (Policy, "POLICY_DECISION_KEPT"),
        /// Decisions over policies that were made, because nobody had asked before or the answer may change.
        PolicyDecisionMade = (Policy, "POLICY_DECISION_MADE"),
        /// Invocations sent to the function host.
        InvocationSent = (Lambda, "INVOCATION_SENT"),
        /// Invocations answered by the function host.
        InvocationAnswered = (Lambda, "INVOCATION_ANSWERED"),
        /// Event invocations accepted into the queue.
        EventQueued = (Lambda, "EVENT_QUEUED"),
        /// Event invocations tried again.
        EventRetried = (Lambda, "EVENT_RETRIED"),
        /// ESP frames sent.
        FramesTx = (Tunnel, "FRAMES_TX"),
        /// Bytes of those frames.
        FrameBytesTx = (Tunnel, "FRAME_BYTES_TX"),
        /// ESP frames received and opened.
        FramesRx = (Tunnel, "FRAMES_RX"),
        /// Bytes of those frames.
        FrameBytesRx = (Tunnel, "FRAME_BYTES_RX"),
        /// Packets forwarded between the VPC and the tunnel.
        Forwarded = (Tunnel, "FORWARDED"),
        /// Queries answered.
        DnsAnswered = (Dns, "DNS_ANSWERED"),
        /// Queries answered NXDOMAIN.
        DnsNxdomain = (Dns, "DNS_NXDOMAIN"),
    }
}

counted! {
    /// Why a packet or request went no further.
    Reason {
        /// Shorter than its headers say, or not IP.
        PacketMalformed = (Packet, "PACKET_MALFORMED"),
        /// A checksum that does not fit.
        PacketChecksum = (Packet, "PACKET_CHECKSUM"),
        /// An IP fragment: a flow cannot be known from it.
        PacketFragment = (Packet, "PACKET_FRAGMENT"),
        /// No route of the subnet leads there, or the interface is not the destination (source/destination check).
        CannotRoute = (Packet, "CANNOT_ROUTE"),
        /// The hop limit ran out.
        HopLimitExceeded = (Packet, "HOP_LIMIT_EXCEEDED"),
        /// A device takes nothing, and too many packets for it are held back already.
        DeviceFull = (Packet, "DEVICE_FULL"),
        /// The flow table is full.
        FlowLimit = (Flow, "FLOW_LIMIT"),
        /// Too many half-open connections.
        HalfOpenLimit = (Flow, "HALF_OPEN_LIMIT"),
        /// A packet after the connection was closed.
        FlowClosed = (Flow, "FLOW_CLOSED"),
        /// A packet after the idle time-out.
        FlowIdleExpired = (Flow, "FLOW_IDLE_EXPIRED"),
        /// A TCP packet of no known flow that does not open one.
        FlowUnknown = (Flow, "FLOW_UNKNOWN"),
        /// No security-group rule allows it.
        SecurityGroupMismatch = (SecurityGroup, "ENI_SG_RULES_MISMATCH"),
        /// A network ACL denies it.
        NetworkAclDeny = (SecurityGroup, "SUBNET_ACL_RESTRICTION"),
        /// Larger than the endpoint's MTU; no fragmentation-needed is sent.
        MtuExceeded = (Eni, "ENI_MTU_EXCEEDED"),
        /// ICMP to the endpoint: never answered.
        IcmpIgnored = (Eni, "ENI_ICMP_IGNORED"),
        /// TCP to a port that the service does not listen on.
        PortClosed = (Eni, "ENI_PORT_CLOSED"),
        /// A protocol the endpoint does not serve.
        ProtocolUnsupported = (Eni, "ENI_PROTOCOL_UNSUPPORTED"),
        /// The eni is out of service.
        EniDown = (Eni, "ENI_DOWN"),
        /// The handshake was not finished in time.
        TcpHandshakeTimeout = (Tcp, "TCP_HANDSHAKE_TIMEOUT"),
        /// No memory for another connection.
        TcpSocketLimit = (Tcp, "TCP_SOCKET_LIMIT"),
        /// It acknowledges what was never sent.
        TcpAckInvalid = (Tcp, "TCP_ACK_INVALID"),
        /// The name in the ClientHello is not ours.
        TlsUnknownName = (Tls, "TLS_UNKNOWN_NAME"),
        /// Not TLS, or a broken handshake or record.
        TlsProtocol = (Tls, "TLS_PROTOCOL"),
        /// The handshake was not finished in time.
        TlsHandshakeTimeout = (Tls, "TLS_HANDSHAKE_TIMEOUT"),
        /// Not HTTP.
        HttpMalformed = (Http, "HTTP_MALFORMED"),
        /// Request line and headers over their limit.
        HttpHeadTooLarge = (Http, "HTTP_HEAD_TOO_LARGE"),
        /// The head did not arrive in time.
        HttpHeadTimeout = (Http, "HTTP_HEAD_TIMEOUT"),
        /// The body did not arrive in time.
        HttpBodyTimeout = (Http, "HTTP_BODY_TIMEOUT"),
        /// No request within the keep-alive time.
        HttpIdleTimeout = (Http, "HTTP_IDLE_TIMEOUT"),
        /// The client sends a body, or takes an answer, below the minimum rate.
        HttpTooSlow = (Http, "HTTP_TOO_SLOW"),
        /// No Authorization header.
        SignatureMissing = (Sigv4, "SIGNATURE_MISSING"),
        /// An Authorization header that cannot be read or has the wrong scope.
        SignatureIncomplete = (Sigv4, "SIGNATURE_INCOMPLETE"),
        /// An unknown access key or session token.
        SignatureUnknownKey = (Sigv4, "SIGNATURE_UNKNOWN_KEY"),
        /// Signed too long ago, or in the future.
        SignatureExpired = (Sigv4, "SIGNATURE_EXPIRED"),
        /// A signature that does not match.
        SignatureMismatch = (Sigv4, "SIGNATURE_MISMATCH"),
        /// The endpoint policy does not allow it, or denies it.
        EndpointPolicyDeny = (Policy, "ENDPOINT_POLICY_DENY"),
        /// The caller's identity policy does not allow it, or denies it.
        IdentityPolicyDeny = (Policy, "IDENTITY_POLICY_DENY"),
        /// The function's resource policy does not allow it, or denies it.
        ResourcePolicyDeny = (Policy, "RESOURCE_POLICY_DENY"),
        /// No such operation.
        LambdaUnknownOperation = (Lambda, "LAMBDA_UNKNOWN_OPERATION"),
        /// Parameters or payload that the API refuses.
        LambdaBadRequest = (Lambda, "LAMBDA_BAD_REQUEST"),
        /// No such function or qualifier.
        LambdaNotFound = (Lambda, "LAMBDA_NOT_FOUND"),
        /// A payload over its limit.
        LambdaTooLarge = (Lambda, "LAMBDA_TOO_LARGE"),
        /// No room for another request's body now.
        LambdaBodyBudget = (Lambda, "LAMBDA_BODY_BUDGET"),
        /// No concurrency left.
        LambdaThrottled = (Lambda, "LAMBDA_THROTTLED"),
        /// The function host could not be reached, or did not answer in time.
        LambdaHostUnavailable = (Lambda, "LAMBDA_HOST_UNAVAILABLE"),
        /// An event invocation given up after its retries or its age.
        LambdaEventDropped = (Lambda, "LAMBDA_EVENT_DROPPED"),
        /// Not ESP of a known SPI.
        TunnelUnknownSpi = (Tunnel, "TUNNEL_UNKNOWN_SPI"),
        /// The integrity check failed.
        TunnelAuthentication = (Tunnel, "TUNNEL_AUTHENTICATION"),
        /// A sequence number seen before, or left of the window.
        TunnelReplay = (Tunnel, "TUNNEL_REPLAY"),
        /// The sequence number would wrap: the SA is spent.
        TunnelSequenceExhausted = (Tunnel, "TUNNEL_SEQUENCE_EXHAUSTED"),
        /// A frame whose inside is malformed.
        TunnelMalformed = (Tunnel, "TUNNEL_MALFORMED"),
        /// An inner packet too large for the path.
        TunnelMtuExceeded = (Tunnel, "TUNNEL_MTU_EXCEEDED"),
        /// The path's queue was full.
        TunnelQueueFull = (Tunnel, "TUNNEL_QUEUE_FULL"),
        /// Lost on the emulated path.
        TunnelLoss = (Tunnel, "TUNNEL_LOSS"),
        /// Frames that the outer network refused: nothing listens at the other end, or no way leads there.
        TunnelUnreachable = (Tunnel, "TUNNEL_UNREACHABLE"),
        /// A query that cannot be read.
        DnsMalformed = (Dns, "DNS_MALFORMED"),
        /// Queries over the resolver's limit for one interface.
        DnsRateLimit = (Dns, "DNS_RATE_LIMIT"),
        /// A query from where this view does not answer.
        DnsRefused = (Dns, "DNS_REFUSED"),
        /// No room for another query that waits for the inbound endpoint.
        DnsForwardLimit = (Dns, "DNS_FORWARD_LIMIT"),
        /// The inbound endpoint did not answer a forwarded query in time, or could not be reached.
        DnsForwardTimeout = (Dns, "DNS_FORWARD_TIMEOUT"),
    }
}

/// The outcome of a decision on a packet or request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on.
    Allow,
    /// It goes no further, for this reason.
    Deny(Reason),
}

/// One worker's counters. Written by that worker alone, read by anyone.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    events: [AtomicU64; Event::ALL.len()],
    reasons: [AtomicU64; Reason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self { events: [const { AtomicU64::new(0) }; _], reasons: [const { AtomicU64::new(0) }; _] }
    }
}

impl Counters {
    /// Counts one event.
    #[inline]
    pub fn count(&self, event: Event) {
        self.add(event, 1);
    }

    /// Counts `n` of an event.
    #[inline]
    pub fn add(&self, event: Event, n: u64) {
        bump(&self.events[event as usize], n);
    }

    /// Counts something that went no further.
    #[inline]
    pub fn deny(&self, reason: Reason) {
        bump(&self.reasons[reason as usize], 1);
    }

    /// How often `event` was counted.
    pub fn event(&self, event: Event) -> u64 {
        self.events[event as usize].load(Ordering::Relaxed)
    }

    /// How often `reason` was counted.
    pub fn reason(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize].load(Ordering::Relaxed)
    }

    /// Everything that is not zero, as (stage, code, count), in pipeline order: events first, then reasons.
    pub fn nonzero(&self) -> Vec<(Stage, &'static str, u64)> {
        let events = Event::ALL.iter().map(|&e| (e.stage(), e.code(), self.event(e)));
        let reasons = Reason::ALL.iter().map(|&r| (r.stage(), r.code(), self.reason(r)));
        events.chain(reasons).filter(|(_, _, n)| *n != 0).collect()
    }
}

/// A single writer needs no read-modify-write: a relaxed load and store cost what a plain increment does.
#[inline]
fn bump(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_within_events_and_within_reasons() {
        let mut events: Vec<_> = Event::ALL.iter().map(|e| e.code()).collect();
        let mut reasons: Vec<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        let (n_events, n_reasons) = (events.len(), reasons.len());
        events.sort_unstable();
        events.dedup();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!((events.len(), reasons.len()), (n_events, n_reasons));
    }

    #[test]
    fn counting_one_reason_moves_no_other() {
        let counters = Counters::default();
        counters.deny(Reason::SecurityGroupMismatch);
        assert_eq!(counters.nonzero(), [(Stage::SecurityGroup, "ENI_SG_RULES_MISMATCH", 1)]);
    }
}
