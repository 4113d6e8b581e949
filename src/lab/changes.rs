//! What changes when a running lab takes another topology, and what in it cannot.
//!
//! Endpoints, rules, network ACLs, policies, the resolver's answers and some of the endpoint's settings are read from the snapshot in
//! force. All else was built into namespaces, devices, processes and tables when the lab came up: it is *fixed*. To find
//! what is fixed and differs, both topologies are compared without what can change, so that whatever the model gains later
//! is fixed until somebody says otherwise here.

use std::fmt::Display;

use serde::Serialize;
use serde_json::Value;

use crate::config::{
    EndpointSettings, Eni, NetworkAclEntry, Peer, PolicyText, Resolver, SecurityGroup, SecurityGroupRule, Topology,
    Unanswered,
};
use crate::security_group::show_traffic;

/// Differences of fixed values that are told in full, characters of a value.
const SHOWN: usize = 48;

/// One thing that a reload changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Change {
    /// The stage that it is enforced at.
    pub stage: &'static str,
    /// What changes.
    pub text: String,
}

/// What the topology `wanted` would change of `running` that cannot change while the lab runs, one line each.
pub fn fixed(running: &Topology, wanted: &Topology) -> Vec<String> {
    let [running, wanted] = [running, wanted].map(|topology| serde_json::to_value(without_live(topology)));
    let mut differences = Vec::new();
    // A topology always serialises: its maps have strings as keys.
    compare("", &running.unwrap_or_default(), &wanted.unwrap_or_default(), &mut differences);
    differences
}

/// The topology with everything at one value that can change while the lab runs.
fn without_live(topology: &Topology) -> Topology {
    let mut rest = topology.clone();
    rest.name.clear();
    rest.vpc.dns_support = true;
    rest.vpc.dns_hostnames = true;
    rest.network_acls.clear();
    rest.prefix_lists.clear();
    rest.security_groups.clear();
    rest.subnets.iter_mut().for_each(|subnet| subnet.network_acl = None);
    rest.hosts.iter_mut().for_each(|host| host.security_groups.clear());
    rest.endpoints.clear();
    let settings = &rest.settings;
    rest.settings = EndpointSettings {
        // Tables, buffers, timers and devices are made once.
        mtu: settings.mtu,
        idle_timeout: settings.idle_timeout,
        flow_limit: settings.flow_limit,
        half_open_limit: settings.half_open_limit,
        tcp_handshake_timeout: settings.tcp_handshake_timeout,
        tcp_buffer: settings.tcp_buffer,
        flow_log_interval: settings.flow_log_interval,
        ..EndpointSettings::default()
    };
    rest.resolver = Resolver {
        inbound_endpoint: rest.resolver.inbound_endpoint,
        api_address: rest.resolver.api_address,
        ..Resolver::default()
    };
    let in_use = std::mem::take(&mut rest.paths).into_iter().filter(|path| path.name == rest.tunnel.path);
    rest.paths = in_use.collect();
    rest.identities.iter_mut().for_each(|identity| identity.policies.clear());
    rest.functions.iter_mut().for_each(|function| function.policy = None);
    rest
}

/// Notes where two values differ.
fn compare(path: &str, before: &Value, after: &Value, differences: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) if before.keys().eq(after.keys()) => {
            for (key, value) in before {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, value, &after[key], differences);
            }
        }
        (Value::Array(before), Value::Array(after)) if labels(before) == labels(after) => {
            for ((label, before), after) in labels(before).iter().zip(before).zip(after) {
                compare(&format!("{path}[{label}]"), before, after, differences);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            let [before, after] = [before, after].map(|list| labels(list).join(", "));
            differences.push(from_to(path, &before, &after));
        }
        _ if before == after => {}
        _ => {
            let [before, after] =
                [before, after].map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            differences.push(from_to(path, &before, &after));
        }
    }
}

/// What the items of a list are called.
fn labels(list: &[Value]) -> Vec<String> {
    let label = |(index, item): (usize, &Value)| {
        let own = ["id", "name"].iter().find_map(|key| item.get(key)?.as_str());
        own.map_or_else(|| index.to_string(), str::to_owned)
    };
    list.iter().enumerate().map(label).collect()
}

fn from_to(path: &str, before: &str, after: &str) -> String {
    let is_short = |text: &str| text.chars().count() <= SHOWN && !text.contains('\n');
    if is_short(before) && is_short(after) {
        format!("{path}: {before} → {after}")
    } else {
        format!("{path}: differs")
    }
}

/// Everything that `wanted` changes of `running` and that can change while the lab runs, by stage.
pub fn live(running: &Topology, wanted: &Topology) -> Vec<Change> {
    let mut changes = Changes { running, wanted, list: Vec::new() };
    changes.enis();
    changes.security_groups();
    changes.network_acls();
    changes.settings();
    changes.policies();
    changes.dns();
    changes.list
}

