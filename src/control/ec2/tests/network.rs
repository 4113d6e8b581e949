//! Zones, VPCs, subnets, routes, network ACLs, prefix lists, interfaces, tags, flow logs.

use super::*;

#[test]
fn what_the_topology_says_is_what_the_api_shows() {
    let mut lab = Lab::new();
    let vpcs = lab.ok("DescribeVpcs", &[("VpcId.1", VPC)]);
    let vpc = &items(&vpcs["vpcSet"])[0];
    assert_eq!(vpc["cidrBlock"], "10.0.0.0/16");
    assert_eq!(vpc["isDefault"], "false");
    assert_eq!(items(&vpc["ipv6CidrBlockAssociationSet"])[0]["ipv6CidrBlock"], "2001:db8:1234:1a00::/56");
    let zones = lab.listed("DescribeAvailabilityZones", &[], "availabilityZoneInfo", "zoneId");
    assert_eq!(zones, ["use2-az1", "use2-az2", "use2-az3"]);
    assert_eq!(lab.listed("DescribeRegions", &[], "regionInfo", "regionEndpoint"), ["ec2.us-east-2.amazonaws.com"]);
    let subnets = lab.ok("DescribeSubnets", &[("SubnetId.1", SUBNET_A), ("SubnetId.2", SUBNET_B)]);
    let counts: Vec<_> = items(&subnets["subnetSet"]).iter().map(|s| s["availableIpAddressCount"].clone()).collect();
    // 251 less the eni and the resolver's inbound endpoint; 11 less the host.
    assert_eq!(counts, ["249", "10"]);
    let tables = lab.ok("DescribeRouteTables", &[]);
    let table = &items(&tables["routeTableSet"])[0];
    let routes = items(&table["routeSet"]);
    let routes: Vec<_> = routes.iter().map(|route| route["gatewayId"].as_str().unwrap()).collect();
    assert!(routes[..2] == ["local", "local"] && routes[2].starts_with("vgw-"), "{routes:?}");
    assert_eq!(items(&table["associationSet"])[0]["main"], "true");
}

#[test]
fn filters_and_pages_divide_a_listing() {
    let mut lab = Lab::new();
    let by = |name: &str, value: &str| [("Filter.1.Name", name.to_owned()), ("Filter.1.Value.1", value.to_owned())];
    for (name, value, expected) in [
        ("availability-zone", "us-east-2a", vec![SUBNET_A2, SUBNET_A]),
        ("availability-zone-id", "use2-az?", vec![SUBNET_A2, SUBNET_A, SUBNET_B, SUBNET_C]),
        ("cidr-block", "10.0.3.*", vec![SUBNET_B]),
        ("vpc-id", "vpc-00000000", vec![]),
        ("tag:Name", "*", vec![]),
    ] {
        let filter = by(name, value);
        let filter: Vec<_> = filter.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(lab.listed("DescribeSubnets", &filter, "subnetSet", "subnetId"), expected, "{name}");
    }
    let groups: Vec<String> = (0..11)
        .map(|n| {
            let answer = lab.ok(
                "CreateSecurityGroup",
                &[("GroupName", &format!("g{n}")), ("GroupDescription", "d"), ("VpcId", VPC)],
            );
            answer["groupId"].as_str().unwrap().to_owned()
        })
        .collect();
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let answer = lab.ok("DescribeSecurityGroups", &[("MaxResults", "5"), ("NextToken", &token)]);
        let page = items(&answer["securityGroupInfo"]);
        assert!(page.len() <= 5);
        found.extend(page.iter().map(|group| group["groupId"].as_str().unwrap().to_owned()));
        let Some(next) = answer["nextToken"].as_str() else { break };
        token = next.to_owned();
    }
    assert_eq!(found.len(), 13);
    assert!(groups.iter().all(|group| found.contains(group)));
    let (code, _) = lab.refusal("DescribeSubnets", &[("NextToken", &token)]);
    assert_eq!(code, "InvalidNextToken");
}

