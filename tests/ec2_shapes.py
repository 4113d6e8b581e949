"""Calls every operation of the EC2 API with botocore; requests go to standard output, answers come from standard input.

An element of an answer that the service model does not know is an error, and so is a member that people use and that
is missing. So is an operation of the command line's arguments that was never called.
"""

import datetime
import json
import sys
import xml.etree.ElementTree

import botocore.awsrequest
import botocore.config
import botocore.exceptions
import botocore.session

NAMESPACE = "{http://ec2.amazonaws.com/doc/2016-11-15/}"

session = botocore.session.Session()
session.set_credentials("AKIDEXAMPLE", "secret")
ec2 = session.create_client(
    "ec2",
    region_name="us-east-2",
    endpoint_url="https://ec2.us-east-2.amazonaws.com",
    config=botocore.config.Config(retries={"max_attempts": 0}),
)
operations = {name: ec2.meta.service_model.operation_model(name) for name in ec2.meta.service_model.operation_names}
called, unknown = set(), []


def ask(question):
    print(json.dumps(question), flush=True)
    return json.loads(sys.stdin.readline())


def known(element, shape, path):
    """Notes every element that `shape` has no member for."""
    if shape.type_name == "structure":
        members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for child in element:
            name = child.tag.removeprefix(NAMESPACE)
            if name in members:
                known(child, members[name], f"{path}/{name}")
            else:
                unknown.append(f"{path}/{name}")
    elif shape.type_name == "list":
        for child in element:
            if child.tag != NAMESPACE + "item":
                unknown.append(f"{path}/{child.tag}")
            known(child, shape.member, f"{path}[]")
    elif len(element):
        unknown.append(f"{path} has elements")


class Raw:
    """What urllib3 would give."""

    def __init__(self, body):
        self.body = body

    def stream(self, **_):
        yield self.body


def send(request, **_):
    body = request.body.decode() if isinstance(request.body, bytes) else request.body
    answer = ask({"body": body})
    text = answer["body"].encode()
    action = dict(pair.split("=", 1) for pair in body.split("&"))["Action"]
    called.add(action)
    if answer["status"] == 200:
        root = xml.etree.ElementTree.fromstring(text)
        assert root.tag == f"{NAMESPACE}{action}Response", root.tag
        # Every answer has the first; the second is what EC2 says where the model has no output, or does not name it.
        for name in ("requestId", "return"):
            output = operations[action].output_shape
            named = [m.serialization.get("name", n) for n, m in output.members.items()] if output else []
            for child in root.findall(NAMESPACE + name):
                if name not in named:
                    root.remove(child)
        if operations[action].output_shape is not None:
            known(root, operations[action].output_shape, action)
        elif len(root):
            unknown.append(f"{action}: {text}")
    headers = {"content-type": "text/xml;charset=UTF-8"}
    return botocore.awsrequest.AWSResponse(request.url, answer["status"], headers, Raw(text))


ec2.meta.events.register("before-send.ec2", send)


def settle():
    ask({"settle": True})


def has(value, *members):
    """Whether all members are there, and not empty; a list is looked at through its first item."""
    for member in members:
        found = value
        for name in member.split("."):
            found = found[0] if isinstance(found, list) else found
            assert name in found, f"{member} is missing in {sorted(found)}"
            found = found[name]
        assert found not in ("", None, []), f"{member} is empty"
    return value


def refused(code, call, **parameters):
    try:
        call(**parameters)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert error.response["Error"]["Message"]
        assert error.response["ResponseMetadata"]["RequestId"]
        return
    raise AssertionError(f"{call.__name__} was not refused")


def tags(kind, **pairs):
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in pairs.items()]}]


VPC, SUBNET, GROUP = "vpc-ec43eb89", "subnet-abababab", "sg-1a2b3c4d"
SERVICE = "com.amazonaws.us-east-2.lambda"


