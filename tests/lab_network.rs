//! The network of real labs, seen from their hosts: what the eni answers, what it drops, and what it says of it.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod support;

use std::sync::OnceLock;

use serde_json::{Value, json};
use support::quickstart::{DUALSTACK, ENI, ENI6, HOST, REGIONAL, ZONAL};
use support::{Lab, Tun, strings, wait_for};

in_both_modes! {
    a_stranger_is_timed_out_and_the_denial_names_the_nearest_rule: [Python];
    a_ping_gets_no_answer: [Python];
    what_is_larger_than_the_mtu_vanishes: [Python];
    the_mss_is_clamped: [Python];
    a_port_that_no_rule_allows_is_silent: [Python];
    an_address_that_is_nobodys_is_silent: [Python];
    names_of_the_endpoint_resolve_in_the_vpc_and_on_premises: [Python];
    clients_on_premises_come_through_the_tunnel: [Python, Curl];
    the_tunnels_mtu_and_mss_are_those_of_a_vpn: [Python, Curl];
    a_rule_may_name_a_group_or_a_prefix_list: [Python];
    a_network_acl_is_stateless: [Python];
    the_acl_of_a_clients_own_subnet_is_in_force: [Python];
    what_a_rule_allows_but_the_service_does_not_serve_is_silent: [Python];
    round_robin_is_over_the_enis_of_all_zones: [Python];
    an_idle_flow_is_forgotten: [Python];
    revoking_a_rule_stops_new_flows_only: [Python];
    without_private_dns_the_public_name_leads_nowhere: [Python, Curl];
    resets_are_sent_where_settings_say_so: [Python];
}

/// The quickstart lab.
fn lab(mode: Tun) -> &'static Lab {
    static LABS: [OnceLock<Lab>; 2] = [const { OnceLock::new() }; 2];
    LABS[mode as usize].get_or_init(|| Lab::quickstart(mode))
}

/// The denials of packets from `source`, an address with or without a port.
fn denials_of(lab: &Lab, source: &str) -> Vec<Value> {
    let from = |denial: &Value| denial["source"].as_str().unwrap().starts_with(source);
    lab.denials().into_iter().filter(from).collect()
}

/// The one denial of packets from `host`'s port.
fn denial_of(lab: &Lab, host: &str, outcome: &Value) -> Value {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mut found = denials_of(lab, &format!("{host}:{}", outcome["port"]));
    assert_eq!(found.len(), 1, "denials of {host}: {found:?}");
    found.remove(0)
}

fn a_stranger_is_timed_out_and_the_denial_names_the_nearest_rule(mode: Tun) {
    let lab = lab(mode);
    assert_eq!(lab.probe("app", &["connect", ENI, "443"])["outcome"], "connected");
    let before = lab.count("endpoint", "ENI_SG_RULES_MISMATCH");
    let outcomes = lab.probes("stranger", &[&["connect", ENI, "443", "1.5"], &["connect", ENI6, "443", "1.5"]]);
    let sources = [("10.0.9.10", "10.0.1.0/24"), ("2001:db8:1234:1a09::a", "2001:db8:1234:1a01::/64")];
    for ((stranger, range), outcome) in sources.into_iter().zip(&outcomes) {
        assert_eq!(outcome["outcome"], "timeout", "never a refusal: {outcome}");
        let denial = denial_of(lab, stranger, outcome);
        let (reason, eni) = (&denial["reason"], &denial["eni"]);
        assert_eq!((reason, eni), (&json!("ENI_SG_RULES_MISMATCH"), &json!("eni-0a1b2c3d4e5f60718")));
        let text = denial["text"].as_str().unwrap();
        assert!(text.starts_with("sg-1a2b3c4d sgr-"), "{text}");
        assert!(text.ends_with(&format!(" allows tcp/443 from {range}, but the source is {stranger}")), "{text}");
        // The first SYN and at least one more.
        assert!(denial["packets"].as_u64().unwrap() >= 2, "{denial}");
    }
    assert!(lab.count("endpoint", "ENI_SG_RULES_MISMATCH") >= before + 4);
}