struct Changes<'a> {
    running: &'a Topology,
    wanted: &'a Topology,
    list: Vec<Change>,
}

impl<'a> Changes<'a> {
    fn add(&mut self, stage: &'static str, text: String) {
        self.list.push(Change { stage, text });
    }

    /// A value, told if it differs.
    fn value<T: PartialEq>(
        &mut self,
        stage: &'static str,
        name: &str,
        get: impl Fn(&'a Topology) -> T,
        show: impl Fn(&T) -> String,
    ) {
        let (before, after) = (get(self.running), get(self.wanted));
        if before != after {
            self.add(stage, format!("{name}: {} → {}", show(&before), show(&after)));
        }
    }

    /// Items of a list, told when added or removed.
    fn items(&mut self, stage: &'static str, name: &str, items: impl Fn(&'a Topology) -> Vec<String>) {
        let (before, after) = (items(self.running), items(self.wanted));
        for item in before.iter().filter(|item| !after.contains(item)) {
            self.add(stage, format!("{name}: - {item}"));
        }
        for item in after.iter().filter(|item| !before.contains(item)) {
            self.add(stage, format!("{name}: + {item}"));
        }
    }

    fn enis(&mut self) {
        self.items("eni", "endpoints", |t| t.endpoints.iter().map(|endpoint| endpoint.id.clone()).collect());
        self.items("eni", "enis", |t| {
            let eni = |(_, eni): (_, &Eni)| {
                let ipv6 = eni.ipv6.map_or_else(String::new, |ipv6| format!(" {ipv6}"));
                format!("{} {}{ipv6} in {}", eni.id, eni.ipv4, t.subnets[eni.subnet].id)
            };
            t.enis().map(eni).collect()
        });
    }

    fn security_groups(&mut self) {
        let stage = "security_group";
        self.items(stage, "groups", |t| t.security_groups.iter().map(|group| name(group).to_owned()).collect());
        for id in self.running.security_groups.iter().map(name) {
            if self.wanted.security_groups.iter().any(|group| name(group) == id) {
                self.items(stage, &format!("{id} ingress"), |t| rules(t, id, |group| &group.ingress, "from"));
                self.items(stage, &format!("{id} egress"), |t| rules(t, id, |group| &group.egress, "to"));
            }
        }
        for list in &self.running.prefix_lists {
            self.items(stage, &list.id, |t| {
                let same = t.prefix_lists.iter().find(|same| same.id == list.id);
                same.map_or_else(Vec::new, |same| same.entries.iter().map(ToString::to_string).collect())
            });
        }
        for (_, eni) in self.running.enis() {
            let same = |t: &'a Topology| t.enis().map(|(_, other)| other).find(|other| other.id == eni.id);
            if same(self.wanted).is_some() {
                self.value(stage, &eni.id, |t| groups(t, same(t).map(|eni| &eni.security_groups)), show);
            }
        }
        for (index, host) in self.running.hosts.iter().enumerate() {
            let name = format!("host {}", host.name);
            self.value(stage, &name, |t| groups(t, t.hosts.get(index).map(|host| &host.security_groups)), show);
        }
    }