#[test]
fn limits_that_are_met_are_named() {
    let mut lab = Lab::new();
    let values: Vec<_> = (1..202).map(|n| (format!("Filter.1.Value.{n}"), "x")).collect();
    let mut many: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    many.push(("Filter.1.Name", "vpc-id"));
    assert_eq!(lab.refusal("DescribeVpcs", &many).0, "FilterLimitExceeded");
    let long = "x".repeat(256);
    let long = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", long.as_str())];
    assert_eq!(lab.refusal("DescribeVpcs", &long).0, "InvalidParameterValue");
    lab.options.quotas.network_acls_per_vpc = 2;
    assert_eq!(lab.refusal("CreateNetworkAcl", &[("VpcId", VPC)]).0, "NetworkAclLimitExceeded");
    lab.options.quotas.flow_logs_per_resource = 1;
    let log = |to: &'static str| {
        [
            ("ResourceType", "VPC"),
            ("ResourceId.1", VPC),
            ("TrafficType", "ALL"),
            ("LogDestinationType", "s3"),
            ("LogDestination", to),
        ]
    };
    lab.ok("CreateFlowLogs", &log("arn:aws:s3:::a"));
    assert_eq!(lab.refusal("CreateFlowLogs", &log("arn:aws:s3:::b")).0, "FlowLogsLimitExceeded");
}

#[test]
fn a_vpcs_attributes_change_one_at_a_time() {
    let mut lab = Lab::new();
    let names = ["EnableDnsHostnames.Value", "EnableDnsSupport.Value"];
    lab.ok("ModifyVpcAttribute", &[("VpcId", VPC), (names[0], "false")]);
    let shown = lab.ok("DescribeVpcAttribute", &[("VpcId", VPC), ("Attribute", "enableDnsHostnames")]);
    assert_eq!(shown["enableDnsHostnames"]["value"], "false");
    let projected = crate::control::project(&lab.state, &lab.topology);
    assert!(!projected.vpc.dns_hostnames && projected.vpc.dns_support);
    lab.refuses(
        "ModifyVpcAttribute",
        &[
            (&[("VpcId", VPC)], "MissingParameter", "EnableDnsSupport"),
            (
                &[("VpcId", VPC), (names[0], "true"), (names[1], "true")],
                "InvalidParameterCombination",
                "one VPC attribute",
            ),
            (
                &[("VpcId", "vpc-1"), (names[0], "true")],
                "InvalidVpcID.Malformed",
                "Invalid id: \"vpc-1\" (expecting \"vpc-...\")",
            ),
            (
                &[("VpcId", "vpc-00000000"), (names[0], "true")],
                "InvalidVpcID.NotFound",
                "The vpc ID 'vpc-00000000' does not exist",
            ),
        ],
    );
    lab.refuses(
        "DescribeVpcAttribute",
        &[
            (&[("Attribute", "enableDnsSupport")], "MissingParameter", "The request must contain the parameter VpcId"),
            (&[("VpcId", VPC), ("Attribute", "colour")], "InvalidParameterValue", "colour"),
        ],
    );
    lab.refuses(
        "DescribeSubnets",
        &[
            (
                &[("SubnetId.1", "subnet-00000000")],
                "InvalidSubnetID.NotFound",
                "The subnet ID 'subnet-00000000' does not exist",
            ),
            (&[("SubnetId.1", "x")], "InvalidSubnetID.Malformed", "subnet-..."),
        ],
    );
    lab.refuses(
        "DescribeRouteTables",
        &[(&[("RouteTableId.1", "rtb-00000000")], "InvalidRouteTableID.NotFound", "rtb-")],
    );
    lab.refuses(
        "DescribeAvailabilityZones",
        &[(&[("ZoneName.1", "us-east-2z")], "InvalidParameterValue", "us-east-2z")],
    );
}