fn a_ping_gets_no_answer(mode: Tun) {
    let lab = lab(mode);
    let pings = lab.probes("app", &[&["ping", "10.0.9.10"], &["ping", ENI], &["ping", ENI6]]);
    let none = json!({ "icmp": [] });
    assert_eq!(pings, [json!({ "icmp": [[0, 0], [0, 0], [0, 0]] }), none.clone(), none.clone()], "others answer");
    assert_eq!(lab.probe("onprem", &["ping", ENI]), none);
    for (source, range) in [
        ("10.0.1.10:0", "10.0.1.0/24, but the protocol is icmp"),
        ("[2001:db8:1234:1a01::a]:0", "2001:db8:1234:1a01::/64, but the protocol is icmpv6"),
        ("192.168.10.10:0", "192.168.10.0/24, but the protocol is icmp"),
    ] {
        let denials = denials_of(lab, source);
        assert_eq!(denials.len(), 1, "{denials:?}");
        assert!(denials[0]["text"].as_str().unwrap().ends_with(range), "{denials:?}");
        assert_eq!(denials[0]["packets"], 3);
    }
}

fn what_is_larger_than_the_mtu_vanishes(mode: Tun) {
    let lab = lab(mode);
    let syns = [ENI, ENI6].map(|to| ["syn", to, "443", "8961", "8500"]);
    for fits in lab.probes("app", &syns.each_ref().map(|syn| &syn[..])) {
        assert_eq!((&fits["sent"], &fits["answer"]["flags"]), (&json!(8_500), &json!(0x12)), "{fits}");
    }
    let before = lab.count("endpoint", "ENI_MTU_EXCEEDED");
    let large = [(ENI, "8501", "df"), (ENI, "9001", "df"), (ENI, "9001", "may"), (ENI6, "9001", "df")];
    let syns = large.map(|(to, length, fragment)| ["syn", to, "443", "8961", length, fragment]);
    for (syn, outcome) in syns.iter().zip(lab.probes("app", &syns.each_ref().map(|syn| &syn[..]))) {
        assert_eq!(outcome["sent"].to_string(), syn[4]);
        assert_eq!((&outcome["answer"], &outcome["icmp"]), (&Value::Null, &json!([])), "{syn:?}");
    }
    assert_eq!(lab.count("endpoint", "ENI_MTU_EXCEEDED"), before + 4);
}

fn the_mss_is_clamped(mode: Tun) {
    let lab = lab(mode);
    for (address, mss) in [(ENI, 8_365), (ENI6, 8_345)] {
        let answer = &lab.probe("app", &["syn", address, "443", "8961"])["answer"];
        assert_eq!((&answer["flags"], &answer["mss"]), (&json!(0x12), &json!(mss)), "{address}");
        let kernel = lab.probe("app", &["connect", address, "443"]);
        assert_eq!(kernel["mss"], mss, "what a client's kernel makes of it: {kernel}");
    }
    assert!(lab.count("endpoint", "MSS_CLAMPED") > 0);
}

fn a_port_that_no_rule_allows_is_silent(mode: Tun) {
    let lab = lab(mode);
    let datagram = ["udp", ENI, "443", "100"];
    let outcomes = lab.probes("app", &[&["connect", ENI, "80", "1.5"], &["connect", ENI6, "80", "1.5"], &datagram]);
    for (source, outcome) in ["10.0.1.10", "2001:db8:1234:1a01::a"].into_iter().zip(&outcomes) {
        assert_eq!(outcome["outcome"], "timeout", "{outcome}");
        let text = denial_of(lab, source, outcome)["text"].as_str().unwrap().to_owned();
        assert!(text.contains("allows tcp/443") && text.ends_with("but the port is 80"), "{text}");
    }
    assert_eq!(outcomes[2], json!({ "answer": null, "icmp": [] }));
}

fn an_address_that_is_nobodys_is_silent(mode: Tun) {
    let lab = lab(mode);
    for (host, address) in [("app", "10.0.1.77"), ("app", "198.18.0.1"), ("onprem", "10.0.1.77")] {
        let before = lab.count("endpoint", "CANNOT_ROUTE");
        let outcome = lab.probe(host, &["connect", address, "443", "0.5"]);
        assert_eq!(outcome["outcome"], "timeout", "{host} {address}");
        assert!(lab.count("endpoint", "CANNOT_ROUTE") > before, "{host} {address}");
    }
}

