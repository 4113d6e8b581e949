//! Interface endpoints through their life.

use super::*;
use crate::control::{EndpointState, project};

#[test]
fn an_endpoint_is_pending_until_the_data_plane_has_it() {
    let mut lab = Lab::new();
    let made = lab.ok(
        "CreateVpcEndpoint",
        &[
            ("VpcId", VPC),
            ("VpcEndpointType", "Interface"),
            ("ServiceName", "com.amazonaws.us-east-2.lambda"),
            ("SubnetId.1", SUBNET_A2),
            ("SubnetId.2", SUBNET_B),
            ("SecurityGroupId.1", GROUP),
            ("PrivateDnsEnabled", "false"),
            ("TagSpecification.1.ResourceType", "vpc-endpoint"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "second"),
        ],
    );
    let endpoint = &made["vpcEndpoint"];
    let id = endpoint["vpcEndpointId"].as_str().unwrap().to_owned();
    assert_eq!(endpoint["state"], "pending");
    assert_eq!(texts(&endpoint["subnetIdSet"]), [SUBNET_A2, SUBNET_B]);
    assert_eq!(items(&endpoint["groupSet"])[0]["groupName"], "lambda-endpoint");
    assert_eq!(items(&endpoint["tagSet"])[0]["value"], "second");
    assert!(endpoint["policyDocument"].as_str().unwrap().contains("\"Action\": \"*\""));
    let names: Vec<_> =
        items(&endpoint["dnsEntrySet"]).iter().map(|e| e["dnsName"].as_str().unwrap().to_owned()).collect();
    let base = names[0].split('.').next().unwrap().to_owned();
    assert!(base.starts_with(&format!("{id}-")) && base.len() == id.len() + 9, "{base}");
    let zone = "lambda.us-east-2.vpce.amazonaws.com";
    assert_eq!(
        names,
        [format!("{base}.{zone}"), format!("{base}-us-east-2a.{zone}"), format!("{base}-us-east-2b.{zone}")]
    );
    assert_eq!(items(&endpoint["dnsEntrySet"])[0]["hostedZoneId"], "ZC8PG0KIFKBRI");

    assert_eq!((lab.state.is_settled(), lab.state.endpoints[&id].state), (false, EndpointState::Pending));
    lab.settle();
    assert_eq!(lab.endpoint(&id)["state"], "available");
    assert!(lab.state.is_settled());
    // The lowest address that AWS does not keep; in the other subnet a host has it already.
    let addresses: Vec<_> =
        lab.state.interfaces_of(&lab.state.endpoints[&id]).map(|(_, i)| i.ipv4.to_string()).collect();
    assert_eq!(addresses, ["10.0.2.4", "10.0.3.5"]);

    lab.ok("ModifyVpcEndpoint", &[("VpcEndpointId", &id), ("AddSubnetId.1", SUBNET_C)]);
    assert_eq!(lab.endpoint(&id)["state"], "pending");
    lab.settle();
    lab.ok("DeleteVpcEndpoints", &[("VpcEndpointId.1", &id)]);
    assert_eq!(lab.endpoint(&id)["state"], "deleting");
    assert_eq!((lab.state.is_settled(), lab.state.endpoints[&id].state), (false, EndpointState::Deleting));
    lab.settle();
    let (code, message) = lab.refusal("DescribeVpcEndpoints", &[("VpcEndpointId.1", &id)]);
    assert_eq!(
        (code.as_str(), message),
        ("InvalidVpcEndpointId.NotFound", format!("The Vpc Endpoint Id '{id}' does not exist"))
    );
    assert_eq!(lab.state, Lab::new().state);
}

