//! What the endpoint says of itself: what is enforced, what was counted, what was denied last.

use std::time::Duration;

use serde_json::{Value, json};

use super::capture::{CaptureCounter, CaptureCounts};
use crate::config::{PathProfile, Topology};
use crate::edge::hot_loop::WorkerHandle;
use crate::edge::tun::{Offloads, TunMode};
use crate::engine::Snapshot;
use crate::eni::Denial;
use crate::verdict::{Counters, Event, Reason};

/// What does not change while the endpoint runs.
#[derive(Clone, Debug)]
pub struct EndpointFacts {
    /// How its devices were opened.
    pub mode: TunMode,
    /// What its devices do.
    pub offloads: Offloads,
    /// Worker threads.
    pub workers: usize,
    /// The emulated path.
    pub path: PathProfile,
}

/// The answer to `status`.
pub fn endpoint(
    facts: &EndpointFacts,
    snapshot: &Snapshot,
    workers: &[WorkerHandle],
    access_records_lost: u64,
    patience: Duration,
) -> Value {
    let topology = &snapshot.topology;
    let asked: Vec<_> = workers
        .iter()
        .filter_map(|worker| {
            worker.ask(patience, |engine, _| {
                let [clients, hosts, pending] = engine.load();
                let load = json!({ "clients": clients, "function_host_connections": hosts, "invocations": pending });
                (load, engine.denials())
            })
        })
        .collect();
    let (load, denials): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    json!({
        "epoch": snapshot.epoch,
        "tun": { "mode": facts.mode, "offloads": facts.offloads },
        "workers": load,
        "path": facts.path,
        "enforcement": enforcement(topology, facts),
        "counters": counters(workers.iter().map(|worker| worker.counters().as_ref())),
        "denials": denials.iter().flatten().map(denial).collect::<Vec<_>>(),
        "access_records_lost": access_records_lost,
    })
}

/// A capture's file and counts; null if there is none.
pub fn capture(capture: Option<&CaptureCounter>) -> Value {
    let Some(capture) = capture else { return Value::Null };
    let CaptureCounts { packets, lost_packets, secrets, lost_secrets } = capture.read();
    json!({
        "file": capture.file(),
        "packets": packets,
        "lost_packets": lost_packets,
        "secrets": secrets,
        "lost_secrets": lost_secrets,
    })
}

/// Counters of several workers added up: a list of `{"stage","code","count"}`, what is zero left out.
pub fn counters<'a>(workers: impl Iterator<Item = &'a Counters> + Clone) -> Value {
    let row = |stage: &str, code: &str, count: u64| json!({ "stage": stage, "code": code, "count": count });
    let events = Event::ALL.iter().map(|&event| {
        (event.stage().name(), event.code(), workers.clone().map(|counters| counters.event(event)).sum::<u64>())
    });
    let reasons = Reason::ALL.iter().map(|&reason| {
        (reason.stage().name(), reason.code(), workers.clone().map(|counters| counters.reason(reason)).sum::<u64>())
    });
    let all = events.chain(reasons).filter(|(_, _, count)| *count != 0);
    Value::Array(all.map(|(stage, code, count)| row(stage, code, count)).collect())
}

fn denial(denial: &Denial) -> Value {
    let tuple = denial.subject.tuple;
    json!({
        "eni": denial.eni.as_deref(),
        "source": tuple.src_socket().to_string(),
        "destination": tuple.dst_socket().to_string(),
        "protocol": tuple.protocol.0,
        "reason": denial.reason.code(),
        "text": denial.text,
        "first": denial.first.to_iso8601(),
        "last": denial.last.to_iso8601(),
        "packets": denial.packets,
    })
}

/// One line per stage: whether it is enforced, and by what.
fn enforcement(topology: &Topology, facts: &EndpointFacts) -> Value {
    let on = |stage: &str, by: String| json!({ "stage": stage, "enforced": true, "by": by });
    let off = |stage: &str, reason: &str| json!({ "stage": stage, "enforced": false, "reason": reason });
    let endpoint = &topology.endpoint;
    let settings = &endpoint.settings;
    let mut groups: Vec<&str> = endpoint
        .enis
        .iter()
        .flat_map(|eni| eni.security_groups.iter().map(|&group| topology.security_groups[group].id.as_str()))
        .collect();
    groups.dedup();
    let acls: Vec<&str> = topology.network_acls.iter().map(|acl| acl.id.as_str()).collect();
    let private_dns = if !topology.vpc.dns_support {
        off("dns", "enableDnsSupport is off")
    } else if endpoint.private_dns {
        on("dns", format!("lambda.{}.amazonaws.com resolves to the enis", topology.region))
    } else {
        on("dns", "private DNS is off: the public name leads nowhere".to_owned())
    };
    let path = &facts.path;
    Value::Array(vec![
        on("security_group", format!("{}, stateful, idle {} s", groups.join(", "), settings.idle_timeout.as_secs())),
        match acls.as_slice() {
            [] => on("network_acl", "default ACL: allow all".to_owned()),
            acls => on("network_acl", acls.join(", ")),
        },
        on("eni", format!("MTU {}, MSS clamped to {}, no ICMP", settings.mtu, settings.mss_clamp)),
        on("tls", "TLS 1.2 and 1.3, certificate of the lab CA".to_owned()),
        on("sigv4", "signature, scope, 5 minutes of skew".to_owned()),
        match &endpoint.policy {
            Some(policy) => on("policy", format!("endpoint policy of {}", policy.origin)),
            None => on("policy", "endpoint policy: full access".to_owned()),
        },
        on("tunnel", "ESP, AES-256-GCM, anti-replay".to_owned()),
        if path.to_aws == crate::config::PathDirection::default() && path.to_customer == path.to_aws {
            off("path", "profile without delay, loss or rate")
        } else {
            on("path", format!("profile {}", path.name))
        },
        private_dns,
    ])
}
