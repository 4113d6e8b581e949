//! What is measured: cases, and what each consists of.

use std::time::Duration;

use clap::ValueEnum;

use crate::lambda::invoke::SYNC_PAYLOAD_MAX;
use crate::load::generator::Mode;
use crate::load::requests::SMALLEST_ECHO;
use crate::load::trust::TlsVersion;

/// What can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Case {
    /// Invocations over connections that are kept: 1, 64 and 256 of them.
    Invoke,
    /// A new TLS connection for each invocation: full handshakes, and resumed ones.
    Connect,
    /// Every case, one after the other.
    All,
}

impl Case {
    fn is(self, other: Self) -> bool {
        self == Self::All || self == other
    }
}

/// How a run is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Variant {
    /// The kernel's own way, without the endpoint.
    Ceiling,
    /// The endpoint as it is.
    Tuned,
    /// The endpoint over plain TUN devices: one packet per call, no offloads.
    Floor,
}

impl Variant {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ceiling => "ceiling",
            Self::Tuned => "tuned",
            Self::Floor => "floor",
        }
    }
}

/// What the user changed.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    pub(super) connections: Option<u32>,
    pub(super) payload: Option<usize>,
    pub(super) rate: Option<f64>,
    pub(super) tls: TlsVersion,
    pub(super) duration: Duration,
    pub(super) warm_up: Duration,
    pub(super) quick: bool,
}

/// One thing that is measured, in every variant.
#[derive(Clone, Debug)]
pub(super) struct Measurement {
    /// `invoke/64`
    pub(super) name: String,
    pub(super) case: Case,
    /// What one operation is, in the singular.
    pub(super) operation: &'static str,
    pub(super) work: Work,
}

/// How it is measured.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// By the load generator.
    Load(Load),
}

/// Arguments of the load generator.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) function: &'static str,
    pub(super) exchange: &'static str,
    pub(super) payload: usize,
    pub(super) mode: Mode,
    pub(super) connections: u32,
    pub(super) idle: u32,
}

/// The measurements of a case.
pub(super) fn measurements(case: Case, wishes: &Wishes) -> Vec<Measurement> {
    let mut list = Vec::new();
    if case.is(Case::Invoke) {
        let usual: &[u32] = if wishes.quick { &[4] } else { &[1, 64, 256] };
        let counts = wishes.connections.map_or_else(|| usual.to_vec(), |one| vec![one]);
        list.extend(counts.into_iter().map(|connections| {
            let work = Load { connections, ..echo(wishes) };
            measurement(Case::Invoke, connections.to_string(), "invocation", Work::Load(work))
        }));
    }
    if case.is(Case::Connect) {
        for (name, mode) in [("full", Mode::Connect), ("resumed", Mode::Resume)] {
            let connections = wishes.connections.unwrap_or(if wishes.quick { 4 } else { 64 });
            let work = Work::Load(Load { connections, mode, ..echo(wishes) });
            list.push(measurement(Case::Connect, name.to_owned(), "connection with an invocation", work));
        }
    }
    list
}

fn measurement(case: Case, what: String, operation: &'static str, work: Work) -> Measurement {
    let name = case.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    Measurement { name: format!("{name}/{what}"), case, operation, work }
}

fn echo(wishes: &Wishes) -> Load {
    let payload = wishes.payload.unwrap_or(128).clamp(SMALLEST_ECHO, SYNC_PAYLOAD_MAX);
    Load { function: "echo", exchange: "echo", payload, mode: Mode::KeepAlive, connections: 64, idle: 0 }
}
