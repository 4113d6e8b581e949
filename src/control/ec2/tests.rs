use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Answer, Call, Options, handle};
use crate::config::{Topology, check};
use crate::control::State;
use crate::time::UnixTime;

mod endpoint;
mod endpoint_errors;
mod network;
mod properties;
mod security_group;

pub(super) const VPC: &str = "vpc-ec43eb89";
pub(super) const SUBNET_A: &str = "subnet-aaaaaaaa";
pub(super) const SUBNET_A2: &str = "subnet-aaaaaaa2";
pub(super) const SUBNET_B: &str = "subnet-bbbbbbbb";
pub(super) const SUBNET_C: &str = "subnet-cccccccc";
pub(super) const GROUP: &str = "sg-1a2b3c4d";
pub(super) const ENDPOINT: &str = "vpce-0123456789abcdef0";

/// Two zones' subnets with IPv6, one without, and a second subnet in the first zone.
pub(super) const LAB: &str = r#"
name = "api"
region = "us-east-2"
[vpc]
id = "vpc-ec43eb89"
cidr = "10.0.0.0/16"
ipv6_cidr = "2001:db8:1234:1a00::/56"
[[subnet]]
id = "subnet-aaaaaaaa"
cidr = "10.0.1.0/24"
ipv6_cidr = "2001:db8:1234:1a01::/64"
zone = "us-east-2a"
[[subnet]]
id = "subnet-aaaaaaa2"
cidr = "10.0.2.0/24"
zone = "us-east-2a"
[[subnet]]
id = "subnet-bbbbbbbb"
cidr = "10.0.3.0/28"
ipv6_cidr = "2001:db8:1234:1a03::/64"
zone = "us-east-2b"
network_acl = "acl-0a0a0a0a"
[[subnet]]
id = "subnet-cccccccc"
cidr = "10.0.4.0/24"
zone = "us-east-2c"
[[network_acl]]
id = "acl-0a0a0a0a"
ingress = [{ number = 100, protocol = "tcp", port = 443, cidr = "10.0.0.0/16", action = "allow" }]
egress = [{ number = 100, protocol = "-1", cidr = "0.0.0.0/0", action = "allow" }]
[[prefix_list]]
id = "pl-0c0c0c0c"
entries = ["192.168.10.0/24", "192.168.20.0/24"]
[[security_group]]
id = "sg-1a2b3c4d"
name = "lambda-endpoint"
ingress = [{ id = "sgr-0a0a0a0a", protocol = "tcp", port = 443, cidr = "10.0.1.0/24", description = "clients" }]
[endpoint]
id = "vpce-0123456789abcdef0"
dns_token = "lj2wisx3"
security_groups = ["sg-1a2b3c4d"]
[[endpoint.eni]]
id = "eni-0a1b2c3d4e5f60718"
subnet = "subnet-aaaaaaaa"
ipv4 = "10.0.1.100"
[resolver]
inbound_endpoint = "10.0.1.53"
[on_premises]
cidr = "192.168.10.0/24"
[[host]]
name = "app"
subnet = "subnet-bbbbbbbb"
ipv4 = "10.0.3.4"
[[host]]
name = "onprem"
on_premises = true
ipv4 = "192.168.10.10"
"#;

/// A refusal: parameters, the code, words of the message.
pub(super) type Row<'r> = (&'r [(&'r str, &'r str)], &'r str, &'r str);