fn names_of_the_endpoint_resolve_in_the_vpc_and_on_premises(mode: Tun) {
    let lab = lab(mode);
    for (host, server) in
        [("app", "10.0.0.2"), ("stranger", "169.254.169.253"), ("onprem", "192.168.10.2"), ("onprem", "10.0.1.53")]
    {
        let upper = HOST.to_uppercase();
        let names = [HOST, DUALSTACK, REGIONAL, ZONAL, &upper];
        let questions: Vec<_> = names.iter().flat_map(|name| [(*name, "A"), (*name, "AAAA")]).collect();
        let wants = |address: &str| json!({ "code": "NOERROR", "answers": [address], "ttls": [60] });
        for (question, answer) in questions.iter().zip(lab.dns(host, server, &questions)) {
            assert_eq!(answer, wants(if question.1 == "A" { ENI } else { ENI6 }), "{host} {server} {question:?}");
        }
        let unknown = "vpce-0123456789abcdef0-zzzzzzzz.lambda.us-east-2.vpce.amazonaws.com";
        let answers = lab.dns(host, server, &[(HOST, "TXT"), (unknown, "A"), ("example.com", "A")]);
        let empty = |code: &str| json!({ "code": code, "answers": [], "ttls": [] });
        assert_eq!(answers, [empty("NOERROR"), empty("NXDOMAIN"), empty("NXDOMAIN")], "{host} {server}");
    }
    for host in ["app", "onprem"] {
        // By the resolver library and the host's own resolv.conf, as clients do.
        assert_eq!(lab.probe(host, &["addresses", HOST]), json!({ "addresses": [ENI, ENI6] }), "{host}");
        assert_eq!(lab.probe(host, &["addresses", "example.com"]), json!({ "failed": "no such name" }), "{host}");
    }
    let before = lab.count("endpoint", "CANNOT_ROUTE");
    let outside = lab.dns("onprem", "10.0.0.2", &[(HOST, "A")]);
    assert_eq!(outside, [json!({ "failed": "TimeoutError" })], "VPC+2 is for the VPC alone");
    assert!(lab.count("endpoint", "CANNOT_ROUTE") > before);
}

fn clients_on_premises_come_through_the_tunnel(mode: Tun) {
    let lab = lab(mode);
    for (option, address) in [("--ipv4", ENI), ("--ipv6", ENI6)] {
        let before = lab.count("onprem", "FRAMES_TX");
        let shown = ["--output", "/dev/null", "--write-out", "%{http_code} %{remote_ip}"];
        let said = lab.curl("onprem", &[&[option, &format!("https://{HOST}/")], &shown[..]].concat()).ok();
        assert_eq!(said, format!("403 {address}"));
        // SYN, ACK, ClientHello, Finished, request.
        assert!(lab.count("onprem", "FRAMES_TX") >= before + 5, "{option}");
    }
}

