//! What sound files come to: the built-in ones, the reference, defaults.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::config::reader::Reader;

#[test]
fn fifteen_lines_make_a_topology() {
    let text = r#"
region = "eu-west-1"
[vpc]
cidr = "10.0.0.0/16"
[[subnet]]
cidr = "10.0.1.0/24"
[[host]]
name = "app"
[[identity]]
name = "Admin"
policy = '{ "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] }'
[[function]]
name = "echo"
builtin = "echo"
"#;
    let topology = check(text, "labs/My first.toml", &no_files).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!((topology.name.as_str(), topology.partition.as_str()), ("my-first", "aws"));
    let eni = &topology.endpoints[0].enis[0];
    assert_eq!((eni.ipv4.to_string().as_str(), eni.ipv6, eni.subnet), ("10.0.1.100", None, 0));
    assert_eq!(topology.hosts[0].ipv4.to_string(), "10.0.1.10");
    assert!(topology.endpoints[0].private_dns && topology.endpoints[0].policy.is_none());
    assert_eq!(topology.on_premises.function_host.to_string(), "192.168.10.20:8080");
    assert_eq!(topology.tunnel.path, "lan");
    assert_eq!(topology.identities[0].arn, "arn:aws:iam::123456789012:user/Admin");
    // Endpoint and host are both in the VPC's default group, which admits its members and nobody else.
    let default = &topology.security_groups[0];
    assert_eq!(
        (default.name.as_str(), &eni.security_groups[..], &topology.hosts[0].security_groups[..]),
        ("default", &[0][..], &[0][..])
    );
    assert_eq!(default.ingress.len(), 1);
    assert_eq!((&default.ingress[0].traffic, &default.ingress[0].peer), (&Traffic::All, &Peer::SecurityGroup(0)));
    // The same text gives the same identifiers.
    let again = check(text, "labs/My first.toml", &no_files).unwrap();
    assert_eq!((&again.vpc.id, &again.endpoints[0].id), (&topology.vpc.id, &topology.endpoints[0].id));
    assert_ne!(topology.vpc.id[4..], topology.endpoints[0].id[5..]);
}