def network():
    has(ec2.describe_regions(), "Regions.RegionName", "Regions.Endpoint")
    has(
        ec2.describe_availability_zones(),
        "AvailabilityZones.ZoneName",
        "AvailabilityZones.ZoneId",
        "AvailabilityZones.State",
        "AvailabilityZones.RegionName",
    )
    ec2.create_tags(Resources=[VPC, SUBNET, GROUP], Tags=[{"Key": "Name", "Value": "a <tag> & more"}])
    vpcs = has(
        ec2.describe_vpcs(VpcIds=[VPC]),
        "Vpcs.CidrBlock",
        "Vpcs.IsDefault",
        "Vpcs.State",
        "Vpcs.OwnerId",
        "Vpcs.DhcpOptionsId",
        "Vpcs.CidrBlockAssociationSet.CidrBlockState.State",
        "Vpcs.Ipv6CidrBlockAssociationSet.Ipv6CidrBlock",
        "Vpcs.Tags.Key",
    )
    assert vpcs["Vpcs"][0]["Tags"][0]["Value"] == "a <tag> & more"
    for attribute in ("enableDnsSupport", "enableDnsHostnames", "enableNetworkAddressUsageMetrics"):
        name = attribute[0].upper() + attribute[1:]
        value = ec2.describe_vpc_attribute(VpcId=VPC, Attribute=attribute)[name]["Value"]
        assert value is (attribute != "enableNetworkAddressUsageMetrics")
    ec2.modify_vpc_attribute(VpcId=VPC, EnableDnsHostnames={"Value": True})
    has(
        ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [VPC]}, {"Name": "tag:Name", "Values": ["a *"]}]),
        "Subnets.SubnetId",
        "Subnets.AvailabilityZone",
        "Subnets.AvailabilityZoneId",
        "Subnets.AvailableIpAddressCount",
        "Subnets.SubnetArn",
        "Subnets.MapPublicIpOnLaunch",
        "Subnets.Ipv6CidrBlockAssociationSet.Ipv6CidrBlock",
        "Subnets.Tags.Key",
    )
    has(
        ec2.describe_route_tables(),
        "RouteTables.Associations.Main",
        "RouteTables.Routes.GatewayId",
        "RouteTables.Routes.State",
        "RouteTables.PropagatingVgws.GatewayId",
    )
    interfaces = has(
        ec2.describe_network_interfaces(Filters=[{"Name": "interface-type", "Values": ["vpc_endpoint"]}]),
        "NetworkInterfaces.NetworkInterfaceId",
        "NetworkInterfaces.Description",
        "NetworkInterfaces.RequesterManaged",
        "NetworkInterfaces.MacAddress",
        "NetworkInterfaces.PrivateIpAddress",
        "NetworkInterfaces.PrivateIpAddresses.Primary",
        "NetworkInterfaces.Ipv6Addresses.Ipv6Address",
        "NetworkInterfaces.Groups.GroupName",
        "NetworkInterfaces.Attachment.Status",
        "NetworkInterfaces.SourceDestCheck",
        "NetworkInterfaces.DenyAllIgwTraffic",
    )
    assert interfaces["NetworkInterfaces"][0]["InterfaceType"] == "vpc_endpoint"
    has(ec2.describe_tags(), "Tags.ResourceType", "Tags.ResourceId", "Tags.Key", "Tags.Value")
    ec2.delete_tags(Resources=[VPC, SUBNET, GROUP], Tags=[{"Key": "Name"}])
    ec2.describe_managed_prefix_lists()
    # Terraform asks for a list of the service's name after every reading of an endpoint.
    filters = [{"Name": "prefix-list-name", "Values": [SERVICE]}]
    assert ec2.describe_prefix_lists(Filters=filters)["PrefixLists"] == []
    refused("InvalidPrefixListID.NotFound", ec2.get_managed_prefix_list_entries, PrefixListId="pl-00000000")