fn the_tunnels_mtu_and_mss_are_those_of_a_vpn(mode: Tun) {
    let lab = Lab::changed(&[], &["--path", "vpn", "--tun", mode.name()]);
    // AES-GCM with NAT traversal: MTU 1438, MSS 1398; 20 less for IPv6.
    for (address, mss, fits, large) in [(ENI, 1_398, "1438", "1439"), (ENI6, 1_378, "1438", "1439")] {
        let own = if address == ENI { "1460" } else { "1440" };
        let fits = lab.probe("onprem", &["syn", address, "443", own, fits]);
        assert_eq!((&fits["answer"]["flags"], &fits["answer"]["mss"]), (&json!(0x12), &json!(mss)), "{fits}");
        if address == ENI {
            // That is the customer's router speaking, not AWS.
            let large = lab.probe("onprem", &["syn", address, "443", own, large]);
            assert_eq!((&large["answer"], &large["icmp"]), (&Value::Null, &json!([[3, 4]])), "{large}");
        }
        assert_eq!(lab.probe("onprem", &["connect", address, "443"])["mss"], mss);
    }
    // A body of many segments.
    let file = lab.folder().join("body");
    std::fs::write(&file, "x".repeat(300_000)).unwrap();
    let body = format!("@{}", file.display());
    let url = format!("https://{HOST}/2015-03-31/functions/echo/invocations");
    let said = lab.curl("onprem", &["--data", &body, &url]).ok();
    assert_eq!(said, r#"{"message":"Missing Authentication Token"}"#);
}

/// Two zones, groups, a prefix list, a network ACL, and rules that allow more than the service serves.
const RULES: &str = r#"
name = "rules"

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
network_acl = "acl-0a1b2c3d"

[[subnet]]
id = "subnet-cccccccc"
cidr = "10.0.3.0/24"
zone = "us-east-2a"

[[network_acl]]
id = "acl-0a1b2c3d"
ingress = [
    { number = 90, protocol = "tcp", port = 443, cidr = "10.0.3.11/32", action = "deny" },
    { number = 100, protocol = "all", cidr = "0.0.0.0/0", action = "allow" },
]
egress = [
    { number = 90, protocol = "tcp", port = "1024-65535", cidr = "10.0.3.12/32", action = "deny" },
    { number = 100, protocol = "all", cidr = "0.0.0.0/0", action = "allow" },
]

[[prefix_list]]
id = "pl-0a1b2c3d"
entries = ["192.168.10.0/28", "192.168.10.128/25"]

[[security_group]]
id = "sg-0e0e0e0e"
name = "endpoint"
ingress = [
    { protocol = "tcp", port = 443, group = "sg-0c0c0c0c" },
    { protocol = "tcp", port = 443, prefix_list = "pl-0a1b2c3d" },
    { protocol = "tcp", port = 80, group = "sg-0c0c0c0c" },
    { protocol = "udp", port = 443, group = "sg-0c0c0c0c" },
    { protocol = "icmp", icmp_type = -1, icmp_code = -1, group = "sg-0c0c0c0c" },
]

[[security_group]]
id = "sg-0c0c0c0c"
name = "clients"

[endpoint]
id = "vpce-0123456789abcdef0"
dns_token = "lj2wisx3"
security_groups = ["sg-0e0e0e0e"]

[[endpoint.eni]]
subnet = "subnet-aaaaaaaa"
ipv4 = "10.0.1.100"

[[endpoint.eni]]
subnet = "subnet-bbbbbbbb"
ipv4 = "10.0.2.100"

[endpoint.settings]
idle_timeout = "2s"
other_port = "OTHER_PORT"
late_packet = "LATE_PACKET"

[[host]]
name = "member"
subnet = "subnet-cccccccc"
ipv4 = "10.0.3.10"
security_groups = ["sg-0c0c0c0c"]

[[host]]
name = "blocked"
subnet = "subnet-cccccccc"
ipv4 = "10.0.3.11"
security_groups = ["sg-0c0c0c0c"]

[[host]]
name = "deaf"
subnet = "subnet-cccccccc"
ipv4 = "10.0.3.12"
security_groups = ["sg-0c0c0c0c"]

[[host]]
name = "outsider"
subnet = "subnet-cccccccc"
ipv4 = "10.0.3.13"

[[host]]
name = "listed"
on_premises = true
ipv4 = "192.168.10.10"

[[host]]
name = "unlisted"
on_premises = true
ipv4 = "192.168.10.100"

[[identity]]
name = "Admin"
policy = '''{ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] }'''

[[function]]
name = "echo"
builtin = "echo"
"#;
const ENI_A: &str = "10.0.1.100";
const ENI_B: &str = "10.0.2.100";

fn rules_text(unanswered: &str) -> String {
    RULES.replace("OTHER_PORT", unanswered).replace("LATE_PACKET", unanswered)
}

/// The lab of [`RULES`], where nothing is ever refused.
fn rules(mode: Tun) -> &'static Lab {
    static LABS: [OnceLock<Lab>; 2] = [const { OnceLock::new() }; 2];
    LABS[mode as usize].get_or_init(|| Lab::of_text(&rules_text("drop"), &["--tun", mode.name()]))
}

fn a_rule_may_name_a_group_or_a_prefix_list(mode: Tun) {
    let lab = rules(mode);
    for host in ["member", "listed"] {
        assert_eq!(lab.probe(host, &["connect", ENI_A, "443"])["outcome"], "connected", "{host}");
    }
    for (host, address, wants) in [
        ("outsider", "10.0.3.13", "allows tcp/443 from sg-0c0c0c0c, but the source is 10.0.3.13"),
        ("unlisted", "192.168.10.100", "but the source is 192.168.10.100"),
    ] {
        let outcome = lab.probe(host, &["connect", ENI_A, "443", "1.5"]);
        assert_eq!(outcome["outcome"], "timeout", "{host}");
        let denial = denial_of(lab, address, &outcome);
        assert_eq!(denial["reason"], "ENI_SG_RULES_MISMATCH");
        let text = denial["text"].as_str().unwrap();
        assert!(text.contains(wants), "{host}: {text}");
    }
}

