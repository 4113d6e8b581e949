//! What AWS refuses of interface endpoints is refused, with its code and words.

use super::*;
use crate::control::ec2::AsOf;

/// A request for an endpoint with some parameters in another form; `absent` leaves one out.
fn request<'v>(more: &[(&'v str, &'v str)]) -> Vec<(&'v str, &'v str)> {
    let mut all = vec![
        ("VpcId", VPC),
        ("VpcEndpointType", "Interface"),
        ("ServiceName", "com.amazonaws.us-east-2.lambda"),
        ("SubnetId.1", SUBNET_A),
        ("PrivateDnsEnabled", "false"),
    ];
    all.retain(|(name, _)| !more.iter().any(|(own, _)| own == name));
    all.extend_from_slice(more);
    all.retain(|(_, value)| *value != "absent");
    all
}

#[track_caller]
fn refused(lab: &mut Lab, table: &[Row<'_>]) {
    for (more, code, words) in table {
        lab.refuses("CreateVpcEndpoint", &[(&request(more), code, words)]);
    }
}

#[test]
fn a_request_that_cannot_be_met_is_refused() {
    let configuration =
        |name: &'static str, address: &'static str| [("SubnetConfiguration.1.SubnetId", SUBNET_A), (name, address)];
    let (v4, v6) = ("SubnetConfiguration.1.Ipv4", "SubnetConfiguration.1.Ipv6");
    refused(
        &mut Lab::new(),
        &[
            (&[("VpcId", "absent")], "MissingParameter", "The request must contain the parameter VpcId"),
            (&[("ServiceName", "absent")], "MissingParameter", "The request must contain the parameter ServiceName"),
            (&[("VpcId", "vpc-00000000")], "InvalidVpcID.NotFound", "The vpc ID 'vpc-00000000' does not exist"),
            (&[("ServiceRegion", "us-east-1")], "InvalidParameter", "us-east-1"),
            (
                &[("VpcEndpointType", "absent")],
                "InvalidParameter",
                "Endpoint type (Gateway) does not match available service types ([Interface]).",
            ),
            (&[("VpcEndpointType", "Tunnelled")], "InvalidVpcEndpointType", "Tunnelled"),
            (&[("RouteTableId.1", "rtb-00000000")], "InvalidParameter", "Gateway type"),
            (
                &[("SubnetId.1", "subnet-00000000")],
                "InvalidSubnetID.NotFound",
                "The subnet ID 'subnet-00000000' does not exist",
            ),
            (&[("SubnetId.1", "subnet-1")], "InvalidSubnetID.Malformed", "subnet-1"),
            (
                &[("SubnetId.2", SUBNET_A2)],
                "DuplicateSubnetsInSameZone",
                "Found another VPC endpoint subnet in the availability zone of subnet-aaaaaaa2",
            ),
            (&[("SubnetId.2", SUBNET_A)], "DuplicateSubnetsInSameZone", "Found another"),
            (
                &[("SecurityGroupId.1", "sg-00000000")],
                "InvalidGroup.NotFound",
                "The security group 'sg-00000000' does not exist",
            ),
            (&[("SecurityGroupId.1", "sg-1")], "InvalidGroupId.Malformed", "sg-1"),
            (&configuration(v4, "10.9.0.1"), "InvalidParameter", "does not fall within the subnet's address range"),
            (&configuration(v4, "10.0.1.3"), "InvalidParameter", "reserved"),
            (&configuration(v4, "10.0.1.255"), "InvalidParameter", "reserved"),
            (&configuration(v4, "10.0.1.100"), "InvalidParameter", "Address 10.0.1.100 is in use."),
            (&configuration(v4, "10.0.1.53"), "InvalidParameter", "in use"),
            (&configuration(v4, "ten"), "InvalidParameter", "'ten' is not a valid IP address"),
            (&configuration(v6, "2001:db8:1234:1a01::9"), "InvalidParameter", "dualstack"),
            (&[("IpAddressType", "ipv6")], "InvalidParameter", "IPv6-only"),
            (&[("IpAddressType", "ipv5")], "InvalidParameterValue", "ipv5"),
            (&[("IpAddressType", "dualstack"), ("SubnetId.1", SUBNET_C)], "InvalidParameter", "it has no IPv6 range"),
            (
                &[("DnsOptions.DnsRecordIpType", "dualstack")],
                "InvalidParameter",
                "not valid for the IP address type ipv4",
            ),
            (&[("DnsOptions.DnsRecordIpType", "x")], "InvalidParameterValue", "DnsRecordIpType"),
            (&[("DnsOptions.PrivateDnsOnlyForInboundResolverEndpoint", "true")], "InvalidParameter", "not supported"),
            (
                &[("TagSpecification.1.ResourceType", "vpc"), ("TagSpecification.1.Tag.1.Key", "a")],
                "InvalidParameterValue",
                "'vpc' is not a valid taggable resource type",
            ),
            (&[("DryRun", "true")], "DryRunOperation", "Request would have succeeded"),
            (&[("PrivateDnsEnabled", "yes")], "InvalidParameterValue", "yes"),
        ],
    );
}

#[test]
fn the_services_host_name_is_answered_with_its_service_name() {
    let mut lab = Lab::new();
    let host = [("ServiceName", "lambda.us-east-2.amazonaws.com")];
    let (code, message) = lab.refusal("CreateVpcEndpoint", &request(&host));
    assert_eq!(code, "InvalidServiceName");
    let awss = "The Vpc Endpoint Service 'lambda.us-east-2.amazonaws.com' does not exist";
    assert!(message.starts_with(awss) && message.ends_with("com.amazonaws.us-east-2.lambda"), "{message}");
    let (_, message) = lab.refusal("CreateVpcEndpoint", &request(&[("ServiceName", "com.amazonaws.us-east-2.s4")]));
    assert_eq!(message, "The Vpc Endpoint Service 'com.amazonaws.us-east-2.s4' does not exist");
    assert_eq!(lab.refusal("DescribeVpcEndpointServices", &[("ServiceName.1", "x")]).0, "InvalidServiceName");
    lab.options.lenient = true;
    lab.ok("CreateVpcEndpoint", &request(&host));
}

#[test]
fn at_launch_two_regions_were_without_the_service() {
    let then = AsOf::parse("2020-10").unwrap();
    assert!(!then.offers("af-south-1") && !then.offers("eu-south-1") && then.offers("us-east-2"));
    assert_eq!(AsOf::parse("2021-10"), None);
    let mut lab = Lab::of(&LAB.replace("us-east-2", "eu-south-1"));
    let request = request(&[("ServiceName", "com.amazonaws.eu-south-1.lambda")]);
    lab.ok("CreateVpcEndpoint", &request);
    lab.options.as_of = Some(then);
    let (code, message) = lab.refusal("CreateVpcEndpoint", &request);
    assert_eq!(code, "InvalidServiceName");
    assert_eq!(message, "The Vpc Endpoint Service 'com.amazonaws.eu-south-1.lambda' does not exist");
    assert!(texts(&lab.ok("DescribeVpcEndpointServices", &[])["serviceNameSet"]).is_empty());
}

#[test]
fn private_dns_needs_both_attributes_and_no_rival() {
    let mut lab = Lab::new();
    let wanted = [("PrivateDnsEnabled", "absent")];
    let conflict = "private-dns-enabled cannot be set because there is already a conflicting DNS domain for \
                    lambda.us-east-2.amazonaws.com in the VPC vpc-ec43eb89";
    refused(&mut lab, &[(&wanted, "InvalidParameter", conflict)]);
    let id = lab.create(&[("SubnetId.1", SUBNET_B)]);
    let modify = [("VpcEndpointId", id.as_str()), ("PrivateDnsEnabled", "true")];
    lab.refuses("ModifyVpcEndpoint", &[(&modify, "InvalidParameter", conflict)]);
    lab.ok("ModifyVpcEndpoint", &[("VpcEndpointId", ENDPOINT), ("PrivateDnsEnabled", "false")]);
    for attribute in ["EnableDnsHostnames.Value", "EnableDnsSupport.Value"] {
        lab.ok("ModifyVpcAttribute", &[("VpcId", VPC), (attribute, "false")]);
        let words = "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for vpc-ec43eb89";
        refused(&mut lab, &[(&wanted, "InvalidParameter", words)]);
        lab.refuses("ModifyVpcEndpoint", &[(&modify, "InvalidParameter", words)]);
        lab.ok("ModifyVpcAttribute", &[("VpcId", VPC), (attribute, "true")]);
    }
    lab.ok("ModifyVpcEndpoint", &modify);
    assert_eq!(lab.endpoint(&id)["privateDnsEnabled"], "true");
}

#[test]
fn a_policy_is_refused_with_the_place_of_its_first_fault() {
    let mut lab = Lab::new();
    let blog = "{\n  \"Statement\": [{\"Effect\": \"Allow\", \"Principal\": \"*\", \"Action\": \"*\", \"Resource\": \"*\u{201d}}]\n}";
    let bare = r#"{"Statement":[{"Effect":"Allow","Principal":"arn:aws:iam::123412341234:user/MyUser","Action":"*","Resource":"*"}]}"#;
    let sound = r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;
    let words = "The specified policy document is not a valid JSON policy document: line ";
    refused(
        &mut lab,
        &[
            (&[("PolicyDocument", blog)], "InvalidPolicyDocument", &format!("{words}2, column ")),
            (&[("PolicyDocument", bare)], "InvalidPolicyDocument", &format!("{words}1, column ")),
            (&[("PolicyDocument", "")], "InvalidPolicyDocument", words),
            (&[("PolicyDocument", &format!("{sound}{}", " ".repeat(20_480)))], "InvalidPolicyDocument", "20480"),
        ],
    );
    lab.refuses(
        "ModifyVpcEndpoint",
        &[
            (&[("VpcEndpointId", ENDPOINT), ("PolicyDocument", blog)], "InvalidPolicyDocument", words),
            (
                &[("VpcEndpointId", ENDPOINT), ("PolicyDocument", "{}"), ("ResetPolicy", "true")],
                "InvalidParameterCombination",
                "ResetPolicy",
            ),
        ],
    );
    lab.options.lenient = true;
    lab.create(&[("SubnetId.1", SUBNET_A), ("PolicyDocument", bare)]);
}

#[test]
fn quotas_end_what_can_be_created() {
    let mut lab = Lab::new();
    let groups: Vec<String> = (0..6)
        .map(|n| {
            let name = format!("g{n}");
            let made =
                lab.ok("CreateSecurityGroup", &[("GroupName", &name), ("GroupDescription", "d"), ("VpcId", VPC)]);
            made["groupId"].as_str().unwrap().to_owned()
        })
        .collect();
    let names: Vec<String> = (1..7).map(|n| format!("SecurityGroupId.{n}")).collect();
    let six: Vec<_> = names.iter().map(String::as_str).zip(groups.iter().map(String::as_str)).collect();
    refused(&mut lab, &[(&six, "SecurityGroupsPerInterfaceLimitExceeded", "security groups per interface")]);
    lab.create(&[&six[..5], &[("SubnetId.1", SUBNET_A)]].concat());
    for _ in 2..50 {
        lab.create(&[]);
    }
    refused(&mut lab, &[(&[], "VpcEndpointLimitExceeded", "The maximum number of VPC endpoints has been reached.")]);
    // Ten addresses are left in a /28 with one host.
    let mut lab = Lab::new();
    for _ in 0..10 {
        lab.create(&[("SubnetId.1", SUBNET_B)]);
    }
    refused(&mut lab, &[(&[("SubnetId.1", SUBNET_B)], "InsufficientFreeAddressesInSubnet", "free addresses")]);
}

#[test]
fn changes_that_cannot_be_made_are_refused() {
    let mut lab = Lab::new();
    let own = ("VpcEndpointId", ENDPOINT);
    lab.refuses(
        "ModifyVpcEndpoint",
        &[
            (&[], "MissingParameter", "VpcEndpointId"),
            (&[("VpcEndpointId", "vpce-1")], "InvalidVpcEndpointId.Malformed", "vpce-1"),
            (
                &[("VpcEndpointId", "vpce-00000000")],
                "InvalidVpcEndpointId.NotFound",
                "The Vpc Endpoint Id 'vpce-00000000' does not exist",
            ),
            (&[own, ("AddSubnetId.1", SUBNET_A2)], "DuplicateSubnetsInSameZone", SUBNET_A2),
            (&[own, ("AddSubnetId.1", SUBNET_A)], "DuplicateSubnetsInSameZone", SUBNET_A),
            (&[own, ("RemoveSubnetId.1", SUBNET_B)], "InvalidParameter", "not associated"),
            (
                &[own, ("SubnetConfiguration.1.SubnetId", SUBNET_A), ("SubnetConfiguration.1.Ipv4", "10.0.1.9")],
                "InvalidParameter",
                "fixed",
            ),
            (&[own, ("RemoveSecurityGroupId.1", GROUP)], "InvalidParameter", "at least one security group"),
            (&[own, ("RemoveSecurityGroupId.1", "sg-00000000")], "InvalidParameter", "not associated"),
            (&[own, ("AddRouteTableId.1", "rtb-00000000")], "InvalidParameter", "Gateway"),
            (&[own, ("DnsOptions.DnsRecordIpType", "ipv6")], "InvalidParameter", "ipv6"),
            (&[own, ("IpAddressType", "dualstack"), ("DryRun", "true")], "DryRunOperation", "DryRun"),
        ],
    );
    let deleted = lab.ok("DeleteVpcEndpoints", &[("VpcEndpointId.1", ENDPOINT), ("VpcEndpointId.2", "vpce-00000000")]);
    let unsuccessful = &items(&deleted["unsuccessful"])[0];
    assert_eq!(unsuccessful["resourceId"], "vpce-00000000");
    assert_eq!(unsuccessful["error"]["code"], "InvalidVpcEndpointId.NotFound");
    lab.refuses("ModifyVpcEndpoint", &[(&[own, ("ResetPolicy", "true")], "IncorrectState", "being deleted")]);
    lab.refuses("DeleteVpcEndpoints", &[(&[], "MissingParameter", "VpcEndpointId")]);
}