/// A lab, its state, and what a client is told.
pub(super) struct Lab {
    pub(super) topology: Topology,
    pub(super) state: State,
    pub(super) options: Options,
    pub(super) account: String,
    pub(super) now: UnixTime,
    pub(super) failed_flow_logs: BTreeSet<String>,
    seed: u64,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::of(LAB)
    }

    pub(super) fn of(text: &str) -> Self {
        let none = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let topology = check(text, "lab.toml", &none).unwrap_or_else(|faults| panic!("{faults:?}"));
        let now = UnixTime::from_secs(1_790_000_000);
        let state = State::from_topology(&topology, now);
        let account = topology.account.clone();
        let failed_flow_logs = BTreeSet::new();
        Self { topology, state, options: Options::default(), account, now, failed_flow_logs, seed: 1 }
    }

    /// Sends a body as it is. An answer that is an error must leave everything as it was.
    pub(super) fn send(&mut self, body: &[u8]) -> Answer {
        let before = self.state.clone();
        let seed = &mut self.seed;
        let mut random = |bytes: &mut [u8]| {
            for byte in bytes {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = seed.to_be_bytes()[0];
            }
        };
        let mut call = Call {
            failed_flow_logs: &self.failed_flow_logs,
            account: &self.account,
            region: &self.topology.region,
            partition: "aws",
            now: self.now,
            random: &mut random,
            options: &self.options,
        };
        let answer = handle(&mut self.state, body, &mut call);
        assert_eq!(answer.changed, self.state != before, "{}", answer.body);
        assert!(answer.status == 200 || !answer.changed);
        answer
    }

    fn call(&mut self, action: &str, parameters: &[(&str, &str)]) -> Answer {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("Action", action).append_pair("Version", "2016-11-15").extend_pairs(parameters);
        self.send(body.finish().as_bytes())
    }

    /// What an accepted request answers.
    #[track_caller]
    pub(super) fn ok(&mut self, action: &str, parameters: &[(&str, &str)]) -> Value {
        let answer = self.call(action, parameters);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer = tree(&answer.body);
        answer[format!("{action}Response")].clone()
    }

    /// Code and message of a refusal.
    #[track_caller]
    pub(super) fn refusal(&mut self, action: &str, parameters: &[(&str, &str)]) -> (String, String) {
        let answer = self.call(action, parameters);
        assert_ne!(answer.status, 200, "{}", answer.body);
        let error = tree(&answer.body)["Response"]["Errors"]["Error"].clone();
        (error["Code"].as_str().unwrap().to_owned(), error["Message"].as_str().unwrap().to_owned())
    }

    /// Each of the requests is refused with its code and a message that contains its words.
    #[track_caller]
    pub(super) fn refuses(&mut self, action: &str, table: &[Row<'_>]) {
        for (parameters, code, words) in table {
            let (own_code, message) = self.refusal(action, parameters);
            assert!(own_code == *code && message.contains(words), "{parameters:?}: {own_code}: {message}");
        }
    }

    /// Identifiers that a describe call lists, by the element that holds them.
    #[track_caller]
    pub(super) fn listed(&mut self, action: &str, parameters: &[(&str, &str)], set: &str, id: &str) -> Vec<String> {
        let answer = self.ok(action, parameters);
        items(&answer[set]).iter().map(|item| item[id].as_str().unwrap().to_owned()).collect()
    }

    /// Creates an endpoint for Lambda with these further parameters and gives its identifier.
    #[track_caller]
    pub(super) fn create(&mut self, parameters: &[(&str, &str)]) -> String {
        let mut all = vec![
            ("VpcId", VPC),
            ("VpcEndpointType", "Interface"),
            ("ServiceName", "com.amazonaws.us-east-2.lambda"),
            ("PrivateDnsEnabled", "false"),
        ];
        all.extend_from_slice(parameters);
        let answer = self.ok("CreateVpcEndpoint", &all);
        answer["vpcEndpoint"]["vpcEndpointId"].as_str().unwrap().to_owned()
    }

    /// One endpoint as a describe call shows it.
    #[track_caller]
    pub(super) fn endpoint(&mut self, id: &str) -> Value {
        let answer = self.ok("DescribeVpcEndpoints", &[("VpcEndpointId.1", id)]);
        items(&answer["vpcEndpointSet"])[0].clone()
    }

    /// The data plane did all it was asked for.
    pub(super) fn settle(&mut self) {
        self.state.settle();
    }
}

/// The items of a list element.
pub(super) fn items(list: &Value) -> Vec<Value> {
    match &list["item"] {
        Value::Null => Vec::new(),
        Value::Array(items) => items.clone(),
        one => vec![one.clone()],
    }
}

