//! Security groups and their rules.

use super::*;
use crate::config::{Peer, PortRange, Traffic};

fn new_group(lab: &mut Lab, name: &str) -> String {
    let answer = lab.ok("CreateSecurityGroup", &[("GroupName", name), ("GroupDescription", "d"), ("VpcId", VPC)]);
    answer["groupId"].as_str().unwrap().to_owned()
}

/// Rule identifiers of a group, ingress only.
fn ingress(lab: &Lab, group: &str) -> Vec<String> {
    lab.state.security_groups[group].direction(false).map(|rule| rule.id.clone()).collect()
}

#[test]
fn a_new_group_admits_nothing_and_lets_everything_out() {
    let mut lab = Lab::new();
    let made = lab.ok(
        "CreateSecurityGroup",
        &[
            ("GroupName", "web"),
            ("GroupDescription", "the web"),
            ("VpcId", VPC),
            ("TagSpecification.1.ResourceType", "security-group"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "w"),
        ],
    );
    let id = made["groupId"].as_str().unwrap();
    assert_eq!(made["securityGroupArn"], format!("arn:aws:ec2:us-east-2:123456789012:security-group/{id}"));
    assert_eq!(items(&made["tagSet"])[0]["value"], "w");
    let shown = lab.ok("DescribeSecurityGroups", &[("GroupId.1", id)]);
    let group = &items(&shown["securityGroupInfo"])[0];
    assert_eq!((&group["groupName"], &group["groupDescription"]), (&json!("web"), &json!("the web")));
    assert!(items(&group["ipPermissions"]).is_empty());
    let egress = &items(&group["ipPermissionsEgress"])[0];
    assert_eq!(egress["ipProtocol"], "-1");
    assert_eq!(egress["fromPort"], Value::Null);
    assert_eq!(items(&egress["ipRanges"])[0]["cidrIp"], "0.0.0.0/0");
    assert_eq!(items(&egress["ipv6Ranges"])[0]["cidrIpv6"], "::/0");
}

#[test]
fn groups_that_cannot_be_are_refused() {
    let mut lab = Lab::new();
    let name = |name: &'static str| [("GroupName", name), ("GroupDescription", "d"), ("VpcId", VPC)];
    lab.refuses(
        "CreateSecurityGroup",
        &[
            (&[("GroupDescription", "d"), ("VpcId", VPC)], "MissingParameter", "GroupName"),
            (&[("GroupName", "g"), ("VpcId", VPC)], "MissingParameter", "GroupDescription"),
            (&[("GroupName", "g"), ("GroupDescription", "d")], "VPCIdNotSpecified", "No default VPC for this user"),
            (&name("LAMBDA-endpoint"), "InvalidGroup.Duplicate", "already exists for VPC 'vpc-ec43eb89'"),
            (&name("Default"), "InvalidGroup.Reserved", "reserved"),
            (&name("sg-mine"), "InvalidParameterValue", "sg-*"),
            (&name("naïve"), "InvalidParameterValue", "Invalid security group name"),
            (
                &[("GroupName", "g"), ("GroupDescription", "a<b"), ("VpcId", VPC)],
                "InvalidParameterValue",
                "description",
            ),
            (
                &[("GroupName", "g"), ("GroupDescription", "d"), ("VpcId", "vpc-00000000")],
                "InvalidVpcID.NotFound",
                "vpc-00000000",
            ),
        ],
    );
    lab.options.quotas.security_groups = 2;
    assert_eq!(lab.refusal("CreateSecurityGroup", &name("g")).0, "SecurityGroupLimitExceeded");
}