#[test]
fn an_acl_is_made_filled_associated_and_deleted() {
    let mut lab = Lab::new();
    let made = lab.ok("CreateNetworkAcl", &[("VpcId", VPC), ("ClientToken", "t")]);
    let again = lab.ok("CreateNetworkAcl", &[("VpcId", VPC), ("ClientToken", "t")]);
    let id = made["networkAcl"]["networkAclId"].as_str().unwrap().to_owned();
    assert_eq!(again["networkAcl"]["networkAclId"], id.as_str());
    // Nothing but the last entries, which deny.
    assert_eq!(items(&made["networkAcl"]["entrySet"]).len(), 4);
    let entry = |number: &'static str, protocol: &'static str| {
        vec![
            ("NetworkAclId", id.clone()),
            ("RuleNumber", number.to_owned()),
            ("Protocol", protocol.to_owned()),
            ("RuleAction", "allow".to_owned()),
            ("Egress", "false".to_owned()),
            ("CidrBlock", "10.0.1.7/24".to_owned()),
        ]
    };
    let with = |mut base: Vec<(&'static str, String)>, more: &[(&'static str, &str)]| {
        for (name, value) in more {
            base.retain(|(own, _)| own != name);
            base.push((name, (*value).to_owned()));
        }
        base
    };
    fn lent<'v>(all: &'v [(&'static str, String)]) -> Vec<(&'static str, &'v str)> {
        all.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
    let ports = [("PortRange.From", "443"), ("PortRange.To", "443")];
    lab.ok("CreateNetworkAclEntry", &lent(&with(entry("110", "6"), &ports)));
    for (more, code, words) in [
        (vec![], "MissingParameter", "PortRange.From"),
        (vec![("PortRange.From", "2"), ("PortRange.To", "1")], "InvalidParameterValue", "2-1"),
        (
            vec![("RuleNumber", "110"), ports[0], ports[1]],
            "NetworkAclEntryAlreadyExists",
            "identified by 110 already exists",
        ),
        (vec![("RuleNumber", "0"), ports[0], ports[1]], "InvalidParameterValue", "between 1 and 32766"),
        (vec![("Protocol", "xyz")], "InvalidParameterValue", "Unknown protocol"),
        (vec![("Protocol", "1")], "MissingParameter", "Icmp.Type"),
        (vec![("Protocol", "58"), ("Icmp.Type", "-1"), ("Icmp.Code", "-1")], "InvalidParameterCombination", "IPv6"),
        (vec![("RuleAction", "maybe")], "InvalidParameterValue", "maybe"),
        (vec![("CidrBlock", "10.0.0.0/33")], "InvalidParameterValue", "CIDR block 10.0.0.0/33 is malformed"),
        (vec![("Ipv6CidrBlock", "::/0")], "InvalidParameterCombination", "Ipv6CidrBlock"),
        (vec![("NetworkAclId", "acl-00000000"), ports[0], ports[1]], "InvalidNetworkAclID.NotFound", "acl-00000000"),
    ] {
        let (own, message) = lab.refusal("CreateNetworkAclEntry", &lent(&with(entry("120", "6"), &more)));
        assert!(own == code && message.contains(words), "{more:?}: {own}: {message}");
    }
    for number in 1..20 {
        lab.ok("CreateNetworkAclEntry", &lent(&with(entry("1", "-1"), &[("RuleNumber", &number.to_string())])));
    }
    let (code, _) = lab.refusal("CreateNetworkAclEntry", &lent(&entry("200", "-1")));
    assert_eq!(code, "NetworkAclEntryLimitExceeded");
    let (code, _) = lab.refusal("ReplaceNetworkAclEntry", &lent(&entry("200", "-1")));
    assert_eq!(code, "InvalidNetworkAclEntry.NotFound");
    lab.ok("ReplaceNetworkAclEntry", &lent(&with(entry("110", "-1"), &[("RuleAction", "deny")])));

    let acls =
        lab.ok("DescribeNetworkAcls", &[("Filter.1.Name", "association.subnet-id"), ("Filter.1.Value.1", SUBNET_B)]);
    let own = &items(&acls["networkAclSet"])[0];
    assert_eq!(own["networkAclId"], "acl-0a0a0a0a");
    let association = items(&own["associationSet"])[0]["networkAclAssociationId"].as_str().unwrap().to_owned();
    let moved = [("AssociationId", association.as_str()), ("NetworkAclId", &id)];
    assert_ne!(lab.ok("ReplaceNetworkAclAssociation", &moved)["newAssociationId"], association.as_str());
    let (code, _) = lab.refusal("ReplaceNetworkAclAssociation", &moved);
    assert_eq!(code, "InvalidAssociationID.NotFound");
    let projected = crate::control::project(&lab.state, &lab.topology);
    let place = projected.subnets[2].network_acl.unwrap();
    assert_eq!(
        (projected.network_acls[place].id.as_str(), projected.network_acls[place].ingress.len()),
        (id.as_str(), 20)
    );
    assert!(!projected.network_acls[place].ingress.last().unwrap().allow);

    let (code, _) = lab.refusal("DeleteNetworkAcl", &[("NetworkAclId", &id)]);
    assert_eq!(code, "DependencyViolation");
    lab.ok("DeleteNetworkAcl", &[("NetworkAclId", "acl-0a0a0a0a")]);
    let default = [("Filter.1.Name", "default"), ("Filter.1.Value.1", "true")];
    let default = lab.listed("DescribeNetworkAcls", &default, "networkAclSet", "networkAclId").remove(0);
    let (code, _) = lab.refusal("DeleteNetworkAcl", &[("NetworkAclId", &default)]);
    assert_eq!(code, "CannotDelete");
    // The default ACL takes part as soon as it is not what it was.
    let gone = [("NetworkAclId", default.as_str()), ("RuleNumber", "100"), ("Egress", "false")];
    lab.ok("DeleteNetworkAclEntry", &gone);
    let (code, _) = lab.refusal("DeleteNetworkAclEntry", &gone);
    assert_eq!(code, "InvalidNetworkAclEntry.NotFound");
    assert!(crate::control::project(&lab.state, &lab.topology).subnets[0].network_acl.is_some());
}

#[test]
fn prefix_lists_are_shown_with_their_entries() {
    let mut lab = Lab::new();
    let lists = lab.ok("DescribeManagedPrefixLists", &[]);
    assert_eq!(items(&lists["prefixListSet"])[0]["maxEntries"], "2");
    let entries = lab.listed("GetManagedPrefixListEntries", &[("PrefixListId", "pl-0c0c0c0c")], "entrySet", "cidr");
    assert_eq!(entries, ["192.168.10.0/24", "192.168.20.0/24"]);
    lab.refuses(
        "GetManagedPrefixListEntries",
        &[
            (&[], "MissingParameter", "PrefixListId"),
            (&[("PrefixListId", "pl-00000000")], "InvalidPrefixListID.NotFound", "pl-00000000"),
            (&[("PrefixListId", "pl-0c0c0c0c"), ("TargetVersion", "7")], "InvalidPrefixListVersion", "7"),
        ],
    );
}

#[test]
fn an_endpoints_interface_is_requester_managed() {
    let mut lab = Lab::new();
    let all = lab.ok("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", "eni-0a1b2c3d4e5f60718")]);
    let eni = &items(&all["networkInterfaceSet"])[0];
    for (name, value) in [
        ("description", format!("VPC Endpoint Interface {ENDPOINT}").as_str()),
        ("interfaceType", "vpc_endpoint"),
        ("requesterManaged", "true"),
        ("sourceDestCheck", "true"),
        ("status", "in-use"),
        ("privateIpAddress", "10.0.1.100"),
        ("privateDnsName", "ip-10-0-1-100.us-east-2.compute.internal"),
        ("availabilityZone", "us-east-2a"),
        ("subnetId", SUBNET_A),
    ] {
        assert_eq!(eni[name], value, "{name}");
    }
    let others = [("Filter.1.Name", "interface-type"), ("Filter.1.Value.1", "interface")];
    let others = lab.listed("DescribeNetworkInterfaces", &others, "networkInterfaceSet", "description");
    assert!(others.contains(&"Host app".to_owned()) && others.iter().any(|text| text.starts_with("Route 53 Resolver")));
    lab.refuses(
        "DescribeNetworkInterfaces",
        &[(
            &[("NetworkInterfaceId.1", "eni-00000000")],
            "InvalidNetworkInterfaceID.NotFound",
            "The networkInterface ID",
        )],
    );
}

