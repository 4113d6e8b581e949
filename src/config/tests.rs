//! Faults of a topology, each where it is: a sound file, broken in one place at a time.

mod damage;
mod topologies;

use std::io;
use std::path::Path;

use super::*;

const REFERENCE: &str = include_str!("../../netns/reference.toml");

/// Reads files of the `netns` folder.
fn netns(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("netns").join(path))
}

fn no_files(path: &Path) -> io::Result<Vec<u8>> {
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no {}", path.display())))
}

fn sound(text: &str) -> Topology {
    check(text, "sound.toml", &netns).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A sound topology for the table to break.
const BASE: &str = r#"
name = "base"
region = "us-east-2"
account = "123456789012"
[vpc]
id = "vpc-ec43eb89"
cidr = "10.0.0.0/16"
ipv6_cidr = "2001:db8:1234:1a00::/56"
dns_support = true
dns_hostnames = true
[[subnet]]
id = "subnet-abababab"
cidr = "10.0.1.0/24"
ipv6_cidr = "2001:db8:1234:1a01::/64"
zone = "us-east-2a"
network_acl = "acl-11111111"
[[subnet]]
id = "subnet-cdcdcdcd"
cidr = "10.0.9.0/24"
zone = "us-east-2a"
[[network_acl]]
id = "acl-11111111"
ingress = [{ number = 100, protocol = "all", cidr = "0.0.0.0/0", action = "allow" }]
egress = []
[[prefix_list]]
id = "pl-11111111"
entries = ["10.0.0.0/8", "192.168.0.0/16"]
[[security_group]]
id = "sg-1a2b3c4d"
name = "endpoint"
ingress = [{ protocol = "tcp", port = 443, cidr = "10.0.1.0/24" }]
[[security_group]]
id = "sg-2a2b3c4d"
name = "clients"
[endpoint]
id = "vpce-0123456789abcdef0"
dns_token = "lj2wisx3"
private_dns = true
security_groups = ["sg-1a2b3c4d"]
[[endpoint.eni]]
id = "eni-11111111"
subnet = "subnet-abababab"
ipv4 = "10.0.1.100"
[endpoint.settings]
mtu = 8500
idle_timeout = "350s"
[resolver]
inbound_endpoint = "10.0.1.53"
[on_premises]
cidr = "192.168.10.0/24"
router = "192.168.10.1"
function_host = "192.168.10.20:8080"
[tunnel]
aws_outside = "203.0.113.1"
customer_outside = "198.51.100.1"
port = 4500
inside_cidr = "169.254.10.0/30"
replay_window = 1024
path = "slow"
[path.slow]
mtu = 1500
delay = "20ms"
jitter = "1ms"
[[host]]
name = "app"
subnet = "subnet-abababab"
ipv4 = "10.0.1.10"
[[host]]
name = "onprem"
on_premises = true
ipv4 = "192.168.10.10"
[[identity]]
name = "Admin"
arn = "arn:aws:iam::123456789012:user/Admin"
[[function]]
name = "hello"
runtime = "python3.13"
source = "def handler(event, context): pass"
handler = "handler.handler"
timeout = "3s"
memory = 128
versions = [1, 2]
aliases = { live = "2" }
environment = { GREETING = "hi" }
"#;

/// Breaks [`BASE`] by replacing `from` by `to`, in which `§` stands before each byte that a fault must start at, and
/// compares positions and messages with what is expected.
fn assert_faults(from: &str, to: &str, messages: &[&str]) {
    assert!(BASE.contains(from), "the base has no {from}");
    let marked = BASE.replacen(from, to, 1);
    let mut expected = Vec::new();
    for (line, text) in marked.lines().enumerate() {
        let places = text.char_indices().filter(|(_, c)| *c == '§').enumerate();
        expected.extend(places.map(|(nth, (at, _))| (line + 1, text[..at].chars().count() - nth + 1)));
    }
    let text = marked.replace('§', "");
    let faults = check(&text, "base.toml", &no_files).expect_err(to);
    let found: Vec<_> = faults.list.iter().map(|fault| (fault.line, fault.column)).collect();
    assert_eq!(found, expected, "for {to}\n{faults}");
    assert_eq!(faults.list.len(), messages.len(), "for {to}\n{faults}");
    for (fault, message) in faults.list.iter().zip(messages) {
        let all = format!("{} / {}", fault.message, fault.help.as_deref().unwrap_or_default());
        assert!(all.contains(message), "for {to}: «{all}» does not say «{message}»");
    }
}

#[test]
fn the_base_of_the_table_is_sound() {
    check(BASE, "base.toml", &no_files).unwrap_or_else(|faults| panic!("{faults}"));
}

#[test]
fn network_faults_are_found_where_they_are() {
    for (from, to, message) in [
        ("name = \"base\"", "name = §\"Base Lab\"", "not a lab's name"),
        ("\"us-east-2\"", "§\"us-east-22\"", "did you mean \"us-east-2\"?"),
        ("\"123456789012\"", "§\"12345678901\"", "twelve digits"),
        ("account = \"123456789012\"", "account = §123456789012", "`account` is integer, not a string"),
        ("\"vpc-ec43eb89\"", "§\"vpc-EC43EB89\"", "not `vpc-` and 8 or 17 of 0-9 a-f"),
        ("\"vpc-ec43eb89\"", "§\"subnet-ec43eb89\"", "not `vpc-`"),
        ("\"10.0.0.0/16\"", "§\"10.0.0.0\"", "not an IPv4 range"),
        ("\"10.0.0.0/16\"", "§\"10.0.0.1/16\"", "the range is 10.0.0.0/16"),
        ("\"10.0.0.0/16\"", "§\"10.0.0.0/8\"", "between /16 and /28"),
        ("\"2001:db8:1234:1a00::/56\"", "§\"2001:db8:1234:1a00::/58\"", "/44 to /60 in steps of 4"),
        ("dns_support = true", "dns_suport = true", "§"),
        ("dns_support = true", "dns_support = §\"yes\"", "not true or false"),
        ("\"subnet-cdcdcdcd\"", "§\"subnet-abababab\"", "given twice"),
        ("\"10.0.9.0/24\"", "§\"10.1.9.0/24\"", "outside the VPC's range 10.0.0.0/16"),
        ("\"10.0.9.0/24\"", "§\"10.0.1.128/25\"", "overlaps 10.0.1.0/24 of subnet-abababab"),
        ("\"10.0.9.0/24\"", "§\"10.0.9.0/29\"", "a subnet's range is between /16 and /28"),
        (
            "ipv6_cidr = \"2001:db8:1234:1a01::/64\"",
            "ipv6_cidr = §\"2001:db8:1234:1b01::/64\"",
            "outside the VPC's IPv6 range",
        ),
        (
            "ipv6_cidr = \"2001:db8:1234:1a01::/64\"",
            "ipv6_cidr = §\"2001:db8:1234:1a00::/60\"",
            "a subnet's IPv6 range is a /64",
        ),
        ("zone = \"us-east-2a\"\nnetwork", "zone = §\"us-east-1a\"\nnetwork", "not a zone of us-east-2"),
        ("\"acl-11111111\"\n[[subnet", "§\"acl-11111112\"\n[[subnet", "did you mean acl-11111111?"),
        ("number = 100", "number = §0", "outside 1 to 32766"),
        ("number = 100", "number = §32767", "outside 1 to 32766"),
        ("action = \"allow\"", "action = §\"accept\"", "neither \"allow\" nor \"deny\""),
        (
            "egress = []",
            "egress = [§{ number = 1, protocol = \"all\", action = \"deny\" }]",
            "`network_acl.egress.cidr` is missing",
        ),
        ("\"192.168.0.0/16\"", "§\"10.0.0.0/8\"", "in this prefix list already"),
        ("\"192.168.0.0/16\"", "§\"192.168.0.1\"", "a single address needs its length too"),
        ("name = \"clients\"", "name = §\"ENDPOINT\"", "exists already in this VPC"),
        ("name = \"clients\"", "name = §\"sg-clients\"", "must not begin with \"sg-\""),
    ] {
        if message == "§" {
            assert_faults(from, "§dns_suport = true", &["did you mean `dns_support`?"]);
        } else {
            assert_faults(from, to, &[message]);
        }
    }
}

#[test]
fn rule_faults_are_found_where_they_are() {
    let rule = "{ protocol = \"tcp\", port = 443, cidr = \"10.0.1.0/24\" }";
    for (to, message) in [
        ("§{ port = 443, cidr = \"10.0.1.0/24\" }", "protocol` is missing"),
        ("{ protocol = §\"tpc\", port = 443, cidr = \"10.0.1.0/24\" }", "unknown protocol \"tpc\""),
        ("{ protocol = §256, cidr = \"10.0.1.0/24\" }", "outside -1 to 255"),
        ("{ protocol = §true, cidr = \"10.0.1.0/24\" }", "not a name or a number"),
        ("§{ protocol = \"tcp\", cidr = \"10.0.1.0/24\" }", "port` is missing"),
        ("{ protocol = \"tcp\", port = §65536, cidr = \"10.0.1.0/24\" }", "outside 0 to 65535"),
        ("{ protocol = \"tcp\", port = §\"444-443\", cidr = \"10.0.1.0/24\" }", "must not be above the last"),
        ("{ protocol = \"tcp\", port = §\"https\", cidr = \"10.0.1.0/24\" }", "not a port or a range"),
        ("{ protocol = \"all\", §port = 443, cidr = \"10.0.1.0/24\" }", "covers all ports"),
        ("{ protocol = \"tcp\", port = 443, §icmp_type = 8, cidr = \"10.0.1.0/24\" }", "is for icmp and icmpv6"),
        ("§{ protocol = \"icmp\", cidr = \"10.0.1.0/24\" }", "icmp_type` is missing"),
        ("{ protocol = \"icmp\", icmp_type = -1, icmp_code = §0, cidr = \"10.0.1.0/24\" }", "a code needs a type"),
        ("{ protocol = \"icmpv6\", icmp_code = §0, cidr = \"::/0\" }", "a code needs a type"),
        ("{ protocol = \"icmp\", icmp_type = §256, cidr = \"10.0.1.0/24\" }", "outside -1 to 255"),
        ("§{ protocol = \"all\" }", "`cidr`, `prefix_list` or `group`"),
        ("{ protocol = \"all\", cidr = \"::/0\", §group = \"sg-2a2b3c4d\" }", "exactly one of"),
        ("{ protocol = \"all\", group = §\"sg-2a2b3c4e\" }", "did you mean sg-2a2b3c4d?"),
        ("{ protocol = \"all\", prefix_list = §\"pl-22222222\" }", "does not exist"),
        ("{ protocol = \"all\", cidr = §\"10.0.1.0/33\" }", "not a range"),
        (
            "{ protocol = \"all\", cidr = \"10.0.1.0/24\" }, §{ protocol = -1, cidr = \"10.0.1.9/24\" }",
            "the specified rule already exists",
        ),
    ] {
        assert_faults(rule, to, &[message]);
    }
    let many: Vec<_> = (0..61).map(|n| format!("{{ protocol = \"tcp\", port = {n}, cidr = \"::/0\" }}")).collect();
    assert_faults(&format!("ingress = [{rule}]"), &format!("§ingress = [{}]", many.join(",")), &["at most 60"]);
    let list: Vec<_> = (0..59).map(|n| format!("\"10.{n}.0.0/16\"")).collect();
    assert_faults(
        &format!(
            "entries = [\"10.0.0.0/8\", \"192.168.0.0/16\"]\n[[security_group]]\nid = \"sg-1a2b3c4d\"\nname = \"endpoint\"\ningress = [{rule}]"
        ),
        &format!(
            "entries = [{}]\n[[security_group]]\nid = \"sg-1a2b3c4d\"\nname = \"endpoint\"\n§ingress = [{rule}, \
             {{ protocol = \"all\", prefix_list = \"pl-11111111\" }}, {{ protocol = \"all\", group = \"sg-2a2b3c4d\" }}]",
            list.join(",")
        ),
        &["61 ingress rules count for IPv4 and 1 for IPv6"],
    );
    let entry = "{ number = 100, protocol = \"all\", cidr = \"0.0.0.0/0\", action = \"allow\" }";
    assert_faults(entry, &format!("{entry}, {}", entry.replace("100", "§100")), &["given twice"]);
    let entries: Vec<_> = (1..=21).map(|n| entry.replace("100", &n.to_string())).collect();
    assert_faults(&format!("ingress = [{entry}]"), &format!("§ingress = [{}]", entries.join(",")), &["at most 20"]);
}

#[test]
fn endpoint_faults_are_found_where_they_are() {
    for (from, to, message) in [
        ("\"lj2wisx3\"", "§\"LJ2WISX3\"", "not eight of a-z and 0-9"),
        (
            "dns_hostnames = true",
            "dns_hostnames = false",
            "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for vpc-ec43eb89",
        ),
        ("security_groups = [\"sg-1a2b3c4d\"]", "security_groups = [§\"sg-1a2b3c4e\"]", "did you mean sg-1a2b3c4d?"),
        (
            "security_groups = [\"sg-1a2b3c4d\"]",
            "security_groups = [\"sg-1a2b3c4d\", §\"sg-1a2b3c4d\"]",
            "listed twice",
        ),
        ("security_groups = [\"sg-1a2b3c4d\"]", "security_groups = §\"sg-1a2b3c4d\"", "not a list of strings"),
        ("security_groups = [\"sg-1a2b3c4d\"]", "security_groups = [§7]", "not only strings"),
        ("private_dns = true", "policy_file = §\"missing.json\"", "cannot read missing.json"),
        ("private_dns = true", "§policy = [\"{}\", \"{}\"]", "exactly one policy"),
        ("private_dns = true", "ip_address_type = §\"ipv6\"", "neither \"ipv4\" nor \"dualstack\""),
        ("ipv4 = \"10.0.1.100\"", "ipv4 = §\"10.0.2.100\"", "outside subnet-abababab, 10.0.1.0/24"),
        ("ipv4 = \"10.0.1.100\"", "ipv4 = §\"10.0.1.3\"", "reserved in 10.0.1.0/24: it is kept for future use"),
        ("ipv4 = \"10.0.1.100\"", "ipv4 = §\"10.0.1.255\"", "the broadcast address"),
        ("ipv4 = \"10.0.1.100\"", "ipv4 = §\"10.0.1.10\"", "but host app has it already"),
        ("ipv4 = \"10.0.1.100\"", "ipv6 = §\"2001:db8:1234:1a01::3\"", "reserved"),
        ("ipv4 = \"10.0.1.100\"", "ipv6 = §\"2001:db8::64\"", "outside subnet-abababab"),
        (
            "subnet = \"subnet-abababab\"\nipv4 = \"10.0.1.100\"",
            "subnet = \"subnet-cdcdcdcd\"\nipv6 = §\"2001:db8::64\"",
            "subnet-cdcdcdcd has no `ipv6_cidr`",
        ),
        (
            "[endpoint.settings]",
            "[[endpoint.eni]]\n§subnet = \"subnet-cdcdcdcd\"\n[endpoint.settings]",
            "Found another VPC endpoint subnet in the availability zone of subnet-cdcdcdcd",
        ),
        ("subnet = \"subnet-abababab\"\nipv4 = \"10.0.1.100\"", "", "`endpoint.eni.subnet` is missing"),
        ("mtu = 8500", "mtu = §1279", "outside 1280 to 9001"),
        ("mtu = 8500", "mtu = 1500\nmss_clamp = §1461", "above the MTU less 40"),
        ("\"350s\"", "§\"350\"", "not a time with a unit"),
        ("\"350s\"", "§\"2h\"", "outside 1s to 6000s"),
        ("mtu = 8500", "other_port = §\"ignore\"", "neither \"drop\" nor \"reset\""),
        ("mtu = 8500", "flow_limit = 100\nhalf_open_limit = §101", "above `flow_limit`, 100"),
        ("mtu = 8500", "flow_log_interval = §\"0s\"", "not 1s to 600s in whole seconds"),
        ("mtu = 8500", "flow_log_interval = §\"601s\"", "not 1s to 600s in whole seconds"),
        ("mtu = 8500", "flow_log_interval = §\"1.5s\"", "not 1s to 600s in whole seconds"),
        ("mtu = 8500", "tcp_buffer = §\"1 KiB\"", "outside 4096 to 16777216"),
        ("\"10.0.1.53\"", "§\"10.0.2.53\"", "in no subnet of the VPC"),
        ("\"10.0.1.53\"", "§\"10.0.1.2\"", "kept for DNS"),
        ("\"10.0.1.53\"", "\"10.0.1.10\"", "the resolver's inbound endpoint has it already"),
    ] {
        let to = match message {
            // The fault is not where the change is.
            m if m.starts_with("Enabling") => {
                let marked = BASE.replacen(from, to, 1).replacen("private_dns = true", "private_dns = §true", 1);
                assert_faults(BASE, &marked, &[message]);
                continue;
            }
            m if m.starts_with("`endpoint.eni.subnet`") => {
                let marked = BASE.replacen(from, to, 1).replacen("[[endpoint.eni]]", "§[[endpoint.eni]]", 1);
                assert_faults(BASE, &marked, &[message]);
                continue;
            }
            m if m.starts_with("the resolver's inbound") => {
                let marked =
                    BASE.replacen(from, to, 1).replacen("ipv4 = \"10.0.1.10\"\n", "ipv4 = §\"10.0.1.10\"\n", 1);
                assert_faults(BASE, &marked, &[message]);
                continue;
            }
            _ => to,
        };
        assert_faults(from, to, &[message]);
    }
    let groups: Vec<_> = (0..6).map(|n| format!("[[security_group]]\nid = \"sg-0000000{n}\"")).collect();
    let listed: Vec<_> = (0..6).map(|n| format!("\"sg-0000000{n}\"")).collect();
    let marked = BASE.replacen("[endpoint]", &format!("{}\n[endpoint]", groups.join("\n")), 1).replacen(
        "security_groups = [\"sg-1a2b3c4d\"]",
        &format!("§security_groups = [{}]", listed.join(",")),
        1,
    );
    assert_faults(BASE, &marked, &["at most 5 security groups, not 6"]);
}

#[test]
fn site_and_path_faults_are_found_where_they_are() {
    for (from, to, message) in [
        ("cidr = \"192.168.10.0/24\"", "cidr = §\"192.168.10.0/29\"", "/8 to /28"),
        ("router = \"192.168.10.1\"", "router = §\"192.168.11.1\"", "outside the on-premises range"),
        ("router = \"192.168.10.1\"", "router = §\"192.168.10.255\"", "the broadcast address"),
        ("router = \"192.168.10.1\"", "router_ipv6 = §\"fd00::1\"", "has no `ipv6_cidr`"),
        ("\"192.168.10.20:8080\"", "§\"192.168.10.20\"", "not an address with a port"),
        ("\"192.168.10.20:8080\"", "§\"10.0.1.20:8080\"", "outside the on-premises range"),
        ("\"192.168.10.20:8080\"", "§\"192.168.10.2:8080\"", "the DNS forwarder has it already"),
        ("\"203.0.113.1\"", "§\"10.0.3.1\"", "is inside the VPC's range"),
        ("\"203.0.113.1\"", "§\"224.0.0.1\"", "cannot be a host's address"),
        ("customer_outside = \"198.51.100.1\"", "§customer_outside = \"203.0.113.1\"", "the same outside address"),
        ("port = 4500", "port = §65500", "outside 1 to 65472"),
        ("\"169.254.10.0/30\"", "§\"169.254.10.0/29\"", "not a /30 out of 169.254.0.0/16"),
        ("\"169.254.10.0/30\"", "§\"169.254.5.0/30\"", "which AWS reserves"),
        ("replay_window = 1024", "replay_window = §63", "outside 64 to 2048"),
        ("path = \"slow\"", "path = §\"slwo\"", "did you mean \"slow\"?"),
        ("path = \"slow\"", "path = §\"carrier-pigeon\"", "paths: lan, vpn, dx, slow"),
        ("mtu = 1500", "mtu = §1379", "outside 1380 to 9001"),
        ("delay = \"20ms\"\njitter = \"1ms\"", "delay = \"20ms\"\n§jitter = \"21ms\"", "more than the delay"),
        ("jitter = \"1ms\"", "loss = §1.5", "not a probability"),
        ("jitter = \"1ms\"", "loss = §\"101%\"", "not a probability"),
        ("jitter = \"1ms\"", "rate = §\"1.25 GB/s\"", "not a rate above zero"),
        ("jitter = \"1ms\"", "queue = §\"1 KiB\"", "outside 1500 to"),
        ("jitter = \"1ms\"", "[path.slow.to_aws]\n§dealy = \"1ms\"", "did you mean `delay`?"),
        ("[path.slow]", "[path.§\"a b\"]\nmtu = 1500\n[path.slow]", "is not a path's name"),
        ("name = \"app\"", "name = §\"App\"", "not a host name"),
        ("name = \"app\"", "name = §\"vpce\"", "the AWS side itself"),
        ("name = \"onprem\"", "name = §\"app\"", "exists already"),
        (
            "subnet = \"subnet-abababab\"\nipv4 = \"10.0.1.10\"",
            "subnet = §\"subnet-ababababab\"\nipv4 = \"10.0.1.10\"",
            "did you mean subnet-abababab?",
        ),
        ("on_premises = true", "subnet = \"subnet-abababab\"\n§on_premises = true", "not in both"),
        ("on_premises = true", "on_premises = true\n§security_groups = []", "an on-premises host has none"),
        ("ipv4 = \"192.168.10.10\"", "ipv4 = §\"192.168.11.10\"", "outside the on-premises range"),
        ("ipv4 = \"192.168.10.10\"", "ipv4 = §\"192.168.10.20\"", "the function host has it already"),
    ] {
        assert_faults(from, to, &[message]);
    }
}

#[test]
fn workload_faults_are_found_where_they_are() {
    for (from, to, message) in [
        ("name = \"Admin\"", "name = §\"Ad min\"", "not a name"),
        (
            "user/Admin\"",
            "user/Admin\"\n[[identity]]\nname = §\"Admin\"\narn = \"arn:aws:iam::123456789012:root\"",
            "exists already",
        ),
        (
            "\"arn:aws:iam::123456789012:user/Admin\"",
            "§\"arn:aws-cn:iam::123456789012:user/Admin\"",
            "partition is aws, not aws-cn",
        ),
        (
            "\"arn:aws:iam::123456789012:user/Admin\"",
            "§\"arn:aws:iam::1234:user/Admin\"",
            "account is not twelve digits",
        ),
        (
            "\"arn:aws:iam::123456789012:user/Admin\"",
            "§\"arn:aws:iam::123456789012:group/Admin\"",
            "not the ARN of a user",
        ),
        ("\"arn:aws:iam::123456789012:user/Admin\"", "§\"Admin\"", "not the ARN of a user"),
        ("name = \"hello\"", "name = §\"hello world\"", "not a function's name"),
        ("runtime = \"python3.13\"", "runtime = §\"nodejs22.x\"", "neither \"python3.N\""),
        ("runtime = \"python3.13\"", "runtime = §\"provided.al2023\"", "`runtime` is a custom one"),
        ("runtime = \"python3.13\"", "§builtin = \"echo\"", "exactly one of"),
        ("source = \"def", "builtin = §\"ecko\" #", "the built-in functions are"),
        ("handler = \"handler.handler\"", "handler = §\"handler\"", "`module.function`"),
        ("timeout = \"3s\"", "timeout = §\"16m\"", "outside 1s to 900s"),
        ("memory = 128", "memory = §64", "outside 128 to 10240"),
        ("memory = 128", "concurrency = §1001", "outside 0 to 1000"),
        ("memory = 128", "memory = §\"128\"", "not a whole number"),
        ("versions = [1, 2]", "versions = [2, §2]", "numbered upwards"),
        ("versions = [1, 2]", "versions = [§0, 2]", "outside 1 to"),
        ("live = \"2\"", "live = §\"3\"", "nor one of `versions`"),
        ("live = \"2\"", "§1 = \"2\"", "not digits alone"),
        ("GREETING = \"hi\"", "§AWS_REGION = \"x\"", "Lambda sets AWS_REGION itself"),
        ("GREETING = \"hi\"", "§1A = \"x\"", "not a variable's name"),
        ("GREETING = \"hi\"", "GREETING = §7", "not a string"),
    ] {
        let marked = if message == "exactly one of" {
            BASE.replacen(from, "builtin = \"echo\"", 1).replacen("source = \"def", "§source = \"def", 1)
        } else {
            BASE.replacen(from, to, 1)
        };
        assert_faults(BASE, &marked, &[message]);
    }
    let large = format!("environment = §{{ GREETING = '{}' }}", "x".repeat(4_096));
    assert_faults("environment = { GREETING = \"hi\" }", &large, &["Lambda allows 4096"]);
}

#[test]
fn what_is_needed_and_absent_is_named() {
    let faults = check("", "empty.toml", &no_files).unwrap_err();
    let messages: Vec<_> = faults.list.iter().map(|fault| (fault.line, fault.column, fault.message.as_str())).collect();
    assert_eq!(messages, [(1, 1, "`subnet` is missing"), (1, 1, "`vpc` is missing")]);

    let text = "[vpc]\n[[subnet]]\n[[security_group]]\ningress = [{}]\n[[host]]\n[[identity]]\n[[function]]\n[[prefix_list]]\n";
    let faults = check(text, "bare.toml", &no_files).unwrap_err().to_string();
    for missing in [
        "bare.toml:1:1: `vpc.cidr` is missing",
        "bare.toml:2:1: `subnet.cidr` is missing",
        "bare.toml:4:12: `security_group.ingress.protocol` is missing",
        "bare.toml:4:12: `security_group.ingress.cidr` is missing",
        "bare.toml:5:1: `host.name` is missing",
        "bare.toml:6:1: `identity.name` is missing",
        "bare.toml:7:1: `function.name` is missing",
        "bare.toml:7:1: `function.source_file` is missing",
        "bare.toml:8:1: `prefix_list.entries` is missing",
    ] {
        assert!(faults.contains(missing), "{missing} is not in\n{faults}");
    }
}

#[test]
fn one_run_reports_every_fault_of_a_file() {
    let text = r#"region = "us-east-22"
[vpc]
cidr = "10.0.0.0/16"
dns_hostnames = false
[[subnet]]
cidr = "10.0.1.0/24"
zone = 7
[[security_group]]
id = "sg-1a2b3c4d"
ingress = [{ protocol = "tcp", port = "444-443", cidr = "10.0.1.0/24" }]
[endpoint]
privat_dns = true
security_groups = ["sg-1a2b3c4d", "sg-ffffffff"]
[[host]]
name = "app"
ipv4 = "10.0.1.2"
[[host]]
name = "app"
ipv4 = "10.0.2.2"
"#;
    let faults = check(text, "bad.toml", &no_files).unwrap_err();
    let places: Vec<_> = faults.list.iter().map(|fault| (fault.line, fault.column)).collect();
    assert_eq!(places, [(1, 10), (7, 8), (10, 39), (11, 1), (12, 1), (13, 35), (16, 8), (18, 8), (19, 8)], "{faults}");
}

#[test]
fn text_that_is_not_toml_is_reported_as_far_as_the_parser_can_tell() {
    let text =
        "[vpc]\ncidr = \nid = \"vpc-ec43eb89\"\n[[subnet]\ncidr = \"10.0.1.0/24\"\n[tunnel]\nport = 1\nport = 2\n";
    let faults = check(text, "broken.toml", &no_files).unwrap_err();
    let lines: Vec<_> = faults.list.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [2, 4, 8], "{faults}");
    let twice = check("region = \"us-east-1\"\nregion = \"us-east-2\"\n", "twice.toml", &no_files).unwrap_err();
    assert_eq!((twice.list[0].line, twice.list[0].column), (2, 1), "{twice}");
}