/// The texts of a list element.
pub(super) fn texts(list: &Value) -> Vec<String> {
    items(list).iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// XML as JSON: elements by name, repeated ones as an array, text as it is. Enough for what the API writes.
pub(super) fn tree(xml: &str) -> Value {
    let text = xml.split_once("?>\n").map_or(xml, |(_, rest)| rest);
    let (value, rest) = content(text);
    assert_eq!(rest, "", "{xml}");
    value
}

fn content(mut text: &str) -> (Value, &str) {
    if !text.starts_with('<') || text.starts_with("</") {
        let (own, rest) = text.split_at(text.find('<').unwrap_or(text.len()));
        return (json!(quick_xml::escape::unescape(own).unwrap()), rest);
    }
    let mut value = json!({});
    while text.starts_with('<') && !text.starts_with("</") {
        let (tag, rest) = text[1..].split_once('>').unwrap();
        let name = tag.trim_end_matches('/').split(' ').next().unwrap();
        let (inner, rest) = if tag.ends_with('/') {
            (Value::Null, rest)
        } else {
            let (inner, rest) = content(rest);
            (inner, rest.strip_prefix(&format!("</{name}>")).unwrap_or_else(|| panic!("{name}: {rest}")))
        };
        match value.get_mut(name) {
            None => value[name] = inner,
            Some(Value::Array(list)) => list.push(inner),
            Some(other) => *other = json!([other.clone(), inner]),
        }
        text = rest;
    }
    (value, text)
}

#[test]
fn an_answer_has_the_namespace_and_a_request_id() {
    let answer = Lab::new().call("DescribeVpcs", &[]);
    let begin = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeVpcsResponse \
                 xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>";
    assert!(answer.body.starts_with(begin), "{}", answer.body);
    assert_eq!(tree(&answer.body)["DescribeVpcsResponse"]["requestId"].as_str().unwrap().len(), 36);
}

#[test]
fn what_is_no_request_of_the_api_is_refused_with_awss_words() {
    let mut lab = Lab::new();
    let answer = lab.call("RunInstances", &[]);
    assert_eq!(answer.status, 400);
    let begin = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>InvalidAction</Code>\
                 <Message>The action RunInstances is not valid for this web service.</Message></Error></Errors><RequestID>";
    assert!(answer.body.starts_with(begin), "{}", answer.body);
    assert_eq!(lab.send(b"").status, 400);
    lab.refuses(
        "DescribeVpcs",
        &[
            (&[("Colour", "red")], "UnknownParameter", "The parameter Colour is not recognized"),
            (&[("VpcId", VPC)], "UnknownParameter", "VpcId"),
            (&[("DryRun", "perhaps")], "InvalidParameterValue", "DryRun"),
            (&[("DryRun", "true")], "DryRunOperation", "Request would have succeeded, but DryRun flag is set."),
            (&[("MaxResults", "1")], "InvalidParameterValue", "greater than or equal to 5"),
            (&[("MaxResults", "5"), ("VpcId.1", VPC)], "InvalidParameterCombination", "VpcIds"),
            (&[("NextToken", "abc")], "InvalidNextToken", "abc"),
            (
                &[("Filter.1.Name", "colour"), ("Filter.1.Value.1", "x")],
                "InvalidParameterValue",
                "The filter 'colour' is invalid",
            ),
            (&[("Filter.1.Value.1", "x")], "MissingParameter", "Filter.1.Name"),
        ],
    );
    assert_eq!(lab.call("DescribeVpcs", &[("DryRun", "true")]).status, 412);
    lab.refuses("CreateVpc", &[(&[("CidrBlock", "10.1.0.0/16")], "UnsupportedOperation", "one VPC")]);
    lab.refuses("DeleteVpc", &[(&[("VpcId", VPC)], "UnsupportedOperation", "one VPC")]);
}

#[test]
fn another_account_finds_an_empty_region() {
    let mut lab = Lab::new();
    lab.account = "123412341234".to_owned();
    assert!(lab.listed("DescribeVpcEndpoints", &[], "vpcEndpointSet", "vpcEndpointId").is_empty());
    let (code, _) = lab.refusal("DescribeVpcs", &[("VpcId.1", VPC)]);
    assert_eq!(code, "InvalidVpcID.NotFound");
    assert_eq!(lab.listed("DescribeAvailabilityZones", &[], "availabilityZoneInfo", "zoneId").len(), 3);
}

#[test]
fn a_state_survives_json() {
    let mut lab = Lab::new();
    lab.create(&[
        ("SubnetId.1", SUBNET_B),
        ("ClientToken", "a"),
        ("TagSpecification.1.ResourceType", "vpc-endpoint"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "x"),
    ]);
    let text = serde_json::to_string(&lab.state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), lab.state);
}