    fn network_acls(&mut self) {
        let stage = "network_acl";
        for (index, subnet) in self.running.subnets.iter().enumerate() {
            let acl = |t: &'a Topology| {
                let acl = t.subnets.get(index).and_then(|subnet| t.network_acls.get(subnet.network_acl?));
                acl.map_or("the default ACL", |acl| acl.id.as_str())
            };
            self.value(stage, &subnet.id, acl, |id| (*id).to_owned());
        }
        for acl in &self.running.network_acls {
            for direction in ["ingress", "egress"] {
                self.items(stage, &format!("{} {direction}", acl.id), |t| {
                    let same = t.network_acls.iter().find(|same| same.id == acl.id);
                    let entries = same.map(|acl| if direction == "ingress" { &acl.ingress } else { &acl.egress });
                    entries.into_iter().flatten().map(show_entry).collect()
                });
            }
        }
    }

    fn settings(&mut self) {
        let answer = |answer: &Unanswered| match answer {
            Unanswered::Drop => "drop".to_owned(),
            Unanswered::Reset => "reset".to_owned(),
        };
        let time = |time: &std::time::Duration| format!("{time:?}");
        let of = |t: &'a Topology| &t.settings;
        self.value("control", "settle_time", |t| of(t).settle_time, time);
        self.value("eni", "mss_clamp", |t| of(t).mss_clamp, show);
        self.value("eni", "other_port", |t| of(t).other_port, answer);
        self.value("eni", "late_packet", |t| of(t).late_packet, answer);
        self.value("tls", "tls_handshake_timeout", |t| of(t).tls_handshake_timeout, time);
        self.value("http", "http_head_timeout", |t| of(t).http_head_timeout, time);
        self.value("http", "http_body_timeout", |t| of(t).http_body_timeout, time);
        self.value("http", "http_body_budget", |t| of(t).http_body_budget, show);
        self.value("http", "http_minimum_rate", |t| of(t).http_minimum_rate, show);
        self.value("http", "http_rate_grace", |t| of(t).http_rate_grace, time);
        self.value("http", "http_idle_timeout", |t| of(t).http_idle_timeout, time);
        self.value("http", "http_head_limit", |t| of(t).http_head_limit, show);
    }

    fn policies(&mut self) {
        self.policy("endpoint policy", "full access", |t| t.endpoints.iter().flat_map(|e| &e.policy).collect());
        for (index, identity) in self.running.identities.iter().enumerate() {
            let policies =
                |t: &'a Topology| t.identities.get(index).map_or_else(Vec::new, |i| i.policies.iter().collect());
            self.policy(&format!("identity policies of {}", identity.name), "none", policies);
        }
        for (index, function) in self.running.functions.iter().enumerate() {
            let policy = |t: &'a Topology| t.functions.get(index).map_or_else(Vec::new, |f| f.policy.iter().collect());
            self.policy(&format!("resource policy of {}", function.name), "none", policy);
        }
    }

    fn policy(&mut self, name: &str, absent: &str, policies: impl Fn(&'a Topology) -> Vec<&'a PolicyText>) {
        let (before, after) = (policies(self.running), policies(self.wanted));
        let same = before.len() == after.len() && before.iter().zip(&after).all(|(a, b)| a.text == b.text);
        let [before, after] = [before, after].map(|policies| {
            let origins: Vec<_> = policies.iter().map(|policy| policy.origin.as_str()).collect();
            if origins.is_empty() { absent.to_owned() } else { origins.join(", ") }
        });
        if same {
        } else if before == after {
            self.add("policy", format!("{name}: another text ({after})"));
        } else {
            self.add("policy", format!("{name}: {before} → {after}"));
        }
    }

    fn dns(&mut self) {
        let stage = "dns";
        self.value(stage, "dns_support", |t| t.vpc.dns_support, show);
        self.value(stage, "dns_hostnames", |t| t.vpc.dns_hostnames, show);
        self.value(stage, "private_dns", |t| t.endpoints.iter().any(|endpoint| endpoint.private_dns), show);
        self.value(stage, "private_dns_api_aws", |t| t.resolver.private_dns_api_aws, show);
        self.value(stage, "ttl", |t| t.resolver.ttl, |ttl| format!("{ttl:?}"));
        self.value(stage, "packets_per_second", |t| t.resolver.packets_per_second, show);
        self.value(stage, "public_address", |t| t.resolver.public_address, show);
        self.value(stage, "public_address6", |t| t.resolver.public_address6, show);
    }
}

fn show<T: Display>(value: &T) -> String {
    value.to_string()
}

/// The VPC's default group by its name: its identifier may be made up from the lab's.
fn name(group: &SecurityGroup) -> &str {
    if group.name == "default" { "default" } else { &group.id }
}

fn groups(topology: &Topology, indices: Option<&Vec<usize>>) -> String {
    let ids = indices.into_iter().flatten().filter_map(|index| topology.security_groups.get(*index));
    let names = ids.map(name).collect::<Vec<_>>().join(", ");
    if names.is_empty() { "none".to_owned() } else { names }
}

/// Rules of the group `id` in words: `tcp/443 from 10.0.1.0/24`.
fn rules(
    topology: &Topology,
    id: &str,
    rules: impl Fn(&SecurityGroup) -> &[SecurityGroupRule],
    preposition: &str,
) -> Vec<String> {
    let group = topology.security_groups.iter().find(|group| name(group) == id);
    let shown = group.map_or(&[][..], rules).iter().map(|rule| {
        let peer = match &rule.peer {
            Peer::Cidr(cidr) => cidr.to_string(),
            Peer::PrefixList(list) => topology.prefix_lists[*list].id.clone(),
            Peer::SecurityGroup(group) => name(&topology.security_groups[*group]).to_owned(),
        };
        format!("{} {preposition} {peer}", show_traffic(&rule.traffic))
    });
    shown.collect()
}