#[test]
fn the_topologys_own_endpoint_is_a_full_citizen() {
    let mut lab = Lab::new();
    let shown = lab.endpoint(ENDPOINT);
    assert_eq!((&shown["state"], &shown["privateDnsEnabled"]), (&json!("available"), &json!("true")));
    let names = items(&shown["dnsEntrySet"]);
    assert_eq!(names[0]["dnsName"], "vpce-0123456789abcdef0-lj2wisx3.lambda.us-east-2.vpce.amazonaws.com");
    assert_eq!(names[2]["dnsName"], "lambda.us-east-2.amazonaws.com");
    // Untouched, it is what the file says.
    let same = project(&lab.state, &lab.topology);
    assert_eq!(serde_json::to_value(&same).unwrap(), serde_json::to_value(&lab.topology).unwrap());

    let policy = r#"{"Statement":[{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}]}"#;
    lab.ok(
        "ModifyVpcEndpoint",
        &[("VpcEndpointId", ENDPOINT), ("PolicyDocument", policy), ("PrivateDnsEnabled", "false")],
    );
    let changed = project(&lab.state, &lab.topology).endpoints.remove(0);
    assert_eq!((changed.policy.unwrap().text.as_str(), changed.private_dns), (policy, false));
    lab.ok("DeleteVpcEndpoints", &[("VpcEndpointId.1", ENDPOINT)]);
    assert!(project(&lab.state, &lab.topology).endpoints.is_empty());
    lab.settle();
    assert!(!lab.state.interfaces.contains_key("eni-0a1b2c3d4e5f60718"));
    // Its name is free for another, which then is the lab's endpoint.
    let id = lab.create(&[("SubnetId.1", SUBNET_C)]);
    lab.ok("ModifyVpcEndpoint", &[("VpcEndpointId", &id), ("PrivateDnsEnabled", "true")]);
    let [other] = &project(&lab.state, &lab.topology).endpoints[..] else { panic!("there is one") };
    assert_eq!((other.id.as_str(), other.enis.len(), other.private_dns), (id.as_str(), 1, true));
    // Without a group it is in the default one, which admits only its members.
    let default = lab.topology.security_groups.iter().position(|group| group.name == "default").unwrap();
    assert_eq!(other.enis[0].security_groups, [default]);
}

#[test]
fn everything_about_an_endpoint_can_be_modified() {
    let mut lab = Lab::new();
    let id = lab.create(&[("SubnetId.1", SUBNET_A)]);
    lab.settle();
    let own = ("VpcEndpointId", id.as_str());
    lab.ok("ModifyVpcEndpoint", &[own]);
    assert!(lab.state.is_settled(), "nothing was asked for");
    lab.ok("ModifyVpcEndpoint", &[own, ("IpAddressType", "dualstack")]);
    let shown = lab.endpoint(&id);
    assert_eq!(shown["dnsOptions"]["dnsRecordIpType"], "dualstack");
    let interface = lab.state.interfaces_of(&lab.state.endpoints[&id]).next().unwrap().1.clone();
    assert_eq!(interface.ipv4.to_string(), "10.0.1.4");
    assert_eq!(interface.ipv6.unwrap().to_string(), "2001:db8:1234:1a01::4");
    lab.ok("ModifyVpcEndpoint", &[own, ("DnsOptions.DnsRecordIpType", "ipv4")]);
    // Removed before it is added: the zone is free for the other subnet. IPv4 goes before, for that has no IPv6.
    lab.ok(
        "ModifyVpcEndpoint",
        &[own, ("IpAddressType", "ipv4"), ("RemoveSubnetId.1", SUBNET_A), ("AddSubnetId.1", SUBNET_A2)],
    );
    assert_eq!(texts(&lab.endpoint(&id)["subnetIdSet"]), [SUBNET_A2]);
    lab.ok(
        "ModifyVpcEndpoint",
        &[own, ("SubnetConfiguration.1.SubnetId", SUBNET_B), ("SubnetConfiguration.1.Ipv4", "10.0.3.9")],
    );
    let addresses: Vec<_> =
        lab.state.interfaces_of(&lab.state.endpoints[&id]).map(|(_, i)| i.ipv4.to_string()).collect();
    assert_eq!(addresses, ["10.0.2.4", "10.0.3.9"]);
    // The same again says what is so already.
    lab.ok(
        "ModifyVpcEndpoint",
        &[own, ("SubnetConfiguration.1.SubnetId", SUBNET_B), ("SubnetConfiguration.1.Ipv4", "10.0.3.9")],
    );
    let default = lab.state.default_group(VPC).unwrap().to_owned();
    lab.ok("ModifyVpcEndpoint", &[own, ("AddSecurityGroupId.1", GROUP), ("RemoveSecurityGroupId.1", &default)]);
    assert!(lab.state.interfaces_of(&lab.state.endpoints[&id]).all(|(_, i)| i.security_groups == [GROUP]));
    let policy =
        r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"lambda:InvokeFunction","Resource":"*"}]}"#;
    lab.ok("ModifyVpcEndpoint", &[own, ("PolicyDocument", policy)]);
    assert_eq!(lab.endpoint(&id)["policyDocument"], policy);
    lab.ok("ModifyVpcEndpoint", &[own, ("ResetPolicy", "true")]);
    assert_eq!(lab.state.endpoints[&id].policy, None);
}

#[test]
fn a_change_during_another_stays_pending() {
    let mut lab = Lab::new();
    let id = lab.create(&[("SubnetId.1", SUBNET_A)]);
    lab.ok("ModifyVpcEndpoint", &[("VpcEndpointId", &id), ("AddSubnetId.1", SUBNET_B)]);
    assert_eq!(lab.endpoint(&id)["state"], "pending");
    lab.settle();
    assert_eq!(lab.endpoint(&id)["state"], "available");
}