#[test]
fn tags_are_put_on_found_by_and_taken_off() {
    let mut lab = Lab::new();
    let name = [("Tag.1.Key", "Name"), ("Tag.1.Value", "web"), ("Tag.2.Key", "env"), ("Tag.2.Value", "test")];
    let with = |ids: &[(&'static str, &'static str)]| [ids, &name].concat();
    lab.ok("CreateTags", &with(&[("ResourceId.1", VPC), ("ResourceId.2", SUBNET_A), ("ResourceId.3", "sgr-0a0a0a0a")]));
    let by_tag = [("Filter.1.Name", "tag:Name"), ("Filter.1.Value.1", "w*")];
    assert_eq!(lab.listed("DescribeSubnets", &by_tag, "subnetSet", "subnetId"), [SUBNET_A]);
    let by_key = [("Filter.1.Name", "tag-key"), ("Filter.1.Value.1", "env")];
    assert_eq!(lab.listed("DescribeVpcs", &by_key, "vpcSet", "vpcId"), [VPC]);
    let rules = [("Filter.1.Name", "resource-type"), ("Filter.1.Value.1", "security-group-rule")];
    assert_eq!(lab.listed("DescribeTags", &rules, "tagSet", "key"), ["Name", "env"]);
    lab.ok("DeleteTags", &[("ResourceId.1", VPC), ("Tag.1.Key", "Name"), ("Tag.1.Value", "other")]);
    assert_eq!(lab.state.tags[VPC].len(), 2);
    lab.ok("DeleteTags", &[("ResourceId.1", VPC), ("Tag.1.Key", "Name")]);
    assert_eq!(lab.state.tags[VPC].len(), 1);
    lab.ok("DeleteTags", &[("ResourceId.1", VPC)]);
    assert!(!lab.state.tags.contains_key(VPC));
    lab.refuses(
        "CreateTags",
        &[
            (&[("Tag.1.Key", "a")], "MissingParameter", "ResourceId"),
            (&[("ResourceId.1", VPC)], "MissingParameter", "Tag"),
            (&[("ResourceId.1", "x"), ("Tag.1.Key", "a")], "InvalidID", "The ID 'x' is not valid"),
            (&[("ResourceId.1", "vpc-00000000"), ("Tag.1.Key", "a")], "InvalidVpcID.NotFound", "vpc-00000000"),
            (&[("ResourceId.1", VPC), ("Tag.1.Key", "aws:a")], "InvalidParameterValue", "reserved"),
            (
                &[("ResourceId.1", VPC), ("Tag.1.Key", "a"), ("Tag.2.Key", "a")],
                "InvalidParameterValue",
                "Duplicate tag key 'a'",
            ),
            (&[("ResourceId.1", VPC), ("Tag.1.Key", &"k".repeat(129))], "InvalidParameterValue", "128"),
            (
                &[("ResourceId.1", VPC), ("Tag.1.Key", "a"), ("Tag.1.Value", &"v".repeat(257))],
                "InvalidParameterValue",
                "256",
            ),
        ],
    );
    let many: Vec<_> = (0..51).map(|n| (format!("Tag.{n}.Key"), n.to_string())).collect();
    let mut many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    many.push(("ResourceId.1", VPC));
    assert_eq!(lab.refusal("CreateTags", &many).0, "TagLimitExceeded");
}