/// `100 allow tcp/443 10.0.0.0/16`
fn show_entry(entry: &NetworkAclEntry) -> String {
    let action = if entry.allow { "allow" } else { "deny" };
    format!("{} {action} {} {}", entry.number, show_traffic(&entry.traffic), entry.cidr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::builtin;

    /// What changes, and what cannot, when the quickstart lab takes a topology that differs in this.
    fn differences(change: impl FnOnce(&mut Topology)) -> (Vec<String>, Vec<String>) {
        let running = builtin("quickstart").expect("built in").check().expect("sound");
        let mut wanted = running.clone();
        change(&mut wanted);
        let live = live(&running, &wanted).into_iter().map(|change| format!("{}: {}", change.stage, change.text));
        (live.collect(), fixed(&running, &wanted))
    }

    #[test]
    fn the_same_topology_under_another_name_changes_nothing() {
        assert_eq!(differences(|topology| topology.name = "other".to_owned()), (vec![], vec![]));
    }

    #[test]
    fn what_can_change_is_told_by_stage_and_is_not_fixed() {
        type Case = (fn(&mut Topology), &'static str);
        let cases: [Case; 15] = [
            (
                |t| t.endpoints[0].enis[0].id.push('a'),
                "eni: enis: - eni-0a1b2c3d4e5f60718 10.0.1.100 2001:db8:1234:1a01::64 in subnet-abababab",
            ),
            (
                |t| drop(t.security_groups[0].ingress.remove(2)),
                "security_group: sg-1a2b3c4d ingress: - tcp/443 from 192.168.10.0/24",
            ),
            (|t| t.hosts[0].security_groups = vec![0], "security_group: host app: default → sg-1a2b3c4d"),
            (
                |t| t.endpoints[0].enis[0].security_groups.clear(),
                "security_group: eni-0a1b2c3d4e5f60718: sg-1a2b3c4d → none",
            ),
            (|t| t.settings.mss_clamp = 1400, "eni: mss_clamp: 8365 → 1400"),
            (|t| t.settings.late_packet = Unanswered::Reset, "eni: late_packet: drop → reset"),
            (|t| t.settings.tls_handshake_timeout /= 2, "tls: tls_handshake_timeout: 10s → 5s"),
            (|t| t.settings.http_head_limit = 4096, "http: http_head_limit: 1048576 → 4096"),
            (|t| t.endpoints[0].policy = None, "policy: endpoint policy: endpoint.policy → full access"),
            (|t| t.identities[1].policies.clear(), "policy: identity policies of MyUser: identity MyUser → none"),
            (|t| t.functions[2].policy = None, "policy: resource policy of my-function: function my-function → none"),
            (
                |t| t.endpoints[0].policy.iter_mut().for_each(|p| p.text.push(' ')),
                "policy: endpoint policy: another text (endpoint.policy)",
            ),
            (|t| t.endpoints[0].private_dns = false, "dns: private_dns: true → false"),
            (|t| t.resolver.ttl *= 2, "dns: ttl: 60s → 120s"),
            (
                |t| {
                    t.network_acls.push(crate::config::NetworkAcl {
                        id: "acl-1".into(),
                        ingress: vec![],
                        egress: vec![],
                    });
                    t.subnets[0].network_acl = Some(0);
                },
                "network_acl: subnet-abababab: the default ACL → acl-1",
            ),
        ];
        for (change, told) in cases {
            let (live, fixed) = differences(change);
            assert_eq!((live.first().map(String::as_str), fixed), (Some(told), vec![]));
        }
    }

    #[test]
    fn what_cannot_change_is_told_with_its_place() {
        type Case = (fn(&mut Topology), &'static str);
        let cases: [Case; 10] = [
            (|t| t.region = "us-east-1".to_owned(), "region: us-east-2 → us-east-1"),
            (|t| t.settings.mtu = 1500, "settings.mtu: 8500 → 1500"),
            (|t| t.settings.flow_limit = 99, "settings.flow_limit: 65536 → 99"),
            (|t| t.hosts[2].ipv4 = [192, 168, 10, 11].into(), "hosts[onprem].ipv4: 192.168.10.10 → 192.168.10.11"),
            (|t| drop(t.hosts.remove(1)), "hosts: app, stranger, onprem → app, onprem"),
            (|t| t.tunnel.port = 4501, "tunnel.port: 4500 → 4501"),
            (|t| t.resolver.inbound_endpoint = None, "resolver.inbound_endpoint: 10.0.1.53 → null"),
            (|t| t.functions[0].concurrency = 1, "functions[hello].concurrency: 10 → 1"),
            (|t| t.functions[1].code = t.functions[0].code.clone(), "functions[echo].code: differs"),
            (|t| t.identities[0].name.push_str("istrator"), "identities: Admin, MyUser → Administrator, MyUser"),
        ];
        for (change, told) in cases {
            assert_eq!(differences(change).1, [told]);
        }
        let unused = |t: &mut Topology| t.paths.retain(|path| path.name == t.tunnel.path);
        assert_eq!(differences(unused), (vec![], vec![]), "a path that is not in use");
    }
}
