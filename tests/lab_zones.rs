//! A zone lost in a real lab: `vpce fault az`, and what clients, names and `lab status` make of it.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod support;

use std::process::{Child, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use support::quickstart::{HOST, REGIONAL, ZONAL};
use support::{Lab, Ran, Tun, client, script, strings, wait_for};

in_both_modes! {
    names_lead_to_healthy_enis_alone_and_to_all_if_there_is_none: [Python];
    an_invocation_on_a_lost_zone_hangs_while_others_go_by_the_other_and_ends_when_it_is_back: [Python, Curl];
    a_tracked_connection_outlives_the_loss_of_its_zone: [Python];
    clients_that_retry_see_no_failure_when_a_zone_is_lost_and_found: [Clients];
}

const TOPOLOGY: &str = r#"
name = "zones"

[vpc]
cidr = "10.0.0.0/16"

[[subnet]]
id = "subnet-aaaaaaaa"
cidr = "10.0.1.0/24"
zone = "us-east-2a"

[[subnet]]
id = "subnet-bbbbbbbb"
cidr = "10.0.2.0/24"
zone = "us-east-2b"

[[security_group]]
id = "sg-0e0e0e0e"
name = "endpoint"
ingress = [{ protocol = "tcp", port = 443, cidr = "0.0.0.0/0" }]

[resolver]
inbound_endpoint = "10.0.1.53"

[endpoint]
id = "vpce-0123456789abcdef0"
dns_token = "lj2wisx3"
security_groups = ["sg-0e0e0e0e"]

[[endpoint.eni]]
id = "eni-0aaaaaaaaaaaaaaaa"
subnet = "subnet-aaaaaaaa"
ipv4 = "10.0.1.100"

[[endpoint.eni]]
id = "eni-0bbbbbbbbbbbbbbbb"
subnet = "subnet-bbbbbbbb"
ipv4 = "10.0.2.100"

[endpoint.settings]
tls_handshake_timeout = "60s"

[[host]]
name = "app"
subnet = "subnet-aaaaaaaa"
ipv4 = "10.0.1.10"

[[host]]
name = "onprem"
on_premises = true
ipv4 = "192.168.10.10"

[[identity]]
name = "Admin"
policy = '''{ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] }'''

[[function]]
name = "waits"
timeout = "60s"
source = '''
import os, time
def handler(event, context):
    gate = event.get("gate")
    if gate:
        open(gate, "x").close()
        while os.path.exists(gate):
            time.sleep(0.02)
    return "done"
'''
"#;
const A: &str = "10.0.1.100";
const B: &str = "10.0.2.100";
const ZONE: &str = "us-east-2a";

/// A lab with an eni in each of two zones; with two workers, where the mode has them.
fn up(mode: Tun) -> Lab {
    up_with(mode, TOPOLOGY)
}

fn up_with(mode: Tun, topology: &str) -> Lab {
    let queues = if mode.name() == "plain" { "1" } else { "2" };
    Lab::of_text(topology, &["--tun", mode.name(), "--queues", queues])
}

fn az(lab: &Lab, zone: &str, state: &str) -> Value {
    lab.fault(&["-o", "json", "az", zone, state]).json()
}

/// What a host's resolver says to names, each answer sorted.
fn resolve<const N: usize>(lab: &Lab, host: &str, names: [&str; N]) -> Vec<Value> {
    let server = if host == "onprem" { "192.168.10.2" } else { "10.0.0.2" };
    let sorted = |answer: Value| {
        let answers = answer["answers"].as_array().unwrap();
        let mut addresses: Vec<String> = answers.iter().map(|address| address.as_str().unwrap().to_owned()).collect();
        addresses.sort_unstable();
        strings(addresses)
    };
    lab.dns(host, server, &names.map(|name| (name, "A"))).into_iter().map(sorted).collect()
}

/// Health of the enis, as `lab status` says.
fn health(lab: &Lab) -> Value {
    let status = lab.status();
    let enis = status["endpoints"][0]["enis"].as_array().unwrap();
    json!(enis.iter().map(|eni| (eni["zone"].as_str().unwrap(), &eni["healthy"])).collect::<Vec<_>>())
}

/// Whether a stage's line of what is enforced has these words.
fn claims(lab: &Lab, stage: &str, words: &str) -> bool {
    let status = lab.status();
    let lines = status["enforcement"].as_array().unwrap();
    lines.iter().any(|line| line["stage"] == stage && line["by"].as_str().is_some_and(|by| by.contains(words)))
}

fn names_lead_to_healthy_enis_alone_and_to_all_if_there_is_none(mode: Tun) {
    let lab = up(mode);
    let second = ZONAL.replace("us-east-2a.", "us-east-2b.");
    let check = |healthy: [bool; 2], found: &[&str], claim: &str| {
        for host in ["app", "onprem"] {
            // A zone's own name stays with its eni.
            let wanted = [strings(found), strings(found), json!([A]), json!([B])];
            assert_eq!(resolve(&lab, host, [HOST, REGIONAL, ZONAL, &second]), wanted, "{host} {healthy:?}");
        }
        assert_eq!(health(&lab), json!([["us-east-2a", healthy[0]], ["us-east-2b", healthy[1]]]));
        assert!(claims(&lab, "dns", claim), "{claim}");
        assert_eq!(claims(&lab, "eni", "eni-0aaaaaaaaaaaaaaaa is down"), !healthy[0]);
    };
    check([true, true], &[A, B], "resolves to the enis");
    assert_eq!(az(&lab, ZONE, "down")["changed"], true);
    check([false, true], &[B], "resolves to the healthy enis, 1 of 2");
    // Neither saying it twice nor new rules change anything.
    assert_eq!(az(&lab, ZONE, "down")["changed"], false);
    let file = lab.folder().join("lab.toml");
    std::fs::write(&file, TOPOLOGY.replace("cidr = \"0.0.0.0/0\"", "cidr = \"10.0.0.0/16\"")).unwrap();
    let reloaded = lab.ask_endpoint(&json!({ "do": "reload", "topology": file }));
    assert_eq!(reloaded["ok"]["epoch"], 2, "{reloaded}");
    check([false, true], &[B], "resolves to the healthy enis, 1 of 2");
    assert_eq!(az(&lab, "us-east-2b", "down")["healthy_enis"], 0);
    check([false, false], &[A, B], "resolves to the enis, for none is healthy");
    az(&lab, ZONE, "up");
    check([true, false], &[A], "resolves to the healthy enis, 1 of 2");
    az(&lab, "us-east-2b", "up");
    check([true, true], &[A, B], "resolves to the enis");
}

/// Starts an invocation of `waits` by curl; it prints the answer, the status and the eni's address.
fn start_invocation(lab: &Lab, name: &str, event: &Value) -> Child {
    let status = lab.status();
    let key = |name: &str| status["identities"][0][name].as_str().unwrap().to_owned();
    let user = format!("{}:{}", key("access_key_id"), key("secret_access_key"));
    let url = format!("https://{name}/2015-03-31/functions/waits/invocations");
    let mut curl = lab.command("Admin", "app", "curl");
    curl.args(["--silent", "--show-error", "--max-time", "50", "--aws-sigv4", "aws:amz:us-east-2:lambda"]);
    curl.args(["--user", &user, "--data", &event.to_string(), "--write-out", " %{http_code} %{remote_ip}", &url]);
    curl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(child: Child) -> String {
    Ran::from(child.wait_with_output().unwrap()).ok()
}

fn an_invocation_on_a_lost_zone_hangs_while_others_go_by_the_other_and_ends_when_it_is_back(mode: Tun) {
    static LABS: [OnceLock<Lab>; 2] = [const { OnceLock::new() }; 2];
    let lab = LABS[mode as usize].get_or_init(|| up(mode));
    let gate = lab.folder().join("gate");
    let mut hanging = start_invocation(lab, ZONAL, &json!({ "gate": gate }));
    wait_for("the function runs", 10, || gate.exists().then_some(()));

    let said = lab.fault(&["az", ZONE, "down"]).ok();
    let expected = "lab test: us-east-2a is down

  eni                    IPv4        IPv6  connections  in flight
  eni-0aaaaaaaaaaaaaaaa  10.0.1.100  -     1            1

names lead to the healthy enis, 1 of 2
";
    assert_eq!(said, expected);
    // The function ends, and its answer goes nowhere.
    std::fs::remove_file(&gate).unwrap();
    wait_for("the answer was dropped", 10, || {
        (lab.count("endpoint", "INVOCATION_ANSWERED") == 1 && lab.count("endpoint", "ENI_DOWN") > 0).then_some(())
    });
    for _ in 0..4 {
        assert_eq!(finish(start_invocation(lab, HOST, &json!({}))), format!("\"done\" 200 {B}"));
    }
    assert_eq!(lab.probe("app", &["connect", A, "443", "1.5"])["outcome"], "timeout", "nobody is told");
    assert_eq!(lab.probe("onprem", &["connect", A, "443", "1.5"])["outcome"], "timeout");
    assert_eq!(lab.probe("onprem", &["connect", B, "443"])["outcome"], "connected");
    assert!(hanging.try_wait().unwrap().is_none(), "the client knows of nothing");
    let again = az(lab, ZONE, "down");
    assert_eq!(
        (&again["changed"], &again["connections"], &again["in_flight"]),
        (&json!(false), &json!(1), &json!(1)),
        "{again}"
    );

    let back = az(lab, ZONE, "up");
    let enis = json!([{
        "id": "eni-0aaaaaaaaaaaaaaaa", "ipv4": A, "ipv6": null, "healthy": true, "connections": 1, "in_flight": 1,
    }]);
    let expected = json!({
        "lab": "test", "zone": ZONE, "state": "up", "changed": true, "enis": enis, "connections": 1, "in_flight": 1,
        "healthy_enis": 2, "total_enis": 2, "down": [],
    });
    assert_eq!(back, expected);
    assert_eq!(finish(hanging), format!("\"done\" 200 {A}"), "its answer was sent once more");
    assert_eq!(finish(start_invocation(lab, ZONAL, &json!({}))), format!("\"done\" 200 {A}"));
    wait_for("nothing is in flight", 10, || {
        let enis = lab.process("endpoint")["status"]["endpoints"][0]["enis"].clone();
        (enis[0]["in_flight"] == 0 && enis[1]["in_flight"] == 0).then_some(())
    });
}

fn a_tracked_connection_outlives_the_loss_of_its_zone(mode: Tun) {
    // Without an inbound endpoint the data centre knows the endpoint's names from public DNS.
    let lab = up_with(mode, &TOPOLOGY.replace("inbound_endpoint = \"10.0.1.53\"\n", ""));
    let gate = lab.folder().join("gate");
    let held = lab.start_probe("app", &["hold", A, "443", gate.to_str().unwrap(), "30"]);
    wait_for("the connection is open", 10, || gate.exists().then_some(()));
    az(&lab, ZONE, "down");
    let denied = |lab: &Lab| lab.denials().into_iter().find(|denial| denial["reason"] == "ENI_DOWN");
    assert_eq!(denied(&lab), None, "nothing came meanwhile");
    // It goes on while its eni is down: what it sends is sent again until somebody answers.
    std::fs::remove_file(&gate).unwrap();
    let denial = wait_for("its packets are dropped", 10, || denied(&lab));
    assert_eq!(
        (&denial["eni"], &denial["text"]),
        (&json!("eni-0aaaaaaaaaaaaaaaa"), &json!("the eni is out of service"))
    );
    assert!(denial["source"].as_str().unwrap().starts_with("10.0.1.10:"), "{denial}");
    assert_eq!(resolve(&lab, "onprem", [REGIONAL, ZONAL, HOST]), [json!([B]), json!([A]), json!(["192.0.2.1"])]);
    az(&lab, ZONE, "up");
    assert_eq!(resolve(&lab, "onprem", [REGIONAL]), [json!([A, B])]);
    let held: Value = serde_json::from_slice(&held.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!((&held["before"], &held["after"]), (&json!("open"), &json!("open")));
}

/// A third zone, as an endpoint for production has.
fn three_zones() -> String {
    let subnet =
        "[[subnet]]\nid = \"subnet-cccccccc\"\ncidr = \"10.0.3.0/24\"\nzone = \"us-east-2c\"\n\n[[security_group]]";
    let eni = "[[endpoint.eni]]\nsubnet = \"subnet-cccccccc\"\nipv4 = \"10.0.3.100\"\n\n[endpoint.settings]";
    TOPOLOGY
        .replace("[[security_group]]", subnet)
        .replace("[endpoint.settings]", eni)
        .replace("name = \"waits\"", "name = \"waits\"\nconcurrency = 50")
}

fn clients_that_retry_see_no_failure_when_a_zone_is_lost_and_found(mode: Tun) {
    let lab = up_with(mode, &three_zones());
    assert_eq!(resolve(&lab, "app", [HOST]), [json!([A, B, "10.0.3.100"])]);
    let stop = lab.folder().join("stop");
    let mut command = lab.command("Admin", "app", client("python3"));
    command.arg(script("steady.py")).arg("6").arg(&stop).stdout(Stdio::piped()).stderr(Stdio::piped());
    let callers = command.spawn().unwrap();
    wait_for("every caller has an answer", 40, || lab.folder().join("stop.started").exists().then_some(()));

    let lost = az(&lab, ZONE, "down");
    let answered = |lab: &Lab| lab.count("endpoint", "INVOCATION_ANSWERED");
    let before = answered(&lab);
    wait_for("the others serve", 40, || (answered(&lab) > before + 40).then_some(()));
    az(&lab, ZONE, "up");
    let eni_down = lab.count("endpoint", "ENI_DOWN");
    let before = answered(&lab);
    wait_for("all serve again", 40, || (answered(&lab) > before + 40).then_some(()));
    std::fs::write(&stop, "").unwrap();
    let outcome: Value = Ran::from(callers.wait_with_output().unwrap()).json();
    assert_eq!(outcome["failures"], json!([]), "{outcome} {lost}");
    assert!(outcome["done"].as_u64().unwrap() > 80, "{outcome}");
    // Some were in flight and had to be sent again; a caller has one at a time.
    let (in_flight, retries) = (lost["in_flight"].as_u64().unwrap(), outcome["retries"].as_u64().unwrap());
    assert!(in_flight <= 6, "{lost}");
    assert!(retries == 0 || eni_down > 0, "{outcome} {lost}");
}