#[test]
fn flow_logs_are_records_of_what_is_to_be_written() {
    let mut lab = Lab::new();
    let eni = "eni-0a1b2c3d4e5f60718";
    let base = [
        ("ResourceType", "NetworkInterface"),
        ("ResourceId.1", eni),
        ("TrafficType", "ALL"),
        ("LogDestinationType", "s3"),
        ("LogDestination", "arn:aws:s3:::logs"),
    ];
    let with = |more: &[(&'static str, &'static str)]| {
        let mut all: Vec<_> = base.to_vec();
        all.retain(|(name, _)| !more.iter().any(|(own, _)| own == name));
        all.extend_from_slice(more);
        all.retain(|(_, value)| *value != "absent");
        all
    };
    let made = lab.ok("CreateFlowLogs", &with(&[("MaxAggregationInterval", "60"), ("ClientToken", "t")]));
    let again = lab.ok("CreateFlowLogs", &with(&[("MaxAggregationInterval", "60"), ("ClientToken", "t")]));
    assert_eq!(made["flowLogIdSet"], again["flowLogIdSet"]);
    let id = texts(&made["flowLogIdSet"]).remove(0);
    let shown = lab.ok("DescribeFlowLogs", &[("FlowLogId.1", &id)]);
    let shown = &items(&shown["flowLogSet"])[0];
    assert_eq!(shown["maxAggregationInterval"], "60");
    assert!(shown["logFormat"].as_str().unwrap().starts_with("${version} ${account-id} ${interface-id}"));
    assert_eq!(shown["deliverLogsStatus"], "SUCCESS");
    lab.failed_flow_logs.insert(id.clone());
    let failed = lab.ok("DescribeFlowLogs", &[("Filter.1.Name", "deliver-log-status"), ("Filter.1.Value.1", "FAILED")]);
    let failed = items(&failed["flowLogSet"]);
    assert_eq!((failed.len(), &failed[0]["flowLogId"]), (1, &Value::from(id.as_str())));
    lab.failed_flow_logs.clear();
    for (more, code, words) in [
        (vec![], "FlowLogAlreadyExists", "existing Flow Log"),
        (vec![("MaxAggregationInterval", "61")], "InvalidParameter", "Aggregation"),
        (vec![("LogFormat", "${version} ${colour}")], "InvalidParameter", "[colour]"),
        (vec![("LogFormat", "version")], "InvalidParameter", "${field}"),
        (
            vec![("LogGroupName", "g")],
            "InvalidParameter",
            "Please only provide LogGroupName or only provide LogDestination.",
        ),
        (
            vec![("LogDestination", "absent")],
            "InvalidParameter",
            "LogDestination can't be empty if LogGroupName is not provided.",
        ),
        (vec![("LogDestination", "x")], "InvalidParameter", "not a valid ARN"),
        (vec![("LogDestinationType", "absent")], "InvalidParameter", "DeliverLogsPermissionArn can't be empty"),
        (vec![("LogDestinationType", "tape")], "InvalidParameterValue", "tape"),
        (vec![("TrafficType", "absent")], "MissingParameter", "TrafficType"),
        (vec![("TrafficType", "SOME")], "InvalidParameterValue", "SOME"),
        (vec![("ResourceType", "Moon")], "InvalidParameterValue", "Moon"),
        (vec![("ResourceId.1", "eni-00000000")], "InvalidNetworkInterfaceID.NotFound", "eni-00000000"),
        (vec![("ResourceId.1", "absent")], "MissingParameter", "ResourceId"),
        (vec![("ClientToken", "t")], "IdempotentParameterMismatch", "already been used"),
    ] {
        let (own, message) = lab.refusal("CreateFlowLogs", &with(&more));
        assert!(own == code && message.contains(words), "{more:?}: {own}: {message}");
    }
    lab.ok(
        "CreateFlowLogs",
        &with(&[("TrafficType", "REJECT"), ("LogFormat", "${version} ${vpc-id} ${flow-direction}")]),
    );
    let deleted = lab.ok("DeleteFlowLogs", &[("FlowLogId.1", &id), ("FlowLogId.2", "fl-00000000")]);
    assert_eq!(items(&deleted["unsuccessful"])[0]["error"]["code"], "InvalidFlowLogId.NotFound");
    assert_eq!(lab.state.flow_logs.len(), 1);
}