fn a_network_acl_is_stateless(mode: Tun) {
    let lab = rules(mode);
    // What it denies on the way in never arrives; what it denies on the way out was let in and is not answered.
    for (host, address, entry) in [("blocked", "10.0.3.11", "90"), ("deaf", "10.0.3.12", "90")] {
        assert_eq!(lab.probe(host, &["connect", ENI_A, "443"])["outcome"], "connected", "no ACL there: {host}");
        let before = lab.count("endpoint", "SUBNET_ACL_RESTRICTION");
        let outcome = lab.probe(host, &["connect", ENI_B, "443", "1.5"]);
        assert_eq!(outcome["outcome"], "timeout", "{host}");
        assert!(lab.count("endpoint", "SUBNET_ACL_RESTRICTION") > before, "{host}");
        let place = format!("{address}:{}", outcome["port"]);
        let named = lab.denials().into_iter().find(|denial| {
            let either = |key: &str| denial[key].as_str().unwrap() == place;
            denial["reason"] == "SUBNET_ACL_RESTRICTION" && (either("source") || either("destination"))
        });
        let text = named.unwrap_or_else(|| panic!("{host}: {:?}", lab.denials()))["text"].as_str().unwrap().to_owned();
        assert!(text.contains("acl-0a1b2c3d") && text.contains(entry), "{text}");
    }
    assert_eq!(lab.probe("member", &["connect", ENI_B, "443"])["outcome"], "connected", "others may");
}

/// A text with a piece replaced, which must be there.
fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old:?} is not there");
    text.replace(old, new)
}

/// Puts the rules of another topology in force.
fn reload(lab: &Lab, text: &str) {
    let changed = lab.folder().join("changed.toml");
    std::fs::write(&changed, text).unwrap();
    let answer = lab.ask_endpoint(&json!({ "do": "reload", "topology": changed }));
    assert!(answer.get("error").is_none(), "{answer}");
}

/// An ACL for the subnet of the hosts of [`RULES`], which has no eni: not to the first eni, not back from the second, and not
/// to one port of the data centre.
const CLIENTS_ACL: &str = r#"
[[network_acl]]
id = "acl-0c0c0c0c"
ingress = [
    { number = 90, protocol = "tcp", port = "1024-65535", cidr = "10.0.2.100/32", action = "deny" },
    { number = 100, protocol = "all", cidr = "0.0.0.0/0", action = "allow" },
]
egress = [
    { number = 80, protocol = "tcp", port = 82, cidr = "192.168.10.0/24", action = "deny" },
    { number = 90, protocol = "tcp", port = 443, cidr = "10.0.1.100/32", action = "deny" },
    { number = 95, protocol = "udp", port = 53, cidr = "0.0.0.0/0", action = "deny" },
    { number = 100, protocol = "all", cidr = "0.0.0.0/0", action = "allow" },
]
"#;

