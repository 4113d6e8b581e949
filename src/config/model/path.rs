//! The emulated path between the endpoint and the customer gateway.

use std::time::Duration;

use serde::Serialize;

/// What one direction of the emulated path does to frames.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct PathDirection {
    /// One-way delay.
    pub delay: Duration,
    /// Largest deviation from the delay, uniformly distributed; never reorders.
    pub jitter: Duration,
    /// Probability that a frame is lost, 0 to 1.
    pub loss: f64,
    /// Bits per second of outer packets; `None` is unlimited.
    pub rate_bps: Option<u64>,
    /// Packets per second; `None` is unlimited.
    pub rate_pps: Option<u64>,
    /// Bytes that may wait for the rate; more are dropped.
    pub queue_bytes: usize,
}

impl PathDirection {
    /// Whether frames pass as if nothing were emulated.
    pub fn adds_nothing(&self) -> bool {
        let free = self.rate_bps.is_none() && self.rate_pps.is_none();
        free && self.delay.is_zero() && self.jitter.is_zero() && self.loss <= 0.0
    }
}

/// A named path.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PathProfile {
    /// `lan`, `vpn`, `dx` or the file's own name.
    pub name: String,
    /// Outer MTU, bytes.
    pub mtu: u16,
    /// From the endpoint to the customer gateway.
    pub to_customer: PathDirection,
    /// From the customer gateway to the endpoint.
    pub to_aws: PathDirection,
}
