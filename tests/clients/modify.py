"""An endpoint changed in the order in which Terraform does it: `modify.py`.

Reads the quickstart's endpoint, adds a subnet, a group, a policy, takes all of it back, each time describing until it is
available, and asks the wire in between. Prints {case: outcome}; what came back is for the tests to judge.
"""

import boto3
import botocore.exceptions

from common import REGION, report
from endpoints import SHORT, addresses, connect, invoke, until

DENY = """{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": "*"},
    {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}"""


class Subject:
    def __init__(self):
        self.ec2 = boto3.client("ec2", region_name=REGION, config=SHORT)
        self.id = self.describe()["VpcEndpointId"]
        self.name = self.describe()["DnsEntries"][0]["DnsName"]

    def describe(self):
        return self.ec2.describe_vpc_endpoints(Filters=[{"Name": "service-name", "Values": ["*.lambda"]}])["VpcEndpoints"][0]

    def modify(self, **changes):
        """The state right after the change, and what was described once it was available."""
        self.ec2.modify_vpc_endpoint(VpcEndpointId=self.id, **changes)
        after = self.describe()["State"]
        found = until(lambda: found if (found := self.describe())["State"] == "available" else None)
        return after, found

    def refused(self, **changes):
        try:
            self.ec2.modify_vpc_endpoint(VpcEndpointId=self.id, **changes)
            return None
        except botocore.exceptions.ClientError as error:
            return error.response["Error"]["Code"]


def main():
    subject = Subject()
    outcomes = {"before": addresses(subject.name)}
    # Both subnets of the quickstart are in one zone: an endpoint has one subnet in each.
    outcomes["second_subnet_of_a_zone"] = subject.refused(AddSubnetIds=["subnet-cdcdcdcd"])
    state, found = subject.modify(RemoveSubnetIds=["subnet-abababab"])
    outcomes["without_subnet"] = [state, found["SubnetIds"], addresses(subject.name)]
    _, found = subject.modify(AddSubnetIds=["subnet-cdcdcdcd"])
    outcomes["other_subnet"] = [found["SubnetIds"], addresses(subject.name), invoke(connect(subject.name))]

    outcomes["bad_policy"] = subject.refused(PolicyDocument='{"Statement": [}')
    subject.modify(PolicyDocument=DENY)
    outcomes["denied"] = invoke(connect(subject.name))
    subject.modify(ResetPolicy=True)
    outcomes["allowed"] = invoke(connect(subject.name))

    # The default group admits its members alone, and the host is one.
    groups = subject.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"]
    default = groups[0]["GroupId"]
    own = found["Groups"][0]["GroupId"]
    subject.modify(AddSecurityGroupIds=[default], RemoveSecurityGroupIds=[own])
    outcomes["default_group"] = invoke(connect(subject.name))
    subject.ec2.revoke_security_group_ingress(GroupId=default, IpPermissions=groups[0]["IpPermissions"])
    outcomes["default_group_without_rules"] = invoke(connect(subject.name))
    subject.modify(AddSecurityGroupIds=[own], RemoveSecurityGroupIds=[default])
    outcomes["own_group"] = invoke(connect(subject.name))

    subject.modify(PrivateDnsEnabled=False)
    outcomes["public_name"] = addresses(f"lambda.{REGION}.amazonaws.com")
    subject.modify(PrivateDnsEnabled=True)
    outcomes["private_name"] = addresses(f"lambda.{REGION}.amazonaws.com")
    report(outcomes)


main()
