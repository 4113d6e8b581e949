//! `vpce lab status`, and what `vpce lab up` prints.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::chosen;
use crate::cli::output::{self, Failure, Output, table};
use crate::lab::client;
use crate::packet::Protocol;

/// Denials shown to people, the latest; `-o json` has all.
const DENIALS: usize = 8;

pub(super) fn run(name: Option<&str>, output: Output) -> Result<ExitCode, Failure> {
    let (lab, directories) = chosen(name)?;
    match client::status(&directories, &lab) {
        Ok(status) => {
            match output {
                Output::Json => output::print_json(&status),
                Output::Text => output::print(&text(&status)),
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(_) if client::Supervisor::find(&directories).is_none() => {
            let last = client::LastRun::read(&directories);
            match output {
                Output::Json => output::print_json(&json!({ "lab": lab, "running": false, "last_run": last })),
                Output::Text => output::print(&format!("{}\n", client::not_running(&directories, &lab))),
            }
            Ok(ExitCode::from(3))
        }
        Err(fault) => Err(fault.into()),
    }
}

/// What `lab up` prints: who is where, and what to do next.
pub(super) fn introduction(status: &Value) -> String {
    let mut text = overview(status);
    text.push_str(&section(enforcement(status)));
    let lab = word(&status["lab"]);
    let option = if lab == crate::lab::source::DEFAULT { String::new() } else { format!(" --lab {lab}") };
    let host = list(&status["hosts"]).first().map_or_else(|| "vpce".to_owned(), |host| word(&host["name"]));
    text.push_str(&format!(
        "\nnext:\n  vpce lab{option} exec {host} -- aws lambda invoke --function-name hello /dev/stdout\n  \
         vpce lab{option} status\n  vpce lab{option} down\n"
    ));
    text
}

fn text(status: &Value) -> String {
    let process = |name: &str| {
        let found = list(&status["processes"]).iter().find(|process| process["name"] == name);
        found.map_or(&Value::Null, |process| &process["status"])
    };
    let (endpoint, onprem) = (process("endpoint"), process("onprem"));
    let mut text = overview(status);
    let sections = [
        processes(status),
        enforcement(status),
        enis(endpoint),
        path(endpoint),
        load(endpoint),
        functions(onprem),
        cost(endpoint),
    ];
    for rows in sections {
        text.push_str(&section(rows));
    }
    let python = &onprem["function_host"]["python"];
    if python["state"] == "missing" {
        text.push_str(&format!("\n  functions in Python do not run: {}\n", word(&python["reason"])));
    }
    let denials = denials(endpoint);
    if !denials.is_empty() {
        text.push_str(&format!("\n{denials}"));
    }
    text.push_str(&section(counters(status)));
    let capture = &endpoint["capture"];
    if !capture.is_null() {
        let [file, packets, lost] = ["file", "packets", "lost_packets"].map(|key| word(&capture[key]));
        text.push_str(&format!("\ncapture: {file}, {packets} packets, {lost} lost\n"));
    }
    text.push_str(&format!("\nlogs: {}/logs (vpce lab logs)\n", word(&status["state_folder"])));
    text
}

fn overview(status: &Value) -> String {
    let mut text = format!(
        "lab {} is up since {}: {} in {}, account {}, path {}\n",
        word(&status["lab"]),
        word(&status["started"]),
        word(&status["vpc"]["id"]),
        word(&status["region"]),
        word(&status["account"]),
        word(&status["path"]),
    );
    let mut places = vec![row(["host", "site", "IPv4", "IPv6"])];
    let place = |name: &Value, site: &Value, at: &Value| {
        row([&word(name), &word(site), &word(&at["ipv4"]), &word(&at["ipv6"])])
    };
    places.extend(list(&status["hosts"]).iter().map(|host| place(&host["name"], &host["site"], host)));
    places.extend(
        list(&status["endpoints"])
            .iter()
            .flat_map(|endpoint| list(&endpoint["enis"]))
            .map(|eni| place(&eni["id"], &eni["subnet"], eni)),
    );
    let mut keys = vec![row(["identity", "access key", "secret key"])];
    keys.extend(rows(&status["identities"], ["name", "access_key_id", "secret_access_key"]));
    text.push_str(&section(places));
    text.push_str(&section(keys));
    let region = word(&status["region"]);
    text.push_str(&section(vec![
        row(["API", "inside the lab", "on this machine"]),
        row(["EC2", &format!("https://ec2.{region}.amazonaws.com"), &word(&status["api"])]),
    ]));
    text
}

fn processes(status: &Value) -> Vec<Vec<String>> {
    let mut rows = vec![row(["process", "namespace", "pid", "state"])];
    rows.push(row(["supervisor", "-", &word(&status["supervisor_pid"]), "running"]));
    for process in list(&status["processes"]) {
        let state = if process["answers"] == true { "running" } else { "does not answer" };
        rows.push(row([&word(&process["name"]), &word(&process["namespace"]), &word(&process["pid"]), state]));
    }
    rows
}

/// Only what is active is claimed.
fn enforcement(status: &Value) -> Vec<Vec<String>> {
    let stages = list(&status["enforcement"]).iter().map(|stage| {
        let enforced = stage["enforced"] == true;
        let why = if enforced { &stage["by"] } else { &stage["reason"] };
        row([&word(&stage["stage"]), if enforced { "yes" } else { "NO" }, &word(why)])
    });
    std::iter::once(row(["stage", "enforced", ""])).chain(stages).collect()
}

/// Each eni's zone, health and load.
fn enis(endpoint: &Value) -> Vec<Vec<String>> {
    let enis = list(&endpoint["endpoints"]).iter().flat_map(|endpoint| list(&endpoint["enis"]));
    let described = enis.map(|eni| {
        let health = if eni["healthy"] == true { "healthy" } else { "DOWN" };
        let cells = ["id", "zone", "connections", "in_flight"].map(|key| word(&eni[key]));
        row([&cells[0], &cells[1], health, &cells[2], &cells[3]])
    });
    std::iter::once(row(["eni", "zone", "health", "connections", "in flight"])).chain(described).collect()
}

/// What the endpoints would have cost on AWS so far, and in a month, beside a NAT gateway in each of their zones.
fn cost(endpoint: &Value) -> Vec<Vec<String>> {
    let cost = &endpoint["cost"];
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let gigabytes = number(&cost["bytes_processed"]) / 1e9;
    let month = &cost["month"];
    let of = |name: &str, key: &str| {
        row([
            name,
            &format!("{:.4}", number(&cost[key])),
            &format!("{:.2} + {:.3} for each GB", number(&month[key]), number(&month["per_gb"][key])),
        ])
    };
    vec![
        row([&format!("cost ({})", word(&cost["prices"])), &format!("so far, {gigabytes:.6} GB"), "a month"]),
        of("endpoints", "endpoint"),
        of("NAT gateways instead", "nat_gateway"),
    ]
}

/// What the tunnel's path does to packets, each direction apart.
fn path(endpoint: &Value) -> Vec<Vec<String>> {
    let profile = &endpoint["path"];
    let mut rows = vec![row(["tunnel path", "MTU", "delay", "jitter", "loss", "rate", "packets/s"])];
    for (name, direction) in [("to customer", &profile["to_customer"]), ("to AWS", &profile["to_aws"])] {
        if direction.is_object() {
            let loss = direction["loss"].as_f64().map_or_else(dash, |loss| format!("{} %", loss * 100.0));
            let rate = direction["rate_bps"].as_f64().map_or_else(unlimited, |rate| format!("{} Mbit/s", rate / 1e6));
            let packets = direction["rate_pps"].as_u64().map_or_else(unlimited, |rate| rate.to_string());
            let times = ["delay", "jitter"].map(|key| milliseconds(&direction[key]));
            rows.push(row([name, &word(&profile["mtu"]), &times[0], &times[1], &loss, &rate, &packets]));
        }
    }
    rows
}

fn load(endpoint: &Value) -> Vec<Vec<String>> {
    let mut table = vec![row(["worker", "connections", "to the function host", "invocations"])];
    for (index, worker) in list(&endpoint["workers"]).iter().enumerate() {
        let cells = ["clients", "function_host_connections", "invocations"].map(|key| word(&worker[key]));
        table.push(row([&index.to_string(), &cells[0], &cells[1], &cells[2]]));
    }
    table
}

fn functions(onprem: &Value) -> Vec<Vec<String>> {
    let mut table =
        vec![row(["function", "processes", "in flight", "concurrency", "invocations", "errors", "throttles"])];
    for function in list(&onprem["function_host"]["functions"]) {
        let processes =
            list(&function["processes"]).iter().map(|p| format!("{} {}", word(&p["pid"]), word(&p["state"])));
        let processes = processes.collect::<Vec<_>>().join(", ");
        let cells = ["name", "in_flight", "concurrency", "invocations", "errors", "throttles"];
        let mut cells = cells.map(|key| word(&function[key])).to_vec();
        cells.insert(1, if processes.is_empty() { dash() } else { processes });
        table.push(cells);
    }
    table
}

/// The latest denials: who was denied, and below it the nearest rule.
fn denials(endpoint: &Value) -> String {
    let all = list(&endpoint["denials"]);
    let shown = &all[all.len().saturating_sub(DENIALS)..];
    let mut rows = vec![row(["denied", "packets", "last", "protocol", "from → to"])];
    rows.extend(shown.iter().map(|denial| {
        let protocol = denial["protocol"].as_u64().and_then(|number| u8::try_from(number).ok());
        let protocol = protocol.map_or_else(dash, |number| Protocol(number).to_string());
        let ends = format!("{} → {}", word(&denial["source"]), word(&denial["destination"]));
        let [reason, packets, last] = ["reason", "packets", "last"].map(|key| word(&denial[key]));
        row([&reason, &packets, &last, &protocol, &ends])
    }));
    let whys = shown.iter().map(|denial| format!("    {}\n", word(&denial["text"])));
    let whys = std::iter::once(String::new()).chain(whys);
    section(rows).split_inclusive('\n').skip(1).zip(whys).map(|(line, why)| format!("{line}{why}")).collect()
}

fn counters(status: &Value) -> Vec<Vec<String>> {
    let mut table = vec![row(["stage", "counter", "count", "process"])];
    table.extend(rows(&status["counters"], ["stage", "code", "count", "process"]));
    table
}

/// A table with its empty line above; nothing if it has only a head.
fn section(rows: Vec<Vec<String>>) -> String {
    if rows.len() > 1 { format!("\n{}", table(2, &rows)) } else { String::new() }
}

/// One row per item of a list, with these of its values.
fn rows<const N: usize>(items: &Value, keys: [&str; N]) -> Vec<Vec<String>> {
    list(items).iter().map(|item| keys.map(|key| word(&item[key])).to_vec()).collect()
}

pub(in crate::cli) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A JSON scalar without its quotes; a dash for nothing.
pub(in crate::cli) fn word(value: &Value) -> String {
    match value {
        Value::Null => dash(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn dash() -> String {
    "-".to_owned()
}

fn unlimited() -> String {
    "unlimited".to_owned()
}

/// A duration as serde writes it.
fn milliseconds(duration: &Value) -> String {
    let (secs, nanos) = (duration["secs"].as_f64(), duration["nanos"].as_f64());
    secs.zip(nanos).map_or_else(dash, |(secs, nanos)| format!("{} ms", secs * 1e3 + nanos / 1e6))
}
