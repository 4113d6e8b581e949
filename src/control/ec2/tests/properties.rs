//! For any parameters: no panic, and no change where the answer is an error. [`Lab::send`] compares the states.

use proptest::prelude::*;

use super::super::operations;
use super::*;

/// Names of parameters as clients number and nest them, known and unknown.
fn name() -> impl Strategy<Value = String> {
    let known: Vec<String> =
        operations().flat_map(|operation| operation.parameters).map(|name| (*name).to_owned()).collect();
    let inner = [
        "Name",
        "Value.1",
        "Key",
        "Value",
        "IpProtocol",
        "FromPort",
        "ToPort",
        "IpRanges.1.CidrIp",
        "Ipv6Ranges.1.CidrIpv6",
        "Groups.1.GroupId",
        "PrefixListIds.1.PrefixListId",
        "SubnetId",
        "Ipv4",
        "Ipv6",
        "From",
        "To",
        "Type",
        "Code",
        "ResourceType",
        "Tag.1.Key",
        "Tag.1.Value",
        "SecurityGroupRuleId",
        "SecurityGroupRule.CidrIpv4",
        "SecurityGroupRule.IpProtocol",
        "DnsRecordIpType",
    ];
    let first = prop_oneof![20 => prop::sample::select(known), 1 => "[A-Za-z.0-9]{0,12}"];
    (first, prop::option::of(0_u32..4), prop::option::of(prop::sample::select(inner.to_vec()))).prop_map(
        |(first, number, inner)| {
            let number = number.map(|number| format!(".{number}")).unwrap_or_default();
            let inner = inner.map(|inner| format!(".{inner}")).unwrap_or_default();
            format!("{first}{number}{inner}")
        },
    )
}

fn value() -> impl Strategy<Value = String> {
    let likely = [
        VPC,
        SUBNET_A,
        SUBNET_A2,
        SUBNET_B,
        SUBNET_C,
        GROUP,
        ENDPOINT,
        "acl-0a0a0a0a",
        "pl-0c0c0c0c",
        "sgr-0a0a0a0a",
        "eni-0a1b2c3d4e5f60718",
        "com.amazonaws.us-east-2.lambda",
        "Interface",
        "true",
        "false",
        "tcp",
        "-1",
        "icmpv6",
        "6",
        "58",
        "443",
        "0",
        "65536",
        "10.0.3.9",
        "10.0.0.0/8",
        "::/0",
        "2001:db8:1234:1a03::9",
        "dualstack",
        "ipv4",
        "allow",
        "vpc-endpoint",
        "security-group",
        "VPC",
        "ALL",
        "s3",
        "arn:aws:s3:::b",
        "60",
        "vpc-id",
        "{}",
        "*",
        "",
    ];
    prop_oneof![20 => prop::sample::select(likely.to_vec()).prop_map(str::to_owned), 1 => ".{0,20}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_error_changes_nothing_and_nothing_panics(
        calls in prop::collection::vec(
            (0..operations().count(), prop::collection::btree_map(name(), value(), 0..9)),
            1..6,
        )
    ) {
        let mut lab = Lab::new();
        for (operation, parameters) in calls {
            let operation = operations().nth(operation).unwrap();
            // Mostly parameters that the operation knows: others end every call at once.
            let known = |name: &str| operation.parameters.contains(&name.split('.').next().unwrap_or_default());
            let all = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let kept: Vec<_> = if parameters.len() % 4 == 0 { all.collect() } else { all.filter(|(name, _)| known(name)).collect() };
            let answer = lab.call(operation.name, &kept);
            tree(&answer.body);
            crate::control::project(&lab.state, &lab.topology);
        }
    }

    #[test]
    fn any_bytes_get_an_answer(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let answer = Lab::new().send(&body);
        prop_assert_eq!(answer.status, 400);
    }
}