#[test]
fn a_group_in_use_stays() {
    let mut lab = Lab::new();
    let default = lab.state.default_group(VPC).unwrap().to_owned();
    let (code, message) = lab.refusal("DeleteSecurityGroup", &[("GroupId", &default)]);
    assert_eq!(code, "CannotDelete");
    assert_eq!(message, format!("the specified group: \"{default}\" name: \"default\" cannot be deleted by a user"));
    lab.refuses(
        "DeleteSecurityGroup",
        &[
            (&[("GroupId", GROUP)], "DependencyViolation", "resource sg-1a2b3c4d has a dependent object"),
            (&[], "MissingParameter", "groupId"),
            (&[("GroupId", "sg-1")], "InvalidGroupId.Malformed", "Invalid id: \"sg-1\" (expecting \"sg-...\")"),
            (&[("GroupId", "sg-00000000")], "InvalidGroup.NotFound", "The security group 'sg-00000000' does not exist"),
            (&[("GroupName", "web")], "VPCIdNotSpecified", "default VPC"),
        ],
    );
    let (a, b) = (new_group(&mut lab, "a"), new_group(&mut lab, "b"));
    let permission = [("IpPermissions.1.IpProtocol", "-1"), ("IpPermissions.1.Groups.1.GroupId", a.as_str())];
    lab.ok("AuthorizeSecurityGroupIngress", &[&[("GroupId", b.as_str())], &permission[..]].concat());
    assert_eq!(lab.refusal("DeleteSecurityGroup", &[("GroupId", &a)]).0, "DependencyViolation");
    lab.ok("DeleteSecurityGroup", &[("GroupId", &b)]);
    lab.ok("DeleteSecurityGroup", &[("GroupId", &a)]);
}

