"""An endpoint's life through EC2's API, and what packets make of it: `endpoints.py SUBNET`.

Creates a security group and an endpoint in SUBNET, uses it, takes the rule away, deletes it. Prints {case: outcome}; what
came back is for the tests to judge.
"""

import json
import socket
import sys
import time

import boto3
import botocore.config
import botocore.exceptions

from common import REGION, report

SERVICE = f"com.amazonaws.{REGION}.lambda"
SHORT = botocore.config.Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5)


def until(what, seconds=20):
    """Asks again until there is an answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found is not None:
            return found
        time.sleep(0.05)
    return None


def addresses(name):
    try:
        return sorted({entry[4][0] for entry in socket.getaddrinfo(name, 443, socket.AF_INET, socket.SOCK_STREAM)})
    except socket.gaierror:
        return []


def connect(name):
    return boto3.client("lambda", region_name=REGION, config=SHORT, endpoint_url=f"https://{name}")


def invoke(client):
    """What came back, or the kind of failure."""
    try:
        return json.load(client.invoke(FunctionName="echo", Payload=b'{"a": 1}')["Payload"])
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
        return type(error).__name__


def state(ec2, endpoint):
    try:
        return ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint])["VpcEndpoints"][0]
    except botocore.exceptions.ClientError as error:
        return {"State": error.response["Error"]["Code"]}


def main(subnet):
    ec2 = boto3.client("ec2", region_name=REGION, config=SHORT)
    vpc = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="second endpoint", Description="for a while", VpcId=vpc)["GroupId"]
    rule = [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule)

    created = ec2.create_vpc_endpoint(
        VpcEndpointType="Interface",
        VpcId=vpc,
        ServiceName=SERVICE,
        SubnetIds=[subnet],
        SecurityGroupIds=[group],
        PrivateDnsEnabled=False,
    )["VpcEndpoint"]
    endpoint = created["VpcEndpointId"]
    outcomes = {"created": created["State"]}

    def available():
        found = state(ec2, endpoint)
        return found if found["State"] == "available" else None

    found = until(available)
    outcomes["available"] = found and found["State"]
    name = found["DnsEntries"][0]["DnsName"]
    interfaces = ec2.describe_network_interfaces(NetworkInterfaceIds=found["NetworkInterfaceIds"])["NetworkInterfaces"]
    outcomes["address"] = [interface["PrivateIpAddress"] for interface in interfaces]
    outcomes["name"] = addresses(name)

    tracked = connect(name)
    outcomes["invoked"] = invoke(tracked)
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rule)
    outcomes["tracked_without_rule"] = invoke(tracked)
    outcomes["new_without_rule"] = invoke(connect(name))
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule)
    outcomes["new_with_rule"] = invoke(connect(name))

    deleted = ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint])
    outcomes["deleted"] = deleted["Unsuccessful"]
    outcomes["name_after"] = addresses(name)
    outcomes["tracked_after"] = invoke(tracked)

    def gone():
        found = state(ec2, endpoint)["State"]
        return found if found.startswith("Invalid") else None

    outcomes["state_after"] = until(gone)
    ec2.delete_security_group(GroupId=group)
    report(outcomes)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