#[test]
fn the_quickstart_is_what_the_contract_says() {
    let lab = builtin("quickstart").unwrap().check().unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(
        (lab.name.as_str(), lab.region.as_str(), lab.account.as_str()),
        ("quickstart", "us-east-2", "123456789012")
    );
    assert_eq!((lab.vpc.id.as_str(), lab.vpc.cidr.to_string().as_str()), ("vpc-ec43eb89", "10.0.0.0/16"));
    assert_eq!(lab.vpc.resolver().to_string(), "10.0.0.2");
    assert!(lab.vpc.dns_support && lab.vpc.dns_hostnames && lab.endpoints[0].private_dns);
    let eni = &lab.endpoints[0].enis[0];
    assert_eq!(
        (lab.subnets[eni.subnet].id.as_str(), lab.subnets[eni.subnet].zone.as_str()),
        ("subnet-abababab", "us-east-2a")
    );
    assert_eq!(
        (eni.ipv4.to_string().as_str(), eni.ipv6.unwrap().to_string().as_str()),
        ("10.0.1.100", "2001:db8:1234:1a01::64")
    );
    let group = &lab.security_groups[eni.security_groups[0]];
    assert_eq!(group.id, "sg-1a2b3c4d");
    let admitted: Vec<_> = group.ingress.iter().map(|rule| format!("{:?} {:?}", rule.traffic, rule.peer)).collect();
    let https = "Tcp(PortRange { from: 443, to: 443 })";
    let ranges = ["10.0.1.0/24", "2001:db8:1234:1a01::/64", "192.168.10.0/24", "fd00:0:0:10::/64"];
    assert_eq!(admitted, ranges.map(|range| format!("{https} Cidr({range})")));
    let hosts: Vec<_> = lab.hosts.iter().map(|host| (host.name.as_str(), host.ipv4.to_string(), host.site)).collect();
    assert_eq!(
        hosts,
        [
            ("app", "10.0.1.10".to_owned(), Site::Subnet(0)),
            ("stranger", "10.0.9.10".to_owned(), Site::Subnet(1)),
            ("onprem", "192.168.10.10".to_owned(), Site::OnPremises),
        ]
    );
    assert_eq!(lab.on_premises.router.to_string(), "192.168.10.1");
    assert_eq!(lab.on_premises.dns_forwarder.to_string(), "192.168.10.2");
    assert_eq!(lab.on_premises.function_host.to_string(), "192.168.10.20:8080");
    assert_eq!(lab.resolver.inbound_endpoint.unwrap().to_string(), "10.0.1.53");
    assert_eq!(
        (
            lab.tunnel.aws_inside().to_string().as_str(),
            lab.tunnel.port,
            lab.tunnel.replay_window,
            lab.tunnel.path.as_str()
        ),
        ("169.254.10.1", 4500, 1024, "lan")
    );
    let identities: Vec<_> =
        lab.identities.iter().map(|who| (who.name.as_str(), who.account.as_str(), who.policies.len())).collect();
    assert_eq!(identities, [("Admin", "123456789012", 1), ("MyUser", "123412341234", 1)]);
    let functions: Vec<_> =
        lab.functions.iter().map(|f| (f.name.as_str(), &f.versions[..], f.policy.is_some())).collect();
    assert_eq!(
        functions,
        [("hello", &[][..], false), ("echo", &[], false), ("my-function", &[1], true), ("fails", &[], false)]
    );
    assert!(matches!(&lab.functions[0].code, Code::PythonInline { source, handler }
        if source.contains("def handler(") && handler == "handler.handler"));
    assert_eq!(lab.functions[1].code, Code::Echo);
    assert_eq!(lab.service_host(), "lambda.us-east-2.amazonaws.com");
    assert_eq!(
        lab.endpoint_zonal_host(&lab.endpoints[0], eni),
        "vpce-0123456789abcdef0-lj2wisx3-us-east-2a.lambda.us-east-2.vpce.amazonaws.com"
    );
}

#[test]
fn the_blog_lab_differs_only_in_name_and_endpoint_policy() {
    let lab = builtin("blog").unwrap().check().unwrap_or_else(|faults| panic!("{faults}"));
    let policy = lab.endpoints[0].policy.clone().unwrap();
    assert_eq!(policy.origin, "policies/blog-mended.json");
    let mut quickstart = builtin("quickstart").unwrap().check().unwrap();
    (quickstart.name, quickstart.endpoints[0].policy) = (lab.name.clone(), Some(policy.clone()));
    // Derived identifiers follow the name, so the files are compared as data without those.
    let without_derived = |lab: &Topology| {
        let mut value = serde_json::to_value(lab).unwrap();
        value["security_groups"] = serde_json::Value::Null;
        value
    };
    assert_eq!(without_derived(&lab), without_derived(&quickstart));

    let printed = String::from_utf8(netns(Path::new("policies/blog-as-printed.json")).unwrap()).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&printed).is_err());
    assert_eq!(printed.matches('\u{201d}').count(), 1);
    let mended: serde_json::Value = serde_json::from_str(&policy.text).unwrap();
    assert_eq!(mended["Statement"][0]["Principal"]["AWS"], "arn:aws:iam::123412341234:user/MyUser");
    assert_eq!(mended.get("Version"), None);
    let as_it_was = policy.text.replace("my-function:1\"", "my-function:1\u{201d}").replace(
        "{\n                \"AWS\": \"arn:aws:iam::123412341234:user/MyUser\"\n            }",
        "\"arn:aws:iam::123412341234:user/MyUser\"",
    );
    assert_eq!(as_it_was, printed);
}