#[test]
fn designated_addresses_and_both_families_are_given() {
    let mut lab = Lab::new();
    let id = lab.create(&[
        ("SubnetId.1", SUBNET_A),
        ("SubnetId.2", SUBNET_B),
        ("IpAddressType", "dualstack"),
        ("SubnetConfiguration.1.SubnetId", SUBNET_A),
        ("SubnetConfiguration.1.Ipv4", "10.0.1.9"),
        ("SubnetConfiguration.1.Ipv6", "2001:db8:1234:1a01::99"),
    ]);
    let found: Vec<_> = lab
        .state
        .interfaces_of(&lab.state.endpoints[&id])
        .map(|(_, interface)| (interface.ipv4.to_string(), interface.ipv6.unwrap().to_string()))
        .collect();
    let expected = [("10.0.1.9", "2001:db8:1234:1a01::99"), ("10.0.3.5", "2001:db8:1234:1a03::5")];
    assert_eq!(found, expected.map(|(v4, v6)| (v4.to_owned(), v6.to_owned())));
}

#[test]
fn a_client_token_creates_once() {
    let mut lab = Lab::new();
    let id = lab.create(&[("SubnetId.1", SUBNET_A), ("ClientToken", "token")]);
    assert_eq!(lab.create(&[("SubnetId.1", SUBNET_A), ("ClientToken", "token")]), id);
    assert_eq!(lab.state.endpoints.len(), 2);
    let other = [
        ("VpcId", VPC),
        ("VpcEndpointType", "Interface"),
        ("ServiceName", "com.amazonaws.us-east-2.lambda"),
        ("ClientToken", "token"),
    ];
    assert_eq!(lab.refusal("CreateVpcEndpoint", &other).0, "IdempotentParameterMismatch");
    let long = [("VpcId", VPC), ("ServiceName", "x"), ("ClientToken", &"t".repeat(65))];
    assert_eq!(lab.refusal("CreateVpcEndpoint", &long).0, "InvalidParameterValue");
    // A day later it is another request.
    lab.now = lab.now + std::time::Duration::from_secs(24 * 60 * 60 + 1);
    assert_ne!(lab.create(&[("SubnetId.1", SUBNET_A), ("ClientToken", "token")]), id);
}

#[test]
fn endpoints_are_found_by_filters() {
    let mut lab = Lab::new();
    let id = lab.create(&[("SubnetId.1", SUBNET_A)]);
    for (name, value, expected) in [
        ("vpc-endpoint-state", "pending", vec![id.as_str()]),
        ("vpc-endpoint-state", "available", vec![ENDPOINT]),
        ("vpc-endpoint-id", "vpce-0123456789abcdef?", vec![ENDPOINT]),
        ("vpc-endpoint-type", "Gateway", vec![]),
        ("service-name", "com.amazonaws.us-east-2.s3", vec![]),
    ] {
        let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        assert_eq!(
            lab.listed("DescribeVpcEndpoints", &filter, "vpcEndpointSet", "vpcEndpointId"),
            expected,
            "{name} {value}"
        );
    }
    let both = [("Filter.1.Name", "service-name"), ("Filter.1.Value.1", "*.lambda"), ("MaxResults", "1")];
    let page = lab.ok("DescribeVpcEndpoints", &both);
    assert_eq!(items(&page["vpcEndpointSet"]).len(), 1);
    assert!(page["nextToken"].is_string());
}

#[test]
fn the_service_is_described() {
    let mut lab = Lab::new();
    let answer = lab.ok("DescribeVpcEndpointServices", &[("ServiceName.1", "com.amazonaws.us-east-2.lambda")]);
    assert_eq!(texts(&answer["serviceNameSet"]), ["com.amazonaws.us-east-2.lambda"]);
    let service = &items(&answer["serviceDetailSet"])[0];
    assert_eq!(texts(&service["baseEndpointDnsNameSet"]), ["lambda.us-east-2.vpce.amazonaws.com"]);
    assert_eq!(service["privateDnsName"], "lambda.us-east-2.amazonaws.com");
    assert_eq!((&service["owner"], &service["acceptanceRequired"]), (&json!("amazon"), &json!("false")));
    let none =
        lab.ok("DescribeVpcEndpointServices", &[("Filter.1.Name", "service-type"), ("Filter.1.Value.1", "Gateway")]);
    assert!(texts(&none["serviceNameSet"]).is_empty());
}
