//! How the endpoint behaves: `[endpoint.settings]` of a topology.

use std::time::Duration;

use serde::Serialize;

/// What becomes of a packet that AWS's documentation leaves open (see `docs/fidelity.md`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unanswered {
    /// Nothing is sent.
    Drop,
    /// A TCP RST is sent.
    Reset,
}

/// Settings of the endpoint; each unconfirmed AWS behaviour is one of them.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointSettings {
    /// Bytes; a larger packet is dropped silently. AWS: 8500.
    pub mtu: u16,
    /// Largest MSS let through in either direction over IPv4. Observed: 8365.
    pub mss_clamp: u16,
    /// Time without a packet after which a flow is forgotten. AWS: 350 s.
    pub idle_timeout: Duration,
    /// A SYN to a port other than 443 that a security group allows.
    pub other_port: Unanswered,
    /// A packet of a flow that the idle time-out ended.
    pub late_packet: Unanswered,
    /// Flows per worker.
    pub flow_limit: u32,
    /// Connections per worker whose handshake is not finished.
    pub half_open_limit: u32,
    /// From SYN to the end of the TCP handshake.
    pub tcp_handshake_timeout: Duration,
    /// From the TCP handshake to the end of the TLS handshake.
    pub tls_handshake_timeout: Duration,
    /// From the first byte of a request to the end of its head.
    pub http_head_timeout: Duration,
    /// Longest silence inside a request's body.
    pub http_body_timeout: Duration,
    /// Bytes of request bodies that a worker holds at a time.
    pub http_body_budget: usize,
    /// Bytes per second that a client must send of the bodies and take of the answers that are due.
    pub http_minimum_rate: usize,
    /// How far a client may fall behind that rate.
    pub http_rate_grace: Duration,
    /// Idle keep-alive connections are closed after this.
    pub http_idle_timeout: Duration,
    /// Request line and headers together, bytes. AWS: 1 MB.
    pub http_head_limit: usize,
    /// Receive and send buffer of one connection, bytes each.
    pub tcp_buffer: usize,
    /// Length of a flow log's windows. AWS: 60 s or 600 s; others are for labs.
    pub flow_log_interval: Duration,
    /// How long an endpoint is pending, or being deleted, after the API was asked. AWS: minutes, and does not say how many.
    pub settle_time: Duration,
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            mtu: 8500,
            mss_clamp: 8365,
            idle_timeout: Duration::from_secs(350),
            other_port: Unanswered::Drop,
            late_packet: Unanswered::Drop,
            flow_limit: 65_536,
            half_open_limit: 1_024,
            tcp_handshake_timeout: Duration::from_secs(10),
            tls_handshake_timeout: Duration::from_secs(10),
            http_head_timeout: Duration::from_secs(10),
            http_body_timeout: Duration::from_secs(30),
            http_body_budget: 256 << 20,
            http_minimum_rate: 1 << 10,
            http_rate_grace: Duration::from_secs(60),
            http_idle_timeout: Duration::from_secs(60),
            http_head_limit: 1 << 20,
            tcp_buffer: 64 * 1024,
            flow_log_interval: Duration::from_secs(60),
            settle_time: Duration::from_secs(1),
        }
    }
}