fn the_acl_of_a_clients_own_subnet_is_in_force(mode: Tun) {
    let without = replaced(&rules_text("drop"), "idle_timeout = \"2s\"", "idle_timeout = \"350s\"");
    let with_acl =
        replaced(&without, "cidr = \"10.0.3.0/24\"", "cidr = \"10.0.3.0/24\"\nnetwork_acl = \"acl-0c0c0c0c\"");
    let with_acl = with_acl + CLIENTS_ACL;
    let lab = Lab::of_text(&with_acl, &["--tun", mode.name()]);

    let enforcement = lab.status()["enforcement"].clone();
    let lines: Vec<&Value> = enforcement.as_array().unwrap().iter().filter(|l| l["stage"] == "network_acl").collect();
    assert!(lines.iter().all(|line| line["enforced"] == true), "{lines:?}");
    let by = "acl-0c0c0c0c on subnet-cccccccc (2 entries in, 4 out)";
    assert!(lines.iter().any(|line| line["by"] == by), "{lines:?}");

    // The client hears nothing, and the denial says at which boundary.
    let list =
        |direction: &str, entry: u16| format!("acl-0c0c0c0c {direction} entry {entry} denies it at subnet-cccccccc");
    for (address, port, text, eni) in [
        (ENI_A, "443", list("egress", 90), true),
        (ENI_B, "443", list("ingress", 90), true),
        ("192.168.10.10", "82", list("egress", 80), false),
    ] {
        let before = lab.count("endpoint", "SUBNET_ACL_RESTRICTION");
        let outcome = lab.probe("member", &["connect", address, port, "1.5"]);
        assert_eq!(outcome["outcome"], "timeout", "{address}");
        assert!(lab.count("endpoint", "SUBNET_ACL_RESTRICTION") >= before + 2, "the SYN or its answer, and again");
        let place = format!("10.0.3.10:{}", outcome["port"]);
        let denials = lab.denials();
        let named = denials.iter().find(|denial| denial["source"] == place || denial["destination"] == place);
        let named = named.unwrap_or_else(|| panic!("{address}: {denials:?}"));
        assert_eq!((&named["reason"], &named["text"]), (&json!("SUBNET_ACL_RESTRICTION"), &json!(text)));
        assert_eq!(named["eni"].is_string(), eni, "{named}");
    }
    assert_eq!(lab.probe("member", &["connect", "192.168.10.10", "81"])["outcome"], "ECONNREFUSED", "this port passes");
    assert_eq!(lab.dns("member", "10.0.0.2", &[(ZONAL, "A")])[0]["answers"], json!([ENI_A]), "no ACL judges VPC+2");
    assert_eq!(lab.probe("listed", &["connect", ENI_A, "443"])["outcome"], "connected", "it is not on this way");

    // A changed ACL counts at once, for the connections that are there too.
    reload(&lab, &without);
    for address in [ENI_A, ENI_B] {
        assert_eq!(lab.probe("member", &["connect", address, "443"])["outcome"], "connected", "{address}");
    }
    let gate = lab.folder().join("gate");
    let held = lab.start_probe("member", &["hold", ENI_A, "443", gate.to_str().unwrap()]);
    wait_for("the connection is open", 10, || gate.exists().then_some(()));
    reload(&lab, &with_acl);
    std::fs::remove_file(&gate).unwrap();
    let held: Value = serde_json::from_slice(&held.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!((&held["before"], &held["after"]), (&json!("open"), &json!("timeout")), "unlike a revoked rule");
}

fn what_a_rule_allows_but_the_service_does_not_serve_is_silent(mode: Tun) {
    let lab = rules(mode);
    let outcome = lab.probe("member", &["connect", ENI_A, "80", "1.5"]);
    assert_eq!(outcome["outcome"], "timeout", "other_port = drop");
    assert_eq!(denial_of(lab, "10.0.3.10", &outcome)["reason"], "ENI_PORT_CLOSED");
    assert_eq!(lab.probe("member", &["udp", ENI_A, "443", "100"]), json!({ "answer": null, "icmp": [] }));
    assert!(lab.count("endpoint", "ENI_PROTOCOL_UNSUPPORTED") > 0);
    let before = lab.count("endpoint", "ENI_ICMP_IGNORED");
    assert_eq!(lab.probe("member", &["ping", ENI_A]), json!({ "icmp": [] }), "an endpoint does not respond to ping");
    assert_eq!(lab.count("endpoint", "ENI_ICMP_IGNORED"), before + 3);
}

fn round_robin_is_over_the_enis_of_all_zones(mode: Tun) {
    let lab = rules(mode);
    let ask = |name: &str| {
        let first = |answer: Value| answer["answers"][0].as_str().unwrap().to_owned();
        lab.dns("member", "10.0.0.2", &[(name, "A"); 8]).into_iter().map(first).collect::<Vec<_>>()
    };
    for name in [HOST, REGIONAL] {
        let found = ask(name);
        assert_eq!(
            [ENI_A, ENI_B].map(|eni| found.iter().filter(|first| *first == eni).count()),
            [4, 4],
            "{name}: {found:?}"
        );
    }
    let second = ZONAL.replace("us-east-2a.", "us-east-2b.");
    assert_eq!(strings(ask(ZONAL)), strings([ENI_A; 8]));
    assert_eq!(strings(ask(&second)), strings([ENI_B; 8]));
    let none = lab.dns("member", "10.0.0.2", &[(&ZONAL.replace("us-east-2a.", "us-east-2c."), "A")]);
    assert_eq!(none[0]["code"], "NXDOMAIN");
}

fn an_idle_flow_is_forgotten(mode: Tun) {
    let outcome = rules(mode).probe("member", &["idle", ENI_A, "443", "3"]);
    assert_eq!(outcome["before"], "open");
    assert_eq!(outcome["after"], "timeout", "late_packet = drop: {outcome}");
    assert!(rules(mode).count("endpoint", "FLOW_EXPIRED") > 0);
    assert!(rules(mode).count("endpoint", "FLOW_IDLE_EXPIRED") > 0);
}

fn revoking_a_rule_stops_new_flows_only(mode: Tun) {
    let text = rules_text("drop").replace("idle_timeout = \"2s\"", "idle_timeout = \"350s\"");
    let lab = Lab::of_text(&text, &["--tun", mode.name()]);
    let gate = lab.folder().join("gate");
    let held = lab.start_probe("member", &["hold", ENI_A, "443", gate.to_str().unwrap()]);
    wait_for("the connection is open", 10, || gate.exists().then_some(()));
    reload(&lab, &replaced(&text, "{ protocol = \"tcp\", port = 443, group = \"sg-0c0c0c0c\" },", ""));
    let outcome = lab.probe("member", &["connect", ENI_A, "443", "1.5"]);
    assert_eq!(outcome["outcome"], "timeout", "a new flow is judged by the new rules");
    std::fs::remove_file(&gate).unwrap();
    let held: Value = serde_json::from_slice(&held.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(held["after"], "open", "a tracked flow goes on: {held}");
    assert!(lab.count("endpoint", "FLOW_REJUDGED") > 0);
}

/// [`RULES`] with private DNS off and every setting that answers.
fn open(mode: Tun) -> &'static Lab {
    static LABS: [OnceLock<Lab>; 2] = [const { OnceLock::new() }; 2];
    LABS[mode as usize].get_or_init(|| {
        let text = rules_text("reset").replace("dns_token", "private_dns = false\ndns_token");
        let text = text.replace(
            "[[host]]\nname = \"member\"",
            "[resolver]\ninbound_endpoint = \"10.0.1.53\"\n\n[[host]]\nname = \"member\"",
        );
        Lab::of_text(&text, &["--tun", mode.name()])
    })
}

fn without_private_dns_the_public_name_leads_nowhere(mode: Tun) {
    let lab = open(mode);
    for (host, server) in [("member", "10.0.0.2"), ("listed", "192.168.10.2")] {
        let answers = lab.dns(host, server, &[(HOST, "A"), (ZONAL, "A")]);
        assert_eq!(answers[0]["answers"], json!(["192.0.2.1"]), "{host}");
        assert_eq!(answers[1]["answers"], json!([ENI_A]), "{host}: this is a public name");
        let before = lab.count("endpoint", "CANNOT_ROUTE");
        let ran = lab.curl(host, &["--max-time", "1.5", &format!("https://{HOST}/")]);
        if host == "member" {
            assert_eq!(ran.code, 28, "a time-out: {}", ran.stderr);
            assert!(lab.count("endpoint", "CANNOT_ROUTE") > before);
        } else {
            assert_ne!(ran.code, 0, "the data centre has no way there: {}", ran.stdout);
        }
        let shown = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        assert_eq!(lab.curl(host, &[&shown[..], &[&format!("https://{ZONAL}/")]].concat()).ok(), "403", "{host}");
    }
}

fn resets_are_sent_where_settings_say_so(mode: Tun) {
    let lab = open(mode);
    let outcome = lab.probe("member", &["connect", ENI_A, "80"]);
    assert_eq!(outcome["outcome"], "ECONNREFUSED", "other_port = reset");
    let outcome = lab.probe("outsider", &["connect", ENI_A, "80", "1.5"]);
    assert_eq!(outcome["outcome"], "timeout", "what no rule allows stays silent");
    let outcome = lab.probe("member", &["idle", ENI_A, "443", "3"]);
    assert_eq!((&outcome["before"], &outcome["after"]), (&json!("open"), &json!("ECONNRESET")), "late_packet = reset");
}
