//! What the endpoint says of itself: what is enforced, what was counted, what was denied last.

use std::time::Duration;

use serde_json::{Value, json};

use super::capture::{CaptureCounter, CaptureCounts};
use super::cost::CostMeter;
use crate::config::{Endpoint, Eni, PathDirection, PathProfile, SecurityGroup, Subnet, Topology};
use crate::edge::hot_loop::WorkerHandle;
use crate::edge::tun::{Offloads, TunMode};
use crate::engine::{EniLoad, Snapshot};
use crate::eni::{Denial, EniHealth};
use crate::time::UnixTime;
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
    health: &EniHealth,
    workers: &[WorkerHandle],
    access_records_lost: u64,
    (cost, now): (&CostMeter, UnixTime),
    patience: Duration,
) -> Value {
    let topology = &snapshot.topology;
    let asked: Vec<_> = workers
        .iter()
        .filter_map(|worker| {
            worker.ask(patience, |engine, _| {
                let [clients, hosts, pending] = engine.load();
                let load = json!({
                    "clients": clients,
                    "connections_total": engine.counters().event(Event::TcpEstablished),
                    "function_host_connections": hosts,
                    "invocations": pending,
                });
                (load, engine.denials(), engine.eni_load(), engine.bytes_processed())
            })
        })
        .collect();
    let mut carried = vec![EniLoad::default(); topology.eni_slots()];
    let (mut load, mut denials, mut processed) = (Vec::new(), Vec::new(), Vec::new());
    for (worker, denied, enis, bytes) in asked {
        processed.resize(bytes.len().max(processed.len()), 0);
        processed.iter_mut().zip(bytes).for_each(|(sum, bytes)| *sum += bytes);
        load.push(worker);
        denials.extend(denied);
        carried.iter_mut().zip(enis).for_each(|(sum, eni)| *sum += eni);
    }
    denials.sort_by_key(|denial| denial.last);
    json!({
        "epoch": snapshot.epoch,
        "tun": { "mode": facts.mode, "offloads": facts.offloads },
        "workers": load,
        "endpoints": endpoints(topology, health, &carried),
        "path": facts.path,
        "enforcement": enforcement(topology, health, facts),
        "counters": counters(workers.iter().map(|worker| worker.counters().as_ref())),
        "denials": denials.iter().map(denial).collect::<Vec<_>>(),
        "cost": cost.report(&processed, now),
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

/// At least one line per stage: whether it is enforced, and by what.
fn enforcement(topology: &Topology, health: &EniHealth, facts: &EndpointFacts) -> Value {
    let settings = &topology.settings;
    let mut lines = vec![on("security_group", format!("{}, stateful", security_groups(topology)))];
    lines.extend(network_acls(topology));
    let flows = format!("no ICMP, idle {} s", settings.idle_timeout.as_secs());
    lines.push(on("eni", format!("MTU {}, MSS clamped to {}, {flows}", settings.mtu, settings.mss_clamp)));
    lines.extend(health.down().filter_map(|slot| topology.eni(slot)).map(|eni| {
        let zone = &topology.subnets[eni.subnet].zone;
        on("eni", format!("{} is down with {zone}: whatever comes or goes is dropped in silence", eni.id))
    }));
    lines.push(on("tls", "TLS 1.2 and 1.3, certificate of the lab CA".to_owned()));
    lines.push(on("sigv4", "signature, scope, 5 minutes of skew".to_owned()));
    lines.push(on("policy", policies(topology)));
    lines.push(on("tunnel", "ESP, AES-256-GCM, anti-replay".to_owned()));
    let path = &facts.path;
    lines.push(if [path.to_aws, path.to_customer].iter().all(PathDirection::adds_nothing) {
        off("path", format!("profile {}: no delay, loss or rate", path.name))
    } else {
        on("path", format!("profile {}", path.name))
    });
    lines.push(if !topology.vpc.dns_support {
        off("dns", "enableDnsSupport is off: the resolver does not answer".to_owned())
    } else if let Some(endpoint) = topology.private_dns_endpoint() {
        on("dns", format!("lambda.{}.amazonaws.com resolves to {}", topology.region, answered(endpoint, health)))
    } else {
        on("dns", "private DNS is off: the public name leads nowhere".to_owned())
    });
    Value::Array(lines)
}

/// The enis that names of several lead to.
fn answered(endpoint: &Endpoint, health: &EniHealth) -> String {
    let total = endpoint.enis.len();
    match endpoint.enis.iter().filter(|eni| health.is_healthy(usize::from(eni.slot))).count() {
        healthy if healthy == total => "the enis".to_owned(),
        0 => "the enis, for none is healthy".to_owned(),
        healthy => format!("the healthy enis, {healthy} of {total}"),
    }
}

fn endpoints(topology: &Topology, health: &EniHealth, carried: &[EniLoad]) -> Value {
    let eni = |eni: &Eni| {
        let slot = usize::from(eni.slot);
        let load = carried.get(slot).copied().unwrap_or_default();
        let subnet = &topology.subnets[eni.subnet];
        json!({
            "id": eni.id,
            "subnet": subnet.id,
            "zone": subnet.zone,
            "ipv4": eni.ipv4,
            "ipv6": eni.ipv6,
            "healthy": health.is_healthy(slot),
            "connections": load.connections,
            "in_flight": load.in_flight,
        })
    };
    let endpoints = topology.endpoints.iter().map(|endpoint| {
        json!({
            "id": endpoint.id,
            "private_dns": endpoint.private_dns,
            "enis": endpoint.enis.iter().map(eni).collect::<Vec<_>>(),
        })
    });
    Value::Array(endpoints.collect())
}

fn on(stage: &str, by: String) -> Value {
    json!({ "stage": stage, "enforced": true, "by": by })
}

fn off(stage: &str, reason: String) -> Value {
    json!({ "stage": stage, "enforced": false, "reason": reason })
}

/// The enis' groups: `sg-1a2b3c4d (4 ingress rules)`.
fn security_groups(topology: &Topology) -> String {
    let mut groups: Vec<usize> = topology.enis().flat_map(|(_, eni)| eni.security_groups.iter().copied()).collect();
    groups.sort_unstable();
    groups.dedup();
    let shown = groups.into_iter().map(|group| {
        let SecurityGroup { id, ingress, .. } = &topology.security_groups[group];
        format!("{id} ({} ingress rule{})", ingress.len(), if ingress.len() == 1 { "" } else { "s" })
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// One line for each subnet that has an ACL, and for each other one with an eni.
fn network_acls(topology: &Topology) -> Vec<Value> {
    let stage = "network_acl";
    let of_subnet = |(index, subnet): (usize, &Subnet)| {
        let has_eni = topology.enis().any(|(_, eni)| eni.subnet == index);
        let acl = subnet.network_acl.map(|acl| &topology.network_acls[acl]);
        match acl {
            Some(acl) => {
                let (ingress, egress) = (acl.ingress.len(), acl.egress.len());
                Some(on(stage, format!("{} on {} ({ingress} entries in, {egress} out)", acl.id, subnet.id)))
            }
            None if has_eni => Some(on(stage, format!("default ACL on {}: allow all", subnet.id))),
            None => None,
        }
    };
    topology.subnets.iter().enumerate().filter_map(of_subnet).collect()
}

fn policies(topology: &Topology) -> String {
    let of_endpoint = |endpoint: &Endpoint| match &endpoint.policy {
        None => "full access".to_owned(),
        // The origin of a document that is no file's.
        Some(policy) if policy.origin == "endpoint.policy" => "as written in the topology".to_owned(),
        Some(policy) => policy.origin.clone(),
    };
    let endpoints = topology.endpoints.iter().map(of_endpoint).collect::<Vec<_>>().join(", ");
    let identities: usize = topology.identities.iter().map(|identity| identity.policies.len()).sum();
    let functions = topology.functions.iter().filter(|function| function.policy.is_some()).count();
    format!("endpoint: {endpoints}; of identities: {identities}; of functions: {functions}")
}
