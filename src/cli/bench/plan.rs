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
    /// Invocations with a payload of 6 MB, which is counted and thrown away.
    Upload,
    /// Invocations whose answer has 6 MB.
    Download,
    /// 64 working connections, before and while 10,000 idle ones are held open.
    Idle,
    /// From a host of the VPC to one on-premises, through ESP: bulk TCP, and small packets there and back.
    Forward,
    /// Packets of known flows through parse, flow and verdict, in memory.
    Pps,
    /// DNS questions to the VPC's resolver.
    Resolve,
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
    /// Between two hosts.
    Forward(Forward),
    /// To the resolver, with this many questions in flight.
    Resolve(u16),
    /// In memory, over this many flows.
    Packets(u32),
}

/// What is forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Forward {
    /// TCP, as fast as it goes.
    Bulk,
    /// Small datagrams, this many on their way there or back.
    Datagrams(u16),
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

impl Case {
    /// Whether it consists of requests that can have a timetable.
    pub(super) fn has_requests(self) -> bool {
        !matches!(self, Self::Forward | Self::Pps | Self::Resolve | Self::All)
    }
}

impl Work {
    /// What goes on at the same time.
    pub(super) fn concurrency_of(&self) -> &'static str {
        match self {
            Self::Load(_) | Self::Forward(Forward::Bulk) => "connections",
            Self::Forward(Forward::Datagrams(_)) => "packets in flight",
            Self::Resolve(_) => "questions in flight",
            Self::Packets(_) => "threads",
        }
    }
}

impl Measurement {
    /// Whether this variant makes a difference.
    pub(super) fn has(&self, variant: Variant) -> bool {
        // No device takes part: the TUN mode does not matter.
        !matches!((&self.work, variant), (Work::Packets(_), Variant::Floor))
    }
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
    list.extend(bodies(case, wishes));
    if case.is(Case::Idle) {
        let (connections, idle) = if wishes.quick { (4, 50) } else { (wishes.connections.unwrap_or(64), 10_000) };
        let work = Work::Load(Load { connections, idle, ..echo(wishes) });
        list.push(measurement(Case::Idle, idle.to_string(), "invocation", work));
    }
    if case.is(Case::Forward) {
        let several = if wishes.quick { 4 } else { 64 };
        for (name, operation, way) in [
            ("bulk".to_owned(), "block of 64 KiB", Forward::Bulk),
            ("packets/1".to_owned(), "packet there and back", Forward::Datagrams(1)),
            (format!("packets/{several}"), "packet there and back", Forward::Datagrams(several)),
        ] {
            list.push(measurement(Case::Forward, name, operation, Work::Forward(way)));
        }
    }
    if case.is(Case::Pps) {
        let flows: &[u32] = if wishes.quick { &[100] } else { &[1, 1_000, 50_000] };
        let work = flows.iter().map(|flows| (flows.to_string(), Work::Packets(*flows)));
        list.extend(work.map(|(name, work)| measurement(Case::Pps, name, "packet", work)));
    }
    if case.is(Case::Resolve) {
        let counts: &[u16] = if wishes.quick { &[4] } else { &[1, 64] };
        let work = counts.iter().map(|count| (count.to_string(), Work::Resolve(*count)));
        list.extend(work.map(|(name, work)| measurement(Case::Resolve, name, "question", work)));
    }
    list
}

/// Uploads and downloads.
fn bodies(case: Case, wishes: &Wishes) -> Vec<Measurement> {
    let payload = wishes.payload.unwrap_or(if wishes.quick { 64 << 10 } else { SYNC_PAYLOAD_MAX });
    let connections = wishes.connections.unwrap_or(if wishes.quick { 2 } else { 8 });
    let wanted = [(Case::Upload, "sink", "upload"), (Case::Download, "source", "download")];
    let wanted = wanted.into_iter().filter(|(own, ..)| case.is(*own));
    let load = |(case, function, exchange)| {
        let load = Load { function, exchange, payload, mode: Mode::KeepAlive, connections, idle: 0 };
        measurement(case, connections.to_string(), exchange, Work::Load(load))
    };
    wanted.map(load).collect()
}

fn measurement(case: Case, what: String, operation: &'static str, work: Work) -> Measurement {
    let name = case.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    Measurement { name: format!("{name}/{what}"), case, operation, work }
}

fn echo(wishes: &Wishes) -> Load {
    let payload = wishes.payload.unwrap_or(128).clamp(SMALLEST_ECHO, SYNC_PAYLOAD_MAX);
    Load { function: "echo", exchange: "echo", payload, mode: Mode::KeepAlive, connections: 64, idle: 0 }
}