#[test]
fn rules_come_in_both_forms_and_reach_the_data_plane() {
    let mut lab = Lab::new();
    let group = new_group(&mut lab, "web");
    let own = ("GroupId", group.as_str());
    let flat = [own, ("IpProtocol", "tcp"), ("FromPort", "443"), ("ToPort", "443"), ("CidrIp", "10.0.1.9/24")];
    let answer = lab.ok("AuthorizeSecurityGroupIngress", &flat);
    let rule = &items(&answer["securityGroupRuleSet"])[0];
    assert_eq!(rule["cidrIpv4"], "10.0.1.0/24");
    assert_eq!(
        (&rule["isEgress"], &rule["ipProtocol"], &rule["fromPort"]),
        (&json!("false"), &json!("tcp"), &json!("443"))
    );
    lab.ok(
        "AuthorizeSecurityGroupIngress",
        &[
            own,
            ("IpPermissions.1.IpProtocol", "17"),
            ("IpPermissions.1.FromPort", "53"),
            ("IpPermissions.1.ToPort", "54"),
            ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", "2001:db8::1/32"),
            ("IpPermissions.1.PrefixListIds.1.PrefixListId", "pl-0c0c0c0c"),
            ("IpPermissions.2.IpProtocol", "icmp"),
            ("IpPermissions.2.FromPort", "8"),
            ("IpPermissions.2.ToPort", "-1"),
            ("IpPermissions.2.Groups.1.GroupId", GROUP),
            ("IpPermissions.2.Groups.1.Description", "ping"),
            ("IpPermissions.3.IpProtocol", "50"),
            ("IpPermissions.3.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ],
    );
    let projected = crate::control::project(&lab.state, &lab.topology);
    let place = projected.security_groups.iter().position(|own| own.id == group).unwrap();
    let found: Vec<_> =
        projected.security_groups[place].ingress.iter().map(|rule| (rule.traffic, rule.peer.clone())).collect();
    let net = |text: &str| Peer::Cidr(text.parse().unwrap());
    assert_eq!(
        found,
        [
            (Traffic::Tcp(PortRange { from: 443, to: 443 }), net("10.0.1.0/24")),
            (Traffic::Udp(PortRange { from: 53, to: 54 }), net("2001:db8::/32")),
            (Traffic::Udp(PortRange { from: 53, to: 54 }), Peer::PrefixList(0)),
            (Traffic::Icmp { icmp_type: Some(8), icmp_code: None }, Peer::SecurityGroup(0)),
            (Traffic::Protocol(50), net("0.0.0.0/0")),
        ]
    );
    let shown = lab.ok("DescribeSecurityGroupRules", &[("Filter.1.Name", "group-id"), ("Filter.1.Value.1", &group)]);
    assert_eq!(items(&shown["securityGroupRuleSet"]).len(), 7);
    let by_port = [("Filter.1.Name", "ip-permission.from-port"), ("Filter.1.Value.1", "53")];
    assert_eq!(lab.listed("DescribeSecurityGroups", &by_port, "securityGroupInfo", "groupId"), [group]);
}

#[test]
fn rules_that_cannot_be_are_refused() {
    let mut lab = Lab::new();
    let own = ("GroupId", GROUP);
    let tcp = |cidr: &'static str, from: &'static str, to: &'static str| {
        vec![own, ("IpProtocol", "tcp"), ("FromPort", from), ("ToPort", to), ("CidrIp", cidr)]
    };
    let permission = ("IpPermissions.1.IpProtocol", "-1");
    lab.refuses(
        "AuthorizeSecurityGroupIngress",
        &[
            (
                &tcp("10.0.1.77/24", "443", "443"),
                "InvalidPermission.Duplicate",
                "the specified rule \"peer: 10.0.1.0/24, TCP, from port: 443, to port: 443, ALLOW\" already exists",
            ),
            (&tcp("10.0.0.0/40", "1", "1"), "InvalidParameterValue", "CIDR block 10.0.0.0/40 is malformed"),
            (&tcp("10.0.0.0/8", "2", "1"), "InvalidParameterValue", "Invalid TCP/UDP port range (2:1)"),
            (&tcp("10.0.0.0/8", "1", "65536"), "InvalidParameterValue", "TCP/UDP port (65536) out of range"),
            (&[own], "MissingParameter", "ipPermissions"),
            (&[permission], "MissingParameter", "groupId"),
            (&[own, ("IpProtocol", "tcp"), ("CidrIp", "10.0.0.0/8")], "MissingParameter", "fromPort"),
            (
                &[own, ("IpProtocol", "x"), ("CidrIp", "10.0.0.0/8")],
                "InvalidParameterValue",
                "Invalid value 'x' for IP protocol. Unknown protocol.",
            ),
            (&[own, permission], "MissingParameter", "ipRanges"),
            (&[own, permission, ("CidrIp", "10.0.0.0/8")], "InvalidParameterCombination", "ipPermissions"),
            (
                &[own, permission, ("IpPermissions.1.Groups.1.GroupId", "sg-00000000")],
                "InvalidGroup.NotFound",
                "sg-00000000",
            ),
            (
                &[
                    own,
                    permission,
                    ("IpPermissions.1.Groups.1.GroupId", GROUP),
                    ("IpPermissions.1.Groups.1.UserId", "1"),
                ],
                "InvalidGroup.NotFound",
                "no peer",
            ),
            (
                &[own, permission, ("IpPermissions.1.PrefixListIds.1.PrefixListId", "pl-00000000")],
                "InvalidPrefixListID.NotFound",
                "pl-00000000",
            ),
            (
                &[
                    own,
                    permission,
                    ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"),
                    ("IpPermissions.1.IpRanges.1.Description", "é"),
                ],
                "InvalidParameterValue",
                "Invalid rule description",
            ),
            (
                &[own, ("IpProtocol", "icmp"), ("FromPort", "-1"), ("ToPort", "3"), ("CidrIp", "10.0.0.0/8")],
                "InvalidParameterValue",
                "ICMP code",
            ),
        ],
    );
    // A prefix list counts as many rules as it has entries.
    let list = [own, permission, ("IpPermissions.1.PrefixListIds.1.PrefixListId", "pl-0c0c0c0c")];
    for port in 0..57 {
        let port = port.to_string();
        lab.ok(
            "AuthorizeSecurityGroupIngress",
            &[own, ("IpProtocol", "udp"), ("FromPort", &port), ("ToPort", &port), ("CidrIp", "10.0.0.0/8")],
        );
    }
    lab.ok("AuthorizeSecurityGroupIngress", &list);
    let message = "The maximum number of rules per security group has been reached.";
    lab.refuses(
        "AuthorizeSecurityGroupIngress",
        &[(&tcp("10.9.0.0/16", "1", "1"), "RulesPerSecurityGroupLimitExceeded", message)],
    );
    // The other family and the other direction have room of their own.
    lab.ok(
        "AuthorizeSecurityGroupIngress",
        &[own, permission, ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", "2001:db8::/32")],
    );
    lab.ok("AuthorizeSecurityGroupEgress", &tcp("10.9.0.0/16", "1", "1"));
}

#[test]
fn rules_are_revoked_by_what_they_say_or_by_identifier() {
    let mut lab = Lab::new();
    let own = ("GroupId", GROUP);
    let flat = [own, ("IpProtocol", "tcp"), ("FromPort", "443"), ("ToPort", "443"), ("CidrIp", "10.0.1.0/24")];
    let words = "The specified rule does not exist in this security group.";
    lab.refuses(
        "RevokeSecurityGroupEgress",
        &[
            (&flat, "InvalidPermission.NotFound", words),
            (&[own, ("SecurityGroupRuleId.1", "sgr-0a0a0a0a")], "InvalidSecurityGroupRuleId.NotFound", "sgr-0a0a0a0a"),
            (&[own, ("SecurityGroupRuleId.1", "x")], "InvalidSecurityGroupRuleId.Malformed", "sgr-..."),
            (&[own], "MissingParameter", "securityGroupRuleIds"),
        ],
    );
    let answer = lab.ok("RevokeSecurityGroupIngress", &flat);
    let revoked = &items(&answer["revokedSecurityGroupRuleSet"])[0];
    assert_eq!(
        (&revoked["securityGroupRuleId"], &revoked["cidrIpv4"]),
        (&json!("sgr-0a0a0a0a"), &json!("10.0.1.0/24"))
    );
    assert!(crate::control::project(&lab.state, &lab.topology).security_groups[0].ingress.is_empty());
    lab.ok("AuthorizeSecurityGroupIngress", &flat);
    let id = ingress(&lab, GROUP).remove(0);
    lab.ok("RevokeSecurityGroupIngress", &[own, ("SecurityGroupRuleId.1", &id)]);
    assert!(ingress(&lab, GROUP).is_empty());
}

#[test]
fn rules_are_modified_and_described_anew() {
    let mut lab = Lab::new();
    let own = ("GroupId", GROUP);
    let rule = ("SecurityGroupRule.1.SecurityGroupRuleId", "sgr-0a0a0a0a");
    lab.ok(
        "ModifySecurityGroupRules",
        &[
            own,
            rule,
            ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", "tcp"),
            ("SecurityGroupRule.1.SecurityGroupRule.FromPort", "8443"),
            ("SecurityGroupRule.1.SecurityGroupRule.ToPort", "8443"),
            ("SecurityGroupRule.1.SecurityGroupRule.ReferencedGroupId", GROUP),
        ],
    );
    let shown = lab.ok("DescribeSecurityGroupRules", &[("SecurityGroupRuleId.1", "sgr-0a0a0a0a")]);
    let shown = &items(&shown["securityGroupRuleSet"])[0];
    assert_eq!((&shown["fromPort"], &shown["referencedGroupInfo"]["groupId"]), (&json!("8443"), &json!(GROUP)));
    lab.refuses(
        "ModifySecurityGroupRules",
        &[
            (&[own], "MissingParameter", "SecurityGroupRule"),
            (&[own, rule], "MissingParameter", "cidrIpv4"),
            (
                &[own, ("SecurityGroupRule.1.SecurityGroupRuleId", "sgr-00000000")],
                "InvalidSecurityGroupRuleId.NotFound",
                "sgr-00000000",
            ),
        ],
    );
    let by_id = [
        own,
        ("SecurityGroupRuleDescription.1.SecurityGroupRuleId", "sgr-0a0a0a0a"),
        ("SecurityGroupRuleDescription.1.Description", "new"),
    ];
    lab.ok("UpdateSecurityGroupRuleDescriptionsIngress", &by_id);
    assert_eq!(lab.state.security_groups[GROUP].rules[0].description.as_deref(), Some("new"));
    lab.refuses(
        "UpdateSecurityGroupRuleDescriptionsEgress",
        &[
            (&by_id, "InvalidSecurityGroupRuleId.NotFound", "sgr-0a0a0a0a"),
            (&[own], "MissingParameter", "securityGroupRuleDescriptions"),
            (
                &[own, ("IpPermissions.1.IpProtocol", "-1"), ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8")],
                "InvalidPermission.NotFound",
                "does not exist",
            ),
        ],
    );
}