#[test]
fn every_key_of_the_format_is_explained_in_a_file() {
    let (mut asked, mut present) = (BTreeSet::new(), BTreeSet::new());
    let quickstart = builtin("quickstart").unwrap();
    let blog = builtin("blog").unwrap();
    for (origin, text) in [("quickstart", quickstart.text), ("blog", blog.text), ("reference.toml", REFERENCE)] {
        let reader = Reader::default();
        check::read(&reader, text, origin, &netns).unwrap();
        let (a, p) = reader.coverage.take();
        let faults = Faults::new(origin, text, reader.into_faults());
        assert!(faults.list.is_empty(), "{faults}");
        // Rules look the same in both directions.
        asked.extend(a.into_iter().map(|key| key.replace(".egress.", ".ingress.")));
        present.extend(p.into_iter().map(|key| key.replace(".egress.", ".ingress.")));
    }
    let unexplained: Vec<_> = asked.difference(&present).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
    assert!(present.contains("path.satellite.to_aws.queue") && present.contains("endpoint.settings.late_packet"));
}

#[test]
fn the_reference_names_the_defaults_as_they_are() {
    // Settings there are written out with their defaults; left out, they must be the same.
    let given = sound(REFERENCE);
    let settings = REFERENCE.find("[endpoint.settings]").unwrap()..REFERENCE.find("[resolver]").unwrap();
    let without = sound(&REFERENCE.replacen(&REFERENCE[settings], "", 1));
    assert_eq!(format!("{:?}", given.settings), format!("{:?}", without.settings));
    assert_eq!(format!("{:?}", given.settings), format!("{:?}", EndpointSettings::default()));
    let resolver = Resolver { inbound_endpoint: given.resolver.inbound_endpoint, ..Resolver::default() };
    assert_eq!(format!("{:?}", given.resolver), format!("{resolver:?}"));
}

#[test]
fn a_path_changes_a_built_in_one_and_its_directions_differ() {
    let paths = sound(REFERENCE).paths;
    let named = |name: &str| paths.iter().find(|path| path.name == name).unwrap().clone();
    let satellite = named("satellite");
    assert_eq!(
        (satellite.to_aws.delay, satellite.to_customer.delay),
        (Duration::from_millis(40), Duration::from_millis(35))
    );
    assert_eq!((satellite.to_aws.rate_bps, satellite.to_aws.loss), (Some(20_000_000), 0.002));
    let vpn = named("vpn");
    assert_eq!((vpn.mtu, vpn.to_aws.rate_bps, vpn.to_aws.rate_pps), (1500, Some(1_250_000_000), Some(140_000)));
    assert_eq!(named("lan").to_aws.delay, Duration::ZERO);

    let text = BASE.replacen("[path.slow]", "[path.vpn]\ndelay = \"100us\"\n[path.slow]", 1);
    let paths = check(&text, "base.toml", &no_files).unwrap_or_else(|faults| panic!("{faults}")).paths;
    let changed = paths.iter().find(|path| path.name == "vpn").unwrap();
    assert_eq!((changed.to_aws.delay, changed.to_aws.jitter), (Duration::from_micros(100), Duration::from_micros(100)));
    assert_eq!(changed.to_aws.rate_pps, Some(140_000));
    assert_eq!(paths.len(), 4);
}

#[test]
fn a_dualstack_endpoint_gets_the_addresses_that_the_file_leaves_open() {
    let lab = sound(REFERENCE);
    let addresses: Vec<_> =
        lab.endpoints[0].enis.iter().map(|eni| (eni.ipv4.to_string(), eni.ipv6.unwrap().to_string())).collect();
    assert_eq!(
        addresses,
        [
            ("10.20.1.100".to_owned(), "2001:db8:20:1::64".to_owned()),
            ("10.20.2.100".to_owned(), "2001:db8:20:2::64".to_owned()),
        ]
    );
    let ipv4 = REFERENCE.replacen("\"dualstack\"", "\"ipv4\"", 1);
    let faults = check(&ipv4, "reference.toml", &netns).unwrap_err().to_string();
    assert!(faults.contains("but an eni has an IPv6 address"), "{faults}");
}