def network_acls():
    acl = has(
        ec2.create_network_acl(VpcId=VPC, ClientToken="acl", TagSpecifications=tags("network-acl", Name="n")),
        "NetworkAcl.NetworkAclId",
        "NetworkAcl.Entries.RuleNumber",
        "NetworkAcl.Tags.Key",
    )["NetworkAcl"]["NetworkAclId"]
    entry = {"NetworkAclId": acl, "RuleNumber": 100, "Protocol": "6", "RuleAction": "allow", "Egress": False}
    ec2.create_network_acl_entry(**entry, CidrBlock="10.0.0.0/16", PortRange={"From": 443, "To": 443})
    ec2.replace_network_acl_entry(**entry | {"Protocol": "-1"}, CidrBlock="10.0.0.0/16")
    icmp = entry | {"Protocol": "58", "RuleNumber": 110}
    ec2.create_network_acl_entry(**icmp, Ipv6CidrBlock="::/0", IcmpTypeCode={"Type": -1, "Code": -1})
    filters = [{"Name": "association.subnet-id", "Values": [SUBNET]}]
    own = has(
        ec2.describe_network_acls(Filters=filters),
        "NetworkAcls.IsDefault",
        "NetworkAcls.Entries.Protocol",
        "NetworkAcls.Entries.CidrBlock",
        "NetworkAcls.Associations.SubnetId",
    )["NetworkAcls"][0]
    association = next(a for a in own["Associations"] if a["SubnetId"] == SUBNET)["NetworkAclAssociationId"]
    new = ec2.replace_network_acl_association(AssociationId=association, NetworkAclId=acl)["NewAssociationId"]
    has(ec2.describe_network_acls(NetworkAclIds=[acl]), "NetworkAcls.Associations.NetworkAclAssociationId")
    ec2.replace_network_acl_association(AssociationId=new, NetworkAclId=own["NetworkAclId"])
    ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=100, Egress=False)
    ec2.delete_network_acl(NetworkAclId=acl)


def security_groups():
    made = has(
        ec2.create_security_group(
            GroupName="web", Description="d", VpcId=VPC, TagSpecifications=tags("security-group", Name="web")
        ),
        "GroupId",
        "SecurityGroupArn",
        "Tags.Key",
    )
    group = made["GroupId"]
    permission = {
        "IpProtocol": "tcp",
        "FromPort": 443,
        "ToPort": 443,
        "IpRanges": [{"CidrIp": "10.0.0.0/16", "Description": "all"}],
        "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}],
        "UserIdGroupPairs": [{"GroupId": GROUP, "Description": "group"}],
    }
    rules = has(
        ec2.authorize_security_group_ingress(
            GroupId=group, IpPermissions=[permission], TagSpecifications=tags("security-group-rule", Name="r")
        ),
        "Return",
        "SecurityGroupRules.SecurityGroupRuleId",
        "SecurityGroupRules.GroupOwnerId",
        "SecurityGroupRules.CidrIpv4",
        "SecurityGroupRules.Description",
        "SecurityGroupRules.Tags.Key",
        "SecurityGroupRules.SecurityGroupRuleArn",
    )["SecurityGroupRules"]
    assert rules[2]["ReferencedGroupInfo"]["GroupId"] == GROUP and rules[0]["IsEgress"] is False
    refused("InvalidPermission.Duplicate", ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[permission])
    flat = {"GroupId": group, "IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIp": "10.0.0.2/32"}
    ec2.authorize_security_group_ingress(**flat)
    out = {"GroupId": group, "IpPermissions": [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]}
    ec2.authorize_security_group_egress(**out)
    ec2.modify_security_group_rules(
        GroupId=group,
        SecurityGroupRules=[
            {
                "SecurityGroupRuleId": rules[0]["SecurityGroupRuleId"],
                "SecurityGroupRule": {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 81, "CidrIpv4": "10.0.0.0/8"},
            }
        ],
    )
    described = {"SecurityGroupRuleId": rules[0]["SecurityGroupRuleId"], "Description": "new"}
    assert ec2.update_security_group_rule_descriptions_ingress(
        GroupId=group, SecurityGroupRuleDescriptions=[described]
    )["Return"]
    out["IpPermissions"][0]["UserIdGroupPairs"][0]["Description"] = "itself"
    ec2.update_security_group_rule_descriptions_egress(**out)
    shown = has(
        ec2.describe_security_groups(GroupIds=[group]),
        "SecurityGroups.OwnerId",
        "SecurityGroups.Description",
        "SecurityGroups.IpPermissions.IpRanges.CidrIp",
        "SecurityGroups.IpPermissionsEgress.IpProtocol",
        "SecurityGroups.Tags.Value",
    )
    assert shown["SecurityGroups"][0]["IpPermissions"][0]["IpRanges"][0]["Description"] == "new"
    has(
        ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}]),
        "SecurityGroupRules.FromPort",
        "SecurityGroupRules.IpProtocol",
    )
    revoked = ec2.revoke_security_group_ingress(
        GroupId=group, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"] for rule in rules]
    )
    has(revoked, "Return", "RevokedSecurityGroupRules.SecurityGroupRuleId", "RevokedSecurityGroupRules.CidrIpv4")
    ec2.revoke_security_group_ingress(**flat)
    ec2.revoke_security_group_egress(**out)
    refused("InvalidPermission.NotFound", ec2.revoke_security_group_ingress, **flat)
    refused("DependencyViolation", ec2.delete_security_group, GroupId=GROUP)
    ec2.delete_security_group(GroupId=group)
    refused("InvalidGroup.NotFound", ec2.describe_security_groups, GroupIds=[group])


def endpoints():
    """As Terraform does: create, describe until available, modify, describe, delete, describe until gone."""
    has(
        ec2.describe_vpc_endpoint_services(ServiceNames=[SERVICE]),
        "ServiceNames",
        "ServiceDetails.ServiceId",
        "ServiceDetails.ServiceType.ServiceType",
        "ServiceDetails.AvailabilityZones",
        "ServiceDetails.BaseEndpointDnsNames",
        "ServiceDetails.PrivateDnsName",
        "ServiceDetails.PrivateDnsNames.PrivateDnsName",
        "ServiceDetails.VpcEndpointPolicySupported",
        "ServiceDetails.SupportedIpAddressTypes",
    )
    first = has(
        ec2.describe_vpc_endpoints(Filters=[{"Name": "service-name", "Values": [SERVICE]}]),
        "VpcEndpoints.PolicyDocument",
        "VpcEndpoints.OwnerId",
        "VpcEndpoints.ServiceRegion",
    )["VpcEndpoints"][0]
    assert first["State"] == "available" and first["PrivateDnsEnabled"] is True
    ec2.delete_vpc_endpoints(VpcEndpointIds=[first["VpcEndpointId"]])
    settle()
    request = {
        "VpcId": VPC,
        "ServiceName": SERVICE,
        "VpcEndpointType": "Interface",
        "SubnetIds": [SUBNET],
        "SecurityGroupIds": [GROUP],
        "SubnetConfigurations": [{"SubnetId": SUBNET, "Ipv4": "10.0.1.9", "Ipv6": "2001:db8:1234:1a01::9"}],
        "IpAddressType": "dualstack",
        "DnsOptions": {"DnsRecordIpType": "dualstack"},
        "ClientToken": "once",
        "TagSpecifications": tags("vpc-endpoint", Name="lambda"),
    }
    refused("DryRunOperation", ec2.create_vpc_endpoint, **request, DryRun=True)
    made = has(
        ec2.create_vpc_endpoint(**request),
        "ClientToken",
        "VpcEndpoint.VpcEndpointId",
        "VpcEndpoint.VpcEndpointType",
        "VpcEndpoint.SubnetIds",
        "VpcEndpoint.Groups.GroupName",
        "VpcEndpoint.NetworkInterfaceIds",
        "VpcEndpoint.DnsEntries.DnsName",
        "VpcEndpoint.DnsEntries.HostedZoneId",
        "VpcEndpoint.DnsOptions.DnsRecordIpType",
        "VpcEndpoint.IpAddressType",
        "VpcEndpoint.Tags.Key",
    )["VpcEndpoint"]
    assert made["State"] == "pending" and isinstance(made["CreationTimestamp"], datetime.datetime)
    assert made["RouteTableIds"] == [] and made["RequesterManaged"] is False
    own = {"VpcEndpointId": made["VpcEndpointId"]}
    assert ec2.create_vpc_endpoint(**request)["VpcEndpoint"]["VpcEndpointId"] == own["VpcEndpointId"]
    refused("IdempotentParameterMismatch", ec2.create_vpc_endpoint, **request | {"IpAddressType": "ipv4"})
    settle()
    policy = {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "lambda:*", "Resource": "*"}]}
    assert ec2.modify_vpc_endpoint(**own, PolicyDocument=json.dumps(policy), PrivateDnsEnabled=False)["Return"]
    settle()
    shown = ec2.describe_vpc_endpoints(VpcEndpointIds=[own["VpcEndpointId"]])["VpcEndpoints"][0]
    assert shown["State"] == "available" and json.loads(shown["PolicyDocument"]) == policy
    assert ec2.modify_vpc_endpoint(**own, ResetPolicy=True)["Return"]
    pages = list(ec2.get_paginator("describe_vpc_endpoints").paginate(PaginationConfig={"PageSize": 1}))
    assert sum(len(page["VpcEndpoints"]) for page in pages) == 1
    gone = ec2.delete_vpc_endpoints(VpcEndpointIds=[own["VpcEndpointId"], "vpce-00000000"])
    has(gone, "Unsuccessful.ResourceId", "Unsuccessful.Error.Code", "Unsuccessful.Error.Message")
    assert ec2.describe_vpc_endpoints()["VpcEndpoints"][0]["State"] == "deleting"
    settle()
    refused("InvalidVpcEndpointId.NotFound", ec2.describe_vpc_endpoints, VpcEndpointIds=[own["VpcEndpointId"]])
    refused("InvalidServiceName", ec2.create_vpc_endpoint, VpcId=VPC, ServiceName="lambda.us-east-2.amazonaws.com")
    refused("UnsupportedOperation", ec2.create_vpc, CidrBlock="10.0.0.0/16")
    refused("InvalidAction", ec2.describe_instances)


def flow_logs():
    made = has(
        ec2.create_flow_logs(
            ResourceIds=[SUBNET],
            ResourceType="Subnet",
            TrafficType="ALL",
            LogDestinationType="s3",
            LogDestination="arn:aws:s3:::logs",
            LogFormat="${version} ${vpc-id} ${flow-direction}",
            MaxAggregationInterval=60,
            ClientToken="log",
            TagSpecifications=tags("vpc-flow-log", Name="l"),
        ),
        "FlowLogIds",
        "ClientToken",
    )
    shown = has(
        ec2.describe_flow_logs(FlowLogIds=made["FlowLogIds"]),
        "FlowLogs.FlowLogStatus",
        "FlowLogs.LogFormat",
        "FlowLogs.MaxAggregationInterval",
        "FlowLogs.Tags.Key",
    )
    assert isinstance(shown["FlowLogs"][0]["CreationTime"], datetime.datetime)
    ec2.delete_flow_logs(FlowLogIds=made["FlowLogIds"])


network()
network_acls()
security_groups()
endpoints()
flow_logs()
refused("UnsupportedOperation", ec2.delete_vpc, VpcId=VPC)
assert not unknown, unknown
assert not set(sys.argv[1:]) - called, set(sys.argv[1:]) - called
